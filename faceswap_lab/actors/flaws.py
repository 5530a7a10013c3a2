"""Typical flaws of photographs, for material that imitates a real shoot."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import cv2
import numpy as np

from faceswap_lab.faces.frame import Frame, Image


def _out_of_focus(image: Image) -> Image:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), image.shape[1] / 50))


def _far_away(image: Image) -> Image:
    return np.asarray(cv2.resize(image, (64, 64), interpolation=cv2.INTER_AREA))


def _cut_off(image: Image) -> Image:
    return np.ascontiguousarray(image[:, : image.shape[1] * 18 // 32])


def _wall(image: Image) -> Image:
    return np.full_like(image, (150, 140, 130))


FLAWS: Mapping[str, Callable[[Image], Image]] = {
    "none": lambda image: image,
    "out of focus": _out_of_focus,
    "far away": _far_away,
    "cut off": _cut_off,
    "a wall": _wall,
}
"""Name to the change of a picture, uint8 (height, width, 3)."""


def with_flaw(frame: Frame, name: str) -> Frame:
    """The frame with a flaw. ValueError for an unknown one."""
    if name not in FLAWS:
        raise ValueError(f"a flaw is one of {', '.join(FLAWS)}, not {name!r}")
    return replace(frame, image=FLAWS[name](frame.image))
