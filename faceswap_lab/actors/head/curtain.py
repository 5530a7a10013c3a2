"""Hanging hair: a curtain mesh around the back and sides of the head, with one grid topology shared by all actors.

The curtain starts inside the hair on the scalp and falls past the ears. It is double-sided; actors without long hair omit its
triangles. Convention: metres, x to the subject's left, y backwards, z up.
"""

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

COLUMNS, ROWS = 61, 16
FIRST_TEXTURE_ROW = 2.0
"""The v coordinate at which the curtain starts, below the head's texture, which ends at 1."""

_REACH = math.radians(104)
_TOP_Z = 0.800


def curtain_quads(first_vertex: int) -> Int[np.ndarray, "q 4"]:
    """Quads of the grid, counter-clockwise seen from outside; `row * COLUMNS + column` is offset by `first_vertex`."""
    row, column = np.meshgrid(np.arange(ROWS - 1), np.arange(COLUMNS - 1), indexing="ij")
    corner = (row * COLUMNS + column).ravel() + first_vertex
    return np.stack([corner, corner + 1, corner + COLUMNS + 1, corner + COLUMNS], axis=1)


def curtain_uv() -> Float[np.ndarray, "n 2"]:
    """UV coordinates of the grid: u in 0..1, v from FIRST_TEXTURE_ROW to FIRST_TEXTURE_ROW + 1."""
    down, across = np.meshgrid(np.linspace(0, 1, ROWS), np.linspace(0, 1, COLUMNS), indexing="ij")
    return np.stack([across.ravel(), FIRST_TEXTURE_ROW + down.ravel()], axis=1)


def skull_ring(template: Float[Tensor, "v 3"], points: Float[Tensor, "v 3"]) -> tuple[float, float, float]:
    """Half width, front-to-back centre and half depth of a head above its ears, in metres."""
    ring = points[(template[:, 2] > 0.765) & (template[:, 2] < 0.785) & (template[:, 1] > -0.16)]
    front, back = float(ring[:, 1].min()), float(ring[:, 1].max())
    return float(ring[:, 0].abs().max()), (front + back) / 2, (back - front) / 2


def curtain_points(
    ring: tuple[float, float, float], *, thickness_m: float, bottom_z: float, wave: float, seed: int
) -> Float[Tensor, "n 3"]:
    """Vertices of the grid around one head: `bottom_z` is where the hair ends, `wave` (0..1) how unevenly it falls."""
    half_width, middle, half_depth = ring
    draw = np.random.default_rng([51, seed])
    turn = np.linspace(-_REACH, _REACH, COLUMNS)
    clumps = np.interp(turn, np.linspace(-_REACH, _REACH, 15), draw.uniform(-1, 1, 15))
    clumps = clumps + 0.6 * np.interp(turn, np.linspace(-_REACH, _REACH, 33), draw.uniform(-1, 1, 33))
    down = np.linspace(0, 1, ROWS)[:, None]
    out = thickness_m * (0.1 + 1.15 * np.sin(np.clip(down * 1.9, 0, np.pi / 2))) - 0.010 * np.clip(down - 0.62, 0, 1) ** 2 / 0.14
    out = out + wave * 0.0022 * clumps * down + wave * 0.002 * np.sin(9 * down + 2 * clumps)
    at_front = np.clip((np.abs(turn) - math.radians(85)) / math.radians(32), 0, 1)
    out = out - 0.006 * at_front**2
    end = bottom_z + 0.004 * clumps - 0.012 * (1 - at_front) * draw.uniform(0, 1)
    height = _TOP_Z + (end - _TOP_Z) * down - 0.012 * at_front * (1 - down)
    x, y = np.sin(turn) * (half_width - 0.004 + out), middle + np.cos(turn) * (half_depth - 0.004 + out)
    return torch.from_numpy(np.stack([x, y, height], axis=-1).reshape(-1, 3).astype(np.float32))


def curtain_strands(seed: int) -> Float[Tensor, "h w"]:
    """Zero-mean brightness texture of the curtain's strands: fine across, long downwards."""
    draw = np.random.default_rng([52, seed])
    total = torch.zeros(64, 512)
    for columns, rows, weight in ((40, 3, 0.8), (110, 4, 1.0), (260, 6, 0.8)):
        field = torch.from_numpy(draw.standard_normal((1, 1, rows, columns)).astype(np.float32))
        total += weight * torch.nn.functional.interpolate(field, (64, 512), mode="bilinear", align_corners=True)[0, 0]
    return total * 0.24
