"""Face alignment: keypoint templates, similarity fits onto them, and aligned crops.

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
    """Targets of right eye, left eye, nose tip, right and left mouth corner, as (x, y) fractions of the crop's side."""

    name: str
    points: tuple[tuple[float, float], ...]

    def at(self, size: int) -> Float64[np.ndarray, "5 2"]:
        """The five points in pixels of a crop of `size`."""
        return np.array(self.points, np.float64) * size - 0.5


def _arcface() -> Template:
    """ArcFace's alignment (Deng et al., CVPR 2019), published in pixels of a 112 x 112 crop."""
    pixels = ((38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041))
    return Template(name="arcface", points=tuple(((x + 0.5) / 112, (y + 0.5) / 112) for x, y in pixels))


def _arcface_128() -> Template:
    """insightface's alignment for 128-pixel crops (`norm_crop2`): ArcFace's points shifted 8 pixels right, room below the chin.

    For larger crops insightface scales these points about the first pixel's centre, we about the edge: half a pixel apart at 256.
    """
    points = tuple((x * 112 + 8, y * 112) for x, y in _arcface().points)
    return Template(name="arcface-128", points=tuple((x / 128, y / 128) for x, y in points))


_FACE = ((0.335, 0.40), (0.665, 0.40), (0.5, 0.585), (0.36, 0.745), (0.64, 0.745))


def _whole_face() -> Template:
    """The "face" template with more margin. Measured on 40 views of actors within 45 degrees: the region that a true swap changes
    spans -0.12..1.08 by -0.21..1.08 of the "face" crop; this template covers -0.18..1.18 by -0.24..1.12 of it."""
    points = tuple((round((x + 0.18) / 1.36, 4), round((y + 0.24) / 1.36, 4)) for x, y in _FACE)
    return Template(name="whole-face", points=points)


# "face" spans from above the brows to below the chin and includes the cheeks, like FFHQ's crop but tighter.
TEMPLATES: Mapping[str, Template] = MappingProxyType(
    {
        "arcface": _arcface(),
        "arcface-128": _arcface_128(),
        "face": Template(name="face", points=_FACE),
        "whole-face": _whole_face(),
    }
)


def template_points(name: str, size: int) -> Float64[np.ndarray, "5 2"]:
    """Keypoint positions of the named template in a crop of `size` pixels. ValueError for a name not in `TEMPLATES`."""
    if name not in TEMPLATES:
        raise ValueError(f"no template named {name!r}; choose from {', '.join(sorted(TEMPLATES))}")
    if size < 1:
        raise ValueError(f"the side of a crop is at least 1 pixel, got {size}")
    return TEMPLATES[name].at(size)


def similarity(points_from: Float[np.ndarray, "k 2"], points_to: Float[np.ndarray, "k 2"]) -> Float64[np.ndarray, "2 3"]:
    """Least-squares rotation, uniform scale and translation from `points_from` to `points_to`; never a reflection.

    Equations 34 to 43 of Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991.
    FaceError if the points are not finite, or coincide, so that rotation and scale are undetermined.
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
        raise FaceError(expected="distinct points", got="coincident points", remedy="drop this detection")
    signs = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    scale = (singular * signs).sum() / source_variance
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def frame_to_crop(keypoints: Float[np.ndarray, "5 2"], *, template: str, size: int) -> Float64[np.ndarray, "2 3"]:
    """The best-fit similarity from a face's five keypoints, in frame pixels, to the template's in a crop of `size` pixels."""
    return similarity(keypoints, template_points(template, size))


def invert(matrix: Float[np.ndarray, "2 3"]) -> Float64[np.ndarray, "2 3"]:
    """The inverse affine map. ValueError if there is none."""
    linear, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    determinant = float(np.linalg.det(linear))
    if not isfinite(determinant) or determinant == 0:
        raise ValueError(f"a map with determinant {determinant} has no inverse")
    back = np.linalg.inv(linear)
    return np.column_stack([back, -back @ shift])


def transform_points(matrix: Float[np.ndarray, "2 3"], points: Float[np.ndarray, "*rows 2"]) -> Float64[np.ndarray, "*rows 2"]:
    """Applies an affine map to points (x, y) with any number of leading axes."""
    linear, shift = matrix[:, :2].astype(np.float64), matrix[:, 2].astype(np.float64)
    return points.astype(np.float64) @ linear.T + shift


def scale_of(matrix: Float[np.ndarray, "2 3"]) -> float:
    """Output pixels per input pixel: the square root of the map's area factor."""
    return sqrt(abs(float(np.linalg.det(matrix[:, :2].astype(np.float64)))))


def warp(
    image: np.ndarray,
    matrix: Float[np.ndarray, "2 3"],
    size: tuple[int, int],
    *,
    interpolation: int = cv2.INTER_CUBIC,
    border: int = cv2.BORDER_REPLICATE,
) -> np.ndarray:
    """Warps `image` (h, w) or (h, w, c), uint8 or float32, by the affine `matrix` (image pixels to output pixels).

    When minifying, several samples per output pixel are averaged (a box filter over its footprint): a single sample would alias,
    and OpenCV's INTER_AREA has no effect in `warpAffine`. Supersamples are interpolated linearly: cubic takes three times as long
    for an average 2 dB closer to the exact one (on a photograph 49 to 56 dB, linear 46 to 54). `size` is the output's
    (height, width).
    """
    height, width = size
    samples = max(1, round(1 / scale_of(matrix)))
    if samples == 1:
        warped: np.ndarray = cv2.warpAffine(image, matrix, (width, height), flags=interpolation, borderMode=border)
        return warped
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
    """One aligned crop in host memory: `frame_to_crop` maps frame pixels to crop pixels, `template` names the alignment."""

    image: UInt8[np.ndarray, "s s 3"]
    frame_to_crop: Float64[np.ndarray, "2 3"]
    template: str

    @property
    def size(self) -> int:
        """Side in pixels."""
        return int(self.image.shape[0])


def crop(image: Image, matrix: Float[np.ndarray, "2 3"], size: int) -> UInt8[np.ndarray, "size size 3"]:
    """The crop of side `size` that `matrix` (frame to crop) cuts from `image`; outside the frame, border pixels are replicated."""
    return warp(image, matrix, (size, size))


def cut(image: Image, keypoints: Float[np.ndarray, "5 2"], *, template: str, size: int) -> Crop:
    """The aligned crop of one face, with its matrix."""
    matrix = frame_to_crop(keypoints, template=template, size=size)
    return Crop(image=crop(image, matrix, size), frame_to_crop=matrix, template=template)
