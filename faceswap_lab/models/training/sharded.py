"""Networks that don't fit on one device: weights, gradients, optimiser and moving average in shards, one on each rank (FSDP2).

A layer's weights are put together when it is computed, and dropped again. What is saved is whole, so that any number of ranks can
go on from it, sharded or not. torch's own distributed checkpoints could do that too, but their reader unpickles.
"""

import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.state import N, TrainState, optimiser_of


def shard(state: TrainState[N], config: TrainConfig, size: int) -> None:
    """Distribute a state, the same in all ranks, over them: in place, and before its first step.

    Channels-last weights become contiguous, which FSDP needs.
    """
    mesh = init_device_mesh(state.device.type, (size,))
    for net in (state.net, state.averaged):
        net.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs lack it
        for block in _blocks(net):
            fully_shard(block, mesh=mesh)
        fully_shard(net, mesh=mesh)
    # The average is never computed with here, but stepped with shards of the same shape.
    state.averaged.requires_grad_(False)
    state.optimiser = optimiser_of(state.net, config, state.device)


def _blocks(net: nn.Module) -> list[nn.Module]:
    """The parts whose weights are put together at the same time: the network's children that have any."""
    return [child for child in net.children() if any(True for _ in child.parameters()) and not isinstance(child, nn.ModuleList)]


def is_sharded(net: nn.Module) -> bool:
    """Whether the network's weights are in shards."""
    return isinstance(net, FSDPModule)
