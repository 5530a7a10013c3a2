"""Training of the pair: two people's crops, their batches, and the losses of both decoders."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.draws import DrawsAhead
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.losses import mask_loss, picture_loss
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.models.training.team import ALONE, ONE_BY_ONE, Parallel, Share, Team
from faceswap_lab.stopping import Stop, never


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

    @property
    def is_supervised(self) -> bool:
        """Whether there are true pairs to train on."""
        return not (self.inputs is None or self.targets is None or self.target_masks is None)

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
    state: TrainState[PairNet],
    people: tuple[Portraits, Portraits],
    config: PairTraining,
    stop: Stop = never,
    team: Team = ALONE,
    how: Parallel = ONE_BY_ONE,
) -> Iterator[Step]:
    """Trains a PairNet on two people's crops, the first drawn by decoder 0: see `loop.train`.

    Raises ValueError if a batch can't be shared equally by the ranks of `team` in the parts of `how`.
    """
    team.check_batch(config.batch, how.accumulate)
    people = (people[0].to(state.device), people[1].to(state.device))
    shares = [Share(team.rank, team.size).part(part, how.accumulate) for part in range(how.accumulate)]

    def draw(random: torch.Generator) -> list[Tensor]:
        numbers = _draw(people, config, random)
        return [number for share in shares for number in _shared(numbers, people, share)]

    ahead = DrawsAhead(draw, state.device, config.report_every)
    drawn_ahead: Iterator[Tensor] = iter(())

    def losses(net: PairNet, context: StepContext) -> dict[str, Tensor]:
        nonlocal drawn_ahead
        parts: dict[str, Tensor] = {}
        if context.is_first:
            drawn_ahead = iter(ahead.next(context.generator))
        numbers = drawn_ahead
        for person, portraits in enumerate(people):
            x, targets, mask = _batch(portraits, numbers)
            with context.autocast():
                drawn = net(x, person)
            drawn = drawn.float()
            parts[f"picture_{person}"] = picture_loss(drawn[:, :3], targets, mask[:, :1], mask[:, 1:])
            parts[f"mask_{person}"] = config.mask_weight * mask_loss(drawn[:, 3:], mask[:, :1])
        return {"loss": torch.stack(list(parts.values())).sum(), **parts}

    return train(state, losses, config, stop, team, how)


def _shared(numbers: list[Tensor], people: Iterable[Portraits], share: Share) -> list[Tensor]:
    """One share of a batch's numbers, in the same order: of each person the share's rows of the batch."""
    if share == Share():
        return numbers
    shared, rest = list[Tensor](), iter(numbers)
    for portraits in people:
        if not portraits.is_supervised:
            own, matrices, lattices = next(rest), next(rest), next(rest)
            rows = share.rows(len(own))
            shared += [own[rows], matrices[rows], lattices[rows]]
            continue
        own, true, matrices = next(rest), next(rest), next(rest)
        # The batch is a person's own pictures followed by the true pairs: see `_batch`.
        rows = share.rows(len(own) + len(true))
        shared += [own[rows[rows < len(own)]], true[rows[rows >= len(own)] - len(own)], matrices[rows]]
    return shared


def _draw(people: Iterable[Portraits], config: PairTraining, random: torch.Generator) -> list[Tensor]:
    """The random numbers of one step in the order that `_batch` takes them, for each person: rows of the stacks, the matrices of
    `moved_by` and, without truth, the lattices of `warped_by`."""
    numbers: list[Tensor] = []
    for portraits in people:
        stacks = [(portraits.self_images, config.batch)]
        if portraits.is_supervised:
            num_own = round(config.batch * config.self_share)
            assert portraits.inputs is not None
            stacks = [(portraits.self_images, num_own), (portraits.inputs, config.batch - num_own)]
        numbers += [torch.randint(len(stack), (count,), generator=random) for stack, count in stacks]
        numbers.append(jitters(config.batch, random))
        if not portraits.is_supervised:
            numbers.append(torch.randn(config.batch, 2, 5, 5, generator=random) * 0.06)
    return numbers


def _batch(portraits: Portraits, numbers: Iterator[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Input, target picture and masks, 0..1, with the same random transform; without truth the input is also warped."""

    def pick(rows: Tensor, *stacks: Tensor) -> Tensor:
        return torch.cat([stack[rows].float().div(255) for stack in stacks], 1)

    if portraits.inputs is None or portraits.targets is None or portraits.target_masks is None:
        self_images = moved_by(pick(next(numbers), portraits.self_images, portraits.self_masks), next(numbers))
        return warped_by(self_images[:, :3], next(numbers)), self_images[:, :3], self_images[:, 3:]
    self_images = pick(next(numbers), portraits.self_images, portraits.self_images, portraits.self_masks)
    true = pick(next(numbers), portraits.inputs, portraits.targets, portraits.target_masks)
    both = moved_by(torch.cat([self_images, true]), next(numbers))
    return both[:, :3], both[:, 3:6], both[:, 6:]


def jitters(b: int, random: torch.Generator) -> Float[Tensor, "b 2 3"]:
    """A small random rotation, scale and shift, as detections jitter. Never mirrored: that would be another person."""
    angle, scale = torch.randn(b, generator=random) * 0.06, 1 + torch.randn(b, generator=random) * 0.04
    shift = torch.randn(b, 2, generator=random) * 0.03
    cos, sin = angle.cos() * scale, angle.sin() * scale
    return torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(b, 2, 3)


def moved_by(x_BCHW: Tensor, matrix: Float[Tensor, "b 2 3"]) -> Tensor:
    """Pictures, each resampled by its matrix, mirrored at the border; 0..1."""
    grid = functional.affine_grid(matrix, list(x_BCHW.shape), align_corners=False)
    return functional.grid_sample(x_BCHW, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)


def warped_by(x_BCHW: Float[Tensor, "b 3 s s"], lattice: Float[Tensor, "b 2 5 5"]) -> Float[Tensor, "b 3 s s"]:
    """Random smooth displacement (a 5 x 5 lattice, 3 % of the side), which keeps the unsupervised network from copying."""
    b, _, s, _ = x_BCHW.shape
    offset = functional.interpolate(lattice, (s, s), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    identity = torch.eye(2, 3, device=x_BCHW.device).expand(b, 2, 3)
    grid = functional.affine_grid(identity, [b, 3, s, s], align_corners=False)
    return functional.grid_sample(x_BCHW, grid + offset, padding_mode="reflection", align_corners=False).clamp(0, 1)
