"""What is kept in memory because it may be asked for again: one bound in bytes for all caches of a process.

A number of entries bounds nothing: the figure of a large picture takes many times the memory of a small one's. Arrays and tensors
count with their bytes, once however many entries hold them, and those on a GPU count like those on the host.
`FACESWAP_LAB_MEMORY`, such as `2 GB`, sets the bound.
"""

import os
import re
import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import wraps
from inspect import signature
from typing import Any, ParamSpec, TypeVar

VARIABLE = "FACESWAP_LAB_MEMORY"
DEFAULT_BYTES = 1 << 30
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B", re.IGNORECASE)

P = ParamSpec("P")
T = TypeVar("T")


def limit(variable: str = VARIABLE, default: int = DEFAULT_BYTES) -> int:
    """The bound in bytes that the environment's `variable` sets. ValueError for a text that is not a size."""
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f'{variable} must be a size such as "2 GB" or "800 MiB", got {text!r}')
    number, prefix, binary = found.groups()
    return int(float(number) * (1024 if binary else 1000) ** " KMGT".index(prefix.upper() or " "))


@dataclass(frozen=True, slots=True, eq=False)
class _Entry:
    value: Any
    parts: Mapping[int, int]


class SharedCache:
    """The values most recently asked for. Beyond the bound the oldest go, but never the newest, however large it is.

    `most` values of one function are kept at most. Threads may share it; two that ask for one value at the same time both make it.
    """

    def __init__(self, bound: Callable[[], int] = limit) -> None:
        self._bound = bound
        self._entries: OrderedDict[tuple[Any, Hashable], _Entry] = OrderedDict()
        self._holders: Counter[int] = Counter()
        self._sizes: dict[int, int] = {}
        self._lock = threading.RLock()

    @property
    def num_bytes(self) -> int:
        """Bytes of all that is kept."""
        return sum(self._sizes.values())

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, owner: Any, key: Hashable, make: Callable[[], T], most: int) -> T:
        """The value of `key` for `owner`, from `make` if it is not kept."""
        with self._lock:
            if (entry := self._entries.get((owner, key))) is not None:
                self._entries.move_to_end((owner, key))
                return entry.value  # type: ignore[no-any-return]
        value = make()
        bound = self._bound()
        with self._lock:
            self._drop((owner, key))
            self._keep((owner, key), value)
            own = [each for each in self._entries if each[0] == owner]
            for each in own[:-most]:
                self._drop(each)
            while len(self._entries) > 1 and self.num_bytes > bound:
                self._drop(next(iter(self._entries)))
        return value

    def clear(self) -> None:
        """Forgets everything."""
        with self._lock:
            for key in list(self._entries):
                self._drop(key)

    def _keep(self, key: tuple[Any, Hashable], value: Any) -> None:
        parts = dict(_parts(value, set()))
        self._entries[key] = _Entry(value, parts)
        self._holders.update(parts.keys())
        self._sizes.update(parts)

    def _drop(self, key: tuple[Any, Hashable]) -> None:
        entry = self._entries.pop(key, None)
        for part in entry.parts if entry else ():
            self._holders[part] -= 1
            if not self._holders[part]:
                del self._holders[part], self._sizes[part]


def _parts(value: Any, seen: set[int]) -> Iterator[tuple[int, int]]:
    """Identity and bytes of everything large within a value: arrays, tensors, texts."""
    if id(value) in seen:
        return
    seen.add(id(value))
    if isinstance(value, str | bytes):
        yield id(value), sys.getsizeof(value)
    elif hasattr(value, "nbytes"):
        yield id(value), int(value.nbytes)
    else:
        for part in _within(value):
            yield from _parts(part, seen)


def _within(value: Any) -> Iterator[Any]:
    if is_dataclass(value):
        yield from (getattr(value, each.name) for each in fields(value))
    elif isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, tuple | list):
        yield from value


SHARED = SharedCache()
"""The one of this process."""


def cached(most: int) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Keeps the results of a function of hashable arguments, `most` of them at most, within the bound that all caches share."""

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        names = signature(function)

        @wraps(function)
        def ask(*args: P.args, **kwargs: P.kwargs) -> T:
            # By name and with defaults: f(1), f(1, 2) and f(1, b=2) may be one call, whose value is made once.
            bound = names.bind(*args, **kwargs)
            bound.apply_defaults()
            key = tuple(bound.arguments.items())
            return SHARED.get(function, key, lambda: function(*args, **kwargs), most)

        return ask

    return decorate
