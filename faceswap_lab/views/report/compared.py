"""Runs of one verb side by side: the settings that differ, the scores with the best marked, the same frames of all."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from string import ascii_uppercase

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg

from faceswap_lab.runs.call import without_hints
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.views import figures
from faceswap_lab.views.report.blocks import Block, Cell, Comparison, Drawing, Line, Paragraph, ScoreRow, Section, SideBySide
from faceswap_lab.views.report.record import flat_recipe
from faceswap_lab.views.report.scope import Scope
from faceswap_lab.views.report.scores import psnr_over_frames, score_rows
from faceswap_lab.views.report.swaps import Renders, shown_of
from faceswap_lab.views.report.telling import told_input
from faceswap_lab.views.report.training import figures_of, step_losses

MOST = 6
"""Columns of a table that can still be read on paper."""

_NUM_STILLS = 3
Verdicts = Mapping[str, ScoreRun]
"""Id of a swap to its evaluation."""


def sections_of(scope: Scope, verdicts: Verdicts, renders: Renders) -> list[Section]:
    """A section for each verb of which the page has two runs or more; of more than six, the first six."""
    swaps = [run for run in scope.runs if isinstance(run, SwapRun) and run.finished]
    alone = [
        run
        for run in scope.runs
        if isinstance(run, ScoreRun) and run.finished and run.inputs["result"] not in {s.id for s in swaps}
    ]
    groups: dict[str, list[Run]] = {"face swaps": [*swaps], "evaluations": [*alone]}
    for run in scope.runs:
        if not isinstance(run, SwapRun | ScoreRun):
            groups.setdefault(_kind(run), []).append(run)
    return [_section(name, runs, scope, verdicts, renders) for name, runs in groups.items() if len(runs) > 1]


def _kind(run: Run) -> str:
    """What a run is compared as: by its verb; runs of notebooks if they are of the same one."""
    notebook = run.record.recipe.get("notebook") if isinstance(run.record.recipe, dict) else None
    return {"train": "trainings"}.get(run.verb, f"runs of {notebook or run.verb}")


def _section(name: str, runs: Sequence[Run], scope: Scope, verdicts: Verdicts, renders: Renders) -> Section:
    shown = runs[:MOST]
    names = [f"{letter} {run.id}" for letter, run in zip(ascii_uppercase, shown, strict=False)]
    judged = [verdicts.get(run.id, run if isinstance(run, ScoreRun) else None) for run in shown]
    alike = _comparable(shown, judged)
    groups = {
        "Settings that differ": _different([_settings(run, scope) for run in shown]),
        "Scores": _scores(judged, alike),
        "What came of it": _different([_figures(run, scope) for run in shown]),
    }
    blocks: list[Block] = [SideBySide(runs=names, groups=groups, caption=_caption(groups, judged, alike))]
    if len(runs) > MOST:
        blocks += [Paragraph(text=f"The first {MOST} of {len(runs)}; more columns could not be read.")]
    if name == "trainings":
        blocks += _curves(shown, names)
    elif name == "face swaps" and alike:
        blocks += _stills([run for run in shown if isinstance(run, SwapRun)], judged, names, renders)
    return Section(title=f"{len(runs)} {name} side by side", blocks=blocks)


def _caption(groups: Mapping[str, Sequence[Line]], judged: Sequence[ScoreRun | None], alike: bool) -> str:
    told = [] if groups["Settings that differ"] else ["Their settings are the same."]
    if any(judged):
        told += ["The bar is the way from the floor (the unmodified target) to the ceiling (the truth)."]
        if not alike:
            told += [
                "They are not of the same target, truth and judge: their scores don't compare, and none is marked as the best."
            ]
    return " ".join(told)


def _comparable(runs: Sequence[Run], judged: Sequence[ScoreRun | None]) -> bool:
    """Whether all are of one target, and the evaluated ones of one truth and judge."""
    targets = {without_hints(run.inputs.get("target", "")) for run in runs if not isinstance(run, ScoreRun)}
    by = {
        (without_hints(run.inputs.get("truth", "")), run.inputs.get("engine", ""), run.recipe_json, run.summary.get("embedder"))
        for run in judged
        if run is not None
    }
    return len(targets) <= 1 and len(by) <= 1


# --- the table --------------------------------------------------------------------------------------------------------------


def _settings(run: Run, scope: Scope) -> dict[str, str]:
    """Inputs and recipe of a run, and the recipe of the training that it used."""
    inputs = {name: told_input(value, hides=scope.hides) for name, value in run.inputs.items() if run.verb != "faceset"}
    found = inputs | flat_recipe(run, scope)
    for parent in scope.descent.parents.get(run, ()):
        if parent.verb == "train":
            found |= {f"training: {name}": value for name, value in flat_recipe(parent, scope).items()}
    return found


def _figures(run: Run, scope: Scope) -> dict[str, str]:
    return {"Status": run.record.status} | figures_of(run, scope)


def _different(columns: Sequence[Mapping[str, str]]) -> list[Line]:
    """A line for each name whose values are not the same in all columns that have it."""
    names = dict.fromkeys(name for column in columns for name in column)
    differing = [name for name in names if len({column[name] for column in columns if name in column}) > 1]
    return [Line(name=name, cells=[Cell(text=column.get(name) or "–") for column in columns]) for name in differing]


def _scores(judged: Sequence[ScoreRun | None], alike: bool) -> list[Line]:
    columns = [{} if run is None else {row.name: row for row in score_rows(run)} for run in judged]
    names = dict.fromkeys(name for column in columns for name in column)
    return [_score_line([column.get(name) for column in columns], alike) for name in names]


def _score_line(rows: Sequence[ScoreRow | None], alike: bool) -> Line:
    known = [row for row in rows if row is not None]
    first = known[0]
    values = [row.value for row in known if np.isfinite(row.value)]
    best = (max if first.better == "higher" else min)(values, default=None)
    ends = {_ends(row) for row in known}
    marks = alike and len(values) > 1 and len({f"{value:.{first.digits}f}" for value in values}) > 1
    cells = [_score_cell(row, marks and row is not None and row.value == best, len(ends) > 1) for row in rows]
    return Line(
        name=first.name, cells=cells, direction=f"{first.better} is better" + (f" · {ends.pop()}" if len(ends) == 1 else "")
    )


def _score_cell(row: ScoreRow | None, best: bool, own_ends: bool) -> Cell:
    if row is None or not np.isfinite(row.value):
        return Cell(text="not evaluated" if row is None else "not measured")
    text = f"{row.value:.{row.digits}f}\N{NO-BREAK SPACE}{row.unit}".strip().replace("-", "−")
    return Cell(text=text, share=row.normalised, best=best, note=_ends(row) if own_ends else "")


def _ends(row: ScoreRow) -> str:
    ends = {"floor": row.floor, "ceiling": row.ceiling}
    told = [f"{name} {value:.{row.digits}f}" for name, value in ends.items() if value is not None and np.isfinite(value)]
    return ", ".join(told)


# --- pictures -----------------------------------------------------------------------------------------------------------------


def _stills(runs: Sequence[SwapRun], judged: Sequence[ScoreRun | None], names: Sequence[str], renders: Renders) -> list[Block]:
    """The same frames of all, from the worst to the best of their mean PSNR; nothing if they show different sizes."""
    footage = [shown_of(run, verdict, renders) for run, verdict in zip(runs, judged, strict=True)]
    if any(first.swap.size != second.swap.size for first, second in pairwise(footage)):
        return []
    places, labels = _places(min(map(len, footage)), [psnr_over_frames(run) for run in judged if run is not None])
    known = next((each for each in footage if each.truth is not None), footage[0])
    columns = {} if known.anonymised else {"target": [renders.image(known.target, place) for place in places]}
    columns |= {name: [each.swap[place].image for place in places] for name, each in zip(names, footage, strict=True)}
    if known.truth is not None:
        columns["truth"] = [renders.image(known.truth, place) for place in places]
    caption = "The same frames of all" + (
        ", from worst to best by the mean of their PSNR in the face." if len(labels[0]) > 12 else "."
    )
    return [Comparison(columns=columns, labels=labels, caption=caption)]


def _places(count: int, values: Sequence[np.ndarray]) -> tuple[list[int], list[str]]:
    means = np.mean([each[:count] for each in values], axis=0) if values else np.array([])
    order = [int(place) for place in np.argsort(means) if np.isfinite(means[place])]
    if count == 1:
        return [0], [""]
    if len(order) < _NUM_STILLS:
        places = sorted({int(place) for place in np.linspace(0, count - 1, _NUM_STILLS).round()})
        return places, [f"frame {place}" for place in places]
    places = [order[0], order[len(order) // 2], order[-1]]
    return places, [f"frame {place}\nmean {means[place]:.1f} dB" for place in places]


def _curves(runs: Sequence[Run], names: Sequence[str]) -> list[Block]:
    """The losses of all in one figure: of a pair's training its picture losses' mean, else the loss."""
    curves = {name: found for name, run in zip(names, runs, strict=True) if (found := _curve(run))}
    if not curves:
        return []
    with rc_context(figures.STYLE):
        figure = figures.SelfShowing(figsize=(7.2, 3.0), dpi=120)
        FigureCanvasAgg(figure)
        axis = figure.add_axes((0.085, 0.15, 0.9, 0.8))
        for number, (name, (steps, values)) in enumerate(curves.items()):
            colour = figures.SERIES[number % len(figures.SERIES)]
            style = "-" if number < len(figures.SERIES) else "--"
            axis.plot(steps, values, label=f"{name} {values[-1]:.3g}", color=colour, linewidth=1.6, linestyle=style)
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        axis.grid(axis="y", color=figures.HAIRLINE, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.spines[["top", "right", "left"]].set_visible(False)
        axis.tick_params(which="both", length=0)
        axis.legend(frameon=False, fontsize=8)
    caption = "Losses of the same recipe compare; of different losses or sizes they don't. None says how good a swap is."
    return [Drawing(figure=figure, caption=caption, alt="Losses of all trainings over steps")]


def _curve(run: Run) -> tuple[list[int], list[float]] | None:
    found = step_losses(run)
    if not found:
        return None
    steps, losses = next(iter(found.values()))
    pictures = [values for name, values in losses.items() if name.startswith("picture_")] or [losses.get("loss", [])]
    means = [float(np.mean(values)) for values in zip(*pictures, strict=False)]
    return (steps, means) if len(means) == len(steps) and means else None
