"""Which face of each frame is swapped: all of them, or one person's through the whole footage.

The person is chosen once, in the first frame that shows a face: the largest there. From then on they are known by the engine's
recogniser, not by size, which sways. Batches stay independent of each other: each is compared with that first sight alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Float, Int64

from faceswap_lab.faces.corrections import row_of_one
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.protocols import Engine

STRANGER = 0.2
"""Cosine below which a face alone in its frames is somebody else. Five actors, speaking and turning their heads, were at least .52
like themselves and .09 to .55 like each other (SFace); strangers in photographs are .14 alike in the mean, the same person .77."""

Names = Int64[np.ndarray, " _"]
"""The number of the track of each face of a frame."""

_OVERLAP = 0.3
_LOOKS = 3
# A cut taken for motion would join two people to one; motion taken for a cut costs one more recognition.
_CUT_LEVELS = 8.0
_GRID = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """The person who was chosen: the `number`-th of `num_faces` faces from the left, counted from 1, in frame `frame`."""

    frame: int
    number: int
    num_faces: int

    def __str__(self) -> str:
        where = f"face {self.number} of {self.num_faces} from the left" if self.num_faces > 1 else "the only face"
        return f"{where} in frame {self.frame}"


@dataclass(slots=True, kw_only=True, eq=False)
class Selection:
    """Chooses faces, batch after batch. `select` "largest" follows one person if `apart`, else takes the largest of each frame.

    `apart` False is for footage that shows one person by construction. Frames of a call with `linked` are consecutive: a face at
    the same place in the next one is the same person's.
    """

    engine: Engine
    select: Literal["largest", "all"]
    apart: bool = True
    linked: bool = True
    followed: Followed | None = None
    _own: Float[np.ndarray, " d"] | None = field(default=None, init=False)
    _others: list[Float[np.ndarray, " d"]] = field(default_factory=list, init=False)

    def is_settled(self) -> bool:
        """Whether no earlier frame can change what is chosen."""
        return self.select == "all" or not self.apart or self._own is not None

    def choose(self, frames: Sequence[Frame], found: Sequence[Faces]) -> list[Faces]:
        """Of the faces found in each of these frames those to swap."""
        return [faces[rows] for faces, rows in zip(found, self.rows(frames, found), strict=True)]

    def rows(
        self, frames: Sequence[Frame], found: Sequence[Faces], *, pinned: Sequence[int | None] | None = None
    ) -> list[Int64[np.ndarray, " _"]]:
        """The rows of these faces. Where somebody has pointed at a face (`pinned` has its row), it is that one."""
        pins = list(pinned) if pinned is not None else [None] * len(found)
        if self.select == "all":
            return [np.arange(len(faces)) for faces in found]
        if self.apart:
            chosen = self._of_followed(frames, found, pins)
        else:
            chosen = [
                np.array([row_of_one(faces, pin)] if len(faces) else [], np.int64) for faces, pin in zip(found, pins, strict=True)
            ]
        return [rows if pin is None else np.array([pin]) for rows, pin in zip(chosen, pins, strict=True)]

    def _of_followed(
        self, frames: Sequence[Frame], found: Sequence[Faces], pins: Sequence[int | None]
    ) -> list[Int64[np.ndarray, " _"]]:
        """The rows of the followed person, who is chosen first if nobody is yet."""
        tracks = _tracks(found, [self.linked and not _is_cut(*pair) for pair in pairwise(frames)])
        if self._own is None:
            self._settle(frames, found, tracks, pins)
        taken = self._of_person(frames, found, tracks)
        return [np.flatnonzero(np.isin(names, taken)) for names in tracks]

    def _settle(self, frames: Sequence[Frame], found: Sequence[Faces], tracks: Sequence[Names], pins: Sequence[int | None]) -> None:
        """Choose the person, and remember the faces seen beside them, who are others."""
        first = next((place for place, faces in enumerate(found) if len(faces)), None)
        if first is None:
            return
        faces, row = found[first], row_of_one(found[first], pins[first])
        centres = faces.boxes[:, ::2].mean(axis=1)
        number = int((centres < centres[row]).sum()) + 1
        self.followed = Followed(frame=frames[first].index, number=number, num_faces=len(faces))
        own = int(tracks[first][row])
        beside = {int(name) for names in tracks if own in names for name in names} - {own}
        self._own = self._looks(own, frames, found, tracks, most=_LOOKS)
        self._others = [self._looks(name, frames, found, tracks, most=_LOOKS) for name in sorted(beside)]

    def _of_person(self, frames: Sequence[Frame], found: Sequence[Faces], tracks: Sequence[Names]) -> list[int]:
        """The tracks of the person: those like enough, the most alike first, never two in one frame."""
        if self._own is None:
            return []
        likeness: dict[int, float] = {}
        crowded = {int(name) for names in tracks if len(names) > 1 for name in names}
        for name in sorted({int(name) for names in tracks for name in names}):
            looks = self._looks(name, frames, found, tracks, most=_LOOKS if name in crowded else 1)
            own = float(looks @ self._own)
            if own >= STRANGER and own >= max((float(looks @ other) for other in self._others), default=-1.0):
                likeness[name] = own
        taken: list[int] = []
        for name in sorted(likeness, key=lambda name: -likeness[name]):
            if not any(name in names and other in names for names in tracks for other in taken):
                taken.append(name)
        return taken

    def _looks(
        self,
        name: int,
        frames: Sequence[Frame],
        found: Sequence[Faces],
        tracks: Sequence[Names],
        *,
        most: int,
    ) -> Float[np.ndarray, " d"]:
        """The unit mean embedding of a track, over at most this many of its frames, spread evenly."""
        seen = [(place, int(np.flatnonzero(names == name)[0])) for place, names in enumerate(tracks) if name in names]
        spread = np.unique(np.linspace(0, len(seen) - 1, min(most, len(seen)) + 2)[1:-1].round().astype(int))
        rows = [self.engine.embed(frames[seen[at][0]], found[seen[at][0]][seen[at][1]]).embeddings for at in spread]
        mean = np.concatenate([row for row in rows if row is not None]).astype(np.float64).mean(axis=0)
        unit: np.ndarray = mean / max(float(np.linalg.norm(mean)), 1e-9)
        return unit


def _is_cut(before: Frame, after: Frame) -> bool:
    """Whether the picture changes as it does at a cut: by a mean of more than 8 levels at a grid of 32 by 32 pixels."""
    if before.size != after.size:
        return True
    rows, columns = (np.linspace(0, length - 1, _GRID).astype(int) for length in before.size)
    one, other = (frame.image[rows[:, None], columns].astype(np.int16) for frame in (before, after))
    return bool(np.abs(one - other).mean() > _CUT_LEVELS)


def _tracks(found: Sequence[Faces], linked: Sequence[bool]) -> list[Names]:
    """A number for each face of each frame, the same where a face overlaps one of the frame before (each one at most).

    `linked` says of each frame but the first whether it goes on where the one before it ended.
    """
    tracks: list[Names] = []
    num_tracks = 0
    for place, faces in enumerate(found):
        names = np.full(len(faces), -1, np.int64)
        if place and linked[place - 1]:
            shared = _overlaps(found[place - 1].boxes, faces.boxes)
            while shared.size and shared.max() > _OVERLAP:
                before, row = np.unravel_index(int(shared.argmax()), shared.shape)
                names[row] = tracks[place - 1][before]
                shared[before], shared[:, row] = 0, 0
        new = names < 0
        names[new] = num_tracks + np.arange(int(new.sum()))
        num_tracks += int(new.sum())
        tracks.append(names)
    return tracks


def _overlaps(one: Float[np.ndarray, "n 4"], other: Float[np.ndarray, "m 4"]) -> Float[np.ndarray, "n m"]:
    """Intersection over union of each pair of boxes."""
    low, high = np.maximum(one[:, None, :2], other[None, :, :2]), np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = (high - low).clip(min=0).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    result: np.ndarray = (shared / np.maximum(union, 1e-9)).astype(np.float64)
    return result
