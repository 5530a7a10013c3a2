"""A training over time as a figure: where it was and how well it did, second by second, ranks that died included."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from faceswap_lab.runs.run import Run
from faceswap_lab.views.figures import HAIRLINE, INK, MUTED, PAPER, SERIES, STYLE, SelfShowing

_DPI = 120


def over_time(run: Run) -> SelfShowing:
    """Steps and loss of a training by seconds since its ranks began, one line for each attempt; what a death cost is the gap.

    ValueError for a run that has reported no step.
    """
    attempts = _attempts(run)
    if not any(attempts):
        raise ValueError(f"{run.id} has reported no step of a training")
    start, deaths = _seconds([*run.events("gang"), *run.events("step")][0]), run.events("rank_died")
    with rc_context(STYLE):
        figure = SelfShowing(figsize=(7.2, 3.9), dpi=_DPI, facecolor=PAPER)
        FigureCanvasAgg(figure)
        upper = figure.add_axes((0.085, 0.55, 0.88, 0.37))
        lower = figure.add_axes((0.085, 0.115, 0.88, 0.37), sharex=upper)
        _draw(upper, attempts, start, lambda event: event["step"], "step")
        _draw(lower, attempts, start, lambda event: event["losses"]["loss"], "loss")
        upper.tick_params(labelbottom=False)
        lower.set_xlabel("seconds")
        lower.set_xlim(left=0.0)
        for axis in (upper, lower):
            for death in deaths:
                axis.axvline(_seconds(death) - start, color=SERIES[4], linewidth=1.2, linestyle="--")
        for death in deaths:
            place = (_seconds(death) - start, 1.0)
            text, at = f"rank {death['rank']} died", upper.get_xaxis_transform()
            upper.annotate(text, place, xycoords=at, xytext=(0, 4), textcoords="offset points", fontsize=8, ha="center", color=INK)
    return figure


def _attempts(run: Run) -> list[list[dict[str, Any]]]:
    """The events of steps, apart for each gang of ranks."""
    found: list[list[dict[str, Any]]] = [[]]
    for event in run.events():
        if event["kind"] in ("rank_died", "resumed"):
            found.append([])
        elif event["kind"] == "step":
            found[-1].append(event)
    return found


def _draw(axis: Axes, attempts: Sequence[Sequence[dict[str, Any]]], start: float, value: Any, name: str) -> None:
    for number, events in enumerate(filter(None, attempts)):
        seconds = [_seconds(event) - start for event in events]
        axis.plot(seconds, [value(event) for event in events], color=SERIES[number % 4], linewidth=1.4, marker="o", markersize=3)
    axis.set_ylabel(name, color=MUTED)
    axis.grid(color=HAIRLINE, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(which="both", length=0)


def _seconds(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()
