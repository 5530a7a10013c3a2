"""MediaPipe's mesh of 468 face points: its triangles, a 3D mean head, and the view direction and depth of a face's points."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from jaxtyping import Float, Int

from faceswap_lab.faces.scratch import read_only


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Topology:
    """Triangles, oriented from x towards y in frontal view, two rings of points, and a mean head.

    `triangles` cover the face without holes: the last 46 close the eyes and the mouth. `shape` is the mean head, centred and of
    unit norm, in MediaPipe's axes: x to the picture's right, y down, z away from the camera.
    """

    triangles: Int[np.ndarray, "t 3"]
    oval: Int[np.ndarray, " o"]
    inner_lips: Int[np.ndarray, " l"]
    shape: Float[np.ndarray, "468 3"]


@cache
def topology() -> Topology:
    """The package's own data (made by `docs/make_mesh468.py`), read once."""
    stored = json.loads(files("faceswap_lab.models.swappers").joinpath("mesh468.json").read_text("ascii"))
    shape, skin = np.array(stored["shape_thousandths"]) / 1000, np.array(stored["triangles"])
    rings = boundary_rings(skin)
    oval = next(ring for ring in rings if 10 in ring)
    lips = next(ring for ring in rings if 13 in ring)
    closed = np.concatenate([skin, *(_strip(ring, shape) for ring in rings if ring is not oval)])
    if area(shape[closed][..., :2]).sum() < 0:
        closed = closed[:, ::-1]
    return read_only(Topology(triangles=closed, oval=np.array(oval), inner_lips=np.array(lips), shape=shape))


def boundary_rings(triangles: Int[np.ndarray, "t 3"]) -> list[list[int]]:
    """The closed loops of boundary edges, each as its points in order."""
    edges = {(int(a), int(b)) for row in triangles for a, b in zip(row, np.roll(row, -1), strict=True)}
    following = dict(edge for edge in edges if edge[::-1] not in edges)
    rings = []
    while following:
        ring = [min(following)]
        while (after := following.pop(ring[-1])) != ring[0]:
            ring.append(after)
        rings.append(ring)
    return rings


def area(corners: Float[np.ndarray, "t 3 2"]) -> Float[np.ndarray, " t"]:
    """Signed area of triangles; positive if oriented from x towards y."""
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return np.asarray((one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) / 2)


def line_of_sight(points: Float[np.ndarray, "468 2"]) -> Float[np.ndarray, " 3"]:
    """The camera's viewing direction as a unit vector in the mean head's space: (0, 0, 1) from the front.

    From the least-squares affine camera from the mean head to `points`, its rows orthogonalised. Independent of roll. Accuracy is
    limited by fitting one mean head to every face: good for selection and ordering, not for measuring a pose.
    """
    fit = np.linalg.lstsq(topology().shape, points - points.mean(axis=0), rcond=None)[0].T
    across = fit[0] / np.linalg.norm(fit[0])
    down = fit[1] - across * (fit[1] @ across)
    return np.cross(across, down / np.linalg.norm(down))


def depth(points: Float[np.ndarray, "468 2"]) -> Float[np.ndarray, " 468"]:
    """Depth of each point from the camera, relative to the face's centre, in units of the mean head."""
    return np.asarray(topology().shape @ line_of_sight(points))


def _strip(ring: list[int], shape: Float[np.ndarray, "468 3"]) -> Int[np.ndarray, "t 3"]:
    """Triangulates a hole by a strip between its upper and lower rim, from its corner on the picture's left.

    The ring has the orientation of the triangles outside, so the triangles inside are opposed to it.
    """
    start = int(shape[ring, 0].argmin())
    turned = ring[start:] + ring[:start]
    low, high = 1, len(turned) - 1
    triangles = [(turned[0], turned[low], turned[high])]
    while high - low > 1:
        triangles.append((turned[low], turned[low + 1], turned[high]))
        low += 1
        if high - low > 1:
            triangles.append((turned[low], turned[high - 1], turned[high]))
            high -= 1
    return np.array(triangles)[:, ::-1]
