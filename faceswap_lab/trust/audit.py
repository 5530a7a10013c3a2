"""The audit log: `<root>/audit.jsonl`, one line per action, each chained to the previous one by its hash.

Changing, removing, reordering or inserting a line breaks the chain at that line. Truncation leaves a shorter but valid chain; it is
detected by the heads (count and hash) stored in `runs/.audit-head.json` after each line, and in runs. Whoever rewrites or cuts the
log and all heads together leaves no trace on this machine. Lines hold times, users, actions and digests, never face data, and ids
in place of real people's names (see `trust.subjects`).
"""

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any

from faceswap_lab.errors import ProvenanceError, storage_error, storing
from faceswap_lab.files import canonical, locked, sha256_text, sync_folder, write_whole
from faceswap_lab.trust import subjects

if sys.platform != "win32":
    import pwd

WITHIN = "FACESWAP_LAB_WITHIN"
"""Set for the kernel of a notebook executed by a run: lines logged from it name that run, which holds the notebook's outputs."""

START = "0" * 64
"""The previous hash of the first line."""

ANCHOR = ".audit-head.json"
"""A file in `runs/` with the head after the last line. It is written after the line, and so never ahead of the log."""

MAX_LINE = 65_536
"""Bytes. An event is a few names and digests; anything longer is data that does not belong in a log."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The end of the chain at some point in time: the number of lines, and the hash of the last."""

    count: int = 0
    hash: str = START


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line. `number` counts from 1, `time` is UTC in ISO 8601, `hash` is the SHA-256 of `previous` and the canonical rest."""

    number: int
    time: str
    user: str
    event: dict[str, Any]
    previous: str
    hash: str

    @property
    def head(self) -> Head:
        """The chain's head when this line was the last."""
        return Head(count=self.number, hash=self.hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result of verification: the number of valid lines, and the first invalid one (from 1; None if all are valid)."""

    count: int
    head: Head
    bad_line: int | None = None
    reason: str = ""

    @property
    def whole(self) -> bool:
        """Whether every line and every head verifies."""
        return self.bad_line is None

    def require_whole(self) -> None:
        """Raise `ProvenanceError` unless the log is intact."""
        if not self.whole:
            raise ProvenanceError(
                expected="an intact audit log",
                got=f"{self.reason} (line {self.bad_line})",
                remedy=f"compare with a backup; lines 1 to {self.count} are valid",
            )


def path_of(root: Path) -> Path:
    """The path of a lab's log."""
    return root / "audit.jsonl"


def append(root: Path, event: Mapping[str, Any], *, people: Iterable[str | None] = ()) -> Entry:
    """Append one line, flushed to disk before this returns. Blocks while another process writes.

    Names of real people are replaced by ids (`subjects.replaced`); `people` are names in the event's texts that the lab may not
    know. A last line left incomplete by a kill is moved to `audit.torn-<line>.jsonl`, and its removal is logged in a line of its
    own. Raises `ProvenanceError` if the last complete line does not verify, or the log was cut: nothing may be chained to it.
    `StorageError` if the disk is full; the line may then be incomplete.
    """
    return append_all(root, [event], people=people)[0]


def append_all(root: Path, events: Iterable[Mapping[str, Any]], *, people: Iterable[str | None] = ()) -> list[Entry]:
    """`append` for many events, a line each, flushed to disk once: thousands of files may be admitted in one call."""
    path = path_of(root)
    fresh = not path.exists()
    running = {"notebook_run": os.environ[WITHIN]} if os.environ.get(WITHIN) else {}
    # Before the log's lock: the table of names has one of its own.
    nameless = subjects.replaced(root, events, people)
    entries: list[Entry] = []
    with storing(path), locked(path) as file:
        last, torn = _last(file)
        _require_uncut(last, anchor(root))
        if torn:
            last = _set_aside(path, file, last, torn).head
        for event in nameless:
            entries.append(_write(file, last, {**event, **running}))
            last = entries[-1].head
        _flush(file)
        if last.count:
            write_whole(root / "runs" / ANCHOR, canonical(asdict(last)) + "\n", private=True)
    if fresh:
        sync_folder(root)
    return entries


def anchor(root: Path) -> Head:
    """The head after the last line that was written to this lab's log; the initial one in labs of versions before 0.2."""
    path = root / "runs" / ANCHOR
    try:
        return Head(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return Head()
    except OSError as error:
        raise storage_error(error, path) from error
    except (ValueError, TypeError) as error:
        raise ProvenanceError(
            expected=f"a readable {path}, which holds the end of the audit log",
            got=str(error),
            remedy="restore it from a backup; it must agree with audit.jsonl",
        ) from error


def _require_uncut(last: Head, known: Head) -> None:
    if last.count < known.count or (last.count == known.count and last != known):
        raise ProvenanceError(
            expected=f"an audit log with the {known.count} lines that were written to it",
            got=f"{last.count} lines" if last.count < known.count else "another last line",
            remedy=f"restore audit.jsonl from a backup; if none is left, keep what there is, move it and runs/{ANCHOR} away, and a "
            "new log begins",
        )


def head(root: Path) -> Head:
    """The chain's current head; the initial one if there is no log yet."""
    path = path_of(root)
    if not path.exists():
        return Head()
    with path.open("rb") as file:
        return _last(file)[0]


def line_at(root: Path, number: int) -> Entry | None:
    """Line `number` (from 1), checked by its own hash alone; None if there is none, or another stands in its place.

    For comparing one record with the log without reading all of it as `walk` does.
    """
    path = path_of(root)
    if number < 1 or not path.exists():
        return None
    with path.open("rb") as file:
        line = next(islice(file, number - 1, None), b"")
    try:
        entry = _parse(line.rstrip(b"\n"), None)
    except ValueError:
        return None
    return entry if entry.number == number else None


def read(root: Path) -> list[Entry]:
    """All lines, oldest first. Raises `ProvenanceError` if the chain does not verify."""
    entries, verdict = walk(root)
    verdict.require_whole()
    return entries


def verify(root: Path, *, heads: Iterable[Head] = ()) -> Verdict:
    """Verify the whole chain, and that it still contains the head that was written last, and `heads` (those stored in runs)."""
    # Read before the log, which may grow meanwhile.
    written = anchor(root)
    entries, verdict = walk(root)
    if not verdict.whole:
        return verdict
    for known in sorted([*heads, written], key=lambda h: h.count):
        if known.count > len(entries):
            line, reason = len(entries) + 1, f"the log was truncated: it had {known.count} lines, {len(entries)} are left"
        elif known.count and entries[known.count - 1].hash != known.hash:
            line, reason = known.count, "the line is not the one that was there: the log was rewritten"
        else:
            continue
        held = min(line - 1, len(entries))
        return Verdict(count=held, head=entries[held - 1].head if held else Head(), bad_line=line, reason=reason)
    return verdict


def walk(root: Path) -> tuple[list[Entry], Verdict]:
    """The valid lines, up to the first invalid one, and what is wrong with that. For callers that must not fail on it."""
    path = path_of(root)
    data = path.read_bytes() if path.exists() else b""
    if data and not data.endswith(b"\n"):
        # A writer may be in the middle of a line; once its lock is ours, the line is either complete or torn for good.
        with locked(path) as file:
            file.seek(0)
            data = file.read()
    lines = data.split(b"\n")
    rest = lines.pop()
    entries: list[Entry] = []
    last = Head()
    for line in lines:
        try:
            entry = _parse(line, last)
        except ValueError as error:
            return entries, Verdict(count=len(entries), head=last, bad_line=len(entries) + 1, reason=str(error))
        entries.append(entry)
        last = entry.head
    if rest:
        reason = "the last line is torn: a writer was stopped in the middle of it; the next writer sets it aside"
        return entries, Verdict(count=len(entries), head=last, bad_line=len(entries) + 1, reason=reason)
    return entries, Verdict(count=len(entries), head=last)


def depicted(event: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an export depicts, according to its line. Before 0.2 the field was called "shows"."""
    found = event.get("depicts", event.get("shows", []))
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def notebook_run(event: Mapping[str, Any]) -> str:
    """The run whose notebook caused the line; empty if none did. Before 0.2 the field was called "within"."""
    return str(event.get("notebook_run", event.get("within", "")))


def _parse(line: bytes, last: Head | None) -> Entry:
    """One line as an Entry; `ValueError` says what is wrong with it. Without `last`, only the line's own hash is checked."""
    try:
        text = line.decode()
        fields = json.loads(text)
        entry = Entry(**fields)
    except (ValueError, TypeError) as error:
        raise ValueError("the line is not a log entry") from error
    # Compared byte by byte: the same value in another spelling is another line.
    if canonical(fields) != text:
        raise ValueError("the line is not in canonical form")
    body = {name: value for name, value in fields.items() if name != "hash"}
    if sha256_text(str(entry.previous) + canonical(body)) != entry.hash:
        raise ValueError("the line's hash does not match its content")
    if last is not None and (entry.previous != last.hash or entry.number != last.count + 1):
        raise ValueError("the line does not follow the previous one: a line was removed, inserted or moved")
    return entry


def _last(file: IO[bytes]) -> tuple[Head, bytes]:
    """The head according to the last complete line, and the bytes of a torn line after it."""
    end = file.seek(0, os.SEEK_END)
    size = min(end, 2 * MAX_LINE)
    file.seek(end - size)
    tail = file.read(size)
    whole, newline, torn = tail.rpartition(b"\n")
    if not newline:
        return Head(), torn
    try:
        entry = _parse(whole.rpartition(b"\n")[2], None)
    except ValueError as error:
        raise ProvenanceError(
            expected="an audit log whose last line verifies",
            got=str(error),
            remedy="run `faceswap-lab audit verify` and restore a backup",
        ) from error
    return entry.head, torn


def _set_aside(path: Path, file: IO[bytes], last: Head, torn: bytes) -> Entry:
    number = last.count + 1
    aside = path.with_name(f"audit.torn-{number}.jsonl")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab") as other:
        other.write(torn + b"\n")
        other.flush()
        os.fsync(other.fileno())
    end = file.seek(0, os.SEEK_END)
    file.truncate(end - len(torn))
    _log.warning("line %d of the audit log was torn by a stopped writer; its %d bytes are in %s", number, len(torn), aside.name)
    return _write(file, last, {"action": "torn line set aside", "bytes": len(torn), "file": aside.name})


def _write(file: IO[bytes], last: Head, event: dict[str, Any]) -> Entry:
    body: dict[str, Any] = {
        "number": last.count + 1,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "user": user(),
        "event": event,
        "previous": last.hash,
    }
    entry = Entry(**body, hash=sha256_text(last.hash + canonical(body)))
    line = canonical(asdict(entry)).encode() + b"\n"
    if len(line) > MAX_LINE:
        raise ValueError(f"an audit event of {len(line)} bytes; at most {MAX_LINE}: log digests, not data")
    file.seek(0, os.SEEK_END)
    file.write(line)
    return entry


def _flush(file: IO[bytes]) -> None:
    file.flush()
    os.fsync(file.fileno())


def user() -> str:
    """Who runs this process, such as "alice (uid 1000)", as the system knows them: the environment can be set to anything."""
    if sys.platform == "win32":
        return os.getlogin()
    number = os.getuid()
    try:
        return f"{pwd.getpwuid(number).pw_name} (uid {number})"
    except KeyError:
        # A container may run under a user id without an entry in the password file.
        return f"uid {number}"
