"""One line that says how far a verb is. It shows only after two seconds: quick things stay silent."""

import sys
from time import perf_counter


class Progress:
    """A line on standard error, in a notebook on standard output (Jupyter paints the other red); rewritten in place if possible."""

    def __init__(self, label: str, total: int, *, unit: str) -> None:
        self.label, self.total, self.unit = label, total, unit
        self._start = self._last = perf_counter()
        self._shown = False
        self._stream = sys.stdout if _in_notebook() else sys.stderr
        self._in_place = self._stream.isatty() or _in_notebook()

    def update(self, done: int, note: str = "") -> None:
        """`done` of the total are done; `note` is added at the end of the line."""
        now = perf_counter()
        spent = now - self._start
        pause = 0.5 if self._in_place else 5.0
        if spent < 2 or (now - self._last < pause and done < self.total):
            return
        self._last, self._shown = now, True
        rate = done / spent
        left = (self.total - done) / rate if rate else 0.0
        line = f"{self.label}: {done}/{self.total} {self.unit}, {rate:.1f}/s, {left:.0f} s left{'; ' + note if note else ''}"
        end = "" if self._in_place else "\n"
        start = "\r" if self._in_place else ""
        print(f"{start}{line:<100}", end=end, file=self._stream, flush=True)

    def close(self) -> float:
        """End the line; returns the seconds since the start."""
        if self._shown and self._in_place:
            print(file=self._stream, flush=True)
        return perf_counter() - self._start


def _in_notebook() -> bool:
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    return type(shell).__name__ == "ZMQInteractiveShell"
