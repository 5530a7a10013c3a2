"""`notebook`: run a shipped notebook unattended."""

import argparse
import json
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_group
from faceswap_lab.cli.parsing import ArgumentValueError


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    notebook = add_group(commands, "notebook", "the notebooks shipped with the lab")
    run = add_command(
        notebook,
        "run",
        _run,
        "run a notebook unattended; the executed copy is kept in its own run",
        "faceswap-lab notebook run 12_actors",
        "faceswap-lab notebook run 00_quickstart -p recipe=smoke -p device=cpu --json",
    )
    run.add_argument("notebook", metavar="NAME", help="for example 00_quickstart")
    run.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help='a parameter of the notebook, as JSON (7, true, "7") or as plain text; repeatable',
    )
    run.add_argument("--force", action="store_true", help="start a new run even if an identical one is finished")


def _run(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.notebook import execute

    run = execute(options.notebook, dict(map(parameter, options.parameters)), force=options.force)
    return {"run": run.id, "notebook": str(run.artifact("notebook.ipynb")), **run.summary}


def parameter(text: str) -> tuple[str, Any]:
    """A name and its value, as JSON or as plain text."""
    name, separator, value = text.partition("=")
    if not separator or not name.isidentifier():
        raise ArgumentValueError(expected="a parameter as NAME=VALUE", got=repr(text), remedy="write for example -p recipe=smoke")
    try:
        return name, json.loads(value)
    except ValueError:
        # Not JSON, so plain text.
        return name, value
