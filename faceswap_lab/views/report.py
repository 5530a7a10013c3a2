"""One self-contained HTML page from plain data: pictures, clip, scores beside floor and ceiling, curves, hashes.

The page has no script and asks nothing of the network (its content policy forbids both), so it can be mailed, archived and printed.
Whoever calls this has taken the pictures through the gate already: this module only lays out what it is given.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Literal

from matplotlib.figure import Figure

from faceswap_lab.views import figures, images
from faceswap_lab.views.images import AnyImage

_CSS = Path(__file__).parent / "static" / "report.css"
_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_PICTURE_BUDGET = 160_000
_LARGEST_CLIP = 24_000_000
NOTICE = (
    "Synthetic media. The faces in the pictures and clips on this page were generated or replaced by software. "
    "They show nothing that happened."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One measure beside its floor (the target as it is) and its ceiling (the truth itself, under the same measure).

    `note` says in plain words what the measure is and what it can't see. `low` and `high` bound `value` where an interval is known.
    """

    name: str
    value: float
    floor: float | None = None
    ceiling: float | None = None
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    note: str = ""
    digits: int = 2
    low: float | None = None
    high: float | None = None

    @property
    def normalised(self) -> float | None:
        """(value - floor) / (ceiling - floor): 0 is the untouched target, 1 the truth. None if an end is unknown or infinite.

        None, too, where the untouched target scores better than the truth: between such ends there is no way to go.
        """
        if self.floor is None or self.ceiling is None:
            return None
        span = self.ceiling - self.floor
        if (span if self.better == "higher" else -span) < 0:
            return None
        share = (self.value - self.floor) / span if span else math.nan
        return share if math.isfinite(share) and math.isfinite(span) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Paragraph:
    """Plain text; blank lines part paragraphs."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """An RGB picture with its caption; `alt` is what a screen reader says."""

    image: AnyImage
    caption: str
    alt: str = ""
    width: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """One row per frame, one column per name, and a heat map of where the two of `difference_of` differ (0..64 levels)."""

    columns: Mapping[str, Sequence[AnyImage]]
    labels: Sequence[str]
    caption: str
    difference_of: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """A figure of `views.figures`, drawn as vectors that follow light and dark."""

    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Video:
    """A small MP4 (H.264), embedded whole; ValueError above 24 MB, which no mail or browser takes kindly."""

    data: bytes
    caption: str
    poster: AnyImage | None = None

    def __post_init__(self) -> None:
        if len(self.data) > _LARGEST_CLIP:
            raise ValueError(f"a clip of {len(self.data):,} bytes is too large to embed; the most is {_LARGEST_CLIP:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The table of measures."""

    rows: Sequence[ScoreRow]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and values: environment, hashes, recipe. Long values such as hashes wrap; `mono` sets them in a fixed-width face."""

    rows: Mapping[str, str]
    mono: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A plain table; columns of numbers are set right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Lines to type in a terminal, or any other text to be shown as it is."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNumber:
    """A figure for the head of the page: `KeyNumber(label="PSNR in the face", value="27.4 dB", detail="floor 15.0")`."""

    label: str
    value: str
    detail: str = ""


Block = Paragraph | Picture | Comparison | Drawing | Video | Scores | Facts | Table | Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading and what stands under it; `folded` ones are closed until asked for, and open in print."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    folded: bool = False


def render_report(
    *,
    title: str,
    intro: str,
    sections: Sequence[Section],
    key_numbers: Sequence[KeyNumber] = (),
    notice: str = NOTICE,
    machine_notice: Mapping[str, object] | None = None,
) -> str:
    """The page as text. It reaches the disk through `trust.export.export_file` only, which asks the gate, marks and logs.

    `notice` stands visibly at the top and the foot; the same and `machine_notice` (actors, run, version, ...) are JSON in
    `<meta name="synthetic-media">`. Raises ValueError for an empty notice: no page leaves unmarked.
    """
    if not notice.strip():
        raise ValueError("a report carries a notice that its media are synthetic")
    machine = {"synthetic": True, "notice": notice, "generator": "faceswap_lab", **(machine_notice or {})}
    anchors = _anchors([section.title for section in sections])
    contents = "".join(
        f'<a href="#{anchor}">{escape(section.title)}</a>' for anchor, section in zip(anchors, sections, strict=True)
    )
    body = "\n".join(_section(section, anchor) for section, anchor in zip(sections, anchors, strict=True))
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="synthetic-media" content="{escape(json.dumps(machine, ensure_ascii=False, sort_keys=True))}">
<title>{escape(title)}</title>
<style>
{_CSS.read_text(encoding="utf-8")}</style>
</head>
<body>
<header>
<p class="eyebrow">faceswap_lab · report</p>
<h1>{escape(title)}</h1>
<div class="intro">{_paragraphs(intro)}</div>
<aside class="notice" role="note"><span aria-hidden="true">◐</span><p>{escape(notice)}</p></aside>
{_key_numbers(key_numbers)}
<nav aria-label="Contents">{contents}</nav>
</header>
<main>
{body}
</main>
<footer><p>{escape(notice)}</p></footer>
</body>
</html>
"""


def _section(section: Section, anchor: str) -> str:
    inside = "\n".join(_block(block) for block in section.blocks)
    if section.folded:
        return (
            f'<section id="{anchor}"><details><summary><h2>{escape(section.title)}</h2></summary>\n{inside}\n</details></section>'
        )
    return f'<section id="{anchor}"><h2>{escape(section.title)}</h2>\n{inside}\n</section>'


def _block(block: Block) -> str:
    match block:
        case Paragraph(text=text):
            return _paragraphs(text)
        case Picture():
            width = f' style="max-width:{block.width}px"' if block.width else ""
            shown = f'<img src="{_uri(block.image, side=1400)}" alt="{escape(block.alt or block.caption)}"{width}>'
            return _figure(shown, block.caption)
        case Comparison():
            return _comparison(block)
        case Drawing():
            drawn = f'<div class="drawing" role="img" aria-label="{escape(block.alt)}">{figures.svg(block.figure)}</div>'
            return _figure(drawn, block.caption)
        case Video():
            poster = f' poster="{_uri(block.poster, side=960)}"' if block.poster is not None else ""
            source = images.data_uri(block.data, "video/mp4")
            return _figure(
                f'<video controls loop muted playsinline preload="metadata"{poster} src="{source}"></video>', block.caption
            )
        case Scores():
            return _scores(block)
        case Facts():
            rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in block.rows.items())
            return f'<dl class="facts{" mono" if block.mono else ""}">{rows}</dl>'
        case Table():
            return _table(block)
        case Command(text=text):
            return f"<pre><code>{escape(text)}</code></pre>"


def _scores(block: Scores) -> str:
    rows = "\n".join(_score(row) for row in block.rows)
    caption = f"<caption>{escape(block.caption)}</caption>" if block.caption else ""
    return f"""<div class="wide"><table class="scores">{caption}
<thead><tr><th scope="col">measure</th><th scope="col" class="number">floor</th><th scope="col" class="number">this swap</th>
<th scope="col" class="number">ceiling</th><th scope="col">from floor to ceiling</th></tr></thead>
<tbody>
{rows}
</tbody></table></div>
<p class="small">Floor: the target as it is, no swap at all. Ceiling: the true answer under the same measure, or its
best possible value. The bar shows how much of the way from floor to ceiling this swap went; it compares swaps of one
benchmark, not of two.</p>"""


def _score(row: ScoreRow) -> str:
    note = f'<span class="note">{escape(row.note)}</span>' if row.note else ""
    arrow = "higher is better" if row.better == "higher" else "lower is better"
    interval = ""
    if row.low is not None and row.high is not None:
        interval = f'<span class="note">{row.low:.{row.digits}f} to {row.high:.{row.digits}f}</span>'
    value = f"<b>{_number(row.value, row)}</b>{interval}"
    return (
        f'<tr><th scope="row">{escape(row.name)}<span class="direction">{arrow}</span>{note}</th>'
        f'<td class="number">{_number(row.floor, row)}</td><td class="number">{value}</td>'
        f'<td class="number">{_number(row.ceiling, row)}</td><td class="way">{_bar(row)}</td></tr>'
    )


def _bar(row: ScoreRow) -> str:
    share = row.normalised
    if share is None:
        return '<span class="note">no share: an end is unknown, without bound, or the floor is above the ceiling</span>'
    percent = f"{100 * share:.0f} %"
    filled = min(max(share, 0.0), 1.0) * 100
    state = " below" if share < 0 else " beyond" if share > 1 else ""
    return (
        f'<span class="bar{state}" role="img" aria-label="{percent} of the way from floor to ceiling">'
        f'<span style="width:{filled:.1f}%"></span></span><span class="percent">{percent}</span>'
    )


def _number(value: float | None, row: ScoreRow) -> str:
    if value is None:
        return '<span class="note">–</span>'
    if math.isnan(value):
        return '<span class="note">not measured</span>'
    text = ("∞" if value > 0 else "−∞") if math.isinf(value) else f"{value:.{row.digits}f}".replace("-", "−")
    return f"{text}&nbsp;{escape(row.unit)}" if row.unit else text


def _comparison(block: Comparison) -> str:
    names = list(block.columns)
    if {len(pictures) for pictures in block.columns.values()} != {len(block.labels)}:
        raise ValueError("a comparison needs one label a row and as many pictures in each column")
    heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in names)
    heads += '<th scope="col">difference</th>' if block.difference_of else ""
    lines = []
    for row, label in enumerate(block.labels):
        cells = [(f"{name}, {label}", block.columns[name][row]) for name in names]
        if block.difference_of:
            first, second = (block.columns[name][row] for name in block.difference_of)
            what = f"difference between {block.difference_of[0]} and {block.difference_of[1]}, {label}"
            cells.append((what, figures.heat(figures.difference(first, second))))
        shown = "".join(f'<td><img src="{_uri(image, side=512)}" alt="{escape(alt)}"></td>' for alt, image in cells)
        lines.append(f'<tr><th scope="row">{escape(label)}</th>{shown}</tr>')
    key = ""
    if block.difference_of:
        names_of = " − ".join(escape(name) for name in block.difference_of)
        key = f'<span class="key">|{names_of}|&ensp;0<span class="scale"></span>64 levels of 255 or more</span>'
    table = f'<table class="comparison"><thead><tr><td></td>{heads}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    return f'<figure class="wide">{table}<figcaption>{escape(block.caption)} {key}</figcaption></figure>'


def _table(block: Table) -> str:
    if any(len(row) != len(block.header) for row in block.rows):
        raise ValueError(f"each row needs {len(block.header)} cells, one for each of {', '.join(block.header)}")
    numeric = re.compile(r"^(–|[−-]?[\d.,]+(\s?\S{1,6})?)$")
    marks = [" class=number" if all(numeric.match(cell) for cell in column) else "" for column in zip(*block.rows, strict=True)]
    marks = marks or [""] * len(block.header)
    heads = "".join(f'<th scope="col"{mark}>{escape(name)}</th>' for mark, name in zip(marks, block.header, strict=True))
    rows = "".join(
        "<tr>" + "".join(f"<td{mark}>{escape(cell)}</td>" for mark, cell in zip(marks, row, strict=True)) + "</tr>"
        for row in block.rows
    )
    caption = f"<caption>{escape(block.caption)}</caption>" if block.caption else ""
    head = f"<thead><tr>{heads}</tr></thead>"
    return f'<div class="wide"><table class="plain">{caption}{head}<tbody>{rows}</tbody></table></div>'


def _key_numbers(numbers: Sequence[KeyNumber]) -> str:
    if not numbers:
        return ""
    cells = "".join(
        f"<div><dt>{escape(one.label)}</dt><dd>{escape(one.value)}<span>{escape(one.detail)}</span></dd></div>" for one in numbers
    )
    return f'<dl class="key-numbers">{cells}</dl>'


def _figure(inside: str, caption: str) -> str:
    return f"<figure>{inside}<figcaption>{escape(caption)}</figcaption></figure>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part.strip())}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def _uri(image: AnyImage, *, side: int) -> str:
    return images.image_uri(image, "jpeg", budget=_PICTURE_BUDGET, side=side)


def _anchors(titles: Sequence[str]) -> list[str]:
    """Ids made of letters and digits only, and different even where titles agree."""
    plain = [re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "part" for title in titles]
    return [f"{name}-{number}" if plain.count(name) > 1 else name for number, name in enumerate(plain)]
