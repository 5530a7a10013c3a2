"""The pack's landmark network: 106 points on insightface's crop of 192 pixels, trained on actors.

Every cell of a 12 x 12 map votes for each point with an offset and a confidence; the output is the confidence-weighted mean. So
each point is located from wherever it shows best, and the network learns more from few pictures than with a dense layer.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from faceswap_lab.actors.head.landmark_sets import landmark_table
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.faces.scratch import read_only
from faceswap_lab.models.pack.augment import Random, box_to_crop, cut, degrade, moved_about, occlude, require_trainable
from faceswap_lab.models.pack.layers import blob, convolution
from faceswap_lab.models.pack.onnx_writer import OnnxGraph
from faceswap_lab.models.pack.pictures import PackPictures
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.stopping import Stop, never

SIZE, NUM_POINTS = 192, 106
MEAN, SCALE = 127.5, 128.0
"""insightface's input normalisation for landmark networks: mean and divisor."""

_CELLS = 12
_CONTOUR, _CONTOUR_WEIGHT = 33, 0.5
"""The first points are the face's contour, which hair and shadow hide: half the weight."""


class PointsNet(nn.Module):
    """Crops of 192 pixels, normalised as by insightface, to 212 values: x and y of each point, -1..1 over the crop."""

    grid: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(convolution(3, 16, 2), convolution(16, 32, 2), convolution(32, 32))
        self.middle = nn.Sequential(convolution(32, 64, 2), convolution(64, 64), convolution(64, 64))
        self.coarse = nn.Sequential(convolution(64, 96, 2), convolution(96, 96), convolution(96, 96), convolution(96, 64, kernel=1))
        self.joined = nn.Sequential(convolution(64, 96))
        self.sure = nn.Conv2d(96, NUM_POINTS, 1)
        self.offset = nn.Conv2d(96, 2 * NUM_POINTS, 1)
        place = (torch.arange(_CELLS) + 0.5) * 2 / _CELLS - 1
        grid = torch.stack([place.expand(_CELLS, _CELLS).reshape(-1), place[:, None].expand(_CELLS, _CELLS).reshape(-1)])
        self.register_buffer("grid", grid[None, None], persistent=False)  # 1 1 2 cells

    def forward(self, x_BCHW: Float[Tensor, "b 3 192 192"]) -> Float[Tensor, "b 212"]:
        """`x_BCHW` is (RGB - 127.5) / 128."""
        return self.from_half(functional.avg_pool2d(x_BCHW, 2))

    def from_half(self, x_BCHW: Float[Tensor, "b 3 96 96"]) -> Float[Tensor, "b 212"]:
        """The same from crops of half the side: the resolution at which the network works."""
        middle = self.middle(self.fine(x_BCHW))
        wide = functional.interpolate(self.coarse(middle), scale_factor=2.0, mode="nearest")
        found = self.joined(middle + wide)
        sure = self.sure(found).flatten(2).float().softmax(2)[:, :, None]
        offset = self.offset(found).float().view(-1, NUM_POINTS, 2, _CELLS * _CELLS)
        mean: Tensor = ((offset + self.grid) * sure).sum(3).flatten(1)
        return mean


@lru_cache(maxsize=1)
def mirrored_106() -> Int[np.ndarray, " 106"]:
    """Index of each point's mirror image, from the positions of the points on the symmetric template head."""
    rig = load_rig()
    corners, weights = landmark_table(rig, NUM_POINTS)
    place = (rig.template[corners] * weights[..., None]).sum(1).double().numpy()
    distance = np.linalg.norm(place[:, None] * np.array([-1, 1, 1]) - place, axis=2)
    # An eye's centre and its pupil coincide: ties are broken by the squared index differences.
    number = np.arange(NUM_POINTS)
    return read_only(np.asarray(linear_sum_assignment(distance + 1e-9 * (number[:, None] - number) ** 2)[1]))


# --- training ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Batch:
    half: UInt8[np.ndarray, "b 96 96 3"]
    points: Float[np.ndarray, "b 106 2"]


def fresh_points(config: TrainConfig) -> TrainState[PointsNet]:
    """An untrained PointsNet."""
    return TrainState.fresh(PointsNet, config)


def train_points(state: TrainState[PointsNet], pictures: PackPictures, config: TrainConfig, stop: Stop = never) -> Iterator[Step]:
    """Trains a PointsNet: see `loop.train`. Raises SplitError for pictures of the test split."""
    require_trainable(pictures)

    def losses(net: PointsNet, context: StepContext) -> dict[str, Tensor]:
        batch = _batch(pictures, config.batch, context.numpy_generator())
        with context.autocast():
            found = net.from_half(blob(batch.half, mean=MEAN, scale=SCALE)).view(-1, NUM_POINTS, 2)
        return {"loss": wing(found * (SIZE / 2), torch.from_numpy(batch.points * (SIZE / 2)))}

    return train(state, losses, config, stop)


def wing(found: Float[Tensor, "b 106 2"], wanted: Float[Tensor, "b 106 2"]) -> Float[Tensor, ""]:
    """Wing loss (Feng et al. 2018) of distances in crop pixels: logarithmic up to 8 pixels, then linear."""
    reach, bend = 8.0, 1.5
    gap = (found - wanted).abs()
    shift = reach - reach * math.log(1 + reach / bend)
    each = torch.where(gap < reach, reach * torch.log1p(gap / bend), gap - shift)
    weight = torch.ones(NUM_POINTS, device=found.device)
    weight[:_CONTOUR] = _CONTOUR_WEIGHT
    return (each.mean(2) * (weight / weight.sum())).sum(1).mean()


def _batch(pictures: PackPictures, count: int, random: Random) -> _Batch:
    rows = random.integers(0, len(pictures), count)
    made = [_sample(pictures, int(row), random) for row in rows]
    return _Batch(half=np.stack([half for half, _ in made]), points=np.stack([points for _, points in made]))


def _sample(pictures: PackPictures, row: int, random: Random) -> tuple[np.ndarray, np.ndarray]:
    turn = float(random.normal(0, 0.12 if random.random() < 0.8 else 0.4))
    scale, mirror = float(np.exp(random.normal(0, 0.09))), bool(random.random() < 0.5)
    matrix = box_to_crop(pictures.boxes[row], SIZE)
    matrix = moved_about(matrix, SIZE, random, turn=turn, scale=scale, shift=0.03 * SIZE, mirror=mirror)
    crop = cut(pictures, row, matrix, SIZE, random)
    half = degrade(cv2.resize(crop, (SIZE // 2, SIZE // 2), interpolation=cv2.INTER_AREA), random)
    if random.random() < 0.25:
        half = occlude(half, random)
    points = pictures.points106[row] @ matrix[:, :2].T + matrix[:, 2]
    points = points[mirrored_106()] if mirror else points
    return half, (points / (SIZE / 2) - 1).astype(np.float32)


# --- scores and the file ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class PointScore:
    """Mean error over faces and points relative to the 3D inter-ocular distance: all points, without the contour, and of the median
    face. `failed` is the fraction of faces above 0.08."""

    mean: float
    inner: float
    median: float
    failed: float


def score_points(net: PointsNet, pictures: PackPictures, *, off: float = 0.03, degraded: bool = False, seed: int = 0) -> PointScore:
    """Landmark error of a network on crops whose boxes are shifted and scaled by about `off` of their side."""
    random = np.random.default_rng([94, seed])
    found = []
    for row in range(len(pictures)):
        scale = float(np.exp(random.normal(0, off)))
        matrix = box_to_crop(pictures.boxes[row], SIZE)
        matrix = moved_about(matrix, SIZE, random, turn=0.0, scale=scale, shift=off / 1.5 * SIZE, mirror=False)
        crop = cv2.warpAffine(np.asarray(pictures.images[row]), matrix, (SIZE, SIZE))
        crop = degrade(crop, random) if degraded else crop
        with torch.inference_mode():
            points = net(blob(crop[None], mean=MEAN, scale=SCALE)).view(NUM_POINTS, 2).double().numpy()
        inverse = cv2.invertAffineTransform(matrix)
        found.append(((points + 1) * (SIZE / 2)) @ inverse[:, :2].T + inverse[:, 2])
    errors = point_errors(np.stack(found), pictures)
    faces = errors.mean(1)
    return PointScore(
        mean=float(faces.mean()),
        inner=float(errors[:, _CONTOUR:].mean()),
        median=float(np.median(faces)),
        failed=float((faces > 0.08).mean()),
    )


def point_errors(found: Float[np.ndarray, "n 106 2"], pictures: PackPictures) -> Float[np.ndarray, "n 106"]:
    """Errors relative to the 3D inter-ocular distance, which is the image distance divided by the cosine of the yaw."""
    eyes = pictures.keypoints5[:, :2].astype(np.float64)
    apart = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1) / np.cos(pictures.poses[:, 0])
    return np.asarray(np.linalg.norm(found - pictures.points106, axis=2) / apart[:, None])


def export_points(net: PointsNet, path: Path) -> Path:
    """Exports the network as ONNX in insightface's layout: `data` (n, 3, 192, 192) to `fc1` (n, 212)."""
    net, graph = copy.deepcopy(net).eval(), OnnxGraph()
    half = graph.op("AveragePool", "data", kernel_shape=[2, 2], strides=[2, 2])
    middle = graph.sequence(graph.sequence(half, net.fine), net.middle)
    found = graph.sequence(graph.op("Add", middle, graph.doubled(graph.sequence(middle, net.coarse))), net.joined)
    shapes = [graph.constant(np.array(shape)) for shape in ([0, NUM_POINTS, 1, -1], [0, NUM_POINTS, 2, _CELLS * _CELLS], [0, -1])]
    sure = graph.op("Softmax", graph.op("Reshape", graph.layer(found, net.sure), shapes[0]), axis=3)
    offset = graph.op("Reshape", graph.layer(found, net.offset), shapes[1])
    votes = graph.op("Mul", graph.op("Add", offset, graph.constant(net.grid.numpy())), sure)
    mean = graph.op("ReduceSum", votes, graph.constant(np.array([3])), keepdims=0)
    graph.op("Reshape", mean, shapes[2], out="fc1")
    return graph.save(path, {"data": ["n", 3, SIZE, SIZE]}, {"fc1": ["n", 2 * NUM_POINTS]})
