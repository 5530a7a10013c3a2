"""Training of the pair: two people's crops, their batches, and the losses of both decoders."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.losses import mask_loss, picture_loss
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.models.training.stopping import Stop, never


@dataclass(frozen=True, slots=True, kw_only=True)
class PairTraining(TrainConfig):
    """Hyperparameters: `batch` pictures for each decoder per step; the rest is as in TrainConfig.

    `self_share` is the fraction of the person's own pictures in a supervised batch, so that a decoder also learns its own person's
    face; `mask_weight` is the weight of the mask loss relative to the picture loss.
    """

    steps: int = 900
    batch: int = 8
    warmup: int = 30
    final_share: float = 0.02
    weight_decay: float = 1e-4
    decay_vectors: bool = True
    beta2: float = 0.99
    clip: float = 1.0
    ema: float = 0.99
    report_every: int = 20
    self_share: float = 0.25
    mask_weight: float = 0.5

    @property
    def samples_per_step(self) -> int:
        """Pictures through both decoders together."""
        return 2 * self.batch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portraits:
    """One person's training crops. `inputs` show the other person, `targets` this one in the same frames (truth), row by row.

    `self_images` are this person's own pictures. Masks have two channels: the face, and eyes and mouth. Without truth `inputs`,
    `targets` and `target_masks` are None.
    """

    self_images: UInt8[Tensor, "n 3 s s"]
    self_masks: UInt8[Tensor, "n 2 s s"]
    inputs: UInt8[Tensor, "m 3 s s"] | None = None
    targets: UInt8[Tensor, "m 3 s s"] | None = None
    target_masks: UInt8[Tensor, "m 2 s s"] | None = None

    def to(self, device: torch.device) -> "Portraits":
        """The same on another device."""

        def moved(part: Tensor | None) -> Tensor | None:
            return None if part is None else part.to(device)

        return replace(
            self,
            self_images=self.self_images.to(device),
            self_masks=self.self_masks.to(device),
            inputs=moved(self.inputs),
            targets=moved(self.targets),
            target_masks=moved(self.target_masks),
        )


def fresh_pair(net: PairNetConfig, config: PairTraining, device: torch.device) -> TrainState[PairNet]:
    """An untrained PairNet."""
    return TrainState.fresh(partial(PairNet, net), config, device)


def train_pair(
    state: TrainState[PairNet], people: tuple[Portraits, Portraits], config: PairTraining, stop: Stop = never
) -> Iterator[Step]:
    """Trains a PairNet on two people's crops, the first drawn by decoder 0: see `loop.train`."""
    people = (people[0].to(state.device), people[1].to(state.device))

    def losses(net: PairNet, context: StepContext) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        for person, portraits in enumerate(people):
            x, targets, mask = _batch(portraits, config, context.generator)
            with context.autocast():
                drawn = net(x, person)
            drawn = drawn.float()
            parts[f"picture_{person}"] = picture_loss(drawn[:, :3], targets, mask[:, :1], mask[:, 1:])
            parts[f"mask_{person}"] = config.mask_weight * mask_loss(drawn[:, 3:], mask[:, :1])
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    return train(state, losses, config, stop)


def _batch(portraits: Portraits, config: PairTraining, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Input, target picture and masks, 0..1, with the same random transform; without truth the input is also warped."""

    def pick(count: int, *stacks: Tensor) -> Tensor:
        rows = torch.randint(len(stacks[0]), (count,), generator=random).to(stacks[0].device)
        return torch.cat([stack[rows].float().div(255) for stack in stacks], 1)

    if portraits.inputs is None or portraits.targets is None or portraits.target_masks is None:
        self_images = _moved(pick(config.batch, portraits.self_images, portraits.self_masks), random)
        return _warped(self_images[:, :3], random), self_images[:, :3], self_images[:, 3:]
    num_own = round(config.batch * config.self_share)
    self_images = pick(num_own, portraits.self_images, portraits.self_images, portraits.self_masks)
    true = pick(config.batch - num_own, portraits.inputs, portraits.targets, portraits.target_masks)
    both = _moved(torch.cat([self_images, true]), random)
    return both[:, :3], both[:, 3:6], both[:, 6:]


def _moved(x_BCHW: Tensor, random: torch.Generator) -> Tensor:
    """A small random rotation, scale and shift, as detections jitter. Never mirrored: that would be another person."""
    b = len(x_BCHW)
    angle, scale = torch.randn(b, generator=random) * 0.06, 1 + torch.randn(b, generator=random) * 0.04
    shift = torch.randn(b, 2, generator=random) * 0.03
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(b, 2, 3).to(x_BCHW.device)
    grid = functional.affine_grid(matrix, list(x_BCHW.shape), align_corners=False)
    return functional.grid_sample(x_BCHW, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)


def _warped(x_BCHW: Float[Tensor, "b 3 s s"], random: torch.Generator) -> Float[Tensor, "b 3 s s"]:
    """Random smooth displacement (a 5 x 5 lattice, 3 % of the side), which keeps the unsupervised network from copying."""
    b, _, s, _ = x_BCHW.shape
    lattice = (torch.randn(b, 2, 5, 5, generator=random) * 0.06).to(x_BCHW.device)
    offset = functional.interpolate(lattice, (s, s), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    identity = torch.eye(2, 3, device=x_BCHW.device).expand(b, 2, 3)
    grid = functional.affine_grid(identity, [b, 3, s, s], align_corners=False)
    return functional.grid_sample(x_BCHW, grid + offset, padding_mode="reflection", align_corners=False).clamp(0, 1)
