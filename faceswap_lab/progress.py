"""A progress line for verbs. It appears only after two seconds, so that quick operations print nothing."""

import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from tqdm import tqdm

_SILENT_S = 2.0
_REDRAW_S, _LINE_S = 0.5, 10.0
"""Seconds between two updates of a bar drawn in place, and between two lines in a pipe or a log."""

_FORMAT = "{desc}: {percentage:3.0f}% |{bar:12}| {n_fmt}/{total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}"


Listener = Callable[[str, int, int], None]
"""Told of each step: the line's label, how many are done, and how many there are."""

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within the block, and in its thread, each update of a progress line is told to `listener` as well."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


class Progress:
    """A bar on standard error, or on standard output in a notebook (Jupyter shows standard error in red).

    Without a terminal (a pipe, a CI log) it prints a plain line every ten seconds, and one at the end. `done` were done before, so
    they count in the share and not in the rate.
    """

    def __init__(self, label: str, total: int, *, unit: str, done: int = 0) -> None:
        self.label, self.total, self.unit, self.done_before = label, total, unit, done
        self._start = self._last = perf_counter()
        self._stream = sys.stdout if _in_notebook() else sys.stderr
        self._bar: tqdm | None = _bar(self) if self._stream.isatty() or _in_notebook() else None

    def update(self, done: int, note: str = "") -> None:
        """Set the number `done` of the total; `note` is appended to the line."""
        if (listener := _LISTENER.get()) is not None:
            listener(self.label, done, self.total)
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = perf_counter()
        spent = now - self._start
        if spent < _SILENT_S or (now - self._last < _LINE_S and done < self.total):
            return
        self._last = now
        rate = (done - self.done_before) / spent
        left = (self.total - done) / rate if rate else 0.0
        tail = f"; {note}" if note else ""
        line = f"{self.label}: {done}/{self.total} {self.unit}, {rate:.1f}/s, {left:.0f} s left{tail}"
        print(line, file=self._stream, flush=True)

    def close(self) -> float:
        """End the line; returns the seconds since the start."""
        if self._bar is not None:
            self._bar.close()
        return perf_counter() - self._start


class _Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """tqdm's bar without its monitor thread and its interprocess lock: neither survives a fork."""

    monitor_interval = 0


_Bar.set_lock(threading.RLock())


def _bar(line: Progress) -> tqdm:
    return _Bar(
        total=line.total,
        initial=line.done_before,
        desc=line.label,
        unit=f" {line.unit}",
        file=line._stream,
        delay=_SILENT_S,
        mininterval=_REDRAW_S,
        bar_format=_FORMAT,
        # A terminal of unknown size is taken as 80 columns by 24 rows.
        ncols=min(120, shutil.get_terminal_size().columns),
        nrows=24,
    )


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"
