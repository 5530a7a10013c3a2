"""The parser of the command line, with all commands in the order of the help."""

from faceswap_lab import __version__
from faceswap_lab.cli.nouns import (
    actors,
    audit,
    cluster,
    consent,
    cost,
    doctor,
    facesets,
    init,
    models,
    notebook,
    pipelines,
    runs,
    schedule,
)
from faceswap_lab.cli.parsing import Parser
from faceswap_lab.cli.verbs import bench, demo, evaluate, quickstart, render, report, swap, train


def parser() -> Parser:
    """The command line's parser; the attribute `command` of the options it returns is the function to call."""
    made = Parser(prog="faceswap-lab", description="Face-swap research, measured against the true answer.")
    made.add_argument("--version", action="version", version=__version__)
    commands = made.add_subparsers(required=True, metavar="COMMAND")
    init.offer(commands)
    for work in (quickstart, train, swap, evaluate, bench, render, report, demo):
        work.offer(commands)
    for kept in (models, actors, consent, facesets, runs, notebook, pipelines, schedule):
        kept.offer(commands)
    cluster.offer(commands)
    cost.offer(commands)
    doctor.offer(commands)
    audit.offer(commands)
    return made
