"""Training the detector on canvases, and exporting it as an ONNX file that insightface can load."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from faceswap_lab.models.pack.augment import require_trainable
from faceswap_lab.models.pack.detector_net import STRIDES, Detector, DetectorConfig, Head, Truth, anchors_of, losses
from faceswap_lab.models.pack.detector_scenes import Canvas, make_canvas
from faceswap_lab.models.pack.layers import blob
from faceswap_lab.models.pack.onnx_writer import OnnxGraph, Shape
from faceswap_lab.models.pack.pictures import PackPictures
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.stopping import Stop, never

MEAN, SCALE = 127.5, 128.0
"""insightface's input normalisation for detectors: mean and divisor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTraining:
    """Canvases are `size` pixels square, a multiple of 32; `box_weight` and `points_weight` are relative to the score loss.

    In the last `polish_share` of training the weight of the five points is `polish_points_weight`: they converge last.
    `strictness` is subtracted from all score logits on export: tuned on the split "val" for insightface's threshold of 0.5.
    """

    fit: TrainConfig = field(
        default_factory=lambda: TrainConfig(steps=3500, batch=16, learning_rate=3e-3, warmup=150, clip=10.0, precision="fp32")
    )
    net: DetectorConfig = field(default_factory=DetectorConfig)
    size: int = 256
    box_weight: float = 2.0
    points_weight: float = 8.0
    polish_share: float = 0.25
    polish_points_weight: float = 30.0
    strictness: float = 0.62

    def __post_init__(self) -> None:
        if self.size < 64 or self.size % STRIDES[-1]:
            raise ValueError(f"size must be a multiple of {STRIDES[-1]} of at least 64, got {self.size}")
        if not 0 <= self.polish_share <= 1:
            raise ValueError(f"polish_share must be within 0..1, got {self.polish_share}")

    def points_weight_at(self, progress: float) -> float:
        """The weight of the five points at `progress` (0..1) of training."""
        return self.points_weight if progress < 1 - self.polish_share else self.polish_points_weight


def fresh_detector(config: DetectorTraining) -> TrainState[Detector]:
    """An untrained Detector."""
    return TrainState.fresh(partial(Detector, config.net), config.fit)


def train_detector(
    state: TrainState[Detector], pictures: PackPictures, config: DetectorTraining, stop: Stop = never
) -> Iterator[Step]:
    """Trains a Detector: see `loop.train`. Raises SplitError for pictures of the test split."""
    require_trainable(pictures)
    anchors = anchors_of(config.size, config.size)

    def losses_of(net: Detector, context: StepContext) -> dict[str, Tensor]:
        seeds = context.numpy_generator().integers(2**31, size=config.fit.batch)
        canvases = [make_canvas(pictures, int(seed), config.size) for seed in seeds]
        with context.autocast():
            answer = net(blob_of([canvas.image for canvas in canvases]))
        parts = losses((answer[0].float(), answer[1].float(), answer[2].float()), truth_of(canvases), anchors)
        points = config.points_weight_at(context.progress) * parts["points"]
        return {"loss": parts["score"] + config.box_weight * parts["box"] + points, **parts}

    return train(state, losses_of, config.fit, stop)


def blob_of(images: list[np.ndarray]) -> Tensor:
    """RGB pictures of one size as network input."""
    return blob(np.stack(images), mean=MEAN, scale=SCALE)


def truth_of(canvases: list[Canvas]) -> Truth:
    """The faces of a batch of canvases."""
    most = max(1, *(len(canvas.boxes) for canvas in canvases))
    boxes, points = np.zeros((len(canvases), most, 4), np.float32), np.zeros((len(canvases), most, 10), np.float32)
    there, ignored = np.zeros((len(canvases), most), bool), np.zeros((len(canvases), most), bool)
    for row, canvas in enumerate(canvases):
        count = len(canvas.boxes)
        boxes[row, :count], points[row, :count] = canvas.boxes, canvas.points.reshape(count, 10)
        there[row, :count], ignored[row, :count] = True, canvas.ignored
    boxes_t, points_t, there_t, ignored_t = (torch.from_numpy(value) for value in (boxes, points, there, ignored))
    return Truth(boxes=boxes_t, points=points_t, there=there_t, ignored=ignored_t)


def export_detector(net: Detector, path: Path, *, strictness: float = 0.0) -> Path:
    """Exports the network as ONNX in insightface's layout: any height and width in multiples of 32, any batch; three scores,
    three boxes, three sets of points, each (batch, anchors, values)."""
    net = copy.deepcopy(net).eval()
    for head in net.heads:
        assert isinstance(head, Head)
        assert head.score.bias is not None
        head.score.bias.data -= strictness
    graph = OnnxGraph()
    x = graph.sequence("input.1", net.stem)
    found = []
    for number, stage in enumerate(net.stages.children()):
        x = graph.sequence(x, stage)
        if number:
            found.append(graph.sequence(x, net.lateral[number - 1]))
    for level in (1, 0):
        found[level] = graph.sequence(graph.op("Add", found[level], graph.doubled(found[level + 1])), net.smooth[level])
    outputs: dict[str, Shape] = {}
    answers = [_export_head(graph, each, head) for each, head in zip(found, net.heads, strict=True)]
    for part, values in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride, maps in zip(STRIDES, answers, strict=True):
            name = f"{part}_{stride}"
            flat = graph.op("Transpose", maps[part], perm=[0, 2, 3, 1])
            graph.op("Reshape", flat, graph.constant(np.array([0, -1, values])), out=name)
            outputs[name] = ["batch", f"anchors_{stride}", values]
    return graph.save(path, {"input.1": ["batch", 3, "height", "width"]}, outputs)


def _export_head(graph: OnnxGraph, x: str, head: nn.Module) -> dict[str, str]:
    assert isinstance(head, Head)
    inner = graph.sequence(x, head.inner)
    limits = [graph.constant(np.array(value, np.float32)) for value in (-3.0, 3.0)]
    factor = graph.op("Exp", graph.op("Clip", graph.layer(inner, head.box), *limits))
    return {
        "score": graph.op("Sigmoid", graph.layer(inner, head.score)),
        "bbox": graph.op("Mul", factor, graph.constant(head.box_unit.numpy())),
        "kps": graph.op("Mul", graph.layer(inner, head.points), graph.constant(head.point_unit.numpy())),
    }
