"""Acted performances: sequences of emotions, turns to profile, and fast motion; continuous in time."""

import math
from collections.abc import Mapping
from typing import Literal

import numpy as np

from faceswap_lab.actors.performance.lights import sample_light
from faceswap_lab.actors.performance.motion import blink_at, ease, gaze, gaze_at, knots, noise_seed, pair, wander
from faceswap_lab.actors.performance.view import View

Acted = Literal["acted", "turn", "fast"]

PROFILE_YAW = 1.5
"""Maximum yaw of a turn, in radians: 86 degrees."""

EMOTIONS: Mapping[str, Mapping[str, float]] = {
    "calm": {},
    "joy": {"mouthSmile": 0.75, "cheekSquint": 0.5, "mouthUpperUp": 0.2, "jawOpen": 0.10, "eyeSquint": 0.2},
    "laughter": {"mouthSmile": 0.85, "cheekSquint": 0.7, "mouthUpperUp": 0.35, "jawOpen": 0.34, "eyeSquint": 0.45},
    "sadness": {"mouthFrown": 0.6, "browInnerUp": 0.75, "mouthShrugLower": 0.3, "eyeSquint": 0.25},
    "anger": {"browDown": 0.85, "mouthPress": 0.5, "noseSneer": 0.35, "eyeSquint": 0.35, "jawForward": 0.15},
    "surprise": {"browInnerUp": 0.75, "browOuterUp": 0.8, "eyeWide": 0.8, "jawOpen": 0.45},
    "fear": {"browInnerUp": 0.85, "browOuterUp": 0.3, "eyeWide": 0.7, "mouthStretch": 0.5, "jawOpen": 0.15},
    "disgust": {"noseSneer": 0.75, "mouthUpperUp": 0.5, "browDown": 0.4, "mouthFrown": 0.25, "cheekSquint": 0.3},
    "doubt": {"browOuterUpLeft": 0.7, "browDownRight": 0.5, "mouthPress": 0.25, "mouthSmileLeft": 0.3},
    "effort": {"eyeBlink": 0.55, "browDown": 0.5, "mouthPress": 0.6, "cheekSquint": 0.5, "mouthStretch": 0.2},
}
_NAMES = tuple(EMOTIONS)
_BEAT_S, _CHANGE_S = 1.7, 0.45


def view_of(kind: Acted, seed: int, index: int, time_s: float) -> View:
    """The view at one instant; `index` only seeds the sensor noise."""
    draw = np.random.default_rng([27, *kind.encode(), seed])
    light = sample_light(draw, gentle=kind != "fast")
    fov, scale = float(draw.uniform(18, 34)), float(draw.uniform(1.0, 1.15))
    background, noise = int(draw.integers(2**31)), float(draw.uniform(0.002, 0.007))
    yaw, pitch, roll, actions = _PARTS[kind](seed, time_s, draw)
    blink = max(actions.pop("eyeBlink", 0.0), blink_at(seed, time_s))
    across, up = gaze_at(seed, time_s)
    hold = 0.55 * min(1.0, 0.9 / max(abs(yaw), 1e-6))  # the eyes stay on the camera as far as they can turn
    actions |= gaze(across - hold * yaw, up + 0.6 * pitch) | {"eyeBlinkLeft": blink, "eyeBlinkRight": blink}
    shake = 0.012 if kind == "fast" else 0.003
    return View(
        actions={name: min(1.0, max(0.0, value)) for name, value in actions.items()},
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        fov_deg=fov,
        scale=scale * (1.08 if kind == "turn" else 1.0),
        offset_m=(shake * wander(seed, "camera x", time_s, 0.8), shake * wander(seed, "camera z", time_s, 0.8)),
        light=light,
        background_seed=background,
        noise=noise,
        noise_seed=noise_seed(seed, index),
    )


def emotion_at(seed: int, time_s: float) -> tuple[str, str, float]:
    """(previous, current, weight of current) emotion; each is held for a beat, with a transition of under half a second."""
    beat = math.floor(time_s / _BEAT_S)
    share = ease((time_s - beat * _BEAT_S) / _CHANGE_S)
    return _emotion(seed, beat - 1), _emotion(seed, beat), share


def _emotion(seed: int, beat: int) -> str:
    """Calm on every third beat, the others in random order."""
    if beat % 3 == 2 or beat < 0:
        return "calm"
    series = knots(seed, "emotion")
    return _NAMES[1 + int((series[beat % len(series)] * 0.5 + 0.5) * (len(_NAMES) - 1)) % (len(_NAMES) - 1)]


def _face(name: str, force: float) -> dict[str, float]:
    actions: dict[str, float] = {}
    for part, value in EMOTIONS[name].items():
        actions |= pair(part, value * force)
    return actions


def _mixed(one: Mapping[str, float], other: Mapping[str, float], share: float) -> dict[str, float]:
    return {name: (1 - share) * one.get(name, 0.0) + share * other.get(name, 0.0) for name in sorted({*one, *other})}


_NODS = {"joy": (0.02, 0.05), "laughter": (-0.10, 0.06), "sadness": (0.16, 0.05), "anger": (0.09, 0.0), "surprise": (-0.09, 0.0)}
_NODS |= {"fear": (-0.07, -0.03), "disgust": (-0.05, 0.07), "doubt": (0.02, 0.10), "effort": (0.08, 0.0)}
"""Pitch and roll that accompany an emotion, in radians."""


def _acted(seed: int, time_s: float, draw: np.random.Generator) -> tuple[float, float, float, dict[str, float]]:
    before, now, share = emotion_at(seed, time_s)
    force = float(draw.uniform(0.75, 1.0))
    actions = _mixed(_face(before, force), _face(now, force), share)
    if laugh := (1 - share) * (before == "laughter") + share * (now == "laughter"):
        actions["jawOpen"] *= 1 + 0.35 * laugh * math.sin(2 * math.pi * 4.2 * time_s)
    lean = [(1 - share) * one + share * other for one, other in zip(_NODS.get(before, (0, 0)), _NODS.get(now, (0, 0)), strict=True)]
    yaw = float(draw.uniform(-0.3, 0.3)) + 0.22 * wander(seed, "yaw", time_s, 0.5)
    pitch = lean[0] + 0.07 * wander(seed, "pitch", time_s, 0.7)
    return yaw, pitch, lean[1] + 0.06 * wander(seed, "roll", time_s, 0.4), actions


def _turn(seed: int, time_s: float, draw: np.random.Generator) -> tuple[float, float, float, dict[str, float]]:
    """From profile to profile and back, with short pauses at both ends and in frontal view."""
    period = float(draw.uniform(6.0, 9.0))
    phase = (time_s / period + float(draw.random())) % 1.0
    wave = 4 * abs(phase - 0.5) - 1  # a triangle wave, -1..1
    away = abs(wave)
    yaw = PROFILE_YAW * math.copysign(ease((away - 0.06) / 0.86), wave)
    smile = 0.12 + 0.12 * wander(seed, "smile", time_s, 0.4)
    actions = pair("mouthSmile", max(0.0, smile)) | {"jawOpen": max(0.0, 0.12 * wander(seed, "jaw", time_s, 1.2))}
    return yaw, 0.06 * wander(seed, "pitch", time_s, 0.5), 0.05 * wander(seed, "roll", time_s, 0.4), actions


def _fast(seed: int, time_s: float, draw: np.random.Generator) -> tuple[float, float, float, dict[str, float]]:
    """Bursts of head shaking, nodding and swaying, up to about six radians per second."""
    rate = float(draw.uniform(1.6, 2.6))
    burst = ease(0.5 + 1.6 * wander(seed, "burst", time_s, 0.7))
    which = wander(seed, "which", time_s, 0.5)
    shake, nod = ease(0.5 + 1.5 * which), ease(0.5 - 1.5 * which)
    turn = 2 * math.pi * rate * time_s
    yaw = 0.10 * wander(seed, "yaw", time_s, 0.8) + 0.40 * burst * shake * math.sin(turn)
    pitch = 0.05 * wander(seed, "pitch", time_s, 0.8) + 0.22 * burst * nod * math.sin(turn)
    roll = 0.10 * burst * math.sin(0.5 * turn)
    before, now, share = emotion_at(seed, time_s)
    return yaw, pitch, roll, _mixed(_face(before, 0.6), _face(now, 0.6), share)


_PARTS = {"acted": _acted, "turn": _turn, "fast": _fast}
