"""The environment that make setup leaves: no two packages in one folder, a light import, and constraints that agree with it."""

import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
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
    # importlib_metadata, which some packages put in the place of Python's own, knows only files that are there.
    (tmp_path / "cv2").mkdir()
    (tmp_path / "cv2" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert set(check.owners("cv2/")) == {"opencv-python", "opencv_python_headless", "opencv_contrib_python"}
    assert check.main() == 1


@pytest.mark.slow
def test_a_set_up_without_insightface_is_refused(
    check: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(check, "lacking", lambda: ["insightface"])
    assert check.main() == 1
    assert "pip install --no-deps insightface" in capsys.readouterr().err


def test_what_a_distribution_lacks_is_named_but_for_onnxruntime(
    check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert check.lacking("no-such-distribution") == ["no-such-distribution"]
    info = tmp_path / "reader-1.0.dist-info"
    info.mkdir()
    wanted = ("numpy", "onnxruntime", "no_such.thing-1>=2", "other; extra == 'gui'")
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: reader\nVersion: 1.0\n" + "".join(f"Requires-Dist: {each}\n" for each in wanted)
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert check.lacking("reader") == ["no_such.thing-1"]


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
    gpu = [text for text in extras["gpu"] if Requirement(text).name != "onnxruntime-gpu"]  # whose build follows torch's CUDA
    for text in [*project["dependencies"], *extras["cpu"], *gpu, *extras["dev"]]:
        wanted = Requirement(text)
        assert wanted.name in pins, f"{wanted.name} is not pinned"
        assert Version(pins[wanted.name]) in wanted.specifier, f"{wanted.name} {pins[wanted.name]} is not {wanted.specifier}"


def test_installed_versions_are_the_tested_ones() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = constraints()
    names = [Requirement(text).name for text in project["dependencies"]]
    assert {name: Version(version(name)).public for name in names} == {name: pins[name] for name in names}


# --- insightface, whose name for onnxruntime is not onnxruntime-gpu -------------------------------------------------------


def test_the_extra_cpu_brings_insightface() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {"insightface", "onnxruntime"} <= {Requirement(text).name for text in extras["cpu"]}


@pytest.mark.insight
@pytest.mark.skipif(find_spec("insightface") is None, reason="needs insightface: make setup")
def test_the_extra_gpu_brings_all_that_insightface_requires_but_onnxruntime() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    gpu = project["optional-dependencies"]["gpu"]
    brought = {Requirement(text).name for text in [*project["dependencies"], *gpu]}
    asked = [Requirement(text) for text in requires("insightface") or ()]
    wanted = {each.name for each in asked if each.marker is None or each.marker.evaluate({"extra": ""})}
    assert wanted - brought == {"onnxruntime"}
    assert "insightface" not in brought


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_one_command_sets_insightface_up_beside_either_onnxruntime() -> None:
    def said(extra: str) -> str:
        command = ["make", "--dry-run", "--always-make", "setup", f"EXTRA={extra}"]
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout

    alone = [line for line in said("gpu").splitlines() if line.endswith(" insightface")]
    assert len(alone) == 1
    assert {"--no-deps", "environments/constraints.txt"} <= set(alone[0].split())
    assert ".[cpu,dev]" in said("cpu")
    assert "--no-deps" not in said("cpu")
