"""One self-contained HTML page from plain data: pictures, clip, scores with floor and ceiling, curves, hashes.

The page has no scripts and makes no network requests (its content policy forbids both), so it can be mailed, archived and printed.
Callers must have passed the pictures through the gate: this module only renders its input, with the templates `report.html` and
`blocks.html`. Jinja escapes all text; only drawings and the style sheet are inserted unescaped.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from jinja2 import Environment

from faceswap_lab.files import encodable
from faceswap_lab.views import figures, images
from faceswap_lab.views.html import templates_in
from faceswap_lab.views.images import AnyImage
from faceswap_lab.views.report.blocks import Block, Comparison, KeyNumber, Section, Table

_VIEWS = Path(__file__).parent.parent
_PICTURE_BUDGET, _DRAWING_BUDGET = 160_000, 400_000
_NUMERIC = re.compile(r"^(–|[−-]?[\d.,]+(\s?\S{1,6})?)$")
NOTICE = (
    "Synthetic media. The faces in the pictures and clips on this page were generated or replaced by software. "
    "They show nothing that happened."
)


def render_report(
    *,
    title: str,
    intro: str,
    sections: Sequence[Section],
    key_numbers: Sequence[KeyNumber] = (),
    notice: str = NOTICE,
    machine_notice: Mapping[str, object] | None = None,
) -> str:
    """The page as text. It is written to disk only by `trust.export.export_file`, which consults the gate, marks and logs.

    `notice` is displayed at the top and the bottom; it and `machine_notice` (actors, run, version, ...) are also JSON in
    `<meta name="synthetic-media">`. Raises ValueError for an empty notice: no page is exported unmarked.
    """
    if not notice.strip():
        raise ValueError("a report needs a notice that its media are synthetic")
    machine = {"synthetic": True, "notice": notice, "generator": "faceswap_lab", **(machine_notice or {})}
    anchors = _anchors([section.title for section in sections])
    return (
        _templates()
        .get_template("report.html")
        .render(
            style=(_VIEWS / "static" / "report.css").read_text(encoding="utf-8"),
            title=title,
            intro=intro,
            notice=notice,
            machine_notice=encodable(json.dumps(machine, ensure_ascii=False, sort_keys=True)),
            key_numbers=key_numbers,
            sections=list(zip(anchors, sections, strict=True)),
        )
    )


@cache
def _templates() -> Environment:
    made = templates_in(_VIEWS / "templates")
    made.filters |= {
        "macro_name": _macro_name,
        "split_paragraphs": _split_paragraphs,
        "jpeg_uri": _jpeg_uri,
        "png_uri": _png_uri,
        "mp4_uri": _mp4_uri,
        "svg": figures.svg,
        "number": _number,
        "comparison_rows": _comparison_rows,
        "numeric_columns": _numeric_columns,
    }
    return made


def _macro_name(block: Block) -> str:
    return type(block).__name__


def _split_paragraphs(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]


def _jpeg_uri(image: AnyImage, side: int) -> str:
    return images.image_uri(image, "jpeg", budget=_PICTURE_BUDGET, side=side)


def _png_uri(image: AnyImage, side: int) -> str:
    return images.image_uri(image, "png", budget=_DRAWING_BUDGET, side=side)


def _mp4_uri(data: bytes) -> str:
    return images.data_uri(data, "video/mp4")


def _number(value: float, digits: int) -> str:
    return ("∞" if value > 0 else "−∞") if math.isinf(value) else f"{value:.{digits}f}".replace("-", "−")


def _comparison_rows(block: Comparison) -> Iterator[tuple[str, list[tuple[str, AnyImage]]]]:
    """For each row its label, and its pictures with their text for screen readers."""
    if {len(pictures) for pictures in block.columns.values()} != {len(block.labels)}:
        raise ValueError("a comparison needs one label per row and as many pictures in each column")
    for row, label in enumerate(block.labels):
        cells = [(f"{name}, {label}", pictures[row]) for name, pictures in block.columns.items()]
        if block.difference_of:
            first, second = (block.columns[name][row] for name in block.difference_of)
            what = f"difference between {block.difference_of[0]} and {block.difference_of[1]}, {label}"
            cells.append((what, figures.heat(figures.difference(first, second))))
        yield label, cells


def _numeric_columns(block: Table) -> list[bool]:
    """Which columns are entirely numeric; none in a table without rows."""
    if any(len(row) != len(block.header) for row in block.rows):
        raise ValueError(f"each row needs {len(block.header)} cells, one for each of {', '.join(block.header)}")
    if not block.rows:
        return [False] * len(block.header)
    return [all(_NUMERIC.match(cell) for cell in column) for column in zip(*block.rows, strict=True)]


def _anchors(titles: Sequence[str]) -> list[str]:
    """Ids of letters and digits only, unique even for equal titles."""
    plain = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part" for title in titles]
    return [f"{name}-{number}" if plain.count(name) > 1 else name for number, name in enumerate(plain)]
