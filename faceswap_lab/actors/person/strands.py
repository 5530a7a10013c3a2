"""Hair strands: polylines rasterised sample by sample, depth-tested against the mesh.

A strand is a sequence of knots. Segments hidden behind the head are culled early, the rest are traversed one sample at a time
(`strand_walk`), and the nearest strand per sample is found by an integer minimum, independent of write order: bit-identical on
every run. A strand's rank is its own: how it is drawn does not depend on which other strands exist.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from faceswap_lab.actors.gfx.vectors import pick, unit
from faceswap_lab.actors.person.strand_walk import Bundle, nearest, nearest_at_once, walk, walk_in_two

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
        return self.where(self._is_drawn_at(sample_m))

    def facing(self, turn: Float[Tensor, "3 3"]) -> "Strands":
        """Drops strands whose root and tip are on the far side of a head turned by `turn`; hanging hair is never dropped."""
        return self if self._never_turns_away() else self.where(self._is_facing(turn))

    def shown(self, sample_m: float, turn: Float[Tensor, "3 3"] | None = None) -> tuple["Strands", Bool[Tensor, " n"] | None]:
        """Those of `drawn_at` and, with `turn`, of `facing`; elsewhere than on the CPU all strands, and a mask of those."""
        if self.rank.device.type == "cpu":
            drawn = self.drawn_at(sample_m)
            return (drawn if turn is None else drawn.facing(turn)), None
        mask = self._is_drawn_at(sample_m)
        return self, mask if turn is None or self._never_turns_away() else mask & self._is_facing(turn)

    def _is_drawn_at(self, sample_m: float) -> Bool[Tensor, " n"]:
        return self.rank < self.width_m / sample_m

    def _never_turns_away(self) -> bool:
        return len(self.part) == 0 or self.knots.shape[1] > _LYING_KNOTS

    def _is_facing(self, turn: Float[Tensor, "3 3"]) -> Bool[Tensor, " n"]:
        away = torch.stack([self.normal[:, 0], self.normal[:, -1]]) @ turn[1]
        return (away < _FAR_SIDE).any(0)

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
    """Strands posed in world space: knots and their normals. `shown` masks the strands that are drawn, None for all."""

    strands: Strands
    points: Float[Tensor, "n k 3"]
    normals: Float[Tensor, "n k 3"]
    shown: Bool[Tensor, " n"] | None = None


def strand_casters(lines: Lines, inside: Float[Tensor, " 3"]) -> Float[Tensor, "d 3"]:
    """Points along some of the strands, dense enough to cast a shadow. `inside` is a point in the head, where none casts any."""
    points = lines.points[:_SHADOW_STRANDS] if lines.shown is None else _first_shown(lines.points, lines.shown, inside)
    share = torch.arange(_SHADOW_STEPS, device=points.device) / _SHADOW_STEPS
    return torch.lerp(points[:, :-1, None], points[:, 1:, None], share[:, None]).reshape(-1, 3)


def _first_shown(points: Float[Tensor, "n k 3"], shown: Bool[Tensor, " n"], inside: Float[Tensor, " 3"]) -> Float[Tensor, "m k 3"]:
    """The strands that are shown, as many as cast shadows, and points `inside` in place of what is missing of that number."""
    count = min(_SHADOW_STRANDS, len(shown))
    place = torch.where(shown, shown.cumsum(0) - 1, count).clamp_max(count)
    rows = torch.full((count + 1,), len(points), device=points.device).scatter_(
        0, place, torch.arange(len(points), device=points.device)
    )
    chosen = pick(points, rows[:count].clamp_max(len(points) - 1))
    return torch.where((rows[:count] < len(points))[:, None, None], chosen, inside)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StrandSamples:
    """p samples where a strand is nearest: flat pixel index, depth, and shading inputs.

    Elsewhere than on the CPU they are all pixels of the image, with depth inf where there is no strand.
    """

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
    knots, height = strands.knots.shape[1], len(z_buffer) // width
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
    lead = strands.rank / (strands.width_m / sample_m).clamp_max(1) < _FIRST_SHARE if balls else None
    if place.device.type != "cpu" and not len(first):
        return _samples(lines, place, first, first, xy[:0, 0], knots)
    if place.device.type != "cpu":
        known = known if lines.shown is None else known & pick(lines.shown, first // knots)
        bundle = Bundle(place, first, _widths(wide, first, knots), known, None if lead is None else pick(lead, first // knots))
        hit, share, segment = nearest_at_once(bundle, z_buffer, width)
        samples = _samples(lines, place, torch.arange(len(z_buffer), device=place.device), segment, share, knots)
        return replace(samples, depth=torch.where(hit, samples.depth, torch.inf))
    first = first.masked_select(known)
    wide = _widths(wide, first, knots)
    if lead is None:
        walked, segments = [walk(place, first, wide, width, height)], [first]
    else:
        walked, segments = walk_in_two(place, first, wide, pick(lead, first // knots), width, height)
    pixel, share, segment = nearest(walked, segments, z_buffer)
    return _samples(lines, place, pixel, segment, share, knots)


def _widths(wide: Tensor, first: Tensor, knots: int) -> Tensor:
    """The width in samples of each segment: its strand's, one towards the tip."""
    return torch.where(first % knots >= (knots - 1) * _TAPER, 1, pick(wide, first // knots))


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
