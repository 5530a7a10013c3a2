"""Hours and money of a piece of work: on demand or reserved, busy or idle, on one GPU or many. Arithmetic on plain numbers only.

Spot machines, which can be taken away, are in `spot`; how speed grows with the number of machines in `scaling`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

HOURS_A_DAY = 24.0
DAYS_A_YEAR = 365.0
HOURS_A_YEAR = HOURS_A_DAY * DAYS_A_YEAR

Unit = Literal["samples", "frames"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """So many samples to train on, or frames to swap. `per_s` is the speed of one GPU, in the same unit a second."""

    amount: float
    per_s: float
    unit: Unit = "samples"

    def __post_init__(self) -> None:
        require_positive("amount", self.amount)
        require_positive("per_s", self.per_s)

    def hours(self, speed_up: float = 1.0) -> float:
        """Hours of one GPU, or of so many that they are `speed_up` times as fast."""
        require_positive("speed_up", speed_up)
        return self.amount / (self.per_s * speed_up) / 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """A machine paid for a whole year, used or not, beside the same machine paid by the hour; `discount` is 0..1."""

    price: float
    discount: float

    def __post_init__(self) -> None:
        require_positive("price", self.price)
        require_share("discount", self.discount)

    @property
    def a_year(self) -> float:
        """What the year costs, however little the machine is used."""
        return self.price * (1.0 - self.discount) * HOURS_A_YEAR

    @property
    def break_even_hours(self) -> float:
        """Hours of use a year from which on reserving is cheaper."""
        return (1.0 - self.discount) * HOURS_A_YEAR

    @property
    def break_even_hours_a_day(self) -> float:
        """The same as hours of use a day, every day of the year."""
        return self.break_even_hours / DAYS_A_YEAR

    def on_demand_a_year(self, hours_a_day: float) -> float:
        """What so much use costs by the hour."""
        return money(hours_a_day * DAYS_A_YEAR, self.price)


def money(hours: float, price: float, machines: int = 1) -> float:
    """What so many machines cost for so many hours; `price` is of one machine and one hour."""
    return hours * price * machines


# --- idle machines --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A day's use of one machine: `busy_hours` in so many `sessions` of equal length, evenly spread.

    It is switched off after `idle_minutes` without work, and takes `start_minutes` to be ready again, which are paid as well.
    """

    busy_hours: float
    sessions: int = 1
    idle_minutes: float = 15.0
    start_minutes: float = 5.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.busy_hours <= HOURS_A_DAY:
            raise ValueError(f"busy_hours must be within 0..24, got {self.busy_hours}")
        if self.sessions < 1:
            raise ValueError(f"sessions must be at least 1, got {self.sessions}")
        for name in ("idle_minutes", "start_minutes"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")

    @property
    def gap_hours(self) -> float:
        """From the end of one session to the beginning of the next."""
        return (HOURS_A_DAY - self.busy_hours) / self.sessions

    @property
    def overhead_hours(self) -> float:
        """What one switching off and on costs: the wait before it and the start after it."""
        return (self.idle_minutes + self.start_minutes) / 60.0

    @property
    def paid_hours(self) -> float:
        """Hours paid a day if idle machines are switched off. A gap that is shorter than wait and start together is paid whole."""
        return self.busy_hours + self.sessions * min(self.gap_hours, self.overhead_hours)

    @property
    def saving(self) -> float:
        """Share of the bill of a machine that always runs, 0..1."""
        return 1.0 - self.paid_hours / HOURS_A_DAY

    def most_busy_hours(self, saving: float) -> float:
        """The most busy hours a day at which switching off still saves this share; below 0 if it never does."""
        require_share("saving", saving)
        return HOURS_A_DAY * (1.0 - saving) - self.sessions * self.overhead_hours

    def explained(self) -> str:
        """The arithmetic of `saving`, in one line."""
        gap = min(self.gap_hours, self.overhead_hours)
        return (
            f"paid {self.busy_hours:g} h of work + {self.sessions} x {gap:.2f} h of waiting and starting = {self.paid_hours:.2f} h "
            f"of 24 h: {self.saving:.0%} saved"
        )


# --- how many GPUs ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The same work on so many GPUs, `hours` with the start of the machines. `gain` is what each GPU added since the choice before
    brings, as a share of a GPU that works alone and needs no start; nan for the first. `machines` is how many are paid."""

    gpus: int
    machines: int
    speed_up: float
    hours: float
    money: float
    gain: float

    @property
    def efficiency(self) -> float:
        """Speed-up for each GPU."""
        return self.speed_up / self.gpus


def choices(
    work: Work, price: float, curve: Mapping[int, float], gpus_a_machine: int = 1, start_hours: float = 0.0
) -> list[Choice]:
    """The work on each number of GPUs of a measured `curve` (GPUs to speed-up over one), fewest first.

    `price` is of one machine and one hour. A machine that is used in part is paid whole, and so is its start.
    """
    require_positive("price", price)
    require_positive("gpus_a_machine", gpus_a_machine)
    found: list[Choice] = []
    for gpus in sorted(_checked(curve)):
        hours, machines = start_hours + work.hours(curve[gpus]), math.ceil(gpus / gpus_a_machine)
        before = found[-1] if found else None
        gain = work.hours() * (1 / hours - 1 / before.hours) / (gpus - before.gpus) if before else math.nan
        bill = money(hours, price, machines)
        found.append(Choice(gpus=gpus, machines=machines, speed_up=curve[gpus], hours=hours, money=bill, gain=gain))
    return found


def worth_it(found: list[Choice], *, hour_worth: float | None = None, least_gain: float = 0.5) -> Choice:
    """The choice to take. With `hour_worth`, the price of an hour of waiting: the one of least money and waiting together.

    Without it: the most GPUs before one that brings less than `least_gain` of a GPU.
    """
    if not found:
        raise ValueError("there is nothing to choose from")
    if hour_worth is not None:
        return min(found, key=lambda each: each.money + each.hours * hour_worth)
    best = found[0]
    for each in found[1:]:
        if each.gain < least_gain:
            break
        best = each
    return best


def _checked(curve: Mapping[int, float]) -> Mapping[int, float]:
    if not curve:
        raise ValueError("a scaling curve needs at least one point")
    for gpus, speed_up in curve.items():
        if gpus < 1:
            raise ValueError(f"a number of GPUs must be at least 1, got {gpus}")
        require_positive(f"the speed-up of {gpus} GPUs", speed_up)
    if abs(curve.get(1, 1.0) - 1.0) > 1e-9:
        raise ValueError(f"a speed-up is over one GPU, so that of 1 must be 1, got {curve[1]}")
    return curve


def require_positive(name: str, value: float) -> None:
    """ValueError unless the value is finite and above 0."""
    if not 0.0 < value < math.inf:
        raise ValueError(f"{name} must be positive, got {value}")


def require_share(name: str, value: float) -> None:
    """ValueError unless the value is within 0..1, 1 excluded."""
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
