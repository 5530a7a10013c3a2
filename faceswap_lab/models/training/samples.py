"""Stacks of pictures with their truth in one file: named arrays in safetensors, with a small JSON header.

Used for the crops of a pair's training and for the pack's pictures. The same stacks give the same bytes. Rendered samples for use
outside the lab are tar shards instead (`actors.shards`), which other programs can read.
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
"""Version of the header. Readers reject any other."""

_HEADER = "faceswap_lab"


def write_stacks(path: Path, kind: str, stacks: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None) -> None:
    """Writes arrays and JSON metadata `about` to `path`, which the caller renames into place. OSError if the disk is full."""
    # A single key, because safetensors writes several in unspecified order.
    header = canonical({"format": FORMAT, "kind": kind, "about": dict(about or {})})
    contiguous = {name: np.ascontiguousarray(stack) for name, stack in stacks.items()}
    # As bytes, since safetensors' own writer does not raise OSError on a full disk.
    path.write_bytes(save(contiguous, metadata={_HEADER: header}))


def read_stacks(path: Path, kind: str, required: Set[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and their metadata.

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
            remedy="remove the file: the same call recreates it",
        ) from error
    return stacks, about
