"""What a pair is trained on: crops that the run gathered, or a data set of actors that was rendered before."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faceswap_lab.actors.cast import Actor
from faceswap_lab.files import canonical
from faceswap_lab.models.feed.crops import CropShards
from faceswap_lab.models.feed.pair_feed import PairFeed, train_pair_from
from faceswap_lab.models.feed.shard_source import ShardSource
from faceswap_lab.models.swappers.pair_net import PairNet
from faceswap_lab.models.training.loop import Step
from faceswap_lab.models.training.pair import Portraits, train_pair
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.models.training.team import Parallel, Team
from faceswap_lab.stopping import Stop
from faceswap_lab.storage.cache import StoreCache
from faceswap_lab.verbs.people import Person
from faceswap_lab.verbs.recipes import PairRecipe

Crops = tuple[Portraits, Portraits]
"""Crops of both people that the run gathered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """Two actors of a data set, by their seeds."""

    data: ShardSource
    people: tuple[int, int]

    @classmethod
    def of(cls, data: ShardSource, source: Person, target: Person) -> "Shown":
        """The two people, whom `check_material` has found to be actors."""
        assert isinstance(source, Actor)
        assert isinstance(target, Actor)
        return cls(data=data, people=(source.seed, target.seed))

    def crops(self, size: int) -> CropShards:
        """Their crops, in the local cache."""
        return CropShards(source=self.data, size=size, cache=StoreCache())


def check_material(data: ShardSource | None, source: Person, target: Person) -> None:
    """Raise ValueError unless a data set, if one is given, can show both people; SplitError for one that is kept for tests."""
    if data is None:
        return
    if not (isinstance(source, Actor) and isinstance(target, Actor)):
        raise ValueError("data (lab.shards) shows actors: give two actors as source and target, or no data")
    data.require_learnable()
    first, last = data.actors
    if lacking := [who.seed for who in (source, target) if not first <= who.seed <= last]:
        raise ValueError(f"the data set shows the actors {first} to {last}, not {', '.join(f'actor:{seed}' for seed in lacking)}")


def material_record(data: ShardSource) -> str:
    """What identifies a data set in a run's record: the digest of its manifest. Where it lies does not count."""
    return canonical({"data_set": f"sha256:{data.manifest}", "run": data.run})


def num_pictures(given: Crops | Shown, size: int) -> list[int]:
    """The number of each person's own crops."""
    if not isinstance(given, Shown):
        return [len(portraits.self_images) for portraits in given]
    crops = given.crops(size)
    counts: list[int] = [len(np.asarray(crops.rows(seed))) for seed in given.people]
    return counts


def steps_of(
    state: TrainState[PairNet],
    recipe: PairRecipe,
    given: Crops | Shown,
    with_truth: bool,
    stop: Stop,
    team: Team,
    how: Parallel,
) -> Iterator[Step]:
    """The steps of training on either: see `loop.train`."""
    if not isinstance(given, Shown):
        return train_pair(state, given, recipe.train, stop, team, how)
    feed = PairFeed(
        crops=given.crops(recipe.net.size),
        people=given.people,
        config=recipe.train,
        device=state.device,
        supervised=with_truth,
        rank=team.rank,
        ranks=team.size,
    )
    return train_pair_from(state, feed, stop, team, how)
