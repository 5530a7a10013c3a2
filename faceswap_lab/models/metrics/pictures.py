"""Swap quality metrics: against the truth where there is one, and always alongside floor and ceiling.

The floor is the score of the unmodified target, the ceiling that of the truth itself. A figure without both says little: actors
look alike to a recogniser, so a perfect swap has a cosine of 0.81 to its source and still 0.50 to its target.
Images are RGB of the same size; arithmetic is in floating point on the range 0..1.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float
from skimage.metrics import structural_similarity

from faceswap_lab.faces.frame import Image

Mask = Bool[np.ndarray, "h w"]
_RING = 6
_WINDOW = 11


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One figure with its floor (unmodified target) and ceiling (truth); `unit` in words ("dB", "share", "cosine")."""

    value: float
    floor: float
    ceiling: float
    unit: str
    higher_is_better: bool = True

    @property
    def normalised(self) -> float:
        """0 at the floor, 1 at the ceiling; see the function of that name."""
        return normalised(self.value, self.floor, self.ceiling)


def normalised(score: float, floor: float, ceiling: float) -> float:
    """(score - floor) / (ceiling - floor): 0 is the unmodified target, 1 the truth; may be outside 0..1.

    nan if the ceiling is infinite or equals the floor: the truth's PSNR with itself is infinite, so PSNR cannot be normalised.
    """
    if not math.isfinite(ceiling) or not math.isfinite(floor) or ceiling == floor:
        return math.nan
    return (score - floor) / (ceiling - floor)


def changed_region(target: Image, truth: Image, *, threshold: int = 4) -> Mask:
    """Pixels that a perfect swap changes: where truth differs from target by more than `threshold` levels (0..255) in some channel.

    A 3 x 3 morphological opening removes specks and lines thinner than three pixels (render noise, shadow edges). Misses pixels
    inside the face where the truth happens to equal the target, and includes cast shadows that moved.
    """
    _same_size(target, truth)
    differs = cv2.absdiff(target, truth).max(axis=2) > threshold
    return np.asarray(cv2.morphologyEx(differs.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), bool)


def psnr(result: Image, truth: Image, mask: Mask | None = None) -> float:
    """-10 log10(mean of ((result - truth) / 255)^2 over the mask's pixels and the channels), in dB; inf if equal.

    Standard definition, on sRGB values; scikit-image's takes no mask, and warns about equal images. Cannot see structure: a shift
    by one pixel, a lighting change and a wrong face can cost the same. Raises ValueError for an empty mask.
    """
    squared = (_unit(result) - _unit(truth)) ** 2
    mean = float(squared.mean() if mask is None else squared[_filled(mask, result)].mean())
    return math.inf if mean == 0 else -10 * math.log10(mean)


def ssim(result: Image, truth: Image, mask: Mask | None = None) -> float:
    """Mean of the structural similarity map over the mask's pixels and the channels, -1..1, 1 if equal.

    Wang et al. 2004, eq. 13, by scikit-image: 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1. Without a mask
    the five pixels at the edges, where the window is truncated, are excluded. Cannot see low-frequency changes of light or colour,
    and favours smooth results. Raises ValueError for an empty mask, and for an image with a side below 11 pixels.
    """
    if mask is None:
        return float(_similarity(result, truth)[0])
    x, y, width, height = cv2.boundingRect(_filled(mask, result).astype(np.uint8))
    # Only the extent of the windows around the mask's pixels; at least one window.
    reach = _WINDOW - 1
    part = slice(max(0, y - reach), y + height + reach), slice(max(0, x - reach), x + width + reach)
    return float(_similarity(result[part], truth[part])[1][mask[part]].mean())


def spill(result: Image, target: Image, region: Mask, *, threshold: int = 4) -> float:
    """Pixels outside `region` that differ from the target by more than `threshold` levels, over the region's pixels; 0 is best.

    With the result of `changed_region`: how much was changed that a perfect swap leaves alone. Cannot see how strong a change is,
    nor a halo inside the region, and counts as spill what the truth changes by less than the threshold. Raises ValueError for an
    empty region.
    """
    differs = np.asarray(cv2.absdiff(result, target)).max(axis=2) > threshold
    return float((differs & ~_filled(region, target)).sum() / region.sum())


def identity_similarity(embedding: Float[np.ndarray, " d"], gallery: Float[np.ndarray, "n d"]) -> float:
    """Cosine between an embedding and the mean direction of a person's gallery, -1..1.

    `gallery` holds unit embeddings of n images of one person by the same recogniser, at least 5 for a stable mean. Cannot see what
    the recogniser ignores, and depends on it: report it with the figure. Its stock thresholds do not hold on actors.
    """
    mean = gallery.mean(axis=0)
    return float(embedding @ mean / (np.linalg.norm(embedding) * np.linalg.norm(mean)))


def nearer_source(
    embedding: Float[np.ndarray, " d"], source_gallery: Float[np.ndarray, "n d"], target_gallery: Float[np.ndarray, "m d"]
) -> bool:
    """Whether the embedding is nearer to the source's gallery than to the target's; the share reported is its mean over frames.

    Needs no threshold. Cannot see by how much, nor a third person who would be even nearer.
    """
    return identity_similarity(embedding, source_gallery) > identity_similarity(embedding, target_gallery)


def landmark_error(points: Float[np.ndarray, "k 2"], truth: Float[np.ndarray, "k 2"], interocular: float) -> float:
    """Mean point-to-point distance divided by the inter-ocular distance, 0 is best (NME of the 300-W challenge).

    `interocular` in pixels, from the truth, measured in 3D rather than in the image, or a turned head inflates the figure. Includes
    the estimator's bias (YuNet: 0.11 on actors), so compare with the same estimator on the truth: `landmark_error_ratio`.
    Raises ValueError unless interocular is above zero.
    """
    if not interocular > 0:
        raise ValueError(f"interocular must be above zero, got {interocular}")
    return float(np.linalg.norm(points - truth, axis=1).mean() / interocular)


def landmark_error_ratio(error: float, error_of_truth: float) -> float:
    """Landmark error of the result over that of the truth image, both by one estimator against rendered points; 1 equals the truth.

    Says little by itself: the unswapped target scored 1.29 on actors, so a threshold must be tighter than that.
    Raises ValueError for an `error_of_truth` of zero, as when the truth's estimated points are themselves the reference.
    """
    if not error_of_truth > 0:
        raise ValueError("the truth's own error is zero: measure both against rendered points, not against each other")
    return error / error_of_truth


def seam(image: Image, mask: Mask) -> float:
    """Excess contrast across the mask's contour over its surroundings, in 8-bit Lab levels per pixel; no seam at or below 0.

    Mean magnitude of the Lab gradient along the contour's normal, on the contour, minus its mean on the rings 6 pixels inside and
    outside. Measured on actors at 256 pixels: truth -0.7, hard paste +8.9, feathered +0.1. Cannot see a wide, soft halo, which
    costs PSNR instead: report both. Raises ValueError unless the mask has a contour and both rings inside the image.
    """
    if mask.all() or not mask.any():
        raise ValueError("the mask has no contour")
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB).astype(np.float32)
    distance = cv2.GaussianBlur(_signed_distance(mask), (0, 0), 1.5)[..., None]
    normal_x, normal_y = _gradient(distance)
    length = np.maximum(np.hypot(normal_x, normal_y), 1e-6)
    across_x, across_y = _gradient(lab)
    across = np.linalg.norm((across_x * normal_x + across_y * normal_y) / length, axis=2)
    rings = [np.abs(distance[..., 0] - offset) < 1 for offset in (0, _RING, -_RING)]
    if not all(ring.any() for ring in rings):
        raise ValueError("the mask's contour has no ring inside or outside")
    contour, inside, outside = (float(across[ring].mean()) for ring in rings)
    return contour - (inside + outside) / 2


def _similarity(one: Image, two: Image) -> tuple[float, Float[np.ndarray, "h w 3"]]:
    """The mean of the structural similarity map without its edges, and the map."""
    mean, full = structural_similarity(  # type: ignore[no-untyped-call]
        _unit(one),
        _unit(two),
        win_size=_WINDOW,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=2,
        full=True,
    )
    return mean, full


def _signed_distance(mask: Mask) -> Float[np.ndarray, "h w"]:
    """Distance to the contour in pixels, positive inside; offset by half a pixel, so that no pixel has distance zero."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)
    return np.asarray(np.where(mask, inside - 0.5, 0.5 - outside), np.float32)


def _gradient(x: Float[np.ndarray, "h w c"]) -> tuple[Float[np.ndarray, "h w c"], Float[np.ndarray, "h w c"]]:
    """Central differences along x and y."""
    down, right = np.gradient(x, axis=(0, 1))
    return right, down


def _unit(image: Image) -> Float[np.ndarray, "h w 3"]:
    return image.astype(np.float64) / 255


def _filled(mask: Mask, image: Image) -> Mask:
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask {mask.shape} and picture {image.shape[:2]} differ in size")
    if not mask.any():
        raise ValueError("the mask is empty, so there is nothing to measure")
    return mask


def _same_size(one: Image, two: Image) -> None:
    if one.shape != two.shape:
        raise ValueError(f"pictures differ in size: {one.shape} and {two.shape}")
