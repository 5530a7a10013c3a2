"""When a pipeline is due: a cron expression in a time zone, and the next times that follow from it."""

import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo

from faceswap_lab.errors import ScheduleError
from faceswap_lab.pipelines.schedules.fields import KINDS, Field, read_field
from faceswap_lab.runs.fields import near

Every = Literal["hour", "day", "week"]

_EXPRESSIONS: dict[Every, str] = {"hour": "0 * * * *", "day": "{} * * *", "week": "{} * * 1"}
_MORNING = "03:30"
_DAYS = 366 * 9
"""How far to look for a day: 29 February can be eight years away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class When:
    """Five fields and the zone whose clock they are read on."""

    minute: Field
    hour: Field
    day: Field
    month: Field
    weekday: Field
    zone: str

    @property
    def expression(self) -> str:
        """The expression in numbers only, with Sunday as 0: what every cron and Kubernetes read alike."""
        return " ".join(field.text for field in (self.minute, self.hour, self.day, self.month, self.weekday))

    def falls_on(self, day: date) -> bool:
        """Whether it is due on this day. Of two restricted fields for days, one is enough, as in every cron."""
        if day.month not in self.month.values:
            return False
        in_month, in_week = day.day in self.day.values, day.isoweekday() % 7 in self.weekday.values
        return in_month or in_week if not (self.day.star or self.weekday.star) else in_month and in_week

    def due_at(self, wall: datetime) -> bool:
        """Whether it is due when clocks in the zone show this (a time without a zone)."""
        return wall.minute in self.minute.values and wall.hour in self.hour.values and self.falls_on(wall.date())

    def next_times(self, after: datetime, count: int) -> list[datetime]:
        """The next times in the zone; those that its clock skips are left out, and those that it shows twice are there once."""
        return list(islice((moment for moment in self._times(after) if moment > after), count))

    def _times(self, after: datetime) -> Iterator[datetime]:
        zone = ZoneInfo(self.zone)
        first = after.astimezone(zone).date()
        for day in (first + timedelta(days=number) for number in range(_DAYS)):
            if not self.falls_on(day):
                continue
            for hour in sorted(self.hour.values):
                for minute in sorted(self.minute.values):
                    moment = datetime.combine(day, time(hour, minute), zone)
                    # A time that the clock skips comes back from UTC as another one.
                    if moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == moment.replace(tzinfo=None):
                        yield moment


def read_when(*, at: str | None = None, every: Every | None = None, cron: str | None = None, zone: str = "UTC") -> When:
    """From `at="03:30"`, `every="week"` (with `at`, or at 03:30; Mondays) or `cron="30 3 * * 1-5"`; `zone` may be `local`."""
    if (cron is None) == (at is None and every is None):
        got = "both" if cron else "neither"
        raise ScheduleError(expected="a time, or a cron expression", got=got, remedy='give --at "03:30", --every week or --cron')
    return read_cron(cron if cron is not None else _of_clock(at, every), zone)


def read_cron(expression: str, zone: str = "UTC") -> When:
    """A cron expression of five fields. ScheduleError for what schedulers read differently, and for days that never come."""
    texts = expression.split()
    if len(texts) != len(KINDS) or "\n" in expression:
        raise ScheduleError(
            expected="five fields: minute, hour, day of the month, month, day of the week",
            got=repr(expression),
            remedy='write them with blanks between, such as "30 3 * * 1-5"; for @daily and its like there is --every',
        )
    minute, hour, day, month, weekday = (read_field(text, kind) for text, kind in zip(texts, KINDS, strict=True))
    if (day.star and not day.is_open and not weekday.is_open) or (weekday.star and not weekday.is_open and not day.is_open):
        raise ScheduleError(
            expected="days of the month and of the week that every cron combines alike",
            got=repr(expression),
            remedy="write the numbers out in place of */n, or leave one of the two fields as *",
        )
    when = When(minute=minute, hour=hour, day=day, month=month, weekday=weekday, zone=zone_name(zone))
    if not when.next_times(datetime(2026, 1, 1, tzinfo=UTC), 1):
        remedy = "correct the day of the month or the month"
        raise ScheduleError(expected="a day that comes", got=repr(expression), remedy=remedy)
    return when


def zone_name(zone: str) -> str:
    """The zone's IANA name; `local` is this machine's."""
    if zone == "local":
        return machine_zone()
    known = zoneinfo.available_timezones()
    if zone not in known:
        close = near(zone, known)
        remedy = f"did you mean {', '.join(close)}?" if close else "write it as in Europe/Berlin, or UTC, or local"
        raise ScheduleError(expected="a time zone by its IANA name", got=repr(zone), remedy=remedy)
    return zone


def machine_zone(link: Path = Path("/etc/localtime")) -> str:
    """The zone that this machine's cron goes by. Without /etc/localtime that is UTC."""
    if not link.exists():
        return "UTC"
    name = re.sub(r".*/zoneinfo/(?:posix/|right/)?", "", str(link.resolve()))
    if name not in zoneinfo.available_timezones():
        raise ScheduleError(
            expected=f"{link} to be a link to a time zone", got=name, remedy="name the zone: --zone UTC or --zone Europe/Berlin"
        )
    return name


def _of_clock(at: str | None, every: Every | None) -> str:
    if every == "hour":
        if at is not None:
            remedy = 'leave --at out, or write --cron "15 * * * *"'
            raise ScheduleError(expected="no time of the day with --every hour", got=repr(at), remedy=remedy)
        return _EXPRESSIONS["hour"]
    clock = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", _MORNING if at is None else at, re.ASCII)
    if clock is None:
        raise ScheduleError(expected="a time of the day, 00:00 to 23:59", got=repr(at), remedy='write for example --at "03:30"')
    return _EXPRESSIONS[every or "day"].format(f"{int(clock[2])} {int(clock[1])}")
