"""Facial hair that moves with the face: brows, lashes, beard. Each strand is rooted on a triangle of the skin.

Convention: metres; positions in template coordinates (x to the subject's left, y backwards, z up), knots in the triangle's frame.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.raster import rasterise
from faceswap_lab.actors.head.headpack import BEARD, BROW, EYE_LEFT, EYE_RIGHT, LASH, MASKS, SKIN, load_headpack
from faceswap_lab.actors.head.rig import load_rig, sample_mask, smoothstep
from faceswap_lab.actors.person.hair import Roots, sample_roots, strand_colours
from faceswap_lab.actors.person.skin import beard_cover, brow_line
from faceswap_lab.actors.person.strands import Strands, even_ranks, root_frames
from faceswap_lab.actors.person.traits import Traits

_LEFT, _TOP, _STEP, _SHAPE = -0.08, 0.80, 0.0002, (900, 800)
_BEARD_CANDIDATES = 30_000
_KNOTS = 5


@dataclass(frozen=True, slots=True, eq=False)
class _Front:
    """Orthographic front view of the template head on a 0.2 mm grid: part, triangle and weights per cell (-1: empty)."""

    part: np.ndarray
    tri: Tensor
    weights: Tensor

    def roots(self, x: np.ndarray, z: np.ndarray) -> Roots:
        """Roots on the skin at positions of the front view."""
        column = ((x - _LEFT) / _STEP).astype(int).clip(0, _SHAPE[1] - 1)
        row = ((_TOP - z) / _STEP).astype(int).clip(0, _SHAPE[0] - 1)
        cell = torch.from_numpy(row * _SHAPE[1] + column)
        rig = load_rig()
        root = rig.wedge_vertex[rig.tri[self.tri[cell].clamp_min(0)]]
        weights = self.weights[cell]
        return Roots(root=root, weights=weights, position=(rig.template[root] * weights[..., None]).sum(1))


@lru_cache(maxsize=1)
def _front() -> _Front:
    rig = load_rig()
    x, y, z = rig.template[rig.wedge_vertex].unbind(1)
    xy = torch.stack([(x - _LEFT) / _STEP, (_TOP - z) / _STEP], 1)
    drawn = rasterise(xy, y + 1, rig.tri[: rig.num_head_tri], size=_SHAPE, perspective=False)
    cells = _SHAPE[0] * _SHAPE[1]
    tri, weights = torch.full((cells,), -1), torch.zeros(cells, 3)
    tri[drawn.pixel], weights[drawn.pixel] = drawn.face, drawn.weights
    part = torch.where(tri >= 0, rig.tri_part[tri.clamp_min(0)], -1).view(_SHAPE).numpy()
    return _Front(part, tri, weights)


@lru_cache(maxsize=1)
def _beard_roots() -> Roots:
    rig = load_rig()
    tri = rig.wedge_vertex[rig.tri[rig.tri_part == SKIN]]
    x, y, z = rig.template[tri].mean(1).unbind(1)
    return sample_roots(
        rig, tri[(z > 0.585) & (z < 0.70) & (y < -0.045) & (x.abs() < 0.085)], _BEARD_CANDIDATES, np.random.default_rng(63)
    )


@lru_cache(maxsize=1)
def _lips() -> Float[Tensor, " v"]:
    """Mask of lips and inner mouth, 0..1, per vertex: no beard grows there."""
    rig, pack = load_rig(), load_headpack()
    painted = torch.zeros(len(rig.template))
    for name in ("lips", "inside-mouth"):
        values = sample_mask(torch.from_numpy(pack.masks[MASKS.index(name)].astype(np.float32) / 255), rig.wedge_uv)
        painted.scatter_reduce_(0, rig.wedge_vertex, values, "amax", include_self=True)
    return painted


def grow_face_hair(traits: Traits) -> Strands:
    """Brows, lashes and, if any, the beard of one person."""
    draw = np.random.default_rng([64, traits.seed])
    grown = _brows(traits, draw).joined(_lashes(traits, draw))
    return grown.joined(_beard(traits, draw)) if traits.beard > 0 else grown


def _rooted(
    roots: Roots, knots: Float[Tensor, "n k 3"], colour: Tensor, *, part: int, width_m: float, light: Float[Tensor, " k"]
) -> Strands:
    """Builds rooted strands from knots given as offsets from the root on the template head."""
    rig, count = load_rig(), len(roots.root)
    frame = root_frames(rig.template, roots.root)
    return Strands(
        rooted=True,
        knots=torch.einsum("nji,nkj->nki", frame, knots),
        normal=torch.zeros_like(knots),
        light=light.expand(count, -1).contiguous(),
        root=roots.root,
        weights=roots.weights,
        colour=colour,
        width_m=torch.full((count,), width_m),
        part=torch.full((count,), part),
        face=(rig.face_weight[roots.root] * roots.weights).sum(1),
        rank=even_ranks(count),
    )


def _outwards(roots: Roots) -> Float[Tensor, "n 3"]:
    return root_frames(load_rig().template, roots.root)[:, :, 2]


def _bend(start: Tensor, end: Tensor, length: Tensor) -> Float[Tensor, "n k 3"]:
    """Knot offsets of hairs that start in direction `start` and bend towards `end`."""
    share = torch.linspace(0, 1, _KNOTS)
    heading = F.normalize(torch.lerp(start[:, None], end[:, None], share[None, :, None] ** 1.2), dim=2)
    step = heading[:, :-1] * (length / (_KNOTS - 1))[:, None, None]
    return torch.cat([torch.zeros_like(step[:, :1]), step.cumsum(1)], 1)


def _brows(traits: Traits, draw: np.random.Generator) -> Strands:
    """Brow hairs: upright at the inner end, following the brow line at the outer."""
    xs, zs, half = brow_line(traits)
    count = 2 * round(340 * traits.brows.density * (0.7 + 0.3 * traits.brows.thickness))
    share = draw.random(count) ** 0.9
    side = np.where(np.arange(count) % 2, 1.0, -1.0)
    at = share * (len(xs) - 1)
    x, z, thick = (np.interp(at, np.arange(len(xs)), values) for values in (xs, zs, half))
    z = z + thick * draw.uniform(-1.0, 0.75, count)
    roots = _front().roots(side * x, z)
    angle = np.radians(70 - 88 * share**0.8 + draw.normal(0, 9, count) - 14 * draw.random(count))
    lie = torch.from_numpy(np.stack([side * np.cos(angle), 0.25 * np.cos(angle), np.sin(angle)], 1).astype(np.float32))
    out = _outwards(roots)
    lie = F.normalize(lie - out * (lie * out).sum(1, keepdim=True), dim=1)
    length = torch.from_numpy((draw.uniform(0.0040, 0.0068, count) * (1 - 0.35 * share)).astype(np.float32))
    knots = _bend(F.normalize(lie + 0.45 * out, dim=1), F.normalize(lie - 0.12 * out, dim=1), length)
    colour = strand_colours(traits, count, draw) * 0.85
    return _rooted(roots, knots, colour, part=BROW, width_m=0.00026, light=torch.linspace(0.6, 0.9, _KNOTS))


def _lashes(traits: Traits, draw: np.random.Generator) -> Strands:
    """Lashes: a fan along the rim of each lid, longer on the upper lid and towards the outer corner."""
    front, x, z, rows = _front(), [], [], []
    for part, side in ((EYE_RIGHT, -1.0), (EYE_LEFT, 1.0)):
        there = front.part == part
        columns = np.flatnonzero(there.any(0))
        for upper, count in ((True, 75), (False, 26)):
            share = np.sort(draw.random(count)) * 0.92 + 0.04
            column = columns[(share * (len(columns) - 1)).astype(int)]
            edge = there.argmax(0)[column] - 3 if upper else len(there) - there[::-1].argmax(0)[column] + 2
            x.append(_LEFT + (column + 0.5) * _STEP)
            z.append(_TOP - (edge + 0.5) * _STEP)
            outer = share if side > 0 else 1 - share
            rows.append(np.stack([np.full(count, side), np.full(count, float(upper)), outer], 1))
    side, upper, outer = np.concatenate(rows).astype(np.float32).T
    roots = _front().roots(np.concatenate(x), np.concatenate(z))
    count = len(upper)
    fan = side * (1.5 * (outer - 0.42)) + draw.normal(0, 0.10, count)
    rise = np.where(upper > 0, 0.15, -0.45)
    curl = np.where(upper > 0, 1.35, -0.75)
    start = torch.from_numpy(np.stack([fan * 0.6, np.full(count, -1.0), rise], 1).astype(np.float32))
    end = torch.from_numpy(np.stack([fan, np.full(count, -0.45), curl], 1).astype(np.float32))
    long = traits.lashes * np.where(upper > 0, 0.0048 + 0.0026 * outer, 0.0022) * draw.uniform(0.75, 1.1, count)
    knots = _bend(F.normalize(start, dim=1), F.normalize(end, dim=1), torch.from_numpy(long.astype(np.float32)))
    colour = strand_colours(traits, count, draw) * 0.35
    mixed = torch.from_numpy(draw.permutation(count))
    width = 0.00016 if traits.is_male else 0.00021
    grown = _rooted(roots, knots, colour.clamp_max(0.03), part=LASH, width_m=width, light=torch.full((_KNOTS,), 0.6))
    return replace(grown, rank=even_ranks(count)[mixed])


def _beard(traits: Traits, draw: np.random.Generator) -> Strands:
    """Beard: short hairs on jaw, chin and upper lip, growing down and outwards."""
    roots = _beard_roots()
    x, y, z = roots.position.unbind(1)
    cover = beard_cover(traits, x, y, z, torch.from_numpy(draw.normal(0, 0.002, len(x)).astype(np.float32)))
    cover = cover * (1 - smoothstep(0.05, 0.3, (_lips()[roots.root] * roots.weights).sum(1)))
    chosen = (torch.from_numpy(draw.random(len(x)).astype(np.float32)) < cover * (0.25 + 0.7 * traits.beard)).nonzero()[:, 0]
    roots = Roots(root=roots.root[chosen], weights=roots.weights[chosen], position=roots.position[chosen])
    x, y, z = roots.position.unbind(1)
    count, out = len(x), _outwards(roots)
    down = torch.stack([0.6 * x / 0.05, torch.full_like(x, 0.10), torch.full_like(x, -1.0)], 1)
    down = down + 0.35 * torch.from_numpy(draw.normal(0, 1, (count, 3)).astype(np.float32))
    chin = smoothstep(0.655, 0.625, z)
    length = (
        traits.beard_m
        * (0.45 + 0.55 * chin)
        * (0.35 + 0.65 * cover[chosen])
        * torch.from_numpy(draw.uniform(0.6, 1.15, count).astype(np.float32))
    )
    knots = _bend(F.normalize(0.6 * F.normalize(down, dim=1) + out, dim=1), F.normalize(down + 0.25 * out, dim=1), length)
    curl = torch.from_numpy(draw.normal(0, 1, (count, _KNOTS, 3)).astype(np.float32)) * torch.linspace(0, 1, _KNOTS)[None, :, None]
    knots = knots + curl * (0.10 * length)[:, None, None]
    return _rooted(
        roots, knots, strand_colours(traits, count, draw), part=BEARD, width_m=0.00028, light=torch.linspace(0.45, 0.95, _KNOTS)
    )
