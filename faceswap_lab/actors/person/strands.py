"""Hair strands: polylines rasterised sample by sample, depth-tested against the mesh.

A strand is a sequence of knots. Segments hidden behind the head are culled early, the rest are traversed one sample at a time, and
the nearest strand per sample is found by an integer minimum, independent of write order: bit-identical on every run. A strand's
rank is its own: how it is drawn does not depend on which other strands exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.gfx.vectors import pick, unit

_DEPTH_STEPS_PER_M = 1 << 20
_INDEX_BITS = 32
_BEHIND_M = 0.006
_LONGEST = 96
_TAPER, _FAR_SIDE, _LYING_KNOTS = 0.7, 0.45, 18
_FIRST_SHARE = 0.25
_SHADOW_STRANDS, _SHADOW_STEPS = 1600, 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strands:
    """n strands of k knots at rest, in metres. Scalp hair moves with the skull; `rooted` strands follow the skin they grow from.

    `knots` are positions in the rig's axes or, if `rooted`, offsets in the tangent frame of the root's triangle. `root` are that
    triangle's vertices, `weights` the barycentric weights. `light` is the fraction of the sky visible from a knot, `normal` its
    shading normal. `part` is one of HAIR ... BEARD, `face` is 1 where the strand belongs to the swapped face. `rank` (0..1, evenly
    spread) orders strands for level of detail: the highest are dropped first.
    """

    rooted: bool
    knots: Float[Tensor, "n k 3"]
    normal: Float[Tensor, "n k 3"]
    light: Float[Tensor, "n k"]
    root: Int[Tensor, "n 3"]
    weights: Float[Tensor, "n 3"]
    colour: Float[Tensor, "n 3"]
    width_m: Float[Tensor, " n"]
    part: Int[Tensor, " n"]
    face: Float[Tensor, " n"]
    rank: Float[Tensor, " n"]

    def drawn_at(self, sample_m: float) -> "Strands":
        """Level of detail for samples `sample_m` wide: if strands are thinner than a sample, only a fraction of them is kept."""
        return self.where(self.rank < self.width_m / sample_m)

    def facing(self, turn: Float[Tensor, "3 3"]) -> "Strands":
        """Drops strands whose root and tip are on the far side of a head turned by `turn`; hanging hair is never dropped."""
        away = torch.stack([self.normal[:, 0], self.normal[:, -1]]) @ turn[1]
        if len(self.part) == 0 or self.knots.shape[1] > _LYING_KNOTS:
            return self
        return self.where((away < _FAR_SIDE).any(0))

    def to(self, device: str) -> "Strands":
        """The same strands on another device."""
        return self._each(lambda value: value.to(device))

    def where(self, keep: Tensor) -> "Strands":
        """The strands selected by a mask."""
        rows = keep.nonzero()[:, 0]
        return self._each(lambda value: pick(value, rows))

    def joined(self, other: "Strands") -> "Strands":
        """Concatenation with other strands of the same kind."""
        both = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in self.__slots__ if name != "rooted"}
        return Strands(rooted=self.rooted, **both)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Strands":
        moved: dict[str, Any] = {name: change(getattr(self, name)) for name in self.__slots__ if name != "rooted"}
        return replace(self, **moved)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines:
    """Strands posed in world space: knots and their normals."""

    strands: Strands
    points: Float[Tensor, "n k 3"]
    normals: Float[Tensor, "n k 3"]


def strand_casters(lines: Lines) -> Float[Tensor, "d 3"]:
    """Points along some of the strands, dense enough to cast a shadow."""
    points = lines.points[:_SHADOW_STRANDS]
    share = torch.arange(_SHADOW_STEPS, device=points.device) / _SHADOW_STEPS
    return torch.lerp(points[:, :-1, None], points[:, 1:, None], share[:, None]).reshape(-1, 3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrandSamples:
    """p samples where a strand is nearest: flat pixel index, depth, and shading inputs."""

    pixel: Int[Tensor, " p"]
    depth: Float[Tensor, " p"]
    position: Float[Tensor, "p 3"]
    tangent: Float[Tensor, "p 3"]
    normal: Float[Tensor, "p 3"]
    light: Float[Tensor, " p"]
    strand: Int[Tensor, " p"]
    along: Float[Tensor, " p"]

    def where(self, keep: Tensor) -> "StrandSamples":
        """The samples selected by a mask."""
        return replace(self, **{name: getattr(self, name)[keep] for name in self.__slots__})


def even_ranks(count: int) -> Float[Tensor, " n"]:
    """Evenly spread ranks, for strands in random order."""
    return torch.arange(count) / max(1, count)


def root_frames(points: Float[Tensor, "v 3"], root: Int[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """Tangent frame of each triangle; columns: along its first edge, across, outward normal."""
    a, b, c = pick(points, root).unbind(1)
    along = unit(b - a)
    out = unit(torch.linalg.cross(b - a, c - a))
    return torch.stack([along, torch.linalg.cross(out, along), out], 2)


def root_positions(points: Float[Tensor, "v 3"], root: Int[Tensor, "n 3"], weights: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Positions of the roots on the skin."""
    return (pick(points, root) * weights[..., None]).sum(1)


def place_rooted(strands: Strands, points: Float[Tensor, "v 3"]) -> Lines:
    """Poses rooted strands on the posed skin."""
    frame = root_frames(points, strands.root)
    offset = torch.einsum("nij,nkj->nki", frame, strands.knots)
    out = frame[:, None, :, 2].expand(-1, strands.knots.shape[1], -1)
    return Lines(strands=strands, points=root_positions(points, strands.root, strands.weights)[:, None] + offset, normals=out)


def place_on_head(
    strands: Strands,
    turn: Float[Tensor, "3 3"],
    base: Float[Tensor, "3 3"],
    neck: Float[Tensor, " 3"],
    follow: Callable[[Tensor], Tensor],
) -> Lines:
    """Rotates strands with the head about the neck; low knots follow the shoulders instead. `follow` maps height to 0..1 (head)."""
    offset = strands.knots - neck
    share = follow(offset[..., 2])[..., None]
    points = (offset @ turn.T) * share + (offset @ base.T) * (1 - share) + neck
    return Lines(strands=strands, points=points, normals=strands.normal @ turn.T)


def draw_strands(
    lines: Lines,
    project: Callable[[Tensor], tuple[Tensor, Tensor]],
    z_buffer: Float[Tensor, " pixels"],
    *,
    width: int,
    sample_m: float,
    balls: Sequence[tuple[Float[Tensor, " 3"], float]] = (),
) -> StrandSamples:
    """The nearest hair at each sample where one is in front of `z_buffer` (flat, row-major, inf where empty).

    `project` returns continuous sample coordinates and depth of points; `sample_m` is the width of a sample at the head, which
    determines the width of hairs in samples: at least one, and one towards the tip. `balls` are centres and radii of spheres
    inside the head; with them, hairs behind the spheres or deep under other hairs are culled early. Culling does not depend on
    `z_buffer`: another face in front must not change the hair beside it.
    """
    strands = lines.strands
    knots = strands.knots.shape[1]
    thick = (strands.width_m / sample_m).clamp_min(1)
    wide = (thick.floor() + (strands.rank < thick - thick.floor())).long()
    xy, depth = project(lines.points.reshape(-1, 3))
    place = torch.cat([xy, depth[:, None]], 1)
    first = torch.arange(len(place), device=place.device).view(-1, knots)[:, :-1].reshape(-1)
    reach = (pick(xy, first + 1) - pick(xy, first)).abs().amax(1)
    known = (reach > 1e-3) & (reach < _LONGEST) & (torch.minimum(pick(depth, first), pick(depth, first + 1)) > 1e-3)
    for middle, radius_m in balls:
        hidden = _behind_ball(place, project, middle, radius_m, radius_px=radius_m / sample_m)
        known &= ~(pick(hidden, first) & pick(hidden, first + 1))
    first = first.masked_select(known)
    wide = torch.where(first % knots >= (knots - 1) * _TAPER, 1, pick(wide, first // knots))
    if not balls:
        walked, segments = [_walk(place, first, wide, width, len(z_buffer) // width)], [first]
    else:
        leading = pick(strands.rank / (strands.width_m / sample_m).clamp_max(1) < _FIRST_SHARE, first // knots)
        walked, segments = _walk_in_two(place, first, wide, leading, width, len(z_buffer) // width)
    pixel, share, segment = _nearest(walked, segments, z_buffer)
    return _samples(lines, place, pixel, segment, share, knots)


def _behind_ball(
    place: Float[Tensor, "m 3"],
    project: Callable[[Tensor], tuple[Tensor, Tensor]],
    middle: Tensor,
    radius_m: float,
    *,
    radius_px: float,
) -> Tensor:
    """Mask of the knots hidden behind a sphere in screen space, slightly conservative."""
    xy, depth = project(middle[None])
    near = ((place[:, :2] - xy) ** 2).sum(1) < (0.97 * radius_px) ** 2
    return near & (place[:, 2] > depth + radius_m)


_Walk = tuple[Tensor, Tensor, Tensor, Tensor]


def _walk_in_two(
    place: Tensor, first: Tensor, wide: Tensor, leading: Tensor, width: int, height: int
) -> tuple[list[_Walk], list[Tensor]]:
    """Traverses the leading strands, then those of the others that are not deep beneath them."""
    walk = _walk(place, first[leading], wide[leading], width, height)
    front = torch.full((width * height,), torch.inf, device=place.device)
    front.scatter_reduce_(0, walk[0], walk[3], "amin", include_self=True)
    column, row = place[:, 0].clamp(0, width - 1).long(), place[:, 1].clamp(0, height - 1).long()
    open_to_view = place[:, 2] < pick(front, row * width + column) + _BEHIND_M
    others = ~leading & (pick(open_to_view, first) | pick(open_to_view, first + 1))
    rest = _walk(place, first[others], wide[others], width, height)
    return [walk, rest], [first[leading], first[others]]


def _walk(place: Float[Tensor, "m 3"], first: Tensor, wide: Tensor, width: int, height: int) -> _Walk:
    """Flat pixel index, fraction along the segment, segment index and depth of each step inside the image."""
    start = pick(place, first)
    step = pick(place, first + 1) - start
    steep = step[:, 1].abs() > step[:, 0].abs()
    counts = step[:, :2].abs().amax(1).ceil().clamp_min(1).int()
    parts = []
    for extra in range(max(1, int(wide.max()) if len(wide) else 1)):
        rows = (wide > extra).nonzero()[:, 0]
        many = pick(counts, rows)
        begin = many.cumsum(0, dtype=torch.int32) - many
        leaning = pick(steep, rows)
        shift = torch.stack([torch.where(leaning, extra, 0), torch.where(leaning, 0, extra), torch.zeros_like(rows)], 1)
        per_step = pick(step, rows) / many[:, None]
        origin = pick(start, rows) + shift + 0.5 * per_step
        which = torch.arange(len(rows), device=place.device, dtype=torch.int32).repeat_interleave(many)
        number = (torch.arange(len(which), device=place.device, dtype=torch.int32) - pick(begin, which)).float()
        x, y, deep = (torch.addcmul(pick(origin[:, k], which), pick(per_step[:, k], which), number) for k in range(3))
        seen = ((x >= 0) & (x < width) & (y >= 0) & (y < height)).nonzero()[:, 0]
        cell, which = (pick(y, seen).int() * width + pick(x, seen).int()).long(), pick(which, seen)
        parts.append((cell, (pick(number, seen) + 0.5) / pick(many, which), pick(rows, which), pick(deep, seen)))
    cell, share, segment, deep = (torch.cat(column) for column in zip(*parts, strict=True))
    return cell, share, segment, deep


def _nearest(
    walked: Sequence[_Walk], segments: Sequence[Tensor], z_buffer: Float[Tensor, " pixels"]
) -> tuple[Int[Tensor, " p"], Float[Tensor, " p"], Int[Tensor, " p"]]:
    """The pixels where a hair is in front of `z_buffer`; the fraction along the segment of the nearest hair, and the segment."""
    buffer = torch.full_like(z_buffer, torch.iinfo(torch.int64).max, dtype=torch.int64)
    count, kept = 0, []
    for (cell, share, segment, deep), of_walk in zip(walked, segments, strict=True):
        seen = (deep < pick(z_buffer, cell)).nonzero()[:, 0]
        index = torch.arange(count, count + len(seen), device=z_buffer.device)
        key = ((pick(deep, seen) * _DEPTH_STEPS_PER_M).long() << _INDEX_BITS) + index
        buffer.scatter_reduce_(0, pick(cell, seen), key, "amin", include_self=True)
        kept.append((pick(share, seen), pick(of_walk, pick(segment, seen))))
        count += len(seen)
    share, segment = (torch.cat(column) for column in zip(*kept, strict=True))
    pixel = (buffer < torch.iinfo(torch.int64).max).nonzero()[:, 0]
    nearest = pick(buffer, pixel) & ((1 << _INDEX_BITS) - 1)
    return pixel, pick(share, nearest), pick(segment, nearest)


def _samples(lines: Lines, place: Tensor, pixel: Tensor, segment: Tensor, along: Tensor, knots: int) -> StrandSamples:
    columns = torch.cat(
        [lines.points, lines.normals, lines.strands.light[..., None], place.view(-1, knots, 3)[..., 2:]], 2
    ).reshape(-1, 8)
    start, end = pick(columns, segment), pick(columns, segment + 1)
    mixed = torch.lerp(start, end, along[:, None])
    return StrandSamples(
        pixel=pixel,
        depth=mixed[:, 7],
        position=mixed[:, :3],
        tangent=unit(end[:, :3] - start[:, :3]),
        normal=unit(mixed[:, 3:6]),
        light=mixed[:, 6],
        strand=segment // knots,
        along=((segment % knots) + along) / (knots - 1),
    )
