"""The contents of a report page: sections of typed blocks, plain data that `views.report.page` renders."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure

from faceswap_lab.views.images import AnyImage

LARGEST_CLIP = 24_000_000
"""Maximum size of an embedded clip, in bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreRow:
    """One measure with its floor (the unmodified target) and its ceiling (the truth itself, under the same measure).

    `note` explains the measure and its blind spots. `low` and `high` bound `value` if an interval is known.
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
        """(value - floor) / (ceiling - floor): 0 is the unmodified target, 1 the truth. None if either end is unknown or infinite.

        Also None if the unmodified target scores better than the truth: the ratio would be meaningless.
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
    """Plain text; blank lines separate paragraphs."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """An RGB picture with its caption; `alt` is the text for screen readers."""

    image: AnyImage
    caption: str
    alt: str = ""
    width: int | None = None
    sharp: bool = False
    """Whether it is drawn rather than filmed: lines and letters are kept sharp (PNG)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """Small pictures in a grid, each with its label."""

    images: Sequence[AnyImage]
    labels: Sequence[str]
    caption: str

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(f"a sheet needs one label per picture, got {len(self.labels)} for {len(self.images)}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Comparison:
    """One row per frame, one column per name, and a heat map of the difference of the two in `difference_of` (0..64 levels)."""

    columns: Mapping[str, Sequence[AnyImage]]
    labels: Sequence[str]
    caption: str
    difference_of: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Drawing:
    """A figure from `views.figures`, as vector graphics that adapt to light and dark mode."""

    figure: Figure
    caption: str
    alt: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Video:
    """A small MP4 (H.264), fully embedded; ValueError above 24 MB, which mail programs and browsers handle badly."""

    data: bytes
    caption: str
    poster: AnyImage | None = None

    def __post_init__(self) -> None:
        if len(self.data) > LARGEST_CLIP:
            raise ValueError(f"a clip of {len(self.data):,} bytes is too large to embed; the maximum is {LARGEST_CLIP:,}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """The table of measures."""

    rows: Sequence[ScoreRow]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run's value in a `SideBySide`: as text, perhaps with the share of the way from floor to ceiling, and a note."""

    text: str
    share: float | None = None
    best: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One row of a `SideBySide`: a parameter or a measure, with a value for each run."""

    name: str
    cells: Sequence[Cell]
    direction: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SideBySide:
    """Runs as columns; `groups` are titled rows. ValueError unless each row has a cell for each run."""

    runs: Sequence[str]
    groups: Mapping[str, Sequence[Line]]
    caption: str = ""

    def __post_init__(self) -> None:
        if any(len(line.cells) != len(self.runs) for lines in self.groups.values() for line in lines):
            raise ValueError(f"each row needs a cell for each of the {len(self.runs)} runs")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Something that a result stands on: a run, a person, a file, the code; `parents` are what it stands on itself."""

    title: str
    role: str = ""
    detail: str = ""
    parents: Sequence["Node"] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tree:
    """Results with what they stand on, back to the roots."""

    roots: Sequence[Node]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A sentence that must not be overlooked: a failure, or what the page withholds; `facts` are its particulars."""

    text: str
    kind: Literal["failed", "stopped", "withheld"]
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """A heading within a section."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Printed:
    """Preformatted text of a notebook or a log: a cell's code, what it printed, or the error that ended it."""

    text: str
    kind: Literal["code", "output", "error"] = "output"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and values: environment, hashes, recipe. Long values such as hashes wrap; `mono` uses a monospaced font."""

    rows: Mapping[str, str]
    mono: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A plain table; numeric columns are right-aligned."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Terminal commands, or any other preformatted text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyNumber:
    """A key figure for the top of the page: `KeyNumber(label="PSNR in the face", value="27.4 dB", detail="floor 15.0")`."""

    label: str
    value: str
    detail: str = ""


Plain = (
    Paragraph
    | Heading
    | Notice
    | Picture
    | Sheet
    | Comparison
    | Drawing
    | Video
    | Scores
    | SideBySide
    | Tree
    | Facts
    | Table
    | Command
    | Printed
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """Blocks under a title, collapsed at first and open in print."""

    title: str
    blocks: Sequence[Plain]


Block = Plain | Folded


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A heading with its blocks; `folded` sections are collapsed initially, and open in print."""

    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    folded: bool = False
