"""Seeded backgrounds: soft studio gradients, out-of-focus rooms, and blurred lights."""

import colorsys

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.caches import cached

_ROWS = 96


def _tint(draw: np.random.Generator, low: float, high: float, saturation: float) -> np.ndarray:
    """A random linear RGB colour with value in low..high and at most the given saturation."""
    return np.array(colorsys.hsv_to_rgb(draw.random(), draw.uniform(0, saturation), draw.uniform(low, high)))


def _studio(draw: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A paper backdrop lit by one soft light."""
    wall = _tint(draw, 0.06, 0.30, 0.45)
    spot = np.exp(-(((x - draw.uniform(-0.6, 0.6)) / 0.9) ** 2 + ((y - draw.uniform(-0.5, 0.3)) / 0.8) ** 2))
    fall = 1 - 0.25 * (y + 1) / 2
    return np.asarray(wall * (0.45 + draw.uniform(0.6, 1.3) * spot)[..., None] * fall[..., None])


def _portrait(draw: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The plain grey-blue backdrop of portraits, brightest behind the head."""
    spot = np.exp(-((x / 0.85) ** 2 + ((y + 0.1) / 0.9) ** 2))
    return np.asarray(np.array([0.20, 0.235, 0.27]) * (0.38 + 0.85 * spot)[..., None])


def _room(draw: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Walls, a window and furniture, strongly defocused."""
    colour = np.broadcast_to(_tint(draw, 0.10, 0.32, 0.35), (*x.shape, 3)).copy()
    for _ in range(draw.integers(2, 6)):
        left, width, blur = draw.uniform(-1.3, 1.0), draw.uniform(0.2, 0.9), draw.uniform(0.05, 0.2)
        top, height = draw.uniform(-1.5, 0.6), draw.uniform(0.5, 2.5)
        inside = 1 / (1 + np.exp(np.clip(-(x - left) / blur, -30, 30))) / (1 + np.exp(np.clip((x - left - width) / blur, -30, 30)))
        inside = (
            inside / (1 + np.exp(np.clip(-(y - top) / blur, -30, 30))) / (1 + np.exp(np.clip((y - top - height) / blur, -30, 30)))
        )
        colour += inside[..., None] * 0.8 * (_tint(draw, 0.04, 0.50, 0.5) - colour)
    return colour


def _lights(draw: np.random.Generator, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An evening street: dark, with bokeh discs of lamps."""
    colour = _tint(draw, 0.03, 0.10, 0.6) * (1.2 - 0.4 * y)[..., None]
    for _ in range(draw.integers(6, 16)):
        distance = np.hypot(x - draw.uniform(-1.1, 1.1), y - draw.uniform(-1.1, 0.8))
        disc = 1 / (1 + np.exp(np.clip((distance - draw.uniform(0.06, 0.2)) / 0.02, -30, 30)))
        colour = colour + disc[..., None] * _tint(draw, 0.08, 0.35, 0.7)
    return np.asarray(colour)


@cached(most=4)
def backdrop(seed: int, size: tuple[int, int], device: torch.device) -> Float[Tensor, "3 h w"]:
    """The background image on `device`, linear RGB 0..1, with the same composition at every size.

    Cached and shared: do not modify it.
    """
    draw = np.random.default_rng([41, seed])
    y, x = np.meshgrid(np.linspace(-1, 1, _ROWS), np.linspace(-1, 1, _ROWS), indexing="ij")
    make = (_studio, _studio, _room, _lights)[draw.integers(4)] if seed else _portrait
    small = torch.from_numpy(make(draw, x, y).astype(np.float32)).permute(2, 0, 1)
    return F.interpolate(small[None], size, mode="bicubic", align_corners=True)[0].clamp(0, 1).to(device)
