"""beartype as the package wants it: an int is a float (PEP 484's numeric tower), and a check is built when it is first needed.

Building one takes beartype a millisecond, and jaxtyping asks for two per function: a run that only collects, or tests one file,
would pay for thousands that it never calls. A call is checked for the same as before; `test_typecheck.py` builds all of them once.
"""

from collections.abc import Callable
from typing import Any

from beartype import BeartypeConf, beartype

check_now = beartype(conf=BeartypeConf(is_pep484_tower=True))


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with its arguments and result checked; the check is built at the first call."""
    checked: Callable[..., Any] | None = None

    def first_build(*args: Any, **kwargs: Any) -> Any:
        nonlocal checked
        if checked is None:
            checked = check_now(function)
        return checked(*args, **kwargs)

    return first_build
