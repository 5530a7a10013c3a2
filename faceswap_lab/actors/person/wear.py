"""Worn accessories: glasses as a separate mesh, hats and scarves as a displaced, recoloured region of the head.

They belong to the look, not to the face: a recast keeps the target's. Convention: metres, the rig's axes at rest.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.head.headpack import GLASSES, HAT
from faceswap_lab.actors.head.rig import Rig, smoothstep

Wears = Literal["auto", "none", "glasses", "sunglasses", "hat", "cap", "headscarf"]
WEARS: tuple[Wears, ...] = get_args(Wears)
Colour = tuple[float, float, float]

_FRAMES: tuple[Colour, ...] = (
    (0.012, 0.012, 0.013),
    (0.060, 0.026, 0.012),
    (0.300, 0.290, 0.270),
    (0.380, 0.270, 0.110),
    (0.120, 0.015, 0.018),
    (0.020, 0.040, 0.110),
)
_CLOTHS: tuple[Colour, ...] = (
    (0.030, 0.032, 0.036),
    (0.220, 0.215, 0.200),
    (0.030, 0.050, 0.110),
    (0.170, 0.030, 0.030),
    (0.060, 0.090, 0.050),
    (0.260, 0.170, 0.060),
    (0.110, 0.050, 0.120),
)
_RIM_POINTS, _TUBE_SIDES = 40, 6
_DARK_TINT = 0.4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WornMesh:
    """A mesh that moves with the head; lens triangles are transparent and follow the `num_opaque` others.

    `tint` is the lenses' transmittance per channel; lenses that let little through `are_dark`: the eyes behind are not seen.
    """

    points: Float[Tensor, "n 3"]
    normals: Float[Tensor, "n 3"]
    colour: Float[Tensor, "n 3"]
    tri: Int[Tensor, "t 3"]
    num_opaque: int
    part: int
    tint: Float[Tensor, " 3"]
    are_dark: bool = False

    def to(self, device: str) -> "WornMesh":
        """The same mesh on another device."""
        moved: dict[str, Any] = {name: getattr(self, name).to(device) for name in ("points", "normals", "colour", "tri", "tint")}
        return replace(self, **moved)


def check_wears(wears: str) -> Wears:
    """Returns `wears`; raises ValueError listing the known values if it is unknown."""
    if wears not in WEARS:
        raise ValueError(f"no accessory {wears!r}; choose from {', '.join(WEARS)}")
    return wears


def sample_wear(seed: int, *, is_male: bool) -> Wears:
    """What a person wears by default: mostly nothing."""
    odds = (0.81, 0.13, 0.0, 0.03, 0.03, 0.0) if is_male else (0.81, 0.13, 0.0, 0.03, 0.01, 0.02)
    return WEARS[1 + int(np.random.default_rng([14, seed]).choice(len(odds), p=odds))]


def cloth_colour(seed: int) -> Colour:
    """The colour of a person's hat or scarf, linear RGB."""
    draw = np.random.default_rng([15, seed])
    red, green, blue = np.array(_CLOTHS[draw.integers(len(_CLOTHS))]) * draw.uniform(0.7, 1.4)
    return float(red), float(green), float(blue)


# --- hats: a region of the head -------------------------------------------------------------------------------------------------


def under_cloth(template: Float[Tensor, "*n 3"], wears: Wears) -> Float[Tensor, "*n"]:
    """Signed distance inside the cloth's boundary at template points, in metres; negative outside, -1 for no cloth."""
    x, y, z = template.unbind(-1)
    if wears in ("hat", "cap"):
        return z - (0.760 - 0.17 * (y + 0.03))
    if wears == "headscarf":
        oval = ((x / 0.0625) ** 2 + ((z - 0.703) / 0.090) ** 2).sqrt() - 1
        behind = smoothstep(-0.062, -0.050, y) * 0.5
        return torch.minimum(torch.maximum(oval, behind - 0.1) * 0.06, z - 0.545)
    return torch.full_like(z, -1.0)


def cloth_lift(rig: Rig, wears: Wears, hair_m: float) -> Float[Tensor, " v"]:
    """Displacement of the skin by cloth at each vertex, in metres, over hair `hair_m` thick."""
    inside = under_cloth(rig.template, wears)
    rise = smoothstep(-0.003, 0.003, inside) * (rig.on_skin > 0)
    if wears == "hat":
        fold = smoothstep(0.0, 0.004, inside) * smoothstep(0.036, 0.031, inside)
        return rise * (0.006 + hair_m) + 0.0035 * fold * (rig.on_skin > 0)
    if wears == "cap":
        return rise * (0.006 + hair_m)
    if wears == "headscarf":
        return rig.smooth(rise * (0.007 + hair_m), 3)
    return torch.zeros_like(rise)


# --- glasses: a separate mesh ---------------------------------------------------------------------------------------------------


class _MeshBuilder:
    """Accumulates the parts of a mesh."""

    def __init__(self) -> None:
        self.points: list[np.ndarray] = []
        self.tri: list[np.ndarray] = []
        self.count = 0

    def add(self, points: np.ndarray, tri: np.ndarray) -> None:
        self.points.append(points)
        self.tri.append(tri + self.count)
        self.count += len(points)

    def tube(self, path: np.ndarray, radius: tuple[float, float], *, closed: bool = False) -> None:
        """Adds a tube along a path; `radius` across and along z."""
        ahead = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
        ahead = ahead / np.linalg.norm(ahead, axis=1, keepdims=True).clip(1e-9)
        depth = np.array([0.0, 1.0, 0.0]) if abs(ahead[:, 1]).mean() < 0.7 else np.array([0.0, 0.0, 1.0])
        one = np.cross(ahead, depth)
        one /= np.linalg.norm(one, axis=1, keepdims=True).clip(1e-9)
        two = np.cross(ahead, one)
        turn = np.arange(_TUBE_SIDES) / _TUBE_SIDES * 2 * math.pi
        ring = np.cos(turn)[None, :, None] * one[:, None] * radius[0] + np.sin(turn)[None, :, None] * two[:, None] * radius[1]
        steps = len(path) if closed else len(path) - 1
        k, s = np.meshgrid(np.arange(steps), np.arange(_TUBE_SIDES), indexing="ij")
        a, b = k * _TUBE_SIDES + s, k * _TUBE_SIDES + (s + 1) % _TUBE_SIDES
        c, d = ((k + 1) % len(path)) * _TUBE_SIDES + (s + 1) % _TUBE_SIDES, ((k + 1) % len(path)) * _TUBE_SIDES + s
        quads = np.stack([a, b, c, d], -1).reshape(-1, 4)
        self.add((path[:, None] + ring).reshape(-1, 3), np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]))


def make_glasses(rig: Rig, points: Float[Tensor, "v 3"], seed: int, *, dark: bool) -> WornMesh:
    """Glasses fitted to one head at rest: rims, bridge, temples over the ears, lenses."""
    draw = np.random.default_rng([16, seed])
    place = points.double().numpy()
    corners = place[rig.landmark_vertices[[36, 39, 42, 45]].numpy()]
    eyes = np.stack([corners[:2].mean(0), corners[2:].mean(0)])
    bridge = place[rig.landmark_vertices[[27, 28]].numpy()].mean(0)
    half, exponent = draw.uniform(0.0225, 0.0265), float(draw.choice((2.0, 2.4, 3.2, 4.5)))
    tall = half * (draw.uniform(0.86, 0.98) if exponent == 2.0 else draw.uniform(0.66, 0.86))
    metal = bool(draw.random() < 0.4)
    radius = draw.uniform(0.0007, 0.0010) if metal else draw.uniform(0.0013, 0.0021)
    front = min(corners[:, 1].min() - 0.013, bridge[1] - 0.001)
    mesh = _MeshBuilder()
    turn = np.arange(_RIM_POINTS) / _RIM_POINTS * 2 * math.pi
    rims = []
    for side, eye in ((-1.0, eyes[0]), (1.0, eyes[1])):
        across = np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** (2 / exponent) * half
        up = np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** (2 / exponent) * tall
        x = side * max(abs(eye[0]), half + 0.0075) + across
        rim = np.stack([x, front + 3.2 * x**2 * 1.2, eye[2] - 0.003 + up], 1)
        mesh.tube(rim, (radius, radius * 1.2), closed=True)
        rims.append(rim)
    share = np.linspace(0, 1, 9)
    inner = [rims[0][[0, 4]].mean(0), rims[1][[_RIM_POINTS // 2, _RIM_POINTS // 2 - 4]].mean(0)]
    span = inner[0] + (inner[1] - inner[0]) * share[:, None]
    span[:, 2] += 0.003 * np.sin(share * math.pi)
    span[:, 1] = np.minimum(span[:, 1], bridge[1] - 0.0015)
    mesh.tube(span, (radius, radius))
    for side, rim, outer in ((-1.0, rims[0], _RIM_POINTS // 2), (1.0, rims[1], 0)):
        mesh.tube(_temple(place, rig, side, rim[outer] + np.array([0, 0, 0.4 * tall])), (radius * 0.8, radius * 1.3))
    num_opaque = sum(map(len, mesh.tri))
    for rim in rims:
        middle = rim.mean(0) - np.array([0, 0.0012, 0])
        fan = np.stack([np.full(_RIM_POINTS, _RIM_POINTS), np.arange(_RIM_POINTS), (np.arange(_RIM_POINTS) + 1) % _RIM_POINTS], 1)
        mesh.add(np.concatenate([rim, middle[None]]), fan)
    colour = np.array(_FRAMES[int(draw.choice((2, 3) if metal else (0, 0, 1, 4, 5)))]) * draw.uniform(0.7, 1.2)
    tint = np.array([0.055, 0.050, 0.045]) if dark else np.array([0.93, 0.94, 0.94])
    return _finish(mesh, colour, num_opaque=num_opaque, part=GLASSES, tint=tint)


def _temple(place: np.ndarray, rig: Rig, side: float, hinge: np.ndarray) -> np.ndarray:
    """Path from the hinge back to the top of the ear, then down behind it, kept outside the head's surface."""
    template = rig.template.numpy()
    ear = (template[:, 0] * side > 0.066) & (template[:, 1] < 0.0) & (template[:, 1] > -0.06) & (template[:, 2] > 0.735)
    ear &= (template[:, 2] < 0.765) & (rig.on_skin.numpy() > 0)
    top = place[ear]
    over = np.array([side * (np.abs(top[:, 0]).mean() + 0.001), top[:, 1].mean() + 0.006, top[:, 2].max() + 0.0005])
    knots = np.stack([hinge, hinge + np.array([side * 0.002, 0.006, 0.0]), over, over + np.array([side * -0.002, 0.018, -0.014])])
    at = np.linspace(0, 3, 17)
    path = np.stack([np.interp(at, np.arange(4), knots[:, k]) for k in range(3)], 1)
    near = (template[:, 2] > 0.72) & (template[:, 2] < 0.77) & (template[:, 0] * side > 0.03) & (rig.on_skin.numpy() > 0)
    for row in range(3, 12):  # clearance from the sides of broad heads
        close = place[near][np.abs(place[near][:, 1] - path[row, 1]) < 0.006]
        close = close[np.abs(close[:, 2] - path[row, 2]) < 0.006]
        if len(close):
            path[row, 0] = side * max(abs(path[row, 0]), np.abs(close[:, 0]).max() + 0.0015)
    return path


def make_visor(rig: Rig, points: Float[Tensor, "v 3"], colour: Colour) -> WornMesh:
    """The peak of a cap, attached along the cap's front edge."""
    inside = under_cloth(rig.template, "cap")
    ring = points[(inside > 0.001) & (inside < 0.010) & (rig.on_skin > 0)].double().numpy()
    middle = np.array([0.0, -0.03])
    turn = np.linspace(-1.02, 1.02, 25)
    angles = np.arctan2(ring[:, 0], -(ring[:, 1] - middle[1]))
    reach = np.hypot(ring[:, 0], ring[:, 1] - middle[1])
    base = np.array([np.max(reach[np.abs(angles - a) < 0.12]) for a in turn])
    height = np.array([np.mean(ring[np.abs(angles - a) < 0.12, 2]) for a in turn])
    rows = []
    for share in np.linspace(-0.03, 1, 7):
        length = 0.068 * share * np.cos(turn / 1.02 * math.pi / 2) ** 0.55
        radius = base - 0.001 + length
        down = 0.22 * length + 0.010 * (turn / 1.02) ** 2 * share
        rows.append(np.stack([np.sin(turn) * radius, middle[1] - np.cos(turn) * radius, height + 0.001 - down], 1))
    mesh = _MeshBuilder()
    k, s = np.meshgrid(np.arange(6), np.arange(24), indexing="ij")
    corner = (k * 25 + s).ravel()
    mesh.add(
        np.concatenate(rows),
        np.concatenate([np.stack([corner, corner + 1, corner + 26], 1), np.stack([corner, corner + 26, corner + 25], 1)]),
    )
    return _finish(mesh, np.array(colour), num_opaque=len(mesh.tri[0]), part=HAT, tint=np.ones(3))


def _finish(mesh: _MeshBuilder, colour: np.ndarray, *, num_opaque: int, part: int, tint: np.ndarray) -> WornMesh:
    points = torch.from_numpy(np.concatenate(mesh.points).astype(np.float32))
    tri = torch.from_numpy(np.concatenate(mesh.tri).astype(np.int64))
    corner = points[tri]
    face = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normals = torch.zeros_like(points)
    for k in range(3):
        normals.index_add_(0, tri[:, k], face)
    return WornMesh(
        points=points,
        normals=F.normalize(normals, dim=1),
        colour=torch.from_numpy(colour.astype(np.float32)).expand(len(points), 3).contiguous(),
        tri=tri,
        num_opaque=num_opaque,
        part=part,
        tint=torch.from_numpy(tint.astype(np.float32)),
        are_dark=bool(tint.max() < _DARK_TINT),
    )


def covers_hair(wears: Wears) -> bool:
    """Whether this headwear hides hair that does not hang."""
    return wears in ("hat", "cap", "headscarf")


def cloth_weight(rig: Rig, wears: Wears) -> Float[Tensor, " v"]:
    """1 at skin vertices under cloth, 0 elsewhere, smooth between."""
    return smoothstep(-0.004, 0.004, under_cloth(rig.template, wears)) * (rig.on_skin > 0)


__all__ = [
    "WEARS",
    "Wears",
    "WornMesh",
    "check_wears",
    "cloth_colour",
    "cloth_lift",
    "cloth_weight",
    "covers_hair",
    "make_glasses",
    "make_visor",
    "sample_wear",
    "under_cloth",
]
