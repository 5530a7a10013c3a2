"""Weights with their card in one safetensors file: equal weights give equal bytes, and only finite ones are written or read."""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from faceswap_lab.errors import WeightsError


def write_tensors(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, Any], remedy: str) -> None:
    """Writes tensors and JSON metadata. Raises WeightsError if a weight is NaN or infinite; OSError if the disk is full."""
    held = {name: tensor.contiguous().cpu() for name, tensor in tensors.items()}
    _require_finite(path, held, remedy)
    # As bytes, since safetensors' own writer does not raise OSError on a full disk.
    path.write_bytes(_with_sorted_header(save(held, metadata={name: json.dumps(value) for name, value in about.items()})))


def read_tensors(
    path: Path, required: Set[str], *, expected: str, remedy: str, not_finite: str = ""
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_tensors` wrote. Raises WeightsError for any other file, for one without the `required` metadata, and for weights
    that are not finite, whose remedy may be another one."""
    try:
        with safe_open(path, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if missing := required - about.keys():
            raise ValueError(f"no {' and no '.join(sorted(missing))} in its metadata")
        told = {name: json.loads(value) for name, value in about.items()}
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        raise unreadable(path, error, expected=expected, remedy=remedy) from error
    _require_finite(path, tensors, not_finite or remedy)
    return tensors, told


def unreadable(path: Path, error: Exception, *, expected: str, remedy: str) -> WeightsError:
    """The error for a file that is not what its name promises."""
    return WeightsError(expected=expected, got=f"{path}: {' '.join(str(error).split())[:200]}", remedy=remedy)


def _with_sorted_header(data: bytes) -> bytes:
    """The safetensors file with its JSON header sorted: the library writes metadata keys in unspecified order, and a file's digest
    counts in the keys of the runs that use it."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    padded = header + b" " * (-len(header) % 8)
    return len(padded).to_bytes(8, "little") + padded + data[8 + length :]


def _require_finite(path: Path, tensors: Mapping[str, Tensor], remedy: str) -> None:
    wrong = [name for name, tensor in tensors.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    if wrong:
        raise WeightsError(
            expected=f"finite weights in {path}",
            got=f"NaN or infinity in {len(wrong)} of {len(tensors)} tensors, {wrong[0]} among them",
            remedy=remedy,
        )
