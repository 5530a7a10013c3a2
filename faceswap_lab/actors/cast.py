"""Actors (synthetic people, each defined by a seed) and their takes."""

import base64
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image as Pillow

from faceswap_lab.actors.gfx.device import available
from faceswap_lab.actors.performance.lights import check_light
from faceswap_lab.actors.performance.performance import Performance, View, check_kind
from faceswap_lab.actors.performance.props import check_prop
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.person.recast import Tone, build_recast
from faceswap_lab.actors.person.traits import Traits, sample_traits
from faceswap_lab.actors.person.wear import Wears, check_wears
from faceswap_lab.actors.render import capture
from faceswap_lab.actors.render.capture import CaptureKind, check_capture
from faceswap_lab.actors.render.render import Rendered, render
from faceswap_lab.actors.render.scene import travel
from faceswap_lab.actors.splits import check_seed
from faceswap_lab.caches import cached
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.faces.scratch import read_only


@dataclass(frozen=True, slots=True)
class Actor:
    """A synthetic adult, fully determined by its seed; compares, hashes and pickles by seed.

    Raises ValueError unless 0 <= seed < 2**31.
    """

    seed: int

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @property
    def subject(self) -> str:
        """This person's subject name: `"actor:7"`."""
        return f"actor:{self.seed}"

    @property
    def traits(self) -> Traits:
        """All parameters of this person."""
        return sample_traits(self.seed)

    def perform(
        self,
        kind: str,
        *,
        seconds: float = 4,
        fps: float = 25,
        seed: int = 0,
        size: int = 256,
        light: str = "auto",
        fov_deg: float | None = None,
        capture: str = "plain",
        capture_seed: int = 0,
        shutter: float | None = None,
        prop: str = "none",
        wears: str = "auto",
        device: str = "cpu",
    ) -> "Take":
        """A take of this actor, rendered lazily when read.

        `kind` is "speech", "range" (independent frames that cover pose, expression, light and camera: for training), "still",
        "acted" (a sequence of emotions), "turn" (from profile to profile) or "fast"; `size` is the image's side in pixels;
        `light` is one of `lights.LIGHTS`, `fov_deg` the vertical field of view, `capture` one of `capture.CAPTURES`, with its own
        seed; `shutter` is the fraction of the frame interval that the shutter is open (0 to 1), by default 0.5 for "fast", else 0;
        `prop` (one of `props.PROPS`) is held in front of the face; `wears` is one of `wear.WEARS`, "auto" being the person's usual
        accessory, mostly "none". Raises ValueError for an unknown kind, light, capture, prop or accessory, for no frames, or for a
        size outside 32..4096.
        """

        performance = Performance(
            kind=check_kind(kind), seed=seed, light=check_light(light), fov_deg=fov_deg, prop=check_prop(prop)
        )
        return Take(
            actor=self,
            performance=performance,
            num_frames=max(0, round(seconds * fps)),
            fps=float(fps),
            side=size,
            capture=check_capture(capture),
            capture_seed=capture_seed,
            shutter=float(shutter if shutter is not None else 0.5 if kind == "fast" else 0.0),
            wears=check_wears(wears),
            device=device,
        )

    def portrait(self, size: int = 256) -> Image:
        """A neutral studio portrait, `size` pixels square."""
        return self.perform("still", seconds=1, fps=1, size=size)[0].image

    def _repr_html_(self) -> str:
        who = "man" if self.traits.is_male else "woman"
        return (
            f'<figure style="display:inline-block;margin:4px"><img alt="{self.subject}" src="{_portrait_uri(self.seed)}">'
            f"<figcaption>{self.subject}, a synthetic {who}</figcaption></figure>"
        )


@cached(most=64)
def _portrait_uri(seed: int) -> str:
    return jpeg_uri(Actor(seed).portrait(192))


def jpeg_uri(image: Image, quality: int = 88) -> str:
    """The image as a JPEG data URI, for notebooks."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


_MIN_SIDE, _MAX_SIDE = 32, 4096


_MAX_SUBFRAMES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Take:
    """Footage of an actor. Holds seeds, not meshes: cheap to store, hash, pickle and send to a worker.

    With a `source` it is a recast: the same take with the source's face, the ground truth of a face swap. `capture` and
    `capture_seed` select the simulated sensor and codec; `shutter` is the fraction of the frame interval that it is open.
    Raises ValueError for no frames, a non-positive frame rate, a side outside 32..4096 pixels, or a shutter outside 0..1.
    """

    actor: Actor
    performance: Performance
    num_frames: int
    fps: float
    side: int
    source: Actor | None = None
    tone: Tone = "source"
    capture: CaptureKind = "plain"
    capture_seed: int = 0
    shutter: float = 0.0
    wears: Wears = "auto"
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.num_frames < 1:
            raise ValueError(f"a take needs at least one frame, got {self.num_frames}")
        if not self.fps > 0:
            raise ValueError(f"fps must be positive, got {self.fps}")
        if not _MIN_SIDE <= self.side <= _MAX_SIDE:
            raise ValueError(f"size must be within {_MIN_SIDE}..{_MAX_SIDE} pixels, got {self.side}")
        if not 0 <= self.shutter <= 1:
            raise ValueError(f"shutter must be within 0..1, got {self.shutter}")
        check_capture(self.capture)
        check_wears(self.wears)
        check_seed(self.capture_seed, "capture seed")
        if self.tone not in ("source", "target"):
            raise ValueError(f"tone must be 'source' or 'target', got {self.tone!r}")

    @property
    def origin(self) -> str:
        """`"actor:21/speech:3@256x256,25fps"`, followed by non-default options and, for a recast, `"/as:7,tone=source"`.

        Equal origins have equal frames of equal index. So it includes the length only with a camera that encodes video: the codec
        compresses the last frames as one group.
        """
        who = f"{self.actor.subject}/{self.performance.kind}:{self.performance.seed}@{self.side}x{self.side},{self.fps:g}fps"
        who += "".join(f",{name}={value}" for name, value in self.options.items())
        who += f",frames={len(self)}" if capture.encodes_groups(self.capture) else ""
        return who if self.source is None else f"{who}/as:{self.source.seed},tone={self.tone}"

    @property
    def options(self) -> dict[str, str | float | int]:
        """Arguments of `Actor.perform` other than kind, seed, length and size that differ from their defaults."""
        performance = self.performance
        given: dict[str, tuple[str | float | int | None, str | float | int | None]] = {
            "light": (performance.light, "auto"),
            "fov_deg": (performance.fov_deg, None),
            "prop": (performance.prop, "none"),
            "capture": (self.capture, "plain"),
            "capture_seed": (self.capture_seed, 0),
            "wears": (self.wears, "auto"),
            "shutter": (self.shutter, 0.5 if performance.kind == "fast" else 0.0),
        }
        return {name: value for name, (value, default) in given.items() if value != default and value is not None}

    @property
    def subject(self) -> str:
        """The depicted subject. A recast still counts as its target, whose image was changed."""
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
        """Frames `start` to `stop` (exclusive) in order, rendered one by one."""
        for index in range(len(self))[start:stop]:
            yield self[index]

    def view(self, index: int) -> View:
        """Pose, expression, camera and light of a frame; identical for a take and its recasts."""
        row = self._row(index)
        return self.performance.view(row, row / self.fps)

    def rendered(self, index: int) -> Rendered:
        """Image and ground truth of a frame. The last few are cached and shared: their arrays are read-only.

        Raises DeviceError if the take's device is not available here.
        """
        row = self._row(index)
        if self.capture == "plain":
            return _rendered(self, row)
        group = capture.group_of(self.capture, row)
        return _captured(self, group.start, min(group.stop, len(self)))[row - group.start]

    def clean(self) -> "Take":
        """The same take without sensor and codec effects."""
        return replace(self, capture="clean", capture_seed=0)

    def on(self, device: str) -> "Take":
        """The same take, rendered on another device."""
        return replace(self, device=device)

    def recast(self, source: Actor, *, tone: Tone = "source") -> "Take":
        """The ground-truth face swap: the source's inner face in this take, everything else unchanged.

        `tone` selects whose skin tone the face has: the source's (blended at the border) or the target's.
        """
        return replace(self, source=source, tone=tone)

    def _row(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a take with {len(self)} frames")
        return index % len(self)

    def _repr_html_(self) -> str:
        return _film_strip(self)


@cached(most=512)
def _rendered(take: Take, row: int) -> Rendered:
    available(take.device)
    rows = texture_rows(take.side)
    if take.source is None:
        figure = build_figure(take.actor.seed, rows, take.device, take.wears)
    else:
        figure = build_recast(take.actor.seed, take.source.seed, take.tone, rows, take.device, take.wears)
    view, exposure = take.view(row), _exposure(take, row)
    if take.capture == "clean":
        view = replace(view, noise=0.0)
    return read_only(render(figure, view, size=take.side, exposure=exposure))


@cached(most=2)
def _captured(take: Take, start: int, stop: int) -> tuple[Rendered, ...]:
    """Frames of one group of pictures after sensor and codec; their ground truth is that of the clean frames."""
    clean = [_rendered(take.clean(), row) for row in range(start, stop)]
    images = capture.develop([each.image for each in clean], take.capture, seed=take.capture_seed, first=start, fps=take.fps)
    return tuple(replace(each, image=read_only(image)) for each, image in zip(clean, images, strict=True))


def _exposure(take: Take, row: int) -> tuple[View, ...]:
    """Subframe views over the exposure, centred on the frame's time: one per pixel of head motion, at most two dozen."""
    if take.shutter == 0 or take.performance.kind == "range":
        return ()
    time_s, open_s = row / take.fps, take.shutter / take.fps
    ends = [take.performance.view(row, time_s + side * open_s / 2) for side in (-1, 1)]
    count = min(_MAX_SUBFRAMES, math.ceil(travel(*ends, size=take.side)))
    if count < 2:
        return ()
    return tuple(take.performance.view(row, time_s + ((k + 0.5) / count - 0.5) * open_s) for k in range(count))


@cached(most=32)
def _film_strip(take: Take) -> str:
    """Up to six thumbnails with a caption."""
    small = replace(take, side=96)
    rows = np.unique(np.linspace(0, len(take) - 1, 6).astype(int))
    strip = np.concatenate([small.rendered(int(row)).image for row in rows], axis=1)
    return (
        f'<figure style="margin:4px"><img alt="{take.origin}" src="{jpeg_uri(strip, 85)}">'
        f"<figcaption>{take.origin}, {len(take)} frames</figcaption></figure>"
    )
