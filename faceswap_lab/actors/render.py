"""Renders a figure in a view: picture and ground truth together.

Convention: the world has x to the frame's right, y away from the camera, z up, in metres; the camera looks along y. Pictures have
(x, y) with the origin top left and pixel centres at integers. Everything is drawn `supersampling` times larger and averaged in
linear light. On the CPU the same figure and view give the same bits in every process.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from faceswap_lab.actors.backdrop import backdrop
from faceswap_lab.actors.figure import Figure
from faceswap_lab.actors.landmarks import keypoints5
from faceswap_lab.actors.perform import View
from faceswap_lab.actors.raster import Fragments, rasterise
from faceswap_lab.actors.rig import Rig, load_rig
from faceswap_lab.actors.shading import shade, surface_of
from faceswap_lab.faces.frame import Image

HEAD_CENTRE = (0.0, -0.075, 0.725)
HALF_FRAME_M = 0.145
_VISIBLE_WITHIN_M = 0.004


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rendered:
    """One picture and what is true of it.

    `landmarks68` and `keypoints5` are pixels; `visible68` says which landmarks no surface hides and lie inside the frame;
    `face_mask` is 0..1, where a face swap replaces the picture, antialiased; `depth` is metres along the camera's axis, inf where
    nothing is; `box` is x1 y1 x2 y2 of the face region. `head_to_camera` maps homogeneous points of the head at rest (rig axes:
    x to the subject's left, y backwards, z up) to the camera's frame (x right, y down, z forward); `camera` maps those to pixels.
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


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A figure's vertices in the world, their normals, and the head's rotation about the neck."""

    points: Float[Tensor, "v 3"]
    normals: Float[Tensor, "v 3"]
    turn: Float[Tensor, "3 3"]


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole at `place` that looks along y; `focal` in pixels of a picture of `size` rows and columns."""

    place: Float[Tensor, " 3"]
    focal: float
    size: int

    def project(self, points: Float[Tensor, "v 3"]) -> tuple[Float[Tensor, "v 2"], Float[Tensor, " v"]]:
        """Continuous pixel coordinates (the first pixel spans 0..1) and depth in metres."""
        offset = points - self.place
        depth = offset[:, 1]
        half = self.size / 2
        return torch.stack([offset[:, 0] / depth * self.focal + half, half - offset[:, 2] / depth * self.focal], 1), depth


def rotation(yaw: float, pitch: float, roll: float) -> Float[Tensor, "3 3"]:
    """Turns a head: roll first, then pitch, then yaw, in radians; positive to the subject's left and down."""
    (sy, sp, sr), (cy, cp, cr) = ([f(a) for a in (yaw, pitch, roll)] for f in (math.sin, math.cos))
    turn = torch.tensor([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]], dtype=torch.float64)
    nod = torch.tensor([[1.0, 0, 0], [0, cp, -sp], [0, sp, cp]], dtype=torch.float64)
    tilt = torch.tensor([[cr, 0, sr], [0, 1.0, 0], [-sr, 0, cr]], dtype=torch.float64)
    return (turn @ nod @ tilt).float()


def pose(rig: Rig, figure: Figure, view: View) -> Posed:
    """Applies the actions, then bends the neck: shoulders follow a third of the yaw and less of the rest, the head all of it."""
    device = figure.points.device
    points = figure.points.reshape(-1).clone()
    for name, value in view.actions.items():
        if value:
            points.add_(rig.actions[rig.action_names.index(name)], alpha=value)
    points = points.view(-1, 3) - rig.neck
    turn = rotation(view.yaw, view.pitch, view.roll).to(device)
    base = rotation(0.35 * view.yaw, 0.2 * view.pitch, 0.2 * view.roll).to(device)
    follow = rig.head_follow[:, None]
    points = (points @ turn.T) * follow + (points @ base.T) * (1 - follow) + rig.neck
    return Posed(points, rig.normals(points), turn)


def place_camera(rig: Rig, view: View, turn: Float[Tensor, "3 3"], size: int) -> Camera:
    """The camera that frames the head of `turn`; it depends on the view alone, never on who is filmed."""
    device = turn.device
    reach = math.tan(math.radians(view.fov_deg) / 2)
    centre = turn @ (torch.tensor(HEAD_CENTRE, device=device) - rig.neck) + rig.neck
    back = HALF_FRAME_M * view.scale / reach + 0.05
    across, up = view.offset_m
    return Camera(centre + torch.tensor([across, -back, up], device=device), 0.5 * size / reach, size)


def render(figure: Figure, view: View, *, size: int = 256, supersampling: int = 2) -> Rendered:
    """Picture and truth of one instant, `size` pixels square, on the figure's device."""
    rig = load_rig(str(figure.points.device))
    posed = pose(rig, figure, view)
    camera = place_camera(rig, view, posed.turn, size * supersampling)
    xy, depth = camera.project(posed.points)
    drawn = rasterise(
        xy[rig.wedge_vertex], depth[rig.wedge_vertex], rig.triangles(long_hair=figure.long_hair), size=(camera.size, camera.size)
    )
    surface = surface_of(rig, figure, drawn, points=posed.points, normals=posed.normals)
    colour = shade(
        rig, figure, view.light, surface, posed.points, posed.turn, camera.place, rows=_shadow_rows(size * supersampling)
    )
    image, face_mask = _resolve(drawn, colour, surface.face, view, size, supersampling)
    return _with_truth(rig, posed, camera, drawn, xy, depth, image=image, face_mask=face_mask, supersampling=supersampling)


def _shadow_rows(size: int) -> int:
    return min(512, max(192, size * 3 // 4))


def _resolve(drawn: Fragments, colour: Tensor, face: Tensor, view: View, size: int, times: int) -> tuple[Image, np.ndarray]:
    """Averages the samples, lays them over the background, then exposure, film curve and noise."""
    full = size * times
    layers = torch.zeros(full * full, 5, device=colour.device)
    layers[drawn.pixel] = torch.cat([colour, torch.ones_like(face)[:, None], face[:, None]], 1)
    layers = F.avg_pool2d(layers.view(full, full, 5).permute(2, 0, 1)[None], times)[0]
    behind = backdrop(view.background_seed, (size, size)).to(colour.device)
    linear = (layers[:3] + behind * (1 - layers[3])) * view.light.exposure
    generator = torch.Generator().manual_seed(view.noise_seed)
    grain = torch.randn((3, size, size), generator=generator).to(colour.device) * view.noise
    display = (film(linear) + grain).clamp(0, 1)
    image = (display * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().cpu().numpy()
    return image, layers[4].clamp(0, 1).cpu().numpy()


def film(linear: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
    """Scene light to display values: a soft shoulder, then the power 1/2.2."""
    scaled = linear * 0.74
    return ((scaled * (1 + scaled * 0.06)) / (1 + scaled * 0.36)).clamp(1e-6, 1.0) ** (1 / 2.2)


def _with_truth(
    rig: Rig,
    posed: Posed,
    camera: Camera,
    drawn: Fragments,
    xy: Tensor,
    depth: Tensor,
    *,
    image: Image,
    face_mask: np.ndarray,
    supersampling: int,
) -> Rendered:
    full, size = camera.size, camera.size // supersampling
    z_buffer = torch.full((full * full,), torch.inf, device=xy.device)
    z_buffer[drawn.pixel] = drawn.depth
    z_buffer = z_buffer.view(full, full)
    rows = rig.landmark_vertices
    landmarks = (xy[rows] / supersampling - 0.5).cpu().numpy()
    region = (xy[rig.face_weight > 0.5] / supersampling - 0.5).cpu().numpy()
    return Rendered(
        image=image,
        landmarks68=landmarks,
        keypoints5=keypoints5(landmarks),
        visible68=_visible(xy[rows], depth[rows], z_buffer).cpu().numpy(),
        face_mask=face_mask,
        depth=-F.max_pool2d(-z_buffer[None, None], supersampling)[0, 0].cpu().numpy(),
        box=np.concatenate([region.min(0).clip(0, size - 1), region.max(0).clip(0, size - 1)]),
        head_to_camera=_head_to_camera(rig, posed.turn, camera),
        camera=np.array([[camera.focal, 0, full / 2], [0, camera.focal, full / 2], [0, 0, supersampling]]) / supersampling
        - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]),
    )


def _visible(xy: Tensor, depth: Tensor, z_buffer: Tensor) -> Tensor:
    """Which points lie on the drawn surface: within a few millimetres of it at one of the 3 x 3 samples around them."""
    size = z_buffer.shape[0]
    column, row = xy.floor().long().unbind(1)
    inside = (xy >= 0).all(1) & (xy < size).all(1)
    on_surface = torch.zeros_like(inside)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            found = z_buffer[(row + down).clamp(0, size - 1), (column + across).clamp(0, size - 1)]
            on_surface |= (found - depth).abs() < _VISIBLE_WITHIN_M
    return inside & on_surface


def _head_to_camera(rig: Rig, turn: Tensor, camera: Camera) -> Float[np.ndarray, "4 4"]:
    world_to_camera = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    neck, place = rig.neck.cpu().numpy().astype(np.float64), camera.place.cpu().numpy().astype(np.float64)
    rotate = turn.cpu().numpy().astype(np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = world_to_camera @ rotate
    matrix[:3, 3] = world_to_camera @ (neck - rotate @ neck - place)
    return matrix
