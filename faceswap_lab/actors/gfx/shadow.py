"""Directional visibility from a depth map of the bust: for soft shadows and ambient occlusion."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.gfx.raster import rasterise
from faceswap_lab.actors.gfx.transfer import constant, send

CENTRE = (0.0, -0.03, 0.70)
HALF_EXTENT_M = 0.27
_EMPTY = 9.0
_TAPS = 12


@dataclass(frozen=True, slots=True, eq=False)
class DepthMap:
    """Orthographic depth map of a directional light. The window is fixed, so unchanged geometry casts an identical shadow."""

    depth: Float[Tensor, "1 1 r r"]
    axes: Float[Tensor, "3 3"]

    @classmethod
    def from_direction(
        cls,
        points: Float[Tensor, "v 3"],
        tri: Int[Tensor, "t 3"],
        direction: Float[Tensor, " 3"],
        *,
        rows: int,
        casters: Float[Tensor, "d 3"] | None = None,
    ) -> "DepthMap":
        """Renders the mesh and splats `casters`, seen along `direction` (unit, towards the light), at rows x rows texels."""
        (axes,) = send(points.device, light_axes(direction.cpu()))
        return cls.along(points, tri, axes, rows=rows, casters=casters)

    @classmethod
    def along(
        cls,
        points: Float[Tensor, "v 3"],
        tri: Int[Tensor, "t 3"],
        axes: Float[Tensor, "3 3"],
        *,
        rows: int,
        casters: Float[Tensor, "d 3"] | None = None,
    ) -> "DepthMap":
        """As `from_direction`, of the light whose `light_axes` these are."""
        projected = cls._project(points, axes)
        drawn = rasterise((projected[:, :2] + 1) * (rows / 2), projected[:, 2], tri, size=(rows, rows), perspective=False)
        depth = torch.full((rows * rows,), _EMPTY, device=points.device)
        depth.scatter_(0, drawn.pixel, drawn.depth)
        if points.device.type != "cpu":
            depth.clamp_(max=_EMPTY)  # inf where nothing was drawn
        if casters is not None:
            splat = cls._project(casters, axes)
            cell = ((splat[:, :2] + 1) * (rows / 2)).long().clamp(0, rows - 1)
            depth.scatter_reduce_(0, cell[:, 1] * rows + cell[:, 0], splat[:, 2], "amin", include_self=True)
        return cls(depth.view(1, 1, rows, rows), axes)

    @staticmethod
    def _project(points: Tensor, axes: Tensor) -> Tensor:
        """Window coordinates -1..1 and depth in metres (about 2 at the centre)."""
        projected = (points - constant(CENTRE, points.device)) @ axes
        return torch.stack([projected[:, 0] / HALF_EXTENT_M, projected[:, 1] / HALF_EXTENT_M, projected[:, 2] + 2], 1)

    def visible(
        self, points: Float[Tensor, "p 3"], *, bias_m: float | Tensor, taps: Float[Tensor, "k 2"] | None = None
    ) -> Float[Tensor, " p"]:
        """Fraction of light that reaches each point, the mean over `soft_taps`; without them, of the one texel at the point."""
        projected = self._project(points, self.axes)
        grid, limit = projected[:, :2], projected[:, 2] - bias_m
        if taps is None:
            return (self._sample(grid) > limit).float()
        total = torch.zeros_like(limit)
        for shift in taps:
            total += (self._sample(grid + shift) > limit).float()
        return total / len(taps)

    def _sample(self, grid: Float[Tensor, "p 2"]) -> Float[Tensor, " p"]:
        return F.grid_sample(self.depth, grid[None, None], mode="nearest", align_corners=False, padding_mode="border")[0, 0, 0]


def light_axes(direction: Float[Tensor, " 3"]) -> Float[Tensor, "3 3"]:
    """Axes of the window of a light in this direction (unit, towards the light); columns: right, down, away from the light."""
    up = torch.tensor([0.0, 0.0, 1.0] if abs(float(direction[2])) < 0.95 else [1.0, 0.0, 0.0])
    right = F.normalize(torch.linalg.cross(up, direction), dim=0)
    return torch.stack([right, torch.linalg.cross(right, direction), -direction], 1)


def soft_taps(softness: float) -> tuple[tuple[float, float], ...]:
    """Places on a spiral, in window coordinates; `softness` is its radius in texels of a 384-row map."""
    radii = [math.sqrt((k + 0.5) / _TAPS) * softness / 192 for k in range(_TAPS)]
    return tuple((math.cos(2.4 * k) * radius, math.sin(2.4 * k) * radius) for k, radius in enumerate(radii))
