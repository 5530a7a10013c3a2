"""An index of a lab's runs, `runs/.index.sqlite`, which rules out records that cannot match a query, so that they need not be read.

The files remain authoritative. A row is valid only while `run.json` has the size, times and inode that it had when it was read, and
matching runs are read from their files. An index that is missing, damaged, of another version, locked or not writable is rebuilt or
bypassed. It holds digests in place of names and paths, so that people erased from the lab do not remain in it.
"""

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.errors import LabError
from faceswap_lab.files import sha256_text
from faceswap_lab.runs.call import fields_of
from faceswap_lab.runs.record import Record, read_record

NAME = ".index.sqlite"
VERSION = 2
BUSY_S = 0.2
"""Seconds to wait for another process's write before the index is bypassed."""

SETTLED_NS = 2_000_000_000
"""A file that changed less than this before it was read is not indexed: it may change again with the same size and time, because
file system timestamps have a resolution of up to two seconds."""

_TABLES = """
CREATE TABLE runs (id TEXT PRIMARY KEY, stamp TEXT NOT NULL, verb TEXT NOT NULL, finished INTEGER NOT NULL, name TEXT NOT NULL);
CREATE TABLE inputs (run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, value TEXT NOT NULL);
CREATE INDEX inputs_by_value ON inputs(value);
CREATE INDEX inputs_by_run ON inputs(run);
CREATE TABLE artifacts (run TEXT NOT NULL REFERENCES runs(id) ON DELETE CASCADE, value TEXT NOT NULL);
CREATE INDEX artifacts_by_value ON artifacts(value);
CREATE INDEX artifacts_by_run ON artifacts(run);
"""

_DROPS = "DROP TABLE IF EXISTS artifacts; DROP TABLE IF EXISTS inputs; DROP TABLE IF EXISTS runs;"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search for runs; None matches anything.

    `uses` is an input, or a text field of one; `makes` the SHA-256 of an artifact; `name` is the recipe's.
    """

    verb: str | None = None
    finished: bool | None = None
    uses: str | None = None
    makes: str | None = None
    name: str | None = None

    def fits(self, record: Record) -> bool:
        """Whether a record matches."""
        return (
            self.verb in (None, record.verb)
            and self.finished in (None, record.status == "finished")
            and self.uses in (None, *_texts(record))
            and self.makes in (None, *record.artifacts.values())
            and self.name in (None, _name(record))
        )


def candidates(root: Path, folders: list[Path], query: Query) -> tuple[list[tuple[Path, Record]], list[tuple[Path, LabError]]]:
    """The matching run folders with their records, and the unreadable ones with their errors."""
    by_name = {folder.name: folder for folder in folders}
    known = set(by_name) - _excluded(root, by_name, query)
    found, unreadable = [], []
    for name in sorted(known):
        try:
            record = read_record(by_name[name])
        except LabError as error:
            unreadable.append((by_name[name], error))
        else:
            if query.fits(record):
                found.append((by_name[name], record))
    return found, unreadable


def _excluded(root: Path, folders: dict[str, Path], query: Query) -> set[str]:
    """Names of the runs that the index rules out; none if the index is unavailable or the query empty."""
    if query == Query() or not folders:
        return set()
    path = root / "runs" / NAME
    for attempt in range(2):
        try:
            with closing(_opened(path)) as base, base:
                _bring_up(base, folders)
                return _ruled_out(base, query)
        except sqlite3.DatabaseError as error:
            # Held locks and read-only disks are operational errors; any other error means a damaged file.
            if isinstance(error, sqlite3.OperationalError) or attempt:
                _log.info("%s is not used: %s", path, error)
                return set()
            _log.warning("%s is damaged (%s) and is rebuilt", path, error)
            forget(root)
        except OSError as error:
            _log.info("%s is not used: %s", path, error)
            return set()
    return set()


def forget(root: Path) -> None:
    """Remove the index; the next search rebuilds it."""
    (root / "runs" / NAME).unlink(missing_ok=True)


def _opened(path: Path) -> sqlite3.Connection:
    base = sqlite3.connect(path, timeout=BUSY_S)
    try:
        base.execute("PRAGMA foreign_keys = ON")
        base.execute("PRAGMA secure_delete = ON")
        if base.execute("PRAGMA user_version").fetchone()[0] != VERSION:
            base.executescript(f"{_DROPS} {_TABLES} PRAGMA user_version = {VERSION}")
    except BaseException:
        base.close()
        raise
    return base


def _bring_up(base: sqlite3.Connection, folders: dict[str, Path]) -> None:
    """Update the rows: one for each record that has settled, none for others."""
    rows: dict[str, str] = dict(base.execute("SELECT id, stamp FROM runs"))
    for name in rows.keys() - folders.keys():
        base.execute("DELETE FROM runs WHERE id = ?", (name,))
    for name, folder in folders.items():
        stamp = stamp_of(folder / "run.json")
        if rows.get(name) == stamp != "":
            continue
        base.execute("DELETE FROM runs WHERE id = ?", (name,))
        if stamp:
            _enter(base, folder, stamp)


def _enter(base: sqlite3.Connection, folder: Path, stamp: str) -> None:
    try:
        record = read_record(folder)
    except LabError:
        return  # without a row it is read, and reported, each time
    if stamp_of(folder / "run.json") != stamp:
        return  # it changed while it was read
    base.execute(
        "INSERT INTO runs VALUES (?, ?, ?, ?, ?)",
        (folder.name, stamp, record.verb, record.status == "finished", sha256_text(_name(record))),
    )
    base.executemany("INSERT INTO inputs VALUES (?, ?)", {(folder.name, sha256_text(text)) for text in _texts(record)})
    base.executemany(
        "INSERT INTO artifacts VALUES (?, ?)", {(folder.name, sha256_text(made)) for made in record.artifacts.values()}
    )


def _ruled_out(base: sqlite3.Connection, query: Query) -> set[str]:
    tests: list[tuple[str, str | bool]] = []
    if query.verb is not None:
        tests.append(("verb = ?", query.verb))
    if query.finished is not None:
        tests.append(("finished = ?", query.finished))
    if query.uses is not None:
        tests.append(("id IN (SELECT run FROM inputs WHERE value = ?)", sha256_text(query.uses)))
    if query.makes is not None:
        tests.append(("id IN (SELECT run FROM artifacts WHERE value = ?)", sha256_text(query.makes)))
    if query.name is not None:
        tests.append(("name = ?", sha256_text(query.name)))
    where = " AND ".join(text for text, _ in tests)
    return {row[0] for row in base.execute(f"SELECT id FROM runs WHERE NOT ({where})", [value for _, value in tests])}  # noqa: S608


def stamp_of(path: Path, *, clock: Callable[[], int] = time.time_ns) -> str:
    """Size, times and inode of a file that has settled; empty for one that has not, or does not exist."""
    try:
        stat = path.stat()
    except OSError:
        return ""
    changed = max(stat.st_mtime_ns, stat.st_ctime_ns)
    if clock() - changed < SETTLED_NS:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_ino}"


def _name(record: Record) -> str:
    return str(record.recipe.get("name", "")) if isinstance(record.recipe, dict) else ""


def _texts(record: Record) -> Iterator[str]:
    """Each input as a whole, and the texts in it, such as a file's "sha256:…" or a faceset's run."""
    for value in record.inputs.values():
        yield value
        yield from (inner for inner in fields_of(value).values() if isinstance(inner, str))
