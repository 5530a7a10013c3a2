"""trackio: one SQLite database, written through trackio's storage.

Not through `trackio.init`: that prints, starts threads, measures the machine, may show a dashboard or write to a Space that the
environment names, and asks Hugging Face for the user's name wherever there is a token of theirs.
"""

import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faceswap_lab.errors import LabError
from faceswap_lab.runs.tracking.choice import missing
from faceswap_lab.runs.tracking.tracker import Facts, Point, Tracker

PROJECT = "faceswap_lab"

_VARIABLE = "TRACKIO_DIR"
_WRITE_AFTER_S = 5.0


class Trackio:
    """Numbers by step. Points are written together, those of five seconds at a time."""

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._facts: Facts | None = None
        self._pending: list[Point] = []
        self._written_at = time.monotonic()

    def start(self, facts: Facts, *, fresh: bool) -> None:
        """Begin or go on with the run of this name; with `fresh`, what is there is deleted."""
        if fresh:
            self._storage.delete_run(PROJECT, facts.id, run_id=facts.id)
        self._facts = facts

    def log(self, point: Point) -> None:
        """Keep a point, and write what is pending if that is due."""
        self._pending.append(point)
        if time.monotonic() - self._written_at > _WRITE_AFTER_S:
            self._write()

    def finish(self, point: Point) -> None:
        """The key figures, at the last step."""
        self._pending.append(point)
        self._write()

    def close(self, *, stopped: bool) -> None:
        """Write what is pending."""
        self._write()

    def _write(self) -> None:
        if self._facts is not None and self._pending:
            self._storage.bulk_log(
                project=PROJECT,
                run=self._facts.id,
                run_id=self._facts.id,
                metrics_list=[dict(point.values) for point in self._pending],
                steps=[point.step for point in self._pending],
                timestamps=[datetime.fromtimestamp(point.time_s, UTC).isoformat() for point in self._pending],
                config={**self._facts.numbers, "verb": self._facts.verb, "_Created": self._facts.created, "_Group": None},
            )
        self._pending.clear()
        self._written_at = time.monotonic()


def open_tracker(place: Path) -> Tracker:
    """The tracker. LabError without the library, and where trackio was imported with another folder, which it reads only once."""
    os.environ[_VARIABLE] = str(place)
    try:
        from trackio.sqlite_storage import SQLiteStorage
        from trackio.utils import TRACKIO_DIR
    except ImportError as error:
        raise missing("trackio", error) from error
    if Path(TRACKIO_DIR) != place:
        raise LabError(
            expected=f"trackio to write to {place}",
            got=f"{TRACKIO_DIR}, which it took when it was imported",
            remedy="restart Python (the kernel) and name the tracker before you import trackio; one process follows one lab",
        )
    return Trackio(SQLiteStorage)


def shown_by(place: Path) -> str:
    """trackio's own dashboard; it listens on this machine only."""
    return f"{_VARIABLE}='{place}' trackio show --project {PROJECT}"
