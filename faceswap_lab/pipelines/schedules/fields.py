"""The five fields of a cron expression, read strictly: what two schedulers would read differently is refused."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from faceswap_lab.errors import ScheduleError

_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: number for number, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}
_PART = re.compile(r"(?:(?P<star>\*)|(?P<first>[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?)(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Which numbers a field may hold, and their names."""

    name: str
    low: int
    high: int
    names: Mapping[str, int]


KINDS = (
    Kind(name="minute", low=0, high=59, names={}),
    Kind(name="hour", low=0, high=23, names={}),
    Kind(name="day of the month", low=1, high=31, names={}),
    Kind(name="month", low=1, high=12, names=_MONTHS),
    Kind(name="day of the week", low=0, high=7, names=_WEEKDAYS),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """The numbers that a field allows; `star` if it was written with one, which decides how the two fields for days go together."""

    values: frozenset[int]
    text: str
    star: bool

    @property
    def is_open(self) -> bool:
        """Whether the field allows every number."""
        return self.text == "*"


def read_field(text: str, kind: Kind) -> Field:
    """One field in the syntax that all cron programs share: `*`, `7`, `1-5`, `*/15`, `8-18/2`, names, and lists of these."""
    values: set[int] = set()
    for part in text.lower().split(","):
        values |= _numbers(part, kind)
    star = text.startswith("*")
    if kind.high == 7:
        values = {value % 7 for value in values}
    spoken = text if star and "," not in text and "-" not in text else _as_list(values)
    if star and len(values) == kind.high - kind.low + (kind.high != 7):
        spoken = "*"
    return Field(values=frozenset(values), text=spoken, star=star)


def _numbers(part: str, kind: Kind) -> set[int]:
    match = _PART.fullmatch(part)
    if match is None:
        raise _refusal(part, kind, "numbers, ranges such as 1-5, steps such as */15, and lists of these, without blanks")
    highest = 6 if kind.high == 7 else kind.high
    if match["star"]:
        first, last = kind.low, highest
    else:
        first = _number(match["first"], kind)
        last = _number(match["last"], kind) if match["last"] else first
    if match["step"] and not match["star"] and match["last"] is None:
        raise _refusal(part, kind, f"a range before the step, such as {first}-{highest}/{match['step']}")
    if last < first:
        raise _refusal(part, kind, "a range that goes upwards; split it in two with a comma")
    step = int(match["step"] or 1)
    if not 1 <= step <= kind.high:
        raise _refusal(part, kind, f"a step of 1 to {kind.high}")
    return set(range(first, last + 1, step))


def _number(text: str, kind: Kind) -> int:
    number = kind.names.get(text, int(text) if text.isascii() and text.isdecimal() and len(text) <= 2 else -1)
    if not kind.low <= number <= kind.high:
        raise _refusal(text, kind, f"{kind.low} to {kind.high}" + (f", or {', '.join(kind.names)}" if kind.names else ""))
    return number


def _as_list(values: set[int]) -> str:
    """`1-5` and `0,30`: runs of three and more as a range."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][-1] + 1:
            runs[-1].append(value)
        else:
            runs.append([value])
    return ",".join(f"{run[0]}-{run[-1]}" if len(run) > 2 else ",".join(map(str, run)) for run in runs)


def _refusal(text: str, kind: Kind, remedy: str) -> ScheduleError:
    return ScheduleError(expected=f"a {kind.name} of a cron expression", got=repr(text), remedy=f"write {remedy}")
