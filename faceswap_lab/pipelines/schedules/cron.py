"""A line of this user's crontab. Other lines are never touched, and what was there before is kept beside the runs."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

from faceswap_lab.errors import ScheduleError, storing
from faceswap_lab.files import locked, put_in_place
from faceswap_lab.pipelines.schedules.job import MARK, Job
from faceswap_lab.pipelines.schedules.when import machine_zone

_MARKED = re.compile(rf"(?P<when>(?:\S+\s+){{5}})(?P<command>.*) # {re.escape(MARK)} (?P<name>[a-z0-9-]+)")
_LONGEST = 998
"""Characters of a command; the cron of Debian refuses a crontab with a longer one."""

_AT_WORK = 75
"""What flock exits with if another process has the lock."""


def line(job: Job) -> str:
    """The line, without its newline. ScheduleError if cron's clock is another than the schedule's, or for what cron can't be told.

    A run that still goes on holds a lock, without which the next isn't started. What is printed goes to a log beside the runs.
    """
    _require_zone(job.when.zone)
    words = [*(["env", *(f"{name}={value}" for name, value in job.variables.items())] if job.variables else []), *job.words]
    beside = job.root / "runs" / f".schedule-{job.name}"
    log, lock = (shlex.quote(f"{beside}.{suffix}") for suffix in ("log", "lock"))
    told = 'echo "$(date -u): not started, the last run still goes on"'
    work = f"{shutil.which('flock') or 'flock'} -n -E {_AT_WORK} {lock} {shlex.join(words)} || [ $? -ne {_AT_WORK} ] || {told}"
    command = _escaped(f"umask 077; cd {shlex.quote(str(job.root))} && {{ {work}; }} >> {log} 2>&1")
    if len(command) + len(MARK) + len(job.name) + 4 > _LONGEST:
        remedy = "put the parameters into a pipeline of your own, or use a timer of systemd"
        raise ScheduleError(expected=f"a command of up to {_LONGEST} characters", got=f"{len(command)}", remedy=remedy)
    return f"{job.when.expression} {command} # {MARK} {job.name}"


def install(job: Job) -> Path | None:
    """Put the job's line into the crontab, in place of one of the same name; returns where the crontab of before is kept.

    Does nothing, and returns None, if the line is there already.
    """
    made = line(job)
    if shutil.which("flock") is None:
        raise ScheduleError(
            expected="flock, which keeps a run from being started twice", got="none", remedy="install util-linux, or use systemd"
        )
    with locked(job.root / "runs" / ".crontab.lock"):
        before = read()
        others = [each for each in before if _name(each) != job.name]
        if [each for each in before if _name(each) == job.name] == [made]:
            return None
        return _replace(before, [*others, made], job.root)


def remove(name: str, root: Path) -> Path | None:
    """Take the line of this name out; returns where the crontab of before is kept, or None if there is no such line."""
    with locked(root / "runs" / ".crontab.lock"):
        before = read()
        kept = [each for each in before if _name(each) != name]
        return _replace(before, kept, root) if kept != before else None


def installed() -> list[dict[str, str]]:
    """The lines that this lab's commands have put into the crontab."""
    if shutil.which("crontab") is None:
        return []
    found = filter(None, map(_match, read()))
    return [
        {"name": each["name"], "kind": "cron", "when": each["when"].strip(), "command": _work(each["command"])} for each in found
    ]


def read() -> list[str]:
    """The lines of the crontab; none if there is no crontab."""
    done = _crontab(["-l"])
    if done.returncode and b"no crontab for" in done.stderr.lower():
        return []
    _require_done(done, "the crontab to be readable")
    return os.fsdecode(done.stdout).removesuffix("\n").split("\n") if done.stdout else []


def _replace(before: Sequence[str], lines: Sequence[str], root: Path) -> Path:
    """Write the crontab whole, and look whether it is what was meant."""
    backup = root / "runs" / f".crontab-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
    _keep(backup, before)
    if read() != list(before):
        raise ScheduleError(
            expected="nobody else to change the crontab meanwhile", got="a changed one", remedy="repeat the command"
        )
    _require_done(_crontab(["-"], _bytes(lines)), "cron to take the new crontab")
    if read() != list(lines):
        remedy = f"compare `crontab -l` with {backup}, which is the one of before"
        raise ScheduleError(expected="the crontab as it was written", got="another one", remedy=remedy)
    return backup


def _keep(backup: Path, lines: Sequence[str]) -> None:
    """A crontab may hold passwords, and bytes that are no text."""
    temporary = backup.with_name(f".part-{backup.name}")
    with storing(backup):
        try:
            temporary.touch(mode=0o600)
            temporary.write_bytes(_bytes(lines))
            put_in_place(temporary, backup, private=True)
        finally:
            temporary.unlink(missing_ok=True)


def _bytes(lines: Sequence[str]) -> bytes:
    return os.fsencode("".join(f"{each}\n" for each in lines))


def _name(text: str) -> str | None:
    """The name of the schedule that a line belongs to; None for anybody else's line."""
    match = _match(text)
    return match["name"] if match else None


def _work(command: str) -> str:
    """What is done under the lock."""
    return command.partition(f" -n -E {_AT_WORK} ")[2].partition(" ")[2].rpartition(" || [ $? ")[0] or command


def _match(text: str) -> re.Match[str] | None:
    return None if text.lstrip().startswith("#") else _MARKED.fullmatch(text)


def _escaped(command: str) -> str:
    """For cron, which makes a newline of each `%` without a backslash. Crons differ about other backslashes, so there are none."""
    if "\\" in command:
        remedy = "use a timer of systemd, or put the parameter into a pipeline of your own"
        raise ScheduleError(expected="no backslash in a line of the crontab", got="one", remedy=remedy)
    return command.replace("%", "\\%")


def _require_zone(zone: str) -> None:
    """Cron knows no zone but the machine's: the schedule's has to show the same time, now and for the years to come."""
    own, now = machine_zone(), datetime.now(UTC)
    days = (now + timedelta(days=number) for number in range(366 * 3))
    if own != zone and any(day.astimezone(ZoneInfo(own)).utcoffset() != day.astimezone(ZoneInfo(zone)).utcoffset() for day in days):
        raise ScheduleError(
            expected=f"times in {own}, which is the only clock that cron on this machine goes by",
            got=f"times in {zone}",
            remedy=f"use a timer of systemd, which knows zones, or say what you mean in {own}: --zone local",
        )


def _crontab(arguments: list[str], text: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("crontab")
    if program is None:
        remedy = "install cron (Debian: `apt install cron`), or use systemd; without --install the line is printed"
        raise ScheduleError(expected="the program crontab", got="none", remedy=remedy)
    # A message in another language would hide that there is no crontab yet.
    return subprocess.run([program, *arguments], input=text, capture_output=True, env=os.environ | {"LC_ALL": "C"}, check=False)  # noqa: S603


def _require_done(done: subprocess.CompletedProcess[bytes], expected: str) -> None:
    if done.returncode:
        got = os.fsdecode(done.stderr).strip() or f"exit code {done.returncode}"
        raise ScheduleError(expected=expected, got=got, remedy="see `man crontab`; nothing was changed")
