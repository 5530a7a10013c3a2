"""What passes between host and device: constants once, the numbers of a frame in one upload, its results in one download.

A copy from or to ordinary memory holds up host and device until it is done. On CUDA these go through pinned memory on a stream of
their own; on any other device they are plain copies, and on the CPU there are none.
"""

import math
from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

_ALIGNED = 8
"""Bytes; a part of a packed buffer begins at a multiple, so that it can be viewed as any type."""


@lru_cache(maxsize=512)
def constant(values: Any, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Nested tuples of numbers as a tensor, uploaded once per device and shared: do not modify it. For small, fixed values."""
    with torch.inference_mode(False):  # a tensor of inference mode could not be used in training later
        return torch.tensor(values, dtype=dtype, device=device)


def send(device: torch.device, *values: Tensor) -> tuple[Tensor, ...]:
    """Host tensors on `device`, all in one upload that the host does not wait for; on the CPU the tensors themselves."""
    if device.type == "cpu":
        return values
    places, size = _places(values)
    packed = torch.zeros(size, dtype=torch.uint8)
    for value, begin in zip(values, places, strict=True):
        packed[begin : begin + value.nbytes] = value.contiguous().view(-1).view(torch.uint8)
    there = _uploaded(packed, device)
    return tuple(_part(there, value, begin) for value, begin in zip(values, places, strict=True))


def fetch(*values: Tensor) -> tuple[np.ndarray, ...]:
    """Tensors of one device as arrays, all in one download; those of the CPU share their memory."""
    return Download(*values).arrays()


class Download:
    """A copy to the host that has begun; the device goes on, and only `arrays` waits."""

    def __init__(self, *values: Tensor) -> None:
        self._values = values
        self._copied: Tensor | None = None
        self._done: torch.cuda.Event | None = None
        if values and values[0].device.type != "cpu":
            self._begin(values)

    def _begin(self, values: Sequence[Tensor]) -> None:
        packed = _packed(values)
        if packed.device.type != "cuda":
            self._copied = packed.cpu()
            return
        stream = _stream(packed.device, "down")
        stream.wait_stream(torch.cuda.current_stream(packed.device))
        self._copied = torch.empty(packed.shape, dtype=torch.uint8, pin_memory=True)
        with torch.cuda.stream(stream):
            self._copied.copy_(packed, non_blocking=True)
            self._done = stream.record_event()
        packed.record_stream(stream)

    def arrays(self) -> tuple[np.ndarray, ...]:
        """The values, in the order given; waits until they have arrived."""
        if self._done is not None:
            self._done.synchronize()
        if self._copied is None:
            return tuple(value.numpy() for value in self._values)
        places, _ = _places(self._values)
        return tuple(_part(self._copied, value, begin).numpy() for value, begin in zip(self._values, places, strict=True))


def _places(values: Sequence[Tensor]) -> tuple[list[int], int]:
    """Where each value begins in a packed buffer, and the buffer's size, in bytes."""
    places, size = [], 0
    for value in values:
        places.append(size)
        size += math.ceil(value.nbytes / _ALIGNED) * _ALIGNED
    return places, size


def _packed(values: Sequence[Tensor]) -> Tensor:
    parts = []
    for value in values:
        parts.append(value.detach().contiguous().view(-1).view(torch.uint8))
        parts.append(parts[-1].new_zeros(-value.nbytes % _ALIGNED))
    return torch.cat(parts)


def _part(packed: Tensor, like: Tensor, begin: int) -> Tensor:
    return packed[begin : begin + like.nbytes].view(like.dtype).view(like.shape)


def _uploaded(host: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return host.to(device)
    stream, current = _stream(device, "up"), torch.cuda.current_stream(device)
    with torch.cuda.stream(stream):
        there = host.pin_memory().to(device, non_blocking=True)
    current.wait_stream(stream)
    there.record_stream(current)
    return there


@cache
def _stream(device: torch.device, way: str) -> torch.cuda.Stream:
    """The stream of one direction on a device: uploads do not queue behind downloads, nor either behind computation."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
