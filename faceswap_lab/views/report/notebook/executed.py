"""The section of an executed notebook in a report: its text, code, outputs and the error that ended it, as plain blocks.

A notebook's pictures come from its kernel, which could show anybody. They leave only of cells that ran before a real person's file
came into the lab, and, of a notebook that isn't one of the lab's own, only if the caller accepts them by number.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from faceswap_lab.errors import ConsentError, RunError
from faceswap_lab.pipelines.notebook import SUMMARY_TYPE, notebook_path
from faceswap_lab.runs.run import Run
from faceswap_lab.views.report.blocks import Block, Folded, Notice, Picture, Printed, Section
from faceswap_lab.views.report.notebook.html_output import blocks_in, decoded, from_base64
from faceswap_lab.views.report.notebook.markdown import blocks_in_markdown
from faceswap_lab.views.report.scope import NOTEBOOK, Scope

_MOST_PICTURES, _MOST_CHARS = 60, 8_000


@dataclass(slots=True, kw_only=True)
class Pictures:
    """Counts a page's pictures of notebooks. `accepted` is how many of notebooks that aren't the lab's own the caller accepts."""

    accepted: int = 0
    foreign: int = 0
    shown: int = 0
    late: int = 0
    unreadable: int = 0

    def require_accepted(self) -> None:
        """ConsentError if the caller accepted a number that is not that of the pictures."""
        if self.accepted and self.accepted != self.foreign:
            raise ConsentError(
                expected="the number of pictures in notebooks that are not the lab's own, accepted by name",
                got=f"{self.accepted}, and there are {self.foreign}",
                remedy=f"look at them; then report with accept_pictures={self.foreign} (--accept-pictures {self.foreign})",
            )


@dataclass(slots=True, kw_only=True)
class _Cell:
    """How the outputs of one cell are treated; `late` says that they may show a real person."""

    late: bool
    foreign: bool
    pictures: Pictures
    blocks: list[Block] = field(default_factory=list)

    def show(self, data: bytes) -> None:
        """A picture of the cell, or a count of why it is not shown."""
        told = self.pictures
        told.late += self.late
        told.foreign += self.foreign and not self.late
        if self.late or (self.foreign and not told.accepted):
            self.blocks += [Notice(text="A picture is withheld here.", kind="withheld")]
            return
        image = decoded(data) if told.shown < _MOST_PICTURES else None
        if image is None:
            told.unreadable += 1
            return
        told.shown += 1
        self.blocks += [Picture(image=image, caption="", alt="A picture that the notebook drew", width=image.shape[1], sharp=True)]


def section_of(run: Run, scope: Scope, pictures: Pictures) -> Section:
    """The executed notebook of a run. RunError for one that cannot be read."""
    cells = _cells(run)
    foreign = not _is_ours(cells)
    since = scope.real_since
    before = (pictures.late, pictures.foreign, pictures.unreadable, pictures.shown)
    blocks: list[Block] = []
    for number, cell in enumerate(cells):
        late = since is not None and not _ended_before(cell, since)
        blocks += _shown(cell, number, _Cell(late=late, foreign=foreign, pictures=pictures))
    too_late, alien, unreadable, _ = (after - first for after, first in zip(_counts(pictures), before, strict=True))
    withheld = list(_withheld(too_late, 0 if pictures.accepted else alien, unreadable))
    return Section(title="Notebook", blocks=[*_failure(cells), *withheld, *blocks])


def _counts(pictures: Pictures) -> tuple[int, int, int, int]:
    return pictures.late, pictures.foreign, pictures.unreadable, pictures.shown


def _cells(run: Run) -> list[dict[str, Any]]:
    try:
        cells = json.loads(run.artifact(NOTEBOOK).read_text(encoding="utf-8"))["cells"]
        if not all(isinstance(cell, dict) and isinstance(cell["metadata"], dict) for cell in cells):
            raise TypeError("cells that are no objects")
        return list(cells)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RunError(
            expected=f"a notebook (nbformat 4) as {NOTEBOOK} of {run.id}",
            got=str(error)[:200],
            remedy="run the notebook again with force=True",
        ) from error


def _is_ours(cells: list[dict[str, Any]]) -> bool:
    """Whether the code is that of a notebook which comes with the lab, which shows pictures by the lab's own classes only."""
    code = _code(cells)
    folder = notebook_path("00_quickstart").parent
    return any(code == _code(json.loads(path.read_text(encoding="utf-8"))["cells"]) for path in sorted(folder.glob("*.ipynb")))


def _code(cells: list[dict[str, Any]]) -> list[str]:
    own = (
        cell
        for cell in cells
        if cell["cell_type"] == "code" and not {"injected-parameters", "papermill-error-cell-tag"} & _tags(cell)
    )
    return [_text(cell["source"]) for cell in own]


def _tags(cell: Mapping[str, Any]) -> set[str]:
    return set(map(str, cell["metadata"].get("tags", [])))


def _ended_before(cell: Mapping[str, Any], moment: datetime) -> bool:
    told = cell["metadata"].get("papermill", {}).get("end_time")
    try:
        ended = datetime.fromisoformat(str(told))
    except ValueError:
        return False
    return (ended if ended.tzinfo else ended.replace(tzinfo=UTC)) < moment


def _withheld(late: int, foreign: int, unreadable: int) -> Iterator[Block]:
    if late:
        text = (
            f"Pictures withheld: {late}. Their cells ran after a real person's file had come into this lab, so they may show "
            "somebody as they are. What a swap made of them leaves by the report of that swap."
        )
        yield Notice(text=text, kind="withheld")
    if foreign:
        text = (
            f"Pictures withheld: {foreign}. This notebook is not one of the lab's own, and what it draws is not known. Look at "
            f"them; if nobody real is shown, report with accept_pictures={foreign} (--accept-pictures {foreign})."
        )
        yield Notice(text=text, kind="withheld")
    if unreadable:
        text = f"Pictures left out: {unreadable}. They are of another format, too large, or more than {_MOST_PICTURES}."
        yield Notice(text=text, kind="withheld")


def _failure(cells: list[dict[str, Any]]) -> Iterator[Block]:
    """The cell that failed, with its error."""
    for number, cell in enumerate(cells):
        for output in cell.get("outputs", ()):
            if output.get("output_type") == "error":
                facts = {"cell": str(number), "error": f"{output.get('ename', '')}: {output.get('evalue', '')}"}
                yield Notice(text="A cell failed; those after it did not run.", kind="failed", facts=facts)
                yield Folded(title=f"The code of cell {number}", blocks=[Printed(text=_text(cell["source"]), kind="code")])
                yield Printed(text="\n".join(map(str, output.get("traceback", ()))), kind="error")
                return


def _shown(cell: Mapping[str, Any], number: int, treated: _Cell) -> list[Block]:
    if "papermill-error-cell-tag" in _tags(cell):
        return []
    if cell["cell_type"] == "markdown":
        return list(blocks_in_markdown(_text(cell["source"])))
    if cell["cell_type"] != "code":
        return []
    if source := _text(cell["source"]).strip():
        name = "Parameters" if "injected-parameters" in _tags(cell) else f"Code of cell {number}"
        treated.blocks += [Folded(title=name, blocks=[Printed(text=source, kind="code")])]
    for is_stream, outputs in groupby(cell.get("outputs", ()), key=lambda output: output.get("output_type") == "stream"):
        if is_stream:
            # A cell that prints for long has many pieces; together they are what a terminal shows.
            treated.blocks += _printed(_last_lines("".join(_text(output.get("text", "")) for output in outputs)))
            continue
        for output in outputs:
            _output(output, treated)
    return treated.blocks


def _output(output: Mapping[str, Any], cell: _Cell) -> None:
    data = output.get("data", {})
    drawn = next((data[kind] for kind in ("image/png", "image/jpeg") if kind in data), None)
    if drawn is not None:
        cell.show(from_base64(_text(drawn)))
    elif "text/html" in data:
        blocks, pictures = blocks_in(_text(data["text/html"]))
        cell.blocks += blocks
        for picture in pictures:
            cell.show(picture)
    elif SUMMARY_TYPE in data:
        cell.blocks += [Folded(title="Summary", blocks=_printed(_summary(data[SUMMARY_TYPE])))]
    elif "image/svg+xml" in data:
        cell.pictures.unreadable += 1
    else:
        cell.blocks += _printed(_text(data.get("text/plain", "")))


def _summary(told: Any) -> str:
    """A line for each value of a summary."""
    return "\n".join(f"{name}: {json.dumps(value)}" for name, value in told.items()) if isinstance(told, dict) else json.dumps(told)


def _printed(text: str) -> list[Printed]:
    if len(text) > _MOST_CHARS:
        text = f"{text[: _MOST_CHARS // 2]}\n… {len(text) - _MOST_CHARS} characters are left out …\n{text[-_MOST_CHARS // 2 :]}"
    return [Printed(text=text.rstrip())] if text.strip() else []


def _last_lines(text: str) -> str:
    """What a terminal shows in the end: a carriage return begins the line anew."""
    return "\n".join(line.rstrip("\r").rpartition("\r")[2] for line in text.split("\n"))


def _text(value: Any) -> str:
    """A notebook's text, which is one string or a list of lines."""
    return "".join(map(str, value)) if isinstance(value, list) else str(value)
