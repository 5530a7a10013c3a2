"""One instant of a performance, as plain numbers: what the face does, how it is filmed and how it is lit."""

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """One key light with soft shadows over an ambient dome, a fill and a rim.

    `key_direction` points from the head to the light (world axes: x to the frame's right, y away from the camera, z up); colours
    are linear RGB; `softness` is the blur of shadows in texels of the shadow map; `ambient_low` is what comes from below.
    The surroundings add `ambient_right` to what faces the frame's right and take it from what faces left, and `ambient_front`
    to what faces the camera. The fill has the key's colour times `fill_colour`.
    """

    key_direction: Colour
    key_colour: Colour
    softness: float
    ambient_high: Colour
    ambient_low: Colour
    fill: float
    rim: float
    exposure: float
    ambient_right: Colour = (0.0, 0.0, 0.0)
    ambient_front: Colour = (0.0, 0.0, 0.0)
    fill_colour: Colour = (1.0, 1.0, 1.0)
    rim_colour: Colour = (1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prop:
    """Something between the face and the camera: its middle before the head turns (world axes), and its tilt in radians."""

    kind: str
    position_m: Colour
    roll: float
    mirrored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One instant of a performance.

    `actions` are ARKit's facial actions by name, 0..1, gaze included (eyeLook*); yaw (positive: the subject turns to its own left),
    pitch (positive: down) and roll are radians; `fov_deg` is the camera's vertical field of view; `scale` widens the
    framing; offsets move the camera in metres to the right and up. `noise` is the sensor's, in linear shares of full range.
    `prop` is what is held in front of the face.
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
    prop: Prop | None = None
