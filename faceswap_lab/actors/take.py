"""Takes: one actor in one performance, rendered when read, with its ground truth."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from faceswap_lab.actors.cast import Actor, jpeg_uri
from faceswap_lab.actors.figure import build_figure, texture_rows
from faceswap_lab.actors.perform import Performance, View
from faceswap_lab.actors.render import Rendered, render
from faceswap_lab.actors.truth import Tone, build_recast
from faceswap_lab.faces.frame import Frame

_MIN_SIDE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Footage of an actor. Holds seeds, not meshes: cheap to keep, to hash, to pickle and to send to a worker.

    With a `source` it is a recast: the same take with the source's face, the true result of a face swap.
    Raises ValueError for no frames, a rate that is not positive, or a side below 32 pixels.
    """

    actor: Actor
    performance: Performance
    num_frames: int
    fps: float
    side: int
    source: Actor | None = None
    tone: Tone = "source"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"a take needs at least one frame, got {self.num_frames}")
        if not self.fps > 0:
            raise ValueError(f"fps must be positive, got {self.fps}")
        if self.side < _MIN_SIDE:
            raise ValueError(f"size must be at least {_MIN_SIDE} pixels, got {self.side}")
        if self.tone not in ("source", "target"):
            raise ValueError(f"tone must be 'source' or 'target', got {self.tone!r}")

    @property
    def origin(self) -> str:
        """`"actor:21/speech:3@256x256,25fps"`; a recast adds `"/as:7,tone=source"`. The same for every length of a take."""
        who = f"{self.actor.subject}/{self.performance.kind}:{self.performance.seed}@{self.side}x{self.side},{self.fps:g}fps"
        return who if self.source is None else f"{who}/as:{self.source.seed},tone={self.tone}"

    @property
    def subject(self) -> str:
        """Who is seen. A recast still counts as its target: it is the target's picture that was changed."""
        return self.actor.subject

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.side, self.side

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Frame:
        row = self._row(index)
        return Frame(image=self.rendered(row).image, origin=self.origin, index=row, time_s=row / self.fps)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Frames `start` to `stop` (not included) in order, rendered one by one."""
        for index in range(len(self))[start:stop]:
            yield self[index]

    def view(self, index: int) -> View:
        """Pose, expression, camera and light of a frame; the same for a take and its recasts."""
        row = self._row(index)
        return self.performance.view(row, row / self.fps)

    def rendered(self, index: int) -> Rendered:
        """Picture and ground truth of a frame. The last few are kept, so that reading both renders once: do not write to them."""
        return _rendered(self, self._row(index))

    def recast(self, source: Actor, *, tone: Tone = "source") -> "Take":
        """The true face swap: the source's inner face in this take, everything else as it is.

        `tone` says whose skin colour the face has: the source's (blended at the border) or the target's.
        """
        return replace(self, source=source, tone=tone)

    def _row(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a take with {len(self)} frames")
        return index % len(self)

    def _repr_html_(self) -> str:
        return _film_strip(self)


@lru_cache(maxsize=8)
def _rendered(take: Take, row: int) -> Rendered:
    rows = texture_rows(take.side)
    if take.source is None:
        figure = build_figure(take.actor.seed, rows, take.device)
    else:
        figure = build_recast(take.actor.seed, take.source.seed, take.tone, rows, take.device)
    return render(figure, take.view(row), size=take.side)


@lru_cache(maxsize=32)
def _film_strip(take: Take) -> str:
    """Up to six small frames and what they are."""
    small = replace(take, side=96)
    rows = np.unique(np.linspace(0, len(take) - 1, 6).astype(int))
    strip = np.concatenate([small.rendered(int(row)).image for row in rows], axis=1)
    return (
        f'<figure style="margin:4px"><img alt="{take.origin}" src="{jpeg_uri(strip, 85)}">'
        f"<figcaption>{take.origin}, {len(take)} frames</figcaption></figure>"
    )
