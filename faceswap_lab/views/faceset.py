"""Faceset browser: a contact sheet by person, naming people, excluding faces, and the reasons for dropped faces.

Names and marks are saved to the run's folder immediately (`verbs.library`), and used by the next `lab.faceset(name)`. Without a
browser the same object shows a still picture.
"""

import json
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg

from faceswap_lab.errors import RunError
from faceswap_lab.faces.faceset import Faceset, Row
from faceswap_lab.faces.frame import Image
from faceswap_lab.verbs import library
from faceswap_lab.verbs.library import FacesetRun
from faceswap_lab.verbs.recipes import FacesetRecipe
from faceswap_lab.views import figures, images
from faceswap_lab.views.figures import HAIRLINE, INK, MUTED, PAPER, SERIES
from faceswap_lab.views.images import AnyImage
from faceswap_lab.views.widget import PICTURE_BUDGET, Widget, script, style

ORDERS = ("sharpness", "pose", "time")
_TILE, _COLUMNS, _LINES = 96, 10, 4
_PAGE = _COLUMNS * _LINES
_MAX_IDENTITIES = 6


class FacesetView(Widget):
    """Faces of one person at a time, 40 per page. Click a face to exclude or restore it; type a name to assign it.

    Traits: `person` (a label), `order` ("sharpness": the least sharp first; "pose": from the right profile to the left; "time"),
    `page`; `identities` lists label, name and count, `tiles` the shown faces with their crop's name, a note and whether
    they are excluded.
    """

    _esm = script("faceset")
    _css = style("faceset")

    person = traitlets.Unicode().tag(sync=True)
    order = traitlets.Enum(ORDERS, default_value="sharpness").tag(sync=True)
    page = traitlets.Int(0).tag(sync=True)
    num_pages = traitlets.Int(1).tag(sync=True)
    identities: Any = traitlets.List().tag(sync=True)
    tiles: Any = traitlets.List().tag(sync=True)
    orders = traitlets.List(traitlets.Unicode(), list(ORDERS)).tag(sync=True)
    columns = traitlets.Int(_COLUMNS).tag(sync=True)
    namable = traitlets.Bool(True).tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    problem = traitlets.Unicode().tag(sync=True)

    def __init__(self, run: FacesetRun) -> None:
        self.run = run
        self._whole = library.whole_set(run)
        self._dropped = Counter(str(each["reason"]) for each in json.loads(run.artifact(library.DROPPED).read_bytes()))
        # Messages from the browser arrive on another thread while a cell runs: one change at a time.
        self._changing = threading.RLock()
        super().__init__(person=next(iter(self._whole.identities)), namable=run.recipe(FacesetRecipe).identities == "many")
        self.on_msg(self._answer)
        self.observe(self._turn, ["person", "order"])
        self.observe(self._show, "page")
        self._show()

    @property
    def faceset(self) -> Faceset:
        """The current set, with the assigned names and without excluded faces."""
        return library.faceset(self.run)

    def name(self, person: str, name: str) -> None:
        """Names a person; an empty name removes it. Errors as `library.name_person`."""
        with self._changing:
            library.name_person(self.run, person, name)
            self._show()

    def leave_out(self, *crops: str, restore: bool = False) -> None:
        """Marks faces as excluded by their crops' names, or removes the marks."""
        with self._changing:
            library.leave_out(self.run, crops, restore=restore)
            self._show()

    def picture(self) -> Image:
        """A still picture: each person's faces by sharpness, and the reasons for dropped faces."""
        return figures.pixels(self.figure())

    def figure(self) -> figures.SelfShowing:
        """`picture` as a matplotlib Figure."""
        with self._changing:
            return contact_sheet(self._whole.without(library.left_out(self.run)), self._dropped)

    @traitlets.validate("person")
    def _person_exists(self, proposal: Any) -> str:
        if proposal["value"] not in self._whole.identities:
            raise traitlets.TraitError(f"nobody is labelled {proposal['value']!r}; there are {', '.join(self._whole.identities)}")
        return str(proposal["value"])

    @traitlets.validate("page")
    def _page_exists(self, proposal: Any) -> int:
        return min(max(0, int(proposal["value"])), max(0, self.num_pages - 1))

    def _turn(self, _: object = None) -> None:
        with self._changing:
            self.page = 0
            self._show()

    def _rows(self) -> list[Row]:
        own = [row for row in self._whole.rows if row.person == self.person]
        return sorted(own, key=lambda row: _place(row, self.order))

    def _shown(self) -> list[Row]:
        return self._rows()[self.page * _PAGE : (self.page + 1) * _PAGE]

    def _show(self, _: object = None) -> None:
        with self._changing:
            marked, given = library.left_out(self.run), library.names(self.run)
            whole = self._whole
            self.identities = [[person, given.get(person, ""), count] for person, count in whole.identities.items()]
            self.num_pages = -(-whole.identities[self.person] // _PAGE)
            self.tiles = [{"crop": row.crop, "note": _note(row), "out": row.crop in marked} for row in self._shown()]
            went = sum(self._dropped.values())
            self.caption = f"{len(whole)} faces kept, {went} dropped · {len(marked)} excluded manually · {whole.run}"
            self.problem = ""

    def _answer(self, _: object, content: Mapping[str, Any], buffers: object) -> None:
        """Handles browser messages: `{"want": true}`, `{"mark": [crop, out]}`, `{"name": [person, text]}`."""
        with self._changing:
            if "want" in content:
                shown = self._shown()
                self.send({"page": [row.crop for row in shown]}, [self.sprite(shown)])
            elif "mark" in content:
                self.leave_out(str(content["mark"][0]), restore=not content["mark"][1])
            elif "name" in content:
                try:
                    self.name(str(content["name"][0]), str(content["name"][1]))
                except (ValueError, RunError) as error:
                    self.problem = str(error)

    def sprite(self, rows: Sequence[Row]) -> bytes:
        """The rows' faces as one JPEG, ten per line, 96 pixels each."""
        return images.jpeg(mosaic([self._whole[row.number].image for row in rows], columns=_COLUMNS), budget=PICTURE_BUDGET)

    def __repr__(self) -> str:
        return f"FacesetView({self._whole.name!r}; {len(self._whole)} faces, {len(self._whole.identities)} people)"


def browse(faceset: str | FacesetRun | Faceset) -> FacesetView:
    """Browses a faceset, to name its people and exclude faces; given by name, by run or as a set (always shown in full)."""
    if isinstance(faceset, Faceset):
        return FacesetView(FacesetRun.open(faceset.run))
    return FacesetView(library.run_of(faceset) if isinstance(faceset, str) else faceset)


def mosaic(pictures: Sequence[AnyImage], *, columns: int, tile: int = _TILE) -> AnyImage:
    """Grid of square pictures, `columns` per line, `tile` pixels each; empty cells are white. ValueError for no pictures."""
    if not pictures:
        raise ValueError("a mosaic needs at least one picture")
    tiles = [images.fit_side(picture, tile) for picture in pictures]
    page = np.full((-(-len(tiles) // columns) * tile, columns * tile, 3), 255, np.uint8)
    for number, picture in enumerate(tiles):
        top, left = number // columns * tile, number % columns * tile
        page[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return page


def contact_sheet(faceset: Faceset, dropped: Mapping[str, int]) -> figures.SelfShowing:
    """Evenly sampled faces of each person, from least sharp to sharpest, above a bar chart of the reasons for dropped faces.

    ValueError for a set without faces.
    """
    if not len(faceset):
        raise ValueError("this faceset has no faces")
    people = list(faceset.identities.items())[:_MAX_IDENTITIES]
    lines = 2 if len(people) <= 2 else 1
    cell, left, gap = 0.62, 1.35, 0.16
    bars = 0.2 * (1 + len(dropped))
    pages = [mosaic(_picked(faceset, person, lines * 12), columns=12, tile=_TILE) for person, _ in people]
    heights = [page.shape[0] / _TILE * cell for page in pages]
    width, height = left + 12 * cell + 0.1, 0.34 + sum(heights) + gap * len(heights) + bars + 0.1
    figure = figures.SelfShowing(figsize=(width, height), dpi=120, facecolor=PAPER)
    FigureCanvasAgg(figure)
    top = height - 0.34
    figure.text(0.08 / width, (height - 0.2) / height, _headline(faceset), fontsize=9.5, color=INK, va="center")
    for (person, count), page, tall in zip(people, pages, heights, strict=True):
        axis = figure.add_axes((left / width, (top - tall) / height, 12 * cell / width, tall / height))
        axis.imshow(page, aspect="auto", interpolation="lanczos")
        axis.set_axis_off()
        side = float(np.median([row.side for row in faceset.rows if row.person == person]))
        label = f"{_cut(faceset.title(person))}\n{count} faces\n{side:.0f} pixels"
        figure.text((left - 0.12) / width, (top - cell / 2) / height, label, fontsize=8, color=INK, ha="right", va="center")
        top -= tall + gap
    axis = figure.add_axes((left / width, 0.08 / height, 12 * cell / width, bars / height))
    _bars(axis, dropped, len(faceset))
    return figure


def _headline(faceset: Faceset) -> str:
    parts = " · ".join(f"{count} {name}" for name, count in faceset.splits.items())
    more = len(faceset.identities) - _MAX_IDENTITIES
    return f"{faceset.name}: {len(faceset)} faces from {len(faceset.sources)} files · {parts}" + (
        f" · and {more} more people" if more > 0 else ""
    )


def _bars(axis: Axes, dropped: Mapping[str, int], kept: int) -> None:
    """Bars with the number of faces kept and dropped for each reason, on a square-root scale so that small numbers are visible."""
    rows = [("kept", kept), *sorted(dropped.items(), key=lambda each: -each[1])]
    colours = [SERIES[2], *[SERIES[1]] * len(dropped)]
    lengths = [float(np.sqrt(count)) for _, count in rows]
    axis.barh(range(len(rows)), lengths, color=colours, height=0.62)
    for place, (_, count) in enumerate(rows):
        axis.text(lengths[place] + 0.01 * max(lengths), place, str(count), fontsize=7.5, color=MUTED, va="center")
    axis.set_yticks(range(len(rows)), [name for name, _ in rows], fontsize=8, color=INK)
    axis.set_xticks([])
    axis.set_xlim(0, max(lengths) * 1.06)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.tick_params(length=0)
    for side in ("top", "right", "bottom"):
        axis.spines[side].set_visible(False)
    axis.spines["left"].set_color(HAIRLINE)


def _picked(faceset: Faceset, person: str, most: int) -> list[Image]:
    places = [place for place, row in enumerate(faceset.rows) if row.person == person]
    places.sort(key=lambda place: _place(faceset.rows[place], "sharpness"))
    chosen = np.unique(np.linspace(0, len(places) - 1, min(len(places), most)).round().astype(int))
    return [faceset[places[number]].image for number in chosen]


def _place(row: Row, order: str) -> tuple[float | str, ...]:
    if order == "pose":
        return row.yaw_deg, row.number
    return (row.source, row.frame) if order == "time" else (row.sharpness, row.number)


def _note(row: Row) -> str:
    turned = "" if abs(row.yaw_deg) < 5 else f" · turned {abs(row.yaw_deg):.0f}°"
    return f"{row.side:.0f} pixels · sharpness {row.sharpness:.2f}{turned} · {row.split} · {Path(row.uri).name}, frame {row.frame}"


def _cut(text: str) -> str:
    return text if len(text) <= 18 else text[:17] + "…"
