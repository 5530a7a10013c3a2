"""When a schedule is due: strict reading, clock changes of several zones, and systemd's own reading of every calendar line.

The oracles are systemd-analyze, where it is installed, and counting every minute of a year in UTC.
"""

import re
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.errors import ScheduleError
from faceswap_lab.pipelines.schedules import clock_changes, systemd
from faceswap_lab.pipelines.schedules.fields import KINDS, read_field
from faceswap_lab.pipelines.schedules.when import machine_zone, read_cron, read_when

ZONES = ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Africa/Casablanca", "Asia/Tehran", "UTC"]
NOW = datetime(2027, 1, 1, 12, tzinfo=UTC)

systemd_reads = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kind", "values", "spoken"),
    [
        ("*", 0, set(range(60)), "*"),
        ("*/15", 0, {0, 15, 30, 45}, "*/15"),
        ("*/1", 1, set(range(24)), "*"),
        ("8-18/5", 1, {8, 13, 18}, "8,13,18"),
        ("mon-FRI", 4, {1, 2, 3, 4, 5}, "1-5"),
        ("5-7", 4, {0, 5, 6}, "0,5,6"),
        ("7", 4, {0}, "0"),
        ("0,7", 4, {0}, "0"),
        ("*", 4, set(range(7)), "*"),
        ("*/2", 4, {0, 2, 4, 6}, "*/2"),
        ("jan,3,Dec", 3, {1, 3, 12}, "1,3,12"),
        ("1,15", 2, {1, 15}, "1,15"),
        ("007"[1:], 1, {7}, "7"),
    ],
)
def test_a_field_is_read_as_crontab_5_says(text: str, kind: int, values: set[int], spoken: str) -> None:
    field = read_field(text, KINDS[kind])
    assert (field.values, field.text) == (values, spoken)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "30 3 * *",
        "30 3 * * * *",
        "@daily",
        "60 3 * * *",
        "30 24 * * *",
        "30 3 0 * *",
        "30 3 32 * *",
        "30 3 * 13 *",
        "30 3 * 0 *",
        "30 3 * * 8",
        "30 3 * * mon-",
        "30 3 * * fri-mon",
        "30 3 * * MONDAY",
        "30 3 * jan-foo *",
        "30/5 3 * * *",
        "*/0 3 * * *",
        "*/99 3 * * *",
        "1,,2 3 * * *",
        "30 3 ? * *",
        "30 3 L * *",
        "30 3 * * 5#2",
        "-1 3 * * *",
        "１ 3 * * *",
        "30 3 */2 * 1",
        "30 3 1 * */2",
        "30 3 30 2 *",
        "30 3 31 4,6 *",
        "30 3 * * *\n* * * * * rm",
        "030 3 * * *",
    ],
)
def test_what_is_no_schedule_or_never_comes_is_refused_in_three_parts(expression: str) -> None:
    with pytest.raises(ScheduleError) as refused:
        read_cron(expression)
    assert refused.value.expected
    assert refused.value.got
    assert refused.value.remedy


@pytest.mark.parametrize(
    ("given", "expression"),
    [
        ({"at": "03:30"}, "30 3 * * *"),
        ({"at": "3:05"}, "5 3 * * *"),
        ({"every": "day"}, "30 3 * * *"),
        ({"every": "week"}, "30 3 * * 1"),
        ({"every": "week", "at": "23:59"}, "59 23 * * 1"),
        ({"every": "hour"}, "0 * * * *"),
        ({"cron": "30 3 * * mon-fri"}, "30 3 * * 1-5"),
    ],
)
def test_words_become_an_expression(given: dict, expression: str) -> None:
    when = read_when(**given)
    assert (when.expression, when.zone) == (expression, "UTC")
    assert read_cron(when.expression).expression == expression


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"at": "03:30", "cron": "* * * * *"},
        {"every": "day", "cron": "* * * * *"},
        {"every": "hour", "at": "03:30"},
        {"at": "24:00"},
        {"at": "3.30"},
        {"at": "03:30:00"},
        {"at": ""},
        {"at": "03:30", "zone": "Europe/Berlni"},
        {"at": "03:30", "zone": "../../etc/passwd"},
        {"at": "03:30", "zone": "CEST"},
    ],
)
def test_words_that_contradict_each_other_or_name_no_time_are_refused(given: dict) -> None:
    with pytest.raises(ScheduleError):
        read_when(**given)


def test_a_misspelt_zone_is_answered_with_the_closest() -> None:
    with pytest.raises(ScheduleError, match=r"Europe/Berlin"):
        read_when(at="03:30", zone="Europe/Berlni")


def test_this_machines_zone_is_what_its_link_names(tmp_path: Path) -> None:
    link = tmp_path / "localtime"
    assert machine_zone(link) == "UTC"
    zone = tmp_path / "usr/share/zoneinfo/Europe/Berlin"
    zone.parent.mkdir(parents=True)
    zone.touch()
    link.symlink_to(zone)
    assert machine_zone(link) == "Europe/Berlin"
    link.unlink()
    link.touch()
    with pytest.raises(ScheduleError, match="--zone"):
        machine_zone(link)


# --- the next times -----------------------------------------------------------------------------------------------------

expressions = st.tuples(
    st.sampled_from(["0", "30", "*/20", "5,55"]),
    st.sampled_from(["*", "0", "2", "1-3", "23", "*/7"]),
    st.sampled_from(["*", "1", "29", "31", "1,15"]),
    st.sampled_from(["*", "2", "3,10", "11"]),
    st.sampled_from(["*", "0", "1-5", "6"]),
).map(" ".join)


def by_the_minute(expression: str, zone: str, after: datetime, days: int) -> list[datetime]:
    """Every minute of the days is asked what the zone's clock shows: a plain reading of the expression, and no code of ours."""
    minute, hour, day, month, weekday = expression.split()

    def fits(text: str, value: int, low: int) -> bool:
        for part in text.split(","):
            part, _, step = part.partition("/")
            first, _, last = (f"{low}-99" if part == "*" else part).partition("-")
            if int(first) <= value <= int(last or first) and (value - int(first)) % int(step or 1) == 0:
                return True
        return False

    found, seen = [], set()
    for number in range(1, days * 1440):
        wall = (after + timedelta(minutes=number)).astimezone(ZoneInfo(zone))
        in_days = [fits(day, wall.day, 1), fits(weekday, wall.isoweekday() % 7, 0)]
        right_day = any(in_days) if "*" not in (day, weekday) else all(in_days)
        if fits(minute, wall.minute, 0) and fits(hour, wall.hour, 0) and fits(month, wall.month, 1) and right_day:
            if wall.replace(tzinfo=None) not in seen:
                found.append(wall)
            seen.add(wall.replace(tzinfo=None))
    return found


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(expression=expressions, zone=st.sampled_from(ZONES), month=st.integers(1, 12))
def test_the_next_times_are_those_at_which_the_clock_shows_them(expression: str, zone: str, month: int) -> None:
    after = datetime(2027, month, 20, tzinfo=UTC)
    try:
        when = read_cron(expression, zone)
    except ScheduleError:
        assert expression.split()[2:4] in (["31", "2"], ["31", "11"], ["29", "2"])
        return
    expected = by_the_minute(expression, zone, after, 20)
    assert [moment for moment in when.next_times(after, len(expected) + 1) if moment < after + timedelta(days=20)][
        : len(expected)
    ] == expected


@pytest.mark.slow
@systemd_reads
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "expression", ["30 2 * * *", "30 0 * * *", "15 1-3 * * sun", "0 4 1 * *", "30 2 29 2 *", "*/20 2 * 3,10 *"]
)
def test_systemd_finds_the_same_next_times(expression: str, zone: str) -> None:
    """Both days of a change in every zone lie within what is compared: some hundred times from January 2027 on."""
    when = read_cron(expression, zone)
    (line,) = systemd.calendar(when)
    words = ["systemd-analyze", "calendar", "--iterations=330", f"--base-time={NOW:%Y-%m-%d %H:%M:%S} UTC", line]
    said = subprocess.run(words, capture_output=True, text=True, check=True, env={"TZ": "UTC", "LC_ALL": "C"}).stdout
    theirs = re.findall(r"(?:Next elapse|\(in UTC\)|Iter\. #\d+): \w+ ([-0-9]+ [:0-9]+) UTC", said)
    ours = [f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}" for moment in when.next_times(NOW, 330)]
    compared = min(len(theirs), len(ours))  # ours end after nine years, which is 108 firsts of a month
    assert compared >= 2
    assert theirs[:compared] == ours[:compared]


@systemd_reads
def test_systemd_refuses_a_calendar_line_that_is_none() -> None:
    done = subprocess.run(["systemd-analyze", "calendar", "*-*-* 25:00:00 UTC"], capture_output=True, check=False)
    assert done.returncode


def test_a_day_of_the_month_or_of_the_week_is_enough_and_becomes_two_lines() -> None:
    when = read_cron("30 3 13 * fri")
    days = [f"{moment:%a %d}" for moment in when.next_times(NOW, 4)]
    assert days == ["Fri 08", "Wed 13", "Fri 15", "Fri 22"]
    assert systemd.calendar(when) == ["*-*-13 03:30:00 UTC", "Fri *-*-* 03:30:00 UTC"]


# --- the clock changes --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        ("Europe/Berlin", [("2027-03-28 02:00", "03:00", True), ("2027-10-31 02:00", "03:00", False)]),
        ("America/New_York", [("2027-03-14 02:00", "03:00", True), ("2027-11-07 01:00", "02:00", False)]),
        ("Australia/Lord_Howe", [("2027-04-04 01:30", "02:00", False), ("2027-10-03 02:00", "02:30", True)]),
        ("America/Santiago", [("2027-04-03 23:00", "00:00", False), ("2027-09-05 00:00", "01:00", True)]),
        ("Asia/Tehran", []),
        ("UTC", []),
    ],
)
def test_the_days_of_a_change_are_found(zone: str, days: list) -> None:
    found = clock_changes.clock_changes(zone, NOW, NOW + timedelta(days=364))
    assert [(f"{each.start:%Y-%m-%d %H:%M}", f"{each.end:%H:%M}", each.skips) for each in found] == days


@pytest.mark.parametrize("zone", ZONES)
def test_exactly_the_skipped_and_repeated_times_are_warned_of(zone: str) -> None:
    """By zoneinfo's own rule: a time that UTC gives back as another is skipped, and one with two offsets is shown twice."""
    place = ZoneInfo(zone)
    for hour in (0, 1, 2, 3, 23):
        when = read_cron(f"15 {hour} * * *", zone)
        odd = []
        for number in range(366):
            wall = datetime(2027, 1, 1, hour, 15) + timedelta(days=number)
            aware = wall.replace(tzinfo=place)
            if aware.utcoffset() != aware.replace(fold=1).utcoffset():
                exists = aware.astimezone(UTC).astimezone(place).replace(tzinfo=None) == wall
                odd.append((f"{wall:%Y-%m-%d}", "comes twice" if exists else "does not exist"))
        told = clock_changes.warnings(when, "systemd", datetime(2027, 1, 1, tzinfo=UTC))
        assert [(re.search(r"20\d\d-\d\d-\d\d", each)[0], what) for each, (_, what) in zip(told, odd, strict=True)] == odd
        assert all(what in each for each, (_, what) in zip(told, odd, strict=True))


@pytest.mark.parametrize(
    ("scheduler", "expression", "skipped", "repeated"),
    [
        ("cron", "30 2 * * *", "right after", "once"),
        ("cron", "*/20 2 * * *", "leaves these runs out", "twice"),
        ("systemd", "30 2 * * *", "leaves that run out", "once"),
        ("kubernetes", "30 2 * * *", "leaves that run out", "twice"),
    ],
)
def test_a_warning_says_what_the_scheduler_does(scheduler: str, expression: str, skipped: str, repeated: str) -> None:
    spring, autumn = clock_changes.warnings(read_cron(expression, "Europe/Berlin"), scheduler, NOW)
    assert skipped in spring
    assert repeated in autumn
    assert "--zone UTC" in spring


def test_every_hour_and_utc_need_no_warning() -> None:
    assert not clock_changes.warnings(read_cron("0 * * * *", "Europe/Berlin"), "cron", NOW)
    assert not clock_changes.warnings(read_cron("30 2 * * *"), "kubernetes", NOW)
    assert not clock_changes.warnings(read_cron("30 2 * 7 *", "Europe/Berlin"), "kubernetes", NOW)
