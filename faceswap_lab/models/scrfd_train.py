"""Training the detector on canvases, and writing it as the ONNX file that insightface reads.

Step n of a seed sees the same canvases whatever came before, so that what was interrupted goes on as if it had not been.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.errors import RunError
from faceswap_lab.models.onnx_graph import OnnxGraph
from faceswap_lab.models.pack_canvas import Canvas, make_canvas
from faceswap_lab.models.pack_data import PackPictures
from faceswap_lab.models.scrfd import STRIDES, Detector, DetectorConfig, Truth, anchors_of, losses

MEAN, SCALE = 127.5, 128.0
"""What insightface takes from each value, and divides it by, before a detector sees it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorTraining:
    """`steps` of `batch` canvases, `size` pixels square (a multiple of 32). The rate rises over `warmup` steps and falls as a cosine.

    `box_weight` and `points_weight` count against the score's loss; `ema` keeps a running average, which is what is used.
    """

    steps: int = 3600
    batch: int = 16
    size: int = 256
    rate: float = 3e-3
    warmup: int = 150
    weight_decay: float = 0.01
    box_weight: float = 2.0
    points_weight: float = 8.0
    clip: float = 10.0
    ema: float = 0.998
    report_every: int = 50
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 64 or self.size % STRIDES[-1]:
            raise ValueError(f"size must be a multiple of {STRIDES[-1]} of at least 64, got {self.size}")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.rate * (step + 1) / self.warmup
        share = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, share))) / 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorStep:
    """`number` steps are done; `losses` are means since the last one."""

    number: int
    losses: dict[str, float]
    canvases_per_s: float


@dataclass(slots=True, kw_only=True)
class DetectorState:
    """Everything that the next step depends on."""

    net: Detector
    average: Detector
    optimiser: torch.optim.AdamW
    step: int = 0

    @classmethod
    def fresh(cls, net_config: DetectorConfig, config: DetectorTraining) -> "DetectorState":
        """A network with weights drawn from the config's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            net = Detector(net_config).to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        plain = [value for value in net.parameters() if value.ndim == 1]
        groups = [{"params": [value for value in net.parameters() if value.ndim > 1]}, {"params": plain, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=config.rate, weight_decay=config.weight_decay, fused=True)
        return cls(net=net, average=copy.deepcopy(net).requires_grad_(False).eval(), optimiser=optimiser)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers only, so that it can be read back with `weights_only`."""
        parts = {name: getattr(self, name).state_dict() for name in ("net", "average", "optimiser")}
        return parts | {"step": self.step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `saved`. Raises RunError if it was made with another network or is incomplete."""
        try:
            for name in ("net", "average", "optimiser"):
                getattr(self, name).load_state_dict(saved[name])
            self.step = int(saved["step"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                expected="a checkpoint of this recipe's detector",
                got=" ".join(str(error).split())[:200],
                remedy="train with again=True to start a new run",
            ) from error


def train_detector(state: DetectorState, pictures: PackPictures, config: DetectorTraining) -> Iterator[DetectorStep]:
    """Train until `config.steps`, yielding every `report_every` steps and at the end. Raises SplitError for pictures of a test person,
    RunError if it diverges."""
    for seed in set(pictures.identity.tolist()):
        check_trainable(seed)
    anchors = anchors_of(config.size, config.size)
    state.net.train()
    sums: dict[str, float] = {}
    since, clock = 0, perf_counter()
    while state.step < config.steps:
        canvases = [make_canvas(pictures, (config.seed, state.step, k), config.size) for k in range(config.batch)]
        parts = losses(state.net(blob_of([canvas.image for canvas in canvases])), truth_of(canvases), anchors)
        total = parts["score"] + config.box_weight * parts["box"] + config.points_weight * parts["points"]
        _update(state, total, config)
        sums = {name: sums.get(name, 0.0) + float(loss.detach()) for name, loss in (parts | {"loss": total}).items()}
        since += 1
        if state.step % config.report_every == 0 or state.step == config.steps:
            means = {name: value / since for name, value in sums.items()}
            if not all(math.isfinite(mean) for mean in means.values()):
                raise RunError(expected="finite losses", got=f"{means} at step {state.step}", remedy="train with a lower rate")
            rate = since * config.batch / (perf_counter() - clock)
            yield DetectorStep(number=state.step, losses=means, canvases_per_s=rate)
            sums, since, clock = {}, 0, perf_counter()


def _update(state: DetectorState, total: Tensor, config: DetectorTraining) -> None:
    for group in state.optimiser.param_groups:
        group["lr"] = config.rate_at(state.step)
    state.optimiser.zero_grad(set_to_none=True)
    total.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.clip)
    state.optimiser.step()
    state.step += 1
    keep = min(config.ema, state.step / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.average.parameters()), list(state.net.parameters()), 1 - keep)
        for mean, value in zip(state.average.buffers(), state.net.buffers(), strict=True):
            # Running means are averages already; their counts are whole numbers.
            mean.copy_(value)


def blob_of(images: list[np.ndarray]) -> Tensor:
    """RGB pictures of one size as the network takes them."""
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return ((pixels - MEAN) / SCALE).contiguous(memory_format=torch.channels_last)


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


def export_detector(net: Detector, path: Path) -> Path:
    """Write the network as ONNX in insightface's layout: any height and width in multiples of 32, any batch; three scores, three
    boxes, three sets of points, each (batch, anchors, values)."""
    net = copy.deepcopy(net).eval()
    graph = OnnxGraph()
    x = graph.sequence("input.1", net.stem)
    found = []
    for number, stage in enumerate(net.stages):
        x = graph.sequence(x, stage)
        if number:
            found.append(graph.sequence(x, net.lateral[number - 1]))
    for level in (1, 0):
        found[level] = graph.sequence(graph.op("Add", found[level], graph.doubled(found[level + 1])), net.smooth[level])
    outputs: dict[str, list[int | str]] = {}
    answers: dict[str, list[str]] = {"score": [], "bbox": [], "kps": []}
    for head, each in zip(net.heads, found, strict=True):
        inner = graph.sequence(each, head.inner)
        answers["score"].append(graph.op("Sigmoid", graph.layer(inner, head.score)))
        limits = [graph.constant(np.array(value, np.float32)) for value in (-3.0, 3.0)]
        factor = graph.op("Exp", graph.op("Clip", graph.layer(inner, head.box), *limits))
        answers["bbox"].append(graph.op("Mul", factor, graph.constant(head.box_unit.numpy())))
        answers["kps"].append(graph.op("Mul", graph.layer(inner, head.points), graph.constant(head.point_unit.numpy())))
    for part, values in (("score", 1), ("bbox", 4), ("kps", 10)):
        for stride, maps in zip(STRIDES, answers[part], strict=True):
            name = f"{part}_{stride}"
            flat = graph.op("Transpose", maps, perm=[0, 2, 3, 1])
            graph.op("Reshape", flat, graph.constant(np.array([0, -1, values])), out=name)
            outputs[name] = ["batch", f"anchors_{stride}", values]
    return graph.save(path, {"input.1": ["batch", 3, "height", "width"]}, outputs)
