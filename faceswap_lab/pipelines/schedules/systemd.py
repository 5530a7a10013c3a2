"""A timer of this user's systemd, and the service that it starts."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from faceswap_lab.errors import ScheduleError
from faceswap_lab.files import write_whole
from faceswap_lab.pipelines.schedules.fields import Field
from faceswap_lab.pipelines.schedules.job import MARK, Job
from faceswap_lab.pipelines.schedules.when import When

_PREFIX = "faceswap-lab-"
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")


def units(job: Job) -> dict[str, str]:
    """Both units by the names of their files. A timer starts nothing while its service is still at work."""
    stem = f"{_PREFIX}{job.name}"
    service = f"""\
# {MARK} {job.name}
[Unit]
Description=faceswap-lab pipelines run {_literal(Path(job.pipeline).name)}

[Service]
Type=oneshot
WorkingDirectory={_literal(str(job.root))}
{"".join(f"Environment={_quoted(f'{name}={value}')}" + chr(10) for name, value in job.variables.items())}\
ExecStart={" ".join(_argument(word) for word in job.words)}
UMask=0077
NoNewPrivileges=yes
Nice=5
"""
    due = "\n".join(f"OnCalendar={each}" for each in calendar(job.when))
    timer = f"""\
# {MARK} {job.name}
[Unit]
Description=faceswap-lab pipelines run {_literal(Path(job.pipeline).name)}, {job.when.expression} {job.when.zone}

[Timer]
{due}
Persistent=true
AccuracySec=1s
Unit={stem}.service

[Install]
WantedBy=timers.target
"""
    return {f"{stem}.service": service, f"{stem}.timer": timer}


def calendar(when: When) -> list[str]:
    """The schedule in the words of `OnCalendar=`: two lines where a day of the month or one of the week is enough."""
    clock = f"{_numbers(when.hour)}:{_numbers(when.minute)}:00 {when.zone}"
    month = _numbers(when.month)
    any_day, in_month = f"*-{month}-*", f"*-{month}-{_numbers(when.day)}"
    in_week = "" if when.weekday.is_open else ",".join(_WEEKDAYS[each] for each in sorted(when.weekday.values)) + " "
    if when.day.star or when.weekday.star:
        return [f"{in_week}{in_month} {clock}"]
    return [f"{in_month} {clock}", f"{in_week}{any_day} {clock}"]


def verify(files: Mapping[str, str]) -> bool:
    """Have systemd itself read the units; ScheduleError with what it says. False where systemd-analyze isn't installed."""
    program = shutil.which("systemd-analyze")
    if program is None:
        return False
    with tempfile.TemporaryDirectory(prefix="faceswap-lab-units-") as folder:
        for name, text in files.items():
            write_whole(Path(folder, name), text)
        places = [str(Path(folder, name)) for name in files]
        # Another unit of this machine may have faults of its own: what is said of ours decides, and so does the exit code.
        done = _run([program, "verify", "--user", "--man=no", "--recursive-errors=no", *places], XDG_RUNTIME_DIR=folder)
    said = [each for each in (done.stderr + done.stdout).splitlines() if _PREFIX in each]
    if done.returncode or said:
        got = "; ".join(said) or f"exit code {done.returncode}: {done.stderr.strip()}"
        remedy = "change the parameter, name or path that it names"
        raise ScheduleError(expected="units that systemd-analyze accepts", got=got, remedy=remedy)
    return True


def install(job: Job) -> bool:
    """Write both units and start the timer; False if they are there and unchanged. What fails leaves the units of before."""
    made, folder = units(job), folder_of_units()
    verify(made)
    before = {name: _text(folder / name) for name in made}
    if before == made and _is_active(f"{_PREFIX}{job.name}.timer"):
        return False
    try:
        _write(folder, made)
        _systemctl("daemon-reload")
        _systemctl("enable", f"{_PREFIX}{job.name}.timer")
        _systemctl("restart", f"{_PREFIX}{job.name}.timer")
    except BaseException:
        _write(folder, before)
        raise
    return True


def remove(name: str) -> bool:
    """Stop the timer and remove both units; a run that it started goes on. False if there are none of that name."""
    folder, stem = folder_of_units(), f"{_PREFIX}{name}"
    if not any(each["name"] == name for each in installed()):
        return False
    _systemctl("disable", "--now", f"{stem}.timer")
    _write(folder, {f"{stem}.timer": None, f"{stem}.service": None})
    _systemctl("daemon-reload")
    return True


def installed() -> list[dict[str, str]]:
    """The timers that this command has written for this user."""
    return [dict(row) for path in sorted(folder_of_units().glob(f"{_PREFIX}*.timer")) for row in _row(path)]


def folder_of_units() -> Path:
    """Where a user's own units are."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "systemd" / "user"


def _row(timer: Path) -> Iterator[dict[str, str]]:
    text, service = _text(timer) or "", _text(timer.with_suffix(".service")) or ""
    name = timer.stem.removeprefix(_PREFIX)
    if text.startswith(f"# {MARK} {name}\n"):
        values = [line.partition("=") for line in [*text.splitlines(), *service.splitlines()]]
        due = "; ".join(value for key, _, value in values if key == "OnCalendar")
        command = next((value for key, _, value in values if key == "ExecStart"), "")
        yield {"name": name, "kind": "systemd", "when": due, "command": command}


def _write(folder: Path, files: Mapping[str, str | None]) -> None:
    for name, text in files.items():
        if text is None:
            (folder / name).unlink(missing_ok=True)
        else:
            write_whole(folder / name, text)


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _is_active(timer: str) -> bool:
    program = shutil.which("systemctl")
    return program is not None and _run([program, "--user", "is-active", "--quiet", timer]).returncode == 0


def _systemctl(*words: str) -> None:
    program = shutil.which("systemctl")
    done = _run([program, "--user", *words]) if program else None
    if done is None or done.returncode:
        raise ScheduleError(
            expected="a systemd that runs for this user",
            got=done.stderr.strip() or f"exit code {done.returncode}" if done else "no systemctl",
            remedy="use cron or Kubernetes, or print the units and put them where systemd runs; nothing was changed",
        )


def _run(words: list[str], **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, env=os.environ | variables, check=False)  # noqa: S603


def _numbers(field: Field) -> str:
    return "*" if field.is_open else ",".join(f"{each:02d}" for each in sorted(field.values))


def _argument(word: str) -> str:
    """A word of ExecStart, where `$` begins a variable as well."""
    return _quoted(word).replace("$", "$$")


def _quoted(text: str) -> str:
    return '"' + _literal(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _literal(text: str) -> str:
    """A text in which systemd finds no specifier."""
    return text.replace("%", "%%")
