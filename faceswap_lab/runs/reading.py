"""Reading a run's folder: record, events, artifacts. Any number of readers; nothing is locked or written."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical, sha256_file
from faceswap_lab.runs.call import asked_in, briefly, digest_of, key_of
from faceswap_lab.runs.events import Ledger, latest, recorded
from faceswap_lab.runs.recipe import R, from_json, schema_of
from faceswap_lab.runs.record import Record, read_record
from faceswap_lab.trust import audit


class RunReader:
    """The read-only part of `Run`, the handle on a run's folder."""

    VERB: ClassVar[str | None] = None
    """The verb whose runs this class handles; None for any."""

    RESULT_VERSION: ClassVar[int] = 1
    """Incremented manually whenever the verb's code (or code it calls) makes other bytes from the same inputs, so that older
    results are not reused. tests/test_golden.py notices when that was forgotten."""

    def __init__(self, path: Path, record: Record | None = None) -> None:
        self.path = path.resolve()
        self.record = record or read_record(self.path)
        if self.VERB not in (None, self.record.verb):
            raise RunError(
                expected=f"a run of {self.VERB}",
                got=f"{self.record.id}, a run of {self.record.verb}",
                remedy=f"pass a run of {self.VERB}",
            )
        self._ledger = Ledger(self.path)
        self._genuine = 0

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
        """SHA-256 of what identifies the run, see `runs.call`."""
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
        """The key figures passed to `finish`."""
        return dict(self.record.summary)

    def recipe(self, cls: type[R]) -> R:
        """The recipe as an object of its type. RunError if it is of another type, or of a schema that cannot be migrated."""
        schema = self.record.recipe_schema
        if schema not in ("", schema_of(cls)):
            raise RunError(
                expected=f"a recipe of the schema {schema_of(cls)} in {self.id}",
                got=f"{schema}, which cannot be converted to it",
                remedy="read it as plain JSON (`recipe_json`) or with the version that wrote it, or start a run with a new recipe",
            )
        return from_json(cls, self.recipe_json)

    def events(self, kind: str | None = None, *, unique: str | None = None) -> list[dict[str, Any]]:
        """Events on disk, oldest first, of one kind or all.

        A resumed training repeats some steps; with `unique` (such as `"step"`) only the last event of each value of that field
        is returned. Raises `RunError` for an altered segment.
        """
        found = [event for event in recorded(self.path) if kind is None or event["kind"] == kind]
        return found if unique is None else latest(self.path, found, unique)

    @staticmethod
    def counted(recipe: Any) -> Any:
        """A recipe as plain JSON, without what is only a hint, as it enters the key: see `runs.call.Keyed`."""
        return recipe

    def require_genuine(self) -> None:
        """Raise RunError unless the record is what the key and the audit log say of it: verb, recipe, inputs, data, and for a
        finished run its key figures and artifacts.

        The key of format 1, whose runs have no result version, also covered the code and cannot be computed again.
        """
        stamp = (self.path / "run.json").stat().st_mtime_ns
        if stamp == self._genuine:
            return
        told = {"result_version": 0, "artifacts": {}, "summary": {}} | json.loads(
            (self.path / "run.json").read_text(encoding="utf-8")
        )
        try:
            if told["result_version"] and (found := key_of(told, self.counted(told["recipe"]))) != told["key"]:
                raise self._altered("whose verb, recipe, inputs and data are those of its key", f"key {found[:12]}… from them")
            if self.finished:
                self._require_logged(told)
        except ValueError as error:  # a value that no record has, such as infinity
            raise self._altered("with values that it may have", str(error)) from error
        self._genuine = stamp

    def _require_logged(self, told: Mapping[str, Any]) -> None:
        """RunError unless the line that the record names is the one that was logged when it was finished."""
        line = audit.line_at(self.root, int(told["audit_count"]))
        event = {} if line is None or line.hash != told["audit_hash"] else line.event
        logged = {name: event.get(name) for name in ("action", "run", "key", "artifacts")}
        wanted = {
            "action": f"{self.verb} finished",
            "run": self.id,
            "key": told["key"],
            "artifacts": briefly(told["artifacts"]),
        }
        if logged != wanted:
            raise self._altered("as the audit log has it", f"another than line {told['audit_count']} of the log")
        # Before 0.2 the line said neither.
        for name, digest in (("record", digest_of(asked_in(told))), ("summary", digest_of(told["summary"]))):
            if event.get(name, digest) != digest:
                raise self._altered("as the audit log has it", f"another {name}")

    def _altered(self, how: str, got: str) -> RunError:
        return RunError(
            expected=f"the record of {self.id} {how}",
            got=got,
            remedy="restore run.json and audit.jsonl from a backup, or make the call again with force=True",
        )

    def require_finished(self) -> None:
        """Raise RunError unless the work is done, and the record genuine."""
        if not self.finished:
            raise RunError(
                expected=f"a finished {self.verb} run",
                got=f"{self.id} ({self.record.status})",
                remedy="repeat the call: it resumes where it stopped",
            )
        self.require_genuine()

    def artifacts(self) -> dict[str, Path]:
        """Name to path of all artifacts, complete files only."""
        folder = self.path / "artifacts"
        found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("."))
        return {path.relative_to(folder).as_posix(): path for path in found}

    def has(self, name: str) -> bool:
        """Whether artifact `name` exists."""
        return self._place(name).is_file()

    def artifact(self, name: str) -> Path:
        """The path of an artifact. Raises `RunError` if it is missing or not byte-identical to what this run wrote."""
        place = self._place(name)
        if not place.is_file():
            made = ", ".join(self.artifacts()) or "nothing yet"
            raise RunError(expected=f"artifact {name!r} in run {self.id}", got=made, remedy="resume the run, or name one of these")
        digest = sha256_file(place)
        if self.finished:
            self.require_genuine()
        if not self._ledger.knows(name, digest) or (self.finished and self.record.artifacts.get(name) != digest):
            raise RunError(
                expected=f"artifact {name!r} of run {self.id} as it was written",
                got="a file with another SHA-256",
                remedy="remove the file and run again with force=True",
            )
        return place

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunReader) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id!r}, {self.record.status})"

    def _repr_html_(self) -> str:
        from faceswap_lab.runs.show import run_html

        return run_html(self.record, list(self.artifacts()))

    def _place(self, name: str) -> Path:
        folder = self.path / "artifacts"
        place = (folder / name).resolve()
        if place == folder or not place.is_relative_to(folder) or any(part.startswith(".") for part in Path(name).parts):
            raise ValueError(f"an artifact's name must be inside its folder and not hidden, got {name!r}")
        return place
