"""Checks of what measures are given, and pictures as numbers. A wrong argument is a ValueError that says what was wrong."""

import numpy as np
from jaxtyping import Bool, Float

from faceswap_lab.faces.frame import Image

Mask = Bool[np.ndarray, "h w"]


def unit(image: Image) -> Float[np.ndarray, "h w 3"]:
    """The picture on the range 0..1."""
    return image.astype(np.float64) / 255


def filled(mask: np.ndarray, image: np.ndarray) -> Mask:
    """The mask, if it has the picture's size and a pixel in it."""
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask {mask.shape} and picture {image.shape[:2]} differ in size")
    if not mask.any():
        raise ValueError("the mask is empty, so there is nothing to measure")
    return mask


def same_size(one: np.ndarray, two: np.ndarray) -> None:
    """Two pictures of one size."""
    if one.shape != two.shape:
        raise ValueError(f"pictures differ in size: {one.shape} and {two.shape}")


def finite(what: str, array: np.ndarray) -> np.ndarray:
    """The array, if every number in it is one: a network that returned NaN must not become a score."""
    if not np.isfinite(array).all():
        raise ValueError(f"{what} must be finite, got {np.count_nonzero(~np.isfinite(array))} values that are not")
    return array


def same_shape(what: str, one: np.ndarray, two: np.ndarray) -> None:
    """Two finite arrays of one shape, not empty."""
    if one.shape != two.shape or not one.size:
        raise ValueError(f"{what} must be two arrays of one shape with something in them, got {one.shape} and {two.shape}")
    finite(what, one)
    finite(what, two)
