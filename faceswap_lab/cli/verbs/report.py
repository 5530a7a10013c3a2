"""`report`: write one page about runs."""

import argparse
from pathlib import Path
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import acceptance, add_acceptance, add_command
from faceswap_lab.files import user_path


def offer(commands: Any) -> None:
    """Adds the command."""
    report = add_command(
        commands,
        "report",
        _report,
        "write one self-contained page about runs",
        "faceswap-lab report train-3f9a swap-52c1 evaluate-77ab -o report.html",
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="ids of train, swap and evaluate runs")
    report.add_argument("--output", "-o", type=user_path, default=Path("report.html"))
    add_acceptance(report)


def _report(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.views.report.runs import report

    accepted = acceptance(options)
    runs = [Run.open(name) for name in options.runs]
    page = report(*runs, path=options.output, accept_frames=accepted["accept_frames"], accept_faces=accepted["accept_faces"])
    return {"report": str(page)}
