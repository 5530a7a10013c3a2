"""The second network: the 52 actions, gaze and head pose, from a crop of the face's middle.

A plain encoder keeps the positions of its last map, since the crop is aligned; a second, finer branch looks at each eye. Gaze and
rotation are in the crop's frame: the camera's, turned by the crop's rotation in the picture.
"""

import copy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from faceswap_lab.models.eyes.layers import SIZE, Residual, exported
from faceswap_lab.models.pack.layers import convolution
from faceswap_lab.models.pack.onnx_writer import OnnxGraph, Shape

NUM_ACTIONS, TEMPLATE = 52, "face"
_TRUNK, _EYE = 96, 48
_ROWS, _RIGHT, _LEFT = (14, 38), (8, 36), (28, 56)
"""Where the eyes lie in the map of half the crop's side: rows, and columns of the right and the left one."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Expression:
    """The network's answer: actions, not clipped to 0..1; gaze vectors and two columns of the head's rotation, not normalised.

    Actions are no logits: most are 0 in most pictures, where a sigmoid hardly lets the squared error through.
    """

    actions: Float[Tensor, "b 52"]
    gaze: Float[Tensor, "b 2 3"]
    turn: Float[Tensor, "b 2 3"]


class ExpressionNet(nn.Module):
    """Crops of 128 pixels to an `Expression`; input as by `layers.network_input`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16, 2))
        self.trunk = nn.Sequential(
            convolution(16, 32, 2),
            Residual(32),
            convolution(32, 64, 2),
            Residual(64),
            convolution(64, 96, 2),
            convolution(96, 96),
            convolution(96, 16, kernel=1),
        )
        self.whole = nn.Sequential(nn.Flatten(), nn.Linear(16 * 64, _TRUNK), nn.ReLU())
        self.eye = nn.Sequential(convolution(16, 32, 2), convolution(32, 32), convolution(32, 48, 2), convolution(48, 16, kernel=1))
        self.right, self.left = (nn.Sequential(nn.Flatten(), nn.Linear(16 * 42, _EYE), nn.ReLU()) for _ in range(2))
        self.last = nn.Linear(_TRUNK + 2 * _EYE, NUM_ACTIONS + 12)

    def forward(self, x_BCHW: Float[Tensor, "b 3 128 128"]) -> Expression:
        """Actions, gaze and rotation."""
        fine = self.stem(x_BCHW)
        eyes = fine[:, :, slice(*_ROWS)]
        right, left = (self.eye(eyes[..., slice(*columns)]) for columns in (_RIGHT, _LEFT))
        joined = torch.cat([self.whole(self.trunk(fine)), self.right(right), self.left(left)], 1)
        found = self.last(joined).float()
        return Expression(
            actions=found[:, :NUM_ACTIONS],
            gaze=found[:, NUM_ACTIONS : NUM_ACTIONS + 6].view(-1, 2, 3),
            turn=found[:, NUM_ACTIONS + 6 :].view(-1, 2, 3),
        )


def export_expression(net: ExpressionNet, path: Path) -> Path:
    """Exports the network: `data` (n, 3, 128, 128) to `actions` (0..1), `gaze` (n, 6) and `turn` (n, 6)."""
    net, graph = copy.deepcopy(net).cpu().eval(), OnnxGraph()
    fine = exported(graph, "data", net.stem)
    rows = _cut(graph, fine, _ROWS, 2)
    parts = [exported(graph, exported(graph, fine, net.trunk), net.whole)]
    for columns, dense in ((_RIGHT, net.right), (_LEFT, net.left)):
        parts.append(exported(graph, exported(graph, _cut(graph, rows, columns, 3), net.eye), dense))
    found = graph.layer(graph.op("Concat", *parts, axis=1), net.last)
    bounds = [graph.constant(np.array(value, np.float32)) for value in (0, 1)]
    graph.op("Clip", _cut(graph, found, (0, NUM_ACTIONS), 1), *bounds, out="actions")
    for name, begin in (("gaze", NUM_ACTIONS), ("turn", NUM_ACTIONS + 6)):
        graph.op("Identity", _cut(graph, found, (begin, begin + 6), 1), out=name)
    outputs: dict[str, Shape] = {"actions": ["n", NUM_ACTIONS], "gaze": ["n", 6], "turn": ["n", 6]}
    return graph.save(path, {"data": ["n", 3, SIZE, SIZE]}, outputs)


def _cut(graph: OnnxGraph, x: str, span: tuple[int, int], axis: int) -> str:
    return graph.op("Slice", x, *(graph.constant(np.array([value])) for value in (*span, axis, 1)))
