"""Putting a crop back: masks, colour and light match, and a paste that touches nothing but the face's region.

Convention: pictures are in levels 0 to 255, uint8 or float; masks are float32, 0 keeps the frame and 1 takes the patch. Distances
are in pixels of the crop, whose centres lie at integers.
"""

from collections.abc import Mapping
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped

from faceswap_lab.faces.align import invert, transform_points, warp
from faceswap_lab.faces.frame import Image

# Centre and half axes, as fractions of the crop's side, of an ellipse from the brows to the chin, set by eye on a frontal portrait.
# Only for swappers that say nothing better about what they replace.
ELLIPSES: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = MappingProxyType(
    {"face": ((0.5, 0.59), (0.36, 0.38)), "arcface": ((0.5, 0.64), (0.34, 0.35))}
)


def paste(
    image: Image,
    patch: Shaped[np.ndarray, "s s 3"],
    mask: Float32[np.ndarray, "s s"],
    frame_to_crop: Float[np.ndarray, "2 3"],
) -> Image:
    """A copy of `image` with `patch` blended in where `mask` says so; every pixel outside the mask's footprint keeps its bits.

    `patch` is uint8, or float in levels 0 to 255, in crop pixels; `frame_to_crop` is the matrix it was cut with.
    """
    out = image.copy()
    paste_into(out, patch, mask, frame_to_crop)
    return out


def paste_into(
    image: Image,
    patch: Shaped[np.ndarray, "s s 3"],
    mask: Float32[np.ndarray, "s s"],
    frame_to_crop: Float[np.ndarray, "2 3"],
) -> None:
    """Like `paste`, but changes `image` itself: for several faces in one frame, where a copy each would cost most."""
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(f"a mask lies in 0..1, got {mask.min()}..{mask.max()}")
    pixels = patch.astype(np.float32)
    if not np.isfinite(pixels).all():
        raise ValueError("the patch holds NaN or infinity")
    region = _region(image.shape[:2], mask, frame_to_crop)
    if region is None:
        return
    rows, columns = region
    size = (rows.stop - rows.start, columns.stop - columns.start)
    crop_to_region = invert(frame_to_crop)
    crop_to_region[:, 2] -= (columns.start, rows.start)
    alpha = warp(mask, crop_to_region, size, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)[..., None]
    over = warp(pixels, crop_to_region, size).clip(0, 255)
    under = image[rows, columns]
    # under + 0 * (over - under) is exact in float32, so where alpha is 0 the bits stay.
    image[rows, columns] = np.rint(under + alpha * (over - under)).astype(np.uint8)


def _region(
    shape: tuple[int, ...], mask: Float32[np.ndarray, "s s"], frame_to_crop: Float[np.ndarray, "2 3"]
) -> tuple[slice, slice] | None:
    """Rows and columns of the frame that the mask's support can reach, or None where it is empty or outside."""
    x, y, width, height = cv2.boundingRect((mask > 0).astype(np.uint8))
    if width == 0:
        return None
    # Linear interpolation spreads a pixel's weight by one pixel each way.
    corners = np.array([(x - 1, y - 1), (x + width, y - 1), (x - 1, y + height), (x + width, y + height)], np.float64)
    on_frame = transform_points(invert(frame_to_crop), corners)
    left, top = (int(value) for value in np.floor(on_frame.min(0)))
    right, bottom = (int(value) + 1 for value in np.ceil(on_frame.max(0)))
    rows, columns = slice(max(top, 0), min(bottom, shape[0])), slice(max(left, 0), min(right, shape[1]))
    return (rows, columns) if rows.start < rows.stop and columns.start < columns.stop else None


def landmark_hull_mask(
    points: Float[np.ndarray, "k 2"], size: int, feather: float, *, grow: float = 0.0
) -> Float32[np.ndarray, "size size"]:
    """1 well inside the convex hull of `points` (crop pixels), falling smoothly to 0 on its edge over `feather` pixels.

    0 also on the crop's border, wherever the points lie. `grow` moves each of the hull's sides outward by that many pixels. The
    value comes from the exact distance to the sides, so it changes smoothly when points move by parts of a pixel.
    """
    if len(points) < 3 or not np.isfinite(points).all():
        raise ValueError(f"a hull needs at least 3 finite points, got {len(points)}")
    corners = cv2.convexHull(points.astype(np.float32)).reshape(-1, 2).astype(np.float64)
    return _inside(corners, size, feather, grow)


def soft_mask(
    size: int,
    *,
    template: str = "face",
    points: Float[np.ndarray, "k 2"] | None = None,
    feather: float | None = None,
    grow: float = 0.0,
) -> Float32[np.ndarray, "size size"]:
    """Where to blend a face crop: inside the hull of `points` if given, else inside the template's ellipse.

    `feather` in crop pixels, by default a tenth of the size. 0 on the crop's border. ValueError for a template without an ellipse.
    """
    width = size / 10 if feather is None else feather
    if points is not None:
        return landmark_hull_mask(points, size, width, grow=grow)
    if template not in ELLIPSES:
        raise ValueError(f"no ellipse for the template {template!r}; there are {', '.join(sorted(ELLIPSES))}")
    centre, axes = ELLIPSES[template]
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ellipse = (np.array(centre) + np.column_stack([np.cos(turn), np.sin(turn)]) * np.array(axes)) * size - 0.5
    return _inside(ellipse, size, width, grow)


def _inside(corners: Float64[np.ndarray, "k 2"], size: int, feather: float, grow: float) -> Float32[np.ndarray, "size size"]:
    """Smooth step of the distance inside a convex polygon and the crop's border, both as half planes."""
    if feather <= 0:
        raise ValueError(f"the feather is a positive number of pixels, got {feather}")
    grid = np.arange(size, dtype=np.float32)
    to_border = np.minimum(grid, size - 1 - grid)
    depth = np.minimum(to_border[:, None], to_border[None, :])
    sides = np.roll(corners, -1, axis=0) - corners
    lengths = np.hypot(sides[:, 0], sides[:, 1])
    centre = corners.mean(0)
    for corner, side, length in zip(corners, sides, lengths, strict=True):
        if length < 1e-9:
            continue
        normal = np.array([-side[1], side[0]]) / length
        if (centre - corner) @ normal < 0:
            normal = -normal
        offset = grow - corner @ normal
        np.minimum(
            depth,
            (grid * normal[0] + offset).astype(np.float32)[None, :] + (grid * normal[1]).astype(np.float32)[:, None],
            out=depth,
        )
    ramp = (depth / feather).clip(0, 1)
    mask: np.ndarray = (ramp * ramp * (3 - 2 * ramp)).astype(np.float32)
    return mask


def match_colour(
    patch: Shaped[np.ndarray, "s s 3"],
    reference: Shaped[np.ndarray, "s s 3"],
    mask: Float32[np.ndarray, "s s"],
    *,
    strength: float = 1.0,
) -> Float32[np.ndarray, "s s 3"]:
    """`patch` with the mean and spread of `reference`'s colours, both taken where `mask` weighs them; float levels 0 to 255.

    Reinhard et al., "Color transfer between images", 2001, in CIELAB instead of their l-alpha-beta. The spread changes at most by a
    factor of 2 either way, so that a flat patch does not turn into amplified noise. `strength` 0 leaves the patch, 1 matches fully.
    It hides a difference in skin tone: wrong where the source's own tone is wanted. ValueError if the mask is empty.
    """
    weights = _weights(mask)
    patch_lab, reference_lab = _to_lab(patch), _to_lab(reference)
    patch_mean, patch_spread = _moments(patch_lab, weights)
    reference_mean, reference_spread = _moments(reference_lab, weights)
    gain = (reference_spread / np.maximum(patch_spread, 1e-3)).clip(0.5, 2.0)
    matched = (patch_lab - patch_mean) * gain + reference_mean
    blended = (patch_lab + np.float32(strength) * (matched - patch_lab)).astype(np.float32)
    rgb: np.ndarray = cv2.cvtColor(blended, cv2.COLOR_Lab2RGB)
    return (rgb * 255).clip(0, 255).astype(np.float32)


def match_light(
    patch: Shaped[np.ndarray, "s s 3"],
    reference: Shaped[np.ndarray, "s s 3"],
    mask: Float32[np.ndarray, "s s"],
    *,
    sigma: float | None = None,
    strength: float = 1.0,
) -> Float32[np.ndarray, "s s 3"]:
    """`patch` under `reference`'s slowly varying light and colour; fine detail stays the patch's. Float levels 0 to 255.

    The ratio image (Liu, Shan and Zhang, "Expressive expression mapping with ratio images", 2001) of the two pictures, each blurred
    by a Gaussian of `sigma` pixels inside the mask only (normalised convolution), limited to 1/3 .. 3. `sigma` is by default an
    eighth of the size: larger keeps more of the patch's own shading. ValueError if the mask is empty.
    """
    _weights(mask)
    size = mask.shape[0]
    width = size / 8 if sigma is None else sigma
    # The blurred pictures hold nothing finer than sigma, so they are computed on a small grid of about 4 cells to sigma.
    small = int(np.clip(round(4 * size / width), 8, size))
    scaled_sigma = width * small / size

    def blurred(picture: np.ndarray) -> np.ndarray:
        shrunk = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        soft: np.ndarray = cv2.GaussianBlur(shrunk, (0, 0), scaled_sigma, borderType=cv2.BORDER_CONSTANT)
        return soft

    # Four levels are added on both sides, so that near black the ratio tends to 1 instead of to noise.
    share = mask[..., None]
    above = blurred((reference.astype(np.float32) + 4) * share)
    below = blurred((patch.astype(np.float32) + 4) * share)
    floor = 1e-4 * float(below.max())
    ratio = ((above + floor) / (below + floor)).clip(1 / 3, 3) ** strength
    gain = cv2.resize(ratio.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return ((patch.astype(np.float32) + 4) * gain - 4).clip(0, 255).astype(np.float32)


def _weights(mask: Float32[np.ndarray, "s s"]) -> Float64[np.ndarray, "s s"]:
    total = float(mask.sum(dtype=np.float64))
    if not total > 1e-3:
        raise ValueError("the mask is empty: nothing to match colours on")
    return mask.astype(np.float64) / total


def _to_lab(picture: np.ndarray) -> np.ndarray:
    lab: np.ndarray = cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2Lab)
    return lab


def _moments(picture: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Matrix products: several times faster than weighted sums over the picture's axes.
    rows, share = picture.reshape(-1, 3), weights.ravel()
    mean: np.ndarray = share @ rows
    return mean.astype(np.float32), np.sqrt(share @ (rows - mean) ** 2).astype(np.float32)
