"""Small ONNX files in insightface's layout, made here: no trained weights, but networks that find what is drawn for them.

A "marker" is a square with much red, little blue, and any green, which is its identity; twelve lines of arithmetic find it exactly.
The detector takes moments of the red-minus-blue mask around every anchor of SCRFD's three strides and fires where a square of that
stride's size has its centre; the landmark networks take moments of the whole crop; the recogniser averages cells.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KEYPOINTS = np.array([[-0.45, -0.3], [0.45, -0.3], [0.0, 0.1], [-0.35, 0.5], [0.35, 0.5]], np.float32)
"""Where a marker's five points lie, in half sides from its centre."""

_angles = np.arange(106) * 2.4
POINTS_106 = (np.sqrt(np.arange(106)[:, None] / 106) * np.stack([np.cos(_angles), np.sin(_angles)], 1)).astype(np.float32)
POINTS_68 = POINTS_106[:68]
STRIDES = (8, 16, 32)


def scene(
    height: int, width: int, markers: Sequence[tuple[float, float, float, int]], *, swap_channels: bool = False
) -> np.ndarray:
    """An RGB picture of grey noise with markers (centre x, centre y, side, green)."""
    image = np.repeat(np.random.default_rng(5).integers(90, 140, (height, width, 1)), 3, axis=2).astype(np.uint8)
    for x, y, side, green in markers:
        left, top, size = round(x - (side - 1) / 2), round(y - (side - 1) / 2), round(side)
        rows, columns = slice(max(top, 0), max(top + size, 0)), slice(max(left, 0), max(left + size, 0))
        image[rows, columns] = (230, green, 30)
    return np.ascontiguousarray(image[..., ::-1]) if swap_channels else image


class Net:
    """Collects nodes and constants, and writes them as one file."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def const(self, value: object, dtype: object = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def op(self, kind: str, *inputs: str, out: str | None = None, **attributes: object) -> str:
        name = out or f"v{len(self.nodes)}"
        # insightface guesses the normalisation from node names that begin with Sub and Mul.
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node{len(self.nodes)}", **attributes))
        return name

    def save(self, path: Path, inputs: dict[str, list], outputs: dict[str, list]) -> Path:
        ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in side.items()] for side in (inputs, outputs)]
        graph = helper.make_graph(self.nodes, path.stem, ports[0], ports[1], self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save(model, path)
        return path


def _mask(net: Net, picture: str) -> str:
    """(n, 1, h, w): 1 where red is far above blue."""
    raw = net.op("Conv", picture, net.const(np.array([4, 0, -4]).reshape(1, 3, 1, 1)), net.const([-2.0]))
    return net.op("Clip", raw, net.const(0.0), net.const(1.0))


def detector(path: Path, *, size: int | str = "side", keypoints: bool = True, batch: int | str = 1) -> Path:
    """SCRFD's shape: for strides 8, 16 and 32 and two anchors, scores, then boxes, then points, in units of the stride.

    With a `batch` that is no number the outputs keep that axis.
    """
    net = Net()
    mask = _mask(net, "input.1")
    outputs: dict[str, list] = {}
    found = [_at_stride(net, mask, stride) for stride in STRIDES]
    for part, values in (("score", 1), ("bbox", 4), ("kps", 10))[: 3 if keypoints else 2]:
        for stride, at in zip(STRIDES, found, strict=True):
            name = f"{part}_{stride}"
            rows = net.op("Transpose", at[part], perm=[0, 2, 3, 1])
            apart = [] if batch == 1 else [0]
            net.op("Reshape", rows, net.const([*apart, -1, values], np.int64), out=name)
            found_rows = f"n{stride}" if isinstance(size, str) else 2 * (size // stride) ** 2
            outputs[name] = [*([batch] if apart else []), found_rows, values]
    shape = [batch, 3, *(["height", "width"] if isinstance(size, str) else [size, size])]
    return net.save(path, {"input.1": shape}, outputs)


def _at_stride(net: Net, mask: str, stride: int) -> dict[str, str]:
    """Maps (1, values * 2 anchors, h, w) of what a stride says."""
    cell = stride // 4
    cells = net.op("AveragePool", mask, kernel_shape=[cell, cell], strides=[cell, cell])
    # 32 x 32 cells around each anchor, which lies at its cell's first pixel: area, and first moments in pixels.
    offset = ((np.arange(32) - 16 + 0.5) * cell - 0.5).astype(np.float32)
    across, down = np.tile(offset, (32, 1)), np.tile(offset[:, None], (1, 32))
    kernel = np.stack([np.ones((32, 32)), across, down, across**2 + down**2])[:, None] * cell**2
    sums = net.op("Conv", cells, net.const(kernel), strides=[4, 4], pads=[16, 16, 12, 12])
    area, move_x, move_y, spread = (_channel(net, sums, number) for number in range(4))
    area = net.op("Max", area, net.const(1.0))
    x, y = net.op("Div", move_x, area), net.op("Div", move_y, area)
    side = net.op("Sqrt", area)
    half = _scaled(net, side, 0.5)
    reach = net.op("Add", net.op("Abs", x), net.op("Abs", y))
    near = _clipped(net, _scaled(net, reach, -0.6 / stride, 1.2))
    large = _clipped(net, _scaled(net, side, 8 / stride, -8 * 1.9))
    small = _clipped(net, _scaled(net, side, -8 / stride, 8 * 4.2))
    # One square has a second moment of a sixth of its area; parts of two have more.
    inertia = net.op("Sub", net.op("Div", spread, area), net.op("Add", net.op("Mul", x, x), net.op("Mul", y, y)))
    single = _clipped(net, _scaled(net, net.op("Div", inertia, area), -24.0, 6.0))
    score = net.op("Mul", net.op("Mul", near, large), net.op("Mul", small, single))
    box = [net.op("Sub", half, x), net.op("Sub", half, y), net.op("Add", half, x), net.op("Add", half, y)]
    points = [net.op("Add", (x, y)[axis], _scaled(net, half, float(point[axis]))) for point in KEYPOINTS for axis in (0, 1)]
    second = _scaled(net, score, 0.4)
    return {
        "score": net.op("Concat", score, second, axis=1),
        "bbox": net.op("Concat", *[_scaled(net, each, 1 / stride) for each in box * 2], axis=1),
        "kps": net.op("Concat", *[_scaled(net, each, 1 / stride) for each in points * 2], axis=1),
    }


def _channel(net: Net, maps: str, number: int) -> str:
    return net.op("Gather", maps, net.const([number], np.int64), axis=1)


def _scaled(net: Net, value: str, factor: float, shift: float = 0.0) -> str:
    return net.op("Add", net.op("Mul", value, net.const(factor)), net.const(shift))


def _clipped(net: Net, value: str) -> str:
    return net.op("Clip", value, net.const(0.0), net.const(1.0))


def landmarks(path: Path, *, points: int = 106, values: int | None = None) -> Path:
    """2d106det's shape (or 1k3d68's): the marker's centre and size from the whole crop, and a fixed pattern on it, in -1..1."""
    net = Net()
    mask = _mask(net, "data")
    grid = np.arange(192, dtype=np.float32)
    axes = net.const([1, 2, 3], np.int64)
    area = net.op("Max", net.op("ReduceSum", mask, axes, keepdims=0), net.const(1.0))
    centre = []
    for places in (grid[None, None, None, :], grid[None, None, :, None]):
        moment = net.op("ReduceSum", net.op("Mul", mask, net.const(places)), axes, keepdims=0)
        centre.append(net.op("Div", moment, area))
    half = _scaled(net, net.op("Sqrt", area), 0.5)
    two = points == 106
    pattern = POINTS_106 if two else np.concatenate([np.zeros((1103 - 68, 2), np.float32), POINTS_68])
    coordinates = []
    for axis in (0, 1):
        spread = net.op("Mul", net.op("Reshape", half, net.const([-1, 1], np.int64)), net.const(pattern[None, :, axis]))
        place = net.op("Add", spread, net.op("Reshape", centre[axis], net.const([-1, 1], np.int64)))
        coordinates.append(net.op("Unsqueeze", _scaled(net, place, 1 / 96, -1.0), net.const([2], np.int64)))
    if not two:
        depth = np.random.default_rng(1).normal(size=(1, 1103, 1)) * 0.1
        coordinates.append(net.op("Add", _scaled(net, coordinates[0], 0.0), net.const(depth)))
    joined = net.op("Concat", *coordinates, axis=2)
    width = len(pattern) * (2 if two else 3)
    net.op("Reshape", joined, net.const([-1, width], np.int64), out="fc1")
    return net.save(path, {"data": [None, 3, 192, 192]}, {"fc1": [None, values or width]})


def recogniser(path: Path, *, size: int = 112, batch: int | None = None) -> Path:
    """w600k's shape: 512 values, a fixed mixture of the average colours of 7 x 7 cells."""
    net = Net()
    cells = net.op("AveragePool", "input.1", kernel_shape=[size // 7] * 2, strides=[size // 7] * 2)
    flat = net.op("Reshape", cells, net.const([-1, 147], np.int64))
    mix = np.random.default_rng(2).normal(size=(147, 512)) / 12
    net.op("MatMul", flat, net.const(mix), out="683")
    return net.save(path, {"input.1": [batch, 3, size, size]}, {"683": [batch, 512]})


def swapper(path: Path, *, size: int = 128, batch: int | None = 1, width: int = 512, seed: int = 3) -> Path:
    """inswapper's shape, tiny: a convolution, features scaled and shifted by the code, and a convolution back."""
    draw, net = np.random.default_rng(seed), Net()
    down = net.op("Conv", "target", net.const(draw.normal(size=(16, 3, 3, 3)) / 4), strides=[2, 2], pads=[1, 1, 1, 1])
    style = net.op("MatMul", "source", net.const(draw.normal(size=(width, 32))))
    shape = net.const([-1, 32, 1, 1], np.int64)
    scale, shift = net.op("Split", net.op("Reshape", style, shape), axis=1), f"v{len(net.nodes)}_shift"
    net.nodes[-1].output.append(shift)
    styled = net.op("Relu", net.op("Add", net.op("Mul", down, net.op("Exp", _scaled(net, scale, 0.5))), shift))
    up = net.const(draw.normal(size=(16, 3, 4, 4)) / 8)
    drawn = net.op("ConvTranspose", styled, up, strides=[2, 2], pads=[1, 1, 1, 1])
    net.op("Sigmoid", drawn, out="output")
    net.const(np.linalg.qr(draw.normal(size=(width, width)))[0])  # the map of identities is the last constant
    side = [batch, 3, size, size]
    return net.save(path, {"target": side, "source": [batch, width]}, {"output": side})


def pack(folder: Path, *, landmarks_3d: bool = False) -> Path:
    """A whole pack under buffalo_l's file names."""
    folder.mkdir(parents=True, exist_ok=True)
    detector(folder / "det_10g.onnx")
    landmarks(folder / "2d106det.onnx")
    recogniser(folder / "w600k_r50.onnx")
    if landmarks_3d:
        landmarks(folder / "1k3d68.onnx", points=68)
    return folder
