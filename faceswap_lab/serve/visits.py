"""Visits: a private lab for each job, so that nobody's pictures meet another's, and its end after an hour.

While a demo runs it deletes what is overdue, and when it stops whatever is left, for nobody could fetch it any more. What a crash
left, the next start deletes first of all once it is overdue.

    <root>/audit.jsonl             the demo's log, which stays: digests, ids, and reasons as they were typed
    <root>/arrivals/               where the web server puts uploads; emptied by age as well
    <root>/visits/<random>/        a lab: one upload, its manifest, its runs, its export
        audit.jsonl -> ../../audit.jsonl
        visit.json                 when it was opened

All labs of visits write to one log, so that what was done can be verified after they are gone.
"""

import json
import logging
import math
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from faceswap_lab.errors import LabError, RunError, StorageError, storing
from faceswap_lab.files import acquire, private_folder, write_whole
from faceswap_lab.runs import prune
from faceswap_lab.runs.quota import size_of, size_text
from faceswap_lab.serve.limits import Limits
from faceswap_lab.trust import audit

VISITS, ARRIVALS, _OPENED, _GONE = "visits", "arrivals", "visit.json", ".gone-"
_SWEEP_S = 30.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """The lab of one job: `root` is its folder, `id` its name, `opened` seconds since 1970."""

    id: str
    root: Path
    opened: float

    @property
    def who(self) -> str:
        """Whom the visit's manifest names in place of a person: nobody knows more of them than this."""
        return f"visitor {self.id[:12]}"


class Visits:
    """All visits below `root`, of which one process at a time takes care. RunError if another one does.

    `start` sweeps at once, for what a crash left, and then in a thread of its own; `stop` ends that. `clock` gives seconds since
    1970.
    """

    def __init__(self, root: Path, limits: Limits, *, clock: Callable[[], float] = time.time) -> None:
        self.root, self._limits, self._clock = root.resolve(), limits, clock
        self._busy: set[str] = set()
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._held: IO[bytes] | None = None

    @property
    def arrivals(self) -> Path:
        """Where the web server puts uploads: a folder that only this user can enter."""
        return private_folder(self.root / ARRIVALS)

    def start(self) -> None:
        """Take care of the folder: delete what is overdue, now and from now on."""
        try:
            self._held = acquire(self.root / ".demo.lock", wait=False)
        except BlockingIOError as error:
            got, remedy = f"another demo in {self.root}", "stop that one, or give this one another folder (--root)"
            raise RunError(expected="a folder of the demo's own", got=got, remedy=remedy) from error
        self._close_to_others()
        # The lab around it is often a git repository: `git add .` there must not take visitors' pictures along.
        write_whole(self.root / ".gitignore", "*\n")
        self.sweep()
        self._thread = threading.Thread(target=self._sweep_on, name="demo-sweep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and delete whatever is left: its visitors can't come back for it."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._held is not None:
            self._busy.clear()
            try:
                self.sweep(all_of_it=True)
            finally:
                self._held.close()
                self._held = None

    def open(self) -> Visit:
        """A new visit, in use until `close`. StorageError if all visits together take more than they may."""
        with self._lock:
            self._require_room()
            name = secrets.token_hex(16)
            visit = Visit(id=name, root=self.root / VISITS / name, opened=self._clock())
            private_folder(visit.root)
            self._busy.add(visit.id)
        with storing(visit.root):
            (visit.root / "audit.jsonl").symlink_to(os.path.relpath(audit.path_of(self.root), visit.root))
        write_whole(visit.root / _OPENED, json.dumps({"opened": visit.opened}), private=True)
        audit.append(self.root, {"action": "visit opened", "visit": visit.id})
        return visit

    def close(self, visit: Visit, *, erase: bool = False) -> None:
        """The job is over: the visit is kept until its time is up or, with `erase`, deleted now."""
        with self._lock:
            self._busy.discard(visit.id)
        if erase:
            self._erase(visit.root)

    def sweep(self, *, all_of_it: bool = False) -> int:
        """Delete whatever is overdue and not in use, or all of it: visits, uploads nobody came for, remains of interrupted
        deletions. Their number."""
        swept = 0
        for folder in sorted(self._folders()):
            if folder.name.startswith(_GONE):
                shutil.rmtree(folder)
            elif folder.name not in self._busy and (all_of_it or self._is_due(folder)):
                swept += self._erase(folder)
        return swept + self._empty_arrivals(all_of_it=all_of_it)

    def _folders(self) -> list[Path]:
        top = self.root / VISITS
        return [path for path in top.iterdir() if path.is_dir() and not path.is_symlink()] if top.is_dir() else []

    def _is_due(self, folder: Path) -> bool:
        """Whether its time is up. One that doesn't say when it was opened, or was opened in the future, isn't kept any longer."""
        try:
            opened = float(json.loads((folder / _OPENED).read_text(encoding="utf-8"))["opened"])
        except (OSError, ValueError, KeyError, TypeError):
            with self._lock:  # it may be about to be opened
                return folder.name not in self._busy
        return not 0 <= self._clock() - opened < self._limits.keep_s

    def _erase(self, folder: Path) -> bool:
        """Log and delete a visit's runs, then the rest, if it is still there. The log has its line before anything is gone."""
        with self._lock:
            if not folder.is_dir():
                return False
            num_bytes = size_of(folder)
            try:
                prune.prune(folder, older_than_days=0)
            except LabError as error:  # its runs go with the folder
                _log.warning("the runs of the visit %s could not be pruned one by one: %s", folder.name, error)
            audit.append(self.root, {"action": "visit erased", "visit": folder.name, "bytes": num_bytes})
            gone = folder.with_name(f"{_GONE}{folder.name}")
            with storing(folder):
                folder.rename(gone)
                shutil.rmtree(gone)
            return True

    def _empty_arrivals(self, *, all_of_it: bool) -> int:
        """Deletes what the web server received, or made for a browser, and what is overdue by its modification time."""
        count, oldest = 0, math.inf if all_of_it else self._clock() - self._limits.keep_s
        for place, _, names in os.walk(self.root / ARRIVALS, topdown=False):
            for path in (Path(place) / name for name in names):
                if path.lstat().st_mtime < oldest:
                    path.unlink(missing_ok=True)
                    count += 1
            folder = Path(place)
            if folder != self.root / ARRIVALS and folder.lstat().st_mtime < oldest and not any(folder.iterdir()):
                folder.rmdir()
        return count

    def _require_room(self) -> None:
        used = size_of(self.root / VISITS) + size_of(self.root / ARRIVALS)
        if used > self._limits.max_stored_bytes:
            raise StorageError(
                expected=f"at most {size_text(self._limits.max_stored_bytes)} of visitors' files",
                got=size_text(used),
                remedy=f"come back later: files are deleted after {self._limits.keep_s / 60:.0f} minutes",
            )

    def _close_to_others(self) -> None:
        if os.name != "nt":
            for folder in (self.root, private_folder(self.root / VISITS), self.arrivals):
                folder.chmod(0o700)

    def _sweep_on(self) -> None:
        while not self._ended.wait(min(_SWEEP_S, self._limits.keep_s / 4)):
            try:
                self.sweep()
            except (LabError, OSError):
                # The next round tries again; a demo that keeps files for ever must say so, loudly.
                _log.exception("files that are overdue could not be deleted from %s", self.root)
