"""How closely a frame is searched for faces, with any engine: shrunk to a chosen size, and in tiles where that is larger.

An engine shrinks a frame to 640 pixels itself, in which a face of 30 pixels of a full HD frame is too small to be found. Here it
is given the frame at `side` pixels in tiles of 640, which takes no more memory however large the picture is, and the whole frame at
640 for the faces that are larger than a tile's overlap.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil

import cv2
import numpy as np
from jaxtyping import Bool, Float

from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.protocols import Engine

OWN_SIDE = 640
"""The long side, in pixels, at which both engines search a frame by themselves."""

SMALLEST = 12
"""The width in pixels of the searched picture from which faces are found: YuNet found actors of 11 and 13 (scores .82 and .86)."""

_OVERLAP = 128
# A face larger than the overlap must be found at the next coarser size, where it still has 16 pixels.
_MOST_COARSENING = 8
_SAME = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tile:
    """A part of a frame shrunk by `scale`: its left top corner there, its size, and which of its sides lie within the frame."""

    scale: tuple[float, float]
    left: int
    top: int
    width: int
    height: int
    inner: tuple[bool, bool, bool, bool]


def search_side(side: int, size: tuple[int, int], *, everybody: bool) -> int:
    """The long side at which a frame of `size` (height, width) is searched; `side` 0 selects it, never more than the frame's own.

    Selected is the engines' own 640 pixels, or half the frame's if `everybody` is to be found: then faces of 24 pixels are.
    """
    return min(side or (max(OWN_SIDE, ceil(max(size) / 2)) if everybody else OWN_SIDE), max(size))


def found_from(side: int, size: tuple[int, int]) -> int:
    """The width in pixels of a frame of `size` from which a face is found if the frame is searched at `side`."""
    return ceil(SMALLEST * max(1.0, max(size) / side))


def detect_all(engine: Engine, frames: Sequence[Frame], side: int, *, everybody: bool) -> list[Faces]:
    """The faces of each frame, as `Engine.detect_all` gives them, with the frames searched at `search_side(side, …)`."""
    sides = [search_side(side, frame.size, everybody=everybody) for frame in frames]
    if all(wanted == min(OWN_SIDE, max(frame.size)) for wanted, frame in zip(sides, frames, strict=True)):
        return engine.detect_all(frames)
    return [_searched(engine, frame, wanted) for frame, wanted in zip(frames, sides, strict=True)]


def _searched(engine: Engine, frame: Frame, side: int) -> Faces:
    """All faces of a frame, searched at `side` and at every coarser size that the larger faces need."""
    parts: list[Faces] = []
    for at in _levels(side):
        shrunk = _shrunk(frame, at)
        tiles = list(_tiles(frame, shrunk.size))
        found = engine.detect_all([_cut(shrunk, tile) for tile in tiles])
        parts += [_in_frame(faces[_whole(faces, tile)], tile) for faces, tile in zip(found, tiles, strict=True)]
    return _merged(Faces.concat(parts))


def _levels(side: int) -> list[int]:
    """The sides to search at, the largest last: the coarsest fits one tile."""
    levels = [side]
    while levels[0] > OWN_SIDE:
        levels.insert(0, max(OWN_SIDE, ceil(levels[0] / _MOST_COARSENING)))
    return levels


def _shrunk(frame: Frame, side: int) -> Frame:
    scale = side / max(frame.size)
    height, width = (max(16, round(length * scale)) for length in frame.size)
    if scale >= 1:
        return frame
    return replace(frame, image=cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA))


def _tiles(frame: Frame, size: tuple[int, int]) -> Iterator[_Tile]:
    height, width = size
    scale = (width / frame.size[1], height / frame.size[0])
    for top, bottom in _stretches(height):
        for left, right in _stretches(width):
            inner = (left > 0, top > 0, right < width, bottom < height)
            yield _Tile(scale=scale, left=left, top=top, width=right - left, height=bottom - top, inner=inner)


def _stretches(length: int) -> list[tuple[int, int]]:
    """Stretches of at most 640 pixels that cover a length evenly and overlap by at least 128."""
    number = 1 if length <= OWN_SIDE else ceil((length - _OVERLAP) / (OWN_SIDE - _OVERLAP))
    width = min(length, OWN_SIDE)
    starts = np.linspace(0, length - width, number).round().astype(int)
    return [(int(start), int(start) + width) for start in starts]


def _cut(shrunk: Frame, tile: _Tile) -> Frame:
    image = shrunk.image[tile.top : tile.top + tile.height, tile.left : tile.left + tile.width]
    return replace(shrunk, image=np.ascontiguousarray(image))


def _whole(faces: Faces, tile: _Tile) -> Bool[np.ndarray, " n"]:
    """Which faces of a tile are whole in it, and small enough for a neighbour to have them if they are not."""
    if not any(tile.inner):
        return np.ones(len(faces), bool)
    edges = np.array([0, 0, tile.width - 1, tile.height - 1])
    beyond = np.concatenate([faces.boxes[:, :2] <= edges[:2], faces.boxes[:, 2:] >= edges[2:]], axis=1)
    small = (faces.boxes[:, 2:] - faces.boxes[:, :2]).max(axis=1, initial=0) <= _OVERLAP
    whole: np.ndarray = small & ~(beyond & np.array(tile.inner)).any(axis=1)
    return whole


def _in_frame(faces: Faces, tile: _Tile) -> Faces:
    scale, corner = np.array(tile.scale, np.float32), np.array([tile.left, tile.top], np.float32)

    def back(points: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... 2"]:
        return ((points + corner + 0.5) / scale - 0.5).astype(np.float32)

    boxes = back(faces.boxes.reshape(-1, 2, 2)).reshape(-1, 4)
    return replace(faces, boxes=boxes, keypoints=back(faces.keypoints))


def _merged(faces: Faces) -> Faces:
    """Each face once, by descending score: of boxes that overlap the surest stays, and none stays inside a much larger one."""
    order = np.argsort(-faces.scores, kind="stable")
    kept: list[int] = []
    for row in order:
        if not any(_is_same(faces.boxes[row], faces.boxes[other]) for other in kept):
            kept.append(int(row))
    return faces[np.array(kept, np.int64)]


def _is_same(one: Float[np.ndarray, " 4"], other: Float[np.ndarray, " 4"]) -> bool:
    sides = np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2])
    shared = float(sides.clip(min=0).prod())
    areas = sorted(float((box[2:] - box[:2]).prod()) for box in (one, other))
    # An eye or a print on a shirt found in a close-up: nobody's face lies within another's of four times its area.
    return shared > _SAME * (areas[0] + areas[1] - shared) or (shared > 0.8 * areas[0] and areas[0] < areas[1] / 4)
