"""Fitting the small networks of the pack of actors: steps that can stop and go on anywhere, on one thread, from a seed.

What step n sees depends on the seed and on n alone, so that nothing but weights and the optimiser's memory need be kept.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from faceswap_lab.errors import RunError

DIVERGED = "lower the learning rate (recipe.train.learning_rate) and train again: that is a new run"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """`number` steps are done; `losses` are means since the last Step; `samples_per_s` counts pictures through either decoder."""

    number: int
    losses: dict[str, float]
    learning_rate: float
    samples_per_s: float


Losses = Callable[[nn.Module, np.random.Generator, float], dict[str, Tensor]]
"""The losses of one step: of a network, random numbers of this step, and how far the training is, 0..1. `loss` is minimised."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FitConfig:
    """`steps` of `batch` pictures. The rate rises over `warmup` steps and falls as a cosine; gradients longer than `clip` are cut.

    With `fall_from` the cosine, over `cosine_over` steps, is left at that step, and the rate falls in a straight line from there.
    With `again_from` the first cosine ends at that step, and a second one begins at half the height.
    `ema` keeps a running average of the weights, which is what is used. "bf16" multiplies in bfloat16, which not every processor
    does fast; weights and losses are float32 all the same.
    """

    steps: int
    batch: int = 64
    learning_rate: float = 2e-3
    warmup: int = 100
    cosine_over: int = 0
    fall_from: int = 0
    again_from: int = 0
    weight_decay: float = 0.02
    clip: float = 5.0
    ema: float = 0.998
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0
    report_every: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "report_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.fall_from < self.steps:
            raise ValueError(f"fall_from must be within 0..{self.steps - 1}, got {self.fall_from}")
        if not 0 <= self.again_from < self.steps:
            raise ValueError(f"again_from must be within 0..{self.steps - 1}, got {self.again_from}")

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.again_from and step >= self.again_from:
            again = (step - self.again_from) / (self.steps - self.again_from)
            return self.learning_rate / 2 * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, again))) / 2)
        if self.fall_from and step > self.fall_from:
            left = (self.steps - step) / (self.steps - self.fall_from)
            return self.learning_rate_at(self.fall_from) * max(0.01, left)
        share = (step - self.warmup) / max(1, (self.cosine_over or self.again_from or self.steps) - self.warmup)
        return self.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * min(1.0, share))) / 2)


@dataclass(slots=True, kw_only=True)
class FitState:
    """Everything that the next step depends on: network, its running average, optimiser and the count of steps."""

    net: nn.Module
    average: nn.Module
    optimiser: torch.optim.AdamW
    step: int = 0

    @classmethod
    def fresh(cls, make: Callable[[], nn.Module], config: FitConfig) -> "FitState":
        """The network that `make` gives, with weights drawn from the config's seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            net = make().to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it
        plain = [value for value in net.parameters() if value.ndim == 1]
        groups: list[dict[str, Any]] = [{"params": [value for value in net.parameters() if value.ndim > 1]}]
        groups.append({"params": plain, "weight_decay": 0.0})
        optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, weight_decay=config.weight_decay, fused=True)
        return cls(net=net, average=copy.deepcopy(net).requires_grad_(False).eval(), optimiser=optimiser)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers only, so that it can be read back with `weights_only`."""
        parts = {name: getattr(self, name).state_dict() for name in ("net", "average", "optimiser")}
        return parts | {"step": self.step}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from `saved`. Raises RunError if it was made with another network, is incomplete, or holds NaN or infinity."""
        try:
            require_finite(saved)
            for name in ("net", "average", "optimiser"):
                getattr(self, name).load_state_dict(saved[name])
            self.step = int(saved["step"])
        except (KeyError, RuntimeError, ValueError, TypeError, AttributeError) as error:
            raise RunError(
                expected="a checkpoint of this recipe's network",
                got=" ".join(str(error).split())[:200],
                remedy="train with force=True to start a new run",
            ) from error


def fit(state: FitState, losses: Losses, config: FitConfig) -> Iterator[Step]:
    """Train until `config.steps`, yielding every `report_every` steps and at the end. Raises RunError if it diverges."""
    state.net.train()
    sums: dict[str, float] = {}
    since, clock = 0, perf_counter()
    while state.step < config.steps:
        random = np.random.default_rng([config.seed, state.step])
        with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
            parts = losses(state.net, random, state.step / config.steps)
        _update(state, parts["loss"], config)
        sums = {name: sums.get(name, 0.0) + float(loss.detach()) for name, loss in parts.items()}
        since += 1
        if state.step % config.report_every == 0 or state.step == config.steps:
            means = {name: total / since for name, total in sums.items()}
            if not all(math.isfinite(mean) for mean in means.values()):
                raise RunError(expected="finite losses", got=f"{means} at step {state.step}", remedy=DIVERGED)
            speed = since * config.batch / (perf_counter() - clock)
            yield Step(number=state.step, losses=means, learning_rate=config.learning_rate_at(state.step - 1), samples_per_s=speed)
            sums, since, clock = {}, 0, perf_counter()


def _update(state: FitState, loss: Tensor, config: FitConfig) -> None:
    for group in state.optimiser.param_groups:
        group["lr"] = config.learning_rate_at(state.step)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.clip)
    state.optimiser.step()
    state.step += 1
    keep = min(config.ema, state.step / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(list(state.average.parameters()), list(state.net.parameters()), 1 - keep)
        for mean, value in zip(state.average.buffers(), state.net.buffers(), strict=True):
            # Running means are averages already; their counts are whole numbers.
            mean.copy_(value)


def require_finite(saved: dict[str, Any]) -> None:
    """Raise RunError if a weight, its running average or the optimiser's memory of it is NaN or infinite."""
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
