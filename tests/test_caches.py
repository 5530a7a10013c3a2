"""Caches are bounded by the bytes of what they keep, counted once however many entries share it."""

import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from faceswap_lab import caches
from faceswap_lab.caches import SharedCache, cached, limit


@dataclass(frozen=True, slots=True, eq=False)
class Holder:
    array: np.ndarray
    tensors: tuple[torch.Tensor, ...] = ()
    inner: Any = None


def holder(kilobytes: int) -> Holder:
    return Holder(np.zeros(kilobytes * 512, np.uint8), (torch.zeros(kilobytes * 128),))


def test_bytes_of_arrays_and_tensors_are_counted_at_any_depth() -> None:
    cache = SharedCache(lambda: 10**9)
    cache.get("f", 1, lambda: Holder(np.zeros(1000, np.uint8), (torch.zeros(500),), {"x": [np.zeros(3)]}), 9)
    assert cache.num_bytes == 1000 + 2000 + 24


def test_the_oldest_go_when_the_bound_is_passed_and_asking_makes_young() -> None:
    cache = SharedCache(lambda: 10 * 1024)
    for number in range(3):
        cache.get("f", number, lambda: holder(3), 99)
    cache.get("f", 0, lambda: pytest.fail("it is kept"), 99)
    cache.get("g", 0, lambda: holder(3), 99)
    assert cache.num_bytes == 9 * 1024
    cache.get("f", 0, lambda: pytest.fail("it was asked for last"), 99)
    made = []
    cache.get("f", 1, lambda: made.append(1), 99)
    assert made, "the oldest has gone"


def test_the_newest_stays_however_large_it_is_and_what_goes_is_freed() -> None:
    cache = SharedCache(lambda: 1024)
    first = cache.get("f", 1, lambda: np.zeros(500), 99)
    gone = weakref.ref(first)
    del first
    large = cache.get("f", 2, lambda: holder(50), 99)
    assert cache.get("f", 2, lambda: pytest.fail("it is kept"), 99) is large
    assert len(cache) == 1
    assert gone() is None


def test_what_several_entries_hold_counts_once_and_until_the_last_goes() -> None:
    cache, shared = SharedCache(lambda: 10**9), np.zeros(4096, np.uint8)
    for number in range(3):
        cache.get("f", number, lambda: Holder(np.zeros(10, np.uint8), inner=shared), 2)
    assert len(cache) == 2, "at most two of this function"
    assert cache.num_bytes == 4096 + 20
    cache.clear()
    assert (cache.num_bytes, len(cache)) == (0, 0)


@pytest.mark.parametrize(
    ("text", "size"), [("", caches.DEFAULT_BYTES), ("2 GB", 2 * 10**9), ("1.5GiB", 3 << 29), ("800 MiB", 800 << 20), ("0 B", 0)]
)
def test_the_bound_is_set_by_a_variable(text: str, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(caches.VARIABLE, text)
    assert limit() == size


@pytest.mark.parametrize("text", ["1,5 GB", "many", "-1 GB", "5"])
def test_what_is_no_size_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(caches.VARIABLE, text)
    with pytest.raises(ValueError, match=caches.VARIABLE):
        limit()


def test_a_cached_function_is_called_once_for_each_of_its_arguments() -> None:
    calls = []

    @cached(most=2)
    def double(x: int, *, plus: int = 0) -> np.ndarray:
        calls.append((x, plus))
        return np.array([2 * x + plus])

    assert double(1) is double(1) is double(x=1) is double(1, plus=0)
    assert double(1, plus=1)[0] == 3
    assert double(2)[0] == 4
    double(1)
    assert calls == [(1, 0), (1, 1), (2, 0), (1, 0)]
    caches.SHARED.clear()


@pytest.mark.slow
def test_figures_and_frames_stay_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    from faceswap_lab.actors.cast import Actor

    caches.SHARED.clear()
    monkeypatch.setenv(caches.VARIABLE, "60 MB")
    kept = []
    for seed in range(7, 12):
        Actor(seed).perform("still", size=96).rendered(0)
        kept.append((caches.SHARED.num_bytes, len(caches.SHARED)))
    assert all(number <= 60e6 or count == 1 for number, count in kept), kept
    assert max(number for number, _ in kept) > 5e6, "it is counted at all"
    caches.SHARED.clear()
