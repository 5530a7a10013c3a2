"""What a report page is made of: sections of typed blocks, plain data that `views.report` lays out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from matplotlib.figure import Figure

from faceswap_lab.views.images import AnyImage

_LARGEST_CLIP = 24_000_000


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
