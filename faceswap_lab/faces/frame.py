"""One picture and where it comes from."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

Image = UInt8[np.ndarray, "h w 3"]
"""RGB, 8 bits a channel, sRGB unless the Frame's colour tags say otherwise. BGR lives only on lines that call OpenCV."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourTags:
    """How the pixels of the source file were coded, in FFmpeg's names (`"bt709"`, `"tv"`); None where the file does not say."""

    primaries: str | None = None
    transfer: str | None = None
    matrix: str | None = None
    range: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Frame:
    """A picture with its origin: `"actor:21/speech:3"` or `"sha256:…"`, its number there and its time in seconds."""

    image: Image
    origin: str
    index: int = 0
    time_s: float = 0.0
    colour: ColourTags = ColourTags()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.image.shape[0], self.image.shape[1]
