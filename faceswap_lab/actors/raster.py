"""A small deterministic triangle rasteriser in torch: the same bits on every run, on one thread or many, on CPU or CUDA.

Triangles are sorted into classes by the size of their bounding box; each class is tested as one dense block of candidate pixels,
and the nearest triangle of each pixel is found by an integer minimum, which does not depend on the order of the writes.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_SIDES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256, 512, 1024, 2048)
_CANDIDATES = 1 << 21
_FACE_BITS = 20
_DEPTH_STEPS_PER_M = 1 << 22
_EDGE_SLACK = 1e-5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fragments:
    """p covered pixels: flat pixel number (row * width + column), triangle, barycentric weights and depth there."""

    pixel: Int[Tensor, " p"]
    face: Int[Tensor, " p"]
    weights: Float[Tensor, "p 3"]
    depth: Float[Tensor, " p"]


@dataclass(frozen=True, slots=True, eq=False)
class _Planes:
    """Per triangle: the first pixel of its box, its box's size, and w0, w1, w2, q there with their steps in x and y."""

    face: Tensor
    left: Tensor
    top: Tensor
    width: Tensor
    height: Tensor
    start: Tensor
    step_x: Tensor
    step_y: Tensor


def _planes(xy: Tensor, depth: Tensor, tri: Tensor, size: tuple[int, int], cull: bool, perspective: bool) -> _Planes:
    height, width = size
    corner = xy[tri]
    lowest, highest = corner.amin(1), corner.amax(1)
    first, last = torch.ceil(lowest - 0.5).clamp_min(0), torch.floor(highest - 0.5)
    last = torch.minimum(last, torch.tensor([width - 1.0, height - 1.0], device=xy.device))
    ax, ay = corner[:, 0].unbind(1)
    bx, by = corner[:, 1].unbind(1)
    cx, cy = corner[:, 2].unbind(1)
    area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    seen = area < -1e-9 if cull else area.abs() > 1e-9
    face = (seen & (last >= first).all(1) & (depth[tri].amin(1) > 1e-3)).nonzero()[:, 0]
    ax, ay, bx, by, cx, cy, area = (t[face] for t in (ax, ay, bx, by, cx, cy, area))
    first, last = first[face], last[face]
    x, y = first[:, 0] + 0.5, first[:, 1] + 0.5
    w0 = ((cx - bx) * (y - by) - (cy - by) * (x - bx)) / area
    w1 = ((ax - cx) * (y - cy) - (ay - cy) * (x - cx)) / area
    dx0, dx1 = (by - cy) / area, (cy - ay) / area
    dy0, dy1 = (cx - bx) / area, (ax - cx) / area
    value = depth[tri[face]]
    value = 1 / value if perspective else value
    start = torch.stack([w0, w1, 1 - w0 - w1], 1)
    step_x, step_y = torch.stack([dx0, dx1, -dx0 - dx1], 1), torch.stack([dy0, dy1, -dy0 - dy1], 1)
    start, step_x, step_y = (torch.cat([w, (w * value).sum(1, keepdim=True)], 1) for w in (start, step_x, step_y))
    box = (last - first).long() + 1
    return _Planes(face, first[:, 0].long(), first[:, 1].long(), box[:, 0], box[:, 1], start, step_x, step_y)


def _draw(nearest: Tensor, planes: _Planes, which: Tensor, side: int, image_width: int, perspective: bool) -> None:
    """Enters the triangles `which`, none wider or higher than `side` pixels, into the buffer of depth-and-number keys."""
    steps = torch.arange(side, device=nearest.device)
    grid = steps.float()
    start, step_x, step_y = planes.start[which], planes.step_x[which], planes.step_y[which]
    inside = (steps < planes.width[which][:, None])[:, None, :] & (steps < planes.height[which][:, None])[:, :, None]
    for k in range(3):
        row = start[:, k, None] + step_y[:, k, None] * grid
        inside &= row[:, :, None] + (step_x[:, k, None] * grid)[:, None, :] >= -_EDGE_SLACK
    n, i, j = inside.nonzero(as_tuple=True)
    value = start[n, 3] + step_y[n, 3] * grid[i] + step_x[n, 3] * grid[j]
    depth = 1 / value if perspective else value
    key = ((depth * _DEPTH_STEPS_PER_M).long() << _FACE_BITS) + which[n]
    pixel = (planes.top[which][n] + i) * image_width + planes.left[which][n] + j
    nearest.scatter_reduce_(0, pixel, key, "amin", include_self=True)


def rasterise(
    xy: Float[Tensor, "v 2"],
    depth: Float[Tensor, " v"],
    tri: Int[Tensor, "t 3"],
    *,
    size: tuple[int, int],
    cull: bool = True,
    perspective: bool = True,
) -> Fragments:
    """The nearest triangle at each pixel centre.

    `xy` are continuous pixel coordinates (the first pixel spans 0..1, its centre is 0.5), `depth` is in metres and positive in
    front of the camera, `size` is (height, width). With `cull` only triangles that turn clockwise on the screen are drawn
    (outward faces); weights are perspective-correct unless `perspective` is False. At most 2**20 triangles.
    """
    height, width = size
    planes = _planes(xy, depth, tri, size, cull, perspective)
    extent = torch.maximum(planes.width, planes.height)
    nearest = torch.full((height * width,), torch.iinfo(torch.int64).max, dtype=torch.int64, device=xy.device)
    smaller = 0
    for side in _SIDES:
        which = ((extent > smaller) & (extent <= side)).nonzero()[:, 0]
        smaller = side
        if len(which):
            for block in torch.split(which, max(1, _CANDIDATES // side**2)):
                _draw(nearest, planes, block, side, width, perspective)
        if side >= max(size):
            break
    pixel = (nearest < torch.iinfo(torch.int64).max).nonzero()[:, 0]
    row = nearest[pixel] & ((1 << _FACE_BITS) - 1)
    across = (pixel % width - planes.left[row]).float()[:, None]
    down = (pixel // width - planes.top[row]).float()[:, None]
    plane = planes.start[row] + planes.step_x[row] * across + planes.step_y[row] * down
    face = planes.face[row]
    if not perspective:
        return Fragments(pixel=pixel, face=face, weights=plane[:, :3], depth=plane[:, 3])
    weights = plane[:, :3] / (depth[tri[face]] * plane[:, 3:])
    return Fragments(pixel=pixel, face=face, weights=weights, depth=1 / plane[:, 3])
