"""Performances: what an actor does and how it is filmed, as pure functions of time.

A performance is independent of who performs it, so that one take can be rendered with any actor in the same pose, expression,
camera and light.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from faceswap_lab.actors.performance import acting
from faceswap_lab.actors.performance.lights import LightKind, check_light, light_of, sample_light, studio
from faceswap_lab.actors.performance.motion import NUM_KNOTS, blink_at, ease, gaze, gaze_at, knots, noise_seed, pair, wander
from faceswap_lab.actors.performance.props import PropKind, check_prop, prop_of
from faceswap_lab.actors.performance.view import Colour, Light, View
from faceswap_lab.actors.splits import check_seed

__all__ = ["KINDS", "Colour", "Kind", "Light", "Performance", "View", "check_kind"]

Kind = Literal["speech", "range", "still", "acted", "turn", "fast"]
KINDS: tuple[Kind, ...] = get_args(Kind)

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """A kind of acting, its seed and how it is filmed: `view(index, time_s)` is a pure function.

    `light` is "auto" (the performance's own) or one of `lights.LIGHTS`; `fov_deg` overrides the vertical field of view (framing is
    kept, so a wide angle moves close and enlarges the nose); `prop` is one of `props.PROPS`, held in front of the face.
    Raises ValueError for an unknown kind, light or prop, a seed out of range, or a field of view outside 5..80 degrees.
    """

    kind: Kind
    seed: int
    light: LightKind = "auto"
    fov_deg: float | None = None
    prop: PropKind = "none"

    def __post_init__(self) -> None:
        check_kind(self.kind)
        check_seed(self.seed, "performance seed")
        check_light(self.light)
        check_prop(self.prop)
        if self.fov_deg is not None and not 5 <= self.fov_deg <= 80:
            raise ValueError(f"fov_deg must be within 5..80 degrees, got {self.fov_deg}")

    def view(self, index: int, time_s: float) -> View:
        """The view at one frame. All kinds depend on the time alone, except "range", which depends on the frame index alone."""
        view = self._view(index, time_s)
        if self.light != "auto":
            view = replace(view, light=light_of(self.light, self.seed, time_s))
        if self.prop != "none":
            still = self.kind in ("range", "still")
            view = replace(view, prop=prop_of(self.prop, self.seed, index, time_s, still=still))
        return view if self.fov_deg is None else replace(view, fov_deg=float(self.fov_deg))

    def _view(self, index: int, time_s: float) -> View:
        if self.kind == "speech":
            return _speech(self.seed, index, time_s)
        if self.kind == "range":
            return _range(self.seed, index)
        if self.kind == "still":
            return _still(self.seed, index)
        return acting.view_of(self.kind, self.seed, index, time_s)


def check_kind(kind: str) -> Kind:
    """Returns `kind`; raises ValueError listing the known kinds if it is unknown."""
    if kind not in KINDS:
        raise ValueError(f"no performance {kind!r}; choose from {', '.join(KINDS)}")
    return kind


# --- speech --------------------------------------------------------------------------------------------------------------------


def _speech(seed: int, index: int, time_s: float) -> View:
    draw = np.random.default_rng([22, seed])
    turn, nod, tilt = draw.uniform(-0.26, 0.26), draw.uniform(-0.09, 0.09), draw.uniform(-0.05, 0.05)
    liveliness = draw.uniform(0.7, 1.3)
    light, fov, scale = sample_light(draw, gentle=True), draw.uniform(20, 32), draw.uniform(0.95, 1.12)
    smile, brows = draw.uniform(0, 0.18), draw.uniform(0, 0.25)
    background, noise = int(draw.integers(2**31)), float(draw.uniform(0.002, 0.007))
    talk = ease(0.75 + 2.2 * wander(seed, "phrase", time_s, 0.55))
    actions = _mouth_at(seed, time_s, talk)
    _add(
        actions,
        {
            "mouthSmileLeft": smile,
            "mouthSmileRight": smile * 0.92,
            "browInnerUp": max(0.0, 0.25 * wander(seed, "brow", time_s, 0.8)),
        },
    )
    lift = brows * max(0.0, wander(seed, "lift", time_s, 0.7)) * 2
    _add(actions, {"browOuterUpLeft": lift, "browOuterUpRight": lift})
    blink = blink_at(seed, time_s)
    across, up = gaze_at(seed, time_s)
    yaw = turn + liveliness * (0.14 * wander(seed, "yaw", time_s, 0.45) + 0.03 * wander(seed, "yaw2", time_s, 1.6))
    pitch = nod + liveliness * (0.09 * wander(seed, "pitch", time_s, 0.6) + 0.03 * talk * wander(seed, "pitch2", time_s, 2.2))
    _add(actions, gaze(across - 0.55 * yaw, up + 0.6 * pitch))  # the eyes stay on the listener
    _add(actions, {"eyeBlinkLeft": blink, "eyeBlinkRight": blink})
    return View(
        actions={name: min(1.0, value) for name, value in actions.items()},
        yaw=yaw,
        pitch=pitch,
        roll=tilt + liveliness * 0.06 * wander(seed, "roll", time_s, 0.4),
        fov_deg=float(fov),
        scale=float(scale),
        offset_m=(0.004 * wander(seed, "camera x", time_s, 0.3), 0.003 * wander(seed, "camera z", time_s, 0.3)),
        light=light,
        background_seed=background,
        noise=noise,
        noise_seed=noise_seed(seed, index),
    )


def _add(actions: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        actions[name] = actions.get(name, 0.0) + value


def _mouth_at(seed: int, time_s: float, talk: float) -> dict[str, float]:
    """Visemes at five per second, each eased into the next."""
    x = time_s * 5.0 + 3.0
    first, share = math.floor(x), ease(x - math.floor(x))
    actions: dict[str, float] = {}
    for knot, weight in ((first, 1 - share), (first + 1, share)):
        number = int((knots(seed, "viseme")[knot % NUM_KNOTS] * 0.5 + 0.5) * len(_VISEMES)) % len(_VISEMES)
        force = 0.85 + 0.35 * knots(seed, "force")[knot % NUM_KNOTS]
        for name, value in _VISEMES[number].items():
            _add(actions, pair(name, value * weight * force * talk))
    return actions


# --- range of motion -----------------------------------------------------------------------------------------------------------


def _range(seed: int, index: int) -> View:
    """Independent frames with wide coverage of pose, expression, light, camera and background: for training."""
    draw = np.random.default_rng([24, seed, index])
    actions = _sample_expression(draw)
    lids = draw.uniform(0.6, 1.0) if draw.random() < 0.07 else draw.uniform(0, 0.15)
    _add(actions, {"eyeBlinkLeft": float(lids), "eyeBlinkRight": float(lids)})
    _add(actions, gaze(float(draw.normal(0, 0.28)), float(draw.normal(0, 0.18))))
    return View(
        actions={name: min(1.0, float(value)) for name, value in actions.items()},
        yaw=float(np.clip(draw.normal(0, 0.36), -1.0, 1.0)),
        pitch=float(np.clip(draw.normal(0, 0.15), -0.42, 0.42)),
        roll=float(np.clip(draw.normal(0, 0.09), -0.35, 0.35)),
        fov_deg=float(draw.uniform(16, 38)),
        scale=float(draw.uniform(0.92, 1.15)),
        offset_m=(float(draw.normal(0, 0.011)), float(draw.normal(0, 0.009))),
        light=sample_light(draw, gentle=draw.random() < 0.35),
        background_seed=int(draw.integers(2**31)),
        noise=float(draw.uniform(0.002, 0.010)),
        noise_seed=int(draw.integers(2**31)),
    )


def _sample_expression(draw: np.random.Generator) -> dict[str, float]:
    """Neutral, smile, surprise, frown, pucker, open round mouth, sneer, or a viseme."""
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
        return {key: value * (0.7 + 0.7 * a) for name, part in viseme.items() for key, value in pair(name, part).items()}
    else:
        pairs, single = {}, {}
    return (
        single | {f"{name}Left": value for name, value in pairs.items()} | {f"{name}Right": v * side for name, v in pairs.items()}
    )


# --- still ---------------------------------------------------------------------------------------------------------------------


def _still(seed: int, index: int) -> View:
    """A neutral studio portrait; the seed selects the background and, unless 0, the light."""
    return View(
        actions={"mouthSmileLeft": 0.16, "mouthSmileRight": 0.15, "browInnerUp": 0.12, "eyeBlinkLeft": 0.03, "eyeBlinkRight": 0.03},
        yaw=0.0,
        pitch=0.0,
        roll=0.0,
        fov_deg=22.0,
        scale=0.92,
        offset_m=(0.0, -0.004),
        light=sample_light(np.random.default_rng([25, seed]), gentle=True) if seed else studio(),
        background_seed=seed,
        noise=0.003,
        noise_seed=noise_seed(seed, index),
    )
