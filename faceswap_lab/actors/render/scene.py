"""A figure in a view before shading: vertex positions, camera, and the visible surface at each sample.

Convention: the world has x to the frame's right, y away from the camera, z up, in metres; the camera looks along y. Image
coordinates are (x, y) with the origin top left and pixel centres at integers.
"""

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.raster import rasterise
from faceswap_lab.actors.gfx.transfer import constant, send
from faceswap_lab.actors.gfx.vectors import pick
from faceswap_lab.actors.head.rig import Rig, load_rig
from faceswap_lab.actors.performance.view import View
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.person.prop_mesh import Held, Placed, held, placed
from faceswap_lab.actors.render.compose import Stance, compose
from faceswap_lab.actors.render.lamp import Lamp
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
    hair and accessories that cast shadows; `lamp` is the light on the device, `noise` that of the
    image if asked for, `instant` the view's numbers on the host.
    """

    rig: Rig
    posed: Posed
    camera: Camera
    xy: Float[Tensor, "v 2"]
    depth: Float[Tensor, " v"]
    surface: Surface
    casters: Float[Tensor, "d 3"]
    lamp: Lamp
    noise: Float[Tensor, "3 n n"] | None
    instant: "Instant"


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
    turn, base = send(figure.points.device, *_turns(view))
    return _posed(rig, figure, view, turn, base)


def _turns(view: View) -> tuple[Tensor, Tensor]:
    """Rotations of head and shoulders, on the host."""
    turn = rotation(view.yaw, view.pitch, view.roll)
    return turn, rotation(0.35 * view.yaw, 0.2 * view.pitch, 0.2 * view.roll)


def _posed(rig: Rig, figure: Figure, view: View, turn: Tensor, base: Tensor) -> Posed:
    points = figure.points.reshape(-1).clone()
    for row, value in _rows(rig, view.actions):
        points.add_(rig.actions[row], alpha=value)
    points = points.view(-1, 3) - rig.neck
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
    reach = math.tan(math.radians(view.fov_deg) / 2)
    centre = turn @ (constant(HEAD_CENTRE, turn.device) - rig.neck) + rig.neck
    back = HALF_FRAME_M * view.scale / reach + 0.05
    across, up = view.offset_m
    return Camera(centre + torch.tensor([across, -back, up], device=turn.device), 0.5 * size / reach, size)


def draw(scene: Scene, *, noise: bool = False) -> Drawn:
    """Poses the figure, places the camera and finds the visible surface at every sample; with `noise`, draws the view's too."""
    figure, view = scene.figure, scene.view
    rig, device = load_rig(str(figure.points.device)), figure.points.device
    instant = _instant(scene)
    grain = _noise(scene) if noise and view.noise else torch.empty(0)
    fixed = (instant.turn, instant.base, instant.camera.position, grain, *instant.lamp.tensors())
    turn, base, position, grain, *rest = send(device, *fixed, *instant.prop_tensors())
    posed = _posed(rig, figure, view, turn, base)
    camera = replace(instant.camera, position=position)
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
        sample_m=(HEAD_CENTRE[1] - float(instant.camera.position[1])) / camera.focal,
        held=instant.held(view, rest[-3:], figure.skin),
    )
    surface, casters = compose(rig, figure, stance, fragments, view.actions)
    return Drawn(
        rig=rig,
        posed=posed,
        camera=camera,
        xy=xy,
        depth=depth,
        surface=surface,
        casters=casters,
        lamp=instant.lamp.of(rest),
        noise=grain if grain.numel() else None,
        instant=instant,
    )


def _noise(scene: Scene) -> Float[Tensor, "3 s s"]:
    """The view's sensor noise, of unit variance. Drawn on the host, so that it is the same on every device."""
    generator = torch.Generator().manual_seed(scene.view.noise_seed)
    return torch.randn((3, scene.size, scene.size), generator=generator)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Instant:
    """What of a view is a few numbers, in host memory: computed there, and sent to the device in one upload."""

    turn: Float[Tensor, "3 3"]
    base: Float[Tensor, "3 3"]
    camera: Camera
    lamp: Lamp
    prop: Placed | None

    def prop_tensors(self) -> tuple[Tensor, ...]:
        """The tensors of the prop, if there is one."""
        return () if self.prop is None else (self.prop.points, self.prop.normals, self.prop.posed)

    def held(self, view: View, sent: Sequence[Tensor], skin: Float[Tensor, " 3"]) -> Held | None:
        """The prop on the device, where its tensors were `sent`."""
        if self.prop is None or view.prop is None:
            return None
        points, normals, posed = sent
        return held(view.prop, replace(self.prop, points=points, normals=normals, posed=posed), skin)


def _instant(scene: Scene) -> Instant:
    view, rig = scene.view, load_rig()
    turn, base = _turns(view)
    camera = place_camera(rig, view, turn, scene.size * scene.supersampling)
    prop = None if view.prop is None else placed(view.prop, turn, rig.neck)
    return Instant(turn=turn, base=base, camera=camera, lamp=Lamp.from_light(view.light), prop=prop)


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
    instant = drawn.instant
    neck, position = (t.numpy().astype(np.float64) for t in (load_rig().neck, instant.camera.position))
    rotate = instant.turn.numpy().astype(np.float64)
    matrix = np.eye(4)
    matrix[:3, :3] = world_to_camera @ rotate
    matrix[:3, 3] = world_to_camera @ (neck - rotate @ neck - position)
    return matrix


def camera_matrix(drawn: Drawn, supersampling: int) -> Float[np.ndarray, "3 3"]:
    """Intrinsic matrix: camera's frame to pixels of the final image."""
    full, focal = drawn.camera.size, drawn.camera.focal
    matrix = np.array([[focal, 0, full / 2], [0, focal, full / 2], [0, 0, supersampling]]) / supersampling
    return np.asarray(matrix - np.array([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]))
