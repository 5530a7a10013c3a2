"""The 5, 68, 106 and 468 landmark sets as barycentric points on the head mesh, so that they follow every shape and action.

The 68 are iBUG's, picked on the template (`landmarks68`). The positions of the 106 and 468 on the template are package data made
by `docs/make_points.py`, which documents the method; here each becomes three vertices and their weights.

The 106 are in the order of insightface's `2d106det`, that is Face++'s names sorted alphabetically, in which left is the image's
left: 0-32 contour (0 chin, 1 and 9-16 then 2-8 down the image's left, 17 and 25-32 then 18-24 down its right), 33-42 left
eye (33 bottom, 34 centre, 35 left corner, 36 37 lower quarters, 38 pupil, 39 right corner, 40 top, 41 42 upper quarters), 43-51
left brow, 52-71 mouth (52 and 61 its corners), 72-86 nose (72-74 bridge, 86 tip), 87-96 right eye, 97-105 right brow.
34 and 88, the eye centres, coincide with the pupils 38 and 92 here. The contour starts between brow and eye and runs evenly in
front of the ears; like all points it is fixed to the head, while insightface's follows the visible outline of a turned face.
"""

import json
from functools import lru_cache
from importlib.resources import files

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.head.headpack import EYE_LEFT, EYE_RIGHT, SKIN
from faceswap_lab.actors.head.rig import Rig, load_rig

_NORMAL_PENALTY_M = 0.004
"""Penalty for a diverging normal, in metres of distance: the lips touch, and each must keep its own points."""


def landmark_table(rig: Rig, point_set: int) -> tuple[Int[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """Three vertices and their weights for each point. The five keypoints derive from the 68, so 5 returns the table of the 68."""
    if point_set in (5, 68):
        weights = torch.zeros(68, 3, device=rig.template.device)
        weights[:, 0] = 1
        return rig.landmark_vertices[:, None].expand(-1, 3), weights
    return _table_on(point_set, rig.template.device)


@lru_cache(maxsize=4)
def _table_on(point_set: int, device: torch.device) -> tuple[Int[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    corners, weights = _table(point_set)
    return corners.to(device), weights.to(device)


@lru_cache(maxsize=2)
def _table(point_set: int) -> tuple[Int[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    stored = json.loads(files("faceswap_lab.actors.head").joinpath("points.json").read_text("ascii"))
    if str(point_set) not in stored:
        raise ValueError(f"no point set {point_set!r}; choose from 5, 68, 106, 468")
    points = np.array(stored[str(point_set)])
    on_eye = np.isin(np.arange(len(points)), stored.get(f"{point_set}_on_eye", []))
    rig = load_rig()
    corners, weights = np.zeros((len(points), 3), np.int64), np.zeros((len(points), 3))
    for rows, parts in ((~on_eye, (SKIN,)), (on_eye, (EYE_LEFT, EYE_RIGHT))):
        if rows.any():
            tri = rig.wedge_vertex[rig.tri[torch.isin(rig.tri_part, torch.tensor(parts))]].numpy()
            found, weights[rows] = closest(points[rows, :3], points[rows, 3:], rig.template.double().numpy()[tri])
            corners[rows] = tri[found]
    return torch.from_numpy(corners), torch.from_numpy(weights.astype(np.float32))


def closest(
    points: Float[np.ndarray, "n 3"], normals: Float[np.ndarray, "n 3"] | None, corners: Float[np.ndarray, "t 3 3"]
) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, "n 3"]]:
    """The triangle nearest to each point and its barycentric weights; with `normals`, favours triangles that face the same way."""
    middle = corners.mean(1)
    outside = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    outside /= np.linalg.norm(outside, axis=1, keepdims=True).clip(1e-12)
    rows, shares = np.zeros(len(points), np.int64), np.zeros((len(points), 3))
    for k, point in enumerate(points):
        near = np.argsort(((middle - point) ** 2).sum(1))[:64]
        weights = _weights(point, corners[near])
        cost = np.linalg.norm((corners[near] * weights[..., None]).sum(1) - point, axis=1)
        if normals is not None:
            cost = cost + _NORMAL_PENALTY_M * (1 - outside[near] @ normals[k])
        best = int(cost.argmin())
        rows[k], shares[k] = near[best], weights[best]
    return rows, shares


def _weights(point: np.ndarray, corners: Float[np.ndarray, "t 3 3"]) -> Float[np.ndarray, "t 3"]:
    """Barycentric weights of the point of each triangle closest to `point`: its projection if inside, else on the nearest edge."""
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    gram = np.stack([np.stack([((one) * (other)).sum(1) for other in (b - a, c - a)], 1) for one in (b - a, c - a)], 1)
    right = np.stack([((point - a) * side).sum(1) for side in (b - a, c - a)], 1)
    determinant = (gram[:, 0, 0] * gram[:, 1, 1] - gram[:, 0, 1] ** 2).clip(1e-20)
    u = (gram[:, 1, 1] * right[:, 0] - gram[:, 0, 1] * right[:, 1]) / determinant
    v = (gram[:, 0, 0] * right[:, 1] - gram[:, 0, 1] * right[:, 0]) / determinant
    choices = [np.stack([1 - u - v, u, v], 1)]
    for start, end in ((0, 1), (1, 2), (2, 0)):
        side = corners[:, end] - corners[:, start]
        share = (((point - corners[:, start]) * side).sum(1) / (side**2).sum(1).clip(1e-20)).clip(0, 1)
        edge = np.zeros((len(corners), 3))
        edge[:, start], edge[:, end] = 1 - share, share
        choices.append(edge)
    table = np.stack(choices, 1)
    distance = np.linalg.norm((corners[:, None] * table[..., None]).sum(2) - point, axis=2)
    distance[:, 0] = np.where((choices[0] >= 0).all(1), distance[:, 0], np.inf)
    return np.asarray(table[np.arange(len(corners)), distance.argmin(1)])
