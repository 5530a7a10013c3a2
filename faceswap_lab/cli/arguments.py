"""How commands are added and people are written; what several commands need."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer

if TYPE_CHECKING:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.verbs.people import Person


def add_group(commands: Any, name: str, text: str) -> Any:
    """A noun, to which its commands are added."""
    return commands.add_parser(name, help=text, description=text).add_subparsers(required=True, metavar="COMMAND")


def add_command(
    commands: Any, name: str, command: Callable[[argparse.Namespace], Answer], text: str, *examples: str, verb: bool = False
) -> argparse.ArgumentParser:
    """A command, with the `examples` that its help ends with: whole lines that can be typed."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog="\n  ".join(["for example:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    if verb:
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
        parser.add_argument("--force", action="store_true", help="a new run even if an identical one is finished")
    parser.set_defaults(command=command)
    return parser


def person(text: str) -> "Person":
    """`actor:7`, `actor:7/speech:3`, `faceset:cast/person-2`, or a file that has a manifest entry."""
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.verbs.people import admit

    if text.startswith("faceset:"):
        from faceswap_lab.verbs.library import faceset

        name, _, label = text.removeprefix("faceset:").partition("/")
        return faceset(name).of(label) if label else faceset(name)
    if not text.startswith("actor:"):
        return admit(text)
    seed, _, performance = text.removeprefix("actor:").partition("/")
    kind, _, number = performance.partition(":")
    if not seed.isdecimal() or (number and not number.isdecimal()):
        raise ValueError(f"an actor is written actor:7 or actor:7/speech:3, not {text!r}")
    actor = Actor(int(seed))
    return actor.perform(kind, seed=int(number or 0)) if kind else actor


def about(run: "Run") -> dict[str, Any]:
    """What every verb answers of the run that it made."""
    return {"run": run.id, "folder": str(run.path), **run.summary}


def root() -> Path:
    """The lab that the commands work in."""
    from faceswap_lab.runs.root import lab_root

    return lab_root()
