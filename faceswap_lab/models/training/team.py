"""The ranks that train one network together, each on its own share of every batch; `ALONE` is a training in one process.

Every rank draws the random numbers of the whole batch, from the same generator, and takes its rows: the data of a step depend on
seed and step alone, not on how many ranks there are. DistributedDataParallel averages gradients: with shares of equal size a step
is that of one process, up to the order in which floating-point numbers are added.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from faceswap_lab.models.training.state import N

_QUIET_S = 600.0
"""Seconds after which a collective that a rank does not join fails. Supervisors notice a rank that has died long before."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Team:
    """This process's `rank` among `size`. `control` is a group of gloo for words between hosts, whatever moves the gradients."""

    rank: int = 0
    size: int = 1
    control: Any = None

    @property
    def leads(self) -> bool:
        """Whether this is the rank that reports and saves."""
        return self.rank == 0

    def replicated(self, net: N) -> N:
        """The network whose backward pass averages the gradients of all ranks; the network itself in a team of one."""
        if self.size == 1:
            return net
        device = next(net.parameters()).device
        places = [device.index or 0] if device.type == "cuda" else None
        # Parameters that a step does not use, such as one person's decoder, would hang the others: each step uses all.
        wrapped = DistributedDataParallel(net, device_ids=places, gradient_as_bucket_view=True, broadcast_buffers=False)
        return cast(N, wrapped)

    def holding_back(self, net: nn.Module) -> AbstractContextManager[Any]:
        """While it is open gradients are summed up in this process and not exchanged: for all but the last part of a step."""
        return net.no_sync() if isinstance(net, DistributedDataParallel) else nullcontext()

    def any(self, flag: bool) -> bool:
        """Whether any rank says so. All must ask at the same step: a rank that stopped alone would leave the others waiting."""
        if self.size == 1:
            return flag
        told = torch.tensor([float(flag)])
        distributed.all_reduce(told, op=distributed.ReduceOp.MAX, group=self.control)
        return bool(told.item())

    def mean(self, values: np.ndarray) -> np.ndarray:
        """The mean over ranks of a few numbers on the host."""
        if self.size == 1:
            return values
        total = torch.as_tensor(values, dtype=torch.float64)
        distributed.all_reduce(total, group=self.control)
        return (total / self.size).numpy()

    def check_batch(self, batch: int, accumulate: int = 1) -> None:
        """Raise ValueError unless a batch divides into equal shares, whose means' mean is the batch's."""
        if batch % (self.size * accumulate):
            raise ValueError(
                f"{self.size} ranks can't share a batch of {batch} equally in {accumulate} parts each; these can: "
                f"{', '.join(map(str, sizes_for(batch, accumulate)))}"
            )


ALONE = Team()
"""A training in one process."""


def sizes_for(batch: int, accumulate: int = 1) -> list[int]:
    """The numbers of ranks by which a batch can be shared equally, largest first."""
    return [size for size in range(batch, 0, -1) if batch % (size * accumulate) == 0]


@contextmanager
def joined(device: torch.device, *, environment: Mapping[str, str] = os.environ) -> Iterator[Team]:
    """The team that RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT describe: NCCL between GPUs, gloo between CPUs."""
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    if size == 1:
        yield ALONE
        return
    late = timedelta(seconds=_QUIET_S)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, rank=rank, world_size=size, timeout=late)
    try:
        control = distributed.new_group(backend="gloo", timeout=late) if backend == "nccl" else distributed.group.WORLD
        yield Team(rank=rank, size=size, control=control)
    finally:
        distributed.destroy_process_group()


@dataclass(frozen=True, slots=True)
class Share:
    """Part `index` of `count` of a batch: rows index, index + count, …"""

    index: int = 0
    count: int = 1

    def rows(self, length: int) -> Tensor:
        """The numbers of this share's rows of a batch of `length`."""
        return torch.arange(length)[self.index :: self.count]

    def part(self, index: int, count: int) -> "Share":
        """Part `index` of `count` of this share."""
        return Share(self.index + index * self.count, self.count * count)


WHOLE = Share()
"""All rows of a batch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parallel:
    """How a training is computed; not what: none of this changes the result beyond the order in which numbers are added.

    `ranks` processes of a cluster share each batch equally; None is as many as the workers and the batch allow. Each computes its
    share in `accumulate` parts one after the other, which need that many times less memory. `compile` lets torch compile the
    network, which pays on GPUs and in long trainings. When a worker is gone for good, training goes on with as few as `fewest`.
    """

    ranks: int | None = None
    accumulate: int = 1
    compile: bool = False
    fewest: int = 1

    def __post_init__(self) -> None:
        for name in ("ranks", "accumulate", "fewest"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")

    def sizes(self, batch: int, num_workers: int) -> list[int]:
        """The numbers of ranks that may be used, the wanted one first. ValueError if `ranks` can't share the batch equally."""
        allowed = sizes_for(batch, self.accumulate)
        if not allowed:
            raise ValueError(f"a batch of {batch} can't be computed in {self.accumulate} equal parts")
        if self.ranks is not None and self.ranks not in allowed:
            raise ValueError(
                f"{self.ranks} ranks can't share a batch of {batch} equally in {self.accumulate} parts each; these can: "
                f"{', '.join(map(str, allowed))}"
            )
        most = self.ranks or max((size for size in allowed if size <= max(1, num_workers)), default=1)
        return [size for size in allowed if self.fewest <= size <= most] or [most]
