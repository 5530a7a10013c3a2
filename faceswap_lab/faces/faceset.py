"""Facesets: aligned face crops listed in a manifest, each row with its source file, split, licence and consent entry."""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal, overload

import numpy as np
from pydantic import ConfigDict

from faceswap_lab.errors import FaceError, RunError
from faceswap_lab.faces.footage import Grant, digest
from faceswap_lab.faces.frame import Frame, Image, read_still
from faceswap_lab.names import folded

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
_SHEET_BYTES = 60_000
_IDENTITIES_SHOWN = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One face. `number` is its index in the full set; `source` the SHA-256 of the file it was detected in, at frame `frame`.

    `box` is x1 y1 x2 y2 and `keypoints` five (x, y), in frame pixels; `frame_to_crop` two rows of three; `side` the side of the
    template "face" in frame pixels; `sharpness` and `yaw_deg` as in `faces.quality`. `crop` is the artifact with its image,
    `sha256` that file's digest. `entry` names the source's manifest row, `uri` and `licence` are that row's.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    number: int
    person: str
    subject: str
    source: str
    uri: str
    licence: str
    entry: str
    frame: int
    time_s: float
    box: tuple[float, ...]
    keypoints: tuple[tuple[float, ...], ...]
    frame_to_crop: tuple[tuple[float, ...], ...]
    side: float
    sharpness: float
    yaw_deg: float
    split: Split
    crop: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Faceset:
    """Faces of one or more identities; also Footage, whose frames are the crops in the order of the rows.

    Immutable: `faceset["train"]`, `of(person)`, `where(test)` and `without(crops)` return new ones. `folder` contains the crops,
    each checked against its digest when read. `names` are manually assigned names. `run` is the run that made the set.
    """

    name: str
    run: str
    folder: Path
    template: str
    crop_size: int
    rows: tuple[Row, ...]
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    sheet: Path | None = None

    # --- contents -------------------------------------------------------------------------------------------------------

    @property
    def digest(self) -> str:
        """SHA-256 over the crops' digests, identities, splits and sources, in order: equal digests mean equal sets."""
        lines = [[row.sha256, row.person, row.split, row.source] for row in self.rows]
        return hashlib.sha256(json.dumps(lines, separators=(",", ":")).encode()).hexdigest()

    @property
    def identities(self) -> dict[str, int]:
        """Maps label (`"person-2"`, or the subject if there is only one person) to number of faces, in descending order."""
        return dict(Counter(row.person for row in self.rows).most_common())

    @property
    def splits(self) -> dict[str, int]:
        """Maps split to number of faces."""
        counts = Counter(row.split for row in self.rows)
        return {split: counts[split] for split in SPLITS}

    @property
    def sources(self) -> tuple[str, ...]:
        """SHA-256 of the source files, unique and sorted."""
        return tuple(sorted({row.source for row in self.rows}))

    def title(self, person: str) -> str:
        """A person's manually assigned name, else the label."""
        return self.names.get(person, person)

    # --- subsets --------------------------------------------------------------------------------------------------------

    def of(self, person: str) -> "Faceset":
        """The faces of one person, by label, assigned name, or the manifest's subject. FaceError if there are none."""
        wanted = folded(person)
        found = self.where(lambda row: wanted in {folded(row.person), folded(self.title(row.person))})
        if not len(found):
            found = self.where(lambda row: folded(row.subject) == wanted)
        if not len(found):
            known = ", ".join(map(self.title, self.identities)) or "nobody"
            raise FaceError(expected=f"a person in the faceset {self.name!r}", got=repr(person), remedy=f"choose from: {known}")
        return found

    def where(self, test: Callable[[Row], bool]) -> "Faceset":
        """The faces for which `test` is true; may be empty."""
        return replace(self, rows=tuple(row for row in self.rows if test(row)))

    def without(self, crops: Collection[str]) -> "Faceset":
        """All faces except those with these artifact names."""
        return self.where(lambda row: row.crop not in crops)

    # --- as footage -----------------------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """`"faceset:"` followed by the digest."""
        return f"faceset:{self.digest}"

    @property
    def subject(self) -> str:
        """The depicted subject; for several identities, all of them: `grant` refuses such a set."""
        return ", ".join(map(self.title, self.identities)) or "nobody"

    @property
    def fps(self) -> float:
        """0: the crops are stills."""
        return 0.0

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every crop."""
        return self.crop_size, self.crop_size

    @property
    def grant(self) -> Grant:
        """The grant that the gate checks: derived from all source files. FaceError unless the set shows exactly one person."""
        if len(self.identities) != 1:
            known = ", ".join(
                f"{self.title(person)} ({count})" for person, count in list(self.identities.items())[:_IDENTITIES_SHOWN]
            )
            first = next(iter(self.identities), "…")
            raise FaceError(
                expected="a faceset of one person",
                got=f"{len(self.identities)} identities in {self.name!r}: {known}" if known else f"no face in {self.name!r}",
                remedy=f"pick one of them: faceset.of({self.title(first)!r})" if known else "add material, or filter less",
            )
        return Grant(
            path=self.folder,
            sha256=self.digest,
            subject=self.subject,
            basis="derived",
            basis_text=f"made by run {self.run}",
            entry=f"runs/{self.run}",
            parents=tuple(f"sha256:{source}" for source in self.sources),
        )

    def __len__(self) -> int:
        return len(self.rows)

    @overload
    def __getitem__(self, which: int) -> Frame: ...
    @overload
    def __getitem__(self, which: str) -> "Faceset": ...
    def __getitem__(self, which: int | str) -> "Frame | Faceset":
        """A crop by its index in this set, or the subset of a split by name. RunError if the crop's file is missing or altered."""
        if isinstance(which, str):
            if which not in SPLITS:
                raise ValueError(f"a split is one of {', '.join(SPLITS)}, not {which!r}")
            return self.where(lambda row: row.split == which)
        number = which + len(self) if which < 0 else which
        if not 0 <= number < len(self):
            raise IndexError(f"face {which} of {len(self)}")
        return Frame(image=self._read(self.rows[number]), origin=self.origin, index=number, time_s=float(number))

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        """Crops `start` to `stop` (exclusive; None: the end) in order, read one by one."""
        for number in range(len(self))[start:stop]:
            yield self[number]

    def _read(self, row: Row) -> Image:
        path = self.folder / row.crop
        if not path.is_file() or digest(path) != row.sha256:
            got = "another file" if path.is_file() else "none"
            raise RunError(
                expected=f"{row.crop} of run {self.run} as it was written",
                got=got,
                remedy="gather the faces again with force=True",
            )
        return read_still(path)

    # --- display --------------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Faceset({self.name!r}, {len(self)} faces of {self.subject[:80]})"

    def _repr_html_(self) -> str:
        """Counts, and the run's contact sheet; nothing is computed."""
        counts = [
            f"<tr><td>{escape(self.title(person)[:80])}</td><td>{count}</td>"
            + "".join(f"<td>{sum(row.person == person and row.split == split for row in self.rows)}</td>" for split in SPLITS)
            + f"<td>{np.median([row.side for row in self.rows if row.person == person]):.0f}</td></tr>"
            for person, count in list(self.identities.items())[:_IDENTITIES_SHOWN]
        ]
        more = len(self.identities) - len(counts)
        picture = ""
        if self.sheet is not None and self.sheet.is_file() and self.sheet.stat().st_size <= _SHEET_BYTES:
            picture = (
                f'<img alt="contact sheet" src="data:image/jpeg;base64,{base64.b64encode(self.sheet.read_bytes()).decode()}"><br>'
            )
        head = "".join(f"<th>{title}</th>" for title in ("person", "faces", *SPLITS, "pixels"))
        return (
            f"<div>{picture}<strong>{escape(self.name)}</strong> · {len(self)} faces from {len(self.sources)} files · "
            f"{escape(self.run)}<table><tr>{head}</tr>{''.join(counts)}</table>"
            + (f"and {more} more identities" if more > 0 else "")
            + "</div>"
        )


def row_ranges(rows: Collection[Row]) -> str:
    """The rows' numbers as compact ranges, `"0-41,43"`, for the record of a subset."""
    numbers = {row.number for row in rows}
    starts = sorted(number for number in numbers if number - 1 not in numbers)
    ends = sorted(number for number in numbers if number + 1 not in numbers)
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in zip(starts, ends, strict=True))


def in_ranges(text: str) -> set[int]:
    """Parses the output of `row_ranges`. ValueError for anything else."""
    numbers: set[int] = set()
    for part in filter(None, text.split(",")):
        low, _, high = part.partition("-")
        numbers.update(range(int(low), int(high or low) + 1))
    return numbers
