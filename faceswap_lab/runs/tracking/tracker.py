"""What a tracker is: it gets facts and points, both already reduced to numbers, and never sees a run, an event or an input."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a tracker is told of a run: id, verb, time of creation (ISO 8601), and numbers of its recipe by dotted name."""

    id: str
    verb: str
    created: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """Named numbers at a step, taken at `time_s` (seconds since 1970). All are finite."""

    step: int
    time_s: float
    values: Mapping[str, float]


@runtime_checkable
class Tracker(Protocol):
    """One library that keeps a run's figures. Each method may raise whatever the library raises: `follow` deals with it."""

    def start(self, facts: Facts, *, fresh: bool) -> None:
        """Begin, or go on with, the run of this id; with `fresh`, what the library had of it is replaced."""
        ...

    def log(self, point: Point) -> None:
        """Keep a point."""
        ...

    def finish(self, point: Point) -> None:
        """Keep the key figures of the finished run."""
        ...

    def close(self, *, stopped: bool) -> None:
        """Write what is pending and let go of files; `stopped` says that the run ended unfinished."""
        ...


@runtime_checkable
class OpensTracker(Protocol):
    """A tracker's module: `open_tracker` takes the folder that the library may write to, `shown_by` says how to look at it."""

    def open_tracker(self, place: Path) -> Tracker:
        """The tracker. LabError if its library cannot be imported."""
        ...

    def shown_by(self, place: Path) -> str:
        """A command line that shows what was kept."""
        ...
