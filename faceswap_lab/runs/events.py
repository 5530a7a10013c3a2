"""A run's events as they lie on the disk: numbered segments of JSON lines, read in order and checked for gaps."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical


def segments(run: Path) -> list[Path]:
    """The segments in a run's folder, oldest first."""
    return sorted((run / "events").glob("[0-9]*.jsonl"))


def recorded(run: Path) -> Iterator[dict[str, Any]]:
    """Every event on the disk. Segments are renamed whole, so not even a kill leaves half a line or a gap in the numbers.

    Raises `RunError` for a segment that was altered.
    """
    number = 0
    for segment in segments(run):
        try:
            # Not splitlines: JSON leaves some of the characters that it splits at as they are.
            found = [json.loads(line) for line in segment.read_text(encoding="utf-8").split("\n") if line]
        except (OSError, ValueError, RecursionError) as error:
            raise _altered(run, f"a readable {segment.name}", str(error)) from error
        for event in found:
            if not isinstance(event, dict) or event.get("n") != number or not isinstance(event.get("kind"), str):
                raise _altered(run, f"event {number} in {segment.name}", canonical(event)[:100])
            number += 1
            yield event


def latest(run: Path, found: list[dict[str, Any]], unique: str) -> list[dict[str, Any]]:
    """Of the events `found` the last one of each value of the field `unique`; RunError if one lacks it."""
    try:
        numbers = {event[unique]: event["n"] for event in found}
    except (KeyError, TypeError) as error:
        raise _altered(run, f"a plain {unique!r} in each event", f"one without ({error})") from error
    return [event for event in found if numbers[event[unique]] == event["n"]]


def _altered(run: Path, expected: str, got: str) -> RunError:
    remedy = "restore its events from a backup, or run again with force=True"
    return RunError(expected=f"{expected} of run {run.name}", got=got, remedy=remedy)
