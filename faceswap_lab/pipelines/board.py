"""The states of a pipeline's steps while it runs: a table that is drawn in place on a terminal, else a line for each change."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from faceswap_lab.pipelines import record
from faceswap_lab.pipelines.record import StepState
from faceswap_lab.pipelines.run import Watch

_COLOURS = {
    record.RUNNING: "bold cyan",
    record.FINISHED: "green",
    record.SKIPPED: "dim green",
    record.FAILED: "bold red",
    record.NOT_RUN: "yellow",
    record.STOPPED: "yellow",
}
_AGAIN_S = 30.0
"""Seconds between two lines about one running step."""


@contextmanager
def board(title: str) -> Iterator[Watch]:
    """Yields what `run_pipeline` calls with the states; everything goes to standard error."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.live import Live

    with Live(console=Console(stderr=True, highlight=False), refresh_per_second=4) as live:
        yield lambda steps: live.update(table(title, steps))


def table(title: str, steps: Mapping[str, StepState]) -> Any:
    """The states as a table of rich's; names and errors are text, never markup."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    made = Table(box=SIMPLE_HEAD, title=Text(title), title_justify="left", header_style="bold", pad_edge=False)
    for name in ("step", "state", "time", "cell", ""):
        made.add_column(name, justify="right" if name in ("time", "cell") else "left", overflow="fold", no_wrap=name == "step")
    for step in steps.values():
        cell = f"{step.cell}/{step.cells}" if step.state == record.RUNNING and step.cells else ""
        spent = f"{step.spent_s:.0f} s" if step.spent_s else ""
        state = Text(step.state, style=_COLOURS.get(step.state, "dim"))
        made.add_row(Text(step.name), state, spent, cell, Text(_note(step)))
    return made


def _note(step: StepState) -> str:
    if step.state in (record.FAILED, record.NOT_RUN):
        return step.got
    return f"attempt {step.attempt}" if step.attempt > 1 else ""


class _Lines:
    """A line when a step's state changes, and now and then the cell at which it is."""

    def __init__(self) -> None:
        self._states: dict[str, tuple[str, int]] = {}
        self._told_at: dict[str, float] = {}

    def __call__(self, steps: Mapping[str, StepState]) -> None:
        now = perf_counter()
        for name, step in steps.items():
            state = (step.state, step.attempt)
            if self._states.get(name, (record.WAITING, 1)) != state:
                self._tell(name, _line(step))
            elif step.state == record.RUNNING and now - self._told_at[name] > _AGAIN_S:
                self._tell(name, f"cell {step.cell} of {step.cells}, {step.spent_s:.0f} s")
            self._states[name] = state

    def _tell(self, name: str, text: str) -> None:
        self._told_at[name] = perf_counter()
        print(f"{name}: {text}", file=sys.stderr, flush=True)


def _line(step: StepState) -> str:
    note = f": {_note(step)}" if _note(step) else ""
    spent = f" after {step.seconds:.1f} s" if step.state in (record.FINISHED, record.FAILED, record.STOPPED) else ""
    return f"{step.state}{spent}{note}"
