"""Manual corrections: five keypoints for a frame of some footage, stored separately from the detector's output.

`Corrections.of_frame` applies them to all detections of a frame, before one of them is chosen. Whoever chooses one face, the align
view or the swap, takes `row_of_one`, so that what is corrected is what is swapped. In footage of several people a swap asks it for
the first frame with a face, then follows that person (`models.stream.followed`): the view may show somebody else in a later frame.
"""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from pydantic import BaseModel, ConfigDict

from faceswap_lab.errors import FaceError
from faceswap_lab.faces.align import scale_of, similarity, transform_points
from faceswap_lab.faces.face import Faces, best_face

_FORMAT = 1
# Pixels: keypoints that another machine's detector rounds differently are not moved.
_MOVED = 0.25
# Points are biometric data: no error shows them.
_STRICT = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """Manually placed keypoints of one frame: five (x, y) in frame pixels, in the order of `Faces.keypoints`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    origin: str
    index: int
    points: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        values = np.array(self.points, np.float64)
        if values.shape != (5, 2) or not np.isfinite(values).all():
            raise ValueError(f"a correction has 5 finite points (x, y), got an array of shape {values.shape}, or NaN or infinity")
        if self.index < 0 or not self.origin:
            raise ValueError(f"a correction names an origin and a frame from 0, got {self.origin!r} and {self.index}")

    @property
    def keypoints(self) -> Float64[np.ndarray, "5 2"]:
        """The points as an array."""
        return np.array(self.points, np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrections:
    """Immutable corrections sorted by (origin, frame), at most one each; compared by content."""

    entries: tuple[Correction, ...] = ()

    def __post_init__(self) -> None:
        keys = [(entry.origin, entry.index) for entry in self.entries]
        if keys != sorted(set(keys)):
            raise ValueError("corrections are sorted by origin and frame, one for each")

    def __len__(self) -> int:
        return len(self.entries)

    def points(self, origin: str, index: int) -> Float64[np.ndarray, "5 2"] | None:
        """The manual keypoints of this frame, or None."""
        return next((entry.keypoints for entry in self.entries if (entry.origin, entry.index) == (origin, index)), None)

    def with_points(self, origin: str, index: int, points: Float[np.ndarray, "5 2"]) -> "Corrections":
        """A copy with the five keypoints (frame pixels) of one frame set. ValueError for NaN or infinity."""
        added = Correction(origin=origin, index=index, points=tuple((float(x), float(y)) for x, y in points))
        return replace(self, entries=_sorted([*self.without(origin, index).entries, added]))

    def without(self, origin: str, index: int) -> "Corrections":
        """A copy without the correction of that frame."""
        return replace(self, entries=tuple(entry for entry in self.entries if (entry.origin, entry.index) != (origin, index)))

    def of_frame(self, origin: str, index: int, found: Faces) -> "Corrected":
        """All faces of one frame with its correction applied; `found` are the frame's detections.

        The correction replaces the keypoints of the nearest detection whose box contains their centre, and moves that box along.
        If there is none, it adds a face of score 1 as the last row. Must precede landmarks and embeddings, which are computed
        from the keypoints: ValueError if `found` has them.
        """
        points = self.points(origin, index)
        if points is None:
            return Corrected(faces=found)
        if found.landmarks is not None or found.embeddings is not None:
            raise ValueError("corrections come before landmarks and embeddings, which depend on the keypoints")
        row = _row_at(found, points.mean(0))
        if row is None:
            # Without the detections' optional arrays, which an added face has not.
            return Corrected(faces=Faces.concat([found, _face_at(points, index)]), row=len(found), moved=np.ones(5, bool))
        boxes, keypoints = found.boxes.copy(), found.keypoints.copy()
        before = keypoints[row].astype(np.float64)
        boxes[row], keypoints[row] = _moved_box(boxes[row], before, points), points
        moved = np.abs(points - before).max(1) > _MOVED
        return Corrected(faces=replace(found, boxes=boxes, keypoints=keypoints), row=row, moved=moved)

    def indices(self, origin: str) -> tuple[int, ...]:
        """The corrected frames of that footage, in order."""
        return tuple(entry.index for entry in self.entries if entry.origin == origin)

    def to_json(self) -> str:
        """Canonical JSON: equal corrections always give the same text."""
        rows = [{"origin": e.origin, "index": e.index, "points": [list(p) for p in e.points]} for e in self.entries]
        return json.dumps({"format": _FORMAT, "corrections": rows}, sort_keys=True, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Corrections":
        """Parses the output of `to_json`. ValueError for anything else: another format, unknown or missing keys, bad points."""
        return cls(entries=_sorted(_File.model_validate_json(text).corrections))

    def digest(self) -> str:
        """sha256 of the canonical JSON, 64 hex digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Corrected:
    """The faces of one frame after `Corrections.of_frame`.

    `row` is that of the corrected face (None if the frame has no correction); `moved` marks which of its five keypoints differ
    from the detector's.
    """

    faces: Faces
    row: int | None = None
    moved: Bool[np.ndarray, " 5"] = field(default_factory=lambda: np.zeros(5, bool))

    def only(self, rows: Int64[np.ndarray, " k"]) -> "Corrected":
        """These of the faces, in this order."""
        if self.row is None or self.row not in rows:
            return Corrected(faces=self.faces[rows])
        return replace(self, faces=self.faces[rows], row=int(np.flatnonzero(rows == self.row)[0]))


def selected(frame: Corrected) -> Corrected:
    """The one face of a frame that the align view shows, by `row_of_one`; none of a frame without faces."""
    if not len(frame.faces):
        return frame
    return frame.only(np.array([row_of_one(frame.faces, frame.row)]))


def row_of_one(faces: Faces, corrected: int | None) -> int:
    """The row of the one face to take: the corrected one if there is one, since somebody has pointed at it, else `best_face`."""
    return best_face(faces) if corrected is None else corrected


def _row_at(faces: Faces, centre: Float64[np.ndarray, " 2"]) -> int | None:
    """The row whose keypoints are nearest among those whose box contains `centre`; None if no box does."""
    low, high = faces.boxes[:, :2], faces.boxes[:, 2:]
    inside = np.flatnonzero(((low <= centre) & (centre <= high)).all(1))
    if not len(inside):
        return None
    distances = np.linalg.norm(faces.keypoints[inside].mean(1) - centre, axis=1)
    return int(inside[distances.argmin()])


def _moved_box(
    box: Float[np.ndarray, " 4"], before: Float64[np.ndarray, "5 2"], after: Float64[np.ndarray, "5 2"]
) -> Float64[np.ndarray, " 4"]:
    """The box moved and scaled like its keypoints; where those determine no similarity, the box around the new ones."""
    try:
        matrix = similarity(before, after)
    except FaceError:
        return _box_around(after)
    low, high = box[:2].astype(np.float64), box[2:].astype(np.float64)
    centre, half = transform_points(matrix, (low + high) / 2), (high - low) / 2 * scale_of(matrix)
    return np.concatenate([centre - half, centre + half])


def _box_around(points: Float64[np.ndarray, "5 2"]) -> Float64[np.ndarray, " 4"]:
    low, high = points.min(0), points.max(0)
    margin = (high - low) * 0.6
    return np.concatenate([low - margin, high + margin])


def _face_at(points: Float64[np.ndarray, "5 2"], index: int) -> Faces:
    """A face where none was detected: score 1, box around its keypoints."""
    return Faces(
        frame_index=np.array([index], np.int64),
        boxes=_box_around(points).astype(np.float32)[None],
        keypoints=points.astype(np.float32)[None],
        scores=np.ones(1, np.float32),
    )


def _sorted(entries: Iterable[Correction]) -> tuple[Correction, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.origin, entry.index)))


class _File(BaseModel):
    """The text that `Corrections.to_json` writes."""

    model_config = _STRICT

    format: Literal[1]
    corrections: list[Correction]
