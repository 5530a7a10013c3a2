"""Signals that ask a training to stop: it ends after the step at work, where its state is consistent, not in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

Stop = Callable[[], bool]
"""Whether to stop; asked after every step."""

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def never() -> bool:
    """A training that goes on to its end."""
    return False


def until(stop: Stop, items: Iterable[T]) -> Iterator[T]:
    """The items, each made only if there is still no reason to stop. Raises KeyboardInterrupt at the first that is not."""
    making = iter(items)
    while not stop():
        try:
            yield next(making)
        except StopIteration:
            return
    raise KeyboardInterrupt


@contextmanager
def stop_on_signals(tell: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Gives what says whether Ctrl-C (SIGINT) or SIGTERM came within the block; `tell` is called when the first one comes.

    A block that ends well in spite of a signal ends with KeyboardInterrupt; the second signal raises it where it finds the program.
    The handlers before are restored at the end. Python hears signals in its main thread only: elsewhere nothing is changed, and
    neither is a signal that the process was started to ignore.
    """
    asked = False

    def handle(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        tell()

    with ExitStack() as handlers:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.getsignal(number)
                # None is a handler that something other than Python installed, and that Python could not restore.
                if before not in (signal.SIG_IGN, None):
                    signal.signal(number, handle)
                    handlers.callback(signal.signal, number, before)
        yield lambda: asked
    if asked:  # and the block has not heard of it: a signal is never lost
        raise KeyboardInterrupt
