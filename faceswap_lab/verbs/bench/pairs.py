"""The pairs of the benchmark: whose face goes onto which performance. All are actors, so that the true swap is known."""

from collections.abc import Iterable
from dataclasses import dataclass

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.splits import FIRST_TEST
from faceswap_lab.errors import RunError
from faceswap_lab.verbs.people import reopened
from faceswap_lab.verbs.recipes import PairRecipe
from faceswap_lab.verbs.train.result import TrainRun


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchPlan:
    """How much is scored: `num_pairs`, frames of each, their side in pixels, and the judge's pictures of each person."""

    num_pairs: int
    num_frames: int
    side: int
    gallery_size: int


PLANS = {
    "small": BenchPlan(num_pairs=8, num_frames=4, side=256, gallery_size=8),
    "smoke": BenchPlan(num_pairs=2, num_frames=2, side=160, gallery_size=2),
}
"""Name to plan. A plan is never changed: scores of one name are compared over years. Another plan gets another name."""

_FPS = 2.0
"""Frames of a performance are half a second apart, so that they differ."""

_FAR_SEED = 9_000_000
"""Performances in which trained people are scored: far from the seeds that a training takes its pictures from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A source, and the performance (of seed `seed`) of a target. Light and camera are those of the performance."""

    source: Actor
    target: Actor
    seed: int

    def take(self, plan: BenchPlan) -> Take:
        """The performance to swap."""
        return self.target.perform("speech", seconds=plan.num_frames / _FPS, fps=_FPS, seed=self.seed, size=plan.side)

    def truth(self, plan: BenchPlan) -> Take:
        """The correct result, with the source's skin tone."""
        return self.take(plan).recast(self.source)

    def __str__(self) -> str:
        return f"{self.source.seed} on {self.target.seed}"


def plan_named(name: str) -> BenchPlan:
    """The plan `name`. ValueError if there is none."""
    if name not in PLANS:
        raise ValueError(f"recipe must be one of {', '.join(PLANS)}, got {name!r}")
    return PLANS[name]


def unseen_pairs(plan: BenchPlan) -> list[Pair]:
    """Test persons, on whom nothing may be trained: consecutive seeds from the first of the split on, nobody in two pairs.

    Nobody picked them, so easy and hard pairs are as frequent as among actors at large.
    """
    return [
        Pair(source=Actor(FIRST_TEST + 2 * number), target=Actor(FIRST_TEST + 2 * number + 1), seed=number)
        for number in range(plan.num_pairs)
    ]


def own_pairs(trained: TrainRun) -> list[Pair]:
    """The two people of a pair training, in both directions, in performances other than those that it learned from.

    RunError unless it was a training of two actors, which alone have a true swap.
    """
    records = [trained.inputs.get(side) for side in ("source", "target")]
    people = [reopened(record, trained) for record in records if record]
    actors = [person for person in people if isinstance(person, Actor)]
    if len(actors) != 2:
        raise RunError(
            expected="a pair training of two actors, whose true swap is known",
            got=f"{trained.id}, which learned from {'none' if not people else 'footage that is not an actor of the lab'}",
            remedy="train a pair with lab.train(lab.recipes.pair(), source=lab.actor(7), target=lab.actor(32)), or leave it out",
        )
    one, other = actors
    return [Pair(source=one, target=other, seed=_FAR_SEED), Pair(source=other, target=one, seed=_FAR_SEED + 1)]


def people_of(trained: TrainRun) -> str:
    """The two people of a pair training, by seed: `"7 and 32"`. RunError as `own_pairs`."""
    pair = own_pairs(trained)[0]
    return f"{pair.source.seed} and {pair.target.seed}"


def method_name(trained: TrainRun) -> str:
    """What a training is called in the benchmark: the same for the same recipe and people, so that its trend can be followed."""
    recipe = trained.recipe(PairRecipe)
    how = f"{trained.summary['supervision']}, {recipe.train.steps} steps at {recipe.net.size} px"
    return f"pair {how} ({people_of(trained)})"


def trained_named(names: Iterable[str]) -> list[TrainRun]:
    """The finished trainings of these ids. RunError for an id of another run, or for one text in place of a list."""
    if isinstance(names, str):
        raise RunError(expected="a list of ids of train runs", got=repr(names), remedy=f'write trained=["{names}"]')
    runs = [TrainRun.open(name) for name in dict.fromkeys(names)]
    for run in runs:
        run.require_finished()
    return runs
