"""The pair's batches from decoded shards: gathered by a thread into reused buffers, augmented on the device.

What a step shows is a pure function of (seed, step, index in the batch): crops come in the order of `feed.order`, and a step's
random transforms are drawn for the whole batch, of which each rank takes its part. So the number of ranks changes nothing but the
order in which gradients are summed.
"""

import queue
import threading
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.errors import FaceError
from faceswap_lab.models.feed.crops import CropShards
from faceswap_lab.models.feed.order import Order, indices_of
from faceswap_lab.models.feed.stream import read_ahead
from faceswap_lab.models.swappers.pair_net import PairNet
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.losses import mask_loss, picture_loss
from faceswap_lab.models.training.pair import PairTraining, jitters, moved_by, warped_by
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.models.training.team import ALONE, ONE_BY_ONE, Parallel, Team
from faceswap_lab.stopping import Stop, never

_OWN, _TRUE, _DRAWS = 0, 1, 76
_AHEAD = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PersonBatch:
    """One decoder's part of a step, 0..1, on the device: the inputs, what should come of them, and its masks."""

    inputs: Float[Tensor, "b 3 s s"]
    targets: Float[Tensor, "b 3 s s"]
    masks: Float[Tensor, "b 2 s s"]


@dataclass(slots=True, eq=False)
class _Raw:
    """A step's crops as they lie in the stacks, and the numbers of its transforms: one buffer for both people.

    `copied` is when the device has read the buffers, which may be filled anew then.
    """

    step: int
    levels: Tensor
    matrices: Tensor
    lattices: Tensor
    copied: "torch.cuda.Event | None" = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PairFeed:
    """Batches of two actors of a data set; decoder 0 draws the first. `config.batch` counts the crops of all `ranks` together.

    With truth (`supervised`) a batch has `config.self_share` of the person's own crops, as in `train_pair`.
    """

    crops: CropShards
    people: tuple[int, int]
    config: PairTraining
    device: torch.device
    supervised: bool = True
    rank: int = 0
    ranks: int = 1

    def batches(self, start: int = 0) -> Generator[tuple[int, tuple[PersonBatch, PersonBatch]], None, None]:
        """(step, both people's batches) from step `start` on, without end. Close it to end its thread.

        SplitError for actors that are kept for tests, FaceError if there are no crops of one; StorageError for a store that fails.
        """
        self.crops.source.require_learnable()
        groups = self._groups()
        free: queue.Queue[_Raw] = queue.Queue()
        for _ in range(_AHEAD + 2):
            free.put(self._buffers())
        ended = threading.Event()
        reader = read_ahead(self._gathered(groups, start, free, ended), _AHEAD)
        try:
            for raw in reader:
                yield raw.step, self._on_device(raw)
                free.put(raw)
        finally:
            ended.set()
            reader.close()

    @property
    def _mine(self) -> range:
        return indices_of(self.config.batch, self.rank, self.ranks)

    @property
    def _num_own(self) -> int:
        return round(self.config.batch * self.config.self_share) if self.supervised else self.config.batch

    def _groups(self) -> "list[tuple[np.ndarray, Order | None]]":
        """Of each person the own crops and those with truth: (shard, row) of each, and the order in which they come."""
        found: list[tuple[np.ndarray, Order | None]] = []
        for person, actor in enumerate(self.people):
            other = self.people[1 - person]
            wanted = [(self.crops.rows(actor), self._num_own)]
            if self.supervised:
                wanted.append((self.crops.rows(other, source=actor), self.config.batch - self._num_own))
            for kind, (rows, count) in enumerate(wanted):
                if count and not len(rows):
                    what = f"crops of actor:{other} with the face of actor:{actor}" if kind else f"crops of actor:{actor}"
                    raise FaceError(
                        expected=what, got="none in the data set", remedy="render these two actors, with recast for truth"
                    )
                seed = 8 * self.config.seed + 2 * person + kind
                found.append((rows, Order(counts=(len(rows),), seed=seed, batch=count) if count else None))
        return found

    def _buffers(self) -> _Raw:
        size, pinned = self.crops.size, self.device.type == "cuda"
        shape = (2, len(self._mine), 8 if self.supervised else 5, size, size)
        return _Raw(
            step=0,
            levels=torch.empty(shape, dtype=torch.uint8, pin_memory=pinned),
            matrices=torch.empty((2, len(self._mine), 2, 3), pin_memory=pinned),
            lattices=torch.empty((2, len(self._mine), 2, 5, 5), pin_memory=pinned),
        )

    def _gathered(
        self, groups: "list[tuple[np.ndarray, Order | None]]", step: int, free: "queue.Queue[_Raw]", ended: threading.Event
    ) -> Iterator[_Raw]:
        """Each step's crops, in buffers that the reader gives back. Runs in the thread: numpy only, whose work needs no threads."""
        while not ended.is_set():
            try:
                raw = free.get(timeout=0.1)
            except queue.Empty:
                continue
            if raw.copied is not None:
                raw.copied.synchronize()
            raw.step = step
            per_person = len(groups) // 2
            for person in range(2):
                mine = groups[person * per_person : (person + 1) * per_person]
                self._gather(raw.levels[person].numpy(), mine, step)
                self._draw(raw, person, step)
            yield raw
            step += 1

    def _gather(self, levels: np.ndarray, groups: "list[tuple[np.ndarray, Order | None]]", step: int) -> None:
        place = 0
        for kind, (rows, order) in enumerate(groups):
            if order is None:
                continue
            for number in order.step(step):
                if place in self._mine:
                    shard, row = (int(each) for each in rows[number])
                    self._fill(levels[place - self._mine.start], self.crops.stacks(shard), row, kind)
                place += 1

    def _fill(self, levels: np.ndarray, stacks: Mapping[str, np.ndarray], row: int, kind: int) -> None:
        """Input, target and masks of one crop; without truth a crop is its own target, and stands there once."""
        levels[:3] = stacks["images"][row]
        if self.supervised:
            levels[3:6] = stacks["truths" if kind == _TRUE else "images"][row]
        levels[-2:] = stacks["truth_masks" if kind == _TRUE else "masks"][row]

    def _draw(self, raw: _Raw, person: int, step: int) -> None:
        seed = np.random.SeedSequence([_DRAWS, self.config.seed, person, step]).generate_state(1, np.uint64)[0]
        random = torch.Generator().manual_seed(int(seed >> np.uint64(1)))
        part = slice(self._mine.start, self._mine.stop)
        raw.matrices[person] = jitters(self.config.batch, random)[part]
        if not self.supervised:
            raw.lattices[person] = (torch.randn(self.config.batch, 2, 5, 5, generator=random) * 0.06)[part]

    def _on_device(self, raw: _Raw) -> tuple[PersonBatch, PersonBatch]:
        levels, matrices, lattices = (each.to(self.device, non_blocking=True) for each in (raw.levels, raw.matrices, raw.lattices))
        if self.device.type == "cuda":
            raw.copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            raw.copied.record()
        first, second = (self._augmented(levels[person], matrices[person], lattices[person]) for person in (0, 1))
        return first, second

    def _augmented(self, levels: Tensor, matrix: Tensor, lattice: Tensor) -> PersonBatch:
        moved = moved_by(levels.float().div(255), matrix)
        if self.supervised:
            return PersonBatch(inputs=moved[:, :3], targets=moved[:, 3:6], masks=moved[:, 6:])
        return PersonBatch(inputs=warped_by(moved[:, :3], lattice), targets=moved[:, :3], masks=moved[:, 3:])


def pair_losses(
    net: PairNet, batches: tuple[PersonBatch, PersonBatch], config: PairTraining, context: StepContext
) -> dict[str, Tensor]:
    """The losses of both decoders on a step's batches."""
    parts: dict[str, Tensor] = {}
    for person, batch in enumerate(batches):
        with context.autocast():
            drawn = net(batch.inputs, person)
        drawn = drawn.float()
        parts[f"picture_{person}"] = picture_loss(drawn[:, :3], batch.targets, batch.masks[:, :1], batch.masks[:, 1:])
        parts[f"mask_{person}"] = config.mask_weight * mask_loss(drawn[:, 3:], batch.masks[:, :1])
    return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def train_pair_from(
    state: TrainState[PairNet], feed: PairFeed, stop: Stop = never, team: Team = ALONE, how: Parallel = ONE_BY_ONE
) -> Iterator[Step]:
    """`train_pair` from a feed, which has this rank's part of each batch: goes on at the state's step, with that step's crops and
    transforms. ValueError for a batch that can't be shared equally, or that is to be computed in several parts."""
    team.check_batch(feed.config.batch)
    if how.accumulate != 1:
        raise ValueError(f"a feed gives a rank's part of a batch at once, got accumulate={how.accumulate}")
    batches = feed.batches(start=state.step)

    def losses(net: PairNet, context: StepContext) -> dict[str, Tensor]:
        step, batch = next(batches)
        assert step == context.step
        return pair_losses(net, batch, feed.config, context)

    try:
        yield from train(state, losses, feed.config, stop, team, how)
    finally:
        batches.close()
