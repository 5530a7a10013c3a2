"""Ground truth besides the image: labels, normals, albedo, actions, gaze, landmarks; each computed when read."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from faceswap_lab.actors.gfx.selected import Selected
from faceswap_lab.actors.gfx.transfer import constant, fetch
from faceswap_lab.actors.gfx.vectors import pick
from faceswap_lab.actors.head.headpack import (
    BEARD,
    BROW,
    EYE_LEFT,
    EYE_RIGHT,
    GLASSES,
    HAIR,
    HAT,
    LASH,
    LENS,
    MOUTH,
    OCCLUDER,
    SKIN,
    TEETH_LOWER,
    TEETH_UPPER,
    TONGUE,
)
from faceswap_lab.actors.head.landmark_sets import landmark_table
from faceswap_lab.actors.head.landmarks68 import keypoints5
from faceswap_lab.actors.head.rig import load_rig, texture_map
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.render.material import material_of
from faceswap_lab.actors.render.scene import Drawn, Scene, draw, pose
from faceswap_lab.actors.render.surface import Surface
from faceswap_lab.caches import cached
from faceswap_lab.faces.scratch import read_only

LABELS = (
    "background",
    "skin",
    "brows",
    "eyes",
    "nose",
    "lips",
    "inner mouth",
    "teeth",
    "ears",
    "neck",
    "hair",
    "glasses",
    "hat",
    "occluder",
    "clothes",
)
"""Names of a label map's values."""

_VISIBLE_WITHIN_M, _SEEN_THROUGH_M = 0.004, 0.015
"""Depth tolerances of the visibility test; the larger one applies where brows, lashes or beard cover the skin they grow on."""

_LABEL_OF_PART = {
    EYE_LEFT: "eyes",
    EYE_RIGHT: "eyes",
    TEETH_UPPER: "teeth",
    TEETH_LOWER: "teeth",
    TONGUE: "inner mouth",
    MOUTH: "inner mouth",
    HAIR: "hair",
    BROW: "brows",
    LASH: "eyes",
    BEARD: "skin",
    GLASSES: "glasses",
    LENS: "glasses",
    HAT: "hat",
    OCCLUDER: "occluder",
}
_LABEL_ROWS = tuple(LABELS.index("skin" if part == SKIN else _LABEL_OF_PART.get(part, "background")) for part in range(32))
_WORLD_TO_CAMERA = ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, 1.0, 0.0))
_JAW_Y = (-0.140, -0.128, -0.108, -0.088, -0.070, -0.058, -0.045, -0.020, 0.060)
_JAW_Z = (0.6115, 0.6150, 0.6220, 0.6330, 0.6480, 0.6600, 0.6720, 0.6750, 0.6600)
"""Lower edge of the face as height over y on the template head; skin below it is neck."""

_NOSE_Z, _NOSE_HALF_WIDTH = (0.6770, 0.6815, 0.6920, 0.7050, 0.7270), (0.012, 0.0190, 0.0175, 0.0115, 0.0085)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Maps:
    """Per pixel: `labels` (indices into LABELS, by majority of the pixel's samples), unit `normals` in the camera's frame (x right,
    y down, z forward; 0 for background), `albedo` (linear RGB, unlit; 0 for background)."""

    labels: UInt8[np.ndarray, "h w"]
    normals: Float[np.ndarray, "h w 3"]
    albedo: Float[np.ndarray, "h w 3"]

    def mask(self, *names: str) -> Bool[np.ndarray, "h w"]:
        """Mask of the pixels with any of these labels. Raises ValueError for an unknown label."""
        for name in names:
            if name not in LABELS:
                raise ValueError(f"no label {name!r}; choose from {', '.join(LABELS)}")
        return np.isin(self.labels, [LABELS.index(name) for name in names])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadPose:
    """Head rotation relative to the camera in radians: yaw to the subject's left, pitch down, roll; roll is applied first."""

    yaw: float
    pitch: float
    roll: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Points:
    """Landmarks in pixels, and which of them are unoccluded."""

    xy: Float[np.ndarray, "n 2"]
    visible: Bool[np.ndarray, " n"]


@cached(most=2)
def maps_of(scene: Scene) -> Maps:
    """The maps of a scene, read-only."""
    drawn = draw(scene)
    rig, figure, surface = drawn.rig, scene.figure, drawn.surface
    material = material_of(rig, figure, surface)
    bare = (surface.part == SKIN) & (material.skin + material.hair < 0.5)
    labels = _labels(figure, surface, hair=material.hair > 0.5, clothes=bare)
    world_to_camera = constant(_WORLD_TO_CAMERA, labels.device)
    full = drawn.camera.size
    columns = torch.cat([F.one_hot(labels, len(LABELS)).float(), surface.normal @ world_to_camera.T, material.albedo], 1)
    layers = torch.zeros(full * full, columns.shape[1], device=labels.device)
    layers[:, 0] = 1
    layers[surface.pixel] = columns
    layers = F.avg_pool2d(layers.view(full, full, -1).permute(2, 0, 1)[None], scene.supersampling)[0]
    count = len(LABELS)
    cover = (1 - layers[0]).clamp_min(1e-6)
    normals = F.normalize(layers[count : count + 3], dim=0)
    shown, facing, albedo = fetch(
        layers[:count].argmax(0).to(torch.uint8),
        normals.permute(1, 2, 0).contiguous(),
        (layers[count + 3 :] / cover).permute(1, 2, 0).contiguous(),
    )
    return read_only(Maps(labels=shown, normals=facing, albedo=albedo))


def _labels(figure: Figure, surface: Surface, *, hair: Tensor, clothes: Tensor) -> Tensor:
    """Label index of each sample."""
    labels = pick(constant(_LABEL_ROWS, surface.part.device, torch.long), surface.part)
    skin = Selected.where(surface.part == SKIN)
    (x, y, z), uv = skin.pick(surface.template).unbind(1), skin.pick(surface.uv)
    texture = torch.stack([figure.texture[4], figure.brows, _ears(figure)])
    grid = (uv * 2 - 1)[None, None]
    inside = ((uv > 0) & (uv < 1)).all(1)
    lips, brows, ears = (F.grid_sample(texture[None], grid, align_corners=False)[0, :, 0] * inside).unbind(0)
    nose = (x.abs() < _interpolate(z, _NOSE_Z, _NOSE_HALF_WIDTH)) & (z > _NOSE_Z[0]) & (z < _NOSE_Z[-1]) & (y < -0.118)
    found = skin.pick(labels)
    for where, name in (
        (z < _interpolate(y, _JAW_Y, _JAW_Z), "neck"),
        (nose, "nose"),
        (ears > 0.5, "ears"),
        (brows > 0.5, "brows"),
        (lips > 0.5, "lips"),
        (skin.pick(hair), "hair"),
        (skin.pick(clothes), "clothes"),
    ):
        found = torch.where(where, LABELS.index(name), found)
    skin.put(labels, found)
    return labels


def _ears(figure: Figure) -> Float[Tensor, "h w"]:
    return _ear_mask(figure.texture.shape[1], figure.texture.device)


@cached(most=3)
def _ear_mask(rows: int, device: torch.device) -> Float[Tensor, "h w"]:
    return texture_map(rows).masks["ears"].to(device)


def _interpolate(at: Tensor, places: tuple[float, ...], values: tuple[float, ...]) -> Tensor:
    """Piecewise linear interpolation, constant beyond the ends."""
    x, y = (constant(row, at.device) for row in (places, values))
    row = torch.searchsorted(x, at.contiguous()).clamp(1, len(places) - 1)
    share = ((at - x[row - 1]) / (x[row] - x[row - 1])).clamp(0, 1)
    return torch.lerp(y[row - 1], y[row], share)


def actions_of(scene: Scene) -> dict[str, float]:
    """All facial actions by name, 0..1."""
    return {name: float(scene.view.actions.get(name, 0.0)) for name in load_rig(_device(scene)).action_names}


def gaze_of(scene: Scene) -> Float[np.ndarray, "2 3"]:
    """Gaze of the right and the left eye: each eyeball's rotation from rest, applied to the forward axis."""
    rig = load_rig(_device(scene))
    posed = pose(rig, scene.figure, scene.view).points
    directions = []
    for part in (EYE_RIGHT, EYE_LEFT):
        rows = torch.unique(rig.wedge_vertex[rig.tri[rig.tri_part == part]])
        before, after = (points[rows].cpu().numpy().astype(np.float64) for points in (rig.template, posed))
        left, _, right = np.linalg.svd((after - after.mean(0)).T @ (before - before.mean(0)))
        rotate = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
        x, y, z = rotate @ np.array([0.0, -1.0, 0.0])
        directions.append((x, -z, y))
    return np.array(directions)


def points_of(scene: Scene, point_set: int) -> Points:
    """Landmarks of a point set and their visibility; a point derived from several is visible if all of them are."""
    drawn, times = draw(scene), scene.supersampling
    corners, weights = landmark_table(drawn.rig, point_set)
    place = (drawn.posed.points[corners] * weights[..., None]).sum(1)
    xy, depth = drawn.camera.project(place)
    found, pixels = fetch(visible(drawn, xy, depth), xy / times - 0.5)
    if point_set == 5:
        return Points(xy=keypoints5(pixels), visible=keypoints5(np.repeat(found[:, None], 2, 1).astype(float))[:, 0] == 1)
    return Points(xy=pixels, visible=found)


def depth_buffer(drawn: Drawn) -> Float[Tensor, "s s"]:
    """Depth of every sample in metres along the camera's axis, inf for background."""
    full = drawn.camera.size
    buffer = torch.full((full * full,), torch.inf, device=drawn.xy.device)
    buffer[drawn.surface.pixel] = drawn.surface.depth
    return buffer.view(full, full)


def visible(drawn: Drawn, xy: Float[Tensor, "n 2"], depth: Float[Tensor, " n"]) -> Bool[Tensor, " n"]:
    """Mask of the points on the visible surface: within a few millimetres of it at one of the 3 x 3 samples around them."""
    surface, size = drawn.surface, drawn.camera.size
    small_hair = torch.isin(surface.part, constant((BROW, LASH, BEARD), xy.device, torch.long))
    slack = torch.full((size * size,), _VISIBLE_WITHIN_M, device=xy.device)
    slack.scatter_(0, surface.pixel, torch.where(small_hair, _SEEN_THROUGH_M, _VISIBLE_WITHIN_M))
    slack, buffer = slack.view(size, size), depth_buffer(drawn)
    column, row = xy.floor().long().unbind(1)
    inside = (xy >= 0).all(1) & (xy < size).all(1)
    on_surface = torch.zeros_like(inside)
    for down in (-1, 0, 1):
        for across in (-1, 0, 1):
            at = (row + down).clamp(0, size - 1), (column + across).clamp(0, size - 1)
            on_surface |= (buffer[at] - depth).abs() < slack[at]
    return inside & on_surface


def _device(scene: Scene) -> str:
    return str(scene.figure.points.device)
