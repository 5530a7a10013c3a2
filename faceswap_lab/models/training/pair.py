"""Training the pair network: an iterator of Steps that can stop and go on anywhere, bit for bit on a CPU."""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from faceswap_lab.errors import RunError
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.training.loop import DIVERGED, Step, require_finite
from faceswap_lab.models.training.losses import mask_loss, picture_loss


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """How long and how: `batch` pictures for each decoder a step; the rate falls from `rate` along a cosine after `warmup` steps.

    Gradients longer than `clip` are cut to it.
    `precision` "auto" multiplies in bfloat16 where the device does so natively, else in float32; weights and losses are float32.
    `self_share` of a supervised batch is the person's own pictures, so that a decoder also knows its owner's face.
    """

    steps: int = 900
    batch: int = 8
    learning_rate: float = 2e-3
    warmup: int = 30
    weight_decay: float = 1e-4
    clip: float = 1.0
    ema: float = 0.99
    self_share: float = 0.25
    mask_weight: float = 0.5
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    seed: int = 0
    report_every: int = 20

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "report_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")

    def learning_rate_at(self, step: int) -> float:
        """Learning rate of step number `step`, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Portraits:
    """One person's training crops. `others` shows the other person, `wanted` this one in the same frames (truth), row by row.

    `own` are this person's own pictures. Masks have two channels: the face, and eyes and mouth. Without truth `others` and
    `wanted` are None.
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


@dataclass(slots=True, kw_only=True)
class TrainState:
    """Everything that the next step depends on: network, its running average, optimiser, random numbers and the count of steps."""

    net: PairNet
    average: PairNet
    optimiser: torch.optim.AdamW
    random: torch.Generator
    step: int = 0

    @classmethod
    def fresh(cls, net_config: PairNetConfig, config: TrainConfig, device: torch.device) -> "TrainState":
        """A network with weights drawn from the config's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            net = PairNet(net_config)
        net.to(device)
        # MPS has no fused AdamW; the fused one halves the optimiser's share of a step elsewhere.
        optimiser = torch.optim.AdamW(
            net.parameters(),
            lr=config.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=config.weight_decay,
            fused=device.type != "mps",
        )
        # Random numbers come from the host even when pixels live on a GPU: one small generator whose state is easily kept.
        random = torch.Generator().manual_seed(config.seed + 1)
        return cls(net=net, average=copy.deepcopy(net).requires_grad_(False), optimiser=optimiser, random=random)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers only, so that it can be read back with `weights_only`."""
        return {
            "net": self.net.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "random": self.random.get_state(),
            "step": self.step,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `saved`. Raises RunError if it was made with another network, is incomplete, or holds NaN or infinity."""
        try:
            require_finite(saved)
            self.net.load_state_dict(saved["net"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
            self.random.set_state(saved["random"].cpu())
            self.step = int(saved["step"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                expected="a checkpoint of this recipe's network",
                got=" ".join(str(error).split())[:200],
                remedy="train with force=True to start a new run",
            ) from error


def train(state: TrainState, people: tuple[Portraits, Portraits], config: TrainConfig) -> Iterator[Step]:
    """Train until `config.steps`, yielding every `report_every` steps and at the end. The state is whole at each yield."""
    device = next(state.net.parameters()).device
    people = (people[0].to(device), people[1].to(device))
    state.net.train()
    sums: dict[str, Tensor] = {}
    since, clock = 0, perf_counter()
    while state.step < config.steps:
        losses = _one_step(state, people, config, device)
        sums = {name: loss.detach() + sums.get(name, 0) for name, loss in losses.items()}
        state.step += 1
        since += 1
        if state.step % config.report_every == 0 or state.step == config.steps:
            means = {name: float(total) / since for name, total in sums.items()}
            if not all(math.isfinite(mean) for mean in means.values()):
                raise RunError(
                    expected="finite losses",
                    got=f"{means} at step {state.step}",
                    remedy=DIVERGED,
                )
            pictures = since * config.batch * 2 / (perf_counter() - clock)
            yield Step(
                number=state.step, losses=means, learning_rate=config.learning_rate_at(state.step - 1), samples_per_s=pictures
            )
            sums, since, clock = {}, 0, perf_counter()


def _one_step(
    state: TrainState, people: tuple[Portraits, Portraits], config: TrainConfig, device: torch.device
) -> dict[str, Tensor]:
    for group in state.optimiser.param_groups:
        group["lr"] = config.learning_rate_at(state.step)
    parts: dict[str, Tensor] = {}
    for person, portraits in enumerate(people):
        x, targets, mask = _batch(portraits, config, state.random)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision_on(device, config) == "bf16"):
            drawn = state.net(x, person)
        drawn = drawn.float()
        parts[f"picture_{person}"] = picture_loss(drawn[:, :3], targets, mask[:, :1], mask[:, 1:])
        parts[f"mask_{person}"] = config.mask_weight * mask_loss(drawn[:, 3:], mask[:, :1])
    loss = torch.stack(list(parts.values())).sum()
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    # Seen without: gradients of 30 to 50 times their usual length around steps 100 and 550, and losses that doubled.
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.clip)
    state.optimiser.step()
    keep = min(config.ema, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.average.parameters()), list(state.net.parameters()), 1 - keep)
    return {"loss": loss, **parts}


def precision_on(device: torch.device, config: TrainConfig) -> str:
    """What the config's precision comes to on `device`. A CPU without bfloat16 arithmetic would emulate it, far slower."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # no public question exists
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp32"


def _batch(portraits: Portraits, config: TrainConfig, random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Input, wanted picture and masks, 0..1, moved about together; without truth the input is also warped."""

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
    """A small random turn, scale and shift, for detectors are never quite sure. Never mirrored: that would be another person."""
    b = len(x_BCHW)
    angle, scale = torch.randn(b, generator=random) * 0.06, 1 + torch.randn(b, generator=random) * 0.04
    shift = torch.randn(b, 2, generator=random) * 0.03
    cos, sin = angle.cos() * scale, angle.sin() * scale
    matrix = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], 1).view(b, 2, 3).to(x_BCHW.device)
    grid = functional.affine_grid(matrix, list(x_BCHW.shape), align_corners=False)
    return functional.grid_sample(x_BCHW, grid, padding_mode="reflection", align_corners=False).clamp(0, 1)


def _warped(x_BCHW: Float[Tensor, "b 3 s s"], random: torch.Generator) -> Float[Tensor, "b 3 s s"]:
    """Random smooth displacement (a 5 x 5 lattice, 3 % of the side): what keeps the unsupervised network from copying."""
    b, _, s, _ = x_BCHW.shape
    lattice = (torch.randn(b, 2, 5, 5, generator=random) * 0.06).to(x_BCHW.device)
    offset = functional.interpolate(lattice, (s, s), mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    identity = torch.eye(2, 3, device=x_BCHW.device).expand(b, 2, 3)
    grid = functional.affine_grid(identity, [b, 3, s, s], align_corners=False)
    return functional.grid_sample(x_BCHW, grid + offset, padding_mode="reflection", align_corners=False).clamp(0, 1)
