"""A table for notebooks: HTML in a browser, aligned text wherever only text is shown, as in a report of the executed notebook."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class PrintedTable:
    """Rows of texts below a header; every row has as many cells as that. ValueError otherwise."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]

    def __post_init__(self) -> None:
        if any(len(row) != len(self.header) for row in self.rows):
            raise ValueError(f"each row needs {len(self.header)} cells, got {sorted({len(row) for row in self.rows})}")

    def __repr__(self) -> str:
        widths = [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]
        lines = (self.header, ["-" * width for width in widths], *self.rows)
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def _repr_html_(self) -> str:
        body = "".join(_row("td", row) for row in self.rows)
        return f"<table><thead>{_row('th', self.header)}</thead><tbody>{body}</tbody></table>"


def _row(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f'<{tag} style="text-align:left">{escape(cell)}</{tag}>' for cell in cells) + "</tr>"
