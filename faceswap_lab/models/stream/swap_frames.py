"""The streaming swap of frames in order: read, find, swap and paste run concurrently, each on another batch.

Convention: batches are independent. Nothing detected, tracked or computed in one affects the next, so a stream restarted at the
first frame of a batch gives bit-identical results.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.track import follow
from faceswap_lab.models import device as devices
from faceswap_lab.models.protocols import AnySwapper, Crops, Engine, Swapped
from faceswap_lab.models.stream.colour_match import Colour
from faceswap_lab.models.stream.device_canvas import DeviceCanvas
from faceswap_lab.models.stream.host_canvas import HostCanvas
from faceswap_lab.models.stream.stages import Stage, overlapped

T = TypeVar("T")

_BATCHES_UNDER_WAY = 4
# More faces than this in a batch are swapped and pasted in parts: a crowd's crops would fill the memory.
_FACES_AT_ONCE = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """`batch` frames pass through a stage together; `select` determines which faces of a frame are swapped.

    The detector runs on every `every`-th frame; in between, faces are tracked by optical flow, and detected again when lost.
    A face that appears in between is found up to `every - 1` frames late. At 1 the detector runs on each frame.

    `colour` matches each swapped crop's colours to the target's before pasting: right for a swapper that does not follow the
    target's light, wrong if the source's skin tone should be kept (figures in `models.stream.colour_match`).
    """

    batch: int = 8
    select: Literal["largest", "all"] = "largest"
    every: int = 1
    colour: Colour = "none"

    def __post_init__(self) -> None:
        if self.batch < 1 or not 1 <= self.every <= 60:
            raise ValueError(f"batch must be at least 1 and every 1 to 60, got {self.batch} and {self.every}")

    @property
    def batch_size(self) -> int:
        """Frames per batch: the smallest multiple of `every` that is at least `batch`."""
        return -(-self.batch // self.every) * self.every


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwappedFrame:
    """A finished frame, the faces replaced in it (none: the frame is unchanged), and the number of others left."""

    frame: Frame
    faces: Faces
    num_left: int


@dataclass(slots=True, kw_only=True, eq=False)
class _Batch:
    """What the stages pass to each other."""

    frames: list[Frame]
    found: list[tuple[Faces, int]] = field(default_factory=list)
    canvas: HostCanvas | DeviceCanvas | None = None
    swapped: list[tuple[Crops, Swapped]] = field(default_factory=list)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Consecutive lists of at most `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def swap_frames(
    footage: Footage,
    *,
    engine: Engine,
    swapper: AnySwapper,
    codes: Any,
    config: StreamConfig,
    device: torch.device,
    corrections: Corrections,
    start: int = 0,
    stop: int | None = None,
    spent: dict[str, float] | None = None,
) -> Iterator[SwappedFrame]:
    """The frames `start` to `stop` of `footage` in order, the selected faces replaced by source 0 of `codes`.

    `start` must be a multiple of `config.batch_size` for results equal to an uninterrupted stream. The stages' busy seconds are
    added to `spent`: read, find, swap, colour (if matched), paste. An error in any of them, or an interrupt, stops all and is
    re-raised unchanged after the preceding frames; closing the iterator stops them too.
    """
    finder = _Finder(engine=engine, swapper=swapper, config=config, corrections=corrections, origin=footage.origin)
    # A video's frames are decoded for this reader alone; a still is cached by its clip, and an actor's frames by the take.
    owned = isinstance(footage, Clip | Excerpt) and len(footage) > 1
    painter = _Painter(swapper=swapper, codes=codes, colour=config.colour, device=device, owned=owned)
    source = (_Batch(frames=frames) for frames in batches(footage.frames(start, stop), config.batch_size))
    colour = [] if config.colour == "none" else [Stage(name="colour", work=painter.match)]
    stages = [
        Stage(name="find", work=finder.fill),
        Stage(name="swap", work=painter.swap),
        *colour,
        Stage(name="paste", work=painter.paste),
    ]
    for batch in overlapped(source, stages, under_way=_BATCHES_UNDER_WAY, spent=spent):
        with devices.watched():
            frames = list(batch.canvas.frames())
        for frame, (own, num_left) in zip(frames, batch.found, strict=True):
            yield SwappedFrame(frame=frame, faces=own, num_left=num_left)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Painter:
    """Swaps the faces of a batch, matches their colours and pastes them: one stage each. `owned` frames may be modified."""

    swapper: AnySwapper
    codes: Any
    colour: Colour
    device: torch.device
    owned: bool

    @devices.watched()
    def swap(self, batch: _Batch) -> _Batch:
        faces = Faces.concat([chosen for chosen, _ in batch.found])
        batch.canvas = self._canvas(batch.frames)
        needs = self.swapper.needs
        at_once = min(needs.max_batch or _FACES_AT_ONCE, _FACES_AT_ONCE)
        for begin in range(0, len(faces), at_once):
            part = batch.canvas.cut(faces[begin : begin + at_once], template=needs.template, size=needs.size)
            answer = self.swapper(part, self.codes, np.zeros(len(part), np.int64))
            batch.swapped.append((part, answer))
            if len(faces) > _FACES_AT_ONCE:
                self._pasted(self.match(batch))
        return batch

    @devices.watched()
    def match(self, batch: _Batch) -> _Batch:
        assert batch.canvas is not None
        batch.swapped = [(crops, batch.canvas.match(crops, answer, self.colour)) for crops, answer in batch.swapped]
        return batch

    @devices.watched()
    def paste(self, batch: _Batch) -> _Batch:
        canvas = self._pasted(batch).canvas
        if isinstance(canvas, DeviceCanvas):
            canvas.begin_download()
        return batch

    def _pasted(self, batch: _Batch) -> _Batch:
        assert batch.canvas is not None
        for crops, answer in batch.swapped:
            batch.canvas.paste(crops, answer)
        batch.swapped.clear()
        return batch

    def _canvas(self, frames: list[Frame]) -> HostCanvas | DeviceCanvas:
        """Frames where the swapper computes: crops do not leave that memory between cutting and pasting."""
        on_host = self.device.type == "cpu" or self.swapper.needs.on_host
        return HostCanvas(frames, owned=self.owned) if on_host else DeviceCanvas(frames, self.device)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Finder:
    """Finds the faces of a batch to be swapped, with the landmarks that the swapper needs."""

    engine: Engine
    swapper: AnySwapper
    config: StreamConfig
    corrections: Corrections
    origin: str

    def fill(self, batch: _Batch) -> _Batch:
        """The batch with its faces filled in."""
        batch.found = self.find(batch.frames)
        return batch

    def find(self, frames: Sequence[Frame]) -> list[tuple[Faces, int]]:
        """For each frame the selected faces, and the number of others."""
        answers: list[tuple[Faces, int]] = []
        taken, num_left = Faces.none(), 0
        # Scheduled detections are batched; where tracking loses a face, that frame is detected alone.
        found = self.engine.detect_all(frames[:: self.config.every])
        for place, frame in enumerate(frames):
            followed = None
            if place % self.config.every:
                followed = self._followed(frames[place - 1], frame, taken)
            if followed is None:
                number, between = divmod(place, self.config.every)
                taken, num_left = self._chosen(self.engine.detect(frame) if between else found[number])
                answers.append((self._ready(frame, taken), num_left))
            else:
                taken, ready = followed
                answers.append((ready, num_left))
        return answers

    def _chosen(self, found: Faces) -> tuple[Faces, int]:
        taken = largest(found) if self.config.select == "largest" else found
        return taken, len(found) - len(taken)

    def _followed(self, before: Frame, frame: Frame, taken: Faces) -> tuple[Faces, Faces] | None:
        """The previous frame's faces tracked into this one, as tracked and as prepared for the swapper; None if one is lost."""
        if not len(taken):
            return taken, self._ready(frame, taken)
        moved, sure = follow(before.image, frame.image, taken, index=frame.index)
        if not sure.all():
            return None
        ready = self._ready(frame, moved)
        # If the mesh network rejects its own points, there is no face where the optical flow has led.
        if ready.visible is not None and not ready.visible.any(axis=1).all():
            return None
        return moved, ready

    def _ready(self, frame: Frame, taken: Faces) -> Faces:
        """Manual corrections take precedence; where nothing is found, a manually added face is used."""
        chosen = self.corrections.apply(self.origin, taken) if len(taken) else self.corrections.added(self.origin, frame.index)
        return self.engine.landmarks(frame, chosen) if self.swapper.needs.point_set and len(chosen) else chosen
