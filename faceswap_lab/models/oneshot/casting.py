"""Who plays whom in the pictures that the one-shot swapper learns from.

Actors come in troupes of eight consecutive seeds. Every actor of a troupe performs a few views, and in each view some of the others
take the face: those are the true swaps. So a troupe's figures are built once, and every picture of an actor can serve as the source
of a swap onto any of the seven others.
"""

from dataclasses import dataclass, replace

import numpy as np

from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.performance.props import PropKind
from faceswap_lab.actors.performance.view import View
from faceswap_lab.actors.person.recast import Tone
from faceswap_lab.actors.person.wear import Wears
from faceswap_lab.actors.splits import split_of

TROUPE = 8
"""Actors that share their true swaps."""

_WIDE_YAW, _WIDE_PITCH = 1.05, 0.4
_WEARS: tuple[Wears, ...] = ("glasses", "sunglasses", "hat", "cap", "headscarf")
_WEAR_ODDS = (0.5, 0.12, 0.12, 0.16, 0.10)
_HELD: tuple[PropKind, ...] = ("none", "hand", "microphone", "cup")
_HELD_ODDS = (0.90, 0.06, 0.02, 0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class OneshotSets:
    """The pictures: `num_train` actors from seed `first_train` and `num_val` from `first_val`, whole troupes.

    Each actor performs `num_views` views of `size` pixels, and in each `num_sources` others of the troupe take its face;
    `target_tone` is the share of those that keep the target's skin tone.

    The default seeds are far from the actors in notebooks and examples, and from those of the pack.
    """

    first_train: int = 200_000
    num_train: int = 1200
    first_val: int = 1_200_000
    num_val: int = 40
    num_views: int = 4
    num_sources: int = 2
    size: int = 256
    target_tone: float = 0.3

    def __post_init__(self) -> None:
        if not 1 <= self.num_sources < TROUPE:
            raise ValueError(f"num_sources must be 1 to {TROUPE - 1}, got {self.num_sources}")
        if self.num_views < 2:
            raise ValueError(f"num_views must be at least 2 (one to show, one to swap), got {self.num_views}")
        if not 0 <= self.target_tone <= 1:
            raise ValueError(f"target_tone is a share, 0 to 1, got {self.target_tone}")
        for split, first, number in (("train", self.first_train, self.num_train), ("val", self.first_val, self.num_val)):
            if number < TROUPE or number % TROUPE:
                raise ValueError(f"num_{split} must be a multiple of {TROUPE}, got {number}")
            if split_of(first) != split or split_of(first + number - 1) != split:
                raise ValueError(f"actors {first}..{first + number - 1} are not all of the split {split}")

    def parts(self) -> dict[str, tuple[int, ...]]:
        """Names of the files with the pictures, and the troupe in each."""
        found = {}
        for split, first, number in (("val", self.first_val, self.num_val), ("train", self.first_train, self.num_train)):
            for start in range(first, first + number, TROUPE):
                found[f"pictures/{split}-{start}.safetensors"] = tuple(range(start, start + TROUPE))
        return found


def view_of(seed: int, number: int) -> View:
    """Pose, expression, light and camera of an actor's view: most face the camera, one in four with uniform yaw."""
    draw = np.random.default_rng([93, seed, number])
    held = _HELD[int(draw.choice(len(_HELD), p=_HELD_ODDS))]
    view = Performance(kind="range", seed=seed, prop=held).view(number, 0.0)
    if draw.random() < 0.25:
        view = replace(view, yaw=float(draw.uniform(-_WIDE_YAW, _WIDE_YAW)))
    return replace(view, pitch=float(np.clip(view.pitch + draw.normal(0, 0.08), -_WIDE_PITCH, _WIDE_PITCH)))


def wears_in(seed: int, number: int) -> Wears:
    """What an actor wears in a view: nothing in the first two; in the others three actors in ten wear something."""
    draw = np.random.default_rng([94, seed])
    dressed = draw.random() < 0.3
    chosen = _WEARS[int(draw.choice(len(_WEARS), p=_WEAR_ODDS))]
    return chosen if dressed and number >= 2 else "none"


def takers(sets: OneshotSets, member: int, number: int) -> tuple[tuple[int, Tone], ...]:
    """The members of a troupe (0..7) who take the face of `member` in a view, with the skin tone of each true swap.

    Over the views every other member gets his turn.
    """
    draw = np.random.default_rng([95, member, number])
    others = [(member + 1 + (number * sets.num_sources + k) % (TROUPE - 1)) % TROUPE for k in range(sets.num_sources)]
    return tuple((other, "target" if draw.random() < sets.target_tone else "source") for other in others)
