"""One instant of a performance, as plain numbers: facial actions, head pose, camera and light."""

from collections.abc import Mapping
from dataclasses import dataclass

Colour = tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """A key light with soft shadows, an ambient dome, a fill and a rim light.

    `key_direction` points from the head to the light (world axes: x to the frame's right, y away from the camera, z up); colours
    are linear RGB; `softness` is the shadow filter's radius in texels of the shadow map; `ambient_low` is the ambient light from
    below. `ambient_right` is added to surfaces that face the frame's right and subtracted from those that face left, likewise
    `ambient_front` for those that face the camera. The fill light has the key's colour times `fill_colour`.
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
    """An object between face and camera: its centre before head rotation (world axes), and its tilt in radians."""

    kind: str
    position_m: Colour
    roll: float
    mirrored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One instant of a performance.

    `actions` are ARKit's facial actions by name, 0..1, including gaze (eyeLook*); yaw (positive: to the subject's left), pitch
    (positive: down) and roll are in radians; `fov_deg` is the camera's vertical field of view; `scale` widens the framing;
    `offset_m` moves the camera to the right and up. `noise` is the sensor's standard deviation, as a fraction of full range.
    `prop` is held in front of the face.
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
