"""What a cluster's workers cost while they are there."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Money for one worker and hour, whether it works or not."""

    an_hour: float
    currency: str

    def __post_init__(self) -> None:
        if not self.an_hour >= 0:
            raise ValueError(f"a price must not be negative, got {self.an_hour}")


@dataclass(slots=True)
class Meter:
    """Adds up workers by time. Between two counts there are taken to be as many as at the first of them."""

    price: Price
    clock: Callable[[], float] = time.monotonic
    money: float = 0.0
    _since: float | None = None
    _num_workers: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, num_workers: int) -> None:
        """There are `num_workers` now."""
        with self._lock:
            now = self.clock()
            if self._since is not None:
                self.money += self._num_workers * (now - self._since) / 3600 * self.price.an_hour
            self._since, self._num_workers = now, num_workers
