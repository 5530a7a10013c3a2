"""Which actors may be trained on: three splits by seed, permanently fixed.

    train   0 … 999 999                   training data
    val     1 000 000 … 1 999 999         model selection
    test    2 000 000 … 2 147 483 647     evaluation only; no training code opens them

So the actors of the documentation (7, 21, 32) are training actors, never test persons.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

from faceswap_lab.errors import SplitError

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
FIRST_VAL, FIRST_TEST, AFTER_LAST = 1_000_000, 2_000_000, 2**31


def split_of(seed: int) -> Split:
    """The split of an actor's seed. Raises ValueError unless 0 <= seed < 2**31."""
    check_seed(seed)
    return "train" if seed < FIRST_VAL else "val" if seed < FIRST_TEST else "test"


def seeds_of(split: str) -> range:
    """All seeds of a split. Raises ValueError for an unknown split."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r}; choose from {', '.join(SPLITS)}")
    bounds = (0, FIRST_VAL, FIRST_TEST, AFTER_LAST)
    number = list[str](SPLITS).index(split)
    return range(bounds[number], bounds[number + 1])


def check_trainable(seed: int) -> None:
    """Checks that training code may open an actor. Raises SplitError for a test person.

    There is no override, and one exception: `fitted_by_the_benchmark`.
    """
    if split_of(seed) == "test" and seed not in _FITTED.get():
        raise SplitError(
            expected=f"a training or validation actor: a seed below {FIRST_TEST}",
            got=f"actor:{seed}, a test person",
            remedy="train on another actor; test persons are for evaluation only",
        )


FITS_FROM = 5_000_000
"""The first seed of the performances on which the benchmark fits swappers; it scores none of these."""

_FITTED: ContextVar[frozenset[int]] = ContextVar("fitted", default=frozenset())


@contextmanager
def fitted_by_the_benchmark(source: int, target: int, *, first_performance: int) -> Iterator[None]:
    """The exception, by name: within it a swapper may be fitted to two test persons, the pair of the benchmark on which it is then
    scored, in performances that are not scored. It holds for this thread's calls only, and not for networks that others use.

    Raises ValueError unless both are test persons and the performances are those set apart for fitting.
    """
    if {split_of(source), split_of(target)} != {"test"} or first_performance < FITS_FROM:
        raise ValueError(
            f"the benchmark fits test persons on performances from {FITS_FROM} on, got {source}, {target}, {first_performance}"
        )
    token = _FITTED.set(frozenset({source, target}))
    try:
        yield
    finally:
        _FITTED.reset(token)


MAX_SEED = 2**31


def check_seed(seed: int, name: str = "seed") -> None:
    """Raises ValueError unless 0 <= seed < 2**31, TypeError unless it is an int."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"{name} must be an int, got {type(seed).__name__}")
    if not 0 <= seed < MAX_SEED:
        raise ValueError(f"{name} must be at least 0 and below 2**31, got {seed}")
