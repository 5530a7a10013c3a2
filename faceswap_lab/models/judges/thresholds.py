"""When a judge takes two faces for one person: the rules, each with its source and with how often strangers are taken so.

Two domains, because actors are more alike than people: a rule for photographs would take every third pair of actors for one person.
Rates are of pictures found by the offline engine. `benchmarks/judges.py` measures those of actors anew.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from faceswap_lab.models.judges.panel import DLIB, FACERES

Domain = Literal["actors", "photographs"]
"""Actors as rendered, or people as photographed, whoever's face was put on them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Taken for one person: at least this `cosine`, or at most this `distance` of the recogniser's own vectors; one of the two.

    `rate` says how often two people are taken for one, and how that is known; `source` where the rule comes from.
    """

    source: str
    rate: str
    cosine: float | None = None
    distance: float | None = None

    def __post_init__(self) -> None:
        if (self.cosine is None) == (self.distance is None):
            raise ValueError(f"a rule is a cosine or a distance, got {self.cosine} and {self.distance}")

    def __str__(self) -> str:
        return f"from a cosine of {self.cosine:g}" if self.cosine is not None else f"up to a distance of {self.distance:g}"


_MEASURED = "43,661 pairs of pictures of 60 test actors from seed 2,700,000 (benchmarks/judges.py)"

RULES: dict[tuple[str, Domain], Rule] = {
    (DLIB, "actors"): Rule(cosine=0.947, rate="1 % of pairs of two actors", source=_MEASURED),
    (FACERES, "actors"): Rule(cosine=0.711, rate="1 % of pairs of two actors", source=_MEASURED),
    (DLIB, "photographs"): Rule(
        distance=0.6,
        rate="on LFW at most 1.2 % of strangers: 0.6 % of errors among 6,000 pairs",
        source="dlib, documentation of its face recognition model (King 2017)",
    ),
    (FACERES, "photographs"): Rule(
        cosine=0.664,
        rate="of pairs of two actors 3.6 %; on photographs its authors give none",
        source="HSE-FaceRes, process_photos.py: a distance of 0.82 between unit vectors (Savchenko 2019)",
    ),
}
"""The rules by judge and domain."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a judge says of two faces: their cosine, the distance of its own vectors, and whether it takes them for one person."""

    judge: str
    cosine: float
    distance: float
    taken: bool
    rule: Rule


def verdict(judge: str, one: Float[np.ndarray, " d"], other: Float[np.ndarray, " d"], domain: Domain) -> Verdict:
    """Whether `judge` takes two faces for one person, from its own vectors of them (`Recogniser.describe`).

    Cannot see anything but the face: hair, clothes and place are not in the crop. ValueError for a judge without a rule.
    """
    if (judge, domain) not in RULES:
        raise ValueError(f"there is no rule for {judge!r} on {domain!r}; there are {', '.join(map(str, RULES))}")
    rule = RULES[judge, domain]
    cosine = float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))
    distance = float(np.linalg.norm(one - other))
    taken = cosine >= rule.cosine if rule.cosine is not None else distance <= (rule.distance or 0.0)
    return Verdict(judge=judge, cosine=cosine, distance=distance, taken=taken, rule=rule)
