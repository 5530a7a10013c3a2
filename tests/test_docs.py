"""What the documentation says is true of the tree: paths and names exist, commands can be typed, the drawing is complete."""

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import faceswap_lab
from faceswap_lab.cli.parser import parser

ROOT = Path(__file__).parent.parent
FOLDERS = ("faceswap_lab", "docs", "notebooks", "tests", "benchmarks", "environments", "data_manifests")
TEXTS = sorted([*ROOT.glob("*.md"), *(path for folder in FOLDERS[1:] for path in (ROOT / folder).rglob("*.md"))])
NOW = [path for path in TEXTS if path.name != "CHANGELOG.md"]
"""The changelog tells of what once was."""

LINK = re.compile(r"\]\((?![a-z]+:|#)([^)\s#]+)")
PATH = re.compile(rf"(?<![\w/.~-])((?:{'|'.join(FOLDERS)})/[\w./-]*\w)")
MODULE = re.compile(r"`([\w/]+\.(?:py|js|css))`")
FLAG = re.compile(r"(?<![\w-])--[a-z][a-z-]+(?:\.[a-z-]+)*")
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHER_PROGRAMS = {"--dashboard-address", "--memory-limit", "--gres", "--no-deps", "--logdir", "--project", "--backend-store-uri"}

texts = pytest.mark.parametrize("path", NOW, ids=lambda path: str(path.relative_to(ROOT)))


def missing_paths(text: str) -> list[str]:
    """Files and folders that are named and don't exist; a module may be named by the end of its path."""
    known = [path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")]
    lost = {name for name in PATH.findall(text) if not (ROOT / name).exists()}
    return sorted(lost | {name for name in MODULE.findall(text) if not any(f"/{each}".endswith(f"/{name}") for each in known)})


@texts
def test_every_path_that_is_named_exists(path: Path) -> None:
    assert not missing_paths(path.read_text())


def test_a_path_that_does_not_exist_is_noticed() -> None:
    text = "`faceswap_lab/runs/doors.py`, `models/pack/scrfd_train.py`, `no_such.py`, and docs/actors.md, which does"
    assert missing_paths(text) == ["faceswap_lab/runs/doors.py", "models/pack/scrfd_train.py", "no_such.py"]


@texts
def test_every_link_leads_to_a_file(path: Path) -> None:
    assert not [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]


def command_lines(text: str) -> list[str]:
    """Lines of code blocks that call the program."""
    return [
        line.strip() for _, code in FENCED.findall(text) for line in code.splitlines() if line.strip().startswith("faceswap-lab ")
    ]


def is_understood(line: str) -> bool:
    try:
        parser().parse_args(shlex.split(line, comments=True)[1:])
    except SystemExit:
        return False
    return True


@texts
def test_every_command_line_can_be_typed(path: Path) -> None:
    assert not [line for line in command_lines(path.read_text()) if not is_understood(line)]


def test_a_command_line_that_cannot_be_typed_is_noticed() -> None:
    text = "```sh\nfaceswap-lab swap --source actor:7 --target actor:32 --again\nfaceswap-lab runs list  # fine\n```\n"
    assert [is_understood(line) for line in command_lines(text)] == [False, True]


def parsers(outer: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield outer
    for action in outer._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from parsers(inner)


def flags(command: argparse.ArgumentParser) -> list[str]:
    """All of its flags; those of a recipe are added when help is asked for."""
    command.format_help()
    return [flag for action in command._actions for flag in action.option_strings]


@texts
def test_every_flag_that_is_named_exists(path: Path) -> None:
    known = {flag for each in parsers(parser()) for flag in flags(each)} | OTHER_PROGRAMS
    scripts = " ".join(each.read_text() for folder in ("benchmarks", "tests") for each in (ROOT / folder).glob("*.py"))
    assert not [flag for flag in FLAG.findall(path.read_text()) if flag not in known and f'"{flag}"' not in scripts]


@texts
def test_every_public_name_in_an_example_exists(path: Path) -> None:
    text = path.read_text()
    examples = [code for language, code in FENCED.findall(text) if language == "python"]
    for code in examples:
        compile(code, str(path), "exec")
    named = {name for code in [*examples, *re.findall(r"`([^`\n]+)`", text)] for name in re.findall(r"\blab\.(\w+)", code)}
    assert named <= set(faceswap_lab.__all__)


@texts
def test_every_make_target_exists(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE)) <= targets


def test_architecture_and_contributing_name_every_layer() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    layers = [[name.strip().rpartition(".")[2] for name in layer.split("|")] for layer in contract["layers"]]
    line = " -> ".join(" | ".join(names) for names in layers)
    assert line in " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    drawn = re.findall(r'class="name">(\w+)', (ROOT / "docs/pictures/architecture.svg").read_text())
    assert drawn == [name for names in layers for name in names], "the boxes, from the top to the bottom"
    assert "docs/pictures/architecture.svg" in (ROOT / "ARCHITECTURE.md").read_text()


@pytest.mark.slow
@pytest.mark.weights
def test_the_swapper_of_the_how_to_runs_as_it_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "docs/howto/own_swapper.md").read_text()
    names: dict[str, object] = {"__name__": "how_to"}
    for language, code in FENCED.findall(text):
        if language == "python":
            exec(compile(code, "own_swapper.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(r"frame \d: \d+\.\d dB, floor \d+\.\d dB", line) for line in lines)
