"""Image encoding: RGB arrays to JPEG or PNG bytes and data URIs, within a budget of bytes."""

import base64
import io
from typing import Literal

import numpy as np
from jaxtyping import UInt8
from PIL import Image as Pillow

AnyImage = UInt8[np.ndarray, "_ _ 3"]
"""An RGB picture of any size: where `Image` occurs twice in a signature, both must have the same size."""

Kind = Literal["jpeg", "png"]
_QUALITIES = (90, 82, 72, 60)
_SMALLEST_SIDE = 32


def fit_side(image: AnyImage, side: int) -> AnyImage:
    """`image` with its longer side at most `side` pixels; never enlarged, aspect ratio kept to the pixel."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    shape = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Pillow.fromarray(image).resize(shape, Pillow.Resampling.LANCZOS))


def jpeg(image: AnyImage, *, budget: int | None = None, side: int | None = None, quality: int = 88) -> bytes:
    """A JPEG of an RGB array, 4:4:4 to preserve the colour of lips and irises.

    With a `budget` in bytes, first quality and then size is reduced until it fits; `side` limits the longer side in pixels.
    Raises ValueError if not even a picture of 32 pixels fits.
    """
    small = image if side is None else fit_side(image, side)
    qualities = (quality, *(q for q in _QUALITIES if q < quality)) if budget is not None else (quality,)
    while True:
        for q in qualities:
            buffer = io.BytesIO()
            Pillow.fromarray(small).save(buffer, "JPEG", quality=q, subsampling=0)
            if budget is None or buffer.tell() <= budget:
                return buffer.getvalue()
        small = _smaller(small, budget)


def png(image: AnyImage, *, budget: int | None = None, side: int | None = None) -> bytes:
    """A PNG of an RGB array: lossless without a `budget`; with one, first reduced to 256 colours, then in size until it fits.

    Raises ValueError if not even a picture of 32 pixels fits.
    """
    small = image if side is None else fit_side(image, side)
    while True:
        whole = Pillow.fromarray(small)
        for colours in (None, 256):
            buffer = io.BytesIO()
            (whole if colours is None else whole.quantize(colours)).save(buffer, "PNG", optimize=True)
            if budget is None or buffer.tell() <= budget:
                return buffer.getvalue()
        small = _smaller(small, budget)


def _smaller(image: AnyImage, budget: int | None) -> AnyImage:
    if max(image.shape[:2]) <= _SMALLEST_SIDE:
        raise ValueError(f"no picture fits in {budget} bytes")
    return fit_side(image, max(_SMALLEST_SIDE, int(max(image.shape[:2]) * 0.8)))


def base64_text(data: bytes) -> str:
    """`data` as base64 text, for notebook outputs and data URIs."""
    return base64.b64encode(data).decode("ascii")


def data_uri(data: bytes, mime: str) -> str:
    """`data` as a URI for embedding: `data:image/png;base64,…`."""
    return f"data:{mime};base64,{base64_text(data)}"


def image_uri(image: AnyImage, kind: Kind = "jpeg", *, budget: int | None = None, side: int | None = None) -> str:
    """An RGB array as a data URI."""
    data = jpeg(image, budget=budget, side=side) if kind == "jpeg" else png(image, budget=budget, side=side)
    return data_uri(data, f"image/{kind}")
