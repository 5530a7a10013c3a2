"""A run: one folder that says what was done, with what, and what came of it.

runs/train-3f9a1c22/
  run.json          format, verb, recipe, inputs, code, environment, status, summary, head of the audit log
  events/000001.jsonl …   what happened, in numbered segments, each renamed whole
  artifacts/        what was made, each renamed whole and recorded with its SHA-256
  lock              held by the process that works on it
"""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, TypeVar

from faceswap_lab.errors import LabError, RunError, storing
from faceswap_lab.files import acquire, canonical, put_in_place, sha256_file
from faceswap_lab.runs import quota, starting
from faceswap_lab.runs.environment import code_version, environment
from faceswap_lab.runs.events import Journal, Ledger, latest, now, recorded
from faceswap_lab.runs.index import Query, candidates
from faceswap_lab.runs.key import Call
from faceswap_lab.runs.recipe import R, from_json, schema_of
from faceswap_lab.runs.record import Record, read_record, run_folders, write_record
from faceswap_lab.runs.root import lab_root
from faceswap_lab.trust import audit

HEAD = ".audit-head.json"
"""In `runs/`: the audit log's head when the last run was removed."""

HANDLES = {
    "evaluate": "faceswap_lab.verbs.evaluate.scores:ScoreRun",
    "faceset": "faceswap_lab.verbs.library:FacesetRun",
    "quickstart": "faceswap_lab.pipelines.quickstart:QuickstartRun",
    "render": "faceswap_lab.verbs.render.dataset:ShardRun",
    "swap": "faceswap_lab.verbs.swap.result:SwapRun",
    "train": "faceswap_lab.verbs.train.result:TrainRun",
}
"""Verb to the class of its runs, imported when the first such run is opened: a verb owns what can be done with its result, and this
module knows none of them."""

_log = logging.getLogger(__name__)

H = TypeVar("H", bound="Run")


class Run:
    """A handle on a run's folder; any number of readers, one worker at a time.

    Reading needs nothing. Writing (`emit`, `write`, `finish`) happens inside `with run:`, which holds the folder's lock and
    flushes events at the end. The handle pickles as its path; a lock does not travel.

    `open`, `find` and `start` answer with the class of the run's verb (`SwapRun`, `TrainRun` …), which adds what can be done with
    its result. Called on such a class, they refuse or leave out the runs of other verbs.
    """

    VERB: ClassVar[str | None] = None
    """The verb whose runs the class handles; None for any."""

    RESULT_VERSION: ClassVar[int] = 1
    """Raised by hand whenever the code of the verb (or code that it calls) makes other bytes of the same inputs: what was made
    before is then made anew. tests/test_golden.py notices a change of bytes without it."""

    def __init__(self, path: Path, record: Record | None = None) -> None:
        self.path = path.resolve()
        self.record = record or read_record(self.path)
        if self.VERB not in (None, self.record.verb):
            raise RunError(
                expected=f"a run of {self.VERB}",
                got=f"{self.record.id}, a run of {self.record.verb}",
                remedy=f"give the Run of a {self.VERB}",
            )
        self._lock: IO[bytes] | None = None
        self._journal: Journal | None = None
        self._ledger = Ledger(self.path)

    # --- making and finding ---------------------------------------------------------------------------------------------

    @classmethod
    def _handle(cls: type[H], folder: Path, record: Record | None = None) -> H:
        """The folder's run as the class of its verb. RunError if that is not what this class handles."""
        record = record or read_record(folder)
        kind = class_of(record.verb)
        if not issubclass(kind, cls):
            raise RunError(
                expected=f"a run of {cls.VERB}",
                got=f"{folder.name}, a run of {record.verb}",
                remedy=f"give the Run of a {cls.VERB}",
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

        An identical finished run is returned as it is, an identical unfinished one to be resumed; else, or with `force`, a new
        folder is made, atomically. What is identical is said in `runs.key`.
        """
        call = Call.of(verb, recipe, inputs, data or {}, class_of(verb).RESULT_VERSION)
        return cls._handle(starting.begin(root, call, force=force))

    @classmethod
    def open(cls: type[H], name: str, root: Path | None = None) -> H:
        """The run of this id, or of an id that only one run's begins with. Raises `RunError` naming what is near otherwise."""
        return cls._handle(starting.named(root or lab_root(), name))

    @classmethod
    def find(
        cls: type[H],
        root: Path | None = None,
        *,
        verb: str | None = None,
        finished: bool | None = None,
        uses: str | None = None,
        name: str | None = None,
    ) -> list[H]:
        """Runs, newest first; of one verb, finished or not, with the origin, digest or run id `uses` among their inputs, with a
        recipe of that `name`.

        A run that cannot be read is left out, with a warning in the log; `survey` names them.
        """
        seen = _survey(root or lab_root(), Query(verb=verb or cls.VERB, finished=finished, uses=uses, name=name))
        for each in seen.unreadable:
            _log.warning("%s is left out: %s", each.id, each.error)
        return [run for run in seen.runs if isinstance(run, cls)]

    @staticmethod
    def survey(root: Path | None = None) -> "Survey":
        """Every run that can be read, newest first, and every one that cannot, with the reason."""
        return _survey(root or lab_root(), Query())

    @classmethod
    def heads(cls, root: Path | None = None) -> list[audit.Head]:
        """The audit log's heads that runs saw, and the one that the last removed run left, for `audit.verify`.

        A run whose record cannot be read is left out: `survey` names those.
        """
        heads = [run.record.head for run in cls.survey(root).runs]
        left = (root or lab_root()) / "runs" / HEAD
        return [*heads, audit.Head(**json.loads(left.read_text(encoding="utf-8")))] if left.exists() else heads

    # --- what it is -----------------------------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The folder's name: verb and the first eight digits of the key."""
        return self.record.id

    @property
    def verb(self) -> str:
        """`"train"`, `"swap"`, `"evaluate"` …"""
        return self.record.verb

    @property
    def key(self) -> str:
        """SHA-256 of what makes the run this run, see `runs.key`."""
        return self.record.key

    @property
    def root(self) -> Path:
        """The lab that the run belongs to."""
        return self.path.parent.parent

    @property
    def inputs(self) -> dict[str, str]:
        """Name to origin, digest or run id."""
        return dict(self.record.inputs)

    @property
    def recipe_json(self) -> str:
        """The recipe as canonical JSON."""
        return canonical(self.record.recipe)

    @property
    def finished(self) -> bool:
        """Whether the work is done."""
        return self.record.status == "finished"

    @property
    def summary(self) -> dict[str, Any]:
        """What `finish` was given."""
        return dict(self.record.summary)

    def recipe(self, cls: type[R]) -> R:
        """The recipe as an object of its type. RunError if it is of another type, or of a schema that has no words here."""
        schema = self.record.recipe_schema
        if schema not in ("", schema_of(cls)):
            raise RunError(
                expected=f"a recipe of the schema {schema_of(cls)} in {self.id}",
                got=f"{schema}, which says what the other cannot",
                remedy="read it as plain JSON (`recipe_json`) or with the version that wrote it, or run anew with a new recipe",
            )
        return from_json(cls, self.recipe_json)

    # --- working on it --------------------------------------------------------------------------------------------------

    def __enter__(self: H) -> H:
        try:
            self._lock = acquire(self.path / "lock", wait=False)
        except BlockingIOError as error:
            raise RunError(
                expected=f"run {self.id} to be free",
                got="a process that works on it",
                remedy="wait for it or stop it, or start another with force=True",
            ) from error
        try:
            self._take_up()
        except BaseException:
            self._lock.close()
            self._lock = self._journal = None
            raise
        return self

    def _take_up(self) -> None:
        """Go on behind what is on the disk."""
        self.record = read_record(self.path)
        if self.finished:
            raise RunError(
                expected=f"run {self.id} unfinished",
                got="a finished run",
                remedy="make the same call again, which returns it; or start another with force=True",
            )
        quota.require_room(self.root)
        self._journal = Journal(self.path)
        # The key has no code in it: which code went on, and with which packages, is on record here.
        self.emit("opened", code=code_version(), environment=environment())
        self.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        lock, _ = self._working()
        try:
            self.flush()
        finally:
            self._lock = self._journal = None
            lock.close()

    def emit(self, kind: str, **fields: Any) -> None:
        """Add an event (JSON values only). It reaches the disk with the next `flush`.

        Now and then that is here; RunError then if the lab's runs have outgrown their quota.
        """
        _, journal = self._working()
        journal.add(kind, fields)
        if journal.due:
            journal.flush()
            quota.require_room(self.root)

    def flush(self) -> None:
        """Write the waiting events as one segment, atomically."""
        self._working()[1].flush()

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A temporary path to write artifact `name` to; when the block ends well, its SHA-256 is recorded and it is renamed into
        place, replacing an older one. The temporary name keeps the suffix, by which encoders choose a format.

        StorageError if the system refuses the file, RunError if with it the lab's runs outgrow their quota: the older one stays.
        """
        self._working()
        place = self._place(name)
        temporary = place.with_name(f".part-{place.name}")
        with storing(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            temporary.unlink(missing_ok=True)
            try:
                yield temporary
                quota.require_room(self.root, freed=place.stat().st_size if place.exists() else 0)
                # Recorded before the rename: after a kill in between, the old file still has a digest on record.
                self.emit("artifact", name=name, sha256=sha256_file(temporary), bytes=temporary.stat().st_size)
                self.flush()
                put_in_place(temporary, place)
            finally:
                temporary.unlink(missing_ok=True)

    def finish(self, **summary: Any) -> None:
        """Close the run with its key figures: artifacts' digests and the audit log's head go into `run.json`."""
        self._working()
        self.emit("finished", **summary)
        self.flush()
        made = {name: sha256_file(path) for name, path in self.artifacts().items()}
        line = audit.append(
            self.root, {"action": f"{self.verb} finished", "run": self.id, "key": self.key, "artifacts": starting.briefly(made)}
        )
        changes = {
            "status": "finished",
            "finished": now(),
            "summary": json.loads(canonical(summary)),
            "artifacts": made,
            "audit_count": line.head.count,
            "audit_hash": line.head.hash,
        }
        write_record(self.path, self.record.model_dump(mode="json") | changes)
        self.record = read_record(self.path)

    # --- what came of it ------------------------------------------------------------------------------------------------

    def events(self, kind: str | None = None, *, unique: str | None = None) -> list[dict[str, Any]]:
        """Events on the disk, oldest first, of one kind or all.

        A resumed training passes some steps twice; with `unique` (such as `"step"`) only the last event of each value of that
        field stands. Raises `RunError` for a segment that was altered.
        """
        found = [event for event in recorded(self.path) if kind is None or event["kind"] == kind]
        return found if unique is None else latest(self.path, found, unique)

    def require_finished(self) -> None:
        """Raise RunError unless the work is done."""
        if not self.finished:
            raise RunError(
                expected=f"a finished {self.verb} run",
                got=f"{self.id} ({self.record.status})",
                remedy="make the same call again: it goes on where it stopped",
            )

    def artifacts(self) -> dict[str, Path]:
        """Name to path of everything that was made, whole files only."""
        folder = self.path / "artifacts"
        found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(folder).as_posix(): path for path in found}

    def has(self, name: str) -> bool:
        """Whether artifact `name` is there."""
        return self._place(name).is_file()

    def artifact(self, name: str) -> Path:
        """The path of an artifact. Raises `RunError` if it is missing or is not, to the byte, what this run wrote."""
        place = self._place(name)
        if not place.is_file():
            made = ", ".join(self.artifacts()) or "nothing yet"
            raise RunError(expected=f"artifact {name!r} in run {self.id}", got=made, remedy="resume the run, or name one of these")
        if not self._ledger.knows(name, sha256_file(place)):
            raise RunError(
                expected=f"artifact {name!r} of run {self.id} as it was written",
                got="a file with another SHA-256",
                remedy="remove the file and run again with force=True",
            )
        return place

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.record.status})"

    def _repr_html_(self) -> str:
        from faceswap_lab.runs.show import run_html

        return run_html(self.record, list(self.artifacts()))

    def _working(self) -> tuple[IO[bytes], Journal]:
        if self._lock is None or self._journal is None:
            raise RunError(
                expected=f"run {self.id} open for work", got="a handle that only reads", remedy="write inside `with run:`"
            )
        return self._lock, self._journal

    def _place(self, name: str) -> Path:
        folder = self.path / "artifacts"
        place = (folder / name).resolve()
        if place == folder or not place.is_relative_to(folder) or any(part.startswith(".") for part in Path(name).parts):
            raise ValueError(f"an artifact's name stays inside its folder and is not hidden: {name!r}")
        return place


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
        """The runs. Raises the error of the first that cannot be read: for those who must leave none out."""
        for each in self.unreadable:
            raise each.error
        return self.runs


def class_of(verb: str) -> type[Any]:
    """The class of a verb's runs; `Run` for a verb that has none of its own."""
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
