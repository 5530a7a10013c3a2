"""Paints an actor's skin and hair into the head's texture, in template coordinates.

Everything is positioned in metres on the template head (x to the subject's left, y backwards, z up) and transferred to the texture
through its position map. Small hairs are first drawn as strokes on an orthographic front view and sampled from there.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.head.rig import Rig, TextureMap, load_rig, smoothstep
from faceswap_lab.actors.person.traits import Traits

HAIRLINE_Y = (-0.175, -0.150, -0.130, -0.105, -0.085, -0.072, -0.062, -0.050, -0.030, 0.000, 0.070)
HAIRLINE_Z = (0.810, 0.808, 0.802, 0.787, 0.764, 0.730, 0.712, 0.735, 0.700, 0.640, 0.622)
"""Hairline height as a function of template y: forehead, temple, sideburn, ear, nape."""

_GREY = (0.40, 0.39, 0.375)
SKULL_CENTRE = (0.0, -0.030, 0.745)
_FRONT_LEFT, _FRONT_TOP, _FRONT_WIDTH, _FRONT_HEIGHT, _FRONT_STEP = -0.08, 0.82, 0.16, 0.22, 0.0002


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Paint:
    """Painted layers before hair is composited over skin: albedo (linear RGB), hair, lip and brow masks, and the relief.

    The relief is zero-mean unit noise, followed by the slopes of the skin's height along x and z.
    """

    skin: Float[Tensor, "3 h w"]
    hair_colour: Float[Tensor, "3 h w"]
    hair: Float[Tensor, "h w"]
    lips: Float[Tensor, "h w"]
    brows: Float[Tensor, "h w"]
    relief: Float[Tensor, "3 h w"]


def noise(draw: np.random.Generator, size: tuple[int, int], cells: tuple[float, ...], stretch: float = 1.0) -> Float[Tensor, "h w"]:
    """Smooth noise of unit deviation; `cells` per texture height for each octave, `stretch` > 1 elongates them vertically."""
    total = torch.zeros(size)
    strength = 1.0
    for count in cells:
        grid = (max(2, round(count / stretch)), max(2, round(count * size[1] / size[0])))
        field = torch.from_numpy(draw.standard_normal(grid).astype(np.float32))
        total += strength * F.interpolate(field[None, None], size, mode="bicubic", align_corners=True)[0, 0]
        strength *= 0.6
    return total / total.std()


def bump(x: Tensor, centre: float, width: float) -> Tensor:
    """An unnormalised Gaussian with peak value 1."""
    return torch.exp(-(((x - centre) / width) ** 2))


def hairline(y: Tensor, x: Tensor, traits: Traits) -> Tensor:
    """Hairline height at y; over the forehead it recedes by `hairline_m` and dips at the widow's peak."""
    base = torch.from_numpy(np.interp(y.cpu().numpy(), HAIRLINE_Y, HAIRLINE_Z).astype(np.float32))
    front = smoothstep(-0.06, -0.11, y)
    return base + front * (traits.hairline_m - traits.widow_peak_m * bump(x, 0.0, 0.016))


def paint(traits: Traits, texels: TextureMap) -> Paint:
    """Paints one person's texture; takes about 0.2 s at 1024 rows."""
    x, y, z = texels.position.unbind(-1)
    draw = np.random.default_rng([31, traits.seed])
    size = (x.shape[0], x.shape[1])
    front = smoothstep(-0.085, -0.115, y)
    relief = noise(draw, size, (420, 800))
    strands, hair_cover = _hair(traits, draw, x, y, z)
    hair_cover = hair_cover * (1 - smoothstep(0.2, 0.6, texels.masks["ears"]))
    lips = smoothstep(0.12, 0.95, texels.masks["lips"])
    skin = _complexion(traits, draw, size, x, z, front, relief)
    skin = _flush(traits, skin, x, y, z, front, texels)
    skin = _marks(traits, draw, skin, x, z, front)
    skin = _beard(traits, draw, skin, x, y, z, front, lips, texels.masks["face"])
    skin = _lips(traits, skin, lips, relief)
    skin, brows = _brows(traits, skin, x, z, front)
    skin = _lashes(traits, skin, x, y, z)
    roots = torch.lerp(torch.tensor(traits.hair), torch.tensor(_GREY), traits.grey)
    colour = 0.75 * roots[:, None, None] * (1 + strands).clamp(0.25, 2.2)
    return Paint(
        skin=skin.clamp(0, 1),
        hair_colour=colour.clamp(0, 1),
        hair=hair_cover,
        lips=lips,
        brows=brows,
        relief=_slopes(traits, draw, texels, relief, lips),
    )


def _slopes(traits: Traits, draw: np.random.Generator, texels: TextureMap, relief: Tensor, lips: Tensor) -> Float[Tensor, "3 h w"]:
    """The relief, and the slopes along x and z of the skin's height: pores, coarser with age, and vertical lines of the lips."""
    x = texels.position[..., 0]
    old = smoothstep(0.77, 0.93, torch.tensor(traits.age))
    pores = 0.000020 * relief + 0.000028 * (0.6 + 0.8 * old) * noise(draw, (x.shape[0], x.shape[1]), (230, 420))
    wavy = 0.00035 * noise(draw, (x.shape[0], x.shape[1]), (60,))
    height = pores * (1 - 0.8 * lips) + 0.000075 * lips * torch.sin((x + wavy) * (2 * math.pi / 0.0016))
    along_u, along_v = (torch.gradient(height, dim=k)[0] for k in (1, 0))
    du, dv = (torch.gradient(texels.position, dim=k)[0] for k in (1, 0))
    uu, uv, vv = (du * du).sum(-1), (du * dv).sum(-1), (dv * dv).sum(-1)
    determinant = (uu * vv - uv * uv).clamp_min(1e-15)
    a, b = (vv * along_u - uv * along_v) / determinant, (uu * along_v - uv * along_u) / determinant
    slope_x, slope_z = (a * du[..., k] + b * dv[..., k] for k in (0, 2))
    return torch.stack([relief, slope_x.clamp(-0.5, 0.5), slope_z.clamp(-0.5, 0.5)])


def _multiply(colour: Tensor, where: Tensor, factor: tuple[float, float, float]) -> Tensor:
    """Multiplies `colour` by `factor`, blended by the mask `where`."""
    return colour * (1 + where * (torch.tensor(factor)[:, None, None] - 1))


def _complexion(
    traits: Traits, draw: np.random.Generator, size: tuple[int, int], x: Tensor, z: Tensor, front: Tensor, relief: Tensor
) -> Tensor:
    broad, fine, blood = noise(draw, size, (7, 15)), noise(draw, size, (110, 230)), noise(draw, size, (18, 40))
    tone = 1 + 0.022 * broad + 0.012 * fine + 0.022 * relief * front
    tone = tone * (1 + 0.05 * bump(z, 0.785, 0.03) * front)
    colour = torch.tensor(traits.skin)[:, None, None] * tone
    calm = 1 - 0.5 * traits.melanin
    return _multiply(colour, blood.clamp(-2, 2) * calm, (1.006, 0.985, 0.982))


def _flush(traits: Traits, skin: Tensor, x: Tensor, y: Tensor, z: Tensor, front: Tensor, texels: TextureMap) -> Tensor:
    """Redness of cheeks, nose, ears and chin; shading around the eyes."""
    side = x.abs()
    calm = 1 - 0.55 * traits.melanin
    cheek = bump(side, 0.043, 0.021) * bump(z, 0.690, 0.022) * front
    nose = bump(x, 0.0, 0.013) * bump(z, 0.687, 0.016) * smoothstep(-0.13, -0.15, y)
    chin = bump(x, 0.0, 0.018) * bump(z, 0.632, 0.012) * front
    warm = (0.55 * cheek + 0.55 * nose + 0.25 * chin + 0.5 * texels.masks["ears"]) * calm
    skin = _multiply(skin, warm, (1.07, 0.82, 0.80))
    skin = _multiply(skin, 0.6 * texels.masks["eyelids"], (0.90, 0.80, 0.80))
    under = bump(side, 0.031, 0.015) * bump(z, 0.7115, 0.0055) * front
    tired = 0.35 + 0.5 * smoothstep(0.77, 0.93, torch.tensor(traits.age))
    return _multiply(skin, under * tired, (0.84, 0.79, 0.82))


def _marks(traits: Traits, draw: np.random.Generator, skin: Tensor, x: Tensor, z: Tensor, front: Tensor) -> Tensor:
    spots = noise(draw, (x.shape[0], x.shape[1]), (420, 640))
    skin = _multiply(skin, smoothstep(1.2, 2.2, spots) * traits.freckles * bump(z, 0.70, 0.03) * front, (0.76, 0.62, 0.52))
    for mole_x, mole_z, radius in traits.moles:
        spot = torch.exp(-(((x - mole_x) ** 2 + (z - mole_z) ** 2) / radius**2)) * front
        skin = _multiply(skin, spot, (0.38, 0.28, 0.25))
    return skin


def _beard(
    traits: Traits,
    draw: np.random.Generator,
    skin: Tensor,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    front: Tensor,
    lips: Tensor,
    face: Tensor,
) -> Tensor:
    size = (x.shape[0], x.shape[1])
    if traits.beard <= 0 and traits.stubble <= 0:
        return skin
    uneven = 0.0022 * noise(draw, size, (50, 110))
    cover = beard_cover(traits, x, y, z, uneven) * (1 - smoothstep(0.1, 0.5, lips))
    cover = cover * smoothstep(0.02, 0.35, face)
    follicles = noise(draw, size, (700,)).clamp(0, 2)
    skin = _multiply(skin, cover * follicles * 0.28 * traits.stubble * (1 - 0.7 * traits.melanin), (0.45, 0.47, 0.52))
    shade = traits.stubble * 0.35 * (1 - 0.6 * traits.melanin)
    skin = _multiply(skin, cover * shade, (0.66, 0.70, 0.76))
    if traits.beard <= 0:
        return skin
    alpha = (cover * (0.25 + 0.45 * traits.beard)).clamp(0, 0.8)
    roots = 0.7 * torch.lerp(torch.tensor(traits.hair), torch.tensor(_GREY), traits.grey)[:, None, None]
    return skin * (1 - alpha) + roots * alpha


def beard_cover(traits: Traits, x: Tensor, y: Tensor, z: Tensor, uneven: Tensor) -> Tensor:
    """Beard mask, 0..1, at template coordinates, according to the beard's style."""
    side = x.abs()
    front = smoothstep(-0.085, -0.115, y)
    jaw = smoothstep(0.690, 0.668, z + uneven - 0.30 * (side - 0.03).clamp_min(0)) * smoothstep(0.596, 0.625, z + uneven)
    jaw = jaw * smoothstep(-0.050, -0.068, y)
    bare = bump(side, 0.0, 0.026) * smoothstep(0.642, 0.656, z)
    moustache = bump(z + uneven, 0.6765, 0.0062) * smoothstep(0.034, 0.024, side) * front
    chin = bump(side, 0.0, 0.02) * bump(z, 0.634, 0.014) * front
    if traits.beard_style == "moustache":
        return moustache
    if traits.beard_style == "goatee":
        near = smoothstep(0.032, 0.024, side + uneven)
        return torch.maximum(torch.maximum(jaw * (1 - bare), chin * jaw) * near, moustache)
    return torch.maximum(torch.maximum(jaw * (1 - bare), moustache), chin * jaw)


def _lips(traits: Traits, skin: Tensor, lips: Tensor, relief: Tensor) -> Tensor:
    red = traits.lip_redness
    light, dark = (
        torch.tensor([0.82 - 0.08 * red, 0.58 - 0.23 * red, 0.59 - 0.21 * red]),
        torch.tensor([0.98, 0.80 - 0.18 * red, 0.84 - 0.14 * red]),
    )
    factor = light * (1 - traits.melanin) + dark * traits.melanin
    return skin * (1 + lips * (1 + 0.04 * relief) * (factor[:, None, None] - 1))


def _front_view(canvas: np.ndarray, x: Tensor, z: Tensor) -> Tensor:
    """Samples a front-view canvas at texels."""
    grid = torch.stack([(x - _FRONT_LEFT) / _FRONT_WIDTH * 2 - 1, (_FRONT_TOP - z) / _FRONT_HEIGHT * 2 - 1], -1)
    picture = torch.from_numpy(canvas.astype(np.float32) / 255)[None, None]
    return F.grid_sample(picture, grid[None], align_corners=False, padding_mode="zeros")[0, 0]


def brow_line(traits: Traits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, z and half thickness of the left brow from its inner to its outer end, in metres."""
    brows = traits.brows
    x = np.array([0.012, 0.019, 0.028, 0.038, 0.047, 0.0555]) + np.array([1, 0.8, 0.4, 0.2, 0, 0]) * brows.gap_m
    z = (
        np.array([0.7464, 0.7480, 0.7497, 0.7507, 0.7487, 0.7444])
        + brows.height_m
        + np.array([0, 0.2, 0.6, 1, 0.7, 0.1]) * brows.arch_m
    )
    return x, z, np.array([0.0022, 0.0030, 0.0031, 0.0026, 0.0018, 0.0008]) * brows.thickness


def _brow_strokes(traits: Traits) -> np.ndarray:
    """Both brows as single hairs on the front view: upright at the inner end, following the brow line at the outer."""
    draw = np.random.default_rng([32, traits.seed])
    shape = (round(_FRONT_HEIGHT / _FRONT_STEP), round(_FRONT_WIDTH / _FRONT_STEP))
    canvas = np.zeros(shape, np.uint8)
    xs, zs, half = brow_line(traits)
    for side in (-1, 1):
        for _ in range(round(330 * traits.brows.density)):
            share = draw.random() ** 0.85
            at = share * (len(xs) - 1)
            x, z, thick = (float(np.interp(at, np.arange(len(xs)), values)) for values in (xs, zs, half))
            z += thick * draw.uniform(-1.1, 0.8)
            angle = math.radians(68 - 84 * share + draw.normal(0, 9))
            length = draw.uniform(0.0035, 0.0065) * (1 - 0.3 * share)
            ends = [(x, z), (x + math.cos(angle) * length, z + math.sin(angle) * length * 0.75)]
            pixels = [
                (round((side * px - _FRONT_LEFT) / _FRONT_STEP * 8), round((_FRONT_TOP - pz) / _FRONT_STEP * 8)) for px, pz in ends
            ]
            cv2.line(canvas, pixels[0], pixels[1], int(draw.uniform(110, 215) * min(1.0, 0.35 + 3 * share)), 2, cv2.LINE_AA, 3)
    return cv2.GaussianBlur(canvas, (0, 0), 1.6)


def _brows(traits: Traits, skin: Tensor, x: Tensor, z: Tensor, front: Tensor) -> tuple[Tensor, Tensor]:
    """The skin with brows painted on, and the brow mask (0..1, for label maps)."""
    xs, zs, half = brow_line(traits)
    side = x.abs().numpy()
    middle = torch.from_numpy(np.interp(side, xs, zs).astype(np.float32))
    thick = torch.from_numpy(np.interp(side, xs, half, left=0, right=0).astype(np.float32))
    ends = torch.from_numpy(
        (np.clip((side - xs[0] + 0.001) / 0.011, 0, 1) * np.clip((xs[-1] - side) / 0.006, 0, 1)).astype(np.float32)
    )
    band = torch.exp(-(((z - middle) / (1.05 * thick).clamp_min(1e-4)) ** 2)) * ends
    hairs = _front_view(_brow_strokes(traits), x, z)
    alpha = ((0.42 * band + 0.40 * hairs) * traits.brows.density).clamp(0, 0.7) * front
    colour = (
        torch.lerp(torch.tensor(traits.hair), torch.tensor(_GREY), traits.grey)[:, None, None] * 0.85
        + 0.04 * torch.tensor(traits.skin)[:, None, None]
    )
    return skin * (1 - alpha) + colour * alpha, torch.maximum(band, alpha) * front


def _lashes(traits: Traits, skin: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """The dark lash line, stronger on the upper lid, and the crease of the upper lid."""
    rig: Rig = load_rig()
    strength = 0.52 if traits.is_male else 0.66
    for centre in (rig.eye_left, rig.eye_right):
        cx, cy, cz = centre.tolist()
        distance = ((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2).sqrt()
        above = smoothstep(-0.004, 0.002, z - cz)
        front = smoothstep(-0.116, -0.126, y)
        rim = smoothstep(0.0170, 0.0149, distance) * front * (0.30 + strength * above)
        skin = _multiply(skin, rim.clamp(0, 0.95), (0.12, 0.09, 0.09))
        skin = _multiply(skin, bump(distance, 0.0195, 0.0016) * above * smoothstep(-0.112, -0.124, y), (0.80, 0.74, 0.72))
    return skin


def strand_pole(traits: Traits) -> tuple[float, float, float]:
    """The point the strands radiate from, as a direction from the skull's centre: the crown, or the knot at the back."""
    return (0.0, 0.94, 0.34) if traits.cut.flow == "knot" else (0.0, 0.38, 0.925)


def strand_noise(traits: Traits, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    """Zero-mean strand brightness, long along the hair and fine across it, at template points on the scalp."""
    pole = F.normalize(torch.tensor(strand_pole(traits)), dim=0)
    across = torch.linalg.cross(torch.tensor([1.0, 0.0, 0.0]), pole)
    ray = F.normalize(points - torch.tensor(SKULL_CENTRE), dim=-1)
    around = torch.atan2((ray * across).sum(-1), ray[..., 0]) / math.pi
    down = torch.acos((ray * pole).sum(-1).clamp(-1, 1)) / math.pi * 2 - 1
    draw = np.random.default_rng([33, traits.seed])
    curly = traits.cut.style == "afro"
    total = torch.zeros(points.shape[:-1])
    grid = torch.stack([around, down], -1).reshape(1, 1, -1, 2)
    for columns, rows, weight in ((70, 5, 0.9), (190, 9, 1.0), (420, 16, 0.7)):
        rows = columns // 2 if curly else rows
        field = torch.from_numpy(draw.standard_normal((rows, columns)).astype(np.float32))
        field = torch.cat([field, field[:, :1]], 1)[None, None]
        total += weight * F.grid_sample(field, grid, mode="bilinear", align_corners=True, padding_mode="border").reshape(
            total.shape
        )
    return total * (0.20 if curly else 0.24)


def _hair(traits: Traits, draw: np.random.Generator, x: Tensor, y: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Zero-mean root brightness, and the hair coverage of the scalp (0..1) with a soft, uneven edge."""
    strands = strand_noise(traits, torch.stack([x, y, z], -1))
    size = (x.shape[0], x.shape[1])
    edge = 0.0025 * noise(draw, size, (60, 130, 300)) + 0.004 * strands
    cover = smoothstep(-0.004, 0.022, z - hairline(y, x, traits) + edge) * bare_crown(traits, x, y, z)
    dense = {"bald": 0.30, "buzz": 0.74, "cropped": 0.9}.get(traits.cut.style, 1.0)
    return strands, cover * dense


def bare_crown(traits: Traits, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """0 where a shaved or balding head has no hair: a patch on the crown that grows until it reaches the forehead."""
    if traits.cut.style == "bald":
        return smoothstep(0.752, 0.725, z) * smoothstep(-0.080, -0.050, y)
    if traits.balding <= 0:
        return torch.ones_like(x)
    crown = ((x / 0.055) ** 2 + ((y - 0.005) / 0.060) ** 2).sqrt() + (z < 0.78) * 9.0
    return 1 - 0.92 * smoothstep(0.35 + traits.balding, 0.05 + 0.75 * traits.balding, crown) * min(1.0, traits.balding * 1.6)
