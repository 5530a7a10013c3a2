"""Performances: what an actor does and how it is filmed, as pure functions of time.

A performance knows nothing of who performs it, so that one take can be rendered with any actor in the same pose, expression,
camera and light.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float

Kind = Literal["speech", "range", "still"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Colour = tuple[float, float, float]

_KNOTS = 1024
_VISEMES: tuple[Mapping[str, float], ...] = (
    {},
    {"jawOpen": 0.42, "mouthLowerDown": 0.18, "mouthUpperUp": 0.10},
    {"jawOpen": 0.28, "mouthStretch": 0.20, "mouthSmile": 0.12},
    {"jawOpen": 0.12, "mouthSmile": 0.22, "mouthUpperUp": 0.16, "mouthLowerDown": 0.12},
    {"jawOpen": 0.24, "mouthFunnel": 0.50},
    {"jawOpen": 0.08, "mouthPucker": 0.60},
    {"mouthPress": 0.45, "mouthRollLower": 0.15},
    {"jawOpen": 0.06, "mouthRollLower": 0.40, "mouthUpperUp": 0.12},
    {"jawOpen": 0.16, "mouthUpperUp": 0.12, "mouthLowerDown": 0.18},
)
_PAIRED = ("mouthLowerDown", "mouthUpperUp", "mouthStretch", "mouthSmile", "mouthPress", "mouthFrown", "mouthDimple")


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """One key light with soft shadows over an ambient dome, a fill and a rim.

    `key_direction` points from the head to the light (world axes: x to the frame's right, y away from the camera, z up); colours
    are linear RGB; `softness` is the blur of shadows in texels of the shadow map; `ambient_low` is what comes from below.
    """

    key_direction: Colour
    key_colour: Colour
    softness: float
    ambient_high: Colour
    ambient_low: Colour
    fill: float
    rim: float
    exposure: float


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One instant of a performance.

    `actions` are ARKit's facial actions by name, 0..1, gaze included (eyeLook*); yaw (positive: the subject turns to its own left),
    pitch (positive: down) and roll are radians; `fov_deg` is the camera's vertical field of view; `scale` widens the
    framing; offsets move the camera in metres to the right and up. `noise` is the sensor's, in linear shares of full range.
    """

    actions: Mapping[str, float]
    yaw: float
    pitch: float
    roll: float
    fov_deg: float
    scale: float
    offset_m: tuple[float, float]
    light: Light
    background_seed: int
    noise: float
    noise_seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """A kind of acting and its seed: `view(index, time_s)` is a pure function."""

    kind: Kind
    seed: int

    def view(self, index: int, time_s: float) -> View:
        """What is seen at one frame. `speech` and `still` depend on the time only, `range` on the frame's number only."""
        if self.kind == "speech":
            return _speech(self.seed, index, time_s)
        if self.kind == "range":
            return _range(self.seed, index)
        return _still(self.seed, index)


def check_kind(kind: str) -> Kind:
    """The kind, or ValueError with the list of kinds."""
    if kind not in KINDS:
        raise ValueError(f"no performance {kind!r}; there are {', '.join(KINDS)}")
    return kind


# --- smooth random functions of time -------------------------------------------------------------------------------------------


@lru_cache(maxsize=512)
def _knots(seed: int, channel: str) -> Float[np.ndarray, " n"]:
    """Uniform numbers -1..1, one series for each named channel of a seed."""
    return np.random.default_rng([21, seed, *channel.encode()]).uniform(-1, 1, _KNOTS)


def _wander(seed: int, channel: str, time_s: float, rate_hz: float) -> float:
    """Cubic B-spline noise about 0, within -1..1, changing direction about `rate_hz` times a second."""
    x = time_s * rate_hz + 7.0
    start = math.floor(x)
    t = x - start
    a, b, c, d = (_knots(seed, channel)[(start + k) % _KNOTS] for k in range(-1, 3))
    return float(((1 - t) ** 3 * a + (3 * t**3 - 6 * t**2 + 4) * b + (-3 * t**3 + 3 * t**2 + 3 * t + 1) * c + t**3 * d) / 6)


def _ease(x: float) -> float:
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)


def _pair(name: str, value: float) -> dict[str, float]:
    return {name + "Left": value, name + "Right": value} if name in _PAIRED else {name: value}


def _gaze(across: float, up: float) -> dict[str, float]:
    """Actions that turn both eyes to the subject's left (`across` > 0) and up, each -1..1."""
    out, inward = ("Left", "Right") if across > 0 else ("Right", "Left")
    way = "Up" if up > 0 else "Down"
    turn, lift = min(1.0, abs(across)), min(1.0, abs(up))
    return {f"eyeLookOut{out}": turn, f"eyeLookIn{inward}": turn, f"eyeLook{way}Left": lift, f"eyeLook{way}Right": lift}


# --- speech --------------------------------------------------------------------------------------------------------------------


def _speech(seed: int, index: int, time_s: float) -> View:
    draw = np.random.default_rng([22, seed])
    turn, nod, tilt = draw.uniform(-0.26, 0.26), draw.uniform(-0.09, 0.09), draw.uniform(-0.05, 0.05)
    liveliness = draw.uniform(0.7, 1.3)
    light, fov, scale = _sample_light(draw, gentle=True), draw.uniform(20, 32), draw.uniform(0.95, 1.12)
    smile, brows = draw.uniform(0, 0.18), draw.uniform(0, 0.25)
    background, noise = int(draw.integers(2**31)), float(draw.uniform(0.002, 0.007))
    talk = _ease(0.75 + 2.2 * _wander(seed, "phrase", time_s, 0.55))
    actions = _mouth_at(seed, time_s, talk)
    _add(
        actions,
        {
            "mouthSmileLeft": smile,
            "mouthSmileRight": smile * 0.92,
            "browInnerUp": max(0.0, 0.25 * _wander(seed, "brow", time_s, 0.8)),
        },
    )
    lift = brows * max(0.0, _wander(seed, "lift", time_s, 0.7)) * 2
    _add(actions, {"browOuterUpLeft": lift, "browOuterUpRight": lift})
    blink = _blink_at(seed, time_s)
    across, up = _gaze_at(seed, time_s)
    yaw = turn + liveliness * (0.14 * _wander(seed, "yaw", time_s, 0.45) + 0.03 * _wander(seed, "yaw2", time_s, 1.6))
    pitch = nod + liveliness * (0.09 * _wander(seed, "pitch", time_s, 0.6) + 0.03 * talk * _wander(seed, "pitch2", time_s, 2.2))
    _add(actions, _gaze(across - 0.55 * yaw, up + 0.6 * pitch))  # the eyes hold on to the listener
    _add(actions, {"eyeBlinkLeft": blink, "eyeBlinkRight": blink})
    return View(
        actions={name: min(1.0, value) for name, value in actions.items()},
        yaw=yaw,
        pitch=pitch,
        roll=tilt + liveliness * 0.06 * _wander(seed, "roll", time_s, 0.4),
        fov_deg=float(fov),
        scale=float(scale),
        offset_m=(0.004 * _wander(seed, "camera x", time_s, 0.3), 0.003 * _wander(seed, "camera z", time_s, 0.3)),
        light=light,
        background_seed=background,
        noise=noise,
        noise_seed=_noise_seed(seed, index),
    )


def _add(actions: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        actions[name] = actions.get(name, 0.0) + value


def _mouth_at(seed: int, time_s: float, talk: float) -> dict[str, float]:
    """Mouth shapes that follow each other five times a second, each eased into the next."""
    x = time_s * 5.0 + 3.0
    first, share = math.floor(x), _ease(x - math.floor(x))
    actions: dict[str, float] = {}
    for knot, weight in ((first, 1 - share), (first + 1, share)):
        number = int((_knots(seed, "viseme")[knot % _KNOTS] * 0.5 + 0.5) * len(_VISEMES)) % len(_VISEMES)
        force = 0.85 + 0.35 * _knots(seed, "force")[knot % _KNOTS]
        for name, value in _VISEMES[number].items():
            _add(actions, _pair(name, value * weight * force * talk))
    return actions


def _blink_at(seed: int, time_s: float) -> float:
    """Closed in 0.1 s, open again in 0.2 s, every two to five seconds."""
    start, closed = 0.4 + 0.8 * (1 + _knots(seed, "blink")[0]), 0.0
    for k in range(1, _KNOTS):
        if start > time_s:
            break
        since = time_s - start
        closed = max(closed, _ease(since / 0.11) * (1 - _ease((since - 0.13) / 0.2)))
        start += 3.4 + 1.6 * _knots(seed, "blink")[k]
    return closed


def _gaze_at(seed: int, time_s: float) -> tuple[float, float]:
    """Fixations of 0.7 s with quick turns of about 60 ms between them."""
    x = time_s / 0.7
    knot = math.floor(x)
    share = _ease((x - knot) * 0.7 / 0.06)
    place = []
    for channel, reach in (("gaze x", 0.22), ("gaze z", 0.12)):
        before, after = _knots(seed, channel)[(knot - 1) % _KNOTS], _knots(seed, channel)[knot % _KNOTS]
        place.append(float(reach * (before + (after - before) * share)))
    return place[0], place[1]


def _noise_seed(seed: int, index: int) -> int:
    return int(np.random.default_rng([23, seed, index]).integers(2**31))


# --- light ---------------------------------------------------------------------------------------------------------------------


def _direction(azimuth: float, elevation: float) -> Colour:
    """Unit vector towards a light; azimuth 0 is at the camera, positive to the frame's right."""
    flat = math.cos(elevation)
    return math.sin(azimuth) * flat, -math.cos(azimuth) * flat, math.sin(elevation)


def _sample_light(draw: np.random.Generator, *, gentle: bool) -> Light:
    """A portrait's light; not gentle: anything one meets, from flat to hard side light."""
    reach = 0.95 if gentle else 1.25
    warm = draw.uniform(-0.08, 0.10) if gentle else draw.uniform(-0.14, 0.14)
    strength = draw.uniform(1.9, 2.5) if gentle else draw.uniform(1.3, 3.0)
    ambient = draw.uniform(0.42, 0.62) if gentle else draw.uniform(0.25, 0.8)
    cool = draw.uniform(-0.05, 0.12)
    low = draw.uniform(0.4, 0.65)
    return Light(
        key_direction=_direction(draw.uniform(-reach, reach), draw.uniform(0.25, 0.85)),
        key_colour=(strength * (1 + warm), strength, strength * (1 - warm)),
        softness=float(draw.uniform(3.0, 6.0) if gentle else draw.uniform(1.5, 6.0)),
        ambient_high=(ambient * (1 - cool), ambient, ambient * (1 + cool)),
        ambient_low=(ambient * low * 1.05, ambient * low, ambient * low * 0.9),
        fill=float(draw.uniform(0.14, 0.3)),
        rim=float(draw.uniform(0.2, 0.9) if draw.random() < 0.6 else 0.0),
        exposure=float(draw.uniform(0.92, 1.06) if gentle else draw.uniform(0.82, 1.18)),
    )


# --- range of motion -----------------------------------------------------------------------------------------------------------


def _range(seed: int, index: int) -> View:
    """Independent frames that cover pose, expression, light, camera and background widely: for training."""
    draw = np.random.default_rng([24, seed, index])
    actions = _sample_expression(draw)
    lids = draw.uniform(0.6, 1.0) if draw.random() < 0.07 else draw.uniform(0, 0.15)
    _add(actions, {"eyeBlinkLeft": float(lids), "eyeBlinkRight": float(lids)})
    _add(actions, _gaze(float(draw.normal(0, 0.28)), float(draw.normal(0, 0.18))))
    return View(
        actions={name: min(1.0, float(value)) for name, value in actions.items()},
        yaw=float(np.clip(draw.normal(0, 0.36), -1.0, 1.0)),
        pitch=float(np.clip(draw.normal(0, 0.15), -0.42, 0.42)),
        roll=float(np.clip(draw.normal(0, 0.09), -0.35, 0.35)),
        fov_deg=float(draw.uniform(16, 38)),
        scale=float(draw.uniform(0.92, 1.15)),
        offset_m=(float(draw.normal(0, 0.011)), float(draw.normal(0, 0.009))),
        light=_sample_light(draw, gentle=draw.random() < 0.35),
        background_seed=int(draw.integers(2**31)),
        noise=float(draw.uniform(0.002, 0.010)),
        noise_seed=int(draw.integers(2**31)),
    )


def _sample_expression(draw: np.random.Generator) -> dict[str, float]:
    """Rest, a smile, surprise, a frown, a pucker, an open round mouth, a sneer, or a mouth shape of speech."""
    kind = draw.integers(0, 9)
    a, b, c = draw.uniform(0, 1, 3)
    side = draw.uniform(0.85, 1.0)
    if kind == 1:
        smile = 0.35 + 0.6 * a
        pairs = {"mouthSmile": smile, "cheekSquint": 0.45 * smile, "mouthUpperUp": 0.2 * smile}
        single = {"jawOpen": 0.22 * b}
    elif kind == 2:
        pairs, single = {"browOuterUp": 0.6 * b, "eyeWide": 0.6 * c}, {"jawOpen": 0.2 + 0.5 * a, "browInnerUp": 0.7 * b}
    elif kind == 3:
        pairs, single = {"mouthFrown": 0.2 + 0.6 * a, "browDown": 0.2 + 0.7 * b, "eyeSquint": 0.5 * c}, {}
    elif kind == 4:
        pairs, single = {}, {"mouthPucker": 0.25 + 0.65 * a, "browInnerUp": 0.4 * b}
    elif kind == 5:
        pairs, single = {}, {"mouthFunnel": 0.3 + 0.45 * a, "jawOpen": 0.1 + 0.3 * b}
    elif kind == 6:
        pairs, single = {"noseSneer": 0.2 + 0.5 * a, "mouthUpperUp": 0.15 + 0.35 * b}, {"jawOpen": 0.12 * c}
    elif kind >= 7:
        viseme = _VISEMES[draw.integers(len(_VISEMES))]
        return {key: value * (0.7 + 0.7 * a) for name, part in viseme.items() for key, value in _pair(name, part).items()}
    else:
        pairs, single = {}, {}
    return (
        single | {f"{name}Left": value for name, value in pairs.items()} | {f"{name}Right": v * side for name, v in pairs.items()}
    )


# --- still ---------------------------------------------------------------------------------------------------------------------


def _still(seed: int, index: int) -> View:
    """A neutral studio portrait; the seed changes its background and, beyond 0, the light."""
    light = Light(
        key_direction=_direction(-0.55, 0.55),
        key_colour=(2.25, 2.15, 2.05),
        softness=5.0,
        ambient_high=(0.50, 0.52, 0.55),
        ambient_low=(0.30, 0.28, 0.26),
        fill=0.24,
        rim=0.5,
        exposure=1.0,
    )
    return View(
        actions={"mouthSmileLeft": 0.16, "mouthSmileRight": 0.15, "browInnerUp": 0.12, "eyeBlinkLeft": 0.03, "eyeBlinkRight": 0.03},
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        fov_deg=22.0,
        scale=0.92,
        offset_m=(0.0, -0.004),
        light=_sample_light(np.random.default_rng([25, seed]), gentle=True) if seed else light,
        background_seed=seed,
        noise=0.003,
        noise_seed=_noise_seed(seed, index),
    )
