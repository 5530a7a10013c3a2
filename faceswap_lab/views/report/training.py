"""The section of a training in a report: curves, figures, and the recipe where it differs from the defaults."""

from collections.abc import Mapping, Sequence
from typing import Any

from faceswap_lab.runs.run import Run
from faceswap_lab.views import figures, training_figure
from faceswap_lab.views.report.blocks import Block, Drawing, Facts, Paragraph, Section
from faceswap_lab.views.report.record import recipe_block
from faceswap_lab.views.report.scope import Scope

CAPTION = "A loss shows how training went, not how good a swap is."
_UNSHOWN = frozenset({"scores"})


def section_of(run: Run, scope: Scope) -> Section:
    """A training, finished or not, of a pair or of the networks of a pack."""
    blocks: list[Block] = list(_curves(run))
    if not blocks:
        blocks += [Paragraph(text="No step has been reported.")]
    if run.events("rank_died"):
        alt = "Steps and loss over the seconds of a training whose ranks died"
        caption = "Step and loss by the clock, a line for each attempt; a dashed line is the death of a rank."
        blocks += [Drawing(figure=training_figure.over_time(run), caption=caption, alt=alt)]
    if facts := figures_of(run, scope):
        blocks += [Facts(rows=facts)]
    return Section(title="Training", blocks=[*blocks, recipe_block(run, scope)])


def figures_of(run: Run, scope: Scope) -> dict[str, str]:
    """The key figures of a run as text: numbers, words, and what is short."""
    told = scope.share(run).of(run.summary, "summary")
    return {_title(name): text for name, value in told.items() if name not in _UNSHOWN and (text := _short(value))}


def step_losses(run: Run) -> dict[str, tuple[list[int], dict[str, list[float]]]]:
    """For each network of a training ("" if there is only one) its steps, and its losses over them."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in run.events("step"):
        found.setdefault(str(event.get("network", "")), []).append(event)
    return {network: _losses(events) for network, events in found.items()}


def _losses(events: Sequence[Mapping[str, Any]]) -> tuple[list[int], dict[str, list[float]]]:
    # A resumed training repeats steps: the last event of each counts.
    last = {int(event["step"]): event["losses"] for event in events}
    names = dict.fromkeys(name for losses in last.values() for name in losses)
    return list(last), {name: [float(losses.get(name, float("nan"))) for losses in last.values()] for name in names}


def _curves(run: Run) -> list[Block]:
    blocks: list[Block] = []
    for network, (steps, losses) in step_losses(run).items():
        people = {f"decoder {number + 1}": losses[name] for number in (0, 1) if (name := f"picture_{number}") in losses}
        few = people or {name: losses[name] for name in list(losses)[:5]}
        if not few:
            continue
        label = "picture loss" if people else "loss"
        figure = figures.lines(steps, few, ylabel=f"{network} {label}".strip())
        blocks += [Drawing(figure=figure, caption=CAPTION, alt=f"{network} training loss over steps".strip().capitalize())]
    return blocks


def _title(name: str) -> str:
    return name.removeprefix("num_").replace("_", " ").capitalize()


def _short(value: Any) -> str:
    """A value of a summary as text; empty for what is too long to be a figure."""
    if isinstance(value, dict):
        parts = [f"{name} {text}" for name, inner in value.items() if (text := _short(inner))]
        return ", ".join(parts) if 0 < len(parts) <= 12 else ""
    if isinstance(value, list | tuple):
        plain = all(isinstance(inner, str | int | float) for inner in value)
        return ", ".join(map(_short, value)) if plain and 0 < len(value) <= 12 else ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)[:300]
