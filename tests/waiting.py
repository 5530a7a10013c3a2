"""Waiting in tests: for what is needed, not for a time; the deadline is there only so that a hang ends."""

import time
from collections.abc import Callable

DEADLINE_S = 600.0


class Clock:
    """A clock that a test sets: calling it gives `now`, in seconds."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def eventually(condition: Callable[[], object], *, every_s: float = 0.02) -> None:
    """Returns once the condition holds. AssertionError if it never does."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "what was waited for never came"
        time.sleep(every_s)
