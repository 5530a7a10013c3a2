"""Methods by name; those that know two people only are fitted to each pair, on performances that are not scored."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.splits import fitted_by_the_benchmark
from faceswap_lab.actors.tracks import TrackPair
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.registry import open_swapper
from faceswap_lab.models.swappers.warp import WarpSwapper
from faceswap_lab.verbs.bench.methods import Copy, Method, Outcome, Swapping, Truth
from faceswap_lab.verbs.recipes import BenchRecipe, PairRecipe, pair, smoke
from faceswap_lab.verbs.train.result import TrainRun
from faceswap_lab.verbs.train.train import train

SUPERVISED, UNSUPERVISED, TRAINED = "pair-supervised", "pair-unsupervised", "pair:"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fitted:
    """A pair swapper, trained anew for each pair. Its trainings are runs of the lab, so that a repeated benchmark has them."""

    name: str
    recipe: PairRecipe
    engine: Engine
    device: torch.device

    @property
    def facts(self) -> Mapping[str, str]:
        """How it is fitted."""
        how = "from true swaps" if self.recipe.supervision == "truth" else "from each person's own pictures"
        train, data = self.recipe.train, self.recipe.data
        return {
            "fitted": f"to each pair, {train.steps} steps at {self.recipe.net.size} px on {data.num_views} views a person, {how}"
        }

    def swap(self, pair: TrackPair) -> Outcome:
        """See `Method`."""
        recipe = replace(self.recipe, data=replace(self.recipe.data, seed=pair.fit_seed))
        with fitted_by_the_benchmark(pair.source, pair.target, first_performance=pair.fit_seed):
            run = train(recipe, source=Actor(pair.source), target=Actor(pair.target), device=str(self.device))
        return Swapping(name=self.name, swapper=run.swapper(self.device), engine=self.engine, device=self.device).swap(pair)


def opened(name: str, recipe: BenchRecipe, engine: Engine, device: torch.device) -> Method:
    """The method of a name: copy, truth, warp, pair-supervised, pair-unsupervised, pair:RUN, or a swapper of the registry.

    Raises ValueError for an unknown name; RunError, WeightsError for a run or a file that can't be used.
    """
    if name == "copy":
        return Copy()
    if name == "truth":
        return Truth()
    if name in (SUPERVISED, UNSUPERVISED):
        with_truth: Literal["truth", "none"] = "truth" if name == SUPERVISED else "none"
        fit = smoke() if recipe.plan == "smoke" else pair(recipe.fit_steps)
        return Fitted(name=name, recipe=replace(fit, supervision=with_truth), engine=engine, device=device)
    if name.startswith(TRAINED):
        run = TrainRun.open(name.removeprefix(TRAINED))
        return Swapping(name=name, swapper=run.swapper(device), engine=engine, device=device, more={"run": run.id})
    swapper = WarpSwapper() if name == "warp" else open_swapper(name, device, engine)
    return Swapping(name=name, swapper=swapper, engine=engine, device=device)


def opened_all(recipe: BenchRecipe, engine: Engine, device: torch.device) -> list[Method]:
    """All methods of a recipe; opened before any is scored, so that a name that is wrong costs nothing."""
    return [opened(name, recipe, engine, device) for name in recipe.methods]
