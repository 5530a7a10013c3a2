"""Waiting in tests: for what is needed, not for a time; the deadline is there only so that a hang ends."""

import time
from collections.abc import Callable

DEADLINE_S = 600.0


def eventually(condition: Callable[[], object], *, every_s: float = 0.02) -> None:
    """Returns once the condition holds. AssertionError if it never does."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, "what was waited for never came"
        time.sleep(every_s)
