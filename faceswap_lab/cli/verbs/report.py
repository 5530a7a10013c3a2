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
        "write one self-contained page about any runs, finished or not; runs of one verb are compared side by side",
        "faceswap-lab report train-3f9a swap-52c1 evaluate-77ab -o report.html",
        "faceswap-lab report train-3f9a -o why-it-failed.html",
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="ids of runs, or unique prefixes of them")
    report.add_argument("--output", "-o", type=user_path, default=Path("report.html"), metavar="FILE.html")
    report.add_argument("--title", default="", help="the page's heading; one is chosen without it")
    add_acceptance(report)
    told = "show this many pictures of notebooks that are not the lab's own: look first that nobody real is in them"
    report.add_argument("--accept-pictures", type=int, default=0, metavar="N", help=told)


def _report(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.views.report.runs import report

    runs = [Run.open(name) for name in options.runs]
    accepted = acceptance(options) | {"accept_pictures": options.accept_pictures}
    return {"report": str(report(*runs, path=options.output, title=options.title, **accepted))}
