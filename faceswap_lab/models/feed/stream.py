"""Samples of shards as steps of training: shuffled, resumable at any step, for any number of ranks, read ahead by a thread."""

import queue
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from faceswap_lab.actors.shards import Sample
from faceswap_lab.models.feed.order import Order, draw_of, indices_of
from faceswap_lab.models.feed.shard_source import ShardReader, ShardSource
from faceswap_lab.storage.cache import StoreCache

T = TypeVar("T")
_PAUSE_S = 0.1

Decode = Callable[[Sample, np.random.Generator], T]
"""Makes of a sample what training takes; the generator's numbers belong to this place of this step."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShardStream(Generic[T]):
    """What training sees of a data set: a pure function of (seed, step, index in the step).

    `batch` counts the samples of a step on all `ranks` together. `decode` runs where the stream is read, in its thread.
    """

    source: ShardSource
    decode: Decode[T]
    seed: int
    batch: int
    rank: int = 0
    ranks: int = 1
    window: int = 8
    cache: StoreCache

    @property
    def order(self) -> Order:
        """The order that all ranks share."""
        return Order(counts=self.source.counts, seed=self.seed, batch=self.batch, window=self.window)

    def sample(self, step: int, index: int) -> T:
        """What this place of this step shows, on whichever rank."""
        order = self.order
        with ShardReader(self.source, self.cache, most=1) as reader:
            return self._decoded(reader, order, order.at(step, index), step, index)

    def steps(self, start: int = 0, stop: int | None = None, ahead: int = 2) -> Generator[tuple[int, list[T]], None, None]:
        """(step, this rank's part of it) from step `start` on, without end if `stop` is None; `ahead` steps are made in advance.

        Errors of the store and of `decode` are raised here. Closing the iterator ends the thread.
        """
        return read_ahead(self._steps(start, stop), ahead)

    def _steps(self, start: int, stop: int | None) -> Iterator[tuple[int, list[T]]]:
        order, mine, step = self.order, indices_of(self.batch, self.rank, self.ranks), start
        # At the border of two windows, shards of both are needed.
        with ShardReader(self.source, self.cache, most=2 * self.window) as reader:
            while stop is None or step < stop:
                numbers = order.step(step)
                yield step, [self._decoded(reader, order, int(numbers[index]), step, index) for index in mine]
                step += 1

    def _decoded(self, reader: ShardReader, order: Order, number: int, step: int, index: int) -> T:
        return self.decode(reader.sample(*order.place(number)), draw_of(self.seed, step, index))


def read_ahead(items: Iterator[T], ahead: int) -> Generator[T, None, None]:
    """The same items, made by a thread up to `ahead` before they are asked for; its errors are raised here."""
    ready: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(max(1, ahead))
    ended = threading.Event()

    def put(item: tuple[T | None, BaseException | None]) -> bool:
        while not ended.is_set():
            with suppress(queue.Full):
                ready.put(item, timeout=_PAUSE_S)
                return True
        return False

    def work() -> None:
        try:
            for item in items:
                if not put((item, None)):
                    break
            else:
                put((None, StopIteration()))
        except BaseException as error:
            put((None, error))
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    thread = threading.Thread(target=work, name="read ahead", daemon=True)
    thread.start()
    try:
        while True:
            item, error = ready.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield item  # type: ignore[misc]
    finally:
        ended.set()
        thread.join()
