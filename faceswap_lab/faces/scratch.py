"""Reusable scratch arrays, to avoid repeated allocation.

The system hands out fresh memory page by page, zeroing each on first touch: for the temporaries of a paste that costs more than
the arithmetic, and many times more on a busy machine.
"""

from math import prod
from threading import local

import numpy as np
import numpy.typing

_MAX_BYTES = 1 << 24


class _Arrays(local):
    """One set of arrays per thread."""

    def __init__(self) -> None:
        self.flat: dict[tuple[str, np.dtype[np.generic]], np.ndarray] = {}


_ARRAYS = _Arrays()


def scratch(name: str, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """An uninitialised array, valid until this thread requests `name` again. Up to 16 MB per name stays allocated."""
    needed, key = prod(shape), (name, np.dtype(dtype))
    if needed * key[1].itemsize > _MAX_BYTES:
        return np.empty(shape, dtype)
    flat = _ARRAYS.flat.get(key)
    if flat is None or len(flat) < needed:
        flat = _ARRAYS.flat[key] = np.empty(needed, dtype)
    return flat[:needed].reshape(shape)
