"""Arrays with several users: scratch arrays, which save repeated allocation, and read-only ones from caches.

Why scratch: the system hands out fresh memory page by page, zeroing each on first touch. For the temporaries of a paste that costs
more than the arithmetic, and many times more on a busy machine.
"""

from dataclasses import fields, is_dataclass
from math import prod
from threading import local
from typing import TypeVar

import numpy as np
import numpy.typing

_MAX_BYTES = 1 << 24

V = TypeVar("V")


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


def read_only(value: V) -> V:
    """The same array, tuple of arrays, or dataclass with arrays among its fields, with these arrays not writeable.

    For what a cache returns to several callers: one of them who changes it in place gets an error, and the others keep their data.
    """
    if isinstance(value, np.ndarray):
        value.flags.writeable = False
    elif isinstance(value, tuple):
        for each in value:
            read_only(each)
    elif is_dataclass(value):
        for each in fields(value):
            if isinstance(array := getattr(value, each.name), np.ndarray):
                read_only(array)
    return value
