"""A run's events as they lie on the disk: numbered segments of JSON lines, written whole, read in order and checked for gaps."""

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
"""Events reach the disk at the latest with the first one that comes this long after the last segment."""


def now() -> str:
    """The time, UTC, in ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# --- reading --------------------------------------------------------------------------------------------------------------


def segments(run: Path) -> list[Path]:
    """The segments in a run's folder, oldest first."""
    return sorted((run / "events").glob("[0-9]*.jsonl"))


def recorded(run: Path) -> Iterator[dict[str, Any]]:
    """Every event on the disk. Segments are renamed whole, so not even a kill leaves half a line or a gap in the numbers.

    Raises `RunError` for a segment that was altered.
    """
    number = 0
    for segment in segments(run):
        for event in read_segment(run, segment, number):
            number += 1
            yield event


def read_segment(run: Path, segment: Path, first: int) -> list[dict[str, Any]]:
    """The events of one segment, which are numbered from `first`. Raises `RunError` if it was altered."""
    try:
        # Not splitlines: JSON leaves some of the characters that it splits at as they are.
        found = [json.loads(line) for line in segment.read_text(encoding="utf-8").split("\n") if line]
    except (OSError, ValueError, RecursionError) as error:
        raise _altered(run, f"a readable {segment.name}", str(error)) from error
    for number, event in enumerate(found, first):
        if not isinstance(event, dict) or event.get("n") != number or not isinstance(event.get("kind"), str):
            raise _altered(run, f"event {number} in {segment.name}", canonical(event)[:100])
    return found


def latest(run: Path, found: list[dict[str, Any]], unique: str) -> list[dict[str, Any]]:
    """Of the events `found` the last one of each value of the field `unique`; RunError if one lacks it."""
    try:
        numbers = {event[unique]: event["n"] for event in found}
    except (KeyError, TypeError) as error:
        raise _altered(run, f"a plain {unique!r} in each event", f"one without ({error})") from error
    return [event for event in found if numbers[event[unique]] == event["n"]]


class Ledger:
    """Where a run's events say what its artifacts' digests are, so that asking for each of a thousand reads each segment twice.

    What is kept is only in which segments a name stands: the digest itself is read from the segment each time it is asked for, so
    an altered segment is found as before.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._places: dict[str, list[tuple[Path, int]]] = {}

    def knows(self, name: str, sha256: str) -> bool:
        """Whether the run wrote an artifact of that name and digest. Raises `RunError` for a segment that was altered."""
        if self._stands(name, sha256):
            return True
        self._places = self._look()  # written since
        return self._stands(name, sha256)

    def _stands(self, name: str, sha256: str) -> bool:
        # A checkpoint is written many times: its last digest is the likely one.
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
    """Writes a run's events behind those that are on the disk. Whoever has one holds the run's lock."""

    def __init__(self, run: Path) -> None:
        self._run = run
        before = segments(run)
        self._segment = int(before[-1].stem) + 1 if before else 1
        self._number = sum(1 for _ in recorded(run))
        self._buffer: list[str] = []
        self._flushed_at = 0.0

    def add(self, kind: str, fields: Mapping[str, Any]) -> None:
        """One more event, in memory until `flush`. ValueError for what JSON cannot say, or for a field that every event has."""
        event = {"n": self._number, "time": now(), "kind": kind}
        if clash := event.keys() & fields.keys():
            raise ValueError(f"an event's own fields cannot be given: {sorted(clash)}")
        self._buffer.append(canonical(event | dict(fields)))
        self._number += 1

    @property
    def due(self) -> bool:
        """Whether the last segment was long ago."""
        return time.monotonic() - self._flushed_at > FLUSH_AFTER_S

    def flush(self) -> None:
        """Write the waiting events as one segment, atomically."""
        if self._buffer:
            write_whole(self._run / "events" / f"{self._segment:06d}.jsonl", "".join(line + "\n" for line in self._buffer))
            self._segment += 1
            self._buffer.clear()
        self._flushed_at = time.monotonic()
