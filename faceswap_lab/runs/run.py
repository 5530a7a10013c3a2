"""A run: a folder with what was done, from which inputs, and the results.

runs/train-3f9a1c22/
  run.json          format, verb, recipe, inputs, code, environment, status, summary, head of the audit log
  events/000001.jsonl …   events in numbered segments, each written atomically
  artifacts/        results, each written atomically and recorded with its SHA-256
  lock              held by the process that is working on it
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from faceswap_lab.errors import LabError, RunError
from faceswap_lab.files import lab_root
from faceswap_lab.runs import call
from faceswap_lab.runs.index import Query, candidates
from faceswap_lab.runs.record import Record, read_record, run_folders
from faceswap_lab.runs.working import RunWorker
from faceswap_lab.trust import audit

HEAD = ".audit-head.json"
"""A file in `runs/`: the audit log's head when the last run was removed."""

HANDLES = {
    "bench": "faceswap_lab.verbs.bench.result:BenchRun",
    "evaluate": "faceswap_lab.verbs.evaluate.scores:ScoreRun",
    "faceset": "faceswap_lab.verbs.library:FacesetRun",
    "notebook": "faceswap_lab.pipelines.notebook:NotebookRun",
    "pipeline": "faceswap_lab.pipelines.record:PipelineRun",
    "quickstart": "faceswap_lab.pipelines.quickstart:QuickstartRun",
    "render": "faceswap_lab.verbs.render.dataset:ShardRun",
    "swap": "faceswap_lab.verbs.swap.result:SwapRun",
    "train": "faceswap_lab.verbs.train.result:TrainRun",
}
"""Verb to the class of its runs, imported when the first such run is opened: each verb owns the methods of its results, and this
module depends on none of them."""

_log = logging.getLogger(__name__)

H = TypeVar("H", bound="Run")


class Run(RunWorker):
    """A handle on a run's folder; any number of readers, one worker at a time.

    Reading needs no lock. Writing (`emit`, `write`, `finish`) is done inside `with run:`, which holds the folder's lock and
    flushes events at the end. The handle pickles as its path, without the lock.

    `open`, `find` and `start` return the class of the run's verb (`SwapRun`, `TrainRun` …), which adds methods for its results.
    Called on such a class, they reject or skip the runs of other verbs.
    """

    @classmethod
    def _handle(cls: type[H], folder: Path, record: Record | None = None) -> H:
        """The folder's run as the class of its verb. RunError if this class does not handle that verb."""
        record = record or read_record(folder)
        kind = class_of(record.verb)
        if not issubclass(kind, cls):
            raise RunError(
                expected=f"a run of {cls.VERB}",
                got=f"{folder.name}, a run of {record.verb}",
                remedy=f"pass a run of {cls.VERB}",
            )
        return kind(folder, record)

    @classmethod
    def start(
        cls: type[H],
        root: Path,
        verb: str,
        recipe: object,
        inputs: Mapping[str, str],
        *,
        data: Mapping[str, str] | None = None,
        force: bool = False,
    ) -> H:
        """The run of this verb, recipe (an object of its type, or JSON text), inputs (name to origin or digest) and data files.

        An identical finished run is returned as is, an identical unfinished one to be resumed; else, or with `force`, a new folder
        is created atomically. `runs.call` defines when calls are identical.
        """
        asked = call.Call.of(verb, recipe, inputs, data or {}, class_of(verb).RESULT_VERSION)
        return cls._handle(call.begin(root, asked, force=force))

    @classmethod
    def open(cls: type[H], name: str, root: Path | None = None) -> H:
        """The run with this id, or unique prefix of an id. Raises `RunError` with close matches otherwise."""
        return cls._handle(call.named(root or lab_root(), name))

    @classmethod
    def find(
        cls: type[H],
        root: Path | None = None,
        *,
        verb: str | None = None,
        finished: bool | None = None,
        uses: str | None = None,
        makes: str | None = None,
        name: str | None = None,
    ) -> list[H]:
        """Runs, newest first; optionally of one verb, finished or not, with the origin, digest or run id `uses` among their inputs,
        with an artifact of the SHA-256 `makes`, and with a recipe of that `name`.

        Unreadable runs are skipped with a logged warning; `survey` lists them.
        """
        seen = _survey(root or lab_root(), Query(verb=verb or cls.VERB, finished=finished, uses=uses, makes=makes, name=name))
        for each in seen.unreadable:
            _log.warning("%s is skipped: %s", each.id, each.error)
        return [run for run in seen.runs if isinstance(run, cls)]

    @staticmethod
    def survey(root: Path | None = None) -> "Survey":
        """All readable runs, newest first, and all unreadable ones with the reason."""
        return _survey(root or lab_root(), Query())

    @classmethod
    def heads(cls, root: Path | None = None) -> list[audit.Head]:
        """The audit log's heads stored in runs, and the one stored when a run was last removed, for `audit.verify`.

        Unreadable runs are skipped; `survey` lists them.
        """
        heads = [run.record.head for run in cls.survey(root).runs]
        left = (root or lab_root()) / "runs" / HEAD
        return [*heads, audit.Head(**json.loads(left.read_text(encoding="utf-8")))] if left.exists() else heads


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A run's folder whose record cannot be read, and the error that opening it raises."""

    id: str
    path: Path
    error: LabError


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """The runs of a lab, newest first, and those that cannot be read."""

    runs: list[Run]
    unreadable: list[Unreadable]

    def require_readable(self) -> list[Run]:
        """The runs. Raises the error of the first unreadable one: for callers that must not miss any run."""
        for each in self.unreadable:
            raise each.error
        return self.runs


def class_of(verb: str) -> type[Any]:
    """The class of a verb's runs; `Run` for a verb without a class of its own."""
    module, _, name = HANDLES.get(verb, f"{__name__}:Run").partition(":")
    kind: type[Any] = getattr(import_module(module), name)
    return kind


def _survey(root: Path, query: Query) -> Survey:
    found, unreadable = candidates(root, run_folders(root), query)
    runs = [class_of(record.verb)(folder, record) for folder, record in found]
    return Survey(
        runs=sorted(runs, key=lambda run: run.record.created, reverse=True),
        unreadable=[Unreadable(id=folder.name, path=folder, error=error) for folder, error in unreadable],
    )
