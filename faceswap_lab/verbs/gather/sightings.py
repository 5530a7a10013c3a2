"""Detecting and measuring all faces in the user's material, with the reason for each that is not kept.

The results are stored in the run's folder `work/`, a file for each stretch of a source, until the faceset is made: an interrupted
search resumes after the last stretch. They are measurements only, no pixels, and are removed when the run is finished.
"""

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from faceswap_lab.errors import FaceError, LabError, RunError
from faceswap_lab.faces import quality
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import Frame
from faceswap_lab.files import put_in_place
from faceswap_lab.models.engines.offline import refined_keypoints
from faceswap_lab.models.protocols import Engine
from faceswap_lab.verbs.recipes import FacesetRecipe

STRETCH = 200
"""Frames between two saved states."""

_DIMENSIONS = 128
_FACE_MAY_NOT = ("too small", "landmarks not believed", "cut by the border", "turned too far", "blurred")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sightings:
    """n faces (or frames without one) in parallel arrays. `reason` is empty for a face that may be kept; `detail` explains it.

    `embedding` is a unit vector where the reason is empty, else zeros.
    """

    source: np.ndarray
    frame: Int[np.ndarray, " n"]
    time_s: Float[np.ndarray, " n"]
    box: Float[np.ndarray, "n 4"]
    keypoints: Float[np.ndarray, "n 5 2"]
    side: Float[np.ndarray, " n"]
    sharpness: Float[np.ndarray, " n"]
    yaw_deg: Float[np.ndarray, " n"]
    embedding: Float[np.ndarray, "n d"]
    reason: np.ndarray
    detail: np.ndarray

    def __len__(self) -> int:
        return len(self.frame)

    @classmethod
    def concat(cls, parts: "list[Sightings]") -> "Sightings":
        """All rows in order; at least one part."""
        return cls(**{each.name: np.concatenate([getattr(part, each.name) for part in parts]) for each in fields(cls)})


@dataclass(slots=True)
class _Row:
    frame: int
    time_s: float
    reason: str = ""
    detail: str = ""
    box: np.ndarray | None = None
    keypoints: np.ndarray | None = None
    side: float = 0.0
    sharpness: float = 0.0
    yaw_deg: float = 0.0
    embedding: np.ndarray | None = None


def places(clip: Clip, every_s: float) -> range:
    """Numbers of the frames to process: the only one of a still, one every `every_s` seconds on average of a clip."""
    return range(0, len(clip), max(1, round(clip.fps * every_s)))


def look_through(clip: Clip, recipe: FacesetRecipe, engine: Engine, folder: Path) -> Iterator[tuple[int, Sightings]]:
    """The faces of a source, a stretch at a time, each saved in `folder` before it is yielded: (number of frames, sightings).

    A stretch saved earlier is read back. An unreadable file yields a row that says so, at the frame where reading fails.
    """
    source = clip.grant.sha256
    try:
        numbers = places(clip, recipe.every_s)
    except LabError as error:
        yield 1, _table(source, [_Row(0, 0.0, "unreadable", str(error)[:500])])
        return
    for number, start in enumerate(range(0, len(numbers), STRETCH)):
        path = folder / f"{source}-{number:05d}.npz"
        some = numbers[start : start + STRETCH]
        if path.is_file():
            seen = _load(path)
        else:
            seen = _table(source, _look(clip, some, recipe, engine))
            _save(path, seen)
        yield len(some), seen
        if len(seen) and seen.reason[-1] == "unreadable":
            break
    clip.close()


def _look(clip: Clip, numbers: range, recipe: FacesetRecipe, engine: Engine) -> list[_Row]:
    """Rows of these frames; the last one says so if a frame cannot be read."""
    rows: list[_Row] = []
    for number in numbers:
        try:
            frame = clip[number]
        except LabError as error:
            return [*rows, _Row(number, 0.0, "unreadable", str(error)[:500])]
        found = engine.detect(frame)
        if not len(found):
            rows.append(_Row(frame.index, frame.time_s, "no face"))
        rows += [_judged(frame, found[place], recipe, engine) for place in range(len(found))]
    return rows


def _judged(frame: Frame, face: Faces, recipe: FacesetRecipe, engine: Engine) -> _Row:
    """One face, measured until it is rejected; only accepted faces are embedded by the recogniser."""
    row = _Row(frame.index, frame.time_s, box=face.boxes[0], keypoints=face.keypoints[0])
    try:
        row.side = quality.side_of(face.keypoints[0])
        if row.side < recipe.min_side:
            return _refused(row, "too small", f"{row.side:.0f} pixels, at least {recipe.min_side:g}")
        marked = engine.landmarks(frame, face)
        if marked.visible is not None and not marked.visible.any():
            return _refused(row, "landmarks not believed", "the landmark network sees no face there")
        refined = refined_keypoints(marked)
        row.keypoints = refined.keypoints[0]
        row.side = quality.side_of(refined.keypoints[0])
    except FaceError as error:
        return _refused(row, "landmarks not believed", error.got)
    assert marked.landmarks is not None
    row.yaw_deg = quality.yaw_deg(refined.keypoints[0])
    if (share := quality.outside(marked.landmarks[0], frame.size)) > recipe.max_outside:
        return _refused(row, "cut by the border", f"{share:.0%} of the face lies outside")
    if recipe.max_yaw_deg is not None and abs(row.yaw_deg) > recipe.max_yaw_deg:
        return _refused(row, "turned too far", f"{abs(row.yaw_deg):.0f} degrees, at most {recipe.max_yaw_deg:g}")
    row.sharpness = quality.sharpness(frame.image, refined.keypoints[0])
    if row.sharpness < recipe.min_sharpness:
        return _refused(row, "blurred", f"sharpness {row.sharpness:.2f}, at least {recipe.min_sharpness:g}")
    embedded = engine.embed(frame, face).embeddings
    assert embedded is not None
    row.embedding = embedded[0]
    return row


def _refused(row: _Row, reason: str, detail: str) -> _Row:
    assert reason in _FACE_MAY_NOT
    row.reason, row.detail = reason, detail
    return row


def _table(source: str, rows: list[_Row]) -> Sightings:
    def stack(name: str, shape: tuple[int, ...]) -> np.ndarray:
        empty = np.zeros(shape, np.float32)
        filled = [empty if (value := getattr(row, name)) is None else np.asarray(value, np.float32) for row in rows]
        return np.stack(filled) if rows else np.zeros((0, *shape), np.float32)

    return Sightings(
        source=np.array([source] * len(rows), dtype="U64"),
        frame=np.array([row.frame for row in rows], np.int64),
        time_s=np.array([row.time_s for row in rows], np.float64),
        box=stack("box", (4,)),
        keypoints=stack("keypoints", (5, 2)),
        side=stack("side", ()),
        sharpness=stack("sharpness", ()),
        yaw_deg=stack("yaw_deg", ()),
        embedding=stack("embedding", (_DIMENSIONS,)),
        reason=np.array([row.reason for row in rows], dtype="U40"),
        detail=np.array([row.detail for row in rows], dtype="U500"),
    )


def _save(path: Path, seen: Sightings) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **{each.name: getattr(seen, each.name) for each in fields(seen)})
    temporary = path.with_name(f".part-{path.name}")
    temporary.write_bytes(buffer.getvalue())
    put_in_place(temporary, path)


def _load(path: Path) -> Sightings:
    try:
        with np.load(path, allow_pickle=False) as stored:
            return Sightings(**{each.name: stored[each.name] for each in fields(Sightings)})
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            expected=f"a readable {path}", got=str(error), remedy="remove that file; the same call then processes its stretch again"
        ) from error
