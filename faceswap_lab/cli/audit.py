"""`audit`: the log against itself and against the runs."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_group, root


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    audit = add_group(commands, "audit", "the audit log")
    add_command(audit, "verify", _audit_verify, "check the chain against itself and against the runs", "faceswap-lab audit verify")


def _audit_verify(_: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.trust import audit

    verdict = audit.verify(root(), heads=Run.heads())
    where = "" if verdict.whole else f"line {verdict.bad_line}: "
    # The log is judged all the same: a run whose folder was removed by hand takes its head along just as well.
    unreadable = [{"run": each.id, "why": each.error.got} for each in Run.survey().unreadable]
    told = f"; {len(unreadable)} runs cannot be read, so the log was not compared with them" if unreadable else ""
    finding = f"{where}{verdict.reason or 'every line holds'}{told}"
    return {"ok": verdict.whole, "lines": verdict.count, "finding": finding, "unreadable": unreadable}
