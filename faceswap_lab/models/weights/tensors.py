"""Weights as TensorFlow.js stores them: a JSON layout, and the values one after the other, some of them quantised.

The catalogue keeps both in one file: the layout, a zero byte, the values.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceswap_lab.errors import WeightsError

_SEPARATOR = b"\0"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stored:
    """A network's file: its layout as parsed JSON, and its tensors by name in float32."""

    layout: Any
    tensors: Mapping[str, np.ndarray]


def joined(layout: bytes, values: bytes) -> bytes:
    """The one file that `read` takes apart. ValueError for a layout with a zero byte, which JSON never has."""
    if _SEPARATOR in layout:
        raise ValueError("the layout is no JSON text: it has a zero byte")
    return layout + _SEPARATOR + values


def read(content: bytes, name: str) -> Stored:
    """The network of a file. WeightsError, about `name`, if layout and values don't belong together."""
    head, _, values = content.partition(_SEPARATOR)
    try:
        layout = json.loads(head)
        groups = layout["weightsManifest"] if isinstance(layout, dict) else layout
        tensors = dict(_tensors([about for group in groups for about in group["weights"]], values))
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            expected=f"{name}: a layout in JSON, and the values that it lists",
            got=f"{len(content)} bytes: {error}",
            remedy="delete the file and run `faceswap-lab models fetch`",
        ) from error
    return Stored(layout=layout, tensors=tensors)


def _tensors(listed: list[dict[str, Any]], values: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Each tensor with its name. ValueError unless the values are used up to the last byte."""
    place = 0
    for about in listed:
        quantised: dict[str, Any] = about.get("quantization", {})
        kind = np.dtype(quantised.get("dtype", about["dtype"])).newbyteorder("<")
        count = int(np.prod(about["shape"], dtype=np.int64))
        raw = np.frombuffer(values, kind, count, place).reshape(about["shape"])
        place += count * kind.itemsize
        yield about["name"], _as_float(raw, quantised)
    if place != len(values):
        raise ValueError(f"{len(values)} bytes of values where the layout lists {place}")


def _as_float(raw: np.ndarray, quantised: Mapping[str, Any]) -> np.ndarray:
    """Values in float32: affine from bytes, widened from half floats, others as they are."""
    if "scale" not in quantised:
        return raw.astype(np.float32)
    return (raw.astype(np.float64) * quantised["scale"] + quantised["min"]).astype(np.float32)
