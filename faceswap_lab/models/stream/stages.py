"""A pipeline of stages, one thread each: order is kept, the number of items in flight is bounded, the first error stops all.

Threads suffice because what the stages call (OpenCV, onnxruntime, torch, FFmpeg) releases the GIL.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from threading import Condition, Thread
from time import perf_counter
from typing import Any

FIRST = "read"
"""The name under which the source's time is recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """A function applied to each item, and the name under which its time is recorded."""

    name: str
    work: Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Failure:
    error: BaseException


_END = object()


class _StopError(Exception):
    """The result is no longer needed."""


class _Line:
    """The queues between the threads, under one lock: items are few and large."""

    def __init__(self, num_pipes: int, under_way: int) -> None:
        self._changed = Condition()
        self._pipes: list[deque[Any]] = [deque() for _ in range(num_pipes)]
        self._free = under_way
        self._is_stopped = False

    def take_slot(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._free > 0 or self._is_stopped)
            self._go_on()
            self._free -= 1

    def free_slot(self) -> None:
        with self._changed:
            self._free += 1
            self._changed.notify_all()

    def put(self, pipe: int, item: Any) -> None:
        with self._changed:
            self._go_on()
            self._pipes[pipe].append(item)
            self._changed.notify_all()

    def hand_over(self, pipe: int, held: list[Any]) -> None:
        """`put` the only element of `held`, and keep no reference to it: the thread may be stopped right after, while the item is
        already through and its slot is given to the next one."""
        with self._changed:
            self._go_on()
            self._pipes[pipe].append(held.pop())
            self._changed.notify_all()

    def get(self, pipe: int) -> Any:
        with self._changed:
            self._changed.wait_for(lambda: self._pipes[pipe] or self._is_stopped)
            self._go_on()
            return self._pipes[pipe].popleft()

    def stop(self) -> None:
        with self._changed:
            self._is_stopped = True
            for pipe in self._pipes:
                pipe.clear()
            self._changed.notify_all()

    def _go_on(self) -> None:
        if self._is_stopped:
            raise _StopError


def overlapped(
    source: Iterable[Any], stages: Sequence[Stage], *, under_way: int = 4, spent: dict[str, float] | None = None
) -> Iterator[Any]:
    """Each item of `source` after all `stages`, in order, while the stages process the following items.

    At most `under_way` items exist at once, including the one yielded last. An exception in any stage, including KeyboardInterrupt,
    is re-raised unchanged after the preceding items were yielded. When the caller stops early (an error, `close`), each thread
    finishes its current item. Busy seconds are added to `spent` by stage; the source's as "read".
    """
    if under_way < 1:
        raise ValueError(f"under_way must be at least 1, got {under_way}")
    times: dict[str, float] = {} if spent is None else spent
    line = _Line(len(stages) + 1, under_way)
    threads = [Thread(target=_read, args=(line, source, times), name=FIRST, daemon=True)]
    for number, stage in enumerate(stages):
        threads.append(Thread(target=_work, args=(line, number, stage, times), name=stage.name, daemon=True))
    for thread in threads:
        thread.start()
    try:
        while (item := line.get(len(stages))) is not _END:
            if isinstance(item, _Failure):
                raise item.error
            yield item
            del item  # frees its memory for the next one
            line.free_slot()
    finally:
        line.stop()
        for thread in threads:
            thread.join()


def _read(line: _Line, source: Iterable[Any], times: dict[str, float]) -> None:
    iterator = iter(source)
    try:
        while True:
            line.take_slot()
            start = perf_counter()
            held = [next(iterator, _END)]
            _count(times, FIRST, start)
            is_last = held[0] is _END
            line.hand_over(0, held)
            if is_last:
                return
    except _StopError:
        return
    except BaseException as error:
        _fail(line, 0, error)
    finally:
        if isinstance(iterator, Iterator) and hasattr(iterator, "close"):
            iterator.close()  # files must be closed by the thread that read them


def _work(line: _Line, number: int, stage: Stage, times: dict[str, float]) -> None:
    try:
        while True:
            item = line.get(number)
            if item is _END or isinstance(item, _Failure):
                line.put(number + 1, item)
                return
            start = perf_counter()
            held = [stage.work(item)]
            del item
            _count(times, stage.name, start)
            line.hand_over(number + 1, held)
    except _StopError:
        return
    except BaseException as error:
        _fail(line, number + 1, error)


def _fail(line: _Line, pipe: int, error: BaseException) -> None:
    try:
        line.put(pipe, _Failure(error))
    except _StopError:
        return


def _count(times: dict[str, float], name: str, start: float) -> None:
    times[name] = times.get(name, 0.0) + perf_counter() - start
