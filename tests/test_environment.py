"""The environment that make setup leaves: no two packages in one folder, a light import, and constraints that agree with it."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "dask", "gradio", "insightface", "matplotlib"}


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = spec_from_file_location("environment_check", ROOT / "environments" / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["onnxruntime/", "cv2/"])
def test_one_distribution_owns_the_folder(check: ModuleType, folder: str) -> None:
    assert len(check.owners(folder)) == 1


@pytest.mark.slow
def test_two_owners_are_noticed(check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("opencv_python_headless", "opencv_contrib_python"):
        info = tmp_path / f"{name}-5.0.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 5.0.0\n")
        (info / "RECORD").write_text("cv2/__init__.py,,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(check.owners("cv2/")) == {"opencv-python", "opencv_python_headless", "opencv_contrib_python"}
    assert check.main() == 1


def loaded_by(statement: str) -> set[str]:
    """Top-level modules that a fresh interpreter holds after `statement`, without the checking hook of the tests."""
    code = f"{statement}\nimport sys\nprint('MODULES', *sorted({{name.split('.')[0] for name in sys.modules}}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(result.stdout.split("MODULES ", 1)[1].split())


@pytest.mark.parametrize("statement", ["import faceswap_lab", "from faceswap_lab import __main__; __main__.parser()"])
def test_the_package_and_its_command_line_load_nothing_heavy(statement: str) -> None:
    assert loaded_by(statement) & HEAVY == set()


@pytest.mark.slow
def test_the_heavy_ones_would_be_noticed() -> None:
    assert loaded_by("import matplotlib.figure") & HEAVY == {"matplotlib"}


def constraints() -> dict[str, str]:
    text = (ROOT / "environments" / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    pins = [re.fullmatch(r"([a-z0-9-]+)==([0-9][0-9a-z.]*)", line) for line in lines]
    assert all(pins), f"each line is name==version: {[line for line, pin in zip(lines, pins, strict=True) if not pin]}"
    return {pin[1]: pin[2] for pin in pins if pin}


def test_constraints_pin_every_direct_dependency_within_its_range() -> None:
    pins = constraints()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    for text in [*project["dependencies"], *extras["cpu"], *extras["dev"]]:
        wanted = Requirement(text)
        assert wanted.name in pins, f"{wanted.name} is not pinned"
        assert Version(pins[wanted.name]) in wanted.specifier, f"{wanted.name} {pins[wanted.name]} is not {wanted.specifier}"


def test_installed_versions_are_the_tested_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = constraints()
    names = [Requirement(text).name for text in project["dependencies"]]
    assert {name: Version(version(name)).public for name in names} == {name: pins[name] for name in names}
