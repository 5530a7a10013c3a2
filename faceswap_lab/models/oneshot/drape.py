"""Drapes pictures over a mesh: the source's skin, and the target's own, where the swapped face will be.

A mesh of 468 points is drawn once into a crop: for every pixel its triangle and the weights of the triangle's corners. Any picture
whose points are known is then sampled through it, without drawing again. Beyond the mesh's edge the displacement fades away.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, Int64, UInt8

from faceswap_lab.models.swappers import mesh468

_THINNEST = 0.25  # pixels: thinner triangles are back-facing, or would displace neighbouring pixels far away
_COARSE = 4
_HARDLY = 0.35  # of the size in the crop: below this, another picture is asked
_REACH = 0.09  # of the crop's side: how far beyond the mesh its displacement reaches


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A mesh in a crop: for each covered pixel, in row-major order, its triangle and the weights of the triangle's corners."""

    points: Float[np.ndarray, "468 2"]
    covered: Bool[np.ndarray, "s s"]
    triangles: Int64[np.ndarray, " n"]
    weights: Float32[np.ndarray, "n 3"]

    def interpolate(self, values: Float[np.ndarray, "468 c"]) -> Float32[np.ndarray, "n c"]:
        """Values at the points, interpolated at each covered pixel."""
        corners = mesh468.topology().triangles[self.triangles]
        found: Float32[np.ndarray, "n c"] = np.einsum("nkc,nk->nc", values.astype(np.float32)[corners], self.weights)
        return found


def draw_mesh(points: Float[np.ndarray, "468 2"], size: int) -> Drawn:
    """The mesh with its points at `points` (pixels of the crop); of overlapping triangles the nearer one is seen."""
    triangles = mesh468.topology().triangles
    corners = points[triangles].astype(np.float64)
    depth = mesh468.depth(points)[triangles].mean(axis=1)
    longest = np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).max(axis=1)
    doubled = 2 * mesh468.area(corners)
    front = doubled > _THINNEST * longest
    order = np.argsort(-depth, kind="stable")
    index = np.full((size, size), -1, np.int16)
    fixed = np.round(corners * 16).astype(np.int32)
    for number in order[front[order]].tolist():
        cv2.fillConvexPoly(index, fixed[number], number, lineType=cv2.LINE_8, shift=4)
    covered = index >= 0
    rows, columns = np.nonzero(covered)
    chosen = index[covered].astype(np.int64)
    a, b, c = corners[chosen].transpose(1, 0, 2)
    p = np.stack([columns, rows], 1)
    w_b = _cross(p - a, c - a) / doubled[chosen]
    w_c = _cross(b - a, p - a) / doubled[chosen]
    weights = np.stack([1 - w_b - w_c, w_b, w_c], 1).astype(np.float32)
    return Drawn(points=points, covered=covered, triangles=chosen, weights=weights)


def _cross(one: Float[np.ndarray, "n 2"], two: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, " n"]:
    return np.asarray(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0])


def sample(
    drawn: Drawn, image: UInt8[np.ndarray, "h w 3"], points: Float[np.ndarray, "468 2"], *, follow: bool
) -> UInt8[np.ndarray, "s s 3"]:
    """`image`, whose face has its points at `points`, draped over the drawn mesh.

    Beyond the mesh the picture follows the whole face (`follow`), or stays where it is in the crop, and the mesh's displacement
    fades away smoothly.
    """
    size = len(drawn.covered)
    base = np.array([[1.0, 0, 0], [0, 1.0, 0]])
    if follow:
        system = np.hstack([drawn.points, np.ones((mesh468.topology().shape.shape[0], 1))])
        base = np.linalg.lstsq(system, points, rcond=None)[0].T
    grid = np.arange(size, dtype=np.float32)
    flat = (grid[None, :, None] * base[:, 0] + grid[:, None, None] * base[:, 1] + base[:, 2]).astype(np.float32)
    displacement = np.zeros((size, size, 2), np.float32)
    displacement[drawn.covered] = drawn.interpolate(points) - flat[drawn.covered]
    where = flat + _extended(displacement, drawn.covered)
    return np.asarray(cv2.remap(image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _extended(displacement: Float32[np.ndarray, "s s 2"], covered: Bool[np.ndarray, "s s"]) -> Float32[np.ndarray, "s s 2"]:
    """The displacement, continued beyond the covered pixels and fading away."""
    size = len(covered)
    small = (size // _COARSE, size // _COARSE)
    inside = cv2.resize(covered.astype(np.float32), small, interpolation=cv2.INTER_AREA)
    known = cv2.resize(displacement, small, interpolation=cv2.INTER_AREA)
    sigma = _REACH * small[0]
    spread, amount = (cv2.GaussianBlur(part, (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for part in (known, inside))
    beyond = spread / np.maximum(amount, 1e-4)[..., None] * np.minimum(1, 2 * amount)[..., None]
    wide = np.asarray(cv2.resize(beyond, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)
    return np.where(covered[..., None], displacement, wide)


def shown_by(drawn: Drawn, points: Float[np.ndarray, "468 2"]) -> Float32[np.ndarray, "s s"]:
    """How well a picture with these points shows each pixel of the drawn mesh: 0 (hidden, or no face) to 1 (as large)."""
    triangles = mesh468.topology().triangles
    there, here = (mesh468.area(each[triangles].astype(np.float64)) for each in (points, drawn.points))
    ratio = np.clip(there / np.maximum(here, 1e-3), 0, 1).astype(np.float32)
    found = np.zeros(drawn.covered.shape, np.float32)
    found[drawn.covered] = ratio[drawn.triangles]
    return found


def place_map(drawn: Drawn) -> Float32[np.ndarray, "s s 3"]:
    """The place on the mean head of each pixel, about -1..1; 0 where there is no face."""
    found = np.zeros((*drawn.covered.shape, 3), np.float32)
    found[drawn.covered] = drawn.interpolate(mesh468.topology().shape) * 12
    return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """A picture of a face and its 468 points in it."""

    image: UInt8[np.ndarray, "h w 3"]
    points: Float[np.ndarray, "468 2"]

    def mirrored(self) -> "Picture":
        """The picture of the mirrored face, whose other half is shown: faces are nearly symmetric."""
        points = self.points[mirror()] * (-1, 1) + (self.image.shape[1] - 1, 0)
        return Picture(image=np.ascontiguousarray(self.image[:, ::-1]), points=points.astype(self.points.dtype))


@cache
def mirror() -> Int64[np.ndarray, " 468"]:
    """For each point of the mesh its counterpart in the other half of the face."""
    shape = mesh468.topology().shape
    return np.asarray(np.linalg.norm((shape * (-1, 1, 1))[:, None] - shape[None], axis=2).argmin(1), np.int64)


def drape(drawn: Drawn, pictures: Sequence[Picture]) -> tuple[UInt8[np.ndarray, "s s 3"], Float32[np.ndarray, "s s"]]:
    """The face of the first picture on the drawn mesh; what that hardly shows comes from the others, or from its other half.

    Also how well the first shows each pixel (`shown_by`).
    """
    shown = shown_by(drawn, pictures[0].points)
    found = sample(drawn, pictures[0].image, pictures[0].points, follow=True)
    lacking = drawn.covered & (shown < _HARDLY)
    if not lacking.any():
        return found, shown
    others = [picture for each in pictures for picture in (each, each.mirrored())][1:]
    scores = [shown_by(drawn, each.points) for each in others]
    # The mean over the places where both are well shown tells the difference of their light.
    best = int(np.argmax([score[lacking].sum() for score in scores]))
    fill = sample(drawn, others[best].image, others[best].points, follow=True)
    both = drawn.covered & (shown > _HARDLY) & (scores[best] > _HARDLY)
    shift = (found[both].astype(np.float32).mean(0) - fill[both].astype(np.float32).mean(0)) if both.any() else np.zeros(3)
    weight = np.clip(shown / _HARDLY, 0, 1)
    weight = np.where(drawn.covered & (scores[best] > shown), cv2.GaussianBlur(weight, (0, 0), len(shown) / 96), 1)[..., None]
    mixed = weight * found + (1 - weight) * (fill + shift.astype(np.float32))
    return np.clip(np.round(mixed), 0, 255).astype(np.uint8), shown
