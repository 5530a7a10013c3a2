"""Blending a crop back into its frame: masks, colour and light matching, and pasting confined to the face region.

Convention: images have levels 0 to 255, uint8 or float; masks are float32, 0 is the frame and 1 the patch. Distances are in crop
pixels, whose centres are at integers.
"""

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, Float32, Float64, Shaped, UInt8

from faceswap_lab.faces.align import invert, scale_of, transform_points, warp
from faceswap_lab.faces.frame import Image
from faceswap_lab.faces.scratch import read_only, scratch

# Centre and half axes, as fractions of the crop's side, of an ellipse from the brows to the chin, set by eye on a frontal portrait.
# A fall-back for swappers that do not return a mask of their own.
ELLIPSES: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = MappingProxyType(
    {
        "face": ((0.5, 0.59), (0.36, 0.38)),
        "arcface": ((0.5, 0.64), (0.34, 0.35)),
        "arcface-128": ((0.5, 0.56), (0.2975, 0.30625)),  # the same ellipse: 112 of its pixels, 8 from the left
    }
)

_LINEAR_STEPS = (1 << 16) - 1
_STRIP_PIXELS = 1 << 16
# Below this many frame pixels per crop pixel the patch is minified: several samples are averaged, as in `align.warp`.
SHRINKS = 0.67


def paste(
    image: Image,
    patch: Shaped[np.ndarray, "s s 3"],
    mask: Float32[np.ndarray, "s s"],
    frame_to_crop: Float[np.ndarray, "2 3"],
) -> Image:
    """A copy of `image` with `patch` alpha-blended by `mask`; pixels outside the mask's footprint are bit-identical.

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
    """In-place `paste`, for several faces in one frame, where copying the frame for each would dominate the cost.

    A float patch is first rounded to levels. Unless it is minified, it is upsampled three times by cubic interpolation and sampled
    linearly from there: within half a decibel of cubic sampling, in a third of the time.
    """
    if not (mask.min() >= 0 and mask.max() <= 1):
        raise ValueError(f"a mask must be within 0..1, got {mask.min()}..{mask.max()}")
    levels = _levels(patch)
    region = region_of(image.shape[:2], mask, frame_to_crop)
    if region is None:
        return
    rows, columns = region
    back = invert(frame_to_crop)
    shrinks = scale_of(back) < SHRINKS
    colours, colours_to_frame = (levels, back) if shrinks else _enlarged(levels, back)
    width = columns.stop - columns.start
    # In cache-sized strips: scratch memory stays small and in cache, however large the face is.
    height = max(8, _STRIP_PIXELS // width)
    for top in range(rows.start, rows.stop, height):
        strip = slice(top, min(top + height, rows.stop))
        size, shift = (strip.stop - strip.start, width), np.array([[0, 0, columns.start], [0, 0, top]])
        if shrinks:
            foreground = warp(colours, colours_to_frame - shift, size, interpolation=cv2.INTER_LINEAR)
            alpha = warp(mask, back - shift, size, interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
        else:
            foreground, alpha = scratch("over", (*size, 4), np.uint8), scratch("share", size, np.float32)
            cv2.warpAffine(colours, colours_to_frame - shift, size[::-1], dst=foreground, flags=cv2.INTER_LINEAR)
            cv2.warpAffine(mask, back - shift, size[::-1], dst=alpha, flags=cv2.INTER_LINEAR)
        composite(image[strip, columns], foreground, alpha)


def _levels(patch: Shaped[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "s s 3"]:
    if patch.dtype == np.uint8:
        return patch
    if not np.isfinite(patch).all():
        raise ValueError("the patch contains NaN or infinity")
    rounded: np.ndarray = np.rint(patch.clip(0, 255)).astype(np.uint8)
    return rounded


def _enlarged(
    levels: UInt8[np.ndarray, "s s 3"], crop_to_frame: Float64[np.ndarray, "2 3"]
) -> tuple[UInt8[np.ndarray, "t t 4"], Float64[np.ndarray, "2 3"]]:
    """The patch upsampled three times, with a replicated border of one pixel, and its map to the frame.

    With a factor of three, every third pixel is one of the patch itself, so a paste without rotation or scaling is exact. A fourth
    channel is added because OpenCV samples four channels twice as fast as three.
    """
    side = levels.shape[0] + 2
    around = cv2.cvtColor(cv2.copyMakeBorder(levels, 1, 1, 1, 1, cv2.BORDER_REPLICATE), cv2.COLOR_RGB2RGBA)
    enlarged = scratch("enlarged", (3 * side, 3 * side, 4), np.uint8)
    cv2.resize(around, enlarged.shape[:2], dst=enlarged, interpolation=cv2.INTER_CUBIC)
    # Fine pixel 3 * (c + 1) + 1 is the centre of crop pixel c.
    to_frame = crop_to_frame / [3, 3, 1]
    to_frame[:, 2] -= to_frame[:, :2] @ [4, 4]
    return enlarged, to_frame


def composite(
    background: UInt8[np.ndarray, "h w 3"], foreground: UInt8[np.ndarray, "h w c"], alpha: Float32[np.ndarray, "h w"]
) -> None:
    """background + alpha * (foreground - background), in place; exact in float32, so pixels with alpha 0 are unchanged."""
    size = background.shape[:2]
    below, change, shares = (scratch(name, (*size, 3), np.float32) for name in ("below", "change", "shares"))
    if foreground.shape[2] == 4:
        foreground = cv2.cvtColor(foreground, cv2.COLOR_RGBA2RGB, dst=scratch("colours", (*size, 3), np.uint8))
    # Converted first: OpenCV's arithmetic on mixed types takes four times as long.
    np.copyto(below, background)
    np.copyto(change, foreground)
    cv2.subtract(change, below, dst=change)
    cv2.cvtColor(alpha, cv2.COLOR_GRAY2RGB, dst=shares)
    cv2.multiply(change, shares, dst=change)
    cv2.add(change, below, dst=change)
    cv2.convertScaleAbs(change, dst=background)


def region_of(
    shape: tuple[int, ...], mask: Float32[np.ndarray, "s s"], frame_to_crop: Float[np.ndarray, "2 3"]
) -> tuple[slice, slice] | None:
    """Rows and columns of the frame that the mask's support can reach, or None if it is empty or outside."""
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
    """1 well inside the convex hull of `points` (crop pixels), falling smoothly to 0 at its edge over `feather` pixels.

    Always 0 on the crop's border. `grow` offsets each side of the hull outwards by that many pixels. Values derive from the exact
    distance to the sides, so they change smoothly under subpixel motion of the points.
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
    """Feathered blend mask of a face crop: the hull of `points` if given, else the template's ellipse.

    `feather` in crop pixels, by default a tenth of the size. 0 on the crop's border. ValueError for a template without an ellipse.
    """
    width = size / 10 if feather is None else feather
    if points is not None:
        return landmark_hull_mask(points, size, width, grow=grow)
    if template not in ELLIPSES:
        raise ValueError(f"no ellipse for the template {template!r}; choose from {', '.join(sorted(ELLIPSES))}")
    centre, axes = ELLIPSES[template]
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    ellipse = (np.array(centre) + np.column_stack([np.cos(turn), np.sin(turn)]) * np.array(axes)) * size - 0.5
    return _inside(ellipse, size, width, grow)


def _inside(corners: Float64[np.ndarray, "k 2"], size: int, feather: float, grow: float) -> Float32[np.ndarray, "size size"]:
    """Smoothstep of the distance inside the intersection of a convex polygon and the crop, both as half planes."""
    if feather <= 0:
        raise ValueError(f"feather must be a positive number of pixels, got {feather}")
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
    spread: bool = True,
) -> Float32[np.ndarray, "s s 3"]:
    """`patch` with mean and standard deviation of its colours matched to `reference`, weighted by `mask`; float levels 0..255.

    Reinhard et al., "Color transfer between images", 2001, in CIELAB instead of their l-alpha-beta. The deviation changes at most
    by a factor of 2 either way, so that noise in a flat patch is not amplified; without `spread`, only the mean is matched.
    `strength` 0 leaves the patch unchanged, 1 matches fully.
    It removes differences in skin tone: wrong where the source's own tone is wanted. ValueError if the mask is empty.
    """
    weights = _weights(mask)
    patch_lab, reference_lab = _to_lab(patch), _to_lab(reference)
    patch_mean, patch_spread = _moments(patch_lab, weights)
    reference_mean, reference_spread = _moments(reference_lab, weights)
    gain = (reference_spread / np.maximum(patch_spread, 1e-3)).clip(0.5, 2.0) if spread else np.float32(1)
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
    """`patch` with the low-frequency light and colour of `reference`; fine detail remains the patch's. Float levels 0 to 255.

    Multiplies by the ratio image (Liu, Shan and Zhang, "Expressive expression mapping with ratio images", 2001) of the two images,
    each blurred by a Gaussian of `sigma` pixels within the mask only (normalised convolution), limited to 1/3 .. 3. `sigma` is by
    default an eighth of the size: larger keeps more of the patch's own shading. ValueError if the mask is empty.
    """
    _weights(mask)
    size = mask.shape[0]
    width = size / 8 if sigma is None else sigma
    # The blurred images have no detail finer than sigma, so they are computed on a coarse grid of about 4 cells per sigma.
    small = int(np.clip(round(4 * size / width), 8, size))
    scaled_sigma = width * small / size

    def blurred(picture: np.ndarray) -> np.ndarray:
        shrunk = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
        soft: np.ndarray = cv2.GaussianBlur(shrunk, (0, 0), scaled_sigma, borderType=cv2.BORDER_CONSTANT)
        return soft

    # Four levels are added to both, so that near black the ratio tends to 1 instead of to noise.
    alpha = mask[..., None]
    above = blurred((reference.astype(np.float32) + 4) * alpha)
    below = blurred((patch.astype(np.float32) + 4) * alpha)
    floor = 1e-4 * float(below.max())
    ratio = ((above + floor) / (below + floor)).clip(1 / 3, 3) ** strength
    gain = cv2.resize(ratio.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return ((patch.astype(np.float32) + 4) * gain - 4).clip(0, 255).astype(np.float32)


def _weights(mask: Float32[np.ndarray, "s s"]) -> Float64[np.ndarray, "s s"]:
    total = float(mask.sum(dtype=np.float64))
    if not total > 1e-3:
        raise ValueError("the mask is empty: there are no pixels to match colours on")
    return mask.astype(np.float64) / total


def _to_lab(picture: np.ndarray) -> np.ndarray:
    """CIELAB of levels, converted from linear light: OpenCV's sRGB to Lab uses a coarse table, with errors up to half a unit."""
    places = (picture.astype(np.float32).clip(0, 255) * np.float32(_LINEAR_STEPS / 255) + np.float32(0.5)).astype(np.uint16)
    lab: np.ndarray = cv2.cvtColor(_linear_light()[places], cv2.COLOR_LRGB2Lab)
    return lab


@cache
def _linear_light() -> Float32[np.ndarray, " steps"]:
    """Look-up table of linear light for sRGB 0..1, in steps of a 257th of a level."""
    steps = np.linspace(0, 1, _LINEAR_STEPS + 1)
    return read_only(np.where(steps <= 0.04045, steps / 12.92, ((steps + 0.055) / 1.055) ** 2.4).astype(np.float32))


def _moments(picture: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    # Matrix products are several times faster than weighted sums over the image's axes.
    rows, alpha = picture.reshape(-1, 3), weights.ravel()
    mean: np.ndarray = alpha @ rows
    return mean.astype(np.float32), np.sqrt(alpha @ (rows - mean) ** 2).astype(np.float32)
