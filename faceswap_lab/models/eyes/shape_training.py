"""Training the network of points and labels."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from faceswap_lab.faces import align
from faceswap_lab.models.eyes.augment import Jitter, Sample, sample
from faceswap_lab.models.eyes.labels import LABELS
from faceswap_lab.models.eyes.layers import SIZE, network_input
from faceswap_lab.models.eyes.pictures import EyesPictures, require_trainable
from faceswap_lab.models.eyes.shape_net import TEMPLATE, Shape, ShapeNet
from faceswap_lab.models.pack.augment import Random
from faceswap_lab.models.pack.landmarker import mirrored_106, wing
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.stopping import Stop, never

JITTER = Jitter(detected=0.55, points=0.06)
_OCCLUDED = 0.35
_LABEL_WEIGHTS = {"brows": 2.0, "eyes": 2.0, "lips": 2.0, "mouth": 2.0, "glasses": 2.0, "occluder": 1.5}
_SEEN_WEIGHT, _LABELS_WEIGHT, _OVERLAP_WEIGHT = 2.0, 6.0, 4.0
"""Weights of visibility, labels by pixel and labels by overlap beside the points' wing loss, which is about 5 once trained."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShapeTruth:
    """What a batch should give: points in -1..1, their visibility (0 or 1), the label of each cell's pixel number `corner`."""

    points: Float[Tensor, "b 106 2"]
    visible: Float[Tensor, "b 106"]
    labels: Int[Tensor, "b 64 64"]
    corner: int

    def to(self, device: torch.device) -> "ShapeTruth":
        """The same on another device."""
        points, visible, labels = (each.to(device) for each in (self.points, self.visible, self.labels))
        return ShapeTruth(points=points, visible=visible, labels=labels, corner=self.corner)


def fresh_shape(config: TrainConfig, device: torch.device | None = None) -> TrainState[ShapeNet]:
    """An untrained ShapeNet on `device` (default: the CPU)."""
    return TrainState.fresh(ShapeNet, config, device)


def train_shape(state: TrainState[ShapeNet], pictures: EyesPictures, config: TrainConfig, stop: Stop = never) -> Iterator[Step]:
    """Trains a ShapeNet: see `loop.train`. Raises SplitError for pictures of the test split."""
    require_trainable(pictures)

    def losses(net: ShapeNet, context: StepContext) -> dict[str, Tensor]:
        crops, truth = _batch(pictures, config.batch, context.numpy_generator())
        with context.autocast():
            found = net(crops.to(context.device))
        return shape_losses(found, truth.to(context.device))

    return train(state, losses, config, stop)


def shape_losses(found: Shape, truth: ShapeTruth) -> dict[str, Tensor]:
    """Wing loss of the points, cross-entropy of visibility and labels, and one minus the labels' soft overlap (Dice).

    Each step compares a quarter of the labels: all of them would take longer than the network.
    """
    points = wing(found.points * (SIZE / 2), truth.points * (SIZE / 2))
    seen = functional.binary_cross_entropy_with_logits(found.visible, truth.visible)
    weights = torch.tensor([_LABEL_WEIGHTS.get(name, 1.0) for name in LABELS], device=found.labels.device)
    logits = found.labels[:, truth.corner :: 4]
    labels = functional.cross_entropy(logits, truth.labels, weights)
    overlap = _missing_overlap(logits, truth.labels)
    total = points + _SEEN_WEIGHT * seen + _LABELS_WEIGHT * labels + _OVERLAP_WEIGHT * overlap
    return {"loss": total, "points": points, "seen": seen, "labels": labels, "overlap": overlap}


def _missing_overlap(logits: Float[Tensor, "b l s s"], labels: Int[Tensor, "b s s"]) -> Float[Tensor, ""]:
    """One minus the mean over labels of the batch's soft Dice coefficient; labels that do not occur add little."""
    share = logits.softmax(1)
    wanted = functional.one_hot(labels, len(LABELS)).permute(0, 3, 1, 2).to(share.dtype)
    both, either = (share * wanted).sum((0, 2, 3)), (share + wanted).sum((0, 2, 3))
    few = 50.0  # pixels
    return 1 - ((2 * both + few) / (either + few)).mean()


def _batch(pictures: EyesPictures, count: int, random: Random) -> tuple[Float[Tensor, "b 3 s s"], ShapeTruth]:
    rows = random.integers(0, len(pictures), count)
    made = [(int(row), sample(pictures, int(row), random, JITTER, TEMPLATE, occluded=_OCCLUDED)) for row in rows]
    told = [_truth(pictures, row, crop) for row, crop in made]
    down, across = (int(value) for value in random.integers(2, size=2))
    truth = ShapeTruth(
        points=torch.from_numpy(np.stack([points for points, _ in told]).astype(np.float32)),
        visible=torch.from_numpy(np.stack([visible for _, visible in told]).astype(np.float32)),
        labels=torch.from_numpy(np.stack([crop.labels[down::2, across::2] for _, crop in made])).long(),
        corner=2 * down + across,
    )
    return network_input(np.stack([crop.image for _, crop in made])), truth


def _truth(pictures: EyesPictures, row: int, crop: Sample) -> tuple[np.ndarray, np.ndarray]:
    """Points (-1..1 over the crop) and visibility of one crop; what was pasted over it or cut off hides points too."""
    points = align.transform_points(crop.frame_to_crop, pictures.points106[row])
    place = points.round().astype(int)
    inside = ((place >= 0) & (place < SIZE)).all(1)
    column, line = place.clip(0, SIZE - 1).T
    pasted = (crop.labels[line, column] == LABELS.index("occluder")) & ~pictures.held[row]
    visible = pictures.visible[row] & inside & ~pasted
    order = mirrored_106() if crop.is_mirrored else np.arange(len(points))
    return ((points + 0.5) / (SIZE / 2) - 1)[order], visible[order]
