"""A run's representation in notebooks: a small table, computed from its record alone."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceswap_lab.runs.record import Record

MAX_ROWS = 40
MAX_NAMES = 8
MAX_CHARS = 400


def run_html(record: Record, artifacts: list[str]) -> str:
    """Id, status, inputs, key figures and artifacts as one table of less than 100 KB; long values are shortened."""
    rows = [("status", record.status), ("created", record.created), ("code", record.code)]
    rows += [(f"input {name}", value) for name, value in list(record.inputs.items())[:MAX_NAMES]]
    if (more := len(record.inputs) - MAX_NAMES) > 0:
        rows.append(("inputs", f"and {more} more in run.json"))
    figures = {name: value for name, value in record.summary.items() if name != "scores"}
    rows += [(name, _figure(value)) for name, value in list(figures.items())[:MAX_ROWS]]
    left = f" and {more} more" if (more := len(artifacts) - MAX_NAMES) > 0 else ""
    rows.append(("artifacts", (", ".join(artifacts[:MAX_NAMES]) or "none yet") + left))
    cells = "".join(
        f"<tr><th style='text-align:left'>{_short(name)}</th><td style='text-align:left'>{_short(value)}</td></tr>"
        for name, value in rows
    )
    return f"<div><strong>{_short(record.id)}</strong>{_scores(record.summary.get('scores'))}<table>{cells}</table></div>"


def _scores(scores: object) -> str:
    """An evaluation's scores, with floor and ceiling."""
    if not isinstance(scores, dict):
        return ""
    head = "<tr><th style='text-align:left'>score</th><th>floor</th><th>value</th><th>ceiling</th></tr>"
    rows = ""
    for name, score in list(scores.items())[:MAX_ROWS]:
        if not isinstance(score, dict):
            continue
        cells = "".join(f"<td>{_figure(score.get(role))}</td>" for role in ("floor", "value", "ceiling"))
        rows += f"<tr><th style='text-align:left'>{_short(str(name))}</th>{cells}</tr>"
    return f"<table>{head}{rows}</table>"


def _figure(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_figure(inner)}" for name, inner in value.items())
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _short(text: str) -> str:
    return escape(text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…")
