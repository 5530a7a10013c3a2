"""Quality of a face as training material: size, sharpness, head pose, truncation by the frame, and near-duplicates.

Convention: keypoints and points are (x, y) in frame pixels, pixel centres at integers. A face's `side` is that of the square which
the template "face" covers in the frame; it hardly depends on head pose.
"""

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from faceswap_lab.faces import align
from faceswap_lab.faces.frame import Image

_SHARP_SIDE = 96
_SHARP_UNIT = 2.0
_THUMB_SIDE = 64
_SMALL = 16
_BORDER = 4
_DEGREES_PER_SHIFT = 68.0

NEAR_DUPLICATE_MAX = 0.125
"""Two crops with at most this `difference` are near-duplicates. Measured on speech of four actors with strand hair: 95 % of
JPEGs down to quality 40 and of resizes by 0.5 to 1.5 are below .113 (the worst .138); of frames .64 s or more apart, 5 % are below
.15 (the least .089: the same face twice), half below .46."""

FaceThumbnail = UInt8[np.ndarray, "64 64"]
"""A small greyscale image of a face, for near-duplicate detection."""


def side_of(keypoints: Float[np.ndarray, "5 2"]) -> float:
    """Side of the template "face" in frame pixels. FaceError if the keypoints are degenerate."""
    return 1 / align.scale_of(align.frame_to_crop(keypoints, template="face", size=1))


def sharpness(image: Image, keypoints: Float[np.ndarray, "5 2"]) -> float:
    """Fine detail relative to contrast, in the direction with the least detail: about 1 if sharp, towards 0 if blurred.

    On the template's crop of 96 pixels: square root of the smallest eigenvalue of the structure tensor of the 1 to 2 pixel band,
    over the standard deviation of the 4 to 8 pixel band. So lighting and frame size do not matter, and motion blur counts although
    one direction stays sharp. Medians on 36 views of actors (before their brows and lashes were strands), 53 to 415 pixels wide, at
    full and half contrast: .99 as rendered; .90, .70, .38, .23 under a Gaussian of .5, 1, 2, 3 % of the face's side. From 75 to 350
    pixels the median changes by 1 %, at 63 pixels by 6 %, with contrast by 1 %. Below .5 are none of the sharp views, 2 % under a
    Gaussian of 1 %, 95 % under 2 %, and with motion blur 1 % at a length of 4 % of the side, 85 % at 8 %, 99 % at 12 %.
    Cannot tell blur from make-up or a filter that removes skin texture; noise counts as detail.
    """
    matrix = align.frame_to_crop(keypoints, template="face", size=_SHARP_SIDE)
    grey = cv2.cvtColor(align.crop(image, matrix, _SHARP_SIDE), cv2.COLOR_RGB2GRAY).astype(np.float32)
    fine, coarse = (cv2.GaussianBlur(grey, (0, 0), low) - cv2.GaussianBlur(grey, (0, 0), 2 * low) for low in (1.0, 4.0))
    inside = _oval(_SHARP_SIDE)
    slopes = np.stack([cv2.Sobel(fine, cv2.CV_32F, *axis)[inside] for axis in ((1, 0), (0, 1))])
    least = float(np.linalg.eigvalsh(slopes @ slopes.T / slopes.shape[1])[0])
    # At least a quarter of a level: a face without any contrast has no detail either.
    return float(np.sqrt(max(least, 0.0)) / max(float(coarse[inside].std()), 0.25) / _SHARP_UNIT)


def yaw_deg(keypoints: Float[np.ndarray, "5 2"]) -> float:
    """Head yaw in degrees, positive to the subject's left, from the offset of the nose tip from the midpoint of the eyes.

    On 140 views of ten actors within 57 degrees, its error is 3.3 degrees (standard deviation) with the mesh's own keypoints.
    """
    across = (keypoints[1] - keypoints[0]).astype(np.float64)
    middle = keypoints[:2].mean(axis=0)
    return float(_DEGREES_PER_SHIFT * (keypoints[2] - middle) @ across / max(float(across @ across), 1e-9))


def outside(points: Float[np.ndarray, "k 2"], size: tuple[int, int]) -> float:
    """Fraction (0..1) of the points outside a frame of `size` (height, width)."""
    height, width = size
    x, y = points.T
    return float(np.mean((x < -0.5) | (y < -0.5) | (x > width - 0.5) | (y > height - 0.5)))


def face_thumbnail(crop: Image, *, template: str) -> FaceThumbnail:
    """Thumbnail of the face in a crop cut by `template`: 64 x 64 greyscale pixels, aligned to the template "face"."""
    size = crop.shape[0]
    matrix = align.similarity(align.template_points(template, size), align.template_points("face", _THUMB_SIDE))
    seen = align.crop(crop, matrix, _THUMB_SIDE)
    return np.asarray(cv2.GaussianBlur(cv2.cvtColor(seen, cv2.COLOR_RGB2GRAY), (0, 0), 1.3), np.uint8)


def thumbnail_vector(seen: FaceThumbnail) -> Float[np.ndarray, " 256"]:
    """A downscaled thumbnail as a zero-mean unit vector: the dot product of two preselects candidates for `difference`."""
    small = cv2.resize(seen, (_SMALL, _SMALL), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


def difference(first: FaceThumbnail, second: FaceThumbnail) -> float:
    """Largest local difference of two thumbnails, in standard deviations of their grey values; 0 if they are identical.

    The second is first registered to the first by an affine map (ECC, Evangelidis and Psarakis 2008), because detected keypoints
    jitter; brightness and contrast are normalised. A blink or a moved mouth counts in full, because the maximum of the local
    differences is taken, not the mean. See `NEAR_DUPLICATE_MAX`.
    """
    a, b = (each.astype(np.float32) / 255 for each in (first, second))
    if min(float(a.std()), float(b.std())) < 1e-3:
        return 0.0 if np.array_equal(first, second) else float("inf")
    try:
        _, matrix = cv2.findTransformECC(
            a, b, np.eye(2, 3, dtype=np.float32), cv2.MOTION_AFFINE, (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-4)
        )
    except cv2.error:
        return float("inf")  # ECC does not converge if no map aligns the two: they are no duplicates
    over = cv2.warpAffine(b, matrix, b.shape, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    squared = ((a - a.mean()) / a.std() - (over - over.mean()) / max(float(over.std()), 1e-3)) ** 2
    local = cv2.GaussianBlur(squared, (0, 0), 2.0)[_BORDER:-_BORDER, _BORDER:-_BORDER]
    return float(np.sqrt(local.max()))


def _oval(side: int) -> np.ndarray:
    """Elliptical mask of the face in the template's crop."""
    y, x = np.mgrid[:side, :side]
    middle, radius = (side - 1) / 2, side / 2
    return np.asarray(((x - middle) / radius) ** 2 + ((y - 0.53 * side) / radius) ** 2 < 1)
