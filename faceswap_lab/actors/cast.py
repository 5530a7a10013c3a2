"""Actors: people who do not exist, each a seed."""

import base64
import io
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image as Pillow

from faceswap_lab.actors.performance.lights import check_light
from faceswap_lab.actors.performance.performance import Performance, check_kind
from faceswap_lab.actors.person.traits import Traits, check_seed, sample_traits
from faceswap_lab.actors.person.wear import check_wears
from faceswap_lab.actors.props import check_prop
from faceswap_lab.actors.render.capture import check_capture
from faceswap_lab.faces.frame import Image

if TYPE_CHECKING:
    from faceswap_lab.actors.take import Take


@dataclass(frozen=True, slots=True)
class Actor:
    """A synthetic adult. The same seed is the same person, everywhere; equal and hashable by seed; pickles as the seed.

    Raises ValueError unless 0 <= seed < 2**31.
    """

    seed: int

    def __post_init__(self) -> None:
        check_seed(self.seed)

    @property
    def subject(self) -> str:
        """The name under which everything knows this person: `"actor:7"`."""
        return f"actor:{self.seed}"

    @property
    def traits(self) -> Traits:
        """Every number that makes this person."""
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
        """A take of this actor; nothing is rendered before it is read.

        `kind` is "speech", "range" (independent frames that cover pose, expression, light and camera: for training), "still",
        "acted" (emotions that follow each other), "turn" (from profile to profile) or "fast"; `size` is the picture's side in
        pixels; `light` is one of `lights.LIGHTS`, `fov_deg` the lens, `capture` one of `capture.CAPTURES`, with its own seed;
        `shutter` the share of a frame's time that the shutter is open (0 to 1): half for "fast", else 0;
        `prop` (one of `props.PROPS`) is held in front of the face.
        `wears` is one of `wear.WEARS`, "auto" what the person usually wears, mostly "none". Raises ValueError for
        an unknown kind, light, capture or wear, for no frames, or for a size outside 32..4096.
        """
        from faceswap_lab.actors.take import Take

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


@lru_cache(maxsize=64)
def _portrait_uri(seed: int) -> str:
    return jpeg_uri(Actor(seed).portrait(192))


def jpeg_uri(image: Image, quality: int = 88) -> str:
    """The picture as a data URI for a notebook."""
    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
