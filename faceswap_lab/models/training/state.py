"""The state of a training at a step: exactly what the next step depends on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from faceswap_lab.errors import RunError
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.shards import like, local, optimiser_like, whole

DIVERGED = "lower the learning rate (recipe.train.learning_rate) and train again, as a new run"

N = TypeVar("N", bound=nn.Module)


class RunningAverage(AveragedModel):
    """An exponential moving average of a network's weights, starting at the initial weights; buffers are the network's own.

    After n steps the decay is n / (n + 9), at most `decay`: a constant one would retain the random initial weights for long.
    """

    def __init__(self, net: nn.Module, decay: float) -> None:
        super().__init__(net)
        self.decay = decay
        # AveragedModel copies the weights at its first update; here the initial weights are the first to be averaged.
        self.n_averaged.fill_(1)
        self.requires_grad_(False).eval()

    def update_parameters(self, model: nn.Module) -> None:
        """Moves the average towards the weights of `model`. AveragedModel's own sends its count to the device each time."""
        count = int(self.n_averaged)
        means, values = ([local(value.detach()) for value in net.parameters()] for net in (self.module, model))
        torch._foreach_lerp_(means, values, 1 - min(self.decay, count / (count + 9)))
        for mean, value in zip(self.module.buffers(), model.buffers(), strict=True):
            mean.detach().copy_(value.detach())
        self.n_averaged += 1


@dataclass(slots=True, kw_only=True)
class TrainState(Generic[N]):
    """Network, moving average of its weights, optimiser, random generator, and step count.

    `step` is also the position in the data: a step's samples depend on `generator`, or on the config's seed and `step` alone.
    """

    net: N
    average: RunningAverage
    optimiser: torch.optim.AdamW
    generator: torch.Generator
    step: int = 0

    @classmethod
    def fresh(cls, make: Callable[[], N], config: TrainConfig, device: torch.device | None = None) -> "TrainState[N]":
        """The network from `make`, with weights initialised from the config's seed, on `device` (default: the CPU)."""
        device = device or torch.device("cpu")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            net = make()
        net.to(device)
        net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        # Random numbers are drawn on the host even if pixels are on a GPU: one small generator whose state is easy to save.
        generator = torch.Generator().manual_seed(config.seed + 1)
        average = RunningAverage(net, config.ema)
        return cls(net=net, average=average, optimiser=optimiser_of(net, config, device), generator=generator)

    @property
    def averaged(self) -> N:
        """The network with averaged weights, the result of training."""
        return cast(N, self.average.module)

    @property
    def device(self) -> torch.device:
        """The network's device."""
        return next(self.net.parameters()).device

    def state_dict(self) -> dict[str, Any]:
        """Only tensors and numbers, so that it can be loaded with `weights_only`.

        Of a sharded state it is whole, and all ranks have to ask for it.
        """
        parts = {name: whole(getattr(self, name).state_dict()) for name in ("net", "average", "optimiser")}
        return parts | {"random": self.generator.get_state(), "step": self.step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Restores `saved`. Raises RunError if it is of another network, incomplete, or contains NaN or infinity."""
        try:
            require_finite(saved)
            for name in ("net", "average"):
                part = getattr(self, name)
                part.load_state_dict(like(saved[name], part.state_dict()))
            self.optimiser.load_state_dict(optimiser_like(saved["optimiser"], self.optimiser))
            self.generator.set_state(saved["random"].cpu())
            self.step = int(saved["step"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                expected="a checkpoint of this recipe's network",
                got=" ".join(str(error).split())[:200],
                remedy="train with force=True to start a new run",
            ) from error


def require_finite(saved: dict[str, Any]) -> None:
    """Raises RunError if a weight, its moving average or its optimiser state is NaN or infinite."""
    parts = {part: saved[part] for part in ("net", "average")}
    slots = saved["optimiser"]["state"].items()
    parts["optimiser"] = {f"{number}.{name}": value for number, slot in slots for name, value in slot.items()}
    wrong = [
        f"{part}.{name}"
        for part, tensors in parts.items()
        for name, value in tensors.items()
        if isinstance(value, Tensor) and not value.isfinite().all()
    ]
    if wrong:
        raise RunError(
            expected=f"finite numbers in the training state at step {saved['step']}",
            got=f"NaN or infinity in {len(wrong)} tensors, {wrong[0]} among them",
            remedy=DIVERGED,
        )


def optimiser_of(net: nn.Module, config: TrainConfig, device: torch.device) -> torch.optim.AdamW:
    """The optimiser of a network's parameters, with no state yet."""
    matrices = [value for value in net.parameters() if value.ndim > 1]
    vectors = [value for value in net.parameters() if value.ndim <= 1]
    decay = config.weight_decay if config.decay_vectors else 0.0
    groups: list[dict[str, Any]] = [{"params": matrices}, {"params": vectors, "weight_decay": decay}]
    return torch.optim.AdamW(
        groups,
        lr=config.learning_rate,
        betas=(0.9, config.beta2),
        weight_decay=config.weight_decay,
        # MPS has no fused AdamW; elsewhere the fused one halves the optimiser's share of a step.
        fused=device.type != "mps",
    )
