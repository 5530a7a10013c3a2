"""Face detections as one struct of parallel arrays."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from html import escape
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from faceswap_lab.errors import FaceError

PointSet = Literal[5, 68, 106, 468]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Faces:
    """n detections; `faces[i]`, `faces[mask]` and what iteration gives (one at a time) are Faces too.

    Convention: boxes are x1 y1 x2 y2, points (x, y), in pixels of the frame with pixel centres at integers. Left and right are
    the subject's. The five keypoints are right eye, left eye, nose tip, right mouth corner, left mouth corner.
    `embeddings` are unit vectors of the recogniser named `embedder`; those of different recognisers are not comparable.
    """

    frame_index: Int[np.ndarray, " n"]
    boxes: Float[np.ndarray, "n 4"]
    keypoints: Float[np.ndarray, "n 5 2"]
    scores: Float[np.ndarray, " n"]
    track: Int[np.ndarray, " n"] | None = None
    landmarks: Float[np.ndarray, "n k 2"] | None = None
    visible: Bool[np.ndarray, "n k"] | None = None
    point_set: PointSet | None = None
    embeddings: Float[np.ndarray, "n d"] | None = None
    embedder: str | None = None

    def __post_init__(self) -> None:
        for name in self._array_names():
            if (got := len(getattr(self, name))) != len(self):
                raise ValueError(f"Faces.{name} has {got} rows where frame_index has {len(self)}")
        if (self.landmarks is None) != (self.point_set is None):
            raise ValueError("landmarks and point_set go together")
        if (self.embeddings is None) != (self.embedder is None):
            raise ValueError("embeddings and embedder go together")

    def __len__(self) -> int:
        return len(self.frame_index)

    def __getitem__(self, which: int | np.integer | slice | np.ndarray) -> "Faces":
        """Some rows, as Faces: one by its number (negative from the end), a slice, row numbers or a mask. IndexError beyond."""
        rows = self._row(int(which)) if isinstance(which, int | np.integer) else which
        return replace(self, **{name: getattr(self, name)[rows] for name in self._array_names()})

    def __iter__(self) -> "Iterator[Faces]":
        return (self[row] for row in range(len(self)))

    def _repr_html_(self) -> str:
        """A table of at most 50 rows."""
        rows = ""
        for i in range(min(len(self), 50)):
            box = ", ".join(f"{side:.0f}" for side in self.boxes[i])
            rows += f"<tr><td>{self.frame_index[i]}</td><td>{self.scores[i]:.2f}</td><td>{box}</td></tr>"
        with_what = [f"{self.point_set} landmarks"] if self.point_set else []
        with_what += [f"embeddings of {escape(self.embedder)}"] if self.embedder else []
        count = f"{len(self)} face{'' if len(self) == 1 else 's'}{' with ' + ' and '.join(with_what) if with_what else ''}"
        return f"<table><caption>{count}</caption><tr><th>frame</th><th>score</th><th>box</th></tr>{rows}</table>"

    def _row(self, number: int) -> slice:
        if not -len(self) <= number < len(self):
            raise IndexError(f"face {number} of {len(self)}")
        return slice(number, number + 1 or None)

    def _array_names(self) -> list[str]:
        return [f.name for f in fields(self) if isinstance(getattr(self, f.name), np.ndarray)]

    @classmethod
    def none(cls) -> "Faces":
        """An empty set of faces."""
        return cls(
            frame_index=np.zeros(0, np.int64),
            boxes=np.zeros((0, 4), np.float32),
            keypoints=np.zeros((0, 5, 2), np.float32),
            scores=np.zeros(0, np.float32),
        )

    @classmethod
    def concat(cls, parts: "list[Faces]") -> "Faces":
        """All rows of `parts` in order. Optional arrays are kept only if every part has them; ValueError for mixed embedders."""
        full = [part for part in parts if len(part)]
        if not full:
            return cls.none()
        for name in ("point_set", "embedder"):
            if len({getattr(part, name) for part in full} - {None}) > 1:
                raise ValueError(f"cannot join Faces with different {name}")
        names = set.intersection(*(set(part._array_names()) for part in full))
        joined: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in full]) for name in names}
        missing: dict[str, Any] = {name: None for name in full[0]._array_names() if name not in names}
        if "landmarks" in missing:
            missing["point_set"] = None
        if "embeddings" in missing:
            missing["embedder"] = None
        return replace(full[0], **joined, **missing)


def _require_one(faces: Faces) -> None:
    if not len(faces):
        raise FaceError(
            expected="a face", got="none", remedy="choose a picture with a face of at least 20 pixels, seen from the front"
        )


def best_face(faces: Faces) -> int:
    """Row of the most prominent face: the largest box area weighted by score. Raises FaceError if there is none."""
    _require_one(faces)
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    return int(np.argmax(sides.prod(axis=1) * faces.scores))


def nearest(faces: Faces, embedding: Float[np.ndarray, " d"]) -> int:
    """Row of the face whose embedding has the highest cosine similarity to `embedding` (of the same recogniser).

    Raises FaceError if there is no face, ValueError if the faces carry no embeddings.
    """
    _require_one(faces)
    if faces.embeddings is None:
        raise ValueError("these Faces have no embeddings: run Engine.embed first")
    return int(np.argmax(faces.embeddings @ embedding))


def largest(faces: Faces) -> Faces:
    """The most prominent face (see `best_face`), or no faces."""
    return faces[best_face(faces)] if len(faces) else faces
