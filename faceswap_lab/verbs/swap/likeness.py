"""How much a result still looks like the people whose faces were replaced, by judges that no method here was trained with.

Every export of an anonymised person begins with this measure, and nothing turns it off. It needs no consent of its own: it is part
of the use "anonymise", happens on this machine, and nothing but its figures is kept.
"""

from collections.abc import Sequence

import numpy as np

from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Footage
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.judges.panel import judges
from faceswap_lab.models.judges.recogniser import Recogniser
from faceswap_lab.models.judges.replaced import verdicts
from faceswap_lab.models.judges.thresholds import RULES, Verdict
from faceswap_lab.trust.likeness import Judged, Likeness

MOST_FRAMES = 24
"""Frames that are looked at: every n-th, from the first on."""


def measured(shown: Footage, originals: Sequence[tuple[Footage, int]], corrections: Corrections) -> Likeness:
    """What the judges say of the result `shown`. WeightsError if a judge's file was not fetched.

    `originals` are the footage that it goes back to, each with the number of the frame that the result's first one was made of; the
    figures are those of the original that is most alike. `corrections` are those that the swap was given. Cannot see who is
    recognised by hair, clothes, voice or place.
    """
    panel, engine = judges(), OfflineEngine()
    every = -(-len(shown) // MOST_FRAMES)
    numbers = range(0, len(shown), every)
    worst: dict[str, list[Verdict]] = {judge.name: [] for judge in panel}
    for original, start in originals:
        told = _verdicts(shown, original, start, numbers, corrections, panel, engine)
        worst = {judge: max(worst[judge], told[judge], key=_alike) for judge in worst}
    return Likeness(judged=tuple(_judged(judge, worst[judge.name]) for judge in panel), num_frames=len(numbers), every=every)


def _verdicts(
    shown: Footage,
    original: Footage,
    start: int,
    numbers: range,
    corrections: Corrections,
    panel: tuple[Recogniser, ...],
    engine: OfflineEngine,
) -> dict[str, list[Verdict]]:
    """By judge, of all replaced faces in these frames."""
    found: dict[str, list[Verdict]] = {judge.name: [] for judge in panel}
    for number in numbers:
        before = original[start + number]
        points = corrections.points(original.origin, start + number)
        faces = verdicts(before, shown[number], judges=panel, engine=engine, domain="photographs", points=points)
        for each in (one for face in faces for one in face):
            found[each.judge].append(each)
    return found


def _alike(told: list[Verdict]) -> tuple[float, float]:
    """How alike, for a maximum: the share taken for the person, then the median cosine. Without faces: less than any."""
    if not told:
        return -1.0, -1.0
    return float(np.mean([each.taken for each in told])), float(np.median([each.cosine for each in told]))


def _judged(judge: Recogniser, told: list[Verdict]) -> Judged:
    share, cosine = _alike(told) if told else (0.0, 0.0)
    rule = RULES[judge.name, "photographs"]
    return Judged(
        judge=judge.name, sha256=judge.card.sha256, num_faces=len(told), share=share, cosine=cosine, rule=str(rule), rate=rule.rate
    )
