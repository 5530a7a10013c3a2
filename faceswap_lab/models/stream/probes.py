"""Looks at footage before a swap: whether it lies on its side, and what a source looks like."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faceswap_lab.errors import FaceError
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.protocols import Engine, Source

_SURER = 0.03


def turn_to_upright(footage: Footage, engine: Engine, *, num_frames: int = 5) -> int | None:
    """By how many degrees clockwise (90, 180, 270) the pictures must be turned for faces to stand upright; None if they seem to.

    Looks at frames spread evenly; the turn whose faces are surest in all wins. Detectors also find large faces that lie or stand on
    their heads and take their points for an upright face's (YuNet on actors: .93 upright, .63 to .90 turned), so the mesh is asked.
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
    """At most so many frames, spread evenly from the first to the last."""
    places = np.linspace(0, len(footage) - 1, min(num_frames, len(footage))).round().astype(int)
    return [int(place) for place in np.unique(places)]


def _sureness(frame: Frame, engine: Engine) -> float:
    """How sure the engine is of an upright face in the frame: the detector's score times the upright probability; 0 without."""
    found = engine.detect(frame)
    return float((found.scores * engine.upright_probability(frame, found)).max(initial=0.0))


def source_of(footage: Footage, engine: Engine, *, num_frames: int = 5, dense: bool = True) -> Source:
    """A Source from frames spread evenly over `footage`, one face each; frames without a face are left out."""
    frames: list[Frame] = []
    faces: list[Faces] = []
    for place in _spread(footage, num_frames):
        frame = footage[place]
        face = largest(engine.detect(frame))
        if len(face):
            frames.append(frame)
            faces.append(engine.landmarks(frame, face) if dense else face)
    return Source(subject=footage.subject, frames=frames, faces=faces)


def gallery_of(footage: Footage, engine: Engine, *, num_frames: int = 8) -> np.ndarray:
    """(n, d) unit embeddings of the largest face in frames spread evenly over `footage`."""
    source: Source = source_of(footage, engine, num_frames=num_frames, dense=False)
    rows: Sequence[Faces] = [engine.embed(frame, face) for frame, face in zip(source.frames, source.faces, strict=True)]
    if not rows:
        raise FaceError(
            expected=f"a face of {footage.subject} to compare with",
            got=f"none in {min(num_frames, len(footage))} frames of {footage.origin}",
            remedy="choose an engine that finds such faces, or footage that shows the face",
        )
    return np.concatenate([face.embeddings for face in rows if face.embeddings is not None])
