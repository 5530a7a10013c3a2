"""The first network: 106 points with visibility, and labels, from a crop that holds the whole face.

An encoder-decoder whose deepest level sees the whole crop. Points are votes, as in the pack's landmark network: every cell of a
16 x 16 map gives an offset and a confidence for each point, and the answer is the confidence-weighted mean. Labels are predicted at
half resolution, four pixels a cell.
"""

import copy
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from faceswap_lab.models.eyes.labels import LABELS
from faceswap_lab.models.eyes.layers import SIZE, Residual, exported, upsampled
from faceswap_lab.models.pack.layers import convolution
from faceswap_lab.models.pack.onnx_writer import OnnxGraph
from faceswap_lab.models.pack.onnx_writer import Shape as GraphShape

NUM_POINTS, TEMPLATE = 106, "whole-face"
_CELLS = SIZE // 8
_WIDTHS = (16, 32, 80, 96)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shape:
    """The network's answer: points in -1..1 over the crop, logits of their visibility, and logits of the labels.

    The latter are in cells of two by two pixels: channel 4 l + 2 y + x is label l's of a cell's pixel in row y and column x.
    """

    points: Float[Tensor, "b 106 2"]
    visible: Float[Tensor, "b 106"]
    labels: Float[Tensor, "b c 64 64"]


class ShapeNet(nn.Module):
    """Crops of 128 pixels to a `Shape`; input as by `layers.network_input`."""

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        fine, middle, coarse, deep = _WIDTHS
        self.to64 = nn.Sequential(convolution(3, fine, 2))
        self.to32 = nn.Sequential(convolution(fine, middle, 2), Residual(middle))
        self.to16 = nn.Sequential(convolution(middle, coarse, 2), Residual(coarse))
        self.to8 = nn.Sequential(convolution(coarse, deep, 2), convolution(deep, deep), convolution(deep, coarse, kernel=1))
        self.at16 = nn.Sequential(convolution(coarse, coarse))
        self.votes = nn.Conv2d(coarse, 4 * NUM_POINTS, 1)
        self.from16, self.at32 = nn.Sequential(convolution(coarse, middle, kernel=1)), nn.Sequential(convolution(middle, middle))
        self.from32, self.at64 = nn.Sequential(convolution(middle, fine, kernel=1)), nn.Sequential(convolution(fine, fine))
        self.label = nn.Conv2d(fine, 4 * len(LABELS), 1)
        place = (torch.arange(_CELLS) + 0.5) * 2 / _CELLS - 1
        grid = torch.stack([place.expand(_CELLS, _CELLS).reshape(-1), place[:, None].expand(_CELLS, _CELLS).reshape(-1)])
        self.register_buffer("grid", grid[None, None], persistent=False)  # 1 1 2 cells

    def forward(self, x_BCHW: Float[Tensor, "b 3 128 128"]) -> Shape:
        """The points, their visibility and the labels."""
        at64 = self.to64(x_BCHW)
        at32 = self.to32(at64)
        at16 = self.to16(at32)
        at16 = self.at16(at16 + upsampled(self.to8(at16)))
        at32 = self.at32(at32 + upsampled(self.from16(at16)))
        at64 = self.at64(at64 + upsampled(self.from32(at32)))
        votes = self.votes(at16).float().flatten(2)
        sure = votes[:, :NUM_POINTS].softmax(2)
        offset = votes[:, NUM_POINTS : 3 * NUM_POINTS].view(-1, NUM_POINTS, 2, _CELLS * _CELLS)
        return Shape(
            points=((offset + self.grid) * sure[:, :, None]).sum(3),
            visible=(votes[:, 3 * NUM_POINTS :] * sure).sum(2),
            labels=self.label(at64).float(),
        )


def export_shape(net: ShapeNet, path: Path) -> Path:
    """Exports the network: `data` (n, 3, 128, 128) to `points` in crop pixels, `visible` and `labels` as probabilities."""
    net, graph = copy.deepcopy(net).cpu().eval(), OnnxGraph()
    at64 = exported(graph, "data", net.to64)
    at32 = exported(graph, at64, net.to32)
    at16 = exported(graph, at32, net.to16)
    at16 = exported(graph, graph.op("Add", at16, graph.doubled(exported(graph, at16, net.to8))), net.at16)
    at32 = exported(graph, graph.op("Add", at32, graph.doubled(exported(graph, at16, net.from16))), net.at32)
    at64 = exported(graph, graph.op("Add", at64, graph.doubled(exported(graph, at32, net.from32))), net.at64)
    _export_votes(graph, graph.layer(at16, net.votes), net)
    logits = graph.op("DepthToSpace", graph.layer(at64, net.label), blocksize=2, mode="CRD")
    graph.op("Softmax", logits, axis=1, out="labels")
    found: dict[str, GraphShape] = {
        "points": ["n", NUM_POINTS, 2],
        "visible": ["n", NUM_POINTS],
        "labels": ["n", len(LABELS), SIZE, SIZE],
    }
    return graph.save(path, {"data": ["n", 3, SIZE, SIZE]}, found)


def _export_votes(graph: OnnxGraph, votes: str, net: ShapeNet) -> None:
    ends = [0, NUM_POINTS, 3 * NUM_POINTS, 4 * NUM_POINTS]
    starts = [
        graph.op("Slice", votes, *(graph.constant(np.array([value])) for value in (begin, end, 1, 1)))
        for begin, end in pairwise(ends)
    ]
    shapes = [graph.constant(np.array([0, NUM_POINTS, count, _CELLS * _CELLS])) for count in (1, 2, 1)]
    sure, offset, seen = (graph.op("Reshape", part, shape) for part, shape in zip(starts, shapes, strict=True))
    sure = graph.op("Softmax", sure, axis=3)
    axis = graph.constant(np.array([3]))
    place = graph.op("Mul", graph.op("Add", offset, graph.constant(net.grid.numpy())), sure)
    mean = graph.op("ReduceSum", place, axis, keepdims=0)
    # From -1..1 over the crop's outer edges to pixels whose centres are at integers.
    scaled = graph.op("Mul", mean, graph.constant(np.array(SIZE / 2, np.float32)))
    graph.op("Add", scaled, graph.constant(np.array((SIZE - 1) / 2, np.float32)), out="points")
    seen = graph.op("ReduceSum", graph.op("Mul", seen, sure), axis, keepdims=0)
    seen = graph.op("Reshape", seen, graph.constant(np.array([0, NUM_POINTS])))
    graph.op("Sigmoid", seen, out="visible")
