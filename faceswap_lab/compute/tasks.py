"""Independent tasks, one after the other in this process or over the workers of a cluster, stopping together.

Dask schedules them and gives a dead worker's tasks to others. What is added here: a bounded number under way, results as they
come, retries for failures of the machine but not for errors in what was asked, and a stop that each task acts on where its progress
is saved.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar
from uuid import uuid4

from faceswap_lab.compute import workers
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.errors import ComputeError, LabError
from faceswap_lab.stopping import Stop

T = TypeVar("T")
Task = Callable[[Stop], T]
"""The work of one process; it regularly checks whether to stop, and raises KeyboardInterrupt if so."""

_LOOK_S = 0.2
_ADAPTIVE = 64
_RETRIED = (OSError, MemoryError)
"""Failures of a machine rather than of what was asked: the task is given out again. LabErrors never are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome(Generic[T]):
    """What came of the task of this number: `value`, or the `error` that it ended with; on which worker, empty inline."""

    number: int
    value: T | None = None
    error: BaseException | None = None
    worker: str = ""

    def result(self) -> T:
        """The value; raises the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only if that is the task's value


Made = Generator[Outcome[T], None, None]
"""Outcomes of tasks as they come. A caller that does not exhaust it must close it, which stops the remaining tasks."""


def run_tasks(tasks: Iterable[Task[T]], compute: Cluster | None, stop: Stop, *, retries: int = 2) -> Made[T]:
    """Run the tasks: in order in this process without a cluster, else on its workers, in any order.

    Tasks are taken from the iterable when there is room for them. When `stop()` becomes true, those that are running are stopped
    and KeyboardInterrupt is raised. A task that fails is an Outcome with its error; whether the others go on is up to the caller.
    """
    if compute is None:
        return _inline(tasks, stop)
    return _Spread(compute, retries).run(tasks, stop)


def _inline(tasks: Iterable[Task[T]], stop: Stop) -> Made[T]:
    for number, task in enumerate(tasks):
        if stop():
            raise KeyboardInterrupt
        try:
            value = task(stop)
        except Exception as error:  # reported by the caller, as on a cluster
            yield Outcome(number=number, error=error)
        else:
            yield Outcome(number=number, value=value)


@dataclass(slots=True)
class _Given:
    """A task that was given out: its future, and how often it may be given out again."""

    number: int
    task: Any
    retries: int
    future: Any = None


@dataclass(slots=True)
class _Spread:
    """The tasks of one call on the workers of a cluster."""

    compute: Cluster
    retries: int
    name: str = field(default_factory=lambda: f"tasks-{uuid4().hex[:12]}")
    under_way: dict[str, _Given] = field(default_factory=dict)

    def run(self, tasks: Iterable[Task[T]], stop: Stop) -> Made[T]:
        waiting = enumerate(tasks)
        idle_since: float | None = None
        try:
            while True:
                if stop():
                    raise KeyboardInterrupt
                num_workers = len(self.compute.addresses())
                # Where workers follow the work, the work must be seen to be there.
                self._fill(waiting, max(2 * num_workers, _ADAPTIVE if self.compute.is_adaptive else 2))
                if not self.under_way:
                    return
                idle_since = None if num_workers else idle_since or time.monotonic()
                self._require_workers(idle_since)
                for given in self._ended():
                    outcome = self._outcome(given)
                    if outcome is not None:
                        yield outcome
        finally:
            self._end()

    def _fill(self, waiting: Iterator[tuple[int, Task[T]]], most: int) -> None:
        while len(self.under_way) < most:
            taken = next(waiting, None)
            if taken is None:
                return
            self._give(_Given(taken[0], taken[1], self.retries))

    def _give(self, given: _Given) -> None:
        key = f"{self.name}-{given.number}-{uuid4().hex[:6]}"
        given.future = self.compute.client.submit(_perform, given.task, self.name, key, key=key, pure=False)
        self.under_way[key] = given

    def _require_workers(self, idle_since: float | None) -> None:
        limit = self.compute.deadlines.workers_s
        if idle_since is not None and time.monotonic() - idle_since > limit:
            raise ComputeError(
                expected="a worker that takes the remaining tasks",
                got=f"none for {limit:g} s",
                remedy="start workers and repeat the call: it resumes with what is missing",
            )

    def _ended(self) -> list[_Given]:
        """The tasks that have ended, after waiting a moment for the first."""
        from distributed import CancelledError, wait
        from distributed import TimeoutError as Late

        # Cancelled ones, of a client that had lost its scheduler, have ended too.
        with suppress(Late, CancelledError), self.compute.client.as_current():
            futures = [each.future for each in self.under_way.values()]
            wait(futures, timeout=_LOOK_S, return_when="FIRST_COMPLETED")  # type: ignore[no-untyped-call]
        ended = [key for key, each in self.under_way.items() if each.future.done()]
        return [self.under_way.pop(key) for key in ended]

    def _outcome(self, given: _Given) -> Outcome[Any] | None:
        """The outcome of an ended task; None if it was given out again."""
        from distributed import CancelledError

        worker, value = "", None
        error: BaseException | None
        try:
            worker, value, error = given.future.result()
        except CancelledError as raised:  # the client has lost its scheduler, and found it again
            error = ConnectionError(str(raised))
        except Exception as raised:  # the task's worker died too often
            return Outcome(number=given.number, error=_lost(raised))
        finally:
            given.future.release()
        if isinstance(error, _RETRIED) and not isinstance(error, LabError) and given.retries > 0:
            given.retries -= 1
            self._give(given)
            return None
        return Outcome(number=given.number, value=value, error=error, worker=worker)

    def _end(self) -> None:
        """Stop what is still running and wait until it has saved its progress, at most `deadlines.stop_s`."""
        if not self.under_way:
            return
        futures = [each.future for each in self.under_way.values()]
        with suppress(Exception):  # whatever ended the call is what counts, not a connection that went with it
            self.compute.tell(self.name, "stop")
            limit = time.monotonic() + self.compute.deadlines.stop_s
            while any(future.status == "pending" for future in futures if self._is_running(future)) and time.monotonic() < limit:
                time.sleep(0.05)
            self.compute.client.cancel(futures)
        self.under_way.clear()

    def _is_running(self, future: Any) -> bool:
        return any(future.key in keys for keys in self.compute.client.processing().values())


def _lost(raised: Exception) -> Exception:
    if isinstance(raised, LabError):
        return raised
    from distributed import KilledWorker

    what = "its worker died each time" if isinstance(raised, KilledWorker) else type(raised).__name__
    return ComputeError(
        expected="workers that survive this task",
        got=f"{what}: {' '.join(str(raised).split())[:300]}",
        remedy="look at the workers' logs: the usual cause is too little memory (a smaller recipe.stream.batch, fewer workers a "
        "machine); then repeat the call, which resumes",
    )


# --- on the worker ----------------------------------------------------------------------------------------------------------

_busy = threading.Lock()
"""A worker process does one thing at a time, however many threads it has: devices and thread counts are the process's."""


def _perform(task: Task[T], name: str, key: str) -> tuple[str, T | None, BaseException | None]:
    """The worker, the task's value and its error: no exception leaves it, so that dask never repeats a task on its own account.

    KeyboardInterrupt, by which a task says that it was stopped, would end the worker itself.
    """
    from distributed import get_worker

    address, stop = get_worker().address, stop_of(name, key)
    with _busy:
        if stop():
            return address, None, KeyboardInterrupt()
        try:
            return address, task(stop), None
        except (Exception, KeyboardInterrupt) as error:
            return address, None, error


def stop_of(name: str, key: str) -> Stop:
    """Whether the tasks of `name` were told to stop, or nobody wants the task `key` any more. Cheap enough for every step."""
    looked, unwanted = 0.0, False

    def stop() -> bool:
        nonlocal looked, unwanted
        if workers.heard(name):
            return True
        now = time.monotonic()
        if now - looked > _LOOK_S:
            looked, unwanted = now, not workers.is_wanted(key)
        return unwanted

    return stop
