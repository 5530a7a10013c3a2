"""Traverses the segments of strands one sample at a time and finds the nearest strand at each sample.

Two ways to one result. On the CPU segments are traversed in two rounds, and whatever is found to be hidden is dropped at once. On
a GPU the host would wait for the number of what is left each time: there everything is traversed in one round, hidden samples are
masked, and the only wait is for the number of samples.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from faceswap_lab.actors.gfx.vectors import pick

_DEPTH_STEPS_PER_M = 1 << 20
_INDEX_BITS = 32
_NUMBER_BITS, _MOST_COPIES = 38, 64
_AT_ONCE = 1 << 23
_NOTHING = torch.iinfo(torch.int64).max
_BEHIND_M = 0.006

Walk = tuple[Tensor, Tensor, Tensor, Tensor]
"""Flat pixel index, fraction along the segment, segment index and depth of each sample."""


def walk_in_two(
    place: Tensor, first: Tensor, wide: Tensor, leading: Tensor, width: int, height: int
) -> tuple[list[Walk], list[Tensor]]:
    """Traverses the leading strands, then those of the others that are not deep beneath them."""
    found = walk(place, first[leading], wide[leading], width, height)
    front = torch.full((width * height,), torch.inf, device=place.device)
    front.scatter_reduce_(0, found[0], found[3], "amin", include_self=True)
    others = ~leading & _open_to_view(place, first, front, width, height)
    rest = walk(place, first[others], wide[others], width, height)
    return [found, rest], [first[leading], first[others]]


def _open_to_view(place: Tensor, first: Tensor, front: Float[Tensor, " pixels"], width: int, height: int) -> Tensor:
    """Mask of the segments that are not deep beneath `front` at both ends."""
    column, row = place[:, 0].clamp(0, width - 1).long(), place[:, 1].clamp(0, height - 1).long()
    knots = place[:, 2] < pick(front, row * width + column) + _BEHIND_M
    return pick(knots, first) | pick(knots, first + 1)


def walk(place: Float[Tensor, "m 3"], first: Tensor, wide: Tensor, width: int, height: int) -> Walk:
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


def nearest(
    walked: Sequence[Walk], segments: Sequence[Tensor], z_buffer: Float[Tensor, " pixels"]
) -> tuple[Int[Tensor, " p"], Float[Tensor, " p"], Int[Tensor, " p"]]:
    """The pixels where a hair is in front of `z_buffer`; the fraction along the segment of the nearest hair, and the segment."""
    buffer = torch.full_like(z_buffer, _NOTHING, dtype=torch.int64)
    count, kept = 0, []
    for (cell, share, segment, deep), of_walk in zip(walked, segments, strict=True):
        seen = (deep < pick(z_buffer, cell)).nonzero()[:, 0]
        index = torch.arange(count, count + len(seen), device=z_buffer.device)
        key = ((pick(deep, seen) * _DEPTH_STEPS_PER_M).long() << _INDEX_BITS) + index
        buffer.scatter_reduce_(0, pick(cell, seen), key, "amin", include_self=True)
        kept.append((pick(share, seen), pick(of_walk, pick(segment, seen))))
        count += len(seen)
    share, segment = (torch.cat(column) for column in zip(*kept, strict=True))
    pixel = (buffer < _NOTHING).nonzero()[:, 0]
    index = pick(buffer, pixel) & ((1 << _INDEX_BITS) - 1)
    return pixel, pick(share, index), pick(segment, index)


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """Segments to traverse at once: the knot each begins at among `place` (x, y, depth), its width in samples, whether it is drawn
    at all, and whether it is one of the leading strands (None: nothing is hidden beneath them)."""

    place: Float[Tensor, "m 3"]
    first: Int[Tensor, " s"]
    wide: Int[Tensor, " s"]
    drawn: Bool[Tensor, " s"]
    leading: Bool[Tensor, " s"] | None


@dataclass(frozen=True, slots=True, eq=False)
class _Samples:
    """Some of a bundle's samples: segment, copy across the strand's width, cell, depth and fraction along the segment; `inside` is
    whether they are in the image."""

    segment: Tensor
    extra: Tensor
    cell: Tensor
    depth: Tensor
    share: Tensor
    inside: Tensor


class _Traversal:
    """The samples of a bundle by their number, segment by segment; only their total is waited for."""

    def __init__(self, bundle: Bundle, width: int, height: int) -> None:
        self._size = width, height
        self._start = pick(bundle.place, bundle.first)
        self._step = pick(bundle.place, bundle.first + 1) - self._start
        self._steep = self._step[:, 1].abs() > self._step[:, 0].abs()
        # Segments that are not drawn may be of any length, or none that is a number.
        reach = torch.where(bundle.drawn, self._step[:, :2].abs().amax(1), 0.0)
        self._counts = reach.ceil().clamp_min(1).int()
        of_segment = torch.where(bundle.drawn, self._counts.long() * bundle.wide, 0)
        self._ends = of_segment.cumsum(0)
        self._begins = self._ends - of_segment
        self.total = int(self._ends[-1])

    def at(self, number: Int[Tensor, " n"]) -> _Samples:
        """The samples of these numbers, 0 to `total` exclusive."""
        segment = torch.searchsorted(self._ends, number, right=True).clamp_max(len(self._ends) - 1)
        many, leaning = pick(self._counts, segment), pick(self._steep, segment)
        within = number - pick(self._begins, segment)
        extra, along = within // many, (within % many).float()
        shift = torch.stack([torch.where(leaning, extra, 0), torch.where(leaning, 0, extra), torch.zeros_like(extra)], 1)
        per_step = pick(self._step, segment) / many[:, None]
        origin = pick(self._start, segment) + shift + 0.5 * per_step
        x, y, deep = (torch.addcmul(origin[:, k], per_step[:, k], along) for k in range(3))
        width, height = self._size
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        cell = torch.where(inside, y.int() * width + x.int(), 0).long()
        return _Samples(segment, extra, cell, deep, (along + 0.5) / many, inside)

    def parts(self) -> Iterator[Int[Tensor, " n"]]:
        """The numbers of all samples, as many at once as memory bears."""
        for begin in range(0, self.total, _AT_ONCE):
            yield torch.arange(begin, min(begin + _AT_ONCE, self.total), device=self._ends.device)


def nearest_at_once(
    bundle: Bundle, z_buffer: Float[Tensor, " pixels"], width: int
) -> tuple[Bool[Tensor, " pixels"], Float[Tensor, " pixels"], Int[Tensor, " pixels"]]:
    """Of each pixel, whether a hair is in front of `z_buffer`; the fraction along the nearest hair's segment, and its first knot.

    Equally near hairs are told apart as by `nearest`: leading strands first, then by copy, then in order.
    """
    height = len(z_buffer) // width
    walk = _Traversal(bundle, width, height)
    shown = (
        bundle.drawn
        if bundle.leading is None
        else bundle.leading | _open_to_view(bundle.place, bundle.first, _front(walk, bundle.leading, len(z_buffer)), width, height)
    )
    buffer = torch.full_like(z_buffer, _NOTHING, dtype=torch.int64)
    for number in walk.parts():
        found = walk.at(number)
        order = found.extra if bundle.leading is None else found.extra + _MOST_COPIES * (~pick(bundle.leading, found.segment))
        key = ((found.depth * _DEPTH_STEPS_PER_M).long() << _NUMBER_BITS) + order * walk.total + number
        seen = found.inside & pick(shown, found.segment) & (found.depth < pick(z_buffer, found.cell))
        buffer.scatter_reduce_(0, found.cell, torch.where(seen, key, _NOTHING), "amin", include_self=True)
    hit = buffer < _NOTHING
    found = walk.at(torch.where(hit, (buffer & ((1 << _NUMBER_BITS) - 1)) % max(walk.total, 1), 0))
    return hit, found.share, pick(bundle.first, found.segment)


def _front(walk: _Traversal, leading: Bool[Tensor, " s"], num_pixels: int) -> Float[Tensor, " pixels"]:
    """Depth of the nearest leading strand at each pixel, inf where there is none."""
    front = torch.full((num_pixels,), torch.inf, device=leading.device)
    for number in walk.parts():
        found = walk.at(number)
        deep = torch.where(found.inside & pick(leading, found.segment), found.depth, torch.inf)
        front.scatter_reduce_(0, found.cell, deep, "amin", include_self=True)
    return front
