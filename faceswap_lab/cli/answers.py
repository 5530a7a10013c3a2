"""Output of a command: JSON for programs, tables for people; coloured on a terminal, plain text elsewhere."""

import json
import sys
from collections.abc import Callable
from typing import Any

Answer = dict[str, Any] | list[dict[str, Any]]


def write(answer: Answer, *, as_json: bool, readable: Callable[[Any], str] | None = None) -> None:
    """Write an answer to standard output and flush it. `readable` is a command's own formatter, in place of the default table."""
    if as_json:
        print(json.dumps(answer), flush=True)
    elif readable is not None:
        print(readable(answer), flush=True)
    elif sys.stdout.isatty():
        _write_coloured(answer)
    else:
        print(plain(answer), flush=True)


def plain(answer: Answer) -> str:
    """Names and values in two columns, or rows as a table; empty values are omitted."""
    if isinstance(answer, list):
        return _table(answer)
    return "\n".join(f"{name:<22} {_short(name, value)}" for name, value in _said(answer).items())


def _said(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if value is not None and value not in ([], {})}


def _table(rows: list[dict[str, Any]]) -> str:
    """Rows in columns with a header; the last column is not padded."""
    if not rows:
        return "nothing"
    lines = [_names(rows), *_cells(rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _names(rows: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _cells(rows: list[dict[str, Any]]) -> list[list[str]]:
    names = _names(rows)
    return [[_short(name, row[name]) if row.get(name) is not None else "-" for name in names] for row in rows]


def _short(name: str, value: Any) -> str:
    if name == "bytes":
        from faceswap_lab.runs.quota import size_text

        return size_text(value)
    if _is_rows(value):
        return "\n" + "\n".join(f"  {line}" for line in plain(value).splitlines())
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(row, dict) for row in value)


# --- on a terminal ---------------------------------------------------------------------------------------------------------


def _write_coloured(answer: Answer) -> None:
    """The same content through rich; cells are text, never markup."""
    from rich.console import Console

    console = Console(highlight=False)
    if isinstance(answer, list):
        console.print(_rich_table(answer) if answer else "nothing")
        return
    said = _said(answer)
    console.print(_rich_pairs({name: value for name, value in said.items() if not _is_rows(value)}))
    for name, value in said.items():
        if _is_rows(value):
            console.print(_rich_table(value, title=name))


def _rich_pairs(said: dict[str, Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in said.items():
        table.add_row(Text(name), Text(_short(name, value)))
    return table


def _rich_table(rows: list[dict[str, Any]], title: str | None = None) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, title=title, title_justify="left", header_style="bold cyan", pad_edge=False)
    for number, name in enumerate(_names(rows)):
        # Long paths wrap instead of being truncated; the first column is a name or an id to copy, and never wraps.
        table.add_column(Text(name), overflow="fold", no_wrap=number == 0)
    for cells in _cells(rows):
        table.add_row(*map(Text, cells))
    return table
