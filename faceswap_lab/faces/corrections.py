"""Manual corrections: five keypoints for a frame of some footage, stored separately from the detector's output."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float, Float64
from pydantic import BaseModel, ConfigDict

from faceswap_lab.faces.face import Faces

_FORMAT = 1
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
            raise ValueError(f"a correction has 5 finite points (x, y), got {self.points}")
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

    def apply(self, origin: str, faces: Faces) -> Faces:
        """`faces` with the keypoints of corrected frames replaced; in a frame with several faces, those of the nearest one.

        Must precede landmarks and embeddings, which are computed from the keypoints: ValueError if a face to be changed has them.
        Corrected frames in which `faces` has no face are skipped: see `added` for those.
        """
        keypoints = faces.keypoints.copy()
        changed = False
        for entry in self._of(origin):
            rows = np.flatnonzero(faces.frame_index == entry.index)
            if len(rows):
                distances = np.linalg.norm(faces.keypoints[rows].mean(1) - entry.keypoints.mean(0), axis=1)
                keypoints[rows[distances.argmin()]] = entry.keypoints
                changed = True
        if not changed:
            return faces
        if faces.landmarks is not None or faces.embeddings is not None:
            raise ValueError("corrections come before landmarks and embeddings, which depend on the keypoints")
        return replace(faces, keypoints=keypoints)

    def added(self, origin: str, index: int) -> Faces:
        """The manually added face of this frame (score 1, box around its keypoints), for frames without a detection."""
        points = self.points(origin, index)
        if points is None:
            return Faces.none()
        low, high = points.min(0), points.max(0)
        margin = (high - low) * 0.6
        return Faces(
            frame_index=np.array([index], np.int64),
            boxes=np.concatenate([low - margin, high + margin]).astype(np.float32)[None],
            keypoints=points.astype(np.float32)[None],
            scores=np.ones(1, np.float32),
        )

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

    def _of(self, origin: str) -> list[Correction]:
        return [entry for entry in self.entries if entry.origin == origin]


def _sorted(entries: Iterable[Correction]) -> tuple[Correction, ...]:
    return tuple(sorted(entries, key=lambda entry: (entry.origin, entry.index)))


class _File(BaseModel):
    """The text that `Corrections.to_json` writes."""

    model_config = _STRICT

    format: Literal[1]
    corrections: list[Correction]
