"""`quickstart`: run the notebook of that name unattended."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command


def offer(commands: Any) -> None:
    """Adds the command."""
    quickstart = add_command(
        commands,
        "quickstart",
        _quickstart,
        "run the quickstart notebook: train, swap, measure, report",
        "faceswap-lab quickstart",
        "faceswap-lab quickstart --recipe smoke --json",
        verb=True,
    )
    quickstart.add_argument(
        "--recipe", default="quickstart", choices=["quickstart", "smoke"], help="smoke: takes seconds, learns nothing"
    )


def _quickstart(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.quickstart import quickstart

    options.json = True
    return quickstart(recipe=options.recipe, device=options.device, force=options.force)
