"""What a command answers, as JSON or as lines for people."""

import json
from typing import Any

Answer = dict[str, Any] | list[dict[str, Any]]


def readable(answer: Answer) -> str:
    """Names and values in two columns, or rows as a table; what is empty is left out."""
    if isinstance(answer, list):
        return _table(answer)
    said = {name: value for name, value in answer.items() if value is not None and value not in ([], {})}
    return "\n".join(f"{name:<22} {_short(name, value)}" for name, value in said.items())


def _table(rows: list[dict[str, Any]]) -> str:
    """Rows under their names, in columns; the last is not padded."""
    if not rows:
        return "nothing"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([_short(name, row[name]) if row.get(name) is not None else "-" for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _short(name: str, value: Any) -> str:
    if name == "bytes":
        from faceswap_lab.runs.quota import size_text

        return size_text(value)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return "\n" + "\n".join(f"  {line}" for line in readable(value).splitlines())
    return json.dumps(value) if isinstance(value, dict | list) else str(value)
