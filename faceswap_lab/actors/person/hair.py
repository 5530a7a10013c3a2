"""Grows a head's hair from its cut: roots on the scalp, then steps along a flow field that avoid the skull and the face.

Convention: metres, the rig's axes (x to the subject's left, y backwards, z up).
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.head.headpack import HAIR, SKIN
from faceswap_lab.actors.head.rig import Rig, load_rig, smoothstep
from faceswap_lab.actors.person.haircuts import HANGING, Cut
from faceswap_lab.actors.person.skin import HAIRLINE_Y, HAIRLINE_Z, SKULL_CENTRE, bare_crown, hairline
from faceswap_lab.actors.person.strands import Strands, even_ranks, root_positions
from faceswap_lab.actors.person.traits import Traits

CROWN = (0.012, 0.36, 0.93)
KNOT = (0.0, 0.078, 0.770)
_CANDIDATES = 40_000
_LIMITS = {"buzz": 24_000, "bald": 16_000, "bob": 3_800, "long": 3_100, "tied": 8_500, "bun": 8_500, "afro": 9_000, "slick": 9_000}
_WIDTH_M = {"bob": 0.00062, "long": 0.00066, "buzz": 0.00038, "bald": 0.00030}
_GRID = (48, 96)
_BUST, _SHOULDERS_M = 48, 0.26


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Roots:
    """Strand roots on the scalp: triangle, barycentric weights and template position."""

    root: Int[Tensor, "n 3"]
    weights: Float[Tensor, "n 3"]
    position: Float[Tensor, "n 3"]


@lru_cache(maxsize=1)
def scalp_roots() -> Roots:
    """Roots sampled uniformly where hair may grow on the template, in random order; shared by all actors."""
    rig = load_rig()
    tri = rig.wedge_vertex[rig.tri[rig.tri_part == SKIN]]
    middle = rig.template[tri].mean(1)
    x, y, z = middle.unbind(1)
    above = z - _lowest_line(y)
    tri = tri[(above > -0.015) & ~is_ear(x, y, z) & (z > 0.60)]
    return sample_roots(rig, tri, _CANDIDATES, np.random.default_rng(61))


def is_ear(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Mask of the template's ears."""
    return (x.abs() > 0.066) & (y < 0.0) & (y > -0.075) & (z < 0.752) & (z > 0.66)


def sample_roots(rig: Rig, tri: Tensor, count: int, draw: np.random.Generator) -> Roots:
    """`count` roots on triangles of the template, uniform by area."""
    a, b, c = rig.template[tri].unbind(1)
    area = torch.linalg.cross(b - a, c - a).norm(dim=1).double().numpy()
    which = torch.from_numpy(np.searchsorted(np.cumsum(area) / area.sum(), draw.random(count)).clip(0, len(area) - 1))
    u, v = (torch.from_numpy(draw.random(count).astype(np.float32)) for _ in range(2))
    u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
    weights = torch.stack([1 - u - v, u, v], 1)
    return Roots(root=tri[which], weights=weights, position=root_positions(rig.template, tri[which], weights))


def _lowest_line(y: Tensor) -> Tensor:
    return torch.from_numpy(np.interp(y.numpy(), HAIRLINE_Y, HAIRLINE_Z).astype(np.float32)) - 0.012


class Skull:
    """The head's surface as radius by direction from its centre, and the bust as a height field: collision shapes for hair."""

    def __init__(self, rig: Rig, points: Float[Tensor, "v 3"]) -> None:
        self.centre = torch.tensor(SKULL_CENTRE)
        on_skin = rig.on_skin > 0
        rows = on_skin & (rig.template[:, 2] > 0.655)
        ray = points[rows] - self.centre
        rise, turn = self._angles(F.normalize(ray, dim=1))
        cell = ((rise + 1) / 2 * (_GRID[0] - 1)).round().long() * _GRID[1] + ((turn + 1) / 2 * (_GRID[1] - 1)).round().long()
        grid = torch.zeros(_GRID[0] * _GRID[1]).scatter_reduce_(0, cell, ray.norm(dim=1), "amax", include_self=True)
        grid = grid.view(1, 1, *_GRID)
        for _ in range(24):
            padded = torch.cat([grid[..., -1:], grid, grid[..., :1]], 3)
            known = (padded > 0).float()
            around = F.avg_pool2d(padded, 3, 1, (1, 0)) / F.avg_pool2d(known, 3, 1, (1, 0)).clamp_min(1e-6)
            grid = torch.where(grid > 0, grid, around)
        self.grid = F.avg_pool2d(torch.cat([grid[..., -1:], grid, grid[..., :1]], 3), 3, 1, (1, 0), count_include_pad=False)

        low = points[on_skin & (rig.template[:, 2] < 0.63)]
        column, row = (((low[:, k] / _SHOULDERS_M + 1) / 2 * (_BUST - 1)).round().long().clamp(0, _BUST - 1) for k in (0, 1))
        bust = torch.full((_BUST * _BUST,), -9.0).scatter_reduce_(0, row * _BUST + column, low[:, 2], "amax", include_self=True)
        bust = bust.view(1, 1, _BUST, _BUST)
        for _ in range(6):
            bust = torch.where(bust > -9.0, bust, F.max_pool2d(bust, 3, 1, 1))
        self.bust = bust

    def ground(self, place: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Height of shoulders and chest below each point."""
        grid = (place[:, :2] / _SHOULDERS_M)[None, None]
        return F.grid_sample(self.bust, grid, align_corners=True, padding_mode="border")[0, 0, 0]

    @staticmethod
    def _angles(ray: Tensor) -> tuple[Tensor, Tensor]:
        """Elevation and azimuth, both -1..1."""
        return torch.asin(ray[..., 2].clamp(-1, 1)) / (math.pi / 2), torch.atan2(ray[..., 0], ray[..., 1]) / math.pi

    def radius(self, ray: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """Distance from centre to surface along unit rays, in metres."""
        rise, turn = self._angles(ray)
        place = torch.stack([turn, rise], -1).reshape(1, 1, -1, 2)
        return F.grid_sample(self.grid, place, align_corners=True, padding_mode="border").reshape(ray.shape[:-1])


def grow_hair(traits: Traits, points: Float[Tensor, "v 3"]) -> Strands:
    """The hair of one head at rest; `points` are the figure's vertices."""
    cut, rig = traits.cut, load_rig()
    draw = np.random.default_rng([62, traits.seed])
    roots = _choose_roots(traits, draw)
    skull = Skull(rig, points)
    start = root_positions(points, roots.root, roots.weights)
    x, y, z = roots.position.unbind(1)
    edge = smoothstep(0.030, 0.0, z - hairline(y, x, traits)) * smoothstep(-0.07, -0.10, y)
    grown = _Growth(cut, skull, start, roots.position, edge, draw)
    knots, light = grown.run()
    ray = knots - skull.centre
    normal = F.normalize(torch.stack([ray[..., 0], ray[..., 1], ray[..., 2].clamp_min(0)], -1), dim=-1)
    count = len(knots)
    return Strands(
        rooted=False,
        knots=knots,
        normal=normal,
        light=light,
        root=roots.root,
        weights=roots.weights,
        colour=strand_colours(traits, count, draw),
        width_m=_WIDTH_M.get(cut.style, 0.00042) * (1 - 0.35 * edge),
        part=torch.full((count,), HAIR),
        face=torch.zeros(count),
        rank=even_ranks(count),
    )


def strand_colours(traits: Traits, count: int, draw: np.random.Generator) -> Float[Tensor, "n 3"]:
    """Colour per strand: varying darkness, some grey."""
    depth = torch.from_numpy(np.exp(draw.normal(0, 0.20, count)).astype(np.float32))[:, None]
    turned = (traits.grey * (1.6 - 0.6 * traits.grey) + draw.normal(0, 0.16, count) * min(1.0, 4 * traits.grey)).clip(0, 1)
    grey = torch.from_numpy(turned.astype(np.float32))[:, None] ** 1.5
    own = torch.tensor(traits.hair) * depth
    return (own * (1 - grey) + torch.tensor((0.40, 0.39, 0.375)) * depth.sqrt() * grey).clamp(0.002, 0.8)


def _choose_roots(traits: Traits, draw: np.random.Generator) -> Roots:
    """Roots above the person's hairline, thinning out towards it."""
    roots, cut = scalp_roots(), traits.cut
    x, y, z = roots.position.unbind(1)
    ragged = torch.from_numpy(draw.normal(0, 0.0025, len(x)).astype(np.float32))
    cover = smoothstep(-0.004, 0.010, z - hairline(y, x, traits) + ragged) * cut.density
    cover = cover * bare_crown(traits, x, y, z)
    kept = (torch.from_numpy(draw.random(len(x)).astype(np.float32)) < cover).nonzero()[:, 0]
    most = _LIMITS.get(cut.style, 12_000)
    kept = kept[:most]
    return Roots(root=roots.root[kept], weights=roots.weights[kept], position=roots.position[kept])


class _Growth:
    """Grows all strands of one head in parallel."""

    def __init__(self, cut: Cut, skull: Skull, start: Tensor, root: Tensor, edge: Tensor, draw: np.random.Generator) -> None:
        self.cut, self.skull, self.start, self.draw = cut, skull, start, draw
        self.count = len(start)
        self.edge = edge
        self.lifted = edge * {"crown": 0.9, "forward": 0.9, "knot": 0.0}.get(cut.flow, 0.4)
        self.top = smoothstep(0.735, 0.785, root[:, 2])
        hanging = cut.style in HANGING or cut.flow == "knot"
        self.num_knots = 26 if cut.style in HANGING else 16 if hanging or cut.style in ("curly", "afro") else 9
        self.layer = self._uniform() ** 0.8
        self.side = torch.where(start[:, 0] + 0.004 * (self._uniform() - 0.5) > cut.part_x_m, 1.0, -1.0)
        front = smoothstep(-0.070, -0.105, root[:, 1]) * self.top
        self.forward = (front * (start[:, 0].abs() < 0.050) * cut.fringe) > 0.5
        self.length = torch.lerp(torch.full_like(self.top, cut.side_m), torch.full_like(self.top, cut.top_m), self.top)
        if not hanging:
            self.length = self.length * (1 - 0.62 * edge * (cut.flow in ("crown", "forward")))
        self.length = torch.where(self.forward, 0.068, self.length) * (0.75 + 0.35 * self._uniform())
        self.volume = torch.lerp(torch.full_like(self.top, cut.side_volume_m), torch.full_like(self.top, cut.volume_m), self.top)

    def _uniform(self) -> Tensor:
        return torch.from_numpy(self.draw.random(self.count).astype(np.float32))

    def run(self) -> tuple[Float[Tensor, "n k 3"], Float[Tensor, "n k"]]:
        """Knots, and the fraction of the sky visible from each."""
        place, heading = self.start, F.normalize(self.start - self.skull.centre, dim=1)
        knots = [place]
        stop = self._stop_height()
        for k in range(1, self.num_knots):
            share = k / (self.num_knots - 1)
            heading = self._heading(place, heading, share)
            moved = self._settle(place + heading * (self.length / (self.num_knots - 1))[:, None], share)
            place = torch.where((place[:, 2] > stop)[:, None], moved, place)
            knots.append(place)
        along = torch.linspace(0, 1, self.num_knots)
        line = self._clump(torch.stack(knots, 1), along)
        line = line + self._stray(along) + self._curl(line, along)
        deep = (0.30 + 0.70 * self.layer)[:, None] * (0.60 + 0.40 * smoothstep(0.0, 0.35, along))
        deep = deep + (0.9 - deep) * (0.75 * self.edge)[:, None]  # thin hair at the hairline is not occluded
        return line.contiguous(), deep.clamp(0, 1)

    def _stop_height(self) -> Tensor:
        if self.cut.style in HANGING:
            low = self.cut.hang_z + 0.010 * (self._uniform() - 0.5) + 0.020 * (self._uniform() - 0.3) * self.cut.frizz
            return torch.where(self.forward, 0.756 + 0.006 * self._uniform(), low)
        return torch.where(self.forward, 0.758 + 0.008 * self._uniform(), torch.full_like(self.top, 0.50))

    def _flow(self, place: Tensor) -> Tensor:
        """Preferred direction of growth, before collision and gravity."""
        ray = F.normalize(place - self.skull.centre, dim=1)
        crown = F.normalize(torch.tensor(CROWN), dim=0)
        away = F.normalize(ray * (ray @ crown)[:, None] - crown, dim=1)
        flow = self.cut.flow
        if flow == "crown":
            return away
        top = smoothstep(0.745, 0.795, place[:, 2])[:, None]
        if flow == "forward":
            way = torch.tensor([0.0, -1.0, 0.1]) + torch.stack([0.5 * self.side, 0 * self.side, 0 * self.side], 1)
        elif flow == "back":
            way = torch.tensor([0.0, 1.0, 0.12]).expand(self.count, 3) + away * 0.2
            return F.normalize(way * top + torch.tensor([0.0, 0.75, -0.65]) * (1 - top), dim=1)
        elif flow == "knot":
            return F.normalize(torch.tensor(KNOT) - place, dim=1)
        else:
            way = torch.stack([self.side, torch.full_like(self.side, 0.35), torch.full_like(self.side, 0.05)], 1)
        flowing = F.normalize(way * top + (away * 0.5 + torch.tensor([0.0, 0.15, -1.0])) * (1 - top), dim=1)
        down = torch.stack([0.25 * self.start[:, 0] / 0.05, torch.full_like(self.side, -1.0), torch.full_like(self.side, -0.5)], 1)
        return torch.where(self.forward[:, None], F.normalize(down, dim=1), flowing)

    def _heading(self, place: Tensor, before: Tensor, share: float) -> Tensor:
        out = F.normalize(place - self.skull.centre, dim=1)
        flow = self._flow(place)
        flow = flow - out * (flow * out).sum(1, keepdim=True) * (0.0 if share > 0.4 else 1.0)
        upright = ((self.cut.lift + self.lifted) * (1 - share) ** 1.5)[:, None] * (0.35 if self.cut.flow == "knot" else 1.0)
        if self.cut.style == "afro":
            upright = torch.full_like(upright, 2.5)
        weight = torch.tensor([0.0, 0.0, -1.0]) * (0.25 + 0.9 * share if self.cut.style in HANGING else 0.25 * share)
        push = self._off_the_face(place)
        return F.normalize(flow + out * upright + weight + 0.7 * before + push, dim=1)

    def _off_the_face(self, place: Tensor) -> Tensor:
        """Keeps hair beside the face; only a fringe may cross the forehead."""
        if self.cut.style not in HANGING:
            return torch.zeros_like(place)
        x, y, z = place.unbind(1)
        over = smoothstep(-0.045, -0.085, y) * smoothstep(0.80, 0.76, z) * smoothstep(0.088, 0.060, x.abs()) * ~self.forward
        return torch.stack([1.6 * self.side * over, 1.3 * over, torch.zeros_like(over)], 1)

    def _settle(self, place: Tensor, share: float) -> Tensor:
        """Pushes points out of the skull to the strand's own height above it, and pulls close-lying hair down to that height."""
        offset = place - self.skull.centre
        distance = offset.norm(dim=1)
        ray = offset / distance[:, None]
        rise = min(1.0, 2.5 * share) if self.cut.style != "afro" else share
        floor = self.skull.radius(ray) + 0.0008 + self.layer * self.volume * rise
        low = place[:, 2] < 0.69
        floor = torch.where(low, torch.minimum(floor, 0.088 + self.layer * self.volume), floor)
        close = 0.0 if self.cut.style == "afro" else 0.5 if self.cut.style not in HANGING else 0.25
        pulled = torch.where(low, distance, torch.lerp(distance, floor, close))
        settled = self.skull.centre + ray * torch.where(distance < floor, floor, pulled)[:, None]
        lying = self.skull.ground(settled) + 0.003 + 0.5 * self.layer * self.volume
        return torch.cat([settled[:, :2], torch.maximum(settled[:, 2], lying)[:, None]], 1)

    def _clump(self, line: Tensor, share: Tensor) -> Tensor:
        """Forms locks: pulls strands towards the nearest of a few guide strands, more at the tips."""
        guides = max(8, self.count // (24 if self.cut.style in HANGING else 14))
        nearest = _nearest(self.start, guides)
        hold = (self.cut.clump * share**1.3)[None, :, None] * (0.5 + 0.5 * self._uniform())[:, None, None]
        offset = self.start - self.start[:guides][nearest]
        return torch.lerp(line, line[:guides][nearest] + 0.35 * offset[:, None], hold)

    def _stray(self, share: Tensor) -> Tensor:
        wander = torch.from_numpy(self.draw.normal(0, 1, (self.count, 4, 3)).astype(np.float32))
        wander = F.interpolate(wander.permute(0, 2, 1), self.num_knots, mode="linear", align_corners=True).permute(0, 2, 1)
        flyaway = 1 + 2.5 * (self._uniform() < 0.05)
        reach = self.cut.frizz * (0.0010 + 0.018 * self.length.clamp_max(0.12))
        return wander * (reach * flyaway)[:, None, None] * share[None, :, None]

    def _curl(self, line: Tensor, share: Tensor) -> Tensor:
        if self.cut.curl_m <= 0:
            return torch.zeros_like(line)
        guides = max(8, self.count // 20)
        nearest = _nearest(self.start, guides)
        phase = (self._uniform()[:guides] * 2 * math.pi)[nearest] + 0.7 * self._uniform()
        turns = (self.length * self.cut.curls_per_m * (0.8 + 0.4 * self._uniform()[:guides][nearest]))[:, None] * share
        turns = turns.clamp_max((self.num_knots - 1) / 4.0)
        along = F.normalize(line[:, -1] - line[:, 0] + 1e-6, dim=1)
        one = F.normalize(torch.linalg.cross(along, torch.tensor([0.31, 0.27, 0.91]).expand_as(along)), dim=1)
        two = torch.linalg.cross(along, one)
        angle = 2 * math.pi * turns + phase[:, None]
        size = self.cut.curl_m * smoothstep(0.0, 0.25, share)
        return torch.as_tensor(
            (one[:, None] * torch.cos(angle)[..., None] + two[:, None] * torch.sin(angle)[..., None]) * size[:, None]
        )


def _nearest(places: Float[Tensor, "n 3"], guides: int) -> Int[Tensor, " n"]:
    """Index of the guide nearest to each position; without matrix products, whose rounding depends on the machine."""
    return torch.cdist(places, places[:guides], compute_mode="donot_use_mm_for_euclid_dist").argmin(1)
