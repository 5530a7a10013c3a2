"""Props that occlude the face, as data: a hand, a microphone, a cup.

A prop belongs to the performance, not to the person.
"""

from typing import Literal, get_args

import numpy as np

from faceswap_lab.actors.performance.motion import wander
from faceswap_lab.actors.performance.view import Prop

PropKind = Literal["none", "hand", "microphone", "cup"]


PROPS: tuple[PropKind, ...] = get_args(PropKind)


def check_prop(kind: str) -> PropKind:
    """Returns `kind`; raises ValueError listing the known props if it is unknown."""
    if kind not in PROPS:
        raise ValueError(f"no prop {kind!r}; choose from {', '.join(PROPS)}")
    return kind


def prop_of(kind: PropKind, seed: int, index: int, time_s: float, *, still: bool) -> Prop | None:
    """The prop at one instant: drifts a few centimetres over time, or, if `still`, is sampled anew for each frame."""
    if kind == "none":
        return None
    draw = np.random.default_rng([81, *kind.encode(), seed, index if still else 0])
    side = -1.0 if draw.random() < 0.5 else 1.0
    drift = [0.0 if still else wander(seed, f"prop {axis}", time_s, 0.5) for axis in "xyz"]
    if kind == "hand":
        position = (side * draw.uniform(0.01, 0.055), -0.205, draw.uniform(0.655, 0.725))
        roll = side * draw.uniform(0.15, 0.75)
    elif kind == "microphone":
        position = (side * draw.uniform(0.0, 0.03), -0.225, draw.uniform(0.635, 0.660))
        roll = side * draw.uniform(0.1, 0.7)
    else:
        position = (side * draw.uniform(0.0, 0.02), -0.245, draw.uniform(0.635, 0.655))
        roll = side * draw.uniform(0.0, 0.2)
    x, y, z = (float(at + reach * shift) for at, reach, shift in zip(position, (0.03, 0.008, 0.025), drift, strict=True))
    return Prop(kind=kind, position_m=(x, y, z), roll=float(roll), mirrored=side > 0)
