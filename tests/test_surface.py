"""The public surface: names, commands, notebooks, and that the documentation names them all."""

import argparse
import difflib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import faceswap_lab
from faceswap_lab import __main__ as command_line
from faceswap_lab.cli.nouns import runs
from faceswap_lab.cli.parser import parser
from faceswap_lab.errors import ConsentError, DeviceError, MediaError, WeightsError
from tests import surface

ROOT = Path(__file__).parent.parent


def test_public_names_are_sorted_resolve_and_hide_no_subpackage() -> None:
    assert sorted(faceswap_lab.__all__) == faceswap_lab.__all__
    assert set(faceswap_lab.__all__) == set(faceswap_lab._PLACES)
    for name in faceswap_lab.__all__:
        assert getattr(faceswap_lab, name) is not None
    packages = {path.parent.name for path in (ROOT / "faceswap_lab").glob("*/__init__.py")}
    assert not packages & set(faceswap_lab.__all__)


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(AttributeError, match="swap, track, train"):
        faceswap_lab.swop  # noqa: B018


def commands(within: argparse.ArgumentParser, path: str = "faceswap-lab") -> Iterator[str]:
    groups = [action for action in within._actions if isinstance(action, argparse._SubParsersAction)]
    if not groups:
        yield path
    for group in groups:
        for name, inner in group.choices.items():
            yield from commands(inner, f"{path} {name}")


def test_every_command_is_shown_in_the_how_to_guides_and_every_notebook_in_the_readme() -> None:
    shown = "\n".join(line for path in (ROOT / "docs/howto").glob("*.md") for line in path.read_text().splitlines())
    missing = [command for command in commands(parser()) if not re.search(rf"^{command}( |$)", shown, re.MULTILINE)]
    readme = (ROOT / "README.md").read_text()
    missing += [path.stem for path in (ROOT / "notebooks").glob("*.ipynb") if path.stem not in readme]
    assert not missing


@pytest.mark.parametrize(
    ("error", "code"),
    [(ConsentError, 3), (WeightsError, 4), (DeviceError, 4), (MediaError, 1)],
)
def test_errors_have_their_exit_codes(
    error: type, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def fail(_: argparse.Namespace) -> dict:
        raise error(expected="this", got="that", remedy="do so")

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "_runs_list", fail)
    assert command_line.main(["runs", "list"]) == code
    assert capsys.readouterr().err == "faceswap-lab: that\nexpected this\n-> do so\n"


def test_an_interrupt_is_130_and_a_wrong_value_2(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_: argparse.Namespace) -> dict:
        raise KeyboardInterrupt

    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(runs, "_runs_list", stop)
    assert command_line.main(["runs", "list"]) == 130
    assert command_line.main(["train", "--source", "actor:x", "--target", "actor:1"]) == 2
    with pytest.raises(SystemExit) as usage:
        command_line.main(["no-such-command"])
    assert usage.value.code == 2


def test_the_public_surface_is_the_frozen_one() -> None:
    frozen, found = surface.GOLDEN.read_text(encoding="utf-8").splitlines(), surface.surface().splitlines()
    changes = "\n".join(difflib.unified_diff(frozen, found, "frozen", "found", lineterm="", n=1))
    assert not changes, f"{changes}\nif this is meant, write it down: {surface.COMMAND}"


@pytest.mark.parametrize(
    ("place", "attribute", "value"),
    [
        (faceswap_lab, "swap", lambda target: target),
        (faceswap_lab.actor, "portrait", lambda self, side=256: None),
        (faceswap_lab.actor, "wave", lambda self: None),
        (faceswap_lab.recipes, "smoke", None),
        (faceswap_lab.recipes.StreamConfig, "batch_size", None),
    ],
    ids=["a function", "a method's parameter", "a new method", "a recipe that is gone", "a property of a config"],
)
def test_a_changed_surface_is_found(place: object, attribute: str, value: object, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen = surface.surface()
    if value is not None:
        value.__module__ = "faceswap_lab"
    monkeypatch.setattr(place, attribute, value, raising=False)
    assert surface.surface() != frozen
