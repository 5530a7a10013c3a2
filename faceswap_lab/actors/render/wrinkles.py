"""Wrinkles from age and expression: small normal perturbations in template coordinates.

Convention: metres on the template (x to the subject's left, y backwards, z up); slopes are rises per metre along x and z.
"""

import math
from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.selected import Selected
from faceswap_lab.actors.gfx.vectors import unit

_FAINT = 0.02


def _value(actions: Mapping[str, float], *names: str) -> float:
    return max(actions.get(name, 0.0) for name in names)


def _window(x: Tensor, centre: float, width: float) -> Tensor:
    return torch.exp(-(((x - centre) / width) ** 2))


def slopes(
    template: Float[Tensor, "n 3"], actions: Mapping[str, float], *, age: float, phase: float
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Slopes of the wrinkles along x and z. `age` is 0 (young adult) .. 1 (old), `phase` varies the lines between people."""
    smile = _value(actions, "mouthSmileLeft", "mouthSmileRight")
    squint = max(_value(actions, "eyeSquintLeft", "eyeSquintRight", "cheekSquintLeft", "cheekSquintRight"), 0.6 * smile)
    brows = max(_value(actions, "browInnerUp"), 0.9 * _value(actions, "browOuterUpLeft", "browOuterUpRight"))
    frown = _value(actions, "browDownLeft", "browDownRight")
    sneer = _value(actions, "noseSneerLeft", "noseSneerRight")
    total = torch.zeros(2, len(template), device=template.device)
    side, height, front = template[:, 0].abs(), template[:, 2].contiguous(), template[:, 1] < -0.055
    for strength, box, lines in (
        (0.30 * age + brows, (0.0, 0.085, 0.745, 0.815), _forehead),
        (0.14 * age + frown, (0.0, 0.012, 0.725, 0.780), _between_brows),
        (0.38 * age + 0.75 * squint, (0.041, 0.080, 0.695, 0.760), _crows_feet),
        (0.50 * age + 0.55 * smile + 0.5 * sneer, (0.008, 0.060, 0.625, 0.715), _beside_mouth),
        (0.55 * age + 0.35 * squint, (0.005, 0.060, 0.690, 0.722), _under_eyes),
    ):
        if strength > _FAINT:
            near = (side >= box[0]) & (side < box[1]) & (height >= box[2]) & (height < box[3]) & front
            within = Selected.where(near)
            x, y, z = within.pick(template).unbind(1)
            for sum_of, along in zip(total, lines(x, y, z, phase), strict=True):
                within.add(sum_of, along, alpha=strength)
    return total[0], total[1]


def _forehead(x: Tensor, y: Tensor, z: Tensor, phase: float) -> tuple[Tensor, Tensor]:
    """Horizontal forehead lines, curved like the brows."""
    level = z - 0.0035 * torch.cos(x / 0.020) - 0.0012 * torch.sin(x / 0.0085 + phase)
    where = _window(z, 0.776, 0.013) * _window(x, 0.0, 0.042) * (y < -0.075) * (0.75 + 0.25 * torch.sin(x / 0.011 + 2 * phase))
    return torch.zeros_like(x), 0.34 * where * torch.cos(2 * math.pi * level / 0.0074 + phase)


def _between_brows(x: Tensor, y: Tensor, z: Tensor, phase: float) -> tuple[Tensor, Tensor]:
    """Two vertical frown lines."""
    ridge = _ridge(x.abs(), 0.0052 + 0.0006 * math.sin(phase), 0.0016)
    return 0.65 * _window(z, 0.752, 0.011) * torch.sign(x) * ridge, torch.zeros_like(x)


def _crows_feet(x: Tensor, y: Tensor, z: Tensor, phase: float) -> tuple[Tensor, Tensor]:
    """Crow's feet: a fan from the outer corner of the eye."""
    dx, dz = x.abs() - 0.041, z - 0.727
    turn, reach = torch.atan2(dz, dx), (dx * dx + dz * dz).sqrt()
    tilt = 0.38 * _window(reach, 0.016, 0.0085) * _window(turn, 0.0, 0.75) * torch.cos(turn * 10.5 + phase)
    return -tilt * torch.sin(turn) * torch.sign(x), tilt * torch.cos(turn)


def _beside_mouth(x: Tensor, y: Tensor, z: Tensor, phase: float) -> tuple[Tensor, Tensor]:
    """Nasolabial folds: from the wing of the nose past the corner of the mouth."""
    path = 0.0205 + (0.690 - z) * 0.42 + (0.690 - z).clamp_min(0) ** 2 * 2.0
    where = _window(z, 0.670, 0.018) * (y < -0.075)
    return -0.55 * where * torch.sign(x) * _ridge(x.abs(), path, 0.0030), torch.zeros_like(x)


def _under_eyes(x: Tensor, y: Tensor, z: Tensor, phase: float) -> tuple[Tensor, Tensor]:
    """The lower edge of the bag under the eye."""
    side = x.abs()
    level = z - 0.7085 - 9.0 * (side - 0.031) ** 2
    return torch.zeros_like(x), -0.50 * _window(side, 0.031, 0.013) * _ridge(level, 0.0, 0.0024)


def _ridge(x: Tensor, centre: Tensor | float, width: float) -> Tensor:
    """The slope of a groove: negative on one side, positive on the other, magnitude at most about one."""
    t = (x - centre) / width
    return 1.65 * t * torch.exp(-0.5 * t * t)


def fold(
    normal: Float[Tensor, "n 3"], along_x: Float[Tensor, " n"], along_z: Float[Tensor, " n"], turn: Float[Tensor, "3 3"]
) -> Float[Tensor, "n 3"]:
    """Tilts normals by slopes along the x and z axes of a head rotated by `turn`."""
    tilted = normal - along_x[:, None] * turn[:, 0] - along_z[:, None] * turn[:, 2]
    return unit(tilted)
