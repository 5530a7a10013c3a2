"""Batched SCRFD. insightface's class takes one frame at a time; pre- and postprocessing are the same here.

A file qualifies if its batch axis is dynamic and its outputs keep that axis (n, anchors, values), which insightface calls
batched. Outputs without it (anchors, values) would mix up the frames.
"""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8

from faceswap_lab.errors import WeightsError
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import device as devices
from faceswap_lab.models.weights.onnx_inspect import Graph

ON_CPU, ELSEWHERE = 1, 16
"""Frames per run. On two cores batches took 0 to 25 % more time than single frames: activations exceed the cache. A GPU idles
between single frames; at 640 pixels a side each frame takes 5 MB before the first layer."""

_ALIKE = 1e-3
"""Tolerance between the output for a single frame and the same frame in a batch, as a fraction of its largest value."""

Found = tuple[Float32[np.ndarray, "k 5"], Float32[np.ndarray, "k 5 2"]]
"""For one frame: boxes with scores, in descending order, and their keypoints, in frame pixels."""


def leaves_batch_open(graph: Graph) -> bool:
    """Whether the file declares a dynamic batch size, and outputs that keep the batch axis."""
    ports = (graph.inputs[0], *graph.outputs)
    return all(port.shape[:1] == (None,) for port in ports) and all(len(port.shape) == 3 for port in graph.outputs)


class BatchDetector:
    """Runs an insightface `SCRFD` (loaded and prepared) on up to `most` frames at once; results equal those of its `detect`."""

    def __init__(self, detector: Any, most: int = ELSEWHERE) -> None:
        self._detector, self._most = detector, most
        self._strides = tuple(detector._feat_stride_fpn)
        self._anchors: dict[tuple[int, int], list[Float32[np.ndarray, "k 2"]]] = {}

    def keeps_frames_apart(self) -> bool:
        """Whether two frames in a run give the same as each alone: a file may declare a dynamic batch, yet be made for one."""
        width, height = min(self._detector.input_sizes)
        noise = np.random.default_rng(0).normal(size=(2, 3, height, width)).astype(np.float32)
        alone = [self._run(picture[None]) for picture in noise]
        try:
            both = self._run(noise)
        except WeightsError:
            return False
        for name, together in enumerate(both):
            apart = np.concatenate([each[name] for each in alone])
            if together.shape != apart.shape or np.abs(together - apart).max() > _ALIKE * max(1.0, float(np.abs(apart).max())):
                return False
        return True

    def detect(self, frames: Sequence[Frame]) -> list[Found]:
        """Detections in each frame; sizes may differ."""
        found: list[Found] = []
        for start in range(0, len(frames), self._most):
            found += self._detect(frames[start : start + self._most])
        return found

    def _detect(self, frames: Sequence[Frame]) -> list[Found]:
        rows: list[list[np.ndarray]] = [[] for _ in frames]
        points: list[list[np.ndarray]] = [[] for _ in frames]
        for size in self._detector.input_sizes:
            fitted, scales = zip(*(_fitted(frame.image, size) for frame in frames), strict=True)
            # The channels are in the right order already, and share one mean.
            mean, scale = self._detector.input_mean, 1 / self._detector.input_std
            outputs = self._run(cv2.dnn.blobFromImages(list(fitted), scale, size, (mean, mean, mean)))
            for number, factor in enumerate(scales):
                row, point = self._read([output[number] for output in outputs], size, factor)
                rows[number].append(row)
                points[number].append(point)
        return [self._chosen(np.concatenate(row), np.concatenate(point)) for row, point in zip(rows, points, strict=True)]

    def _run(self, blob: Float32[np.ndarray, "n 3 h w"]) -> list[np.ndarray]:
        with devices.running("a detector that accepts batches of the search sizes"):
            outputs: list[np.ndarray] = self._detector.session.run(self._detector.output_names, {self._detector.input_name: blob})
        return outputs

    def _read(self, outputs: Sequence[np.ndarray], size: tuple[int, int], factor: float) -> Found:
        """One frame's detections at one size, in its own pixels, in descending order of score."""
        rows, points = [], []
        number = len(self._strides)
        for place, (stride, anchors) in enumerate(zip(self._strides, self._anchors_of(size), strict=True)):
            scores, sides, offsets = (outputs[place + part * number] for part in range(3))
            sure = np.flatnonzero(scores[:, 0] >= self._detector.det_thresh)
            at, side = anchors[sure], sides[sure] * stride
            rows.append(np.hstack([(at - side[:, :2]) / factor, (at + side[:, 2:]) / factor, scores[sure]]))
            points.append((at[:, None] + (offsets[sure] * stride).reshape(-1, 5, 2)) / factor)
        row, point = np.concatenate(rows).astype(np.float32), np.concatenate(points).astype(np.float32)
        order = np.argsort(-row[:, 4], kind="stable")
        return row[order], point[order]

    def _chosen(self, rows: Float[np.ndarray, "m 5"], points: Float[np.ndarray, "m 5 2"]) -> Found:
        """Non-maximum suppression over all sizes together."""
        order = np.argsort(-rows[:, 4], kind="stable")
        kept = order[self._detector.nms(rows[order])]
        return rows[kept], points[kept]

    def _anchors_of(self, size: tuple[int, int]) -> list[Float32[np.ndarray, "k 2"]]:
        """Anchor positions of each stride, row by row, several per position."""
        if size not in self._anchors:
            each = self._detector._num_anchors
            width, height = size
            grids = [np.mgrid[: height // stride, : width // stride][::-1] * stride for stride in self._strides]
            self._anchors[size] = [np.repeat(grid.reshape(2, -1).T, each, axis=0).astype(np.float32) for grid in grids]
        return self._anchors[size]


def _fitted(image: Image, size: tuple[int, int]) -> tuple[UInt8[np.ndarray, "rows columns 3"], float]:
    """The image resized to fit the top left corner of a black one of `size` (width, height), and the scale factor."""
    height, width = image.shape[:2]
    if height / width > size[1] / size[0]:
        fitted = (int(size[1] / (height / width)), size[1])
    else:
        fitted = (size[0], int(size[0] * (height / width)))
    canvas = np.zeros((size[1], size[0], 3), np.uint8)
    canvas[: fitted[1], : fitted[0]] = cv2.resize(image, fitted)
    return canvas, fitted[1] / height
