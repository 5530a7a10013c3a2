"""The sections of swaps in a report: clip, frames from worst to best, scores."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceswap_lab.actors.cast import Take
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.consent.gate import Permission, check_swap
from faceswap_lab.trust.marks.metadata import metadata_of
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.people import record_of, reopened
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.views import images
from faceswap_lab.views.report import scores
from faceswap_lab.views.report.blocks import LARGEST_CLIP, Block, Comparison, Paragraph, Section, Video

_NUM_STILLS = 4
_KEPT_BYTES = 256 << 20
_CLIP_SCALES = (1.0, 0.5, 0.25)
"""Sizes at which a clip is encoded until it can be embedded. Only long ones need more than the first: the bit rate is limited."""


class Renders:
    """Frames of takes, rendered once for all swaps of a page; what does not fit in 256 MB is rendered each time."""

    def __init__(self) -> None:
        self._images: dict[tuple[str, int], Image] = {}
        self._bytes = 0

    def image(self, footage: Footage, index: int) -> Image:
        """The picture of a frame; of footage that is read rather than rendered, nothing is kept."""
        if not isinstance(footage, Take):
            return footage[index].image
        key = (record_of(footage), index)
        if key in self._images:
            return self._images[key]
        image = footage[index].image
        if self._bytes + image.nbytes <= _KEPT_BYTES:
            self._images[key] = image
            self._bytes += image.nbytes
        return image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """Corresponding footage, frame by frame. If a real person was anonymised, the target is not shown.

    The swap of a preview has fewer frames than target and truth: only its own are shown.
    """

    target: Footage
    swap: Footage
    truth: Take | None
    anonymised: bool
    renders: Renders

    def __len__(self) -> int:
        return len(self.swap)

    def images(self, index: int) -> dict[str, Image]:
        """The pictures of one frame by name."""
        columns = {} if self.anonymised else {"target": self.renders.image(self.target, index)}
        columns |= {"swap": self.swap[index].image}
        return columns if self.truth is None else columns | {"truth": self.renders.image(self.truth, index)}


def shown_of(swap: SwapRun, verdict: ScoreRun | None, renders: Renders) -> Shown:
    """The footage of a finished swap, with the truth if it was evaluated against one. ConsentError if the gate refuses it."""
    _, target = swap.people()
    assert isinstance(target, Footage)
    truth = reopened(verdict.inputs["truth"]) if verdict is not None and verdict.inputs["truth"] else None
    return Shown(
        target=target,
        swap=swap.footage(),
        truth=truth if isinstance(truth, Take) else None,
        anonymised=_permission(swap).anonymises,
        renders=renders,
    )


def title_of(swap: SwapRun) -> str:
    """Whose face is on whom; a person who was made unrecognisable is not named."""
    return f"{swap.summary['source']} on {'a real person' if _permission(swap).anonymises else swap.summary['target']}"


def section_of(swap: SwapRun, verdict: ScoreRun | None, renders: Renders) -> Section:
    """A finished swap: the clip, frames from worst to best, and, if it was evaluated, its scores."""
    shown = shown_of(swap, verdict, renders)
    blocks: list[Block] = [] if len(shown) == 1 else [_clip(swap, shown)]
    if len(shown) < len(shown.target):
        blocks += [Paragraph(text=f"A preview: the first {len(shown)} of the target's {len(shown.target)} frames were swapped.")]
    blocks += [_stills(shown, verdict)]
    if missed := swap.summary["frames_without_face"]:
        blocks += [Paragraph(text=f"No face was found in {len(missed)} frames, which are unchanged: {missed[:20]}.")]
    if verdict is not None:
        blocks += scores.blocks_of(verdict)
    return Section(title=title_of(swap), blocks=blocks)


def _permission(swap: SwapRun) -> Permission:
    lineage = swap.lineage()
    learned = lineage.trained_on
    return check_swap(lineage.source, lineage.target, trained_on=learned, root=swap.root, action="export refused")


def _clip(swap: SwapRun, shown: Shown) -> Block:
    """Target, swap and truth side by side, as one small clip with embedded mark; a sentence if none is small enough to embed."""
    names = list(shown.images(0))
    mark = metadata_of(swap.lineage(), _permission(swap))
    for scale in _CLIP_SCALES:
        with tempfile.TemporaryDirectory() as folder:
            data = _encoded(Path(folder) / "clip.mp4", swap.id, shown, mark, scale).read_bytes()
        if len(data) <= LARGEST_CLIP:
            smaller = "" if scale == 1 else f" Shown at {scale:.0%} of its size."
            caption = f"Left to right: {', '.join(names)}. Run {swap.id}.{smaller}"
            return Video(data=data, caption=caption, poster=_side_by_side(shown, len(shown) // 2))
    return Paragraph(text=f"The clip of {len(shown)} frames is too long to be embedded; export it with the run {swap.id}.")


def _encoded(path: Path, origin: str, shown: Shown, mark: dict[str, str], scale: float) -> Path:
    """The clip at `scale` of its size, in an MP4 whose bit rate is limited so that it can be embedded.

    The limit reserves a second for the encoder's buffer and a tenth for the container.
    """
    fps = shown.target.fps or 1.0
    side = max(32, round(scale * max(_side_by_side(shown, 0).shape)))

    def frames() -> Iterator[Frame]:
        for index in range(len(shown)):
            wide = images.fit_side(_side_by_side(shown, index), side)
            yield Frame(image=wide, origin=origin, index=index, time_s=shown.swap[index].time_s)

    rate = int(0.9 * 8 * LARGEST_CLIP / (len(shown) / fps + 1))
    return video.encode(path, frames(), fps=fps, metadata=mark, max_bits_per_s=rate)


def _side_by_side(shown: Shown, index: int) -> Image:
    return np.ascontiguousarray(np.concatenate(list(shown.images(index).values()), axis=1))


def _stills(shown: Shown, verdict: Run | None) -> Block:
    """The worst to the best frames by PSNR if the truth is known; else evenly spaced frames."""
    if len(shown) == 1:
        return Comparison(
            columns={name: [image] for name, image in shown.images(0).items()}, labels=[""], caption="Before and after."
        )
    places, labels, caption = _chosen(len(shown), verdict)
    rows = [shown.images(place) for place in places]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    difference = ("swap", "truth") if shown.truth is not None else None
    return Comparison(columns=columns, labels=[label.strip() for label in labels], caption=caption, difference_of=difference)


def _chosen(count: int, verdict: Run | None) -> tuple[list[int], list[str], str]:
    """Which of `count` frames to show, their labels, and what is said of the choice."""
    values = scores.psnr_over_frames(verdict) if verdict is not None else np.array([])
    if np.isfinite(values).sum() < _NUM_STILLS:
        places = [int(place) for place in np.linspace(0, count - 1, _NUM_STILLS).round()]
        return places, [f"frame {place}" for place in places], "Evenly spaced frames of the clip."
    order = np.argsort(np.where(np.isfinite(values), values, np.inf))[: int(np.isfinite(values).sum())]
    places = [int(order[round(share * (len(order) - 1))]) for share in (0, 1 / 3, 2 / 3, 1)]
    words = zip(("worst", "", "", "best"), places, strict=True)
    labels = [f"{word}\nframe {place}\n{values[place]:.1f} dB" for word, place in words]
    return places, labels, "Frames from worst to best by PSNR in the face; the worst first, because users will notice it most."
