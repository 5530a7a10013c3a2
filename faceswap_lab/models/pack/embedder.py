"""The pack's embedder: 128 values from a 112-pixel crop on ArcFace's template, trained to distinguish actors.

The loss is CosFace's (Wang et al. 2018): the cosine to the correct person must exceed others by a margin. Crop borders and the
background are often replaced, so that hats, hair and walls do not reveal the identity.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional

from faceswap_lab.faces import align
from faceswap_lab.models.pack.augment import Random, cut, degrade, moved_about, occlude, require_trainable, value_noise
from faceswap_lab.models.pack.layers import blob, convolution
from faceswap_lab.models.pack.onnx_writer import OnnxGraph
from faceswap_lab.models.pack.pictures import PackPictures
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.stopping import Stop, never

SIZE, NUM_VALUES = 112, 128
MEAN, SCALE = 127.5, 127.5
"""insightface's input normalisation for recognisers: mean and divisor."""

_SHARPNESS, _MARGIN = 24.0, 0.3
_MARGIN_FULL_AT = 0.25


class _Block(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        last = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.inner = nn.Sequential(convolution(channels, channels), last, nn.BatchNorm2d(channels))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.inner(x_BCHW)  # type: ignore[no-any-return]


class EmbedNet(nn.Module):
    """Crops of 112 pixels, normalised as by insightface, to 128 values whose direction encodes the person."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 16, 2), convolution(16, 32, 2), convolution(32, 32))
        self.middle, self.middle_block = convolution(32, 64, 2), _Block(64)
        self.coarse, self.coarse_block = convolution(64, 128, 2), _Block(128)
        self.narrow = convolution(128, 48, kernel=1)
        self.values = nn.Linear(48 * 49, NUM_VALUES, bias=False)

    def forward(self, x_BCHW: Float[Tensor, "b 3 112 112"]) -> Float[Tensor, "b 128"]:
        """`x_BCHW` is (RGB - 127.5) / 127.5."""
        middle = self.middle_block(self.middle(self.stem(x_BCHW)))
        coarse = self.coarse_block(self.coarse(middle))
        found: Tensor = self.values(self.narrow(coarse).flatten(1)).float()
        return found


class Recogniser(nn.Module):
    """The embedder with a class vector for each training person."""

    def __init__(self, num_identities: int) -> None:
        super().__init__()
        self.net = EmbedNet()
        self.identities = nn.Parameter(torch.randn(num_identities, NUM_VALUES) * 0.05)


# --- training ---------------------------------------------------------------------------------------------------------------


def fresh_embedder(pictures: PackPictures, config: TrainConfig) -> TrainState[Recogniser]:
    """An untrained Recogniser of the people in `pictures`."""
    return TrainState.fresh(partial(Recogniser, len(np.unique(pictures.identity))), config)


def train_embedder(
    state: TrainState[Recogniser], pictures: PackPictures, config: TrainConfig, stop: Stop = never
) -> Iterator[Step]:
    """Trains a Recogniser: see `loop.train`. Raises SplitError for pictures of the test split."""
    require_trainable(pictures)
    person = np.unique(pictures.identity, return_inverse=True)[1]
    matrices = _matrices(pictures)

    def losses(net: Recogniser, context: StepContext) -> dict[str, Tensor]:
        random = context.numpy_generator()
        rows = random.integers(0, len(pictures), config.batch)
        crops = np.stack([_sample(pictures, int(row), matrices[row], random) for row in rows])
        margin = _MARGIN * min(1.0, context.progress / _MARGIN_FULL_AT)
        with context.autocast():
            vectors = net.net(blob(crops, mean=MEAN, scale=SCALE))
        cosines = functional.normalize(vectors) @ functional.normalize(net.identities).T
        return margin_loss(cosines, torch.from_numpy(person[rows]), margin)

    return train(state, losses, config, stop)


def margin_loss(cosines: Float[Tensor, "b p"], person: Int[Tensor, " b"], margin: float) -> dict[str, Tensor]:
    """CosFace's loss, and `wrong`, the fraction of misclassified pictures."""
    less = functional.one_hot(person, cosines.shape[1]) * margin
    loss = functional.cross_entropy(_SHARPNESS * (cosines - less), person)
    return {"loss": loss, "wrong": (cosines.detach().argmax(1) != person).float().mean()}


def _matrices(pictures: PackPictures) -> Float[np.ndarray, "n 2 3"]:
    """Transforms to ArcFace's template, from the true five points."""
    return np.stack([align.frame_to_crop(points, template="arcface", size=SIZE) for points in pictures.keypoints5])


def _sample(pictures: PackPictures, row: int, matrix: Float[np.ndarray, "2 3"], random: Random) -> UInt8[np.ndarray, "112 112 3"]:
    turn, scale = float(random.normal(0, 0.05)), float(np.exp(random.normal(0, 0.05)))
    mirror = bool(random.random() < 0.5)
    matrix = moved_about(matrix, SIZE, random, turn=turn, scale=scale, shift=1.5, mirror=mirror)
    crop = degrade(cut(pictures, row, matrix, SIZE, random), random)
    if random.random() < 0.5:
        crop = _framed(crop, random)
    return occlude(crop, random) if random.random() < 0.15 else crop


def _framed(crop: UInt8[np.ndarray, "s s 3"], random: Random) -> UInt8[np.ndarray, "s s 3"]:
    """Replaces each border, up to a sixth of the crop wide."""
    left, top, right, bottom = (int(value) for value in random.integers(0, SIZE // 6, 4))
    out = value_noise(SIZE, random)
    inside = np.s_[top : SIZE - bottom, left : SIZE - right]
    out[inside] = crop[inside]
    return out


# --- scores and the file ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityScore:
    """Verification performance of the cosine: area under the ROC curve, and d' (distance of the means in standard deviations)."""

    auc: float
    d_prime: float
    same: float
    other: float


def score_embedder(
    net: EmbedNet, pictures: PackPictures, *, off: float = 0.02, degraded: bool = False, seed: int = 0
) -> IdentityScore:
    """The score of a network on crops that are rotated, scaled and shifted by about `off` from the true points."""
    random = np.random.default_rng([95, seed])
    crops = []
    for row, matrix in enumerate(_matrices(pictures)):
        turn, scale = random.normal(0, off, 2)
        moved = moved_about(matrix, SIZE, random, turn=turn, scale=float(np.exp(scale)), shift=off * SIZE / 2, mirror=False)
        crop = cv2.warpAffine(np.asarray(pictures.images[row]), moved, (SIZE, SIZE))
        crops.append(degrade(crop, random) if degraded else crop)
    with torch.inference_mode():
        vectors = torch.cat(
            [net(blob(np.stack(crops[start : start + 64]), mean=MEAN, scale=SCALE)) for start in range(0, len(crops), 64)]
        )
    return identity_score(functional.normalize(vectors).numpy(), pictures.identity)


def identity_score(vectors: Float[np.ndarray, "n d"], identity: Int[np.ndarray, " n"]) -> IdentityScore:
    """The score of unit vectors over all pairs. Raises ValueError unless there are pairs of both kinds, same and different."""
    first, second = np.triu_indices(len(vectors), 1)
    same = identity[first] == identity[second]
    if same.all() or not same.any():
        raise ValueError("a score needs pairs of one person and pairs of two")
    cosines = (vectors.astype(np.float64) @ vectors.astype(np.float64).T)[first, second]
    ranks, count = rankdata(cosines), int(same.sum())
    auc = (ranks[same].sum() - count * (count + 1) / 2) / (count * (len(same) - count))
    spread = np.sqrt((cosines[same].var() + cosines[~same].var()) / 2)
    means = float(cosines[same].mean()), float(cosines[~same].mean())
    return IdentityScore(auc=float(auc), d_prime=float((means[0] - means[1]) / spread), same=means[0], other=means[1])


def export_embedder(net: EmbedNet, path: Path) -> Path:
    """Exports the network as ONNX in insightface's layout: `input.1` (n, 3, 112, 112) to `embedding` (n, 128), not normalised."""
    net, graph = copy.deepcopy(net).eval(), OnnxGraph()
    x = graph.sequence("input.1", net.stem)
    for down, block in ((net.middle, net.middle_block), (net.coarse, net.coarse_block)):
        x = graph.sequence(x, down)
        x = graph.op("Add", x, graph.sequence(x, block.inner))
    x = graph.op("Flatten", graph.sequence(x, net.narrow))
    weight = graph.constant(net.values.weight.detach().float().T.contiguous().numpy())
    graph.op("MatMul", x, weight, out="embedding")
    return graph.save(path, {"input.1": ["n", 3, SIZE, SIZE]}, {"embedding": ["n", NUM_VALUES]})
