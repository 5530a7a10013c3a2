"""Frames in, swapped frames out, in order, a batch at a time."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.canvas import HostCanvas
from faceswap_lab.models.opencv import best_face
from faceswap_lab.models.protocols import AnySwapper, Engine, Source

T = TypeVar("T")
_SURER = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """`batch` frames are in memory at once; `select` says which faces of a frame are swapped."""

    batch: int = 8
    select: Literal["largest", "all"] = "largest"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwappedFrame:
    """A finished frame, the faces that were replaced in it (none: the frame is as it came), and how many others were left."""

    frame: Frame
    faces: Faces
    num_left: int


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def largest(faces: Faces) -> Faces:
    """The face with the largest box, the surer first, or none."""
    return faces[best_face(faces)] if len(faces) else faces


def find_faces(
    frame: Frame, engine: Engine, swapper: AnySwapper, select: str, corrections: Corrections, origin: str
) -> tuple[Faces, int]:
    """The faces of one frame that will be swapped, with what the swapper needs of them, and how many others there are.

    A hand's corrections win; where nothing is detected, the face that a hand put there is taken.
    """
    found = engine.detect(frame)
    taken = largest(found) if select == "largest" else found
    chosen = corrections.apply(origin, taken) if len(taken) else corrections.added(origin, frame.index)
    ready = engine.landmarks(frame, chosen) if swapper.needs.point_set and len(chosen) else chosen
    return ready, len(found) - len(taken)


def turn_to_upright(footage: Footage, engine: Engine, *, num_frames: int = 5) -> int | None:
    """By how many degrees clockwise (90, 180, 270) the pictures must be turned for faces to stand upright; None if they seem to.

    Looks at frames spread evenly; the turn whose faces are surest in all wins. Detectors also find large faces that lie or stand on
    their heads, at a lower score, and then take their points for an upright face's: YuNet on actors .93 upright, .64 to .88 turned.
    """
    places = np.unique(np.linspace(0, len(footage) - 1, min(num_frames, len(footage))).round().astype(int))
    sure = dict.fromkeys((0, 90, 180, 270), 0.0)
    for place in places:
        frame = footage[int(place)]
        for turn in sure:
            image = np.ascontiguousarray(np.rot90(frame.image, -turn // 90))
            sure[turn] += float(engine.detect(replace(frame, image=image)).scores.max(initial=0.0))
    best = max(sure, key=lambda turn: sure[turn])
    return best if sure[best] > sure[0] + _SURER * len(places) else None


def swap_frames(
    footage: Footage,
    *,
    engine: Engine,
    swapper: AnySwapper,
    codes: Any,
    config: StreamConfig,
    device: torch.device,
    corrections: Corrections,
) -> Iterator[SwappedFrame]:
    """Every frame of `footage` in order, the selected faces replaced by source 0 of `codes`."""
    for frames in batches(footage.frames(), config.batch):
        each = [find_faces(frame, engine, swapper, config.select, corrections, footage.origin) for frame in frames]
        faces = Faces.concat([chosen for chosen, _ in each])
        canvas = HostCanvas(frames)
        if len(faces):
            crops = canvas.cut(faces, template=swapper.needs.template, size=swapper.needs.size)
            limit = swapper.needs.max_batch or len(faces)
            for start in range(0, len(faces), limit):
                part = crops[start : start + limit]
                on_device = replace(part, pixels=part.pixels.to(device))
                canvas.paste(part, swapper(on_device, codes, np.zeros(len(part), np.int64)))
        for frame, (own, num_left) in zip(canvas.frames(), each, strict=True):
            yield SwappedFrame(frame=frame, faces=own, num_left=num_left)


def source_of(footage: Footage, engine: Engine, *, num_frames: int = 5, dense: bool = True) -> Source:
    """A Source from frames spread evenly over `footage`, one face each; frames without a face are left out."""
    places = np.unique(np.linspace(0, len(footage) - 1, min(num_frames, len(footage))).round().astype(int))
    frames: list[Frame] = []
    faces: list[Faces] = []
    for place in places:
        frame = footage[int(place)]
        face = largest(engine.detect(frame))
        if len(face):
            frames.append(frame)
            faces.append(engine.landmarks(frame, face) if dense else face)
    return Source(subject=footage.subject, frames=frames, faces=faces)


def gallery_of(footage: Footage, engine: Engine, *, num_frames: int = 8) -> np.ndarray:
    """(n, d) unit embeddings of the largest face in frames spread evenly over `footage`."""
    source: Source = source_of(footage, engine, num_frames=num_frames, dense=False)
    rows: Sequence[Faces] = [engine.embed(frame, face) for frame, face in zip(source.frames, source.faces, strict=True)]
    return np.concatenate([face.embeddings for face in rows if face.embeddings is not None])
