"""Which sample comes when: a pure function of (seed, step, index in the step), whatever the number of ranks.

Each epoch shows every sample once. The shards come in a random order, and samples are shuffled within windows of `window` shards,
so that a reader needs no more than these at a time. A training that goes on at some step goes on in the same order.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Int64

_SHARDS, _SAMPLES, _OWN = 73, 74, 75
_EPOCHS_KEPT = 2


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Order:
    """An endless order of the samples of shards with `counts` samples each, in steps of `batch` samples (of all ranks together)."""

    counts: tuple[int, ...]
    seed: int
    batch: int
    window: int = 8
    _epochs: dict[int, Int64[np.ndarray, " n"]] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if not self.counts or min(self.counts) < 1:
            raise ValueError("an order needs shards with at least one sample each")
        if self.batch < 1 or self.window < 1 or self.seed < 0:
            raise ValueError(f"batch and window are at least 1 and seed at least 0, got {self.batch}, {self.window}, {self.seed}")

    def __len__(self) -> int:
        return sum(self.counts)

    def at(self, step: int, index: int) -> int:
        """The number of the sample at this place of a step: counted through all shards."""
        if not 0 <= index < self.batch or step < 0:
            raise ValueError(f"a place is a step from 0 and an index below {self.batch}, got {step} and {index}")
        return int(self.step(step)[index])

    def step(self, step: int) -> Int64[np.ndarray, " batch"]:
        """The samples of a step, for all ranks. A batch at the end of an epoch goes on in the next."""
        places = np.arange(step * self.batch, (step + 1) * self.batch)
        epochs, rows = np.divmod(places, len(self))
        found = np.empty(self.batch, np.int64)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            found[here] = self._epoch(int(epoch))[rows[here]]
        return found

    def place(self, number: int) -> tuple[int, int]:
        """(shard, row in it) of a sample."""
        ends = np.cumsum(self.counts)
        shard = int(np.searchsorted(ends, number, side="right"))
        return shard, number - int(ends[shard] - self.counts[shard])

    def _epoch(self, epoch: int) -> Int64[np.ndarray, " n"]:
        """All samples in the order of an epoch; the last few epochs are kept."""
        found = self._epochs.get(epoch)
        if found is None:
            found = self._shuffled(epoch)
            for old in [each for each in list(self._epochs) if abs(each - epoch) >= _EPOCHS_KEPT]:
                self._epochs.pop(old, None)
            self._epochs[epoch] = found
        return found

    def _shuffled(self, epoch: int) -> Int64[np.ndarray, " n"]:
        starts = np.cumsum((0, *self.counts[:-1]))
        shards = np.random.default_rng([_SHARDS, self.seed, epoch]).permutation(len(self.counts))
        windows = []
        for number, first in enumerate(range(0, len(shards), self.window)):
            rows = [np.arange(starts[shard], starts[shard] + self.counts[shard]) for shard in shards[first : first + self.window]]
            draw = np.random.default_rng([_SAMPLES, self.seed, epoch, number])
            windows.append(draw.permutation(np.concatenate(rows)))
        return np.concatenate(windows).astype(np.int64)


def draw_of(seed: int, step: int, index: int) -> np.random.Generator:
    """The random numbers of one place of one step, for what is drawn per sample: the same on every rank."""
    return np.random.default_rng([_OWN, seed, step, index])


def indices_of(batch: int, rank: int, ranks: int) -> range:
    """The places of a step that a rank takes: neighbouring ones, so that the ranks' batches in order are the whole one."""
    if not 0 <= rank < ranks:
        raise ValueError(f"ranks count from 0 to {ranks - 1}, got {rank}")
    return range(batch * rank // ranks, batch * (rank + 1) // ranks)
