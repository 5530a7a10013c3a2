"""Which actors may be learned from: three splits by seed, fixed once and for all.

    train   0 … 999 999                   what training reads
    val     1 000 000 … 1 999 999         for choosing between trainings
    test    2 000 000 … 2 147 483 647     for scores; no training code opens them

So the actors of the documentation (7, 21, 32) are people to learn from, never test people.
"""

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
        raise ValueError(f"no split {split!r}; there are {', '.join(SPLITS)}")
    bounds = (0, FIRST_VAL, FIRST_TEST, AFTER_LAST)
    number = list[str](SPLITS).index(split)
    return range(bounds[number], bounds[number + 1])


def check_trainable(seed: int) -> None:
    """Let training code open an actor. Raises SplitError for a test person.

    There is no way around it. If a benchmark ever fits a swapper to each of its pairs, on takes that it does not score, that one
    exception belongs here, by name.
    """
    if split_of(seed) == "test":
        raise SplitError(
            expected=f"an actor to learn from: a seed below {FIRST_TEST}",
            got=f"actor:{seed}, a test person",
            remedy="train on another actor; test people are for scores only",
        )


MAX_SEED = 2**31


def check_seed(seed: int, name: str = "seed") -> None:
    """Raises ValueError unless 0 <= seed < 2**31, TypeError unless it is an int."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"{name} must be an int, got {type(seed).__name__}")
    if not 0 <= seed < MAX_SEED:
        raise ValueError(f"{name} must be at least 0 and below 2**31, got {seed}")
