"""A network as an ONNX graph in memory, built operation by operation and run on the CPU by one thread.

One thread, so that a score is the same to the last digit whatever else the machine does and however many cores it has.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float
from onnx import TensorProto, helper, numpy_helper

from faceswap_lab.models.onnx_runtime import onnxruntime

INPUT = "image"


class Graph:
    """Collects operations and constants; each method adds to it and returns the name of its output."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, value: np.ndarray) -> str:
        """Adds an array as a constant."""
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), f"c{len(self._constants)}"))
        return str(self._constants[-1].name)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Adds one operation."""
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def convolution(self, x: str, filters: np.ndarray, bias: np.ndarray, **attributes: Any) -> str:
        """Adds a convolution with filters (out, in, height, width)."""
        names = (self.constant(filters.astype(np.float32)), self.constant(bias.astype(np.float32)))
        return self.add("Conv", x, *names, kernel_shape=list(filters.shape[2:]), **attributes)

    def network(self, output: str, size: int, length: int) -> "Network":
        """The network from one RGB image, (1, 3, size, size), to the vector `output` of that length."""
        ports = ((INPUT, (1, 3, size, size)), (output, (1, length)))
        given, found = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports)
        graph = helper.make_graph(self._nodes, "judge", [given], [found], self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="faceswap_lab")
        onnx.checker.check_model(model)
        return Network(model.SerializeToString())


class Network:
    """A loaded graph."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, image: Float[np.ndarray, "3 s s"]) -> Float[np.ndarray, " d"]:
        """The vector of one image."""
        answers: Sequence[np.ndarray] = self._session.run(None, {INPUT: image[None].astype(np.float32)})
        return np.asarray(answers[0], np.float32).reshape(-1)
