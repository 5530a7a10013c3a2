"""Inspection of an ONNX file before it is run: its inputs and outputs, and the location of its weights.

A file from elsewhere may refer to other files for its weights ("external data"), even outside its folder, or may not be what its
name says. Both are rejected here, reading only the file's own bytes.
"""

import errno
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from faceswap_lab.errors import WeightsError

Dim = int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output: its name, numpy's name of its element type, and its shape.

    Dimensions may be dynamic (None), or the entire shape unspecified (`open_shape`), which matches anything.
    """

    name: str
    dtype: str
    shape: tuple[Dim, ...]
    open_shape: bool = False

    def fits(self, *pattern: Dim) -> bool:
        """Whether the shape can be `pattern`; a dynamic dimension on either side matches anything."""
        if self.open_shape:
            return True
        if len(self.shape) != len(pattern):
            return False
        return all(have is None or want is None or have == want for have, want in zip(self.shape, pattern, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graph:
    """One inspected ONNX file. `sha256` covers it and its external data; `last` is its last initializer, if small."""

    path: Path
    sha256: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    last: np.ndarray | None


_LARGEST_LAST = 1 << 22  # values: inswapper's identity map has 512 x 512
_inspected: dict[tuple[Path, int, int], Graph] = {}


def inspect(path: Path) -> Graph:
    """Inspects the file. Raises WeightsError if it is missing, is not ONNX, or refers to data outside its own folder.

    Half a gigabyte takes about a second; the result is cached until the file's size or time changes.
    """
    try:
        stat = path.stat()
        if not path.is_file():
            raise OSError(errno.EINVAL, "no plain file")
        key = (path.absolute(), stat.st_size, stat.st_mtime_ns)
        if key in _inspected:
            return _inspected[key]
        content = path.read_bytes()
    except OSError as error:
        raise WeightsError(
            expected=f"an ONNX file at {path}", got=error.strerror or str(error), remedy="check the path you gave"
        ) from error
    graph, has_more = _read(path, content)
    if not has_more:
        _inspected[key] = graph
    return graph


def _read(path: Path, content: bytes) -> tuple[Graph, bool]:
    """The graph, and whether it has external data."""
    try:
        model = onnx.load_from_string(content)
    except (DecodeError, ValueError) as error:
        raise refusal(path, "a complete ONNX file", f"{len(content)} bytes that cannot be parsed as one") from error
    if not model.graph.output or not model.graph.node:
        raise refusal(path, "an ONNX file with a network in it", f"{len(model.graph.node)} operations")
    digest = hashlib.sha256(content)
    others = sorted(set(_external_files(path, model)))
    for place in others:
        with place.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = tuple(_port(path, value) for value in model.graph.input if value.name not in weights)
    graph = Graph(
        path=path,
        sha256=digest.hexdigest(),
        inputs=inputs,
        outputs=tuple(_port(path, value) for value in model.graph.output),
        last=_last(path, model),
    )
    return graph, bool(others)


def refusal(path: Path, expected: str, got: str) -> WeightsError:
    """The error for a file that is not as expected."""
    return WeightsError(
        expected=f"{expected} in {path}",
        got=got,
        remedy="get the file from its publisher again, and compare its sha256 with the published one",
    )


def _port(path: Path, value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or kind.elem_type not in onnx.TensorProto.DataType.values():
        raise refusal(path, "tensors for inputs and outputs", f"{value.name!r}, which is not a tensor")
    shape = tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in kind.shape.dim)
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)).name
    return Port(name=value.name, dtype=dtype, shape=shape, open_shape=not kind.HasField("shape"))


def _last(path: Path, model: onnx.ModelProto) -> np.ndarray | None:
    if not model.graph.initializer:
        return None
    tensor = model.graph.initializer[-1]
    if int(np.prod(tensor.dims, dtype=np.float64)) > _LARGEST_LAST or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except (ValueError, TypeError) as error:
        raise refusal(path, "initializers with the size of their shapes", f"{tensor.name!r}: {error}") from error


def _external_files(path: Path, model: onnx.ModelProto) -> Iterator[Path]:
    """The external data files of `path`, each verified to be in the same folder and long enough."""
    folder = path.parent.resolve()
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL and not tensor.external_data:
            continue
        about = {entry.key: entry.value for entry in tensor.external_data}
        location = about.get("location", "")
        if not location or PurePosixPath(location).is_absolute() or PureWindowsPath(location).drive or "\0" in location:
            raise refusal(path, "weights in the file or beside it", f"the weights {tensor.name!r} at {location!r}")
        place = (folder / location.replace("\\", "/")).resolve()
        if not place.is_relative_to(folder):
            raise refusal(
                path, "weights in the file or beside it", f"the weights {tensor.name!r} at {location!r}, outside its folder"
            )
        try:
            offset, length = int(about.get("offset", 0)), int(about.get("length", 0))
            there = place.stat().st_size if place.is_file() else -1
        except (OSError, ValueError) as error:
            raise refusal(path, "weights in the file or beside it", f"the weights {tensor.name!r}: {error}") from error
        if offset < 0 or length < 0 or offset + length > there:
            got = f"{there} bytes" if there >= 0 else "no such file"
            raise refusal(path, f"{offset + length} bytes of the weights {tensor.name!r} at {location!r}", got)
        yield place


def _tensors(message: Any) -> Iterator[onnx.TensorProto]:
    """All tensors in the model: initializers, node attributes, subgraphs, functions."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in [value] if hasattr(value, "ListFields") else value:
                yield from _tensors(inner)
