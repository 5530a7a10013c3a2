"""Material of each rendered sample: skin, eyes, mouth, hair, cloth. Albedo is linear RGB."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from faceswap_lab.actors.gfx.selected import Selected
from faceswap_lab.actors.gfx.transfer import constant
from faceswap_lab.actors.gfx.vectors import pick
from faceswap_lab.actors.head.curtain import FIRST_TEXTURE_ROW
from faceswap_lab.actors.head.headpack import BEARD, EYE_LEFT, EYE_RIGHT, GLASSES, HAIR, HAT, MOUTH, SKIN, TEETH_LOWER, TEETH_UPPER
from faceswap_lab.actors.head.rig import Rig, smoothstep
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.render.surface import Surface

_SCLERA, _TEETH, _TONGUE, _LINING = (0.50, 0.455, 0.43), (0.72, 0.68, 0.60), (0.36, 0.13, 0.115), (0.20, 0.05, 0.045)
_GUM, _GUM_UPPER_Z, _GUM_LOWER_Z = (0.38, 0.14, 0.13), 0.6752, 0.6480
_CARUNCLE, _BLOODSHOT = (0.42, 0.17, 0.15), (0.06, 0.22, 0.22)
_MOUTH_COLOURS, _MOUTH_GLOSS = (_TEETH, _TEETH, _TONGUE, _LINING), (1.1, 1.1, 0.8, 0.4)
"""By part, from the upper teeth on."""

_NECK_AXIS_Y, _COLLAR_RADIUS_M, _COLLAR_TOP_Z = -0.012, 0.082, 0.598


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Material:
    """Albedo and shininess of p samples.

    `skin` and `hair` are fractions 0..1, `gloss` scales the highlights, `slope` tilts the normal along the head's x and z.
    """

    albedo: Float[Tensor, "p 3"]
    gloss: Float[Tensor, " p"]
    skin: Float[Tensor, " p"]
    hair: Float[Tensor, " p"]
    eye: Bool[Tensor, " p"]
    occlusion: Float[Tensor, " p"]
    slope: Float[Tensor, "p 2"]


def material_of(rig: Rig, figure: Figure, surface: Surface) -> Material:
    """The materials of all samples."""
    mesh, count = _material_of_mesh(rig, figure, surface.mesh()), len(surface.colour)
    none, part = surface.occlusion.new_zeros(count), surface.part[surface.num_mesh :]
    hair = ((part >= HAIR) & (part <= BEARD)).float()
    polished = torch.where(part == GLASSES, 1.6, torch.where(part == HAT, 0.05, 0.0))
    return Material(
        albedo=torch.cat([mesh.albedo, surface.colour]),
        gloss=torch.cat([mesh.gloss, polished]),
        skin=torch.cat([mesh.skin, none]),
        hair=torch.cat([mesh.hair, hair]),
        eye=torch.cat([mesh.eye, none > 0]),
        occlusion=torch.cat([mesh.occlusion, surface.occlusion[surface.num_mesh :]]),
        slope=torch.cat([mesh.slope, mesh.slope.new_zeros(count, 2)]),
    )


def _material_of_mesh(rig: Rig, figure: Figure, surface: Surface) -> Material:
    grid = (surface.uv * 2 - 1)[None, None]
    texel = F.grid_sample(figure.texture[None], grid, align_corners=False, padding_mode="border")[0, :, 0]
    albedo, hair, lips, relief = texel[:3].T.contiguous(), texel[3], texel[4], texel[5]
    slope = texel[6:8].T
    x, y, z = surface.template.unbind(1)
    is_skin = surface.part == SKIN
    in_texture = ((surface.uv > 0) & (surface.uv < 1)).all(1)
    from_neck = (x * x + (y - _NECK_AXIS_Y) ** 2).sqrt()
    shirt = is_skin & (z < _COLLAR_TOP_Z) & (from_neck > _COLLAR_RADIUS_M)
    plain = is_skin & ~in_texture
    Selected.where(plain).put(albedo, figure.skin)
    Selected.where(shirt).put(albedo, figure.shirt)
    cloth = Selected.where(surface.part == HAT)
    cloth.put(albedo, figure.cloth * _knit(figure.wears, cloth.pick(surface.template))[:, None])
    hair = torch.where(plain | shirt | ~is_skin, 0.0, hair)
    oily = 0.45 + 0.50 * torch.exp(-((x / 0.024) ** 2)) + 0.25 * torch.exp(-(((z - 0.775) / 0.018) ** 2))
    oil = figure.oil_around + (figure.oil - figure.oil_around) * surface.face  # in a recast the face has the source's
    gloss = oil * oily * (1 + 0.18 * relief) + 0.30 * lips
    gloss = torch.where(shirt | (surface.part == HAT), 0.05, gloss)
    occlusion = surface.occlusion.clone()
    eye = (surface.part == EYE_LEFT) | (surface.part == EYE_RIGHT)
    for part, centre in ((EYE_LEFT, rig.eye_left), (EYE_RIGHT, rig.eye_right)):
        ball = Selected.where(surface.part == part)
        place = ball.pick(surface.template)
        ball.put(albedo, _eye_colour(figure, F.normalize(place - centre, dim=1), -1.0 if part == EYE_LEFT else 1.0))
        lid = (place[:, 2] - centre[2]) / 0.0055
        across = (place[:, 0] - centre[0]).abs() / 0.014
        open_to_sky = (0.95 - 0.62 * smoothstep(-0.2, 1.0, lid)) * (1 - 0.35 * smoothstep(0.5, 1.0, across))
        ball.put(occlusion, ball.pick(occlusion).clamp_min(0.55) * open_to_sky)
    _colour_mouth(surface, albedo, gloss, occlusion)
    hanging = Selected.where(surface.part == HAIR)
    hanging.put(albedo, _curtain_colour(figure, hanging.pick(surface.uv)))
    hanging.put(hair, 1.0)
    gloss = torch.where(eye, 0.0, gloss)
    skin = torch.where(is_skin & ~shirt, 1 - hair, 0.0)
    slope = torch.where((skin > 0)[:, None], slope * skin[:, None], 0.0)
    return Material(albedo=albedo, gloss=gloss, skin=skin, hair=hair, eye=eye, occlusion=occlusion, slope=slope)


def _knit(wears: str, template: Float[Tensor, "s 3"]) -> Float[Tensor, " s"]:
    """Brightness pattern of cloth: ribs of a knitted hat, seams of a cap, weave of a scarf."""
    x, y, z = template.unbind(1)
    turn = torch.atan2(x, y + 0.03)
    if wears == "hat":
        return 0.80 + 0.22 * torch.sin(turn * 58).abs() * (0.8 + 0.2 * torch.sin(z * 3600))
    if wears == "cap":
        seam = torch.exp(-((torch.sin(turn * 3) / 0.05) ** 2))
        return (0.95 + 0.04 * torch.sin(z * 5200) * torch.sin(turn * 420)) * (1 - 0.35 * seam)
    return 0.92 + 0.06 * torch.sin(x * 2900) * torch.sin(z * 2900)


def _eye_colour(figure: Figure, ray: Float[Tensor, "e 3"], inner: float) -> Float[Tensor, "e 3"]:
    """Sclera with vessels, caruncle, iris with fibres and limbal ring, pupil.

    `ray` is the direction from the eye's centre on the template, `inner` the sign of x towards the nose.
    """
    angle = torch.acos((-ray[:, 1]).clamp(-1, 1))
    turn = torch.atan2(ray[:, 2], ray[:, 0])
    phase = figure.iris_phase
    fine = torch.sin(turn * 37 + 5 * torch.sin(turn * 11 + phase)) * torch.sin(angle * 55 + 3 * torch.sin(turn * 5 + phase))
    fibres = 0.80 + (0.20 * torch.sin(turn * 23 + 3 * torch.sin(turn * 7 + phase)) + 0.14 * fine) * smoothstep(0.15, 0.40, angle)
    collar = 1 + 0.55 * torch.exp(-(((angle - 0.25) / 0.07) ** 2))
    rim = 1 - 0.72 * smoothstep(0.37, 0.50, angle)
    iris = figure.iris * (fibres * collar * rim)[:, None]
    vessels = 0.5 + 0.5 * torch.sin(turn * 31 + 6 * torch.sin(angle * 17 + phase) + 2 * torch.sin(turn * 9 + phase))
    blood = smoothstep(0.60, 1.15, angle) * (0.45 + 0.55 * vessels**6)
    sclera, tint, caruncle = (constant(colour, ray.device) for colour in (_SCLERA, _BLOODSHOT, _CARUNCLE))
    white = sclera * (1 - blood[:, None] * tint) * (1 - 0.30 * smoothstep(0.65, 1.15, angle))[:, None]
    corner = smoothstep(0.70, 0.86, inner * ray[:, 0])[:, None]
    white = white * (1 - corner) + caruncle * corner
    share = smoothstep(0.535, 0.455, angle)[:, None]
    pupil = smoothstep(0.205, 0.165, angle)[:, None]
    return (white * (1 - share) + iris * share) * (1 - pupil) + 0.004 * pupil


def _curtain_colour(figure: Figure, place: Float[Tensor, "s 2"]) -> Float[Tensor, "s 3"]:
    """Strand colour of the hanging hair, slightly darker towards the roots."""
    down = place[:, 1] - FIRST_TEXTURE_ROW
    grid = torch.stack([place[:, 0] * 2 - 1, down * 2 - 1], 1)[None, None]
    strands = F.grid_sample(figure.curtain[None, None], grid, align_corners=True, padding_mode="border")[0, 0, 0]
    return figure.hair * ((1 + strands).clamp(0.25, 2.2) * (0.45 + 0.1 * down))[:, None]


def _colour_mouth(surface: Surface, albedo: Tensor, gloss: Tensor, occlusion: Tensor) -> None:
    """Colours teeth with gaps and gum line, tongue and lining in place; darker further inside and to the sides."""
    inside = Selected.where((surface.part >= TEETH_UPPER) & (surface.part <= MOUTH))
    part, (x, y, z) = inside.pick(surface.part), inside.pick(surface.template).unbind(1)
    row = (part - TEETH_UPPER).clamp(0, MOUTH - TEETH_UPPER)
    colours, gums = pick(constant(_MOUTH_COLOURS, albedo.device), row), constant(_GUM, albedo.device)
    for jaw, pitch, gum_z, up in ((TEETH_UPPER, 0.0080, _GUM_UPPER_Z, 1.0), (TEETH_LOWER, 0.0056, _GUM_LOWER_Z, -1.0)):
        place = _along_arch(x, y) / pitch
        gap = smoothstep(0.0001, 0.0008, ((place + 0.5) % 1 - 0.5).abs() * pitch)
        scallop = gum_z - up * 0.0010 * torch.cos(2 * math.pi * place)
        gum = smoothstep(-0.0004, 0.0006, up * (z - scallop))[:, None]
        tooth = colours * (0.50 + 0.50 * gap)[:, None]
        drawn = tooth * (1 - gum) + gums * gum
        colours = torch.where((part == jaw)[:, None], drawn, colours)
    inside.put(albedo, colours)
    inside.put(gloss, pick(constant(_MOUTH_GLOSS, albedo.device), row))
    inside.put(occlusion, 0.92 * smoothstep(-0.095, -0.140, y) * (1 - 0.55 * smoothstep(0.010, 0.026, x.abs())) + 0.05)


def _along_arch(x: Tensor, y: Tensor) -> Tensor:
    """Arc length along the dental arch from its middle."""
    return x * (1 + 0.35 * (x.abs() / 0.02).clamp_max(1.4) ** 2)
