"""Named lighting set-ups: studio, soft, hard, side, back, coloured, environment, moving, dim."""

import colorsys
import math
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from faceswap_lab.actors.performance.view import Colour, Light

LightKind = Literal["auto", "studio", "soft", "hard", "side", "back", "coloured", "environment", "moving", "dim"]
LIGHTS: tuple[LightKind, ...] = get_args(LightKind)


def check_light(kind: str) -> LightKind:
    """The kind of light, or ValueError with the list of kinds."""
    if kind not in LIGHTS:
        raise ValueError(f"no light {kind!r}; choose from {', '.join(LIGHTS)}")
    return kind


def direction(azimuth: float, elevation: float) -> Colour:
    """Unit vector towards a light; azimuth is 0 at the camera and positive to the frame's right."""
    flat = math.cos(elevation)
    return math.sin(azimuth) * flat, -math.cos(azimuth) * flat, math.sin(elevation)


def studio() -> Light:
    """The lighting of the studio portraits."""
    return Light(
        key_direction=direction(-0.55, 0.55),
        key_colour=(2.25, 2.15, 2.05),
        softness=5.0,
        ambient_high=(0.50, 0.52, 0.55),
        ambient_low=(0.30, 0.28, 0.26),
        fill=0.24,
        rim=0.5,
        exposure=1.0,
    )


def sample_light(draw: np.random.Generator, *, gentle: bool) -> Light:
    """Random portrait lighting if `gentle`, else anything from flat light to hard side light."""
    reach = 0.95 if gentle else 1.25
    warm = draw.uniform(-0.08, 0.10) if gentle else draw.uniform(-0.14, 0.14)
    strength = draw.uniform(1.9, 2.5) if gentle else draw.uniform(1.3, 3.0)
    ambient = draw.uniform(0.42, 0.62) if gentle else draw.uniform(0.25, 0.8)
    cool = draw.uniform(-0.05, 0.12)
    low = draw.uniform(0.4, 0.65)
    return Light(
        key_direction=direction(draw.uniform(-reach, reach), draw.uniform(0.25, 0.85)),
        key_colour=(strength * (1 + warm), strength, strength * (1 - warm)),
        softness=float(draw.uniform(3.0, 6.0) if gentle else draw.uniform(1.5, 6.0)),
        ambient_high=(ambient * (1 - cool), ambient, ambient * (1 + cool)),
        ambient_low=(ambient * low * 1.05, ambient * low, ambient * low * 0.9),
        fill=float(draw.uniform(0.14, 0.3)),
        rim=float(draw.uniform(0.2, 0.9) if draw.random() < 0.6 else 0.0),
        exposure=float(draw.uniform(0.92, 1.06) if gentle else draw.uniform(0.82, 1.18)),
    )


def light_of(kind: LightKind, seed: int, time_s: float) -> Light:
    """The light of any kind but "auto"; only "moving" depends on time, continuously."""
    draw = np.random.default_rng([26, seed])
    side = 1.0 if draw.random() < 0.5 else -1.0
    if kind == "studio":
        return studio()
    if kind == "soft":
        return replace(sample_light(draw, gentle=True), softness=6.0, fill=0.3, rim=0.2)
    if kind == "hard":
        return _level(side * draw.uniform(0.3, 1.1), draw.uniform(0.3, 0.9), key=2.9, ambient=0.22, softness=1.0)
    if kind == "side":
        return _level(side * draw.uniform(1.25, 1.55), draw.uniform(0.05, 0.5), key=2.8, ambient=0.2, softness=2.5, fill=0.06)
    if kind == "back":
        return replace(_level(side * draw.uniform(2.2, 2.8), 0.5, key=2.6, ambient=0.36, softness=3.0), rim=1.6, exposure=1.15)
    if kind == "coloured":
        return _coloured(draw, side)
    if kind == "environment":
        return _environment(draw, side)
    if kind == "moving":
        turn = side * 2 * math.pi * time_s / draw.uniform(3.0, 6.0) + draw.uniform(0, 2 * math.pi)
        return _level(1.25 * math.sin(turn), 0.5 + 0.3 * math.cos(0.7 * turn), key=2.4, ambient=0.34, softness=3.0)
    assert kind == "dim", kind
    return replace(_level(side * 0.8, 0.6, key=1.3, ambient=0.25, softness=4.0), exposure=0.45)


def _level(azimuth: float, elevation: float, *, key: float, ambient: float, softness: float, fill: float = 0.14) -> Light:
    """White light of a given strength from a given direction."""
    return Light(
        key_direction=direction(azimuth, elevation),
        key_colour=(key * 1.02, key, key * 0.97),
        softness=softness,
        ambient_high=(ambient * 0.97, ambient, ambient * 1.05),
        ambient_low=(ambient * 0.55, ambient * 0.5, ambient * 0.46),
        fill=fill,
        rim=0.3,
        exposure=1.0,
    )


def _hue(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return red, green, blue


def _coloured(draw: np.random.Generator, side: float) -> Light:
    """Two opposing coloured gels, as on a stage or beside a shop window."""
    hue, strong = draw.random(), draw.uniform(0.4, 0.8)
    other = hue + draw.uniform(0.3, 0.6)
    key, second = _hue(hue, strong, 2.7), _hue(other, strong, 2.4)
    base = _level(side * draw.uniform(0.8, 1.4), draw.uniform(0.1, 0.6), key=2.6, ambient=0.3, softness=3.0)
    return replace(
        base,
        key_colour=key,
        fill=0.5,
        fill_colour=(second[0] / key[0], second[1] / key[1], second[2] / key[2]),
        rim=0.9,
        rim_colour=_hue(other, strong, 1.2),
        ambient_high=_hue(other, 0.4, 0.22),
        ambient_low=_hue(other, 0.4, 0.12),
    )


def _environment(draw: np.random.Generator, side: float) -> Light:
    """A weak key light under a sky or room that differs in brightness and colour from side to side and front to back."""
    hue = draw.random()
    right = _hue(hue, 0.3, draw.uniform(0.25, 0.45))
    front = _hue(hue + 0.5, 0.2, draw.uniform(-0.1, 0.35)) if draw.random() < 0.8 else (0.0, 0.0, 0.0)
    base = _level(side * draw.uniform(0.3, 1.0), draw.uniform(0.6, 1.1), key=0.75, ambient=1.1, softness=6.0, fill=0.1)
    return replace(base, ambient_right=(side * right[0], side * right[1], side * right[2]), ambient_front=front)
