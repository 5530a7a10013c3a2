"""Stacks of pictures with their truth as one file: arrays by name in safetensors, beside a small JSON header.

Crops of a pair's training and parts of the pack's pictures are such files. The same stacks give the same bytes. Rendered samples
that leave the lab are tar shards instead (`actors.shards`), whose members other programs read.
"""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical

FORMAT = 1
"""Version of the header. A reader refuses another."""

_HEADER = "faceswap_lab"


def write_stacks(path: Path, kind: str, stacks: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None) -> None:
    """Write arrays, and JSON values `about` them, to `path`, which the caller renames into place. OSError if the disk is full."""
    # One key: safetensors writes several in no certain order.
    header = canonical({"format": FORMAT, "kind": kind, "about": dict(about or {})})
    contiguous = {name: np.ascontiguousarray(stack) for name, stack in stacks.items()}
    # As bytes and not by safetensors' own writer, whose error for a full disk is no OSError.
    path.write_bytes(save(contiguous, metadata={_HEADER: header}))


def read_stacks(path: Path, kind: str, required: Set[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and what is said about them.

    Raises RunError for a file that is damaged, of another kind or format, or without one of the `required` arrays.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {})[_HEADER])
            stacks = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        if (header["format"], header["kind"]) != (FORMAT, kind):
            raise ValueError(f"{header['kind']!r} of format {header['format']}")
        if missing := required - stacks.keys():
            raise ValueError(f"no {', '.join(sorted(missing))}")
        about = dict(header["about"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            expected=f"{kind} (format {FORMAT}) in {path}",
            got=str(error)[:200] or type(error).__name__,
            remedy="remove the file: the same call makes it anew",
        ) from error
    return stacks, about
