"""Smooth random functions of time and the motion built from them: blinks, gaze, head movement."""

import math
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from faceswap_lab.faces.scratch import read_only

NUM_KNOTS = 1024
PAIRED = (
    "browDown",
    "browOuterUp",
    "cheekSquint",
    "eyeSquint",
    "eyeWide",
    "mouthDimple",
    "mouthFrown",
    "mouthLowerDown",
    "mouthPress",
    "mouthSmile",
    "mouthStretch",
    "mouthUpperUp",
    "noseSneer",
)
"""Actions that there are of both sides of the face, apart from those of the eyes."""


@lru_cache(maxsize=512)
def knots(seed: int, channel: str) -> Float[np.ndarray, " n"]:
    """Uniform random numbers in -1..1, one series per named channel of a seed."""
    return read_only(np.random.default_rng([21, seed, *channel.encode()]).uniform(-1, 1, NUM_KNOTS))


def wander(seed: int, channel: str, time_s: float, rate_hz: float) -> float:
    """Zero-mean cubic B-spline noise within -1..1 that changes direction about `rate_hz` times per second."""
    x = time_s * rate_hz + 7.0
    start = math.floor(x)
    t = x - start
    a, b, c, d = (knots(seed, channel)[(start + k) % NUM_KNOTS] for k in range(-1, 3))
    return float(((1 - t) ** 3 * a + (3 * t**3 - 6 * t**2 + 4) * b + (-3 * t**3 + 3 * t**2 + 3 * t + 1) * c + t**3 * d) / 6)


def ease(x: float) -> float:
    """Smoothstep: 0 below 0, 1 above 1, smooth between."""
    x = min(1.0, max(0.0, x))
    return x * x * (3 - 2 * x)


def pair(name: str, value: float) -> dict[str, float]:
    """An action on both sides of the face, if it is a paired one."""
    return {name + "Left": value, name + "Right": value} if name in PAIRED else {name: value}


def gaze(across: float, up: float) -> dict[str, float]:
    """Actions that turn both eyes to the subject's left (`across` > 0) and up (`up` > 0), each -1..1."""
    out, inward = ("Left", "Right") if across > 0 else ("Right", "Left")
    way = "Up" if up > 0 else "Down"
    turn, lift = min(1.0, abs(across)), min(1.0, abs(up))
    return {f"eyeLookOut{out}": turn, f"eyeLookIn{inward}": turn, f"eyeLook{way}Left": lift, f"eyeLook{way}Right": lift}


def blink_at(seed: int, time_s: float) -> float:
    """Closed in 0.1 s, open again in 0.2 s, every two to five seconds."""
    start, closed = 0.4 + 0.8 * (1 + knots(seed, "blink")[0]), 0.0
    for k in range(1, NUM_KNOTS):
        if start > time_s:
            break
        since = time_s - start
        closed = max(closed, ease(since / 0.11) * (1 - ease((since - 0.13) / 0.2)))
        start += 3.4 + 1.6 * knots(seed, "blink")[k]
    return closed


def gaze_at(seed: int, time_s: float) -> tuple[float, float]:
    """Gaze (across, up): fixations of 0.7 s with saccades of about 60 ms between them."""
    x = time_s / 0.7
    knot = math.floor(x)
    share = ease((x - knot) * 0.7 / 0.06)
    place = []
    for channel, reach in (("gaze x", 0.22), ("gaze z", 0.12)):
        before, after = knots(seed, channel)[(knot - 1) % NUM_KNOTS], knots(seed, channel)[knot % NUM_KNOTS]
        place.append(float(reach * (before + (after - before) * share)))
    return place[0], place[1]


def noise_seed(seed: int, index: int) -> int:
    """The seed of one frame's sensor noise."""
    return int(np.random.default_rng([23, seed, index]).integers(2**31))
