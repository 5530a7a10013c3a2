"""Pruning: the size of runs, and which can be removed."""

import json
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from faceswap_lab.errors import RunError, StorageError
from faceswap_lab.files import acquire, canonical, private_folder, sync_folder, write_whole
from faceswap_lab.runs.quota import size_of as size_of
from faceswap_lab.runs.run import HEAD, Run, Unreadable
from faceswap_lab.trust import audit

GONE = ".gone-"
"""Prefix of the folder of a run that is being removed; readers ignore such folders."""

_AT_WORK = "a process is working on it"
_LITTER = "left by a process that was stopped"
_HALF_MADE_S = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """A run (or the remains of an interrupted prune) with its size, and why it is removed or retained."""

    id: str
    path: Path
    num_bytes: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a prune would remove, what matches but is retained, and leftovers of stopped processes, which are removed as well."""

    removable: tuple[Weighed, ...]
    retained: tuple[Weighed, ...]
    leftovers: tuple[Weighed, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes that would be freed."""
        return sum(each.num_bytes for each in (*self.removable, *self.leftovers))


# --- pruning --------------------------------------------------------------------------------------------------------------


def plan(root: Path, *, unfinished: bool = False, older_than_days: float | None = None, now: datetime | None = None) -> Plan:
    """Which runs would be removed: unfinished ones, those last worked on longer ago, or, with both criteria, those that match both.

    Retained are runs that a process is working on, runs that cannot be read, and all runs that a retained run was made from, or in
    the case of an unreadable run may have been. The remains of interrupted prunes are always removed.
    Raises ValueError if no criterion is given or the age is negative.
    """
    if not unfinished and older_than_days is None:
        raise ValueError("say which runs to remove: unfinished ones, those older than some days, or those that are both")
    if older_than_days is not None and not older_than_days >= 0:
        raise ValueError(f"an age in days must be 0 or more, got {older_than_days}")
    seen = Run.survey(root)
    runs, claims = seen.runs, _claims(seen.unreadable, root)
    now = now or datetime.now(UTC)
    wanted = {run.path: why for run in runs if (why := _why(run, unfinished, older_than_days, now))}
    retained: dict[Path, str] = {}
    for run in runs:
        if run.path in wanted and (reason := _held(run, root) or _named_by(run, claims)):
            retained[run.path] = reason
    _spread(runs, wanted, retained)
    by_path = {run.path: run for run in runs}
    removable = [weighed(by_path[path], why) for path, why in wanted.items() if path not in retained]
    left = [
        Weighed(id=path.name, path=path, num_bytes=size_of(path), why="left by a prune that was stopped")
        for path in leftovers(root)
    ]
    kept = [run for run in runs if run.path not in wanted or run.path in retained]
    swept = (*(each for run in kept if not _held(run, root) for each in _leftovers_in(run)), *_half_made(root, now))
    return Plan(
        removable=(*removable, *left),
        retained=(*(weighed(by_path[path], why) for path, why in retained.items()), *map(_unreadable, seen.unreadable)),
        leftovers=swept,
    )


def prune(root: Path, *, unfinished: bool = False, older_than_days: float | None = None, now: datetime | None = None) -> Plan:
    """Remove what `plan` lists, each logged, renamed and then deleted; returns what was removed and what was retained.

    After a kill, every run is either intact or gone; its remains are deleted by the next prune. Raises RunError if another prune
    is running; other errors as in `plan`.
    """
    private_folder(root / "runs")
    try:
        one_at_a_time = acquire(root / "runs" / ".prune.lock", wait=False)
    except BlockingIOError as error:
        raise RunError(expected="no other prune running", got="one in another process", remedy="wait for it") from error
    with one_at_a_time:
        found = plan(root, unfinished=unfinished, older_than_days=older_than_days, now=now)
        removable, retained = [], list(found.retained)
        for each in found.removable:
            if remove(root, each):
                removable.append(each)
            else:
                retained.append(Weighed(id=each.id, path=each.path, num_bytes=each.num_bytes, why=_AT_WORK))
        swept = tuple(each for each in found.leftovers if _sweep(each))
    return Plan(removable=tuple(removable), retained=tuple(retained), leftovers=swept)


def _leftovers_in(run: Run) -> Iterator[Weighed]:
    """Temporary files of killed writers. Call it only for a run without a working process, whose files are in use."""
    for pattern in (".run.json.*.tmp", "events/.*.tmp", "artifacts/**/.*"):
        for path in sorted(run.path.glob(pattern)):
            if path.is_file():
                name = path.relative_to(run.path.parent).as_posix()
                yield Weighed(id=name, path=path, num_bytes=path.lstat().st_size, why=_LITTER)


def _half_made(root: Path, now: datetime) -> Iterator[Weighed]:
    """Run folders whose creation was interrupted. No lock guards creation, but it takes only milliseconds."""
    for path in sorted((root / "runs").glob(".new-*")):
        if path.is_dir() and now.timestamp() - path.lstat().st_mtime > _HALF_MADE_S:
            yield Weighed(id=path.name, path=path, num_bytes=size_of(path), why=_LITTER)


def _sweep(each: Weighed) -> bool:
    """Delete a leftover; False if a process has resumed its run since. Not logged, as it never was part of a run."""
    with _removing(each.path):
        if each.path.is_dir():
            shutil.rmtree(each.path)
            return True
        try:
            lock = acquire(each.path.parents[each.id.count("/") - 1] / "lock", wait=False)
        except BlockingIOError:
            return False
        with lock:
            each.path.unlink(missing_ok=True)
    return True


def remove(root: Path, each: Weighed) -> bool:
    """Log, rename and delete one run (or the remains of an interrupted removal); False if a process is working on it."""
    gone = each.path if each.id.startswith(GONE) else _set_aside(root, each)
    if gone is None:
        return False
    _delete(gone)
    return True


def check_unused(run: Run) -> Weighed:
    """The run as it would be removed. Raises RunError if another run was made from it, or a process is working on it."""
    seen = Run.survey(run.root)
    users = [other.id for other in seen.runs if other != run and made_from(other, run)]
    if users or (reason := _held(run, run.root) or _named_by(run, _claims(seen.unreadable, run.root))):
        got = f"{', '.join(users)} made from it" if users else reason
        raise RunError(expected=f"{run.id} unused", got=got, remedy="remove those first, or keep it")
    return weighed(run, "asked for")


def discard(run: Run) -> Weighed:
    """Remove one run that no other was made from, and log it. Errors as in `check_unused`."""
    each = check_unused(run)
    if not remove(run.root, each):
        raise RunError(expected=f"{run.id} unused", got=_AT_WORK, remedy="wait for it or stop it")
    return each


def _why(run: Run, unfinished: bool, older_than_days: float | None, now: datetime) -> str:
    """Why this run matches the criteria; empty if it does not."""
    if unfinished and run.finished:
        return ""
    reasons = ["unfinished"] if unfinished else []
    if older_than_days is not None:
        age = now - _last_work(run)
        if age < timedelta(days=older_than_days):
            return ""
        reasons.append(f"last worked on {age.total_seconds() / 86_400:.1f} days ago")
    return ", ".join(reasons)


def _last_work(run: Run) -> datetime:
    """When the run was finished, or the time of an unfinished run's last event."""
    events = [] if run.finished else run.events()
    return datetime.fromisoformat(run.record.finished or (events[-1]["time"] if events else run.record.created))


def _held(run: Run, root: Path) -> str:
    if run.path.parent != (root / "runs").resolve():
        return "its folder is a link to another location"
    if not (run.path / "lock").exists():
        return ""
    try:
        acquire(run.path / "lock", wait=False).close()
    except BlockingIOError:
        return _AT_WORK
    except StorageError as error:
        return f"its lock cannot be opened: {error.got}"
    return ""


def _spread(runs: list[Run], wanted: dict[Path, str], retained: dict[Path, str]) -> None:
    """Adds to `retained` all runs that retained runs were made from, transitively."""
    waiting = [run for run in runs if run.path not in wanted or run.path in retained]
    while waiting:
        user = waiting.pop()
        for run in runs:
            if run.path in wanted and run.path not in retained and made_from(user, run):
                retained[run.path] = f"{user.id} was made from it and is retained"
                waiting.append(run)


def made_from(user: Run, run: Run) -> bool:
    """Whether an input of `user` names the run, a file in its folder, or the digest of one of its artifacts."""
    return any(names(value, run) for value in user.inputs.values())


def names(value: str, run: Run) -> bool:
    """Whether an input names the run, a file in its folder, or the digest of one of its artifacts."""
    if re.search(rf"(?<![\w-]){re.escape(run.id)}(?![\w-])", value):
        return True
    return any(digest in value for digest in run.record.artifacts.values())


def _unreadable(each: Unreadable) -> Weighed:
    """An unreadable run is always retained, since its content is unknown."""
    return Weighed(id=each.id, path=each.path, num_bytes=size_of(each.path), why=f"it cannot be read: {each.error.got}")


def _named_by(run: Run, claims: Mapping[str, list[str] | None]) -> str:
    """Why the run is retained for an unreadable one; empty if none of those may have been made from it."""
    users = (user for user, inputs in claims.items() if inputs is None or any(names(value, run) for value in inputs))
    return next((f"{user}, which cannot be read, may have been made from it" for user in users), "")


def _claims(unreadable: Sequence[Unreadable], root: Path) -> dict[str, list[str] | None]:
    """Ids of unreadable runs to their inputs, from what is left of the record, else from the audit log's line about their start.

    None if neither has all of them: any run may then be among the inputs.
    """
    return {each.id: _told_inputs(each, root) for each in unreadable}


def _told_inputs(user: Unreadable, root: Path) -> list[str] | None:
    try:
        told = json.loads((user.path / "run.json").read_bytes())["inputs"]
        if isinstance(told, dict):
            return list(map(str, told.values()))
    except (OSError, ValueError, RecursionError, KeyError, TypeError):
        pass  # incomplete: the log has the inputs, as far as it is intact
    verb, _, rest = user.id.partition("-")
    lines, _ = audit.walk(root)
    for line in lines:
        event = line.event
        if event.get("action") == f"{verb} started" and str(event.get("key", "")).startswith(rest[:8]):
            told = event.get("inputs")
            # Long lists of inputs are logged as one digest.
            if isinstance(told, dict) and not any(name.startswith("sha256 of ") for name in told):
                return list(map(str, told.values()))
    return None


def weighed(run: Run, why: str) -> Weighed:
    """The run with its size and the given reason."""
    return Weighed(id=run.id, path=run.path, num_bytes=size_of(run.path), why=why)


def leftovers(root: Path) -> list[Path]:
    """Remains of interrupted removals."""
    return sorted(path for path in (root / "runs").glob(f"{GONE}*") if path.is_dir() and not path.is_symlink())


def _set_aside(root: Path, each: Weighed) -> Path | None:
    """Log and rename a run under its lock; None if a process has resumed it since."""
    try:
        lock = acquire(each.path / "lock", wait=False)
    except BlockingIOError:
        return None
    gone = each.path.with_name(f"{GONE}{each.id}-{uuid4().hex[:8]}")
    with lock:
        # Logged first: a line without effect is followed by a second one, but a run removed without a line is unexplained.
        line = audit.append(root, {"action": "pruned", "ids": [each.id], "bytes": each.num_bytes, "why": each.why})
        # The head stored in the run is lost: this later one is kept, or truncation of the log could go unnoticed.
        write_whole(root / "runs" / HEAD, canonical(asdict(line.head)))
        if sys.platform == "win32":
            # Windows cannot rename a folder with open files: the lock is closed first; if another process takes it, this fails.
            lock.close()
        with _removing(each.path):
            each.path.rename(gone)
    sync_folder(gone.parent)
    return gone


def _delete(gone: Path) -> None:
    with _removing(gone):
        shutil.rmtree(gone)


@contextmanager
def _removing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RunError(
            expected=f"access to remove {path}",
            got=str(error),
            remedy="close programs that have its files open, or give this user write access; then prune again",
        ) from error
