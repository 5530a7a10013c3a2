"""Agreement of pictures, pixel by pixel, with the truth."""

import math

import cv2
import numpy as np
from jaxtyping import Float
from skimage.metrics import structural_similarity

from faceswap_lab.faces.frame import Image
from faceswap_lab.models.metrics.arguments import Mask, filled, same_size, unit

_WINDOW = 11
_ROUNDING = 1e-20
"""Mean squared errors below this are those of arithmetic on equal pictures."""

PIXELS_PER_DEGREE = 67.0
"""FLIP's own default of how large a pixel is seen: a 0.7 m wide screen of 3,840 pixels from 0.7 m away."""


def psnr(result: Image, truth: Image, mask: Mask | None = None) -> float:
    """-10 log10(mean of ((result - truth) / 255)^2 over the mask's pixels and the channels), in dB; inf if equal.

    Standard definition, on sRGB values; scikit-image's takes no mask, and warns about equal images. Cannot see structure: a shift
    by one pixel, a lighting change and a wrong face can cost the same. Raises ValueError for an empty mask.
    """
    same_size(result, truth)
    squared = (unit(result) - unit(truth)) ** 2
    mean = float(squared.mean() if mask is None else squared[filled(mask, result)].mean())
    return math.inf if mean == 0 else -10 * math.log10(mean)


def psnr_calibrated(result: Image, truth: Image, mask: Mask) -> float:
    """PSNR inside the mask after the best gain and offset for each channel of the result, in dB; inf if that makes them equal.

    Least squares of the truth on the result over the mask's pixels, unclipped. Beside `psnr` it tells an error of light and tone,
    which it forgives, from one of shape, which it doesn't: never below `psnr` by more than rounding. Cannot see anything that a
    gain and an offset undo, a picture in wrong colours included; and a result without contrast is scored as the truth's mean.
    """
    same_size(result, truth)
    inside = filled(mask, result)
    x, y = unit(result)[inside], unit(truth)[inside]
    from_mean, wanted = x - x.mean(axis=0), y - y.mean(axis=0)
    spread = (from_mean**2).sum(axis=0)
    gain = (from_mean * wanted).sum(axis=0) / np.where(spread > 0, spread, 1)
    mean = float(((from_mean * gain - wanted) ** 2).mean())
    return math.inf if mean < _ROUNDING else -10 * math.log10(mean)


def background_psnr(result: Image, target: Image, region: Mask) -> float:
    """PSNR against the *target* outside `region`, in dB: what a swap must leave alone; inf if not a level changed.

    With the region that a true swap changes (`seam.changed_region`). A mean over frames is infinite as soon as one frame is: report
    the median, or the PSNR of the mean squared error. Cannot see where the change is: `spill` counts its pixels.
    Raises ValueError if nothing is outside.
    """
    same_size(result, target)
    return psnr(result, target, ~filled(region, target))


def ssim(result: Image, truth: Image, mask: Mask | None = None) -> float:
    """Mean of the structural similarity map over the mask's pixels and the channels, -1..1, 1 if equal.

    Wang et al. 2004, eq. 13, by scikit-image: 11 x 11 Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03, range 1. Without a mask
    the five pixels at the edges, where the window is truncated, are excluded. Cannot see low-frequency changes of light or colour,
    and favours smooth results. Raises ValueError for an empty mask, and for an image with a side below 11 pixels.
    """
    same_size(result, truth)
    if mask is None:
        return float(_similarity(result, truth)[0])
    x, y, width, height = cv2.boundingRect(filled(mask, result).astype(np.uint8))
    # Only the extent of the windows around the mask's pixels; at least one window.
    reach = _WINDOW - 1
    part = slice(max(0, y - reach), y + height + reach), slice(max(0, x - reach), x + width + reach)
    return float(_similarity(result[part], truth[part])[1][mask[part]].mean())


def flip(result: Image, truth: Image, mask: Mask | None = None, *, pixels_per_degree: float = PIXELS_PER_DEGREE) -> float:
    """Mean over the mask of the difference that an eye sees when the two pictures alternate, 0 (none) to 1.

    FLIP for sRGB (Andersson et al. 2020), computed by NVIDIA's own `flip-evaluator`. It filters with the eye's contrast sensitivity
    for pixels of this size, so noise and texture finer than the eye resolves cost little, edges and points in the wrong place much.
    Cannot see meaning: a wrong gaze of two pixels costs less than a wrong background. Halving `pixels_per_degree` is looking from
    half as far away; figures of different settings don't compare. Near the mask's rim it sees a few pixels beyond it.
    """
    from flip_evaluator import flip_python_api  # compiled; nobody else needs it

    same_size(result, truth)
    if not pixels_per_degree > 0:
        raise ValueError(f"pixels_per_degree must be above zero, got {pixels_per_degree}")
    inside = filled(np.ones(truth.shape[:2], bool) if mask is None else mask, truth)
    reference, test = (np.ascontiguousarray(unit(image), np.float32) for image in (truth, result))
    seen, _, _ = flip_python_api.evaluate(reference, test, "LDR", applyMagma=False, parameters={"ppd": pixels_per_degree})
    return float(np.asarray(seen, np.float64).squeeze()[inside].mean())


def _similarity(one: Image, two: Image) -> tuple[float, Float[np.ndarray, "h w 3"]]:
    """The mean of the structural similarity map without its edges, and the map."""
    mean, full = structural_similarity(  # type: ignore[no-untyped-call]
        unit(one),
        unit(two),
        win_size=_WINDOW,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1.0,
        channel_axis=2,
        full=True,
    )
    return mean, full
