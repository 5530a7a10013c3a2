"""Trackers beside a run: each event goes to all of them, and one that fails is dropped, never the run."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.runs.reading import RunReader
from faceswap_lab.runs.record import Record
from faceswap_lab.runs.tracking import choice
from faceswap_lab.runs.tracking.scalars import Scalars, seconds_of
from faceswap_lab.runs.tracking.tracker import Point, Tracker

_log = logging.getLogger(__name__)


class Followers:
    """The trackers of one run. The methods return a sentence for each tracker that failed and was dropped."""

    def __init__(self, record: Record, trackers: Mapping[str, Tracker]) -> None:
        self._scalars = Scalars(record)
        self._trackers = dict(trackers)
        self._is_finished = False

    def start(self, *, fresh: bool = False) -> list[str]:
        """Begin or resume."""
        return self._each(lambda tracker: tracker.start(self._scalars.facts, fresh=fresh))

    def event(self, kind: str, fields: Mapping[str, Any], time_s: float | None = None) -> list[str]:
        """An event, of now or of `time_s` seconds since 1970. The one that says `finished` brings the key figures."""
        if not self._trackers:
            return []
        at = time.time() if time_s is None else time_s
        point = self._scalars.point(kind, fields, at)
        if kind == "finished":
            self._is_finished = True
            last = point or Point(step=0, time_s=at, values={})
            return self._each(lambda tracker: tracker.finish(last))
        return [] if point is None else self._each(lambda tracker: tracker.log(point))

    def close(self, *, stopped: bool = True) -> list[str]:
        """Let all of them write what is pending. A run that hasn't finished was stopped, unless this says that it wasn't."""
        is_stopped = stopped and not self._is_finished
        told = self._each(lambda tracker: tracker.close(stopped=is_stopped))
        self._trackers.clear()
        return told

    def _each(self, work: Callable[[Tracker], None]) -> list[str]:
        told = []
        for name, tracker in list(self._trackers.items()):
            try:
                work(tracker)
            except Exception as error:
                # Somebody else's library, a full disk, a locked database: the run goes on, and says that it isn't followed.
                del self._trackers[name]
                _log.warning("%s no longer follows %s: %s", name, self._scalars.facts.id, error)
                told.append(f"{name} no longer follows this run ({type(error).__name__}); `runs track` copies it later")
        return told


def followers(record: Record, root: Path) -> Followers:
    """The trackers that the process has chosen, not yet started. LabError for an unknown name or a missing library."""
    return Followers(record, {name: choice.opened(root, name) for name in choice.wanted()})


def replay(run: RunReader, names: Iterable[str]) -> int:
    """Copies what a run has on disk, finished or not, to these trackers, in place of what they had of it. Returns the points.

    A step that was repeated after a stop counts once. RunError if a tracker fails; LabError as in `followers`.
    """
    trackers = {name: choice.opened(run.root, name) for name in choice.known(names)}
    if not trackers:
        raise ValueError("name at least one tracker")
    beside = Followers(run.record, trackers)
    _require_none(beside.start(fresh=True))
    points = 0
    for event in _unrepeated(run.events()):
        _require_none(beside.event(event["kind"], event, seconds_of(event)))
        points += event["kind"] in ("step", "part")
    _require_none(beside.close(stopped=False))
    return points


def _unrepeated(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events, of those of one step (of one network) only the last."""
    last = {(event.get("network"), event["step"]): event["n"] for event in events if event["kind"] == "step"}
    return [event for event in events if event["kind"] != "step" or last[event.get("network"), event["step"]] == event["n"]]


def _require_none(failures: list[str]) -> None:
    if failures:
        raise RunError(
            expected="a tracker that takes the run",
            got=failures[0],
            remedy="see the logged error; then repeat the command, which begins anew",
        )
