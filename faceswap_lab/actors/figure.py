"""An actor made ready to be rendered: geometry at rest, texture, occlusion and colours on one device."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from faceswap_lab.actors.hair import curtain_points, curtain_strands, skull_ring
from faceswap_lab.actors.headpack import load_headpack
from faceswap_lab.actors.rig import Rig, load_rig, smoothstep, texture_map
from faceswap_lab.actors.shadow import DepthMap
from faceswap_lab.actors.shape import head_shape
from faceswap_lab.actors.skin import Paint, hairline, paint, strand_pole
from faceswap_lab.actors.traits import Traits, sample_traits

_OCCLUSION_RAYS = 36


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """What the renderer needs to know of a person. `texture` rows are albedo (linear RGB), hair, lips, relief.

    `skin_only` is the albedo without the hair over it, for blending two people. `points` hold the hair's thickness already.
    """

    points: Float[Tensor, "v 3"]
    occlusion: Float[Tensor, " v"]
    texture: Float[Tensor, "6 h w"]
    skin_only: Float[Tensor, "3 h w"]
    hair_colour_map: Float[Tensor, "3 h w"]
    skin: Float[Tensor, " 3"]
    hair: Float[Tensor, " 3"]
    iris: Float[Tensor, " 3"]
    shirt: Float[Tensor, " 3"]
    strand_pole: Float[Tensor, " 3"]
    iris_phase: float
    curtain: Float[Tensor, "ch cw"]
    long_hair: bool

    def to(self, device: str) -> "Figure":
        """The same figure on another device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name in self.__slots__ if isinstance(value := getattr(self, name), Tensor)
        }
        return replace(self, **moved)


def texture_rows(size: int) -> int:
    """Texture height that suits pictures of `size` pixels: four texels a pixel, within 384..1536."""
    return min(1536, max(384, math.ceil(size / 16) * 64))


def compose_texture(skin: Tensor, hair_colour: Tensor, hair: Tensor, lips: Tensor, relief: Tensor) -> Float[Tensor, "6 h w"]:
    """Hair over skin, with what the renderer reads beside the colour."""
    return torch.cat([skin * (1 - hair) + hair_colour * hair, hair[None], lips[None], relief[None]])


@lru_cache(maxsize=24)
def build_figure(seed: int, rows: int, device: str = "cpu") -> Figure:
    """The figure of a seed with a texture of `rows` rows; about half a second, kept for the last two dozen."""
    if device != "cpu":
        return build_figure(seed, rows).to(device)
    traits, rig, pack = sample_traits(seed), load_rig(), load_headpack()
    painted: Paint = paint(traits, texture_map(rows))
    long_hair = traits.hair_style == "bob"
    points = _dressed_head(rig, traits, torch.from_numpy(pack.refine(head_shape(pack, traits))))
    return Figure(
        points=points,
        occlusion=_bake_occlusion(rig, points, long_hair=long_hair),
        texture=compose_texture(painted.skin, painted.hair_colour, painted.hair, painted.lips, painted.relief),
        skin_only=painted.skin,
        hair_colour_map=painted.hair_colour,
        skin=torch.tensor(traits.skin),
        hair=torch.tensor(traits.hair),
        iris=torch.tensor(traits.iris),
        shirt=torch.tensor(traits.shirt),
        strand_pole=F.normalize(torch.tensor(strand_pole(traits)), dim=0),
        iris_phase=float(seed % 97),
        curtain=curtain_strands(seed),
        long_hair=long_hair,
    )


def _dressed_head(rig: Rig, traits: Traits, head: Float[Tensor, "h 3"]) -> Float[Tensor, "v 3"]:
    """The head with its cap of hair, and the curtain around it (drawn only where the hair is long)."""
    if traits.hair_style == "bob":
        head = _tuck_ears(rig, head)
    points = torch.cat([head, rig.template[len(head) :]])
    points = points + rig.normals(points) * _hair_thickness(rig, traits)[:, None]
    ring = skull_ring(rig.template[: len(head)], points[: len(head)])
    curtain = curtain_points(
        ring,
        thickness_m=0.45 * traits.hair_thickness_m,
        bottom_z=traits.hair_bottom_z,
        wave=traits.hair_wave,
        seed=traits.seed,
    )
    return torch.cat([points[: len(head)], curtain])


def _is_ear(rig: Rig) -> Bool[Tensor, " v"]:
    x, y, z = rig.template.unbind(1)
    return (x.abs() > 0.066) & (y < 0.0) & (y > -0.075) & (z < 0.752) & (rig.on_skin > 0)


def _tuck_ears(rig: Rig, head: Float[Tensor, "h 3"]) -> Float[Tensor, "h 3"]:
    """Ears under long hair lie flat against the head, so that they do not stick through the curtain."""
    x = head[:, 0]
    flat = x.sign() * (0.066 + (x.abs() - 0.066) * 0.45)
    moved = torch.where(_is_ear(rig)[: len(head)] & (x.abs() > 0.066), flat, x)
    return torch.cat([moved[:, None], head[:, 1:]], 1)


def _hair_thickness(rig: Rig, traits: Traits) -> Float[Tensor, " v"]:
    """How far the hair lifts the surface, in metres: nothing on ears, face and neck, full a few centimetres above the hairline."""
    x, y, z = rig.template.unbind(1)
    above = z - hairline(y, x, traits)
    ear = _is_ear(rig)
    rise = smoothstep(-0.002, 0.028, above) * rig.on_skin * (z > 0.60)
    lift = rig.smooth(torch.where(ear, torch.zeros_like(rise), rise) * traits.hair_thickness_m, 10)
    return lift * torch.where(ear, 0.2, 1.0)


def _bake_occlusion(rig: Rig, points: Float[Tensor, "v 3"], *, long_hair: bool) -> Float[Tensor, " v"]:
    """Share of the sky that each vertex sees, weighted by the cosine, from depth maps of directions on a spiral."""
    normals, tri = rig.normals(points), rig.shadow_triangles(long_hair=long_hair)
    seen, total = torch.zeros(len(points)), torch.zeros(len(points))
    for k in range(_OCCLUSION_RAYS):
        height = 1 - 1.5 * (k + 0.5) / _OCCLUSION_RAYS
        flat, turn = math.sqrt(max(0.0, 1 - height * height)), k * 2.39996
        direction = F.normalize(torch.tensor([flat * math.cos(turn), flat * math.sin(turn), height]), dim=0)
        cosine = (normals @ direction).clamp_min(0)
        depth_map = DepthMap.from_direction(points, tri, direction, rows=144)
        seen += cosine * depth_map.visible(points + normals * 0.002, bias_m=0.004)
        total += cosine
    return (seen / total.clamp_min(1e-4)).clamp(0, 1)
