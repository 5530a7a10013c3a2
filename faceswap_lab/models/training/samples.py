"""Stacks of pictures with their truth in one file: named arrays in safetensors, with a small JSON header.

Pictures with their truth have two forms. For exchange they are tar shards (`actors.shards`), which other programs can read. What is
decoded from them, or rendered for one training, are these stacks: the crops of a pair, the pack's pictures, the crops of shards.
Stacks are read whole, or mapped where they are larger than memory or shared by processes. The same stacks give the same bytes.
"""

import json
import math
from collections.abc import Iterator, Mapping, Set
from contextlib import contextmanager
from io import BufferedReader
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
_CODES = {"bool": "BOOL", "uint8": "U8", "int64": "I64", "float32": "F32", "float64": "F64"}
_TYPES = {code: np.dtype(name) for name, code in _CODES.items()}
_MOST_HEADER = 1 << 20

Shapes = Mapping[str, tuple[str, tuple[int, ...]]]
"""The type ("uint8", "int64", …) and the shape of each stack."""


def write_stacks(path: Path, kind: str, stacks: Mapping[str, np.ndarray], about: Mapping[str, Any] | None = None) -> None:
    """Writes arrays and JSON metadata `about` to `path`, which the caller renames into place. OSError if the disk is full."""
    header = _header_of(kind, about)
    contiguous = {name: np.ascontiguousarray(stack) for name, stack in stacks.items()}
    # As bytes, since safetensors' own writer does not raise OSError on a full disk.
    path.write_bytes(save(contiguous, metadata={_HEADER: header}))


def read_stacks(path: Path, kind: str, required: Set[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays and their metadata.

    Raises RunError for a file that is damaged, of another kind or format, or without one of the `required` arrays.
    """
    with _as_run_error(kind, path), safe_open(path, framework="numpy") as file:
        told = (file.metadata() or {})[_HEADER]
        stacks = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        return stacks, _about(told, kind, required, stacks)


def map_stacks(file: BufferedReader, kind: str, required: Set[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """`read_stacks` of an open file without reading it: the arrays are mapped, read-only, and outlive the file and its name."""
    with _as_run_error(kind, file.name):
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= _MOST_HEADER:
            raise ValueError("no header of stacks")
        places = json.loads(file.read(length))
        told = places.pop("__metadata__")[_HEADER]
        whole = np.memmap(file, np.uint8, "r")[8 + length :]
        stacks = {name: _view(whole, place) for name, place in places.items()}
        return stacks, _about(told, kind, required, stacks)


@contextmanager
def new_stacks(path: Path, kind: str, shapes: Shapes, about: Mapping[str, Any] | None = None) -> Iterator[dict[str, np.ndarray]]:
    """A file of stacks to be filled in place, row by row: for more than fits into memory. The caller renames it into place."""
    head, places = _laid_out(kind, shapes, about)
    with path.open("wb") as file:
        file.write(head)
        file.truncate(num_bytes_of(kind, shapes, about))
    mapped = {
        name: np.memmap(path, shapes[name][0], "r+", len(head) + start, shapes[name][1])
        for name, (start, end) in places.items()
        if end > start
    }
    empty = {name: np.zeros(shape, kind) for name, (kind, shape) in shapes.items() if name not in mapped}
    yield {**mapped, **empty}
    for stack in mapped.values():
        stack.flush()


def num_bytes_of(kind: str, shapes: Shapes, about: Mapping[str, Any] | None = None) -> int:
    """The size of the file that `new_stacks` makes."""
    head, places = _laid_out(kind, shapes, about)
    return len(head) + max((end for _, end in places.values()), default=0)


# --- the file -----------------------------------------------------------------------------------------------------------------


def _header_of(kind: str, about: Mapping[str, Any] | None) -> str:
    """The value of the only metadata key: of several, safetensors writes the order unspecified."""
    return canonical({"format": FORMAT, "kind": kind, "about": dict(about or {})})


def _laid_out(kind: str, shapes: Shapes, about: Mapping[str, Any] | None) -> tuple[bytes, dict[str, tuple[int, int]]]:
    """The file's first bytes, and where each stack lies behind them: the widest types first, so that each is aligned."""
    places, start = dict[str, tuple[int, int]](), 0
    for name in sorted(shapes, key=lambda name: (-np.dtype(shapes[name][0]).itemsize, name)):
        size = np.dtype(shapes[name][0]).itemsize * math.prod(shapes[name][1])
        places[name], start = (start, start + size), start + size
    told: dict[str, Any] = {"__metadata__": {_HEADER: _header_of(kind, about)}}
    for name, place in places.items():
        told[name] = {"dtype": _CODES[shapes[name][0]], "shape": list(shapes[name][1]), "data_offsets": list(place)}
    text = json.dumps(told, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, places


def _view(whole: np.ndarray, place: Mapping[str, Any]) -> np.ndarray:
    kind, shape = _TYPES[place["dtype"]], tuple(int(each) for each in place["shape"])
    start, end = place["data_offsets"]
    if not 0 <= start <= end <= len(whole) or end - start != kind.itemsize * math.prod(shape):
        raise ValueError("a stack of another size than its shape")
    return whole[start:end].view(kind).reshape(shape)


def _about(told: str, kind: str, required: Set[str], stacks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    header = json.loads(told)
    if (header["format"], header["kind"]) != (FORMAT, kind):
        raise ValueError(f"{header['kind']!r} of format {header['format']}")
    if missing := required - stacks.keys():
        raise ValueError(f"no {', '.join(sorted(missing))}")
    return dict(header["about"])


@contextmanager
def _as_run_error(kind: str, path: Path | str) -> Iterator[None]:
    try:
        yield
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            expected=f"{kind} (format {FORMAT}) in {path}",
            got=str(error)[:200] or type(error).__name__,
            remedy="remove the file: the same call recreates it",
        ) from error
