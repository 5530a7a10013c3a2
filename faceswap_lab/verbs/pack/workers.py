"""Tasks in worker processes that stop together, each at a place where what it has done is kept."""

import multiprocessing
import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from ctypes import c_bool
from functools import partial
from typing import Any, TypeVar

import cv2
import torch

from faceswap_lab.models.training.stopping import Stop, never, stop_on_signals

T = TypeVar("T")
Task = Callable[[Stop], T]
"""What one process does; it asks now and then whether to stop, and raises KeyboardInterrupt if so."""

Made = Generator[T, None, None]
"""What tasks give, as each gets ready. To be closed by whoever does not go to its end: that stops the others."""


def run_tasks(tasks: Sequence[Task[T]], workers: int) -> Made[T]:
    """Run the tasks: one after the other here, or in processes of their own.

    A signal to this process, or an error in one of the others, stops them all: each keeps what it has and ends.
    """
    if workers == 1 or len(tasks) == 1:
        for task in tasks:
            yield task(never)
        return
    context = multiprocessing.get_context("spawn")
    stopping = context.RawValue(c_bool, False)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(stopping,))
    with stop_on_signals(partial(setattr, stopping, "value", True)), pool:
        try:
            for done in as_completed([pool.submit(_in_worker, task) for task in tasks]):
                yield done.result()
        except BaseException:
            stopping.value = True
            pool.shutdown(wait=False, cancel_futures=True)
            raise


_stopping: Any = None
"""In a worker: the flag that its parent sets."""


def _begin_worker(stopping: Any) -> None:
    global _stopping  # a pool hands nothing else on to its workers that a task could ask later
    _stopping = stopping
    # A terminal's Ctrl-C goes to every process at once; the parent passes it on, so that all end the same way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_worker(task: Task[T]) -> T:
    return task(lambda: bool(_stopping.value))


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for OpenCV: sums come out the same everywhere, and several trainings don't slow each other down."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
