"""States in shards, one on each rank, and whole ones: tensors of both kinds, from one to the other."""

from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(value: Any) -> Any:
    """A state with its shards put together on the host: to be called by all ranks, at the same step."""
    if isinstance(value, DTensor):
        return value.full_tensor().cpu()
    if isinstance(value, dict):
        return {name: whole(inner) for name, inner in value.items()}
    return [whole(inner) for inner in value] if isinstance(value, list) else value


def like(value: Any, own: Any) -> Any:
    """A whole state as shards, where `own` has shards."""
    if isinstance(own, DTensor) and isinstance(value, Tensor):
        return distribute_tensor(value.to(own.device, own.dtype), own.device_mesh, own.placements)
    if isinstance(own, dict) and isinstance(value, dict):
        return {name: like(inner, own.get(name)) for name, inner in value.items()}
    return value


def optimiser_like(saved: dict[str, Any], optimiser: torch.optim.Optimizer) -> dict[str, Any]:
    """A whole optimiser's state as shards, each as its parameter has them."""
    weights = [weight for group in optimiser.param_groups for weight in group["params"]]
    slots = {
        number: {
            name: like(value, weights[number]) if _is_shaped(value, weights[number]) else value for name, value in slot.items()
        }
        for number, slot in saved["state"].items()
    }
    return saved | {"state": slots}


def _is_shaped(value: Any, weight: Tensor) -> bool:
    return isinstance(value, Tensor) and value.shape == weight.shape


def local(value: Tensor) -> Tensor:
    """A tensor's shard on this rank; itself where it is not in shards."""
    return value.to_local() if isinstance(value, DTensor) else value
