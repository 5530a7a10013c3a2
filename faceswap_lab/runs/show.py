"""How a run shows itself in a notebook: a small table, computed from its record alone."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from faceswap_lab.runs.run import Record

MAX_ROWS = 40
MAX_CHARS = 400


def run_html(record: Record, artifacts: list[str]) -> str:
    """Id, status, inputs, key figures and artifacts as one table; long values are shortened, so it stays under 100 KB."""
    rows = [("status", record.status), ("created", record.created), ("code", record.code)]
    rows += [(f"input {name}", value) for name, value in list(record.inputs.items())[:MAX_ROWS]]
    rows += [(name, _figure(value)) for name, value in list(record.summary.items())[:MAX_ROWS]]
    rows.append(("artifacts", ", ".join(artifacts[:MAX_ROWS]) or "none yet"))
    cells = "".join(
        f"<tr><th style='text-align:left'>{_short(name)}</th><td style='text-align:left'>{_short(value)}</td></tr>"
        for name, value in rows
    )
    return f"<div><strong>{_short(record.id)}</strong><table>{cells}</table></div>"


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    return escape(text if len(text) <= MAX_CHARS else text[: MAX_CHARS - 1] + "…")
