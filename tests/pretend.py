"""A pretend GPU: computes on the CPU, and counts what a real one would wait for.

Its tensors wrap host tensors under torch's `PrivateUse1` device, renamed "pretend". Inside `counted()` every operation passes
through one dispatch mode, which counts

- uploads: host values that become device tensors (`torch.tensor(..., device=...)`, `.to(device)`, `copy_`, a host index), whether
  pinned or not;
- waits: what makes the host wait for the device (`item`, `float`, `bool`, `nonzero`, `repeat_interleave` without its output's size,
  indexing by a mask, `masked_select`, `unique`) and every copy back to the host.

A host tensor among device tensors is refused as CUDA refuses it, unless it is a single number. Nothing is modelled of time, memory
or streams, and what only CUDA can do (pinned memory, autocast) takes the path of any other device.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.backend_registration import _DummyBackendModule, _setup_privateuseone_for_python_backend

NAME = "pretend"
DEVICE = f"{NAME}:0"

_WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "equal", "_unique2", "unique_dim", "unique_consecutive", "bincount"}
_INDEXING = {"index", "_unsafe_index", "index_put", "index_put_", "_index_put_impl_"}


class _Backend(_DummyBackendModule):
    """What torch asks the module of a device type."""

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]


@cache
def install() -> str:
    """Registers the device with torch, once per process; returns its name."""
    _setup_privateuseone_for_python_backend(NAME, backend_module=_Backend())
    return DEVICE


class OnDevice(Tensor):
    """A tensor of the pretend device; `host` are its values."""

    host: Tensor

    @staticmethod
    def __new__(cls, host: Tensor) -> "OnDevice":
        made = Tensor._make_wrapper_subclass(
            cls,
            host.shape,
            strides=host.stride(),
            storage_offset=host.storage_offset(),
            dtype=host.dtype,
            device=torch.device(DEVICE),
        )
        made.host = host
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"{func} on the pretend device outside of counted()")


@dataclass(slots=True)
class Counts:
    """Uploads and waits by the place in the package that caused them."""

    uploads: Counter[str] = field(default_factory=Counter)
    waits: Counter[str] = field(default_factory=Counter)

    @property
    def total(self) -> int:
        return self.uploads.total() + self.waits.total()

    def clear(self) -> None:
        self.uploads.clear()
        self.waits.clear()

    def __str__(self) -> str:
        lines = [f"{self.uploads.total()} uploads, {self.waits.total()} waits"]
        for name, counter in (("upload", self.uploads), ("wait", self.waits)):
            lines += [f"  {number:3} {name}: {place}" for place, number in counter.most_common()]
        return "\n".join(lines)


class _Mode(TorchDispatchMode):
    def __init__(self, counts: Counts) -> None:
        super().__init__()
        self.counts = counts

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        # Under inference_mode composite operations arrive whole: what they consist of is what counts.
        with self:
            parts = func.decompose(*args, **kwargs)
        if parts is not NotImplemented:
            return parts
        tensors = [leaf for leaf in pytree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        there, here = ([t for t in tensors if isinstance(t, OnDevice) is on] for on in (True, False))
        target = None if kwargs.get("device") is None else torch.device(kwargs["device"])
        onto = bool(there) if target is None else target.type == NAME
        if onto or there:
            self._count(func, args, kwargs, there, here, onto)
        if func.overloadpacket.__name__ == "copy_" and not isinstance(args[0], OnDevice):
            onto = False
        return _computed(func, args, kwargs, there, onto)

    def _count(self, func: Any, args: Any, kwargs: Any, there: list[OnDevice], here: list[Tensor], onto: bool) -> None:
        name = func.overloadpacket.__name__
        arrays = any(each.dim() for each in here)
        if not onto or (name == "copy_" and here and not isinstance(args[0], OnDevice)):
            self._enter(self.counts.waits, name)
        elif (here and (not there or name == "copy_")) or (arrays and name in _INDEXING):
            self._enter(self.counts.uploads, name)
        elif arrays:
            raise RuntimeError(f"{func} expected all tensors to be on the same device, got {NAME} and cpu")
        masks = name in _INDEXING and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        # A single number on the host is filled in under the mask: its places are not looked for.
        masks = masks and not (name.startswith("index_put") and args[2].numel() == 1 and not isinstance(args[2], OnDevice))
        unsized = name == "repeat_interleave" and kwargs.get("output_size") is None
        if there and (name in _WAITING or masks or unsized):
            self._enter(self.counts.waits, name)

    @staticmethod
    def _enter(counter: Counter[str], name: str) -> None:
        counter[f"{_place()} {name}"] += 1


def _computed(func: Any, args: Any, kwargs: Any, there: list[OnDevice], onto: bool) -> Any:
    def unwrapped(leaf: Any) -> Any:
        return leaf.host if isinstance(leaf, OnDevice) else leaf

    plain = {name: pytree.tree_map(unwrapped, value) for name, value in kwargs.items()}
    if plain.get("device") is not None:
        plain["device"] = torch.device("cpu")
    result = func(*pytree.tree_map(unwrapped, args), **plain)

    def wrapped(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        same = [each for each in there if each.host is leaf]
        if same:
            return same[0]
        with torch.inference_mode(False):  # else views of parameters made before would be refused
            return OnDevice(leaf)

    return pytree.tree_map(wrapped, result) if onto else result


def _place() -> str:
    """The innermost line of the package under way."""
    frame = sys._getframe()
    while frame is not None and "faceswap_lab" not in Path(frame.f_code.co_filename).parts:
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}" if frame else "the test"


@contextmanager
def counted() -> Iterator[Counts]:
    """Computes on the pretend device in the block, and counts."""
    install()
    counts, lifting = Counts(), torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device=...) is then an upload of a host tensor
    try:
        with _Mode(counts):
            yield counts
    finally:
        torch._C._set_only_lift_cpu_tensors(lifting)
