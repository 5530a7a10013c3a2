"""The training loop: a recipe provides a network, samples and a loss; schedule, averaging, reports and stopping are here.

A training is an iterator of Steps. The state is consistent at each, so it can be saved there and resumed, bit-identically on a CPU.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Generic

import numpy as np
import torch
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import fetch
from faceswap_lab.errors import RunError
from faceswap_lab.models.training.config import TrainConfig, precision_on
from faceswap_lab.models.training.state import DIVERGED, N, TrainState
from faceswap_lab.models.training.team import ALONE, ONE_BY_ONE, WHOLE, Parallel, Share, Team
from faceswap_lab.stopping import Stop, never


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """`number` is the count of completed steps; `losses` and `samples_per_s` are means since the last Step."""

    number: int
    losses: dict[str, float]
    learning_rate: float
    samples_per_s: float

    def event(self) -> dict[str, Any]:
        """The fields of a run's event `step`, the same for every network."""
        speed = round(self.samples_per_s, 1)
        return {"step": self.number, "losses": self.losses, "learning_rate": self.learning_rate, "samples_per_s": speed}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepContext:
    """The context of a loss: `step` counts the steps completed before it; `progress` is that as a fraction of the total, 0..1.

    `generator` is the state's own and advances with each draw; `numpy_generator` depends on the seed and the step alone.
    `share` is the part of the batch that this call computes. A step of several parts calls the loss for each, and draws with
    the first only, `is_first`.
    """

    step: int
    progress: float
    seed: int
    generator: torch.Generator
    device: torch.device
    precision: str
    share: Share = WHOLE
    is_first: bool = True

    def numpy_generator(self) -> np.random.Generator:
        """A random generator for this step, identical on every access."""
        return np.random.default_rng([self.seed, self.step])

    def autocast(self) -> torch.autocast:
        """For the network's forward pass: products in the config's precision. Losses are computed outside of it."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")


Losses = Callable[[N, StepContext], dict[str, Tensor]]
"""The losses of one step, which draws its own samples. `loss` is minimised; the others are only reported."""


def train(
    state: TrainState[N], losses: Losses[N], config: TrainConfig, stop: Stop = never, team: Team = ALONE, how: Parallel = ONE_BY_ONE
) -> Iterator[Step]:
    """Trains until `config.steps`, yielding every `report_every` steps and at the end. The state is consistent at each yield.

    When `stop()` becomes true, the current step is the last: it is yielded, whatever its number, and training ends early.
    Raises RunError if it diverges. Sums stay on the device between Steps: the host synchronises only for a Step.

    Each rank of `team` calls this with the same state. It yields the same Steps in all, and stops at the same step in all when
    one is asked to. `how` says in how many parts it computes its share, and whether the network is compiled.
    """
    state.net.train()
    if how.compile:
        state.net.compile()  # in place: its class, its weights and their names stay
    work = _Work(net=team.replicated(state.net), team=team, parts=how.accumulate, precision=precision_on(state.device, config))
    sums: dict[str, Tensor] = {}
    since, clock = 0, perf_counter()
    stopping = team.any(stop())
    while state.step < config.steps and not stopping:
        with _tuned(state.device):
            found = _one_step(state, losses, config, work)
        sums = {name: loss + sums.get(name, 0) for name, loss in found.items()}
        since += 1
        stopping = team.any(stop())
        if state.step % config.report_every == 0 or state.step == config.steps or stopping:
            yield _report(state.step, sums, since, config, perf_counter() - clock, team)
            sums, since, clock = {}, 0, perf_counter()
            stopping = stopping or team.any(stop())


@contextmanager
def _tuned(device: torch.device) -> Iterator[None]:
    """Lets cuDNN try its algorithms for each shape, which pays where all steps have the same shapes. Off again afterwards: a swap's
    batches have not."""
    if device.type != "cuda":
        yield
        return
    before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Work(Generic[N]):
    """How a step is computed: the network, which exchanges gradients, among whom, in how many parts, and in which precision."""

    net: N
    team: Team
    parts: int
    precision: str


def _one_step(state: TrainState[N], losses: Losses[N], config: TrainConfig, work: _Work[N]) -> dict[str, Tensor]:
    """One step of the optimiser; its losses, detached."""
    for group in state.optimiser.param_groups:
        group["lr"] = config.learning_rate_at(state.step)
    state.optimiser.zero_grad(set_to_none=True)
    sums: dict[str, Tensor] = {}
    for part in range(work.parts):
        context = StepContext(
            step=state.step,
            progress=state.step / config.steps,
            seed=config.seed,
            generator=state.generator,
            device=state.device,
            precision=work.precision,
            share=Share(work.team.rank, work.team.size).part(part, work.parts),
            is_first=part == 0,
        )
        with work.team.holding_back(work.net) if part + 1 < work.parts else nullcontext():
            found = losses(work.net, context)
            # Divided only where there are several, so that a step in one part has the bits that it always had.
            loss = found["loss"] if work.parts == 1 else found["loss"] / work.parts
            loss.backward()  # type: ignore[no-untyped-call]
        sums = {name: value.detach() / work.parts + sums.get(name, 0) for name, value in found.items()}
    # Without clipping, gradient norms were 30 to 50 times the usual around steps 100 and 550, and losses doubled.
    torch.nn.utils.clip_grad_norm_(state.net.parameters(), config.clip)
    state.optimiser.step()
    state.average.update_parameters(state.net)
    state.step += 1
    return sums


def _report(number: int, sums: dict[str, Tensor], since: int, config: TrainConfig, seconds: float, team: Team) -> Step:
    (totals,) = fetch(torch.stack(list(sums.values())))
    totals = team.mean(totals)
    means = {name: float(total) / since for name, total in zip(sums, totals, strict=True)}
    if not all(math.isfinite(mean) for mean in means.values()):
        raise RunError(expected="finite losses", got=f"{means} at step {number}", remedy=DIVERGED)
    speed = since * config.samples_per_step / seconds
    return Step(number=number, losses=means, learning_rate=config.learning_rate_at(number - 1), samples_per_s=speed)


@dataclass(slots=True, kw_only=True)
class Session(Generic[N]):
    """One training attempt: reports each Step, and saves the state every `keep_every` steps and when stopped.

    `keep` writes the state; `kept` is the step of the last saved state, or the one that the attempt began with.
    """

    state: TrainState[N]
    keep: Callable[[], None]
    keep_every: int
    kept: int = field(init=False)

    def __post_init__(self) -> None:
        self.kept = self.state.step

    def run(self, training: Callable[[Stop], Iterator[Step]], report: Callable[[Step], None], stop: Stop) -> None:
        """Trains until the end or until `stop()`. Raises KeyboardInterrupt, with the state saved, if it was stopped."""
        for step in training(stop):
            report(step)
            if step.number - self.kept >= self.keep_every:
                self._keep()
        if stop():
            if self.state.step > self.kept:
                self._keep()
            raise KeyboardInterrupt

    def _keep(self) -> None:
        self.keep()
        self.kept = self.state.step
