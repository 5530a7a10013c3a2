"""`schedule`: run a pipeline by the clock, through cron, systemd or Kubernetes."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_group, root
from faceswap_lab.cli.parsing import Parser

if TYPE_CHECKING:
    from faceswap_lab.pipelines.schedules.job import Job

_SHOWN = 3


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    schedule = add_group(commands, "schedule", "pipelines by the clock")
    cron = add_command(
        schedule,
        "cron",
        _cron,
        "a line for this user's crontab: print it, or install it",
        'faceswap-lab schedule cron nightly --at "03:30"',
        'faceswap-lab schedule cron nightly --cron "30 3 * * 1-5" --zone local --notify mail:lab@example.org --install',
        readable=_text,
        lab="read",
    )
    systemd = add_command(
        schedule,
        "systemd",
        _systemd,
        "a timer and its service for this user's systemd: print them, or install them",
        "faceswap-lab schedule systemd benchmark --every week --zone Europe/Berlin -p recipe=small",
        "faceswap-lab schedule systemd nightly --every day --smoke --install",
        readable=_text,
        lab="read",
    )
    kubernetes = add_command(
        schedule,
        "kubernetes",
        _kubernetes,
        "a CronJob: print it as YAML, or have kubectl apply it",
        'faceswap-lab schedule kubernetes nightly --at "03:30"',
        "faceswap-lab schedule kubernetes benchmark --every week --zone Europe/Berlin --memory 32Gi --install",
        readable=_text,
        lab="",
    )
    for command in (cron, systemd, kubernetes):
        _add_job(command)
    _add_placement(kubernetes)
    listed = add_command(schedule, "list", _list, "what is installed here", "faceswap-lab schedule list", lab="")
    removed = add_command(
        schedule, "remove", _remove, "take out what is installed under a name", "faceswap-lab schedule remove nightly", lab=""
    )
    removed.add_argument("name", help="as `schedule list` shows it")
    for command in (listed, removed):
        command.add_argument("--namespace", metavar="NAME", help="the CronJobs of this namespace, through kubectl, as well")


def _add_job(parser: Parser) -> None:
    parser.add_argument("pipeline", help="a shipped pipeline's name, or the path of a TOML file")
    due = parser.add_argument_group("when it is due")
    due.add_argument("--at", metavar="HH:MM", help="every day at this time; with --every week on Mondays")
    due.add_argument("--every", choices=["hour", "day", "week"], help="hour: at minute 0; day and week: at 03:30, or --at")
    due.add_argument("--cron", metavar="EXPRESSION", help='five fields: "30 3 * * 1-5"')
    due.add_argument("--zone", default="UTC", help="whose clock that is: UTC (default), Europe/Berlin, local (this machine's)")
    run = parser.add_argument_group("what is run")
    run.add_argument("-p", dest="parameters", action="append", default=[], metavar="NAME=VALUE", help="a parameter; repeatable")
    run.add_argument("--smoke", action="store_true", help="with the pipeline's smallest parameters")
    run.add_argument(
        "--notify", action="append", default=[], metavar="TARGET", help="mail:ADDRESS, https://… or webhook:NAME; repeatable"
    )
    parser.add_argument("--name", help="of the schedule; default: the pipeline's")
    parser.add_argument("--install", action="store_true", help="install it, in place of one of the same name; default: print it")


def _add_placement(parser: Parser) -> None:
    group = parser.add_argument_group("where in the cluster")
    group.add_argument("--namespace", metavar="NAME", help="default: faceswap-lab")
    group.add_argument("--image", help="default: the lab's, of this version")
    group.add_argument("--cpu", metavar="QUANTITY", help="default: 4")
    group.add_argument("--memory", metavar="QUANTITY", help="default: 16Gi")
    group.add_argument("--hours", type=int, metavar="N", help="end a run after so many; default: 12")


def _cron(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.schedules import cron

    job = _job(options)
    answer = {"text": f"{cron.line(job)}\n", **_about(job, "cron")}
    if not options.install:
        return answer
    backup = cron.install(job)
    kept = {"crontab_before": str(backup), "log": str(job.root / "runs" / f".schedule-{job.name}.log")} if backup else {}
    return answer | {"installed": backup is not None, **kept}


def _systemd(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.schedules import systemd

    job = _job(options)
    units = systemd.units(job)
    verified = systemd.verify(units)
    text = "\n".join(f"# --- {systemd.folder_of_units() / name}\n{unit}" for name, unit in units.items())
    answer = {"text": text, "verified": verified, **_about(job, "systemd")}
    if not options.install:
        return answer
    hint = "for runs while nobody is logged in: loginctl enable-linger"
    return answer | {"installed": systemd.install(job), "log": f"journalctl --user -u faceswap-lab-{job.name}", "next": hint}


def _kubernetes(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.schedules import kubernetes

    names = ("namespace", "image", "cpu", "memory", "hours")
    place = kubernetes.placement(**{name: getattr(options, name) for name in names})
    job = _job(options, lab=Path(kubernetes.LAB), program=("faceswap-lab",))
    made = kubernetes.manifest(job, place)
    answer = {"text": kubernetes.as_yaml(made), **_about(job, "kubernetes")}
    return answer | {"installed": True, "told": kubernetes.install(made)} if options.install else answer


def _job(options: argparse.Namespace, *, lab: Path | None = None, program: tuple[str, ...] = ()) -> "Job":
    """What the options ask for. In a cluster, `lab` and `program` are those of the image."""
    from faceswap_lab.pipelines.notify import check
    from faceswap_lab.pipelines.schedules.job import Job, name_for, own_program
    from faceswap_lab.pipelines.schedules.when import read_when

    if lab is None:  # in a cluster, settings and secrets are those of its own
        check(options.notify, scheduled=True)
    when = read_when(at=options.at, every=options.every, cron=options.cron, zone=options.zone)
    return Job(
        name=options.name or name_for(options.pipeline),
        pipeline=_pipeline(options, lab),
        when=when,
        root=lab or root(),
        program=program or own_program(),
        parameters=tuple(options.parameters),
        smoke=options.smoke,
        notify=tuple(options.notify),
    )


def _pipeline(options: argparse.Namespace, lab: Path | None) -> str:
    """A shipped pipeline by its name, a file by its full path; checked with the parameters, as `pipelines check` does.

    A file in a cluster has to be one of the lab's folder there, and can't be checked from here.
    """
    from faceswap_lab.cli.nouns.notebook import parameter
    from faceswap_lab.errors import ScheduleError
    from faceswap_lab.pipelines.checks import check
    from faceswap_lab.pipelines.graph import read, shipped

    given = options.pipeline
    if lab is not None and given not in shipped() and ("/" in given or given.endswith(".toml")):
        if not Path(given).is_relative_to(lab) or ".." in Path(given).parts:
            remedy = f"copy the file to the volume that is mounted there, and name it as {lab / 'pipelines' / Path(given).name}"
            raise ScheduleError(expected=f"a file below {lab}, which is the lab in the cluster", got=given, remedy=remedy)
        return str(given)
    pipeline = read(given)
    check(pipeline, pipeline.values(dict(map(parameter, options.parameters)), smoke=options.smoke))
    return str(given) if given in shipped() else str(pipeline.path)


def _about(job: "Job", scheduler: Any) -> dict[str, Any]:
    """What is told of every schedule; warnings go to standard error as well, where they don't get into a file of YAML."""
    from faceswap_lab.pipelines.schedules.clock_changes import warnings

    now = datetime.now(UTC)
    found = warnings(job.when, scheduler, now)
    due = [f"{moment:%Y-%m-%d %H:%M %Z}" for moment in job.when.next_times(now, _SHOWN)]
    for line in found:
        print(f"warning: {line}", file=sys.stderr)
    return {"name": job.name, "kind": scheduler, "when": f"{job.when.expression} {job.when.zone}", "next": due, "warnings": found}


def _text(answer: dict[str, Any]) -> str:
    """The line, the units or the YAML alone, to be used as they are; after an installation, what was done."""
    from faceswap_lab.cli.answers import plain

    if "installed" not in answer:
        return str(answer["text"]).removesuffix("\n")
    return plain({name: value for name, value in answer.items() if name not in ("text", "warnings")})


def _list(options: argparse.Namespace) -> Answer:
    return _rows(options)


def _rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    from faceswap_lab.pipelines.schedules import cron, kubernetes, systemd

    rows = [*cron.installed(), *systemd.installed()]
    return [*rows, *(kubernetes.installed(options.namespace) if options.namespace else [])]


def _remove(options: argparse.Namespace) -> Answer:
    from faceswap_lab.errors import ScheduleError
    from faceswap_lab.pipelines.schedules import cron, kubernetes, systemd
    from faceswap_lab.pipelines.schedules.job import check_name

    name = check_name(options.name)
    rows = [row for row in _rows(options) if row["name"] == name]
    if not rows:
        remedy = "see `faceswap-lab schedule list`; for a CronJob, add --namespace"
        raise ScheduleError(expected="the name of an installed schedule", got=repr(name), remedy=remedy)
    done = []
    for row in rows:
        kept: dict[str, Any] = {}
        match row["kind"]:
            case "cron":
                kept = {"crontab_before": str(cron.remove(name, root()))}
            case "systemd":
                systemd.remove(name)
            case _:
                kubernetes.remove(name, options.namespace)
        done.append({"name": name, "kind": row["kind"], "state": "removed", **kept})
    return done
