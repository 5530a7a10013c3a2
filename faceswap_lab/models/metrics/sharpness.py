"""Whether eyes, brows and mouth are as sharp as the truth's."""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float

from faceswap_lab.faces.frame import Image
from faceswap_lab.models.metrics.arguments import Mask, filled, finite, same_size

FEATURES_68 = tuple(tuple(range(*ends)) for ends in ((17, 22), (22, 27), (36, 42), (42, 48), (48, 60)))
"""Right brow, left brow, right eye, left eye and mouth among iBUG's 68 points."""

_SIGMA = 0.7
_REACH = 0.08
_ROUNDING = 1e-12
"""Energy of a flat picture, by arithmetic alone, is below this; a single step of one level is above."""


def features_mask(
    landmarks: Float[np.ndarray, "k 2"],
    size: tuple[int, int],
    *,
    groups: Sequence[Sequence[int]] = FEATURES_68,
    reach: float = _REACH,
) -> Mask:
    """Pixels of brows, eyes and mouth in a picture of `size` (height, width): the hulls of `groups` of landmarks, grown a little.

    Grown by the fraction `reach` of the distance between the middles of the two eyes (the third and fourth group), so that brows,
    which have points along their middle only, and lashes are inside. The default groups are those of iBUG's 68 points. Empty where
    all of them are outside the picture. Hidden points count: without the labels of what covers a face, so does a hand on the mouth.
    """
    finite("landmarks", landmarks)
    right, left = (landmarks[list(groups[number])].mean(axis=0) for number in (2, 3))
    grown = max(1, round(reach * float(np.linalg.norm(left - right))))
    mask = np.zeros(size, np.uint8)
    for group in groups:
        cv2.fillConvexPoly(mask, cv2.convexHull(landmarks[list(group)].round().astype(np.int32)), 1)
    ring = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grown + 1, 2 * grown + 1))
    return np.asarray(cv2.dilate(mask, ring), bool)


def gradient_energy(image: Image, mask: Mask, *, sigma: float = _SIGMA) -> float:
    """Mean squared gradient of luma over the mask, in squared levels (0..255) per squared pixel; see `sharpness`.

    The gradient is that of the picture under a Gaussian of `sigma` pixels. Luma is Rec. 601's, on sRGB values, not rounded.
    """
    if not sigma > 0:
        raise ValueError(f"sigma must be above zero, got {sigma}")
    luma = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    radius = int(np.ceil(4 * sigma))
    steps = np.arange(-radius, radius + 1)
    smooth = np.exp(-(steps**2) / (2 * sigma**2))
    smooth /= smooth.sum()
    slope = steps * smooth / (steps**2 * smooth).sum()
    across = cv2.sepFilter2D(luma, cv2.CV_64F, slope, smooth, borderType=cv2.BORDER_REFLECT_101)
    down = cv2.sepFilter2D(luma, cv2.CV_64F, smooth, slope, borderType=cv2.BORDER_REFLECT_101)
    return float((across**2 + down**2)[filled(mask, image)].mean())


def sharpness(result: Image, truth: Image, mask: Mask, *, sigma: float = _SIGMA) -> float:
    """Gradient energy of the result over the truth's, inside `mask` (see `features_mask`): 1 is as sharp as truth, 0 is flat.

    Above 1 it is sharper than life: over-sharpened, or drawn with edges that the truth doesn't have. `sigma` is chosen for faces
    whose eyes are 35 to 60 pixels apart, as in pictures of 256; in larger ones scale it with them. There, on 25 views of five
    actors: a Gaussian of .5 pixels gives .80, of .7 .63 (.54 to .72), of 1 .46, of 2 .19; cut to 96 pixels of 154 and back .71;
    JPEG of quality 75 .95. Grey noise with a standard deviation of 4 levels gains .03, of 8 levels .09 (with a sigma of .5: .04
    and .15; of 1: .01 and .04, but a blur of .7 costs only .25 there).
    Cannot see whether the edges are the right ones, or in the right place: `psnr` and `ssim` do, which in turn forgive blur.
    Contrast counts by its square, so a face that is too dim scores like a blurred one. The unswapped target has a sharpness too,
    near 1 and of no meaning: this score has no floor to rise from.
    Raises ValueError if the truth is flat there.
    """
    same_size(result, truth)
    filled(mask, truth)
    wanted = gradient_energy(truth, mask, sigma=sigma)
    if wanted < _ROUNDING:
        raise ValueError("the truth has no gradient inside the mask, so nothing can be as sharp as it")
    return gradient_energy(result, mask, sigma=sigma) / wanted
