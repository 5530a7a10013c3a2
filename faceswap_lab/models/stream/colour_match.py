"""Colour matching of a swapped crop to the target, shared by both canvas back ends.

Statistics are computed per crop, weighted by its mask. There is no temporal smoothing, as batches are independent (see
`models.stream.swap_frames`): the colours are as stable over time as the mask and the two pictures.

Off by default. Four pairs of actors, 12 frames each, PSNR in dB where a perfect swap changes pixels, against the truth with the
source's skin tone / the target's (`benchmarks/colour.py`; its README has SSIM and flicker too):

    swapper                                none           mean           reinhard
    pair, trained on truth                 28.0 / 14.6    15.5 / 23.7    14.8 / 24.5
    warp, which adapts to light itself     14.7 / 19.2    14.7 / 19.2    14.6 / 18.8
    truth under another light              17.0 / 16.1    17.0 / 22.4    16.8 / 23.2
"""

from dataclasses import replace
from functools import cache
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import constant
from faceswap_lab.faces import blend
from faceswap_lab.models.protocols import Crops, Swapped

Colour = Literal["none", "mean", "reinhard"]
"""How a swapped crop's colours are matched to the target's: not at all; mean in CIELAB (also called avg-color); mean and standard
deviation in CIELAB (Reinhard's colour transfer, rct)."""

# OpenCV's constants: the host back end uses cv2.cvtColor, and both must agree within a level. The conversions are our own because
# OpenCV and scikit-image run on the host only, which would require synchronisation, and kornia, a large dependency for two
# functions, has another white point.
_TO_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.950456, 1.0, 1.088754)
# Rec. 601, as OpenCV's conversion to grey.
_LUMA = (0.299, 0.587, 0.114)
_GREY_LEVELS, _GREY_SHARE, _GREY_STEP = 4, 0.01, 4
EMPTY = 1e-3
"""Sum of a mask's pixels up to which it counts as empty."""


def seen_part(crops: Crops, swapped: Swapped) -> Float32[np.ndarray, "s s"] | None:
    """The face region of a crop for a swapper without masks: its template's ellipse. None if there is a mask, or no ellipse.

    Colours are measured and changed only there: the background drawn by such a swapper is right already.
    """
    if swapped.mask is not None or crops.template not in blend.ELLIPSES:
        return None
    return blend.soft_mask(swapped.pixels.shape[-1], template=crops.template)


def keep_grey(crops: Crops, swapped: Swapped) -> Swapped:
    """The same output, grey where the crop is grey: a black-and-white picture stays one, whatever colours the swapper draws.

    Grey is a crop with at most 1 % of pixels whose channels differ by more than 4 levels: black-and-white pictures, also from JPEG
    and H.264, differ by 0, colour pictures at 15 % of their light or saturation still by 7 in the mean. A toned picture (sepia) has
    colour, and is treated so: it cannot be told from one in coloured light.
    """
    sample = crops.pixels[:, :, ::_GREY_STEP, ::_GREY_STEP]
    if sample.device.type == "cpu":
        # In numpy, and at once: torch would wake its thread pool, and here nothing waits for a device.
        is_grey = torch.from_numpy(_are_grey(sample.detach().numpy()))
        if not is_grey.any():
            return swapped
    else:
        chroma = sample.amax(1) - sample.amin(1)
        is_grey = (chroma > _GREY_LEVELS / 255).float().mean((1, 2)) <= _GREY_SHARE
    pixels = swapped.pixels.detach().float()
    luma = _LUMA[0] * pixels[:, :1] + _LUMA[1] * pixels[:, 1:2] + _LUMA[2] * pixels[:, 2:]
    return replace(swapped, pixels=torch.where(is_grey.to(pixels.device)[:, None, None, None], luma.expand_as(pixels), pixels))


def _are_grey(pixels: Float32[np.ndarray, "n 3 h w"]) -> Bool[np.ndarray, " n"]:
    chroma = pixels.max(axis=1) - pixels.min(axis=1)
    grey: np.ndarray = (chroma > _GREY_LEVELS / 255).mean(axis=(1, 2)) <= _GREY_SHARE
    return grey


def match(
    pixels: Float[Tensor, "n 3 s s"], reference: Float[Tensor, "n 3 s s"], masks: Float[Tensor, "n 1 s s"], colour: Colour
) -> Float[Tensor, "n 3 s s"]:
    """`blend.match_colour` in torch, batched over n crops (0..1) and without synchronisation.

    A crop whose mask is empty keeps its colours.
    """
    total = masks.sum((2, 3), keepdim=True)
    weights = masks / total.clamp(min=EMPTY)
    own, wanted = to_lab(pixels), to_lab(reference)
    own_mean, own_spread = _moments(own, weights)
    mean, spread = _moments(wanted, weights)
    gain = (spread / own_spread.clamp(min=1e-3)).clamp(0.5, 2) if colour == "reinhard" else torch.ones_like(spread)
    return torch.where(total > EMPTY, to_rgb((own - own_mean) * gain + mean), pixels)


def _moments(
    lab: Float[Tensor, "n 3 s s"], weights: Float[Tensor, "n 1 s s"]
) -> tuple[Float[Tensor, "n 3 1 1"], Float[Tensor, "n 3 1 1"]]:
    mean = (lab * weights).sum((2, 3), keepdim=True)
    return mean, ((lab - mean) ** 2 * weights).sum((2, 3), keepdim=True).sqrt()


def to_lab(rgb: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n 3 s s"]:
    """CIELAB (L* 0..100, white D65) of sRGB 0..1."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4)
    to_xyz, white = (constant(values, rgb.device, rgb.dtype) for values in (_TO_XYZ, _WHITE))
    xyz = torch.einsum("ij,njhw->nihw", to_xyz, linear) / white[:, None, None]
    bent = torch.where(xyz > 0.008856, xyz.clamp(min=1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    x, y, z = bent.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def to_rgb(lab: Float[Tensor, "n 3 s s"]) -> Float[Tensor, "n 3 s s"]:
    """sRGB 0..1 of CIELAB, clipped to the gamut."""
    light, red, yellow = lab.unbind(1)
    y = (light + 16) / 116
    bent = torch.stack([y + red / 500, y, y - yellow / 200], 1)
    xyz = torch.where(bent > 0.206893, bent**3, (bent - 16 / 116) / 7.787) * constant(_WHITE, lab.device, lab.dtype)[:, None, None]
    linear = torch.einsum("ij,njhw->nihw", constant(_from_xyz(), lab.device, lab.dtype), xyz).clamp(0, 1)
    return torch.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055)


@cache
def _from_xyz() -> tuple[tuple[float, ...], ...]:
    """The inverse of `_TO_XYZ`. In torch, whose rounding is in the figures above."""
    return tuple(map(tuple, torch.linalg.inv(torch.tensor(_TO_XYZ, dtype=torch.float64)).tolist()))
