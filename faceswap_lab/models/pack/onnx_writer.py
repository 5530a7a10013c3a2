"""A minimal ONNX writer: convolutions with folded normalisation, and little else.

torch's own exporters need another package or are deprecated, and insightface examines the names of the first nodes.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from faceswap_lab.errors import RunError
from faceswap_lab.models.training.state import DIVERGED

Shape = Sequence[int | str | None]


class OnnxGraph:
    """Collects nodes and constants; each method adds to it and returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        """Adds an array as a constant."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"c{len(self._constants)}"))
        return str(self._constants[-1].name)

    def op(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        """Adds one operation, with a name that insightface does not mistake for a normalisation."""
        name = out or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], name=f"node{len(self._nodes)}", **attributes))
        return name

    def layer(self, x: str, layer: nn.Conv2d | nn.Linear, norm: nn.BatchNorm2d | nn.BatchNorm1d | None = None) -> str:
        """A convolution or dense layer, with the following normalisation folded in (in evaluation mode)."""
        weight = layer.weight.detach().double()
        bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else layer.bias.detach().double()
        if norm is not None:
            assert norm.running_mean is not None
            assert norm.running_var is not None
            gain = (norm.running_var.double() + norm.eps).rsqrt()
            gain = gain if norm.weight is None else gain * norm.weight.detach().double()
            shift = torch.zeros_like(gain) if norm.bias is None else norm.bias.detach().double()
            bias = (bias - norm.running_mean.double()) * gain + shift
            weight = weight * gain.view(-1, *[1] * (weight.ndim - 1))
        names = [self.constant(value.float().contiguous().numpy()) for value in (weight, bias)]
        if isinstance(layer, nn.Linear):
            return self.op("Gemm", x, *names, transB=1)
        (high, wide), (down, across) = layer.kernel_size, layer.stride
        assert isinstance(layer.padding, tuple)
        top, left = layer.padding
        return self.op(
            "Conv", x, *names, kernel_shape=[high, wide], strides=[down, across], pads=[top, left, top, left], group=layer.groups
        )

    def sequence(self, x: str, layers: nn.Module) -> str:
        """Nested `nn.Sequential` of convolutions, dense layers, normalisations directly after these, ReLU, PReLU and flattening.

        Raises TypeError for anything else: nothing is omitted silently.
        """
        assert isinstance(layers, nn.Sequential)
        todo = list(layers)
        for number, layer in enumerate(todo):
            after = todo[number + 1] if number + 1 < len(todo) else None
            if isinstance(layer, nn.Sequential):
                x = self.sequence(x, layer)
            elif isinstance(layer, nn.Conv2d | nn.Linear):
                x = self.layer(x, layer, after if isinstance(after, nn.BatchNorm2d | nn.BatchNorm1d) else None)
            elif (
                isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)
                and number
                and isinstance(todo[number - 1], nn.Conv2d | nn.Linear)
            ):
                continue
            elif isinstance(layer, nn.ReLU):
                x = self.op("Relu", x)
            elif isinstance(layer, nn.PReLU):
                x = self.op("PRelu", x, self.constant(layer.weight.detach().view(1, -1, 1, 1).numpy()))
            elif isinstance(layer, nn.Flatten):
                x = self.op("Flatten", x)
            elif not isinstance(layer, nn.Dropout | nn.Identity):
                raise TypeError(f"{type(layer).__name__} cannot be exported")
        return x

    def doubled(self, x: str) -> str:
        """Nearest-neighbour upsampling by two."""
        scales = self.constant(np.array([1, 1, 2, 2], np.float32))
        return self.op("Resize", x, "", scales, mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")

    def model(self, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> onnx.ModelProto:
        """The whole network, checked. All ports are of single precision."""
        ports = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in side.items()] for side in (inputs, outputs)]
        graph = helper.make_graph(self._nodes, name, ports[0], ports[1], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="faceswap_lab")
        onnx.checker.check_model(model)
        return model

    def save(self, path: Path, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> Path:
        """Writes the file atomically. The same network gives the same bytes.

        RunError, and nothing is written, if a weight is NaN or infinite: the training has diverged.
        """
        wrong = sum(not np.isfinite(numpy_helper.to_array(each)).all() for each in self._constants)
        if wrong:
            raise RunError(
                expected=f"finite weights for {path.name}",
                got=f"NaN or infinity in {wrong} of {len(self._constants)}",
                remedy=DIVERGED,
            )
        model = self.model(path.stem, inputs, outputs)
        part = path.with_name(f".{os.getpid()}-{path.name}")
        onnx.save(model, part)
        part.replace(path)
        return path
