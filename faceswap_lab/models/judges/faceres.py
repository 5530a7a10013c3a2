"""HSE-FaceRes: a MobileNet trained on VGGFace2 for identity, then for age and sex; 1024 values for 224 pixels (Savchenko 2019)."""

import base64
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from faceswap_lab.faces.align import Template
from faceswap_lab.models.judges.graph import INPUT, Graph, Network
from faceswap_lab.models.weights.tensors import Stored

SIZE, NUM_VALUES = 224, 1024
MEAN = (103.939, 116.779, 123.68)
"""Of the channels blue, green and red, in which order the network takes them."""

TEMPLATE = Template(name="faceres-box", points=((0.36, 0.465), (0.64, 0.465), (0.5, 0.622), (0.381, 0.758), (0.619, 0.758)))
"""An upright face in a box from the hairline to the chin: its authors cut MTCNN's box and don't align.

Chosen among nine boxes by the AUC on 120 pictures of 30 validation actors (0.971; one a third larger 0.966, a third smaller 0.958).
Their order of channels and their mean do better there than the three other ways to feed it that were tried.
"""

_OUTPUT = "global_pooling/Mean"

Node = Mapping[str, Any]


def network(stored: Stored) -> Network:
    """The network, from pixels 0..255 to the pooled activations, before the layers for age and gender."""
    translated = _Translation(stored)
    return translated.graph.network(translated.output(), SIZE, NUM_VALUES)


class _Translation:
    """A TensorFlow graph on images (h, w, channels), translated operation by operation into ONNX on (channels, h, w)."""

    def __init__(self, stored: Stored) -> None:
        self.graph = Graph()
        self._nodes: dict[str, Node] = {node["name"]: node for node in stored.layout["modelTopology"]["node"]}
        self._tensors = stored.tensors
        self._translate: dict[str, Callable[[Node, str], str]] = {
            "Conv2D": self._convolution,
            "DepthwiseConv2dNative": self._depthwise,
            "Add": lambda node, x: self._with_constant("Add", node, x),
            "Mul": lambda node, x: self._with_constant("Mul", node, x),
            "Minimum": lambda node, x: self._with_constant("Min", node, x),
            "Maximum": lambda node, x: self._with_constant("Max", node, x),
            "Relu": lambda _, x: self.graph.op("Relu", x),
            "Mean": lambda _, x: self.graph.op("GlobalAveragePool", x),
        }

    def output(self) -> str:
        """The name of the pooled activations. The operations are a chain: each has one input that is no constant, its first."""
        chain = [self._nodes[_OUTPUT]]
        while chain[-1]["op"] != "Placeholder":
            chain.append(self._nodes[chain[-1]["input"][0]])
        x = self.graph.op("Gather", INPUT, self.graph.constant(np.array([2, 1, 0], np.int64)), axis=1)
        x = self.graph.op("Sub", x, self.graph.constant(np.array(MEAN, np.float32).reshape(1, 3, 1, 1)))
        for node in reversed(chain[:-1]):
            x = self._translate[node["op"]](node, x)
        return self.graph.op("Flatten", x)

    def _with_constant(self, kind: str, node: Node, x: str) -> str:
        value = self._tensors[node["input"][1]]
        return self.graph.op(kind, x, self.graph.constant(value.reshape(1, -1, 1, 1)))

    def _convolution(self, node: Node, x: str) -> str:
        filters = self._tensors[node["input"][1]].transpose(3, 2, 0, 1)
        return self._strided(node, x, filters, group=1)

    def _depthwise(self, node: Node, x: str) -> str:
        """The filters are (h, w, channels, 1)."""
        filters = self._tensors[node["input"][1]].transpose(2, 3, 0, 1)
        return self._strided(node, x, filters, group=len(filters))

    def _strided(self, node: Node, x: str, filters: np.ndarray, *, group: int) -> str:
        padding = base64.b64decode(node["attr"]["padding"]["s"]).decode()
        strides = [int(step) for step in node["attr"]["strides"]["list"]["i"][1:3]]
        # TensorFlow's SAME has the odd pixel at the right and below.
        where = {"SAME": "SAME_UPPER", "VALID": "VALID"}[padding]
        return self.graph.convolution(x, filters, np.zeros(len(filters)), strides=strides, auto_pad=where, group=group)
