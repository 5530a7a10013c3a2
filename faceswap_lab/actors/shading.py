"""What each drawn sample is made of and how the light falls on it.

Skin is a diffuse wrap shifted to red with two specular lobes, hair shines along its strands (J. Kajiya, T. Kay, "Rendering fur with
three dimensional textures", 1989), eyes are spheres with a painted iris and a sharp highlight. All light is linear RGB.
"""

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from faceswap_lab.actors.figure import Figure
from faceswap_lab.actors.hair import FIRST_TEXTURE_ROW
from faceswap_lab.actors.headpack import EYE_LEFT, EYE_RIGHT, HAIR, MOUTH, SKIN, TEETH_LOWER, TEETH_UPPER, TONGUE
from faceswap_lab.actors.perform import Light
from faceswap_lab.actors.raster import Fragments
from faceswap_lab.actors.rig import Rig, smoothstep
from faceswap_lab.actors.shadow import DepthMap
from faceswap_lab.actors.skin import HEAD_MIDDLE

_SCLERA, _TEETH, _TONGUE, _LINING = (0.60, 0.555, 0.52), (0.60, 0.55, 0.46), (0.34, 0.115, 0.10), (0.22, 0.055, 0.05)
_WRAP = (0.36, 0.19, 0.13)
_NECK_AXIS_Y, _COLLAR_RADIUS_M, _COLLAR_TOP_Z = -0.012, 0.082, 0.598


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface:
    """p drawn samples: part of the head, world position and normal, place on the template and in the texture, swap weight."""

    part: Int[Tensor, " p"]
    position: Float[Tensor, "p 3"]
    normal: Float[Tensor, "p 3"]
    template: Float[Tensor, "p 3"]
    occlusion: Float[Tensor, " p"]
    place: Float[Tensor, "p 2"]
    face: Float[Tensor, " p"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """Reflectance and shine of p samples; `skin` and `hair` are shares, `gloss` scales the highlights."""

    albedo: Float[Tensor, "p 3"]
    gloss: Float[Tensor, " p"]
    skin: Float[Tensor, " p"]
    hair: Float[Tensor, " p"]
    eye: Bool[Tensor, " p"]
    occlusion: Float[Tensor, " p"]


def surface_of(
    rig: Rig, figure: Figure, drawn: Fragments, *, points: Float[Tensor, "v 3"], normals: Float[Tensor, "v 3"]
) -> Surface:
    """Vertex values at the drawn samples."""
    columns = torch.cat([points, normals, rig.template, figure.occlusion[:, None], rig.face_weight[:, None]], 1)
    table = torch.cat([columns[rig.wedge_vertex], rig.wedge_texture], 1)
    values = F.embedding_bag(rig.tri[drawn.face], table, mode="sum", per_sample_weights=drawn.weights)
    return Surface(
        part=rig.tri_part[drawn.face],
        position=values[:, 0:3],
        normal=F.normalize(values[:, 3:6], dim=1),
        template=values[:, 6:9],
        occlusion=values[:, 9],
        face=values[:, 10],
        place=values[:, 11:13],
    )


def material_of(rig: Rig, figure: Figure, surface: Surface) -> Material:
    """What the samples are made of."""
    grid = (surface.place * 2 - 1)[None, None]
    texel = F.grid_sample(figure.texture[None], grid, align_corners=False, padding_mode="border")[0, :, 0]
    albedo, hair, lips, relief = texel[:3].T.contiguous(), texel[3], texel[4], texel[5]
    x, y, z = surface.template.unbind(1)
    is_skin = surface.part == SKIN
    in_texture = ((surface.place > 0) & (surface.place < 1)).all(1)
    from_neck = (x * x + (y - _NECK_AXIS_Y) ** 2).sqrt()
    shirt = is_skin & (z < _COLLAR_TOP_Z) & (from_neck > _COLLAR_RADIUS_M)
    plain = is_skin & ~in_texture
    albedo[plain] = figure.skin
    albedo[shirt] = figure.shirt
    hair = torch.where(plain | shirt | ~is_skin, 0.0, hair)
    gloss = (0.60 + 0.30 * torch.exp(-((x / 0.03) ** 2))) * (1 + 0.14 * relief) + 0.35 * lips
    gloss = torch.where(shirt, 0.05, gloss)
    occlusion = surface.occlusion.clone()
    eye = (surface.part == EYE_LEFT) | (surface.part == EYE_RIGHT)
    for part, centre in ((EYE_LEFT, rig.eye_left), (EYE_RIGHT, rig.eye_right)):
        rows = (surface.part == part).nonzero()[:, 0]
        ray = F.normalize(surface.template[rows] - centre, dim=1)
        albedo[rows] = _eye_colour(figure, ray)
        lid = (surface.template[rows, 2] - centre[2]) / 0.0055
        occlusion[rows] = occlusion[rows].clamp_min(0.55) * (0.97 - 0.45 * smoothstep(-0.3, 1.1, lid))
    _colour_mouth(surface, albedo, gloss, occlusion)
    hanging = (surface.part == HAIR).nonzero()[:, 0]
    albedo[hanging] = _curtain_colour(figure, surface.place[hanging])
    hair[hanging] = 1.0
    gloss = torch.where(eye, 0.0, gloss)
    skin = torch.where(is_skin & ~shirt, 1 - hair, 0.0)
    return Material(albedo=albedo, gloss=gloss, skin=skin, hair=hair, eye=eye, occlusion=occlusion)


def _eye_colour(figure: Figure, ray: Float[Tensor, "e 3"]) -> Float[Tensor, "e 3"]:
    """White, iris with fibres and a dark rim, pupil; `ray` is the direction from the eye's centre on the template."""
    angle = torch.acos((-ray[:, 1]).clamp(-1, 1))
    turn = torch.atan2(ray[:, 2], ray[:, 0])
    fibres = 0.82 + 0.22 * torch.sin(turn * 23 + 3 * torch.sin(turn * 7 + figure.iris_phase)) * smoothstep(0.15, 0.45, angle)
    ring = 1 + 0.8 * torch.exp(-(((angle - 0.25) / 0.09) ** 2))
    rim = 1 - 0.65 * smoothstep(0.39, 0.49, angle)
    iris = figure.iris * (fibres * ring * rim)[:, None]
    white = torch.tensor(_SCLERA, device=ray.device) * (1 - 0.35 * smoothstep(0.7, 1.2, angle))[:, None]
    share = smoothstep(0.53, 0.47, angle)[:, None]
    pupil = smoothstep(0.205, 0.165, angle)[:, None]
    return (white * (1 - share) + iris * share) * (1 - pupil) + 0.004 * pupil


def _curtain_colour(figure: Figure, place: Float[Tensor, "s 2"]) -> Float[Tensor, "s 3"]:
    """Strands of the hanging hair, a little darker towards the roots."""
    down = place[:, 1] - FIRST_TEXTURE_ROW
    grid = torch.stack([place[:, 0] * 2 - 1, down * 2 - 1], 1)[None, None]
    strands = F.grid_sample(figure.curtain[None, None], grid, align_corners=True, padding_mode="border")[0, 0, 0]
    return figure.hair * ((1 + strands).clamp(0.25, 2.2) * (0.85 + 0.2 * down))[:, None]


def _colour_mouth(surface: Surface, albedo: Tensor, gloss: Tensor, occlusion: Tensor) -> None:
    """Teeth with dark gaps, tongue, lining; all of it darker further in."""
    inside = torch.zeros_like(gloss, dtype=torch.bool)
    for parts, colour, shine in (((TEETH_UPPER, TEETH_LOWER), _TEETH, 0.9), ((TONGUE,), _TONGUE, 0.7), ((MOUTH,), _LINING, 0.4)):
        rows = torch.isin(surface.part, torch.tensor(parts, device=albedo.device))
        albedo[rows] = torch.tensor(colour, device=albedo.device)
        gloss[rows] = shine
        inside |= rows
    teeth = ((surface.part == TEETH_UPPER) | (surface.part == TEETH_LOWER)).nonzero()[:, 0]
    from_gap = ((surface.template[teeth, 0] / 0.0072 + 0.5) % 1 - 0.5).abs() * 0.0072
    albedo[teeth] *= (0.62 + 0.38 * smoothstep(0.0001, 0.0007, from_gap))[:, None]
    depth = 0.46 * smoothstep(-0.100, -0.147, surface.template[:, 1]) + 0.06
    occlusion.copy_(torch.where(inside, depth, occlusion))


def _deepen(share: Tensor, red: float, green: float, blue: float) -> Float[Tensor, "p 3"]:
    """A share of light per channel, raised (positive) or lowered in half tones: light that scatters in skin comes back redder."""
    half = share * (1 - share)
    return torch.stack([share + red * half, share + green * half, share + blue * half], 1)


def _lobe(normal: Tensor, half: Tensor, power: float) -> Tensor:
    """Normalised Blinn-Phong."""
    return (normal * half).sum(1).clamp_min(0) ** power * ((power + 8) / (8 * math.pi))


def shade(
    rig: Rig,
    figure: Figure,
    light: Light,
    surface: Surface,
    points: Float[Tensor, "v 3"],
    turn: Float[Tensor, "3 3"],
    eye: Float[Tensor, " 3"],
    *,
    rows: int,
) -> Float[Tensor, "p 3"]:
    """Light that leaves each sample towards `eye`; `rows` is the resolution of the shadow map."""
    device = str(points.device)
    material = material_of(rig, figure, surface)
    towards = F.normalize(eye - surface.position, dim=1)
    normal, material = _face_camera(surface, material, towards)
    key = F.normalize(torch.tensor(light.key_direction, device=device), dim=0)
    key_colour = torch.tensor(light.key_colour, device=device)
    shadow = DepthMap.from_direction(points, rig.shadow_triangles(long_hair=figure.long_hair), key, rows=rows)
    lit = shadow.visible(surface.position + normal * 0.0025, bias_m=0.003, softness=light.softness)
    diffuse = _diffuse(light, material, normal, key, key_colour, lit)
    specular = _specular(figure, material, surface, normal, towards, key, lit, turn)
    facing = (normal * towards).sum(1).clamp(0, 1)
    ambient = torch.tensor(light.ambient_high, device=device)
    sheen = (0.035 * material.gloss * material.occlusion * (1 - facing) ** 4)[:, None] * ambient
    return material.albedo * diffuse + specular[:, None] * key_colour + sheen


def _face_camera(surface: Surface, material: Material, towards: Tensor) -> tuple[Tensor, Material]:
    """Turns the normals of hair seen from inside, where it is darker."""
    inside = (surface.part == HAIR) & ((surface.normal * towards).sum(1) < 0)
    normal = torch.where(inside[:, None], -surface.normal, surface.normal)
    return normal, replace(material, occlusion=torch.where(inside, 0.45 * material.occlusion, material.occlusion))


def _diffuse(light: Light, material: Material, normal: Tensor, key: Tensor, key_colour: Tensor, lit: Tensor) -> Tensor:
    device = normal.device
    skin = material.skin[:, None]
    wrap = torch.tensor(_WRAP, device=device) * skin
    direct = (((normal @ key)[:, None] + wrap) / (1 + wrap)).clamp_min(0)
    shadow = torch.lerp(lit[:, None].expand(-1, 3), _deepen(lit, 0.55, 0.08, -0.04), skin)
    occlusion = torch.lerp(material.occlusion[:, None].expand(-1, 3), _deepen(material.occlusion, 0.30, 0.0, -0.06), skin)
    up = (normal[:, 2] * 0.5 + 0.5)[:, None]
    high, low = torch.tensor(light.ambient_high, device=device), torch.tensor(light.ambient_low, device=device)
    across = F.normalize(torch.stack([-key[0], key[1], torch.full_like(key[2], 0.2)]), dim=0)
    behind = F.normalize(torch.stack([-key[0], torch.full_like(key[1], 0.7), torch.full_like(key[2], 0.35)]), dim=0)
    fill = light.fill * ((normal @ across) * 0.5 + 0.5).clamp_min(0)
    rim = light.rim * (normal @ behind).clamp_min(0)
    soft = (high * up + low * (1 - up) + key_colour * fill[:, None] + rim[:, None]) * occlusion
    return direct * shadow * key_colour + soft


def _specular(
    figure: Figure, material: Material, surface: Surface, normal: Tensor, towards: Tensor, key: Tensor, lit: Tensor, turn: Tensor
) -> Tensor:
    half = F.normalize(towards + key, dim=1)
    grazing = (1 - (towards * half).sum(1).clamp_min(0)) ** 5
    cosine = (normal @ key).clamp_min(0)
    skin = (0.030 + 0.97 * grazing) * (0.65 * _lobe(normal, half, 18.0) + 0.35 * _lobe(normal, half, 64.0))
    shine = material.gloss * (1 - material.hair) * skin * cosine
    wet = material.eye.nonzero()[:, 0]
    shine[wet] = (0.028 + 0.97 * grazing[wet]) * _lobe(normal[wet], half[wet], 420.0) * cosine[wet] * 1.3
    strands = (material.hair > 0.02).nonzero()[:, 0]
    shine[strands] += material.hair[strands] * _hair_shine(figure, surface, normal, half, cosine, turn, strands)
    return shine * lit


def _hair_shine(
    figure: Figure, surface: Surface, normal: Tensor, half: Tensor, cosine: Tensor, turn: Tensor, rows: Tensor
) -> Float[Tensor, " s"]:
    """Highlights across strands that lie along the meridians from the pole of the hair."""
    ray = surface.template[rows] - torch.tensor(HEAD_MIDDLE, device=normal.device)
    pole = turn @ figure.strand_pole
    facing = normal[rows]
    along = pole - facing * (facing @ pole)[:, None]
    along = F.normalize(along + 1e-4 * ray, dim=1)
    sine = (1 - ((along * half[rows]).sum(1)) ** 2).clamp_min(0).sqrt()
    return (0.020 * sine**40 + 0.010 * sine**12) * (0.2 + 0.8 * cosine[rows])
