"""Spot machines: cheaper by the hour, taken away without asking. What a piece of work then takes on average, and when it pays.

Machines are taken away at random, independently of what went before (a Poisson process). The work goes on from the newest
checkpoint after `restart_s`, which is paid. How long one waits until a machine is on offer again is not known, and not in here.
"""

import math
from dataclasses import dataclass

from faceswap_lab.compute.costs.pricing import require_positive, require_share

_HALVINGS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """`restarts_per_hour` is the probability, 0..1, that one machine is taken away within an hour of work.

    `restart_s` is the time from there until the work goes on, `checkpoint_s` the time between two checkpoints. A gang of several
    `machines` stops when one of them does.
    """

    restarts_per_hour: float
    restart_s: float = 300.0
    checkpoint_s: float = 600.0
    machines: int = 1

    def __post_init__(self) -> None:
        require_share("restarts_per_hour", self.restarts_per_hour)
        require_positive("checkpoint_s", self.checkpoint_s)
        if not 0.0 <= self.restart_s < math.inf:
            raise ValueError(f"restart_s must not be negative, got {self.restart_s}")
        if self.machines < 1:
            raise ValueError(f"machines must be at least 1, got {self.machines}")

    @property
    def rate(self) -> float:
        """Restarts of the whole gang in an hour of work, on average: probability p of one machine is the rate -ln(1 - p)."""
        return -math.log1p(-self.restarts_per_hour) * self.machines

    @property
    def loss_s(self) -> float:
        """What one restart costs: the restart itself and half the time between two checkpoints, which is done again.

        The half is right where restarts are rare beside checkpoints; `expected_hours` does without it.
        """
        return self.restart_s + self.checkpoint_s / 2.0

    def expected_hours(self, hours: float) -> float:
        """Mean hours until so many hours of work are done.

        From one checkpoint to the next, T hours apart, with the rate r and restarts of R hours: (exp(r T) - 1) (1 / r + R).
        While it restarts, nothing is taken away. Where r T is small, this is hours x (1 + r x `loss_s`).
        """
        require_positive("hours", hours)
        return _expected(hours, self.rate, self.checkpoint_s / 3600.0, self.restart_s / 3600.0)

    def expected_restarts(self, hours: float) -> float:
        """Mean number of restarts until so many hours of work are done."""
        require_positive("hours", hours)
        return _restarts(hours, self.rate, self.checkpoint_s / 3600.0)

    def overhead(self, hours: float) -> float:
        """Hours paid over hours of work, at least 1."""
        return self.expected_hours(hours) / hours

    def least_discount(self, hours: float) -> float:
        """The discount on the hour, 0..1, at which spot costs what on demand does; with a larger one it is cheaper."""
        return max(0.0, 1.0 - 1.0 / self.overhead(hours))


def spot_money(hours: float, price: float, discount: float, spot: Spot) -> float:
    """What so many hours of work cost on average; `price` is of one machine and one hour on demand."""
    require_share("discount", discount)
    return spot.expected_hours(hours) * price * (1.0 - discount) * spot.machines


def break_even_restarts(hours: float, discount: float, spot: Spot) -> float:
    """The probability that a machine is taken away within an hour at which spot with this discount costs what on demand does.

    Below it spot is cheaper; 1 if it always is. Restart, checkpoints and machines are those of `spot`.
    """
    require_positive("hours", hours)
    require_share("discount", discount)
    allowed, interval, restart = hours / (1.0 - discount), spot.checkpoint_s / 3600.0, spot.restart_s / 3600.0
    low, high = 0.0, 1.0
    while _expected(hours, high, interval, restart) < allowed:
        low, high = high, 2.0 * high
    for _ in range(_HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if _expected(hours, middle, interval, restart) < allowed else (low, middle)
    return -math.expm1(-low / spot.machines)


def _restarts(hours: float, rate: float, interval: float) -> float:
    whole, rest = divmod(hours, interval)
    try:
        return whole * math.expm1(rate * interval) + math.expm1(rate * rest)
    except OverflowError:
        return math.inf


def _expected(hours: float, rate: float, interval: float, restart: float) -> float:
    return _restarts(hours, rate, interval) * (1.0 / rate + restart) if rate else hours
