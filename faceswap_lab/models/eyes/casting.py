"""Who plays what in the pictures that the eyes learn from, and the sets of these pictures.

Unlike in performances, every one of the 52 actions occurs, alone and mixed with others, on one side of the face or on both; lids,
gaze and yaw spread evenly, and a quarter of the pictures have something held before the face.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from faceswap_lab.actors.performance.lights import LIGHTS, light_of
from faceswap_lab.actors.performance.motion import PAIRED, gaze
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.performance.props import PropKind, prop_of
from faceswap_lab.actors.performance.view import View
from faceswap_lab.actors.person.wear import Wears
from faceswap_lab.actors.splits import Split, split_of

_WEARS: tuple[Wears, ...] = ("none", "glasses", "sunglasses", "hat", "cap", "headscarf")
_WEAR_ODDS = (0.44, 0.23, 0.08, 0.08, 0.10, 0.07)
_HELD: tuple[PropKind, ...] = ("none", "hand", "microphone", "cup")
_HELD_ODDS = (0.74, 0.14, 0.06, 0.06)
_SINGLE = (
    "browInnerUp",
    "cheekPuff",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthFunnel",
    "mouthLeft",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "tongueOut",
)
_OPPOSED = (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight"))
_MAX_YAW, _MAX_PITCH, _MAX_ROLL = 1.45, 0.5, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class EyesSets:
    """The pictures: `num_train` actors from seed `first_train`, and `num_test` from `first_test` for the scores alone.

    Each has `num_views` views of `size` pixels; `per_part` actors are stored per file.
    The default seeds are far from the actors in notebooks and examples.
    """

    first_train: int = 300_000
    num_train: int = 1000
    first_test: int = 2_300_000
    num_test: int = 60
    num_views: int = 8
    size: int = 224
    per_part: int = 10

    def __post_init__(self) -> None:
        for name in ("num_train", "num_test", "num_views", "per_part"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for split in ("train", "test"):
            first, last = self.seeds(split)[0], self.seeds(split)[-1]
            if split_of(first) != split or split_of(last) != split:
                raise ValueError(f"actors {first}..{last} are not all of the split {split}")

    def seeds(self, split: str) -> range:
        """The actors of a split."""
        first: int = getattr(self, f"first_{split}")
        return range(first, first + int(getattr(self, f"num_{split}")))

    def parts(self, split: Split) -> dict[str, range]:
        """Names of the files with the pictures of a split, and the actors in each."""
        seeds = self.seeds(split)
        starts = enumerate(range(0, len(seeds), self.per_part))
        return {f"pictures/{split}-{number:04d}.safetensors": seeds[start : start + self.per_part] for number, start in starts}


def wears_of(seed: int) -> Wears:
    """What an actor wears in all views: a figure is built once for each."""
    return _WEARS[int(np.random.default_rng([102, seed]).choice(len(_WEARS), p=_WEAR_ODDS))]


def view_of(seed: int, number: int) -> View:
    """Pose, expression, gaze, light, camera and prop of an actor's view; independent of all other views."""
    draw = np.random.default_rng([101, seed, number])
    base = Performance(kind="range", seed=seed).view(number, 0.0)
    yaw = base.yaw if draw.random() < 0.55 else float(draw.uniform(-_MAX_YAW, _MAX_YAW))
    pitch = float(np.clip(base.pitch + draw.normal(0, 0.15), -_MAX_PITCH, _MAX_PITCH))
    held = _HELD[int(draw.choice(len(_HELD), p=_HELD_ODDS))]
    lit = LIGHTS[int(draw.integers(1, len(LIGHTS)))] if draw.random() < 0.4 else "auto"
    return replace(
        base,
        actions=_actions(dict(base.actions), yaw, pitch, draw),
        yaw=yaw,
        pitch=pitch,
        roll=float(np.clip(base.roll + draw.normal(0, 0.12), -_MAX_ROLL, _MAX_ROLL)),
        fov_deg=float(draw.uniform(30, 60)) if draw.random() < 0.15 else base.fov_deg,
        light=base.light if lit == "auto" else light_of(lit, seed * 8 + number, 0.0),
        prop=prop_of(held, seed, number, 0.0, still=True),
    )


def _actions(actions: dict[str, float], yaw: float, pitch: float, draw: np.random.Generator) -> dict[str, float]:
    """The performance's expression with up to four more actions, and its lids and gaze replaced."""
    for name in [name for name in actions if name.startswith(("eyeLook", "eyeBlink"))]:
        del actions[name]
    for _ in range(int(draw.choice(5, p=(0.3, 0.25, 0.2, 0.15, 0.1)))):
        actions |= _more(draw)
    for one, other in _OPPOSED:
        if one in actions and other in actions:
            del actions[one]
    if "mouthClose" in actions:  # it closes the lips of an open jaw
        actions["jawOpen"] = max(actions["mouthClose"], actions.get("jawOpen", 0.0))
    if "tongueOut" in actions:
        actions["jawOpen"] = max(0.35, actions.get("jawOpen", 0.0))
    actions |= _lids(draw)
    across, up = float(draw.normal(0, 0.4)), float(draw.normal(0, 0.3))
    if draw.random() < 0.3:  # on the camera, as far as the eyes can turn
        across, up = across * 0.2 - 1.1 * yaw, up * 0.2 + 1.1 * pitch
    actions |= gaze(float(np.clip(across, -1, 1)), float(np.clip(up, -1, 1)))
    return {name: float(min(1.0, max(0.0, value))) for name, value in actions.items()}


def _more(draw: np.random.Generator) -> dict[str, float]:
    number = int(draw.integers(len(PAIRED) + len(_SINGLE)))
    value = float(draw.uniform(0.15, 1.0))
    if number >= len(PAIRED):
        return {_SINGLE[number - len(PAIRED)]: value}
    name, kind = PAIRED[number], draw.random()
    left, right = (value, value * float(draw.uniform(0.8, 1.0))) if kind < 0.6 else (value, 0.0) if kind < 0.8 else (0.0, value)
    return {f"{name}Left": left, f"{name}Right": right}


def _lids(draw: np.random.Generator) -> dict[str, float]:
    """Open in seven of ten pictures, at any height in two, winking in one."""
    kind = draw.random()
    left = float(draw.uniform(0, 0.15) if kind < 0.7 else draw.uniform(0.1, 1.0))
    right = float(draw.uniform(0, 1.0)) if kind > 0.92 else left
    return {"eyeBlinkLeft": left, "eyeBlinkRight": right}


def is_profile(yaw: float) -> bool:
    """Whether a face counts as seen in profile: turned by 45 degrees or more."""
    return abs(yaw) >= math.pi / 4
