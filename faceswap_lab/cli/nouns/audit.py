"""`audit`: show the log, and verify it against itself and the runs."""

import argparse
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_group, root
from faceswap_lab.cli.parsing import ArgumentValueError

if TYPE_CHECKING:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.trust.audit import Entry


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    audit = add_group(commands, "audit", "the audit log")
    add_command(
        audit,
        "verify",
        _audit_verify,
        "check the chain against itself and against the runs",
        "faceswap-lab audit verify",
        lab="read",
    )
    show = add_command(
        audit,
        "show",
        _audit_show,
        "the log's lines, oldest first; of a damaged log, the valid ones",
        "faceswap-lab audit show --tail 20",
        "faceswap-lab audit show --action exported --since 2026-11-01",
        "faceswap-lab audit show --run swap-52c1 --json",
        lab="read",
    )
    show.add_argument("--action", metavar="WORDS", help="lines whose action begins with this: admitted, admission, exported, …")
    show.add_argument("--run", metavar="RUN", help="lines about this run, by its id or a prefix of it")
    show.add_argument("--since", metavar="TIME", help="lines since this day or time, UTC by default: 2026-11-01T12:00")
    show.add_argument("--tail", type=int, metavar="N", help="only the last N of these")


def _audit_verify(_: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.trust import audit

    verdict = audit.verify(root(), heads=Run.heads())
    where = "" if verdict.whole else f"line {verdict.bad_line}: "
    seen = Run.survey()
    unreadable = [{"run": each.id, "why": each.error.got} for each in seen.unreadable]
    altered = [{"run": run.id, "why": why} for run in seen.runs if (why := _alteration(run))]
    # A record that cannot be read may be one that was altered: the log vouches for it no more than for that.
    told = f"; {len(unreadable)} runs cannot be read, so the log was not compared with them" if unreadable else ""
    told += f"; {len(altered)} runs are not as the log has them" if altered else ""
    finding = f"{where}{verdict.reason or 'every line is valid'}{told}"
    ok = verdict.whole and not unreadable and not altered
    return {"ok": ok, "lines": verdict.count, "finding": finding, "unreadable": unreadable, "altered": altered}


def _alteration(run: "Run") -> str:
    """What differs between a run and the log: its record, or a file that it made; empty if nothing does."""
    from faceswap_lab.errors import LabError

    try:
        run.require_genuine()
        if run.finished:
            for name in filter(run.has, run.record.artifacts):  # one that was removed says nothing untrue
                run.artifact(name)
    except LabError as error:
        return f"expected {error.expected}, got {error.got}"
    return ""


def _audit_show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.trust import audit, subjects

    if options.tail is not None and options.tail < 1:
        raise ValueError(f"--tail must be at least 1, got {options.tail}")
    since = _moment(options.since) if options.since else None
    entries, verdict = audit.walk(root())
    chosen = [entry for entry in entries if _wanted(entry, options.action, options.run, since)]
    named = subjects.resolver(root())
    lines = [_row(entry, named(entry.event)) for entry in chosen[-(options.tail or 0) :]]
    if verdict.whole:
        return {"lines": lines} if lines else {"lines": [], "finding": "no such line"}
    return {"ok": False, "lines": lines, "finding": f"from line {verdict.bad_line} on: {verdict.reason}"}


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        forms = "a day or a time, such as 2026-11-01 or 2026-11-01T12:00"
        raise ArgumentValueError(expected=forms, got=repr(text), remedy="give --since one of these forms") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _wanted(entry: "Entry", action: str | None, run: str | None, since: datetime | None) -> bool:
    if action and not str(entry.event.get("action", "")).startswith(action):
        return False
    if since and datetime.fromisoformat(entry.time) < since:
        return False
    return not run or any(name.startswith(run) for name in _runs(entry.event))


def _runs(event: dict[str, Any]) -> list[str]:
    """All runs that a line mentions; older lines have `within` and `shows`."""
    shown = event.get("depicts", event.get("shows", []))
    named = [event.get("run"), event.get("notebook_run"), event.get("within"), *event.get("ids", [])]
    named += [each.get("run") for each in shown if isinstance(each, dict)]
    return [str(name) for name in named if name]


def _row(entry: "Entry", event: dict[str, Any]) -> dict[str, Any]:
    """A line as shown; `event` is its event with names in place of ids, as far as the lab still knows them."""
    told = {name: value for name, value in event.items() if name != "action"}
    action = str(event.get("action", ""))
    return {"number": entry.number, "time": entry.time, "user": entry.user, "action": action, "event": json.dumps(told)}
