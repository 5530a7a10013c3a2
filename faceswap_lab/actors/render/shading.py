"""Shading of each rendered sample.

Skin is wrapped diffuse shading with a red shift plus two specular lobes, hair is anisotropic (J. Kajiya, T. Kay, "Rendering fur
with three dimensional textures", 1989), eyes have a sharp highlight, lenses reflect. All light is linear RGB.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.selected import Selected
from faceswap_lab.actors.gfx.shadow import DepthMap, soft_taps
from faceswap_lab.actors.gfx.transfer import constant
from faceswap_lab.actors.gfx.vectors import dot, unit
from faceswap_lab.actors.head.curtain import FIRST_TEXTURE_ROW
from faceswap_lab.actors.head.headpack import HAIR, SKIN
from faceswap_lab.actors.head.rig import Rig, smoothstep
from faceswap_lab.actors.performance.view import Light
from faceswap_lab.actors.person.figure import Figure
from faceswap_lab.actors.person.skin import SKULL_CENTRE
from faceswap_lab.actors.render.lamp import Lamp
from faceswap_lab.actors.render.material import Material, material_of
from faceswap_lab.actors.render.surface import Surface
from faceswap_lab.actors.render.wrinkles import fold

_WRAP = (0.36, 0.19, 0.13)
_SHADOW_TINT, _HOLLOW_TINT = (0.55, 0.08, -0.04), (0.30, 0.0, -0.06)
"""Red shift of skin in the penumbra of shadows, and in occluded areas."""

_EAR_THICKNESS_M, _EAR_TRANSMITTANCE = 0.008, (0.55, 0.10, 0.05)


def _deepen(share: Tensor, tint: float, skin: Tensor) -> Float[Tensor, " p"]:
    """A fraction of light, raised (positive `tint`) or lowered at mid values on skin: subsurface scattering reddens light."""
    return torch.addcmul(share, skin * (1 - share), share * tint)


def _lobe(normal: Tensor, half: Tensor, power: float) -> Tensor:
    """Normalised Blinn-Phong."""
    return dot(normal, half).clamp_min(0) ** power * ((power + 8) / (8 * math.pi))


def shade(
    rig: Rig,
    figure: Figure,
    light: Light,
    surface: Surface,
    points: Float[Tensor, "v 3"],
    turn: Float[Tensor, "3 3"],
    eye: Float[Tensor, " 3"],
    *,
    lamp: Lamp,
    rows: int,
    casters: Float[Tensor, "d 3"] | None = None,
) -> Float[Tensor, "3 p"]:
    """Outgoing light of each sample towards `eye`.

    `lamp` is the light on the figure's device, `rows` the resolution of the shadow map; `casters` are points of hair and
    accessories that cast shadows. Colours are
    computed one channel at a time: torch is several times faster on long rows than on rows of three.
    """
    material = material_of(rig, figure, surface)
    towards = unit(eye - surface.position)
    normal, material = _face_camera(surface, material, towards)
    normal = fold(normal, material.slope[:, 0], material.slope[:, 1], turn)
    key = lamp.key
    shadow = DepthMap.along(points, rig.shadow_triangles(long_hair=figure.long_hair), lamp.axes, rows=rows, casters=casters)
    cosine = normal @ key
    lit = _lit(light, lamp, surface, normal, cosine, shadow)
    diffuse = _diffuse(light, lamp, material, normal, key, cosine, lit)
    specular = _specular(figure, material, surface, normal, towards, key, lit, turn)
    facing = dot(normal, towards).clamp(0, 1)
    sheen = 0.035 * material.gloss * material.occlusion * (1 - facing) ** 4
    channels = zip(diffuse, material.albedo.unbind(1), light.key_colour, light.ambient_high, strict=True)
    colour = torch.stack([albedo * around + specular * tint + sheen * sky for around, albedo, tint, sky in channels])
    _glow_ears(colour, light, surface, material, normal, key, shadow)
    hairs, own = surface.num_mesh, material.hair[surface.num_mesh :]
    for k, shine in enumerate(_strand_shine(surface, material, normal, towards, key, lit)):
        colour[k, hairs:] += shine * own * light.key_colour[k]
    _look_through_lenses(colour, figure, light, surface, towards, key)
    return colour


def _lit(light: Light, lamp: Lamp, surface: Surface, normal: Tensor, cosine: Tensor, shadow: DepthMap) -> Float[Tensor, " p"]:
    """Fraction of the key light that reaches each sample; 0 where the surface faces too far away for wrapped shading."""
    bias = (
        0.003 + 0.0022 * light.softness * (1 - cosine.clamp(0, 1)) ** 2
    )  # a wide filter also samples the slanted surface itself, nearer to the light
    hairs = surface.part[surface.num_mesh :]
    bias[surface.num_mesh :] = torch.where(hairs == HAIR, 0.009, 0.004)
    towards = cosine > -max(_WRAP)
    towards[surface.num_mesh :] = True
    reached = Selected.where(towards)
    place = torch.add(reached.pick(surface.position), reached.pick(normal), alpha=0.0025)
    lit = torch.zeros_like(cosine)
    reached.put(lit, shadow.visible(place, bias_m=reached.pick(bias), taps=lamp.taps))
    return lit


def _look_through_lenses(colour: Tensor, figure: Figure, light: Light, surface: Surface, towards: Tensor, key: Tensor) -> None:
    """Tints samples behind a lens and adds the lens's reflection of the ambient dome and the key light."""
    if figure.worn is None:
        return
    behind = Selected.where(surface.glass.abs().sum(1) > 0)
    normal, towards = behind.pick(surface.glass), behind.pick(towards)
    facing = dot(normal, towards).clamp(0, 1)
    mirror = 2 * facing[:, None] * normal - towards
    share = 0.035 + 0.965 * (1 - facing) ** 5
    up = (mirror[:, 2] * 0.5 + 0.5).clamp(0, 1)
    window = 4.0 * smoothstep(0.955, 0.975, mirror @ key)
    for k, tint in enumerate(figure.worn.tint):
        sky = light.ambient_high[k] * up + light.ambient_low[k] * (1 - up) + window * light.key_colour[k]
        behind.put(colour[k], behind.pick(colour[k]) * tint + share * sky)


def _glow_ears(
    colour: Tensor, light: Light, surface: Surface, material: Material, normal: Tensor, key: Tensor, shadow: DepthMap
) -> None:
    """Red translucency of ears whose far side is lit."""
    x, y, z = surface.template.unbind(1)
    ear = (surface.part == SKIN) & (x.abs() > 0.070) & (y > -0.075) & (y < -0.010) & (z > 0.665) & (z < 0.756)
    turned_away = Selected.where(ear & (normal @ key < 0))
    outwards = turned_away.pick(normal)
    behind = turned_away.pick(surface.position) - outwards * _EAR_THICKNESS_M
    lit = shadow.visible(behind + key * 0.003, bias_m=0.003, taps=constant(soft_taps(3.0), key.device))
    through = lit * (-(outwards @ key)).clamp(0, 1)
    for k, albedo in enumerate(turned_away.pick(material.albedo).unbind(1)):
        turned_away.add(colour[k], albedo * through * (_EAR_TRANSMITTANCE[k] * light.key_colour[k]))


def _strand_shine(
    surface: Surface, material: Material, normal: Tensor, towards: Tensor, key: Tensor, lit: Tensor
) -> list[Float[Tensor, " s"]]:
    """Highlights of strands: a white one shifted towards the root and a wider, coloured one shifted towards the tip.

    The two lobes of S. Marschner et al., "Light scattering from human hair fibers" (2003), in the approximation of T. Scheuermann,
    "Practical real-time hair rendering and shading" (2004). One array per channel.
    """
    rows = slice(surface.num_mesh, None)
    normal, along, towards = normal[rows], surface.tangent, towards[rows]
    half = unit(towards + key)
    facing = (normal @ key * 0.75 + 0.25).clamp(0, 1)

    def lobe(shift: float, power: float) -> Tensor:
        lean = dot(unit(torch.add(along, normal, alpha=shift)), half)
        return (1 - lean * lean).clamp_min(0) ** (power / 2)

    open_to_light = lit[rows] * facing * material.occlusion[rows]
    white, coloured = 0.055 * lobe(-0.10, 90.0) * open_to_light, 0.16 * lobe(0.14, 22.0) * open_to_light
    return [white + coloured * own for own in material.albedo[rows].unbind(1)]


def _face_camera(surface: Surface, material: Material, towards: Tensor) -> tuple[Tensor, Material]:
    """Flips the normals of curtain hair seen from inside and darkens it there."""
    hanging = Selected.where((surface.part == HAIR) & (surface.uv[:, 1] >= FIRST_TEXTURE_ROW))
    inside = hanging.narrowed(Selected.where(dot(hanging.pick(surface.normal), hanging.pick(towards)) < 0))
    normal, occlusion = surface.normal.clone(), material.occlusion.clone()
    inside.put(normal, -inside.pick(normal))
    inside.put(occlusion, 0.45 * inside.pick(occlusion))
    return normal, replace(material, occlusion=occlusion)


def _diffuse(
    light: Light, lamp: Lamp, material: Material, normal: Tensor, key: Tensor, cosine: Tensor, lit: Tensor
) -> list[Float[Tensor, " p"]]:
    """Diffuse light, per channel, before albedo."""
    skin = material.skin
    across = F.normalize(torch.stack([-key[0], key[1], torch.full_like(key[2], 0.2)]), dim=0)
    behind = F.normalize(torch.stack([-key[0], torch.full_like(key[1], 0.7), torch.full_like(key[2], 0.35)]), dim=0)
    fill = light.fill * ((normal @ across) * 0.5 + 0.5).clamp_min(0)
    rim = light.rim * (normal @ behind).clamp_min(0)
    channels = []
    for k in range(3):
        wrap = _WRAP[k] * skin
        direct = ((cosine + wrap) / (1 + wrap)).clamp_min(0) * _deepen(lit, _SHADOW_TINT[k], skin)
        rise = 0.5 * (light.ambient_high[k] - light.ambient_low[k])
        dome = (normal @ lamp.slope[k] + (light.ambient_low[k] + rise)).clamp_min(0)
        soft = dome + fill * (light.key_colour[k] * light.fill_colour[k]) + rim * light.rim_colour[k]
        channels.append(direct * light.key_colour[k] + soft * _deepen(material.occlusion, _HOLLOW_TINT[k], skin))
    return channels


def _specular(
    figure: Figure, material: Material, surface: Surface, normal: Tensor, towards: Tensor, key: Tensor, lit: Tensor, turn: Tensor
) -> Tensor:
    half = unit(towards + key)
    grazing = (1 - dot(towards, half).clamp_min(0)) ** 5
    cosine = (normal @ key).clamp_min(0)
    skin = (0.030 + 0.97 * grazing) * (0.65 * _lobe(normal, half, 18.0) + 0.35 * _lobe(normal, half, 64.0))
    shine = material.gloss * (1 - material.hair) * skin * cosine
    wet = Selected.where(material.eye)
    glint = _lobe(wet.pick(normal), wet.pick(half), 420.0)
    wet.put(shine, (0.028 + 0.97 * wet.pick(grazing)) * glint * wet.pick(cosine) * 2.6)
    strands = Selected.where(material.hair[: surface.num_mesh] > 0.02)
    strands.add(shine, strands.pick(material.hair) * _hair_shine(figure, surface, normal, half, cosine, turn, strands))
    return shine * lit


def _hair_shine(
    figure: Figure, surface: Surface, normal: Tensor, half: Tensor, cosine: Tensor, turn: Tensor, hairs: Selected
) -> Float[Tensor, " s"]:
    """Anisotropic highlight of hair whose strands run along the meridians from the hair's pole."""
    ray = hairs.pick(surface.template) - constant(SKULL_CENTRE, normal.device)
    pole = turn @ figure.strand_pole
    facing = hairs.pick(normal)
    along = pole - facing * (facing @ pole)[:, None]
    along = unit(along + 1e-4 * ray)
    sine = (1 - dot(along, hairs.pick(half)) ** 2).clamp_min(0).sqrt()
    return (0.020 * sine**40 + 0.010 * sine**12) * (0.2 + 0.8 * hairs.pick(cosine))
