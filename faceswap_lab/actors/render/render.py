"""Renders a figure in a view: image and ground truth together.

Convention: as in `scene`. Everything is rendered `supersampling` times larger and averaged in linear light. On the CPU, output is
bit-identical in every process for the same figure and view.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import fetch
from faceswap_lab.actors.gfx.vectors import pick
from faceswap_lab.actors.head.landmarks68 import keypoints5
from faceswap_lab.actors.performance.view import Light, View
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.render import truth_maps as truths
from faceswap_lab.actors.render.backdrop import backdrop
from faceswap_lab.actors.render.scene import (
    Camera,
    Drawn,
    Posed,
    Scene,
    camera_matrix,
    draw,
    head_to_camera,
    place_camera,
    pose,
    rotation,
)
from faceswap_lab.actors.render.shading import shade
from faceswap_lab.errors import DeviceError
from faceswap_lab.faces.frame import Image

__all__ = ["Camera", "Posed", "Rendered", "check_memory", "film", "place_camera", "pose", "render", "rotation"]

_BYTES_PER_SAMPLE = 700
"""Peak memory per rendered sample, measured at 512 and 1024 pixels with some margin."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rendered:
    """One image and its ground truth.

    `landmarks68` and `keypoints5` are in pixels; `visible68` marks landmarks that are unoccluded and inside the frame; `face_mask`
    (0..1, antialiased) is where a face swap replaces the image; `depth` is in metres along the camera's axis, inf for background;
    `box` is x1 y1 x2 y2 of the face region. `head_to_camera` maps homogeneous points of the head at rest (rig axes: x to the
    subject's left, y backwards, z up) to the camera's frame (x right, y down, z forward); `camera` maps those to pixels.
    Properties are computed when read. With motion blur, the ground truth is that of the middle of the exposure, except
    `face_mask`, which is blurred like the image.
    """

    image: Image
    landmarks68: Float[np.ndarray, "68 2"]
    keypoints5: Float[np.ndarray, "5 2"]
    visible68: Bool[np.ndarray, " 68"]
    face_mask: Float[np.ndarray, "h w"]
    depth: Float[np.ndarray, "h w"]
    box: Float[np.ndarray, " 4"]
    head_to_camera: Float[np.ndarray, "4 4"]
    camera: Float[np.ndarray, "3 3"]
    scene: Scene

    @property
    def maps(self) -> truths.Maps:
        """Labels, normals and albedo of every pixel; cost about as much as the image, cached for the last two scenes."""
        return truths.maps_of(self.scene)

    @property
    def actions(self) -> dict[str, float]:
        """All 52 facial actions by name, 0..1."""
        return truths.actions_of(self.scene)

    @property
    def head_pose(self) -> truths.HeadPose:
        """Yaw, pitch and roll of the head in radians, from the view."""
        view = self.scene.view
        return truths.HeadPose(yaw=view.yaw, pitch=view.pitch, roll=view.roll)

    @property
    def gaze(self) -> Float[np.ndarray, "2 3"]:
        """Gaze directions of the right and the left eye as unit vectors in the camera's frame (x right, y down, z forward)."""
        return truths.gaze_of(self.scene)

    @property
    def light(self) -> Light:
        """The light of the view."""
        return self.scene.view.light

    def points(self, point_set: int) -> truths.Points:
        """Landmarks of a point set (5, 68, 106 or 468) and their visibility. Raises ValueError for any other."""
        return truths.points_of(self.scene, point_set)


def check_memory(size: int, supersampling: int = 2) -> None:
    """Raises DeviceError if an image with this side would not fit into the machine's memory."""
    needed = (size * supersampling) ** 2 * _BYTES_PER_SAMPLE
    if needed > (available := _memory_bytes()):
        raise DeviceError(
            expected=f"{needed / 2**30:.1f} GB of memory for an image of {size} pixels",
            got=f"{available / 2**30:.1f} GB",
            remedy="render smaller",
        )


def _memory_bytes() -> float:
    """The machine's memory in bytes; infinite if the system does not report it."""
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= set(names):
        return math.inf
    return float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


@torch.inference_mode()
def render(figure: Figure, view: View, *, size: int = 256, supersampling: int = 2, exposure: Sequence[View] = ()) -> Rendered:
    """Renders image and ground truth of one instant, `size` pixels square, on the figure's device.

    With `exposure` (views over the time the shutter is open), the image is their mean in linear light; the truth is that of `view`.
    """
    check_memory(size, supersampling)
    scene = Scene(figure=figure, view=view, size=size, supersampling=supersampling)
    drawn = draw(scene, noise=True)
    if exposure:
        subframes = [Scene(figure=figure, view=each, size=size, supersampling=supersampling) for each in exposure]
        layers = torch.stack([_layers(subframe, draw(subframe)) for subframe in subframes]).mean(0)
    else:
        layers = _layers(scene, drawn)
    return _with_truth(scene, drawn, *_develop(layers, view, drawn.noise))


def _layers(scene: Scene, drawn: Drawn) -> Float[Tensor, "5 s s"]:
    """Per pixel, averaged over samples: radiance, coverage and weight of the swapped face."""
    figure, light, rig, posed = scene.figure, scene.view.light, drawn.rig, drawn.posed
    surface = drawn.surface
    rows = _shadow_rows(drawn.camera.size)
    eye, lamp = drawn.camera.position, drawn.lamp
    colour = shade(rig, figure, light, surface, posed.points, posed.turn, eye, lamp=lamp, rows=rows, casters=drawn.casters)
    layers = torch.zeros(5, drawn.camera.size**2, device=colour.device)
    for layer, values in zip(layers, [*colour, torch.ones_like(surface.face), surface.face], strict=True):
        layer.scatter_(0, surface.pixel, values)
    # Summing strided slices is several times faster than pooling.
    times = scene.supersampling
    cells = layers.view(5, scene.size, times, scene.size, times)
    total = cells[:, :, 0, :, 0].clone()
    for k in range(1, times * times):
        total += cells[:, :, k // times, :, k % times]
    return total.div_(times * times)


def _shadow_rows(size: int) -> int:
    return min(512, max(192, size * 3 // 4))


def _develop(
    layers: Float[Tensor, "5 s s"], view: View, noise: Float[Tensor, "3 s s"] | None
) -> tuple[UInt8[Tensor, "s s 3"], Float[Tensor, "s s"]]:
    """Composites the figure over the background, then applies exposure, film curve and noise: image and face mask."""
    behind = backdrop(view.background_seed, (layers.shape[1], layers.shape[2]), layers.device)
    display = film((layers[:3] + behind * (1 - layers[3])) * view.light.exposure)
    if noise is not None:
        display = display + noise * view.noise
    return (display.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous(), layers[4].clamp(0, 1)


def film(linear: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Tone maps linear light to display values: a soft shoulder, then gamma 1/2.2."""
    scaled = linear * 0.74
    return ((scaled * (1 + scaled * 0.06)) / (1 + scaled * 0.36)).clamp(1e-6, 1.0) ** (1 / 2.2)


def _with_truth(scene: Scene, drawn: Drawn, image: UInt8[Tensor, "s s 3"], face_mask: Float[Tensor, "s s"]) -> Rendered:
    rig, times = drawn.rig, scene.supersampling
    z_buffer, rows = truths.depth_buffer(drawn), rig.landmark_vertices
    image_, mask, landmarks, region, visible, depth = fetch(
        image,
        face_mask,
        drawn.xy[rows] / times - 0.5,
        pick(drawn.xy, rig.face_vertices) / times - 0.5,
        truths.visible(drawn, drawn.xy[rows], drawn.depth[rows]),
        -F.max_pool2d(-z_buffer[None, None], times)[0, 0],
    )
    return Rendered(
        image=image_,
        landmarks68=landmarks,
        keypoints5=keypoints5(landmarks),
        visible68=visible,
        face_mask=mask,
        depth=depth,
        box=np.concatenate([region.min(0).clip(0, scene.size - 1), region.max(0).clip(0, scene.size - 1)]),
        head_to_camera=head_to_camera(drawn),
        camera=camera_matrix(drawn, times),
        scene=scene,
    )
