"""Arrays that are used again and again instead of made anew.

Fresh memory comes from the system page by page, each zeroed on first touch: for the temporaries of a paste that costs more than
the arithmetic, and many times more on a busy machine.
"""

from math import prod
from threading import local

import numpy as np
import numpy.typing

_MAX_KEPT = 1 << 24


class _Arrays(local):
    """One set for each thread."""

    def __init__(self) -> None:
        self.flat: dict[tuple[str, np.dtype[np.generic]], np.ndarray] = {}


_ARRAYS = _Arrays()


def scratch(name: str, shape: tuple[int, ...], dtype: np.typing.DTypeLike) -> np.ndarray:
    """An array with anything in it, good until this thread asks for `name` again. Its memory is kept, up to 16 MB a name."""
    needed, key = prod(shape), (name, np.dtype(dtype))
    if needed * key[1].itemsize > _MAX_KEPT:
        return np.empty(shape, dtype)
    flat = _ARRAYS.flat.get(key)
    if flat is None or len(flat) < needed:
        flat = _ARRAYS.flat[key] = np.empty(needed, dtype)
    return flat[:needed].reshape(shape)
