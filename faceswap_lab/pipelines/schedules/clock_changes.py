"""The days on which a zone's clock jumps, and what becomes of a run that is due in the hour that is skipped or shown twice."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from faceswap_lab.pipelines.schedules.when import When

Scheduler = Literal["cron", "systemd", "kubernetes"]

_MINUTE = timedelta(minutes=1)
_YEAR = timedelta(days=366)

_OUTCOMES: dict[tuple[Scheduler, bool], str] = {
    ("cron", True): "the cron of Debian starts that run right after the change, others leave it out",
    ("cron", False): "the cron of Debian starts it once, others may twice",
    ("systemd", True): "the timer leaves that run out",
    ("systemd", False): "the timer starts it once, the first time",
    ("kubernetes", True): "the CronJob leaves that run out",
    ("kubernetes", False): "the CronJob starts it twice, unless the first run still goes on",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockChange:
    """A jump of a zone's clock. From `start` to `end` (as clocks show them) times are skipped, or shown twice."""

    at: datetime
    start: datetime
    end: datetime
    skips: bool


def clock_changes(zone: str, since: datetime, until: datetime) -> Iterator[ClockChange]:
    """All jumps of a zone's clock between two times, found by its offsets from UTC."""
    place = ZoneInfo(zone)
    low, day = since.astimezone(UTC).replace(second=0, microsecond=0), timedelta(days=1)
    while low < until:
        high = low + day
        before, after = (moment.astimezone(place).utcoffset() or timedelta() for moment in (low, high))
        if before != after:
            at = _first_with(place, low, high)
            walls = sorted((at + offset).replace(tzinfo=None) for offset in (before, after))
            yield ClockChange(at=at, start=walls[0], end=walls[1], skips=after > before)
        low = high


def warnings(when: When, scheduler: Scheduler, now: datetime) -> list[str]:
    """For each jump within a year that the schedule falls into: the day, what the scheduler does, and how to avoid it."""
    if when.hour.is_open:  # each hour that there is, once: nothing is lost and nothing is done twice
        return []
    return [
        _warning(when, change, hit, scheduler)
        for change in clock_changes(when.zone, now, now + _YEAR)
        if (hit := _first_hit(when, change)) is not None
    ]


def _first_with(place: ZoneInfo, low: datetime, high: datetime) -> datetime:
    """The minute of a jump between two times, by halving."""
    before = low.astimezone(place).utcoffset()
    while high - low > _MINUTE:
        middle = low + ((high - low) // 2 // _MINUTE) * _MINUTE
        low, high = (middle, high) if middle.astimezone(place).utcoffset() == before else (low, middle)
    return high


def _first_hit(when: When, change: ClockChange) -> datetime | None:
    minutes = (change.end - change.start) // _MINUTE
    walls = (change.start + number * _MINUTE for number in range(minutes))
    return next((wall for wall in walls if when.due_at(wall)), None)


def _warning(when: When, change: ClockChange, hit: datetime, scheduler: Scheduler) -> str:
    what = "does not exist" if change.skips else "comes twice"
    outcome = _OUTCOMES[scheduler, change.skips]
    if scheduler == "cron" and (when.hour.star or when.minute.star):  # crontab(5) and cron(8): a star is read by the new time alone
        outcome = "cron leaves these runs out" if change.skips else "cron starts these runs twice"
    way = (change.start, change.end) if change.skips else (change.end, change.start)
    jump = " to ".join(f"{wall:%H:%M}" for wall in way)
    return (
        f"{hit:%H:%M} {what} in {when.zone} on {hit:%Y-%m-%d} (clocks go from {jump}): {outcome}; "
        f"--zone UTC, or a time outside of {change.start:%H:%M} to {change.end:%H:%M}, avoids it"
    )
