"""Benchmark scores over versions of the code: every finished run of `50_benchmark`, as plain data, in words and as a table."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from faceswap_lab.errors import RunError
from faceswap_lab.runs.run import Run
from faceswap_lab.views.printed_table import PrintedTable

_log = logging.getLogger(__name__)

_SAME_FLOOR = 1e-3
"""Floors farther apart than this fraction are of other pictures: they depend on the pairs, the renderer and the measure alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A score in one benchmark run. `code` is the version that made it, `created` in ISO 8601; `ceiling` is None where infinite.

    `low` and `high` are the ends of its interval, None if the benchmark had too few pairs for one.
    """

    run: str
    code: str
    created: str
    value: float
    floor: float | None = None
    ceiling: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What came of a score from one point to the next."""

    before: Point
    after: Point

    @property
    def by(self) -> float:
        """The difference, positive if the score rose."""
        return self.after.value - self.before.value

    @property
    def same_code(self) -> bool:
        """Whether both are of the same code: then a difference is due to the machine, the device or what was trained."""
        return self.before.code == self.after.code

    @property
    def same_pictures(self) -> bool:
        """Whether both have the same floor. If not, the pictures or the measure changed, and the values can't be compared."""
        one, other = self.before.floor, self.after.floor
        return one == other or (one is not None and other is not None and abs(one - other) <= _SAME_FLOOR * abs(one))

    @property
    def beyond(self) -> bool | None:
        """Whether the later value is outside the earlier one's interval; None if that has none.

        Cautious: the interval is how much the mean depends on which pairs were drawn, and both are of the same pairs.
        """
        low, high = self.before.low, self.before.high
        return None if low is None or high is None else not low <= self.after.value <= high


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A score of one method in the benchmark `name`; its points oldest first."""

    name: str
    method: str
    score: str
    points: tuple[Point, ...]
    unit: str = ""
    higher_is_better: bool = True

    @property
    def changes(self) -> list[Change]:
        """From each point to the next."""
        return [Change(before=one, after=other) for one, other in zip(self.points, self.points[1:], strict=False)]

    @property
    def moved(self) -> list[Change]:
        """The changes of code that moved the score by more than its interval, on the same pictures."""
        return [each for each in self.changes if each.beyond and each.same_pictures and not each.same_code]


class _Score(BaseModel):
    model_config = ConfigDict(frozen=True)

    value: FiniteFloat | None = None
    floor: FiniteFloat | None = None
    ceiling: FiniteFloat | None = None
    low: FiniteFloat | None = None
    high: FiniteFloat | None = None
    unit: str = ""
    higher_is_better: bool = True


class _Benchmark(BaseModel):
    """The entry "benchmark" of a run's summary, as `50_benchmark` writes it."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(min_length=1)]
    methods: dict[str, dict[str, _Score]]


def trends(root: Path | None = None, name: str | None = None) -> list[Trend]:
    """The trends of the benchmark `name`, or of all, from the finished notebook runs of a lab; by name, method and score.

    A run whose entry can't be read, or whose record is not what was logged, is skipped with a logged warning.
    """
    found: dict[tuple[str, str, str], _Gathered] = {}
    for run, entry in sorted(_entries(root), key=lambda each: (each[0].record.created, each[0].id)):
        if name is not None and entry.name != name:
            continue
        for method, scores in entry.methods.items():
            for score, figures in scores.items():
                found.setdefault((entry.name, method, score), _Gathered()).add(run, figures)
    ordered = sorted(found.items(), key=lambda each: each[0][:2])  # stable: scores stay in the order of the benchmark
    return [gathered.trend(*key) for key, gathered in ordered if gathered.points]


@dataclass(slots=True)
class _Gathered:
    points: list[Point] = field(default_factory=list)
    last: _Score = field(default_factory=_Score)

    def add(self, run: Run, score: _Score) -> None:
        """Another point, unless the score was infinite or not measured."""
        if score.value is not None:
            bounds = score.model_dump(include={"value", "floor", "ceiling", "low", "high"})
            self.points.append(Point(run=run.id, code=run.record.code, created=run.record.created, **bounds))
            self.last = score

    def trend(self, name: str, method: str, score: str) -> Trend:
        """The trend; unit and direction are those of its last point."""
        last = self.last
        return Trend(
            name=name,
            method=method,
            score=score,
            points=tuple(self.points),
            unit=last.unit,
            higher_is_better=last.higher_is_better,
        )


def _entries(root: Path | None) -> Iterator[tuple[Run, _Benchmark]]:
    for run in Run.find(root, verb="notebook", finished=True):
        entry: Mapping[str, Any] | None = run.summary.get("benchmark")
        if entry is None:
            continue
        try:
            run.require_genuine()
            yield run, _Benchmark.model_validate(entry)
        except (RunError, ValidationError) as error:
            _log.warning("%s is left out of the trends: %s", run.id, str(error).splitlines()[0])


# --- in words and as a table ---------------------------------------------------------------------------------------------


def short_code(code: str) -> str:
    """A version of the code as it is shown: eight digits of its digest."""
    return code.rpartition("+")[2][:8]


def moves_told(found: Sequence[Trend]) -> list[str]:
    """One sentence for each change of a score that is beyond its interval, or whose pictures changed, oldest first."""
    changes = [(each, change) for each in found for change in each.changes if change.beyond or not change.same_pictures]
    return [_told(*each) for each in sorted(changes, key=lambda each: (each[1].after.created, each[0].method))]


def _told(trend: Trend, change: Change) -> str:
    before, after = change.before, change.after
    what = f"{trend.method}, {trend.score}: {before.value:.4g} to {after.value:.4g}"
    codes = f"{short_code(before.code)} to {short_code(after.code)}"
    if not change.same_pictures:
        floors = " to ".join("none" if each.floor is None else f"{each.floor:.4g}" for each in (before, after))
        return (
            f"{what} can't be compared: the floor went from {floors} with the code {codes}, so the pictures or the measure changed."
        )
    better = "better" if (change.by > 0) == trend.higher_is_better else "worse"
    bounds = f"{better}, outside the interval {before.low:.4g} to {before.high:.4g}"
    if change.same_code:
        return f"{what}, {bounds}, with the same code {short_code(after.code)}: the machine, the device or the training differs."
    return f"{what}, {bounds}, with the change of code {codes} ({after.run})."


def table(found: Sequence[Trend], scores: Sequence[str]) -> PrintedTable:
    """One row for each run and method, oldest first: the `scores` with interval and floor."""
    rows: dict[tuple[str, str, str, str], dict[str, str]] = {}
    for trend in found:
        for point in trend.points:
            about = (point.created[:16].replace("T", " "), short_code(point.code), point.run, trend.method)
            rows.setdefault(about, {})[trend.score] = _cell(point)
    lines = [(*about, *(cells.get(score, "") for score in scores)) for about, cells in sorted(rows.items())]
    return PrintedTable(header=("when", "code", "run", "method", *scores), rows=lines)


def _cell(point: Point) -> str:
    between = "" if point.low is None or point.high is None else f" ({point.low:.4g} to {point.high:.4g})"
    return f"{point.value:.4g}{between}" + ("" if point.floor is None else f"; floor {point.floor:.4g}")
