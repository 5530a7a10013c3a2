"""A run: one folder that says what was done, with what, and what came of it.

runs/train-3f9a1c22/
  run.json          format, verb, recipe, inputs, code, environment, status, summary, head of the audit log
  events/000001.jsonl …   what happened, in numbered segments, each renamed whole
  artifacts/        what was made, each renamed whole and recorded with its SHA-256
  lock              held by the process that works on it
"""

import difflib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, ClassVar, TypeVar

from faceswap_lab.errors import RunError, storing
from faceswap_lab.files import acquire, canonical, put_in_place, sha256_file, sha256_text, write_whole
from faceswap_lab.runs import events, quota
from faceswap_lab.runs.environment import code_version, environment
from faceswap_lab.runs.recipe import R, from_json
from faceswap_lab.runs.record import FORMAT, make_folder, read_record, run_folders, write_record
from faceswap_lab.runs.root import lab_root
from faceswap_lab.trust import audit

HEAD = ".audit-head.json"
"""In `runs/`: the audit log's head when the last run was removed."""

HANDLES = {
    "evaluate": "faceswap_lab.verbs.evaluate.scores:ScoreRun",
    "faceset": "faceswap_lab.verbs.library:FacesetRun",
    "render": "faceswap_lab.verbs.render.dataset:ShardRun",
    "swap": "faceswap_lab.verbs.swap.result:SwapRun",
    "train": "faceswap_lab.verbs.train.result:TrainRun",
}
"""Verb to the class of its runs, imported when the first such run is opened: a verb owns what can be done with its result, and this
module knows none of them."""

FLUSH_AFTER_S = 5.0
"""Events reach the disk at the latest with the first one that comes this long after the last segment."""


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

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.record = read_record(self.path)
        if self.VERB not in (None, self.record.verb):
            raise RunError(
                expected=f"a run of {self.VERB}",
                got=f"{self.record.id}, a run of {self.record.verb}",
                remedy=f"give the Run of a {self.VERB}",
            )
        self._lock: IO[bytes] | None = None
        self._buffer: list[str] = []
        self._flushed_at = 0.0
        self._next_event = 0
        self._next_segment = 1

    # --- making and finding ---------------------------------------------------------------------------------------------

    @classmethod
    def _handle(cls: type[H], folder: Path) -> H:
        """The folder's run as the class of its verb. RunError if that is not what this class handles."""
        verb = read_record(folder).verb
        module, _, name = HANDLES.get(verb, "faceswap_lab.runs.run:Run").partition(":")
        kind = getattr(import_module(module), name)
        if not issubclass(kind, cls):
            raise RunError(
                expected=f"a run of {cls.VERB}", got=f"{folder.name}, a run of {verb}", remedy=f"give the Run of a {cls.VERB}"
            )
        run: H = kind(folder)
        return run

    @classmethod
    def start(cls: type[H], root: Path, verb: str, recipe_json: str, inputs: Mapping[str, str], *, force: bool = False) -> H:
        """The run of this verb, recipe, inputs (name to origin or digest) and code version.

        An identical finished run is returned as it is, an identical unfinished one to be resumed; else, or with `force`, a new
        folder is made, whole or not at all.
        """
        recipe = json.loads(recipe_json)
        code = code_version()
        key = sha256_text(canonical({"verb": verb, "recipe": recipe, "inputs": dict(inputs), "code": code}))
        stem = f"{verb}-{key[:8]}"
        folders = [folder for folder in run_folders(root) if folder.name == stem or folder.name.startswith(f"{stem}-")]
        if not force:
            same = [run for run in map(cls._handle, folders) if run.record.key == key]
            if same:
                return max(same, key=lambda run: (run.finished, run.record.created))
        quota.require_room(root)
        head = audit.append(root, {"action": f"{verb} started", "key": key, "inputs": _briefly(inputs)}).head
        record = {
            "format": FORMAT,
            "verb": verb,
            "key": key,
            "recipe": recipe,
            "inputs": dict(inputs),
            "code": code,
            "environment": environment(),
            "created": _now(),
            "audit_count": head.count,
            "audit_hash": head.hash,
        }
        return cls._handle(make_folder(root, stem, record))

    @classmethod
    def open(cls: type[H], name: str, root: Path | None = None) -> H:
        """The run of this id, or of an id that only one run's begins with. Raises `RunError` naming what is near otherwise."""
        folders = {folder.name: folder for folder in run_folders(root or lab_root())}
        if name in folders:
            return cls._handle(folders[name])
        hits = [known for known in folders if name and known.startswith(name)]
        if len(hits) == 1:
            return cls._handle(folders[hits[0]])
        if hits:
            raise RunError(expected=f"one run whose id begins with {name!r}", got=", ".join(hits), remedy="give more of the id")
        near = difflib.get_close_matches(name, folders, n=5, cutoff=0.4) or sorted(folders)[-5:]
        remedy = f"near are {', '.join(near)}" if near else f"there are no runs below {root or lab_root()} yet"
        raise RunError(expected="the id of a run", got=repr(name), remedy=remedy)

    @classmethod
    def find(
        cls: type[H], root: Path | None = None, *, verb: str | None = None, finished: bool | None = None, uses: str | None = None
    ) -> list[H]:
        """Runs, newest first; of one verb, finished or not, with the origin, digest or run id `uses` among their inputs."""
        wanted = verb or cls.VERB
        records = ((folder, read_record(folder).verb) for folder in run_folders(root or lab_root()))
        runs = [cls._handle(folder) for folder, its in records if wanted in (None, its)]
        kept = [
            run for run in runs if (finished is None or run.finished == finished) and (uses is None or uses in run.inputs.values())
        ]
        return sorted(kept, key=lambda run: run.record.created, reverse=True)

    @classmethod
    def heads(cls, root: Path | None = None) -> list[audit.Head]:
        """The audit log's heads that runs saw, and the one that the last removed run left, for `audit.verify`."""
        heads = [audit.Head(count=run.record.audit_count, hash=run.record.audit_hash) for run in cls.find(root)]
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
        """SHA-256 of verb, recipe, inputs and code version."""
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
        """The recipe as an object of its type."""
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
            self._lock = None
            raise
        return self

    def _take_up(self) -> None:
        """Go on behind what is on the disk."""
        self.record = read_record(self.path)
        if self.finished:
            raise RunError(expected=f"run {self.id} unfinished", got="a finished run", remedy="start another with force=True")
        quota.require_room(self.root)
        segments = events.segments(self.path)
        self._next_segment = int(segments[-1].stem) + 1 if segments else 1
        self._next_event = sum(1 for _ in events.recorded(self.path))
        self._buffer.clear()
        self.emit("opened", environment=environment())
        self.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        lock = self._working()
        try:
            self.flush()
        finally:
            self._lock = None
            lock.close()

    def emit(self, kind: str, **fields: Any) -> None:
        """Add an event (JSON values only). It reaches the disk with the next `flush`.

        Now and then that is here; RunError then if the lab's runs have outgrown their quota.
        """
        self._working()
        event = {"n": self._next_event, "time": _now(), "kind": kind}
        if clash := event.keys() & fields.keys():
            raise ValueError(f"an event's own fields cannot be given: {sorted(clash)}")
        self._buffer.append(canonical(event | fields))
        self._next_event += 1
        if time.monotonic() - self._flushed_at > FLUSH_AFTER_S:
            self.flush()
            quota.require_room(self.root)

    def flush(self) -> None:
        """Write the waiting events as one segment, whole or not at all."""
        self._working()
        if self._buffer:
            write_whole(self.path / "events" / f"{self._next_segment:06d}.jsonl", "".join(line + "\n" for line in self._buffer))
            self._next_segment += 1
            self._buffer.clear()
        self._flushed_at = time.monotonic()

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
            self.root, {"action": f"{self.verb} finished", "run": self.id, "key": self.key, "artifacts": _briefly(made)}
        )
        changes = {
            "status": "finished",
            "finished": _now(),
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
        found = [event for event in events.recorded(self.path) if kind is None or event["kind"] == kind]
        return found if unique is None else events.latest(self.path, found, unique)

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
        known = [event.get("sha256") for event in self.events("artifact") if event.get("name") == name]
        if sha256_file(place) not in known:
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

    def _working(self) -> IO[bytes]:
        if self._lock is None:
            raise RunError(
                expected=f"run {self.id} open for work", got="a handle that only reads", remedy="write inside `with run:`"
            )
        return self._lock

    def _place(self, name: str) -> Path:
        folder = self.path / "artifacts"
        place = (folder / name).resolve()
        if place == folder or not place.is_relative_to(folder) or any(part.startswith(".") for part in Path(name).parts):
            raise ValueError(f"an artifact's name stays inside its folder and is not hidden: {name!r}")
        return place


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _briefly(digests: Mapping[str, str]) -> dict[str, str]:
    """As a line of the log holds them: many are one digest of all, which `run.json` can be checked against."""
    text = canonical(dict(digests))
    return dict(digests) if len(text) <= 8_192 else {f"sha256 of {len(digests)}": sha256_text(text)}
