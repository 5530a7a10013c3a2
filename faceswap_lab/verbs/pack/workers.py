"""Tasks in worker processes that stop together, each at a point where its progress is saved."""

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

from faceswap_lab.models.training.stopping import Stop, stop_on_signals

T = TypeVar("T")
Task = Callable[[Stop], T]
"""The work of one process; it regularly checks whether to stop, and raises KeyboardInterrupt if so."""

Made = Generator[T, None, None]
"""Results of tasks, as they complete. A caller that does not exhaust it must close it, which stops the remaining tasks."""


def run_tasks(tasks: Sequence[Task[T]], workers: int) -> Made[T]:
    """Run the tasks: sequentially in this process, or in worker processes.

    A signal to this process, or an error in a worker, stops all of them: each saves its progress and ends. The first signal is
    acted on where the running tasks next look, a second one at once.
    """
    if workers == 1 or len(tasks) == 1:
        with stop_on_signals() as stop:
            for task in tasks:
                yield task(stop)
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
"""In a worker: the stop flag set by its parent."""


def _begin_worker(stopping: Any) -> None:
    global _stopping  # the only way to pass state from a pool's initializer to its tasks
    _stopping = stopping
    # Ctrl-C in a terminal signals every process; workers ignore it and rely on the parent, so that all end the same way.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _in_worker(task: Task[T]) -> T:
    return task(lambda: bool(_stopping.value))


@contextmanager
def one_thread() -> Iterator[None]:
    """A single thread for torch and OpenCV: sums are reproducible, and parallel trainings do not slow each other down."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])
