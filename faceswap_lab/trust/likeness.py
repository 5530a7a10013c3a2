"""Whether a person whose face was replaced is still recognised: what judges measured, in figures, and what follows."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

MOST = 0.1
"""The largest share of faces that a judge may take for the person. Of one picture: none; of 24 frames: two, as strangers may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One judge on one result: of `num_faces` replaced faces the share that it takes for the person in the original.

    `cosine` is the median over faces, `rule` what it takes to be taken for the person, `rate` how often strangers are by that rule.
    """

    judge: str
    sha256: str
    num_faces: int
    share: float
    cosine: float
    rule: str
    rate: str

    @property
    def recognises(self) -> bool:
        """Whether it takes more faces for the person than may happen by chance, or had none to look at."""
        return self.num_faces == 0 or self.share > MOST

    def __str__(self) -> str:
        if not self.num_faces:
            return f"{self.judge} had no replaced face to compare"
        count = f"{round(self.share * self.num_faces)} of {self.num_faces}"
        verb = "takes" if self.recognises else "takes only"
        return f"{self.judge} {verb} {count} for the same person (median cosine {self.cosine:.3f}; {self.rule}; {self.rate})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """What all judges said of one result. Looked at were `num_frames` frames: every `every`-th."""

    judged: tuple[Judged, ...]
    num_frames: int
    every: int

    @property
    def recognisable(self) -> bool:
        """Whether one judge at least still recognises the person. Without judges: yes, since nothing is known."""
        return not self.judged or any(each.recognises for each in self.judged)

    @property
    def worst(self) -> Judged | None:
        """The judge that takes the largest share for the person."""
        return max(self.judged, key=lambda each: (each.share, each.cosine), default=None)

    def __str__(self) -> str:
        return "; ".join(map(str, self.judged)) or "no judge looked at it"

    def record(self) -> dict[str, Any]:
        """For the audit log: figures, never an embedding."""
        judged = [{name: _short(value) for name, value in asdict(each).items()} for each in self.judged]
        return {"recognisable": self.recognisable, "frames": self.num_frames, "every": self.every, "judged": judged}


def _short(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def told(likenesses: Sequence[Likeness]) -> str:
    """Those of several results in one text."""
    return "; and ".join(map(str, likenesses))
