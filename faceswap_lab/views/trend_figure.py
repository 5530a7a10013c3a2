"""Benchmark scores over versions of the code as a figure: each method's values, between its floor and its ceiling."""

import textwrap
from collections.abc import Sequence

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from faceswap_lab.views.figures import HAIRLINE, INK, MUTED, PAPER, SERIES, STYLE, SelfShowing
from faceswap_lab.views.trends import Trend, short_code

_MOST_NAMED = 4


def over_code(found: Sequence[Trend], scores: Sequence[str]) -> SelfShowing:
    """A row for each of the `scores`, a column for each method: values with intervals, grey below the floor and above the ceiling.

    Runs are evenly spaced, oldest left. A value is ringed where a change of code moved it by more than its interval.
    ValueError unless there is something to connect: a trend of two points.
    """
    drawn = [each for each in found if each.score in scores and len(each.points) > 1]
    if not drawn:
        raise ValueError("a trend needs two runs of the benchmark with the same method")
    methods = list(dict.fromkeys(each.method for each in drawn))
    shown = [score for score in scores if any(each.score == score for each in drawn)]
    runs = sorted({(point.created, point.run, point.code) for each in drawn for point in each.points})
    with rc_context(STYLE):
        made = SelfShowing(figsize=(max(5.5, 0.8 + 3.4 * len(methods)), 0.9 + 1.7 * len(shown)), dpi=120, facecolor=PAPER)
        FigureCanvasAgg(made)
        grid = made.subplots(len(shown), len(methods), sharex=True, sharey="row", squeeze=False)
        for row, score in zip(grid, shown, strict=True):
            beside = [each for each in drawn if each.score == score]
            row[0].set_ylabel(score + (f", {beside[0].unit}" if beside[0].unit else ""))
            row[0].set_ylim(*_limits(beside))
            for each in beside:
                _draw(row[methods.index(each.method)], each, [run for _, run, _ in runs])
        for axis, method in zip(grid[0], methods, strict=True):
            axis.set_title(textwrap.fill(method, 40), fontsize=9.5, color=INK, loc="left", pad=6)
        for axis in grid[-1]:
            _name_runs(axis, runs)
        made.tight_layout()
        made.align_ylabels()
    return made


def _limits(found: Sequence[Trend]) -> tuple[float, float]:
    """What a row shows of its axis: all values, intervals, floors and ceilings, and some room for the grey."""
    points = [point for each in found for point in each.points]
    told = [(point.value, point.floor, point.ceiling, point.low, point.high) for point in points]
    known = [value for values in told for value in values if value is not None]
    room = 0.12 * (max(known) - min(known) or 1.0)
    return min(known) - room, max(known) + room


def _draw(axis: Axes, trend: Trend, runs: Sequence[str]) -> None:
    at = [runs.index(point.run) for point in trend.points]
    bottom, top = axis.get_ylim() if trend.higher_is_better else axis.get_ylim()[::-1]
    for name, end in (("floor", bottom), ("ceiling", top)):
        _shade(axis, [(x, getattr(point, name)) for x, point in zip(at, trend.points, strict=True)], name, end, len(runs))
    for x, point in zip(at, trend.points, strict=True):
        if point.low is not None and point.high is not None:
            axis.plot([x, x], [point.low, point.high], color=SERIES[0], linewidth=5, alpha=0.25, solid_capstyle="butt")
    axis.plot(at, [point.value for point in trend.points], color=SERIES[0], linewidth=1.4, marker="o", markersize=4)
    for change in trend.moved:
        place = [runs.index(change.after.run)], [change.after.value]
        axis.plot(*place, linestyle="none", marker="o", markersize=10, markerfacecolor="none", markeredgecolor=SERIES[1])
    axis.set_xlim(-0.5, len(runs) - 0.5)
    for side in ("top", "right", "left"):
        axis.spines[side].set_visible(False)
    axis.tick_params(which="both", length=0)


def _shade(axis: Axes, places: Sequence[tuple[int, float | None]], name: str, end: float, count: int) -> None:
    """Grey between a floor or ceiling and that end of the axis, as steps, as wide as the panel; its name beside it."""
    known = [(x, limit) for x, limit in places if limit is not None]
    if not known:
        return
    # A limit holds for its run alone, from half a step before it to half a step after it; outer ones reach to the panel's edges.
    edges = [-0.5, *(x - 0.5 for x, _ in known[1:]), count - 0.5]
    limits = [limit for _, limit in known]
    axis.fill_between(edges, [*limits, limits[-1]], end, step="post", color=HAIRLINE, alpha=0.6, linewidth=0)
    outside = "top" if end < limits[0] else "bottom"
    offset = (4, -2) if outside == "top" else (4, 2)
    axis.annotate(
        name,
        (-0.5, limits[0]),
        xytext=offset,
        textcoords="offset points",
        fontsize=7,
        color=MUTED,
        va=outside,
        annotation_clip=False,
    )


def _name_runs(axis: Axes, runs: Sequence[tuple[str, str, str]]) -> None:
    """Day, time and code of a few runs, the first and the last among them."""
    count = min(_MOST_NAMED, len(runs))
    places = sorted({round(number * (len(runs) - 1) / max(1, count - 1)) for number in range(count)})
    texts = [f"{created[5:16].replace('T', ' ')}\n{short_code(code)}" for created, _, code in (runs[place] for place in places)]
    axis.set_xticks(places, texts, fontsize=7)
