"""Probing footage before a swap: its orientation, and the appearance of a source."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faceswap_lab.errors import FaceError
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.protocols import Engine, Source
from faceswap_lab.models.stream.followed import Selection

_SURER = 0.03


def turn_to_upright(footage: Footage, engine: Engine, *, num_frames: int = 5) -> int | None:
    """Clockwise rotation in degrees (90, 180, 270) that makes faces upright; None if they seem to be.

    Tests evenly spaced frames; the rotation with the highest total confidence wins. Detectors also find large sideways or
    upside-down faces as if they were upright (YuNet on actors: .93 upright, .63 to .90 rotated), so the mesh network is used too.
    """
    places = _spread(footage, num_frames)
    sure = dict.fromkeys((0, 90, 180, 270), 0.0)
    for place in places:
        frame = footage[place]
        for turn in sure:
            image = np.ascontiguousarray(np.rot90(frame.image, -turn // 90))
            sure[turn] += _sureness(replace(frame, image=image), engine)
    best = max(sure, key=lambda turn: sure[turn])
    return best if sure[best] > sure[0] + _SURER * len(places) else None


def _spread(footage: Footage, num_frames: int) -> list[int]:
    """Indices of at most `num_frames` evenly spaced frames, from first to last."""
    places = np.linspace(0, len(footage) - 1, min(num_frames, len(footage))).round().astype(int)
    return [int(place) for place in np.unique(places)]


def _sureness(frame: Frame, engine: Engine) -> float:
    """Confidence in an upright face in the frame: detector score times upright probability; 0 without a face."""
    found = engine.detect(frame)
    return float((found.scores * engine.upright_probability(frame, found)).max(initial=0.0))


def source_of(footage: Footage, engine: Engine, *, num_frames: int = 5, dense: bool = True) -> Source:
    """A Source from evenly spaced frames of `footage`, one face each, of one person; frames without a face are skipped.

    Where a frame shows several people, it is the person of the largest face in the first frame that has one (see `Selection`).
    """
    looked = [footage[place] for place in _spread(footage, num_frames)]
    found = [engine.detect(frame) for frame in looked]
    selection = Selection(engine=engine, select="largest", apart=any(len(faces) > 1 for faces in found), linked=False)
    frames: list[Frame] = []
    faces: list[Faces] = []
    for frame, face in zip(looked, selection.choose(looked, found), strict=True):
        if len(face):
            frames.append(frame)
            faces.append(engine.landmarks(frame, face) if dense else face)
    return Source(subject=footage.subject, frames=frames, faces=faces)


def gallery_of(footage: Footage, engine: Engine, *, num_frames: int = 8) -> np.ndarray:
    """(n, d) unit embeddings of one person in evenly spaced frames of `footage`."""
    source: Source = source_of(footage, engine, num_frames=num_frames, dense=False)
    rows: Sequence[Faces] = [engine.embed(frame, face) for frame, face in zip(source.frames, source.faces, strict=True)]
    if not rows:
        raise FaceError(
            expected=f"a face of {footage.subject} to compare with",
            got=f"none in {min(num_frames, len(footage))} frames of {footage.origin}",
            remedy="choose an engine that finds such faces, or footage that shows the face",
        )
    return np.concatenate([face.embeddings for face in rows if face.embeddings is not None])
