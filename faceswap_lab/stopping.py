"""Graceful stop on signals: training ends after the current step, where its state is consistent, not in the middle of one."""

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

Stop = Callable[[], bool]
"""Whether to stop; called after every step."""

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def never() -> bool:
    """Never stops: training runs to its end."""
    return False


def until(stop: Stop, items: Iterable[T]) -> Iterator[T]:
    """The items, each produced only if `stop()` is still false. Raises KeyboardInterrupt once it is true."""
    making = iter(items)
    while not stop():
        try:
            yield next(making)
        except StopIteration:
            return
    raise KeyboardInterrupt


@contextmanager
def stop_on_signals(tell: Callable[[], None] = lambda: None) -> Iterator[Stop]:
    """Yields a function that tells whether SIGINT (Ctrl-C) or SIGTERM arrived in the block; `tell` is called on the first one.

    A block that completes despite a signal ends with KeyboardInterrupt; a second signal raises it immediately. Previous handlers
    are restored at the end. Python handles signals in its main thread only: elsewhere nothing is changed, nor are signals that the
    process was started to ignore.
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
                # None is a handler not installed from Python, which Python could not restore.
                if before not in (signal.SIG_IGN, None):
                    signal.signal(number, handle)
                    handlers.callback(signal.signal, number, before)
        yield lambda: asked
    if asked:  # and the block did not act on it: a signal is never lost
        raise KeyboardInterrupt
