"""Three tries with pauses between, and what came of them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

PAUSES_S = (1.0, 4.0)
"""Before the second try and before the third."""


class TransientError(Exception):
    """A fault that may be gone in a moment."""


class RefusedError(Exception):
    """A fault that stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """Whether a notice was taken, in how many tries, and what was said last."""

    ok: bool
    attempts: int
    answer: str


def attempt(deliver: Callable[[], str]) -> Delivered:
    """Call `deliver`, again after each `TransientError`; neither that nor `RefusedError` is raised."""
    for number, pause in enumerate((*PAUSES_S, None), 1):
        try:
            return Delivered(ok=True, attempts=number, answer=deliver())
        except RefusedError as error:
            return Delivered(ok=False, attempts=number, answer=str(error))
        except TransientError as error:
            if pause is None:
                return Delivered(ok=False, attempts=number, answer=str(error))
            time.sleep(pause)
    raise AssertionError("the last try returns")
