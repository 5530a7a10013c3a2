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
    edges: float = 0.0,
    fold: int = 1,
) -> Float[Tensor, ""]:
    """3 x L1 + 0.5 x (1 - SSIM) + `edges` x L1 of the differences between neighbouring pixels.

    The face has weight 1.0, its surroundings 0.15 (they stabilise the light and are masked out in the paste), and eyes and mouth
    1.0 more: a fifteenth of the crop, but perceptually dominant.
    SSIM is that of means over squares of `fold` pixels: on large pictures it would cost more than the network.
    """
    weight = 0.15 + 0.85 * face_B1HW + focus_B1HW
    l1 = ((drawn_BCHW - wanted_BCHW).abs() * weight).mean()
    drawn, wanted, seen = (_folded(part, fold) for part in (drawn_BCHW, wanted_BCHW, weight))
    dissimilarity = ((1 - ssim_map(drawn, wanted)) * seen).mean()
    loss = 3 * l1 + 0.5 * dissimilarity
    return loss + edges * _edge_loss(drawn_BCHW - wanted_BCHW, weight) if edges else loss


def _folded(x_BCHW: Tensor, fold: int) -> Tensor:
    return functional.avg_pool2d(x_BCHW, fold) if fold > 1 else x_BCHW


def _edge_loss(error_BCHW: Tensor, weight_B1HW: Tensor) -> Tensor:
    """The weighted mean absolute difference of an error between neighbours, down and across: 0 for a constant error."""
    down, across = error_BCHW.diff(dim=2).abs() * weight_B1HW[..., 1:, :], error_BCHW.diff(dim=3).abs() * weight_B1HW[..., 1:]
    return down.mean() + across.mean()


def mask_loss(drawn_B1HW: Float[Tensor, "b 1 h w"], wanted_B1HW: Float[Tensor, "b 1 h w"]) -> Float[Tensor, ""]:
    """Mean absolute error of the predicted paste mask."""
    return (drawn_B1HW - wanted_B1HW).abs().mean()
