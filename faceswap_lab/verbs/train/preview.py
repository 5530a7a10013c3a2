"""Looking at a training while it runs: what the swapper, as it is at a step, makes of a few frames that it does not learn from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.errors import FaceError
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import metrics
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import Card, Source
from faceswap_lab.models.stream.host_canvas import HostCanvas
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.swappers.pair_net import PairNet
from faceswap_lab.models.training.state import TrainState

Watch = Callable[[int, PairSwapper], None]
"""What `train` calls at each report: with the number of completed steps and the swapper as it is, whose weights go on changing."""


def watching(watch: Watch | None, state: TrainState[PairNet], card: Card) -> Callable[[int], None]:
    """A function that shows `watch` the state at a step; one that does nothing without it."""
    if watch is None:
        return lambda step: None
    return lambda step: watch(step, PairSwapper(state.averaged, card))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """The preview at a step: the frames with the swap pasted in, and the mean PSNR of what a true swap changes, in dB."""

    step: int
    images: tuple[Image, ...]
    psnr: float


class Preview:
    """Swaps a few frames of an actor's take with a swapper in training, beside the truth: `train(…, watch=Preview(take, hero))`.

    Its calls are kept in `seen`, in order. PSNR is what `evaluate` calls psnr_face, of these frames alone.
    Raises FaceError if there is no face in one of `frames`, IndexError for one that the take does not have.
    """

    def __init__(self, take: Take, source: Actor, *, frames: Sequence[int] = (0,)) -> None:
        engine = OfflineEngine()
        self.source = source
        self.frames: list[Frame] = [take[number] for number in frames]
        self._faces = Faces.concat([_face(engine, frame) for frame in self.frames])
        truth = take.recast(source)
        self.truth: list[Image] = [truth[number].image for number in frames]
        self._regions = [metrics.changed_region(frame.image, true) for frame, true in zip(self.frames, self.truth, strict=True)]
        self.seen: list[Seen] = []

    @property
    def floor(self) -> float:
        """The mean PSNR of the frames as they are, in dB."""
        return self._psnr([frame.image for frame in self.frames])

    def __call__(self, step: int, swapper: PairSwapper) -> None:
        """Swap the frames with `swapper`, and keep what came out as that of `step`."""
        canvas = HostCanvas(self.frames)
        crops = canvas.cut(self._faces, template=swapper.needs.template, size=swapper.needs.size)
        codes = swapper.encode([Source(subject=self.source.subject, frames=(), faces=())])
        on_device = replace(crops, pixels=crops.pixels.to(swapper.device))
        canvas.paste(crops, swapper(on_device, codes, np.zeros(len(crops), np.int64)))
        images = tuple(frame.image for frame in canvas.frames())
        self.seen.append(Seen(step=step, images=images, psnr=self._psnr(images)))

    def _psnr(self, images: Sequence[Image]) -> float:
        return float(np.mean([metrics.psnr(*each) for each in zip(images, self.truth, self._regions, strict=True)]))


def _face(engine: OfflineEngine, frame: Frame) -> Faces:
    """The best face of a frame."""
    found = engine.detect(frame)
    if not len(found):
        raise FaceError(
            expected=f"a face in frame {frame.index} of {frame.origin}", got="none", remedy="choose another frame to look at"
        )
    return found[0:1]
