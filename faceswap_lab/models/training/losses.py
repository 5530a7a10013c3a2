"""Training losses on pictures 0..1. Reported metrics are in metrics.py."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def _gaussian(sigma: float, radius: int, like: Tensor) -> Tensor:
    offsets = torch.arange(-radius, radius + 1, device=like.device, dtype=like.dtype)
    weights = torch.exp(-(offsets**2) / (2 * sigma**2))
    return weights / weights.sum()


def _blur(x_BCHW: Tensor, kernel: Tensor) -> Tensor:
    """Separable Gaussian with zero padding: two passes cost 2k instead of k^2 products per pixel."""
    channels, radius = x_BCHW.shape[1], len(kernel) // 2
    across = kernel.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    down = kernel.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    x_BCHW = functional.conv2d(x_BCHW, across, padding=(0, radius), groups=channels)
    return functional.conv2d(x_BCHW, down, padding=(radius, 0), groups=channels)


def ssim_map(a_BCHW: Float[Tensor, "b c h w"], b_BCHW: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """Structural similarity at each pixel (Wang et al. 2004): Gaussian window of sigma 1.5, 11 pixels wide, range 1, -1..1."""
    kernel = _gaussian(1.5, 5, a_BCHW)
    stacked = torch.cat([a_BCHW, b_BCHW, a_BCHW * a_BCHW, b_BCHW * b_BCHW, a_BCHW * b_BCHW], 1)
    mean_a, mean_b, mean_aa, mean_bb, mean_ab = _blur(stacked, kernel).chunk(5, 1)
    c1, c2 = 0.01**2, 0.03**2
    luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
    structure = (2 * (mean_ab - mean_a * mean_b) + c2) / (mean_aa - mean_a**2 + mean_bb - mean_b**2 + c2)
    return luminance * structure


def picture_loss(
    drawn_BCHW: Float[Tensor, "b 3 h w"],
    wanted_BCHW: Float[Tensor, "b 3 h w"],
    face_B1HW: Float[Tensor, "b 1 h w"],
    focus_B1HW: Float[Tensor, "b 1 h w"],
) -> Float[Tensor, ""]:
    """3 x L1 + 0.5 x (1 - SSIM). The face has weight 1.0, its surroundings 0.15 (they stabilise the light and are masked
    out in the paste), and eyes and mouth 1.0 more: a fifteenth of the crop, but perceptually dominant."""
    weight = 0.15 + 0.85 * face_B1HW + focus_B1HW
    l1 = ((drawn_BCHW - wanted_BCHW).abs() * weight).mean()
    dissimilarity = ((1 - ssim_map(drawn_BCHW, wanted_BCHW)) * weight).mean()
    return 3 * l1 + 0.5 * dissimilarity


def mask_loss(drawn_B1HW: Float[Tensor, "b 1 h w"], wanted_B1HW: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Mean absolute error of the predicted paste mask."""
    return (drawn_B1HW - wanted_B1HW).abs().mean()
