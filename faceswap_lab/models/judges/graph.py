"""A network as an ONNX graph in memory, built operation by operation and run on the CPU by one thread.

One thread, so that a score is the same to the last digit whatever else the machine does and however many cores it has.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from faceswap_lab.models.onnx_runtime import onnxruntime
from faceswap_lab.models.pack.onnx_writer import OnnxGraph

INPUT = "image"


class Graph(OnnxGraph):
    """Collects operations and constants; each method adds to it and returns the name of its output."""

    def convolution(self, x: str, filters: np.ndarray, bias: np.ndarray, **attributes: Any) -> str:
        """Adds a convolution with filters (out, in, height, width)."""
        names = (self.constant(filters.astype(np.float32)), self.constant(bias.astype(np.float32)))
        return self.op("Conv", x, *names, kernel_shape=list(filters.shape[2:]), **attributes)

    def network(self, output: str, size: int, length: int) -> "Network":
        """The network from one RGB image, (1, 3, size, size), to the vector `output` of that length."""
        return Network(self.model("judge", {INPUT: (1, 3, size, size)}, {output: (1, length)}).SerializeToString())


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
