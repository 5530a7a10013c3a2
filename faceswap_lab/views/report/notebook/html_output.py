"""HTML that a notebook's cell displayed, as plain blocks: its tables, its embedded pictures and its text, and nothing else."""

import base64
import binascii
import io
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import numpy as np
from PIL import Image as Pillow

from faceswap_lab.views.images import AnyImage
from faceswap_lab.views.report.blocks import Paragraph, Table

MOST_PIXELS = 40_000_000
_MOST_ROWS, _MOST_COLUMNS = 200, 24
_EMBEDDED = re.compile(r"data:image/(?:png|jpeg);base64,(.*)", re.DOTALL)
_BREAKS = frozenset({"p", "div", "br", "tr", "li", "h1", "h2", "h3", "h4", "h5", "h6", "figcaption", "caption", "summary", "pre"})
_SILENT = frozenset({"script", "style", "template", "noscript", "iframe", "object", "svg", "math", "head", "title"})


@dataclass(slots=True)
class _Grid:
    rows: list[list[str]] = field(default_factory=list)
    headed: bool = False


def blocks_in(html: str) -> tuple[list[Paragraph | Table], list[bytes]]:
    """Text and tables of some HTML in order, and the bytes of the pictures embedded in it. Anything may be given; nothing is kept
    of scripts, styles, links and pictures elsewhere."""
    reader = _Reader()
    reader.feed(html)
    reader.close()
    reader.end_text()
    return [block for block in reader.found if not isinstance(block, Paragraph) or block.text], reader.pictures


def decoded(data: bytes) -> AnyImage | None:
    """The pixels of a picture (PNG, JPEG); None for what is none, or has more than 40 million pixels."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Pillow.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
                if image.width * image.height > MOST_PIXELS:
                    return None
                over = Pillow.new("RGBA", image.size, "white")
                over.alpha_composite(image.convert("RGBA"))
                return np.asarray(over.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Warning, Pillow.DecompressionBombError):
        return None


def from_base64(text: str) -> bytes:
    """The bytes of base64 text; none for what is no base64."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        return b""


class _Reader(HTMLParser):
    """Collects what is shown. A table within a table becomes text of the outer one's cell."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Paragraph | Table] = []
        self.pictures: list[bytes] = []
        self._text: list[str] = []
        self._grid: _Grid | None = None
        self._depth = 0
        self._silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in _SILENT:
            self._silent.append(tag)
        elif self._silent:
            return
        elif tag == "img":
            found = _EMBEDDED.match(dict(attrs).get("src") or "")
            self.pictures += [from_base64(found[1])] if found else []
        elif tag == "table":
            self._depth += 1
            if self._depth == 1:
                self.end_text()
                self._grid = _Grid()
        elif self._grid is not None and self._depth == 1:
            self._start_cell(tag)
        elif tag in _BREAKS:
            self._text.append("\n")

    def _start_cell(self, tag: str) -> None:
        assert self._grid is not None
        if tag == "tr":
            self._grid.rows.append([])
        elif tag in ("td", "th"):
            if not self._grid.rows:
                self._grid.rows.append([])
            self._grid.headed |= tag == "th" and len(self._grid.rows) == 1 and bool(self._grid.rows[0])
            self._grid.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in self._silent:
            del self._silent[self._silent.index(tag) :]
        elif tag == "table" and self._depth:
            self._depth -= 1
            if not self._depth:
                self.end_table()
        elif tag in _BREAKS and self._grid is None:
            self._text.append("\n")

    def handle_data(self, data: str) -> None:
        if self._silent:
            return
        if self._grid is None:
            self._text.append(data)
        elif self._grid.rows and self._grid.rows[-1]:
            self._grid.rows[-1][-1] = f"{self._grid.rows[-1][-1]} {data}".strip()

    def end_text(self) -> None:
        """The text so far is a paragraph; so is what an open table holds when the text ends."""
        if self._grid is not None:
            self.end_table()
        lines = (" ".join(line.split()) for line in "".join(self._text).split("\n"))
        self.found.append(Paragraph(text="\n\n".join(filter(None, lines))))
        self._text.clear()

    def end_table(self) -> None:
        """The rows so far are a table."""
        grid, self._grid, self._depth = self._grid or _Grid(), None, 0
        self.found += _table(grid)


def _table(grid: _Grid) -> Iterator[Table]:
    rows = [[" ".join(cell.split()) for cell in row[:_MOST_COLUMNS]] for row in grid.rows if any(cell.strip() for cell in row)]
    if not rows:
        return
    width = max(map(len, rows))
    padded = [row + [""] * (width - len(row)) for row in rows]
    head, body = (padded[0], padded[1:]) if grid.headed else ([""] * width, padded)
    left_out = f"{len(body) - _MOST_ROWS} more rows are left out." if len(body) > _MOST_ROWS else ""
    yield Table(header=head, rows=body[:_MOST_ROWS], caption=left_out)
