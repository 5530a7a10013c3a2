"""Shared by the two networks: the residual block, its export, and what both take as input."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from faceswap_lab.models.pack.layers import convolution
from faceswap_lab.models.pack.onnx_writer import OnnxGraph

SIZE = 128
"""Side of both networks' crops in pixels."""

MEAN, SCALE = 127.5, 64.0
"""Input normalisation: mean and divisor of RGB values 0..255."""


class Residual(nn.Module):
    """Two convolutions that add to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.body = nn.Sequential(convolution(channels, channels), last, nn.BatchNorm2d(channels))

    def forward(self, x_BCHW: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """The input plus what the convolutions make of it, rectified."""
        return functional.relu(x_BCHW + self.body(x_BCHW))


def exported(graph: OnnxGraph, x: str, layers: nn.Sequential) -> str:
    """`graph.sequence` for layers with residual blocks among them."""
    for layer in layers:
        if isinstance(layer, Residual):
            x = graph.op("Relu", graph.op("Add", x, graph.sequence(x, layer.body)))
        else:
            x = graph.sequence(x, nn.Sequential(layer))
    return x


def upsampled(x_BCHW: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h2 w2"]:
    """Twice the side, by repeating pixels."""
    return functional.interpolate(x_BCHW, scale_factor=2.0, mode="nearest")


def network_input(crops: UInt8[np.ndarray, "b s s 3"]) -> Float[Tensor, "b 3 s s"]:
    """RGB crops as either network takes them."""
    pixels = torch.from_numpy(crops).permute(0, 3, 1, 2).float()
    return ((pixels - MEAN) / SCALE).contiguous(memory_format=torch.channels_last)
