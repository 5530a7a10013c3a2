"""Imports go one way: the rule holds, and the check that says so does go red when a layer is crossed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LINT = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    command = [str(LINT), "--config", str(folder / "pyproject.toml"), "--no-cache"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "faceswap_lab", tmp_path / "faceswap_lab", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_hold() -> None:
    result = lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


def test_an_untouched_copy_passes(copy: Path) -> None:
    """Without this, the next test could be red for the copy's sake and not the import's."""
    result = lint(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "line", "broken"),
    [
        ("faces/face.py", "import faceswap_lab.views.images", "imports go one way"),
        ("models/protocols.py", "import faceswap_lab.trust", "imports go one way"),
        ("errors.py", "import faceswap_lab.faces.frame", "imports go one way"),
        ("views/images.py", "import faceswap_lab.cli.parser", "imports go one way"),
        ("cli/nouns/runs.py", "import faceswap_lab.__main__", "imports go one way"),
        ("faces/frame.py", "import torch", "faces needs no torch"),
    ],
)
def test_a_crossed_layer_is_found(copy: Path, module: str, line: str, broken: str) -> None:
    path = copy / "faceswap_lab" / module
    path.write_text(f"{path.read_text()}\n{line}\n")
    result = lint(copy)
    assert result.returncode == 1, result.stdout + result.stderr
    assert f"{broken} BROKEN" in result.stdout
