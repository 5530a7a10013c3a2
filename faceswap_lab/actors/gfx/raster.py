"""A small deterministic triangle rasteriser in torch: bit-identical on every run, for any number of threads.

All triangles are split into the pixel rows they cross, and each row into the pixels between its edges, in one batch; the nearest
triangle per pixel is found by an integer minimum, which does not depend on the order of writes. Elsewhere than on the CPU,
triangles are split into the pixels of their bounding boxes at once, and the host waits for the device only for the number of those.
That way is tested on a pretend device (`tests/pretend.py`); it has not been run on CUDA yet.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import constant
from faceswap_lab.actors.gfx.vectors import pick

_FACE_BITS = 20
_DEPTH_STEPS_PER_M = 1 << 22
_EDGE_SLACK = 1e-5
_FLAT = 1e-20
_NOTHING = torch.iinfo(torch.int64).max


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fragments:
    """p covered pixels: flat pixel index (row * width + column), triangle index, barycentric weights and depth.

    Elsewhere than on the CPU all pixels are listed, so that nobody waits for their number; where none is covered, `depth` is inf
    and the rest meaningless.
    """

    pixel: Int[Tensor, " p"]
    face: Int[Tensor, " p"]
    weights: Float[Tensor, "p 3"]
    depth: Float[Tensor, " p"]


@dataclass(frozen=True, slots=True, eq=False)
class _Planes:
    """Per triangle: first pixel and size of its bounding box; w0, w1, w2, q at that pixel and their increments in x and y."""

    face: Tensor
    left: Tensor
    top: Tensor
    width: Tensor
    height: Tensor
    start: Tensor
    step_x: Tensor
    step_y: Tensor


def _planes(xy: Tensor, depth: Tensor, tri: Tensor, size: tuple[int, int], cull: bool, perspective: bool) -> _Planes:
    """The triangles that may cover a pixel; elsewhere than on the CPU all of them, the others with an empty bounding box."""
    corner = pick(xy, tri)
    (ax, ay), (bx, by), (cx, cy) = (corner[:, k].unbind(1) for k in range(3))
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    facing = area < -1e-9 if cull else area.abs() > 1e-9
    if xy.device.type != "cpu":
        first, last = _bounds(corner, size)
        drawn = facing & (last >= first).all(1) & (pick(depth, tri).amin(1) > 1e-3)
        face = torch.arange(len(tri), device=xy.device)
        planes = _equations(face, corner, first, last, torch.where(drawn, area, 1.0), pick(depth, tri), perspective)
        return replace(planes, width=torch.where(drawn, planes.width, 0), height=torch.where(drawn, planes.height, 0))
    seen = facing.nonzero()[:, 0]
    corner = pick(corner, seen)
    first, last = _bounds(corner, size)
    kept = ((last >= first).all(1) & (pick(depth, pick(tri, seen)).amin(1) > 1e-3)).nonzero()[:, 0]
    face = pick(seen, kept)
    value = pick(depth, pick(tri, face))
    return _equations(face, pick(corner, kept), pick(first, kept), pick(last, kept), pick(area, face), value, perspective)


def _bounds(corner: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """First and last pixel (x, y) of each triangle's bounding box within the image."""
    height, width = size
    first, last = torch.ceil(corner.amin(1) - 0.5).clamp_min(0), torch.floor(corner.amax(1) - 0.5)
    return first, torch.minimum(last, constant((width - 1.0, height - 1.0), corner.device))


def _equations(
    face: Tensor, corner: Tensor, first: Tensor, last: Tensor, area: Tensor, value: Tensor, perspective: bool
) -> _Planes:
    (ax, ay), (bx, by), (cx, cy) = (corner[:, k].unbind(1) for k in range(3))
    x, y = first[:, 0] + 0.5, first[:, 1] + 0.5
    w0 = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) / area
    w1 = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) / area
    dx0, dx1 = (by - cy) / area, (cy - ay) / area
    dy0, dy1 = (cx - bx) / area, (ax - cx) / area
    value = 1 / value if perspective else value
    start = torch.stack([w0, w1, 1 - w0 - w1], 1)
    step_x, step_y = torch.stack([dx0, dx1, -dx0 - dx1], 1), torch.stack([dy0, dy1, -dy0 - dy1], 1)
    start, step_x, step_y = (torch.cat([w, (w * value).sum(1, keepdim=True)], 1) for w in (start, step_x, step_y))
    box = (last - first).long() + 1
    return _Planes(face, first[:, 0].long(), first[:, 1].long(), box[:, 0], box[:, 1], start, step_x, step_y)


def _draw(nearest: Tensor, planes: _Planes, image_width: int, perspective: bool) -> None:
    """Writes all triangles, row by row, into the z-buffer of packed (depth, row) keys."""
    rows = torch.repeat_interleave(planes.height)
    down = torch.arange(len(rows), device=nearest.device) - pick(planes.height.cumsum(0) - planes.height, rows)
    step_x = pick(_steps(planes), rows)
    at_left = torch.addcmul(pick(planes.start, rows), pick(planes.step_y, rows), down.float()[:, None])
    begin, end = _span(at_left, step_x, pick((planes.width - 1).float(), rows))
    counts = (end - begin + 1).clamp_min(0).long()
    row = torch.repeat_interleave(counts)
    across = torch.arange(len(row), device=nearest.device) - pick(counts.cumsum(0) - counts - begin.long(), row)
    value = torch.addcmul(pick(at_left[:, 3], row), pick(step_x[:, 3], row), across.float())
    depth = 1 / value if perspective else value
    first = pick(planes.top, rows).add_(down).mul_(image_width).add_(pick(planes.left, rows))
    key = ((depth * _DEPTH_STEPS_PER_M).long() << _FACE_BITS) + pick(rows, row)
    nearest.scatter_reduce_(0, pick(first, row) + across, key, "amin", include_self=True)


def _draw_boxes(nearest: Tensor, planes: _Planes, image_width: int, perspective: bool) -> None:
    """As `_draw`, for a device that it is slow to wait for: every pixel of every bounding box is tried, and only their number is
    waited for. `_draw` tries fewer pixels, but waits for the number of rows, then for that of pixels."""
    counts = planes.width * planes.height
    which = torch.repeat_interleave(counts, output_size=int(counts.sum()))
    number = torch.arange(len(which), device=nearest.device) - pick(counts.cumsum(0) - counts, which)
    wide = pick(planes.width, which)
    down, across = number // wide, number % wide
    step_x = pick(_steps(planes), which)
    at_left = torch.addcmul(pick(planes.start, which), pick(planes.step_y, which), down.float()[:, None])
    begin, end = _span(at_left, step_x, (wide - 1).float())
    value = torch.addcmul(at_left[:, 3], step_x[:, 3], across.float())
    depth = 1 / value if perspective else value
    key = ((depth * _DEPTH_STEPS_PER_M).long() << _FACE_BITS) + which
    key = torch.where((across >= begin) & (across <= end), key, _NOTHING)
    pixel = (pick(planes.top, which) + down) * image_width + pick(planes.left, which) + across
    nearest.scatter_reduce_(0, pixel, key, "amin", include_self=True)


def _steps(planes: _Planes) -> Tensor:
    return torch.where(planes.step_x.abs() < _FLAT, _FLAT, planes.step_x)


def _span(at_left: Tensor, step_x: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
    """First and last covered pixel of each row, from the left of the triangle's bounding box, which ends at `last`."""
    # Where each edge starts or ends the row.
    bound = (-_EDGE_SLACK - at_left[:, :3]) / step_x[:, :3]
    rising = step_x[:, :3] > 0
    begin = torch.where(rising, bound.ceil(), -1.0).amax(1).clamp_min(0).minimum(last + 1)
    return begin, torch.where(rising, torch.inf, bound.floor()).amin(1).minimum(last)


def rasterise(
    xy: Float[Tensor, "v 2"],
    depth: Float[Tensor, " v"],
    tri: Int[Tensor, "t 3"],
    *,
    size: tuple[int, int],
    cull: bool = True,
    perspective: bool = True,
) -> Fragments:
    """Finds the nearest triangle at each pixel centre.

    `xy` are continuous pixel coordinates (the first pixel spans 0..1, its centre is 0.5), `depth` is in metres and positive in
    front of the camera, `size` is (height, width). With `cull`, only triangles wound clockwise on screen (front faces) are drawn;
    weights are perspective-correct unless `perspective` is False. At most 2**20 triangles.
    """
    height, width = size
    planes = _planes(xy, depth, tri, size, cull, perspective)
    nearest = torch.full((height * width,), _NOTHING, dtype=torch.int64, device=xy.device)
    on_host = xy.device.type == "cpu"
    if len(planes.face):
        (_draw if on_host else _draw_boxes)(nearest, planes, width, perspective)
    if on_host:
        pixel = (nearest < _NOTHING).nonzero()[:, 0]
        row = pick(nearest, pixel) & ((1 << _FACE_BITS) - 1)
    else:
        pixel = torch.arange(len(nearest) if len(tri) else 0, device=xy.device)
        row = torch.where(nearest < _NOTHING, nearest & ((1 << _FACE_BITS) - 1), 0)[: len(pixel)]
    # A single gather from one table: the plane equations, then the corner depths that perspective correction needs.
    columns = [planes.start, planes.step_x, planes.step_y, torch.stack([planes.left, planes.top], 1).float()]
    if perspective:
        columns.append(pick(depth, pick(tri, planes.face)))
    table = pick(torch.cat(columns, 1), row)
    across = (pixel % width).float()[:, None] - table[:, 12:13]
    down = (pixel // width).float()[:, None] - table[:, 13:14]
    plane = table[:, :4] + table[:, 4:8] * across + table[:, 8:12] * down
    face = pick(planes.face, row)
    weights, deep = plane[:, :3], plane[:, 3]
    if perspective:
        weights, deep = plane[:, :3] / (table[:, 14:] * plane[:, 3:]), 1 / plane[:, 3]
    if not on_host:
        deep = torch.where(nearest[: len(pixel)] < _NOTHING, deep, torch.inf)
    return Fragments(pixel=pixel, face=face, weights=weights, depth=deep)
