"""A swapper of inswapper's size with random weights, and footage in which the detector of `packs.py` finds something.

The large swapper has the published shape of inswapper-128: 138 million parameters and 349 GFLOP a face. No trained weight of
anybody and no picture of a person is needed.
"""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from faceswap_lab.faces.frame import Frame

CODE = 512


class Styled(nn.Module):
    """Two convolutions of 1024 channels, each normalised and then scaled and shifted by the code, around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))
        self.styles = nn.ModuleList(nn.Linear(CODE, 2 * channels) for _ in range(2))

    def forward(self, x_BCHW: Tensor, code_BC: Tensor) -> Tensor:
        y = x_BCHW
        for number, (convolution, style) in enumerate(zip(self.convolutions, self.styles, strict=True)):
            scale, shift = style(code_BC)[:, :, None, None].chunk(2, 1)
            y = functional.instance_norm(convolution(y)) * scale + shift
            y = functional.relu(y) if number == 0 else y
        return x_BCHW + y


class Large(nn.Module):
    """inswapper's shape, as ReSwapper worked it out: down to 32 x 32 pixels of 1024 channels, six styled blocks, up again.

    Another `width` than 1024 makes it small, for trying out what runs it.
    """

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.width = width
        half, quarter, eighth = (width // part for part in (2, 4, 8))
        self.down = nn.ModuleList(
            [
                nn.Conv2d(3, eighth, 7, padding=3),
                nn.Conv2d(eighth, quarter, 3, padding=1),
                nn.Conv2d(quarter, half, 3, 2, 1),
                nn.Conv2d(half, width, 3, 2, 1),
            ]
        )
        self.blocks = nn.ModuleList(Styled(width) for _ in range(6))
        self.up = nn.ModuleList(
            [nn.Conv2d(width, half, 3, padding=1), nn.Conv2d(half, quarter, 3, padding=1), nn.Conv2d(quarter, eighth, 3, padding=1)]
        )
        self.last = nn.Conv2d(eighth, 3, 7, padding=3)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x_BCHW: Tensor, code_BC: Tensor) -> Tensor:
        x = x_BCHW
        for layer in self.down:
            x = functional.leaky_relu(layer(x), 0.2)
        for block in self.blocks:
            x = block(x, code_BC)
        for number, layer in enumerate(self.up):
            x = functional.interpolate(x, scale_factor=2.0, mode="bilinear") if number < 2 else x
            x = functional.leaky_relu(layer(x), 0.2)
        return (torch.tanh(self.last(x) * 0.02) + 1) / 2


class _Graph:
    """Nodes and constants of one ONNX file."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: np.ndarray) -> str:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"c{len(self.constants)}"))
        return self.constants[-1].name

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: object) -> str:
        name = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def conv(self, x: str, layer: nn.Conv2d) -> str:
        side, pad, stride = layer.kernel_size[0], int(layer.padding[0]), layer.stride[0]
        weights = [self.const(value.detach().numpy()) for value in (layer.weight, layer.bias)]
        return self.op("Conv", x, *weights, kernel_shape=[side] * 2, pads=[pad] * 4, strides=[stride] * 2)


def save_large(net: Large, path: Path) -> Path:
    """The network as ONNX in INSwapper's layout, for any batch: `target`, `source`, and the identity map as the last constant."""
    graph, leaky = _Graph(), {"alpha": 0.2}
    x = "target"
    for layer in net.down:
        x = graph.op("LeakyRelu", graph.conv(x, layer), **leaky)
    ones, zeros = graph.const(np.ones(net.width, np.float32)), graph.const(np.zeros(net.width, np.float32))
    split, shape = graph.const(np.array([net.width] * 2)), graph.const(np.array([0, net.width, 1, 1]))
    for block in net.blocks:
        y = x
        for number, (convolution, style) in enumerate(zip(block.convolutions, block.styles, strict=True)):
            weights = [graph.const(value) for value in (style.weight.detach().numpy().T, style.bias.detach().numpy())]
            both = graph.op("Add", graph.op("MatMul", "source", weights[0]), weights[1])
            scale, shift = f"scale{len(graph.nodes)}", f"shift{len(graph.nodes)}"
            graph.nodes.append(helper.make_node("Split", [both, split], [scale, shift], axis=1))
            y = graph.op("InstanceNormalization", graph.conv(y, convolution), ones, zeros, epsilon=1e-5)
            y = graph.op("Mul", y, graph.op("Reshape", scale, shape))
            y = graph.op("Add", y, graph.op("Reshape", shift, shape))
            y = graph.op("Relu", y) if number == 0 else y
        x = graph.op("Add", x, y)
    twice = graph.const(np.array([1, 1, 2, 2], np.float32))
    for number, layer in enumerate(net.up):
        x = graph.op("Resize", x, "", twice, mode="linear") if number < 2 else x
        x = graph.op("LeakyRelu", graph.conv(x, layer), **leaky)
    small, one, half = (graph.const(np.array(value, np.float32)) for value in (0.02, 1, 0.5))
    x = graph.op("Tanh", graph.op("Mul", graph.conv(x, net.last), small))
    graph.op("Mul", graph.op("Add", x, one), half, out="output")
    graph.const(np.linalg.qr(np.random.default_rng(0).normal(size=(CODE, CODE)))[0].astype(np.float32))
    sides = {"target": ["n", 3, 128, 128], "source": ["n", CODE]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, side) for name, side in sides.items()]
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, sides["target"])
    made = helper.make_graph(graph.nodes, "large", inputs, [output], graph.constants)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Squares:
    """Footage of one or four marker squares that wander over a soft grey picture with a little grain."""

    subject, fps, origin = "actor:0", 25.0, "benchmark:squares"

    def __init__(self, num_frames: int, num_faces: int, *, size: tuple[int, int] = (1080, 1920), side: int = 150) -> None:
        self.size, self._num_frames, self._num_faces, self._side = size, num_frames, num_faces, side
        rng = np.random.default_rng(1)
        coarse = rng.integers(60, 190, (9, 16, 1)).astype(np.float32) + rng.normal(0, 8, (9, 16, 3)).astype(np.float32)
        soft = cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC)
        grains = [rng.normal(0, 1.5, (*size, 3)).astype(np.float32) for _ in range(3)]
        self._backs = [np.clip(soft + grain, 0, 255).astype(np.uint8) for grain in grains]

    def __len__(self) -> int:
        return self._num_frames

    def __getitem__(self, index: int) -> Frame:
        image = self._backs[index % len(self._backs)].copy()
        height, width = self.size
        places = [(0.5, 0.5)] if self._num_faces == 1 else [(0.25, 0.3), (0.75, 0.3), (0.25, 0.72), (0.75, 0.72)]
        for number, (x, y) in enumerate(places[: self._num_faces]):
            left = int(x * width + 0.05 * width * np.sin(index / 9 + number) - self._side / 2)
            top = int(y * height + 0.04 * height * np.cos(index / 11 + number) - self._side / 2)
            image[top : top + self._side, left : left + self._side] = (230, 60 + 40 * number, 30)
        return Frame(image=image, origin=self.origin, index=index, time_s=index / self.fps)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        return (self[index] for index in range(start, len(self) if stop is None else min(stop, len(self))))
