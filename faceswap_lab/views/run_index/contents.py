"""The contents of the index as plain data: what may be told of each run, and what they stand on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.errors import LabError
from faceswap_lab.files import VERSION
from faceswap_lab.runs.events import now
from faceswap_lab.runs.run import Run, Survey, Unreadable
from faceswap_lab.runs.sharing.descent import Descent
from faceswap_lab.runs.sharing.standing import admitted_files, require_standing
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import find_entries
from faceswap_lab.views.run_index import figures, reasons, shapes
from faceswap_lab.views.run_index.inputs import MAX_INPUTS, Numbers, data_of, inputs_of
from faceswap_lab.views.run_index.settings import settings_of

FORMAT = 1
"""Version of the data in the page."""


def contents_of(seen: Survey, root: Path, *, today: date) -> dict[str, Any]:
    """Everything that the page shows, as JSON values, but for the pages of single runs.

    Of a run that depicts somebody whose consent is not in force only the id, the verb and the reason are told.
    """
    telling = _Telling(seen=seen, root=root, today=today, descent=Descent.of(seen.runs), admitted=_admitted(root))
    rows = [telling.row(run) for run in seen.runs]
    rows += [_unreadable(each, number) for number, each in enumerate(seen.unreadable, 1)]
    return {
        "format": FORMAT,
        "written": shapes.time_of(now()),
        "version": VERSION,
        "environments": telling.environments,
        "measures": {name: [each.title, each.unit, each.digits, each.higher] for name, each in figures.MEASURES.items()},
        "runs": rows,
    }


@dataclass(slots=True, kw_only=True, eq=False)
class _Telling:
    """What is shared between the rows: places of runs, numbers of files, environments that many runs have in common."""

    seen: Survey
    root: Path
    today: date
    descent: Descent
    admitted: Mapping[str, list[str]]
    numbers: Numbers = field(default_factory=Numbers)
    environments: list[dict[str, str]] = field(default_factory=list)
    _places: dict[Run, int] = field(default_factory=dict)
    _asked: dict[tuple[str, ...], tuple[bool, LabError | None]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._places = {run: number for number, run in enumerate(self.seen.runs)}
        # Numbered in the order of their making, so that a file keeps its number when runs are added.
        for run in reversed(self.seen.runs):
            inputs_of(run.record, self.numbers)

    def row(self, run: Run) -> dict[str, Any]:
        """One run."""
        people, problem = self._standing(run)
        head = {"id": _id_of(run.id, self._places[run] + 1), "verb": run.verb if run.verb in shapes.VERBS else "other"}
        if problem is not None:
            return head | {"status": reasons.WITHHELD, "why": reasons.withheld(problem)}
        status, why = ("finished", "") if run.finished else reasons.ended(run)
        told = head | {"status": status, "depicts": "people" if people else "actors"} | dict(self._told(run))
        return told | ({"why": why} if why else {})

    def _told(self, run: Run) -> Iterator[tuple[str, Any]]:
        record = run.record
        yield "created", shapes.time_of(record.created)
        if record.finished:
            yield "seconds", shapes.seconds_between(record.created, record.finished)
        yield "code", shapes.code_of(record.code)
        yield "key", shapes.digest_of(record.key)[:12]
        yield "device", figures.device_of(record)
        yield "environment", self._environment(figures.environment_of(record))
        yield "settings", settings_of(record)
        yield "figures", figures.figures_of(record)
        yield "scores", figures.scores_of(record)
        yield "inputs", [[each.name, each.text, each.data] for each in inputs_of(record, self.numbers)]
        yield "more_inputs", max(0, sum(map(bool, record.inputs.values())) - MAX_INPUTS)
        yield "data", data_of(record)
        yield "parents", [self._places[parent] for parent in self.descent.parents[run]]

    def _environment(self, facts: dict[str, str]) -> int:
        if facts not in self.environments:
            self.environments.append(facts)
        return self.environments.index(facts)

    def _standing(self, run: Run) -> tuple[bool, LabError | None]:
        """Whether anybody but actors is depicted, and what forbids to tell of the run."""
        try:
            files = (*admitted_files(run, self.descent, self.seen), *self.admitted.get(run.id, ()))
        except LabError as error:
            return True, error
        if files not in self._asked:
            self._asked[files] = self._ask(files)
        return self._asked[files]

    def _ask(self, files: tuple[str, ...]) -> tuple[bool, LabError | None]:
        try:
            require_standing(self.root, files, self.today)
            entries = find_entries(self.root, files) if files else {}
        except LabError as error:
            return True, error
        return any(not entry.synthetic for entry in entries.values()), None


def _admitted(root: Path) -> dict[str, list[str]]:
    """Run id to the SHA-256 of the files that its notebook admitted, by the audit log: they are no inputs of the run."""
    found: dict[str, list[str]] = {}
    for line in audit.walk(root)[0]:
        run = audit.notebook_run(line.event)
        if run and line.event.get("action") in ("admitted", "admission declared"):
            found.setdefault(str(run), []).append(str(line.event.get("sha256", "")))
    return {run: list(dict.fromkeys(digests)) for run, digests in found.items()}


def _id_of(name: str, number: int) -> str:
    """A run's id; a number for one that is no id of this package's, as somebody chose it."""
    return shapes.run_id_of(name) or f"run {number}"


def _unreadable(each: Unreadable, number: int) -> dict[str, Any]:
    verb = each.id.partition("-")[0]
    name = shapes.run_id_of(each.id) or f"unreadable run {number}"
    return {
        "id": name,
        "verb": verb if verb in shapes.VERBS else "other",
        "status": "unreadable",
        "why": reasons.unreadable(each.error),
    }
