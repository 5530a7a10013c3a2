"""A figure with its floor and its ceiling."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One figure with its floor (unmodified target) and ceiling (truth); `unit` in words ("dB", "share", "cosine")."""

    value: float
    floor: float
    ceiling: float
    unit: str
    higher_is_better: bool = True

    @property
    def normalised(self) -> float:
        """0 at the floor, 1 at the ceiling; see the function of that name."""
        return normalised(self.value, self.floor, self.ceiling)


def normalised(score: float, floor: float, ceiling: float) -> float:
    """(score - floor) / (ceiling - floor): 0 is the unmodified target, 1 the truth; may be outside 0..1.

    nan if the ceiling is infinite or equals the floor: the truth's PSNR with itself is infinite, so PSNR cannot be normalised.
    """
    if not math.isfinite(ceiling) or not math.isfinite(floor) or ceiling == floor:
        return math.nan
    return (score - floor) / (ceiling - floor)
