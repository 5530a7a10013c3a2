"""Single hairs: polylines that are drawn into the picture sample by sample, in front of and behind whatever the mesh shows.

A strand is a row of knots. What lies behind the mesh is dropped early, the rest is walked one sample at a time, and the nearest
hair of each sample is found by an integer minimum: no order of writes, so the same bits on every run. A strand's rank is its own:
what is drawn of it does not depend on which other strands there are.
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
_DUST_STRANDS, _DUST_STEPS = 1600, 3


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Strands:
    """n hairs of k knots at rest, in metres. Hair of the head moves with the skull; `rooted` hairs follow the skin they grow from.

    `knots` are places in the rig's axes, or, when `rooted`, offsets in the frame of the root's triangle. `root` are that triangle's
    vertices, `share` its weights. `light` is the share of the sky a knot sees, `normal` what it shines like. `part` is one of
    HAIR ... BEARD, `face` 1 where the strand belongs to the swapped face. `rank` (0..1, evenly spread) says which hairs are left
    out first.
    """

    rooted: bool
    knots: Float[Tensor, "n k 3"]
    normal: Float[Tensor, "n k 3"]
    light: Float[Tensor, "n k"]
    root: Int[Tensor, "n 3"]
    share: Float[Tensor, "n 3"]
    colour: Float[Tensor, "n 3"]
    width_m: Float[Tensor, " n"]
    part: Int[Tensor, " n"]
    face: Float[Tensor, " n"]
    rank: Float[Tensor, " n"]

    def drawn_at(self, sample_m: float) -> "Strands":
        """As many of the hairs as show where a sample is `sample_m` wide: thinner hairs than that are drawn in part only."""
        return self.where(self.rank < self.width_m / sample_m)

    def facing(self, turn: Float[Tensor, "3 3"]) -> "Strands":
        """Without the hairs that lie on the far side of a head so turned, root and tip; hanging hair is seen from there too."""
        away = torch.stack([self.normal[:, 0], self.normal[:, -1]]) @ turn[1]
        if len(self.part) == 0 or self.knots.shape[1] > _LYING_KNOTS:
            return self
        return self.where((away < _FAR_SIDE).any(0))

    def to(self, device: str) -> "Strands":
        """The same hairs on another device."""
        return self._each(lambda value: value.to(device))

    def where(self, keep: Tensor) -> "Strands":
        """Only some of the hairs, by mask."""
        rows = keep.nonzero()[:, 0]
        return self._each(lambda value: pick(value, rows))

    def joined(self, other: "Strands") -> "Strands":
        """These hairs and others of the same kind."""
        both = {name: torch.cat([getattr(self, name), getattr(other, name)]) for name in self.__slots__ if name != "rooted"}
        return Strands(rooted=self.rooted, **both)

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Strands":
        moved: dict[str, Any] = {name: change(getattr(self, name)) for name in self.__slots__ if name != "rooted"}
        return replace(self, **moved)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lines:
    """Strands posed in the world: knots and their normals."""

    strands: Strands
    points: Float[Tensor, "n k 3"]
    normals: Float[Tensor, "n k 3"]


def dust_of(lines: Lines) -> Float[Tensor, "d 3"]:
    """Points along some of the strands, dense enough to cast a shadow."""
    points = lines.points[:_DUST_STRANDS]
    share = torch.arange(_DUST_STEPS, device=points.device) / _DUST_STEPS
    return torch.lerp(points[:, :-1, None], points[:, 1:, None], share[:, None]).reshape(-1, 3)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrandSamples:
    """p samples where a hair is nearest: flat pixel number, depth, and what shading needs there."""

    pixel: Int[Tensor, " p"]
    depth: Float[Tensor, " p"]
    position: Float[Tensor, "p 3"]
    tangent: Float[Tensor, "p 3"]
    normal: Float[Tensor, "p 3"]
    light: Float[Tensor, " p"]
    strand: Int[Tensor, " p"]
    along: Float[Tensor, " p"]

    def where(self, keep: Tensor) -> "StrandSamples":
        """Only some of the samples."""
        return replace(self, **{name: getattr(self, name)[keep] for name in self.__slots__})


def even_ranks(count: int) -> Float[Tensor, " n"]:
    """Ranks of hairs that come in random order."""
    return torch.arange(count) / max(1, count)


def root_frames(points: Float[Tensor, "v 3"], root: Int[Tensor, "n 3"]) -> Float[Tensor, "n 3 3"]:
    """A frame for each triangle; columns: along its first side, across, outwards."""
    a, b, c = pick(points, root).unbind(1)
    along = unit(b - a)
    out = unit(torch.linalg.cross(b - a, c - a))
    return torch.stack([along, torch.linalg.cross(out, along), out], 2)


def root_places(points: Float[Tensor, "v 3"], root: Int[Tensor, "n 3"], share: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Where hairs leave the skin."""
    return (pick(points, root) * share[..., None]).sum(1)


def place_rooted(strands: Strands, points: Float[Tensor, "v 3"]) -> Lines:
    """Hairs that stand on posed skin."""
    frame = root_frames(points, strands.root)
    offset = torch.einsum("nij,nkj->nki", frame, strands.knots)
    out = frame[:, None, :, 2].expand(-1, strands.knots.shape[1], -1)
    return Lines(strands=strands, points=root_places(points, strands.root, strands.share)[:, None] + offset, normals=out)


def place_on_head(
    strands: Strands,
    turn: Float[Tensor, "3 3"],
    base: Float[Tensor, "3 3"],
    neck: Float[Tensor, " 3"],
    follow: Callable[[Tensor], Tensor],
) -> Lines:
    """Hairs turned with the head about the neck; those that hang low follow the shoulders, by `follow` of their height (0..1)."""
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
    """The nearest hair at each sample where one is in front of `z_buffer` (flat, row by row, inf where nothing is).

    `project` gives continuous sample coordinates and depth of points; `sample_m` is the width of a sample at the head, which says
    how many samples wide a hair is: one at least, towards its tip. With `balls`, middles and radii that surely lie inside the
    head, hairs are left out early behind them and deep under others. What is left out does not depend on `z_buffer`: another
    face in front must not change the hair beside it.
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
    """Which knots lie behind the disc in the middle of a ball, as the camera sees it."""
    xy, depth = project(middle[None])
    near = ((place[:, :2] - xy) ** 2).sum(1) < (0.97 * radius_px) ** 2
    return near & (place[:, 2] > depth + radius_m)


_Walk = tuple[Tensor, Tensor, Tensor, Tensor]


def _walk_in_two(
    place: Tensor, first: Tensor, wide: Tensor, leading: Tensor, width: int, height: int
) -> tuple[list[_Walk], list[Tensor]]:
    """Walks some strands, then those of the others that do not lie deep under them."""
    walk = _walk(place, first[leading], wide[leading], width, height)
    covered = torch.full((width * height,), torch.inf, device=place.device)
    covered.scatter_reduce_(0, walk[0], walk[3], "amin", include_self=True)
    column, row = place[:, 0].clamp(0, width - 1).long(), place[:, 1].clamp(0, height - 1).long()
    open_to_view = place[:, 2] < pick(covered, row * width + column) + _BEHIND_M
    others = ~leading & (pick(open_to_view, first) | pick(open_to_view, first + 1))
    rest = _walk(place, first[others], wide[others], width, height)
    return [walk, rest], [first[leading], first[others]]


def _walk(place: Float[Tensor, "m 3"], first: Tensor, wide: Tensor, width: int, height: int) -> _Walk:
    """Flat pixel, share along its segment, number of the segment and depth of each step inside the picture."""
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
    """The pixels where a hair is in front of `z_buffer`, and where the nearest one is hit: share along its segment, and segment."""
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
