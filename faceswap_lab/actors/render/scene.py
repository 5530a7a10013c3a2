"""A figure in a view before shading: vertex positions, camera, and the visible surface at each sample.

Convention: the world has x to the frame's right, y away from the camera, z up, in metres; the camera looks along y. Image
coordinates are (x, y) with the origin top left and pixel centres at integers.
"""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.raster import rasterise
from faceswap_lab.actors.gfx.vectors import pick
from faceswap_lab.actors.head.rig import Rig, load_rig
from faceswap_lab.actors.performance.view import View
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.person.prop_mesh import mesh_of
from faceswap_lab.actors.render.compose import Stance, compose
from faceswap_lab.actors.render.surface import Surface

HEAD_CENTRE = (0.0, -0.075, 0.725)
HALF_FRAME_M = 0.145


@dataclass(frozen=True, slots=True, eq=False)
class Posed:
    """A figure's world-space vertices and normals, and the rotations of head and shoulders about the neck."""

    points: Float[Tensor, "v 3"]
    normals: Float[Tensor, "v 3"]
    turn: Float[Tensor, "3 3"]
    base: Float[Tensor, "3 3"]


@dataclass(frozen=True, slots=True, eq=False)
class Camera:
    """A pinhole camera at `position` looking along y; `focal` in pixels of an image of `size` rows and columns."""

    position: Float[Tensor, " 3"]
    focal: float
    size: int

    def project(self, points: Float[Tensor, "v 3"]) -> tuple[Float[Tensor, "v 2"], Float[Tensor, " v"]]:
        """Continuous pixel coordinates (the first pixel spans 0..1) and depth in metres."""
        offset = points - self.position
        depth = offset[:, 1]
        half = self.size / 2
        return torch.stack([offset[:, 0] / depth * self.focal + half, half - offset[:, 2] / depth * self.focal], 1), depth


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """What to render: cheap to store; everything else is derived from it."""

    figure: Figure
    view: View
    size: int
    supersampling: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawn:
    """A scene's geometry: vertices in world space and in (supersampled) screen space, and the visible samples.

    `surface` holds every rendered sample with its pixel and depth, of the mesh and of strands alike; `casters` are points of
    hair and accessories that cast shadows.
    """

    rig: Rig
    posed: Posed
    camera: Camera
    xy: Float[Tensor, "v 2"]
    depth: Float[Tensor, " v"]
    surface: Surface
    casters: Float[Tensor, "d 3"]


def rotation(yaw: float, pitch: float, roll: float) -> Float[Tensor, "3 3"]:
    """Head rotation matrix: roll first, then pitch, then yaw, in radians; positive to the subject's left and down."""
    (sy, sp, sr), (cy, cp, cr) = ([f(a) for a in (yaw, pitch, roll)] for f in (math.sin, math.cos))
    turn = torch.tensor([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]], dtype=torch.float64)
    nod = torch.tensor([[1.0, 0, 0], [0, cp, -sp], [0, sp, cp]], dtype=torch.float64)
    tilt = torch.tensor([[cr, 0, sr], [0, 1.0, 0], [-sr, 0, cr]], dtype=torch.float64)
    return (turn @ nod @ tilt).float()


def pose(rig: Rig, figure: Figure, view: View) -> Posed:
    """Applies the actions, then bends the neck: shoulders follow a third of the yaw and less of pitch and roll, the head all.

    Raises ValueError for an action that the rig does not have.
    """
    device = figure.points.device
    points = figure.points.reshape(-1).clone()
    for row, value in _rows(rig, view.actions):
        points.add_(rig.actions[row], alpha=value)
    points = points.view(-1, 3) - rig.neck
    turn = rotation(view.yaw, view.pitch, view.roll).to(device)
    base = rotation(0.35 * view.yaw, 0.2 * view.pitch, 0.2 * view.roll).to(device)
    follow = rig.head_follow[:, None]
    points = (points @ turn.T) * follow + (points @ base.T) * (1 - follow) + rig.neck
    return Posed(points, rig.normals(points), turn, base)


def _rows(rig: Rig, actions: Mapping[str, float]) -> list[tuple[int, float]]:
    known = {name: row for row, name in enumerate(rig.action_names)}
    for name in actions:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)[:3]
            raise ValueError(f"no action {name!r}; similar ones among the {len(known)} are {', '.join(near)}")
    return [(known[name], value) for name, value in actions.items() if value]


def place_camera(rig: Rig, view: View, turn: Float[Tensor, "3 3"], size: int) -> Camera:
    """The camera that frames a head rotated by `turn`; it depends on the view alone, never on the person."""
    device = turn.device
    reach = math.tan(math.radians(view.fov_deg) / 2)
    centre = turn @ (torch.tensor(HEAD_CENTRE, device=device) - rig.neck) + rig.neck
    back = HALF_FRAME_M * view.scale / reach + 0.05
    across, up = view.offset_m
    return Camera(centre + torch.tensor([across, -back, up], device=device), 0.5 * size / reach, size)


def draw(scene: Scene) -> Drawn:
    """Poses the figure, places the camera and finds the visible surface at every sample."""
    figure, view = scene.figure, scene.view
    rig = load_rig(str(figure.points.device))
    posed = pose(rig, figure, view)
    camera = place_camera(rig, view, posed.turn, scene.size * scene.supersampling)
    xy, depth = camera.project(posed.points)
    wedges, tri = rig.wedge_vertex, rig.triangles(long_hair=figure.long_hair)
    fragments = rasterise(pick(xy, wedges), pick(depth, wedges), tri, size=(camera.size, camera.size))
    stance = Stance(
        points=posed.points,
        normals=posed.normals,
        turn=posed.turn,
        base=posed.base,
        project=camera.project,
        size=camera.size,
        sample_m=(HEAD_CENTRE[1] - float(camera.position[1])) / camera.focal,
        held=None if view.prop is None else mesh_of(view.prop, figure.skin),
    )
    surface, casters = compose(rig, figure, stance, fragments, view.actions)
    return Drawn(rig=rig, posed=posed, camera=camera, xy=xy, depth=depth, surface=surface, casters=casters)


def travel(before: View, after: View, *, size: int) -> float:
    """Largest landmark displacement of the template head between two views, in pixels; independent of the actor."""
    rig = load_rig()
    places = []
    for view in (before, after):
        moved = rig.template.reshape(-1).clone()
        for row, value in _rows(rig, view.actions):
            moved.add_(rig.actions[row], alpha=value)
        turn = rotation(view.yaw, view.pitch, view.roll)
        points = (moved.view(-1, 3)[rig.landmark_vertices] - rig.neck) @ turn.T + rig.neck
        places.append(place_camera(rig, view, turn, size).project(points)[0])
    return float((places[1] - places[0]).norm(dim=1).max())


def head_to_camera(drawn: Drawn) -> Float[np.ndarray, "4 4"]:
    """Matrix from homogeneous points of the head at rest (rig axes) to the camera's frame (x right, y down, z forward)."""
    world_to_camera = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    neck, position = (t.cpu().numpy().astype(np.float64) for t in (drawn.rig.neck, drawn.camera.position))
    rotate = drawn.posed.turn.cpu().numpy().astype(np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = world_to_camera @ rotate
    matrix[:3, 3] = world_to_camera @ (neck - rotate @ neck - position)
    return matrix


def camera_matrix(drawn: Drawn, supersampling: int) -> Float[np.ndarray, "3 3"]:
    """Intrinsic matrix: camera's frame to pixels of the final image."""
    full, focal = drawn.camera.size, drawn.camera.focal
    matrix = np.array([[focal, 0, full / 2], [0, focal, full / 2], [0, 0, supersampling]]) / supersampling
    return np.asarray(matrix - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
