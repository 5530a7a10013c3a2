"""Training the network of actions, gaze and head pose."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.faces.scratch import read_only
from faceswap_lab.models.eyes.augment import Jitter, Sample, sample
from faceswap_lab.models.eyes.expression_net import TEMPLATE, Expression, ExpressionNet
from faceswap_lab.models.eyes.layers import network_input
from faceswap_lab.models.eyes.pictures import EyesPictures, require_trainable
from faceswap_lab.models.eyes.places import EYE_POINTS
from faceswap_lab.models.eyes.rotations import in_plane
from faceswap_lab.models.pack.augment import Random
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.stopping import Stop, never

JITTER = Jitter(detected=0.15, points=0.035, turn=0.04, scale=0.04, shift=0.01)
_OCCLUDED = 0.15
_GAZE_WEIGHT, _TURN_WEIGHT, _HIDDEN = 12.0, 4.0, 0.1
"""Weights of gaze and rotation beside the actions, and of an eye that is hidden or closed beside one that shows its gaze."""

_LEAST_SPREAD = 0.08
"""Actions' errors count relative to their standard deviation, but to no less than this."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ExpressionTruth:
    """What a batch should give, in the crops' frames: actions 0..1, unit gaze vectors, how much each eye's gaze shows, two columns
    of the rotation."""

    actions: Float[Tensor, "b 52"]
    gaze: Float[Tensor, "b 2 3"]
    shown: Float[Tensor, "b 2"]
    turn: Float[Tensor, "b 2 3"]

    def to(self, device: torch.device) -> "ExpressionTruth":
        """The same on another device."""
        actions, gaze, shown, turn = (each.to(device) for each in (self.actions, self.gaze, self.shown, self.turn))
        return ExpressionTruth(actions=actions, gaze=gaze, shown=shown, turn=turn)


def fresh_expression(config: TrainConfig, device: torch.device | None = None) -> TrainState[ExpressionNet]:
    """An untrained ExpressionNet on `device` (default: the CPU)."""
    return TrainState.fresh(ExpressionNet, config, device)


def train_expression(
    state: TrainState[ExpressionNet], pictures: EyesPictures, config: TrainConfig, stop: Stop = never
) -> Iterator[Step]:
    """Trains an ExpressionNet: see `loop.train`. Raises SplitError for pictures of the test split."""
    require_trainable(pictures)
    spread = torch.from_numpy(pictures.actions.std(0).clip(_LEAST_SPREAD).astype(np.float32)).to(state.device)

    def losses(net: ExpressionNet, context: StepContext) -> dict[str, Tensor]:
        crops, truth = _batch(pictures, config.batch, context.numpy_generator())
        with context.autocast():
            found = net(crops.to(context.device))
        return expression_losses(found, truth.to(context.device), spread)

    return train(state, losses, config, stop)


def expression_losses(found: Expression, truth: ExpressionTruth, spread: Float[Tensor, " 52"]) -> dict[str, Tensor]:
    """Squared errors: of the actions relative to their `spread`, of the gaze vectors, of the rotation's columns."""
    actions = ((found.actions - truth.actions) / spread).square().mean()
    # The length is free: only the direction of a prediction is used.
    gaze = (functional.normalize(found.gaze, dim=2) - truth.gaze).square().sum(2)
    gaze = (gaze * truth.shown).sum() / truth.shown.sum().clamp_min(1e-6)
    turn = (found.turn - truth.turn).square().sum((1, 2)).mean()
    total = actions + _GAZE_WEIGHT * gaze + _TURN_WEIGHT * turn
    return {"loss": total, "actions": actions, "gaze": gaze, "turn": turn}


@lru_cache(maxsize=1)
def mirrored_actions() -> Int[np.ndarray, " 52"]:
    """Index of each action's mirror image: left and right change places."""
    names = load_rig().action_names
    other = [name.replace("Left", "?").replace("Right", "Left").replace("?", "Right") for name in names]
    return read_only(np.array([names.index(name) for name in other]))


def _batch(pictures: EyesPictures, count: int, random: Random) -> tuple[Float[Tensor, "b 3 s s"], ExpressionTruth]:
    rows = random.integers(0, len(pictures), count)
    made = [(int(row), sample(pictures, int(row), random, JITTER, TEMPLATE, occluded=_OCCLUDED)) for row in rows]
    told = [_truth(pictures, row, crop) for row, crop in made]
    actions, gaze, shown, turn = (torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*told, strict=True))
    truth = ExpressionTruth(actions=actions, gaze=gaze, shown=shown, turn=turn)
    return network_input(np.stack([crop.image for _, crop in made])), truth


def _truth(pictures: EyesPictures, row: int, crop: Sample) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Actions, gaze, how much of each eye shows, and two columns of the rotation, all as in the crop."""
    actions, gaze, turn = pictures.actions[row], pictures.gaze[row], pictures.turn[row]
    shown = eyes_shown(pictures, row)
    into_crop = in_plane(crop.frame_to_crop)
    if crop.is_mirrored:
        actions, gaze, shown = actions[mirrored_actions()], gaze[::-1], shown[::-1]
        # The mirrored head: its own left and right change places as well as the picture's.
        turn = turn @ np.diag([-1.0, 1.0, 1.0])
    return actions, gaze @ into_crop.T, shown, (into_crop @ turn)[:, :2].T


def eyes_shown(pictures: EyesPictures, row: int) -> Float[np.ndarray, " 2"]:
    """1 for each of right and left eye whose gaze can be seen, else a small number."""
    blinks = [list(load_rig().action_names).index(name) for name in ("eyeBlinkRight", "eyeBlinkLeft")]
    seen = np.array([pictures.visible[row, list(points)].mean() for points in EYE_POINTS])
    return np.where((seen >= 0.5) & (pictures.actions[row, blinks] < 0.6), 1.0, _HIDDEN)
