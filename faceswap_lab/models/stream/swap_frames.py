"""The streaming swap of frames in order: read, find, swap and paste run concurrently, each on another batch.

Convention: batches are independent. Nothing detected, tracked or computed in one affects the next, so a stream restarted at the
first frame of a batch gives bit-identical results.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from faceswap_lab.actors.cast import Take
from faceswap_lab.faces.corrections import Corrected, Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.patches.patch import Region
from faceswap_lab.faces.track import follow
from faceswap_lab.models import device as devices
from faceswap_lab.models.engines import search
from faceswap_lab.models.protocols import AnySwapper, Crops, Engine, Swapped
from faceswap_lab.models.stream.colour_match import Colour, keep_grey
from faceswap_lab.models.stream.covers import CoverKeeper, Covers
from faceswap_lab.models.stream.device_canvas import DeviceCanvas
from faceswap_lab.models.stream.followed import Followed, Selection
from faceswap_lab.models.stream.host_canvas import HostCanvas
from faceswap_lab.models.stream.manual import fitted
from faceswap_lab.models.stream.stages import Stage, overlapped

T = TypeVar("T")

UNDER_WAY = 4
"""Batches in the stages at the same time."""

# More faces than this in a batch are swapped and pasted in parts: a crowd's crops would fill the memory.
_FACES_AT_ONCE = 64
_LEAST_SEARCH = 160


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamConfig:
    """`batch` frames pass through a stage together; `select` determines whose faces are swapped.

    "largest" is one person through the whole footage: whose face is the largest in the first frame that shows one, or was manually
    corrected there. "all" is everybody. In a frame that was corrected, the corrected face is swapped, whoever it is.

    Frames are searched for faces with the long side at `search` pixels; larger finds smaller faces, and takes longer. At 0 it is
    640, but half the frame's own for "all", so that faces of 24 pixels are found; never more than the frame's own.

    The detector runs on every `every`-th frame; in between, faces are tracked by optical flow, and detected again when lost.
    A face that appears in between is found up to `every - 1` frames late. At 1 the detector runs on each frame. It also runs on
    each frame that was manually corrected, and the correction is tracked from there until the next detection.

    `colour` matches each swapped crop's colours to the target's before pasting: right for a swapper that does not follow the
    target's light, wrong if the source's skin tone should be kept (figures in `models.stream.colour_match`).

    `covers` "kept" leaves hair, glasses, hats and what is held before a face as they are in the target, where our own eyes
    (`models.eyes`) see them; "swapped" leaves that to the swapper's mask.
    """

    batch: int = 8
    select: Literal["largest", "all"] = "largest"
    every: int = 1
    colour: Colour = "none"
    search: int = 0
    covers: Covers = "swapped"

    def __post_init__(self) -> None:
        if self.batch < 1 or not 1 <= self.every <= 60:
            raise ValueError(f"batch must be at least 1 and every 1 to 60, got {self.batch} and {self.every}")
        if self.search and self.search < _LEAST_SEARCH:
            raise ValueError(f"search must be 0 or at least {_LEAST_SEARCH} pixels, got {self.search}")

    @property
    def batch_size(self) -> int:
        """Frames per batch: the smallest multiple of `every` that is at least `batch`."""
        return -(-self.batch // self.every) * self.every

    def found_from(self, size: tuple[int, int]) -> int:
        """About the width in pixels from which faces are found in frames of `size` (height, width); smaller ones are missed."""
        return search.found_from(search.search_side(self.search, size, everybody=self.select == "all"), size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SwappedFrame:
    """A finished frame, the faces replaced in it (none: the frame is unchanged), and the number of others found and left.

    `regions` are those outside which the frame is the footage's to the bit, with its pixels in them. `followed` is the person whose
    face it is, once one has been chosen out of the faces that there are.
    """

    frame: Frame
    faces: Faces
    num_left: int
    regions: tuple[Region, ...] = ()
    followed: Followed | None = None


@dataclass(slots=True, kw_only=True, eq=False)
class _Batch:
    """What the stages pass to each other."""

    frames: list[Frame]
    found: list[tuple[Faces, int]] = field(default_factory=list)
    followed: Followed | None = None
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
    under_way: int = UNDER_WAY,
) -> Generator[SwappedFrame, None, None]:
    """The frames `start` to `stop` of `footage` in order, the selected faces replaced by source 0 of `codes`.

    At most `under_way` batches are in the stages at the same time; with one, no two stages work at once.
    `start` must be a multiple of `config.batch_size` for results equal to an uninterrupted stream. The stages' busy seconds are
    added to `spent`: read, find, swap, colour (if matched), paste. An error in any of them, or an interrupt, stops all and is
    re-raised unchanged after the preceding frames; closing the iterator stops them too.
    """
    # A take shows one actor, and a still is one frame: nobody has to be told apart.
    selection = Selection(engine=engine, select=config.select, apart=not isinstance(footage, Take) and len(footage) > 1)
    finder = _Finder(
        engine=engine, swapper=swapper, config=config, corrections=corrections, origin=footage.origin, selection=selection
    )
    finder.settle(footage, start)
    # A video's frames are decoded for this reader alone; a still is cached by its clip, and an actor's frames by the take.
    owned = isinstance(footage, Clip | Excerpt) and len(footage) > 1
    keeper = CoverKeeper.of(config.covers)
    painter = _Painter(swapper=swapper, codes=codes, colour=config.colour, device=device, owned=owned, keeper=keeper)
    source = (_Batch(frames=frames) for frames in batches(footage.frames(start, stop), config.batch_size))
    colour = [] if config.colour == "none" else [Stage(name="colour", work=painter.match)]
    stages = [
        Stage(name="find", work=finder.fill),
        Stage(name="swap", work=painter.swap),
        *colour,
        Stage(name="paste", work=painter.paste),
    ]
    for batch in overlapped(source, stages, under_way=under_way, spent=spent):
        with devices.watched():
            frames, regions = list(batch.canvas.frames()), list(batch.canvas.regions())
        for frame, touched, (own, num_left) in zip(frames, regions, batch.found, strict=True):
            yield SwappedFrame(frame=frame, faces=own, num_left=num_left, regions=touched, followed=batch.followed)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Painter:
    """Swaps the faces of a batch, matches their colours and pastes them: one stage each.

    `owned` frames may be modified; `keeper` spares what covers a face.
    """

    swapper: AnySwapper
    codes: Any
    colour: Colour
    device: torch.device
    owned: bool
    keeper: CoverKeeper | None = None

    @devices.watched()
    def swap(self, batch: _Batch) -> _Batch:
        faces = Faces.concat([chosen for chosen, _ in batch.found])
        crowd = len(faces) > _FACES_AT_ONCE
        batch.canvas = self._canvas(batch.frames, crowd=crowd)
        needs = self.swapper.needs
        at_once = min(needs.max_batch or _FACES_AT_ONCE, _FACES_AT_ONCE)
        for begin in range(0, len(faces), at_once):
            chosen = faces[begin : begin + at_once]
            part = batch.canvas.cut(chosen, template=needs.template, size=needs.size)
            answer = self.swapper(part, self.codes, np.zeros(len(part), np.int64))
            if self.keeper is not None:
                answer = self.keeper.kept(batch.frames, chosen, part, answer)
            batch.swapped.append((part, answer))
            if crowd:
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
            batch.canvas.paste(crops, keep_grey(crops, answer))
        batch.swapped.clear()
        return batch

    def _canvas(self, frames: list[Frame], *, crowd: bool) -> HostCanvas | DeviceCanvas:
        """Frames where the swapper computes: crops do not leave that memory between cutting and pasting.

        The canvas of a crowd is cut again after pasting, and no crop may show a swapped neighbour.
        """
        if self.device.type == "cpu" or self.swapper.needs.on_host:
            return HostCanvas(frames, owned=self.owned and not crowd)
        return DeviceCanvas(frames, self.device, cut_after_paste=crowd)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Finder:
    """Finds the faces of a batch to be swapped, with the landmarks that the swapper needs."""

    engine: Engine
    swapper: AnySwapper
    config: StreamConfig
    corrections: Corrections
    origin: str
    selection: Selection

    def settle(self, footage: Footage, start: int) -> None:
        """Choose the person to follow as a stream from frame 0 would have before `start`."""
        if start and not self.selection.is_settled():
            for frames in batches(footage.frames(0, start), self.config.batch_size):
                self._choose(frames[:: self.config.every])
                if self.selection.is_settled():
                    return

    def fill(self, batch: _Batch) -> _Batch:
        """The batch with its faces filled in."""
        batch.found = self.find(batch.frames)
        batch.followed = self.selection.followed
        return batch

    def find(self, frames: Sequence[Frame]) -> list[tuple[Faces, int]]:
        """For each frame the selected faces, and the number of others."""
        answers: list[tuple[Faces, int]] = []
        taken, num_left = Corrected(faces=Faces.none()), 0
        # Scheduled detections are batched; a frame that was corrected, or where tracking loses a face, is detected alone.
        found = self._choose(frames[:: self.config.every])
        for place, frame in enumerate(frames):
            number, between = divmod(place, self.config.every)
            followed = None
            if between and self.corrections.points(self.origin, frame.index) is None:
                followed = self._followed(frames[place - 1], frame, taken)
            if followed is None:
                taken, num_left = self._choose([frame])[0] if between else found[number]
                answers.append((self._ready(frame, taken), num_left))
            else:
                taken, ready = followed
                answers.append((ready, num_left))
        return answers

    def _choose(self, frames: Sequence[Frame]) -> list[tuple[Corrected, int]]:
        """Of each frame the faces to swap, and the number of others: corrected first, then selected."""
        found = search.detect_all(self.engine, frames, self.config.search, everybody=self.config.select == "all")
        faces = [
            self.corrections.of_frame(self.origin, frame.index, detected) for frame, detected in zip(frames, found, strict=True)
        ]
        chosen = self.selection.rows(frames, [each.faces for each in faces], pinned=[each.row for each in faces])
        return [(each.only(rows), len(each.faces) - len(rows)) for each, rows in zip(faces, chosen, strict=True)]

    def _followed(self, before: Frame, frame: Frame, taken: Corrected) -> tuple[Corrected, Faces] | None:
        """The previous frame's faces tracked into this one, as tracked and as prepared for the swapper; None if one is lost."""
        if not len(taken.faces):
            return taken, taken.faces
        faces, sure = follow(before.image, frame.image, taken.faces, index=frame.index)
        if not sure.all():
            return None
        moved = replace(taken, faces=faces)
        ready = self._ready(frame, moved)
        # If the mesh network rejects its own points, there is no face where the optical flow has led.
        if ready.visible is not None and not ready.visible.any(axis=1).all():
            return None
        return moved, ready

    def _ready(self, frame: Frame, taken: Corrected) -> Faces:
        """The faces with the landmarks that the swapper needs."""
        if not self.swapper.needs.point_set or not len(taken.faces):
            return taken.faces
        return fitted(self.engine.landmarks(frame, taken.faces), taken)
