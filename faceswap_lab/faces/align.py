"""Where a face's five keypoints go in a crop, the similarity that takes them there, and crops cut by it.

Convention: pixel centres lie at integers, so a crop of size s has centres 0 to s - 1 and covers -0.5 to s - 0.5. A template's
points are fractions of the crop's side from its outer edge: point p lands at `p * s - 0.5`. Matrices are (2, 3), take column
vectors (x, y, 1), and are named after their direction: `frame_to_crop` takes frame pixels to crop pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite, sqrt
from types import MappingProxyType

import cv2
import numpy as np
from jaxtyping import Float, Float64, UInt8

from faceswap_lab.errors import FaceError
from faceswap_lab.faces.frame import Image
from faceswap_lab.faces.scratch import scratch


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Where right eye, left eye, nose tip, right and left mouth corner go, as (x, y) fractions of the crop's side."""

    name: str
    points: tuple[tuple[float, float], ...]

    def at(self, size: int) -> Float64[np.ndarray, "5 2"]:
        """The five points in pixels of a crop of `size`."""
        return np.array(self.points, np.float64) * size - 0.5


def _arcface() -> Template:
    """The alignment of ArcFace (Deng et al., CVPR 2019), given there in pixels of a 112 x 112 crop."""
    pixels = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
    return Template(name="arcface", points=tuple(((x + 0.5) / 112, (y + 0.5) / 112) for x, y in pixels))


def _arcface_128() -> Template:
    """insightface's alignment for crops of 128 (`norm_crop2`): ArcFace's points, 8 pixels to the right, and room below the chin.

    For larger crops insightface scales these points from the first pixel's centre, we from the edge: half a pixel apart at 256.
    """
    points = tuple((x * 112 + 8, y * 112) for x, y in _arcface().points)
    return Template(name="arcface-128", points=tuple((x / 128, y / 128) for x, y in points))


_FACE = ((0.335, 0.40), (0.665, 0.40), (0.5, 0.585), (0.36, 0.745), (0.64, 0.745))


def _whole_face() -> Template:
    """ "face" seen from further away. Measured on 40 views of actors within 45 degrees: the region that a true swap changes spans
    -0.12..1.08 by -0.21..1.08 of the "face" crop, and this one shows -0.18..1.18 by -0.24..1.12 of it."""
    points = tuple((round((x + 0.18) / 1.36, 4), round((y + 0.24) / 1.36, 4)) for x, y in _FACE)
    return Template(name="whole-face", points=points)


# "face" leaves room from above the brows to below the chin and for the cheeks, much like FFHQ's crop but tighter.
TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "arcface": _arcface(),
        "arcface-128": _arcface_128(),
        "face": Template(name="face", points=_FACE),
        "whole-face": _whole_face(),
    }
)


def template_points(name: str, size: int) -> Float64[np.ndarray, "5 2"]:
    """Where the template of that name puts the keypoints in a crop of `size` pixels. ValueError for a name not in `TEMPLATES`."""
    if name not in TEMPLATES:
        raise ValueError(f"no template named {name!r}; there are {', '.join(sorted(TEMPLATES))}")
    if size < 1:
        raise ValueError(f"a crop has at least 1 pixel a side, got {size}")
    return TEMPLATES[name].at(size)


def similarity(points_from: Float[np.ndarray, "k 2"], points_to: Float[np.ndarray, "k 2"]) -> Float64[np.ndarray, "2 3"]:
    """Least-squares rotation, uniform scale and shift that takes `points_from` to `points_to`; never a reflection.

    Equations 34 to 43 of Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    FaceError if the points are not finite, or fall together so that no direction or scale can be told.
    """
    if len(points_from) < 2:
        raise ValueError(f"a similarity needs at least 2 points, got {len(points_from)}")
    source, target = points_from.astype(np.float64), points_to.astype(np.float64)
    if not (np.isfinite(source).all() and np.isfinite(target).all()):
        raise FaceError(expected="finite points", got="NaN or infinity among them", remedy="drop this detection")
    source_mean, target_mean = source.mean(0), target.mean(0)
    source_variance = ((source - source_mean) ** 2).sum(1).mean()
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    left, singular, right = np.linalg.svd(covariance)
    if source_variance < 1e-12 or singular[0] < 1e-12:
        raise FaceError(expected="points that are apart", got="points that fall together", remedy="drop this detection")
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = (singular * signs).sum() / source_variance
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def frame_to_crop(keypoints: Float[np.ndarray, "5 2"], *, template: str, size: int) -> Float64[np.ndarray, "2 3"]:
    """The similarity that takes a face's five keypoints in frame pixels nearest to the template's in a crop of `size` pixels."""
    return similarity(keypoints, template_points(template, size))


def invert(matrix: Float[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """The affine map back. ValueError if there is none."""
    linear, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    determinant = float(np.linalg.det(linear))
    if not isfinite(determinant) or determinant == 0:
        raise ValueError(f"a map with determinant {determinant} has no inverse")
    back = np.linalg.inv(linear)
    return np.column_stack([back, -back @ shift])


def transform_points(matrix: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "*rows 2"]) -> Float64[np.ndarray, "*rows 2"]:
    """Points (x, y), any number of leading axes, taken through an affine map."""
    linear, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    return points.astype(np.float64) @ linear.T + shift


def scale_of(matrix: Float[np.ndarray, "2 3"]) -> float:
    """How many output pixels an input pixel spans: the square root of the map's area factor."""
    return sqrt(abs(float(np.linalg.det(matrix[:, :2].astype(np.float64)))))


def warp(
    image: np.ndarray,
    matrix: Float[np.ndarray, "2 3"],
    size: tuple[int, int],
    *,
    interpolation: int = cv2.INTER_CUBIC,
    border: int = cv2.BORDER_REPLICATE,
) -> np.ndarray:
    """`image` (h, w) or (h, w, c), uint8 or float32, seen through the affine `matrix` (image pixels to output pixels).

    Where the map shrinks, several samples are taken for each output pixel and averaged (a box filter over its footprint): one
    sample would alias, and OpenCV's INTER_AREA does nothing in `warpAffine`. Each of several is read linearly: cubic ones take
    three times as long and bring the average 2 dB nearer to the exact one (on a photograph 49 to 56 dB, linear 46 to 54). `size`
    is the output's (height, width).
    """
    height, width = size
    samples = max(1, round(1 / scale_of(matrix)))
    if samples == 1:
        whole: np.ndarray = cv2.warpAffine(image, matrix, (width, height), flags=interpolation, borderMode=border)
        return whole
    # Fine pixel f * c + (f - 1) / 2 is the centre of coarse pixel c's f fine pixels.
    fine = matrix.astype(np.float64) * samples
    fine[:, 2] += (samples - 1) / 2
    taps = cv2.INTER_LINEAR if interpolation == cv2.INTER_CUBIC else interpolation
    sampled = scratch("sampled", (height * samples, width * samples, *image.shape[2:]), image.dtype)
    cv2.warpAffine(image, fine, (width * samples, height * samples), dst=sampled, flags=taps, borderMode=border)
    averaged: np.ndarray = cv2.resize(sampled, (width, height), interpolation=cv2.INTER_AREA)
    return averaged


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crop:
    """One aligned patch on the host: `frame_to_crop` takes frame pixels to its own, `template` says where the keypoints went."""

    image: UInt8[np.ndarray, "s s 3"]
    frame_to_crop: Float64[np.ndarray, "2 3"]
    template: str

    @property
    def size(self) -> int:
        """Pixels a side."""
        return int(self.image.shape[0])


def crop(image: Image, matrix: Float[np.ndarray, "2 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The patch of `size` pixels a side that `matrix` (frame to crop) cuts from `image`; outside the frame, its edge goes on."""
    return warp(image, matrix, (size, size))


def cut(image: Image, keypoints: Float[np.ndarray, "5 2"], *, template: str, size: int) -> Crop:
    """The aligned crop of one face, its matrix with it."""
    matrix = frame_to_crop(keypoints, template=template, size=size)
    return Crop(image=crop(image, matrix, size), frame_to_crop=matrix, template=template)
