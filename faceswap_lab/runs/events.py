"""A run's events on disk: numbered segments of JSON lines, written atomically, read in order and checked for gaps."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical, write_whole

FLUSH_AFTER_S = 5.0
"""Pending events are written with the first event that is this long after the last segment."""


def now() -> str:
    """The current time in UTC, in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- reading --------------------------------------------------------------------------------------------------------------


def segments(run: Path) -> list[Path]:
    """The segments in a run's folder, oldest first."""
    return sorted((run / "events").glob("[0-9]*.jsonl"))


def recorded(run: Path) -> Iterator[dict[str, Any]]:
    """All events on disk. Segments are written atomically, so that even a kill leaves no partial line and no gap in the numbers.

    Raises `RunError` for an altered segment.
    """
    number = 0
    for segment in segments(run):
        for event in read_segment(run, segment, number):
            number += 1
            yield event


def read_segment(run: Path, segment: Path, first: int) -> list[dict[str, Any]]:
    """The events of one segment, numbered from `first`. Raises `RunError` if it was altered."""
    try:
        # Not splitlines: it also splits at characters that JSON does not escape.
        found = [json.loads(line) for line in segment.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError, RecursionError) as error:
        raise _altered(run, f"a readable {segment.name}", str(error)) from error
    for number, event in enumerate(found, first):
        if not isinstance(event, dict) or event.get("n") != number or not isinstance(event.get("kind"), str):
            raise _altered(run, f"event {number} in {segment.name}", canonical(event)[:100])
    return found


def last_event(run: Path) -> dict[str, Any] | None:
    """The last event on disk, from the last segment alone; None if there is none. Raises `RunError` for an altered segment."""
    found = segments(run)
    if not found:
        return None
    try:
        event = json.loads(found[-1].read_text(encoding="utf-8").rstrip("\n").rpartition("\n")[2])
    except (OSError, ValueError, RecursionError) as error:
        raise _altered(run, f"a readable {found[-1].name}", str(error)) from error
    if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
        raise _altered(run, f"an event at the end of {found[-1].name}", canonical(event)[:100])
    return event


def latest(run: Path, found: list[dict[str, Any]], unique: str) -> list[dict[str, Any]]:
    """The last of the events `found` for each value of the field `unique`; RunError if an event lacks it."""
    try:
        numbers = {event[unique]: event["n"] for event in found}
    except (KeyError, TypeError) as error:
        raise _altered(run, f"a scalar {unique!r} in each event", f"one without ({error})") from error
    return [event for event in found if numbers[event[unique]] == event["n"]]


class Ledger:
    """An index of a run's artifact events by name, so that checking a thousand artifacts reads each segment only twice.

    Only the segments that mention a name are kept: digests are read from the segments at each check, so altered segments are still
    detected.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._places: dict[str, list[tuple[Path, int]]] = {}

    def knows(self, name: str, sha256: str) -> bool:
        """Whether the run wrote an artifact with that name and digest. Raises `RunError` for an altered segment."""
        if self._stands(name, sha256):
            return True
        self._places = self._look()  # it may have been written since
        return self._stands(name, sha256)

    def _stands(self, name: str, sha256: str) -> bool:
        # A checkpoint is written many times: its last digest is the most likely.
        for segment, first in reversed(self._places.get(name, [])):
            if not segment.exists():
                continue
            if any(_artifact(event) == (name, sha256) for event in read_segment(self._run, segment, first)):
                return True
        return False

    def _look(self) -> dict[str, list[tuple[Path, int]]]:
        places: dict[str, list[tuple[Path, int]]] = defaultdict(list)
        first = 0
        for segment in segments(self._run):
            found = read_segment(self._run, segment, first)
            for name in {str(event.get("name")) for event in found if event["kind"] == "artifact"}:
                places[name].append((segment, first))
            first += len(found)
        return dict(places)


def _artifact(event: dict[str, Any]) -> tuple[Any, Any] | None:
    return (event.get("name"), event.get("sha256")) if event["kind"] == "artifact" else None


def _altered(run: Path, expected: str, got: str) -> RunError:
    remedy = "restore its events from a backup, or run again with force=True"
    return RunError(expected=f"{expected} of run {run.name}", got=got, remedy=remedy)


# --- writing --------------------------------------------------------------------------------------------------------------


class Journal:
    """Appends events to those of a run on disk. The caller must hold the run's lock."""

    def __init__(self, run: Path) -> None:
        self._run = run
        before = segments(run)
        self._segment = int(before[-1].stem) + 1 if before else 1
        self._number = sum(1 for _ in recorded(run))
        self._buffer: list[str] = []
        self._flushed_at = 0.0

    def add(self, kind: str, fields: Mapping[str, Any]) -> None:
        """Add an event, kept in memory until `flush`. ValueError for non-JSON values, and for a field that every event has."""
        event = {"n": self._number, "time": now(), "kind": kind}
        if clash := event.keys() & fields.keys():
            raise ValueError(f"reserved fields of an event cannot be given: {sorted(clash)}")
        self._buffer.append(canonical(event | dict(fields)))
        self._number += 1

    @property
    def due(self) -> bool:
        """Whether the last segment was written more than `FLUSH_AFTER_S` ago."""
        return time.monotonic() - self._flushed_at > FLUSH_AFTER_S

    def flush(self) -> None:
        """Write the pending events as one segment, atomically."""
        if self._buffer:
            write_whole(self._run / "events" / f"{self._segment:06d}.jsonl", "".join(line + "\n" for line in self._buffer))
            self._segment += 1
            self._buffer.clear()
        self._flushed_at = time.monotonic()
