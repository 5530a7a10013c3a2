"""Writing to a run: one process at a time, under the folder's lock, each artifact and event segment written atomically."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from faceswap_lab.errors import LabError, RunError, storing
from faceswap_lab.files import acquire, canonical, put_in_place, sha256_file
from faceswap_lab.runs import quota
from faceswap_lab.runs.call import asked_in, briefly, digest_of
from faceswap_lab.runs.environment import code_version, environment
from faceswap_lab.runs.events import Journal, now
from faceswap_lab.runs.reading import RunReader
from faceswap_lab.runs.record import Record, read_record, write_record
from faceswap_lab.runs.tracking.follow import Followers, followers
from faceswap_lab.trust import audit

W = TypeVar("W", bound="RunWorker")


def _ending(error: BaseException) -> tuple[str, dict[str, str]]:
    """The last event of a run that an error ended: `stopped`, or `failed` with the error's type and its three parts or its text."""
    if isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit):
        return "stopped", {}
    parts = error.parts if isinstance(error, LabError) else {"got": str(error)}
    return "failed", {"error": type(error).__name__, **parts}


class RunWorker(RunReader):
    """The writing part of `Run`, used inside `with run:`, which holds the folder's lock and flushes events at the end."""

    def __init__(self, path: Path, record: Record | None = None) -> None:
        super().__init__(path, record)
        self._lock: IO[bytes] | None = None
        self._journal: Journal | None = None
        self._followers: Followers | None = None

    def __enter__(self: W) -> W:
        try:
            self._lock = acquire(self.path / "lock", wait=False)
        except BlockingIOError as error:
            raise RunError(
                expected=f"run {self.id} to be free",
                got="a process that is working on it",
                remedy="wait for it or stop it, or start another with force=True",
            ) from error
        try:
            self._take_up()
        except BaseException:
            self._lock.close()
            self._lock = self._journal = self._followers = None
            raise
        return self

    def _take_up(self) -> None:
        """Resume from what is on disk."""
        self.record = read_record(self.path)
        if self.finished:
            raise RunError(
                expected=f"run {self.id} unfinished",
                got="a finished run",
                remedy="repeat the call, which returns it; or start another with force=True",
            )
        self.require_genuine()
        quota.require_room(self.root)
        self._journal = Journal(self.path)
        beside = followers(self.record, self.root)
        self._warn(beside.start())
        self._followers = beside
        # The key does not cover code: this event records which code and packages the run is resumed with.
        self.emit("opened", code=code_version(), environment=environment())
        self.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        lock, journal = self._working()
        try:
            if self._followers is not None:
                self._warn(self._followers.close())
            if error is not None and not self.finished:
                journal.add(*_ending(error))
            self.flush()
        finally:
            self._lock = self._journal = self._followers = None
            lock.close()

    def emit(self, kind: str, **fields: Any) -> None:
        """Add an event (JSON values only). It is written with the next `flush`.

        Flushes when the last one was `FLUSH_AFTER_S` ago; RunError then if the lab's runs exceed their quota.
        """
        _, journal = self._working()
        journal.add(kind, fields)
        if self._followers is not None:
            self._warn(self._followers.event(kind, fields))
        if journal.due:
            journal.flush()
            quota.require_room(self.root)

    def _warn(self, texts: Iterable[str]) -> None:
        """A `warning` event for each text."""
        _, journal = self._working()
        for text in texts:
            journal.add("warning", {"text": text})

    def flush(self) -> None:
        """Write the pending events as one segment, atomically."""
        self._working()[1].flush()

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        """A temporary path to write artifact `name` to; if the block succeeds, its SHA-256 is recorded and it is renamed into
        place, replacing an older one. The temporary name keeps the suffix, by which encoders choose a format.

        StorageError on an OSError, RunError if the lab's runs then exceed their quota; the older artifact is kept.
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
                # Recorded before the rename: after a kill in between, the old file's digest is still on record.
                self.emit("artifact", name=name, sha256=sha256_file(temporary), bytes=temporary.stat().st_size)
                self.flush()
                put_in_place(temporary, place)
            finally:
                temporary.unlink(missing_ok=True)

    def finish(self, **summary: Any) -> None:
        """Finish the run with its key figures: the artifacts' digests and the audit log's head go into `run.json`."""
        self._working()
        self.emit("finished", **summary)
        self.flush()
        made = {name: sha256_file(path) for name, path in self.artifacts().items()}
        figures = json.loads(canonical(summary))
        event = {"action": f"{self.verb} finished", "run": self.id, "key": self.key, "artifacts": briefly(made)}
        record = self.record.model_dump(mode="json")
        line = audit.append(self.root, event | {"record": digest_of(asked_in(record)), "summary": digest_of(figures)})
        changes = {
            "status": "finished",
            "finished": now(),
            "summary": figures,
            "artifacts": made,
            "audit_count": line.head.count,
            "audit_hash": line.head.hash,
        }
        write_record(self.path, record | changes)
        self.record = read_record(self.path)

    def _working(self) -> tuple[IO[bytes], Journal]:
        if self._lock is None or self._journal is None:
            raise RunError(expected=f"run {self.id} open for writing", got="a read-only handle", remedy="write inside `with run:`")
        return self._lock, self._journal
