"""Shared by the pack's networks: input preprocessing and the standard convolution block."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn


def blob(images: UInt8[np.ndarray, "b h w 3"], *, mean: float, scale: float) -> Float[Tensor, "b 3 h w"]:
    """RGB pictures as network input: minus `mean`, divided by `scale`, channels first."""
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    return ((pixels - mean) / scale).contiguous(memory_format=torch.channels_last)


def convolution(channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3, groups: int = 1) -> nn.Sequential:
    """A convolution without bias, batch norm and ReLU; `stride` divides the side."""
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(channels_out), nn.ReLU())
