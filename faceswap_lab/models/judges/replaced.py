"""Replaced faces: those of a frame that a swap changed, compared with what was there before, by every judge."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models.judges.recogniser import Recogniser
from faceswap_lab.models.judges.thresholds import Domain, Verdict, verdict
from faceswap_lab.models.protocols import Engine

_SEEN = 8
"""Levels (0..255) by which a pixel differs before its change is counted."""

_CHANGED = 0.02
"""The share of a face's box that has to be changed for the face to count as replaced."""


def verdicts(
    before: Frame,
    after: Frame,
    *,
    judges: Sequence[Recogniser],
    engine: Engine,
    domain: Domain,
    points: Float[np.ndarray, "5 2"] | None = None,
) -> list[list[Verdict]]:
    """For each replaced face what each judge says of it, before and after.

    Faces are those that `engine` finds in the frame before; `points`, set by hand, are one more. A face that is not found again
    afterwards is cut out as it was before. ValueError for frames of different sizes.
    """
    if before.size != after.size:
        raise ValueError(f"the frames differ in size: {before.size} and {after.size}")
    found, again = engine.detect(before), engine.detect(after)
    places = [(row.keypoints[0], row.boxes[0]) for row in found if _is_changed(before.image, after.image, row.boxes[0])]
    if points is not None and not any(_within(points.mean(axis=0), box) for _, box in places):
        places.append((points, _box(points)))
    return [
        [
            verdict(each.name, each.describe(before.image, own), each.describe(after.image, _points_at(again, box, own)), domain)
            for each in judges
        ]
        for own, box in places
    ]


def _is_changed(before: Image, after: Image, box: Float[np.ndarray, " 4"]) -> bool:
    left, top, right, bottom = (max(0, round(float(side))) for side in box)
    part = slice(top, bottom + 1), slice(left, right + 1)
    differs = np.abs(before[part].astype(np.int16) - after[part]).max(axis=2, initial=0) > _SEEN
    return bool(differs.size) and float(differs.mean()) > _CHANGED


def _points_at(found: Faces, box: Float[np.ndarray, " 4"], otherwise: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, "5 2"]:
    """The points of the found face nearest to the middle of a box, if its own middle is within the box; else `otherwise`."""
    middle = (box[:2] + box[2:]) / 2
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    inside = [row for row in range(len(found)) if _within(middles[row], box)]
    if not inside:
        return otherwise
    return np.asarray(found.keypoints[min(inside, key=lambda row: float(np.linalg.norm(middles[row] - middle)))])


def _within(point: Float[np.ndarray, " 2"], box: Float[np.ndarray, " 4"]) -> bool:
    return bool((point >= box[:2]).all() and (point <= box[2:]).all())


def _box(points: Float[np.ndarray, "5 2"]) -> Float[np.ndarray, " 4"]:
    low, high = points.min(axis=0), points.max(axis=0)
    return np.concatenate([low - (high - low) / 2, high + (high - low) / 2])
