"""How the light falls on each drawn sample.

Skin is a diffuse wrap shifted to red with two specular lobes, hair shines along its strands (J. Kajiya, T. Kay, "Rendering fur with
three dimensional textures", 1989), eyes have a sharp highlight, lenses mirror. All light is linear RGB.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.figure import Figure
from faceswap_lab.actors.hair import FIRST_TEXTURE_ROW
from faceswap_lab.actors.headpack import HAIR, SKIN
from faceswap_lab.actors.material import Material, material_of
from faceswap_lab.actors.rig import Rig, smoothstep
from faceswap_lab.actors.shadow import DepthMap
from faceswap_lab.actors.skin import HEAD_MIDDLE
from faceswap_lab.actors.surface import Surface
from faceswap_lab.actors.view import Light
from faceswap_lab.actors.wrinkles import fold

_WRAP = (0.36, 0.19, 0.13)
_EAR_M, _BLOOD_LIGHT = 0.008, (0.55, 0.10, 0.05)


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
    dust: Float[Tensor, "d 3"] | None = None,
) -> Float[Tensor, "p 3"]:
    """Light that leaves each sample towards `eye`.

    `rows` is the resolution of the shadow map; `dust` are points of hair and frames that cast shadows.
    """
    device = str(points.device)
    material = material_of(rig, figure, surface)
    towards = F.normalize(eye - surface.position, dim=1)
    normal, material = _face_camera(surface, material, towards)
    normal = fold(normal, material.slope[:, 0], material.slope[:, 1], turn)
    key = F.normalize(torch.tensor(light.key_direction, device=device), dim=0)
    key_colour = torch.tensor(light.key_colour, device=device)
    shadow = DepthMap.from_direction(points, rig.shadow_triangles(long_hair=figure.long_hair), key, rows=rows, dust=dust)
    grazing = (1 - (normal @ key).clamp(0, 1)) ** 2
    bias = 0.003 + 0.0022 * light.softness * grazing  # a wide blur reads the same slanted surface, nearer to the light
    bias[surface.num_mesh :] = torch.where(surface.part[surface.num_mesh :] == HAIR, 0.009, 0.004)
    lit = shadow.visible(surface.position + normal * 0.0025, bias_m=bias, softness=light.softness)
    diffuse = _diffuse(light, material, normal, key, key_colour, lit)
    specular = _specular(figure, material, surface, normal, towards, key, lit, turn)
    facing = (normal * towards).sum(1).clamp(0, 1)
    ambient = torch.tensor(light.ambient_high, device=device)
    sheen = (0.035 * material.gloss * material.occlusion * (1 - facing) ** 4)[:, None] * ambient
    colour = material.albedo * diffuse + specular[:, None] * key_colour + sheen
    ears, glow = _ears_glow(surface, normal, key, shadow)
    colour[ears] += material.albedo[ears] * glow * key_colour
    hairs = _strand_shine(surface, material, normal, towards, key, lit)
    colour[surface.num_mesh :] += hairs * key_colour * material.hair[surface.num_mesh :, None]
    return _through_lenses(figure, light, surface, colour, towards, key)


def _through_lenses(figure: Figure, light: Light, surface: Surface, colour: Tensor, towards: Tensor, key: Tensor) -> Tensor:
    """What lies behind a lens is filtered, and the lens mirrors the sky and a square of the key light."""
    if figure.worn is None:
        return colour
    rows = (surface.glass.abs().sum(1) > 0).nonzero()[:, 0]
    normal, towards = surface.glass[rows], towards[rows]
    facing = (normal * towards).sum(1).clamp(0, 1)
    mirror = 2 * facing[:, None] * normal - towards
    share = (0.035 + 0.965 * (1 - facing) ** 5)[:, None]
    high, low = (torch.tensor(ambient, device=colour.device) for ambient in (light.ambient_high, light.ambient_low))
    up = (mirror[:, 2:] * 0.5 + 0.5).clamp(0, 1)
    window = smoothstep(0.955, 0.975, mirror @ key)[:, None] * torch.tensor(light.key_colour, device=colour.device)
    seen = colour.clone()
    seen[rows] = colour[rows] * figure.worn.tint + share * (high * up + low * (1 - up) + 4.0 * window)
    return seen


def _ears_glow(surface: Surface, normal: Tensor, key: Tensor, shadow: DepthMap) -> tuple[Tensor, Float[Tensor, "e 3"]]:
    """Red light that comes through the ears from behind, where their other side is lit."""
    x, y, z = surface.template.unbind(1)
    ear = (surface.part == SKIN) & (x.abs() > 0.070) & (y > -0.075) & (y < -0.010) & (z > 0.665) & (z < 0.756)
    rows = (ear & (normal @ key < 0)).nonzero()[:, 0]
    behind = surface.position[rows] - normal[rows] * _EAR_M
    lit = shadow.visible(behind + key * 0.003, bias_m=0.003, softness=3.0)
    through = lit * (-(normal[rows] @ key)).clamp(0, 1)
    return rows, through[:, None] * torch.tensor(_BLOOD_LIGHT, device=normal.device)


def _strand_shine(
    surface: Surface, material: Material, normal: Tensor, towards: Tensor, key: Tensor, lit: Tensor
) -> Float[Tensor, "s 3"]:
    """Highlights of single hairs: a white one shifted to the root, a coloured, wider one shifted to the tip, light from behind.

    The two lobes of S. Marschner et al., "Light scattering from human hair fibers" (2003), in the cheap form of T. Scheuermann,
    "Practical real-time hair rendering and shading" (2004).
    """
    rows = slice(surface.num_mesh, None)
    normal, along, towards = normal[rows], surface.tangent, towards[rows]
    half = F.normalize(towards + key, dim=1)
    facing = (normal @ key * 0.75 + 0.25).clamp(0, 1)

    def lobe(shift: float, power: float) -> Tensor:
        lean = (F.normalize(along + shift * normal, dim=1) * half).sum(1)
        return (1 - lean * lean).clamp_min(0) ** (power / 2)

    own = material.albedo[rows].sqrt()
    open_to_light = (lit[rows] * facing * material.occlusion[rows])[:, None]
    return (0.055 * lobe(-0.10, 90.0)[:, None] + 0.16 * own * lobe(0.14, 22.0)[:, None] * own) * open_to_light


def _face_camera(surface: Surface, material: Material, towards: Tensor) -> tuple[Tensor, Material]:
    """Turns the normals of hair seen from inside, where it is darker."""
    inside = (surface.part == HAIR) & (surface.place[:, 1] >= FIRST_TEXTURE_ROW) & ((surface.normal * towards).sum(1) < 0)
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
    right, front, fill_colour, rim_colour = (
        torch.tensor(colour, device=device)
        for colour in (light.ambient_right, light.ambient_front, light.fill_colour, light.rim_colour)
    )
    dome = (high * up + low * (1 - up) + right * normal[:, :1] - front * normal[:, 1:2]).clamp_min(0)
    soft = (dome + key_colour * fill_colour * fill[:, None] + rim_colour * rim[:, None]) * occlusion
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
    shine[wet] = (0.028 + 0.97 * grazing[wet]) * _lobe(normal[wet], half[wet], 420.0) * cosine[wet] * 2.6
    strands = (material.hair[: surface.num_mesh] > 0.02).nonzero()[:, 0]
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
