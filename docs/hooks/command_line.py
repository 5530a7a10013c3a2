"""The page of all commands, from the parser itself: it cannot say what the program does not."""

import argparse
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

INTRODUCTION = """# Commands

Every command with its arguments, as `faceswap-lab COMMAND --help` prints them: this page is made from the parser. How they work
together, what they print and their exit codes: [The command line](../howto/command_line.md).
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the page."""
    sys.path.insert(0, str(ROOT))
    from faceswap_lab.cli.parser import parser

    files.append(File.generated(config, "reference/cli.md", content=page(parser())))
    return files


def page(parser: argparse.ArgumentParser) -> str:
    """Markdown of every command below this parser, nouns with their commands beneath them."""
    # argparse wraps by the terminal's width, which must not show on a page.
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "86"
    try:
        return INTRODUCTION + "".join(_sections(parser, level=2))
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before


def _sections(parser: argparse.ArgumentParser, level: int) -> Iterator[str]:
    for inner in _commands(parser):
        text = (inner.description or "").strip()
        yield f"\n{'#' * level} {inner.prog}\n\n{text[:1].upper()}{text[1:]}.\n"
        if any(_commands(inner)):
            yield from _sections(inner, level + 1)
        else:
            yield _command(inner)


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _command(parser: argparse.ArgumentParser) -> str:
    parser.format_help()  # a verb adds the flags of its recipe when it is asked for help
    usage = parser.format_usage().removeprefix("usage: ").strip()
    rows = [_row(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]
    table = "\n".join(["| argument | meaning |", "|---|---|", *rows]) + "\n" if rows else ""
    return f"\n```text\n{usage}\n```\n\n{table}{_examples(parser.epilog or '')}"


def _row(action: argparse.Action) -> str:
    """`--name VALUE` and what the help says of it, with choices and a default that it does not name itself."""
    name = ", ".join(action.option_strings) + _value(action) if action.option_strings else str(action.metavar or action.dest)
    said = (action.help or "").replace("%%", "%")
    if action.option_strings and action.nargs != 0 and action.default is not None and "default" not in said:
        said = f"{said}; default: `{action.default}`" if said else f"default: `{action.default}`"
    cells = [f"`{name}`", f"{said}{'; required' if action.required and action.option_strings else ''}"]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _value(action: argparse.Action) -> str:
    if action.nargs == 0:
        return ""
    return " " + str(action.metavar or (f"{{{','.join(map(str, action.choices))}}}" if action.choices else action.dest.upper()))


def _examples(epilog: str) -> str:
    lines = [line.strip() for line in epilog.splitlines() if line.strip().startswith("faceswap-lab")]
    return "\n```sh\n" + "\n".join(lines) + "\n```\n" if lines else ""
