"""A lab is made when it is asked for, found from below, named on the command line, and never made by looking."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import faceswap_lab
from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import RunError, StorageError
from faceswap_lab.files import ROOT_VARIABLE, is_lab, lab_root
from faceswap_lab.maintenance import doctor
from faceswap_lab.maintenance.new_lab import init
from faceswap_lab.runs.run import Run

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is in no lab, and the current one."""
    monkeypatch.delenv(ROOT_VARIABLE, raising=False)
    folder = tmp_path / "somewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "list"],
        ["audit", "show"],
        ["consent", "add", "x.png", "--who", "Jane", "--basis", "consent: x"],
        ["train", "--source", "actor:7", "--target", "actor:32", "--steps", "2"],
        ["swap", "--source", "actor:7", "--target", "actor:32/speech:3", "--swapper", "warp"],
        ["quickstart", "--recipe", "smoke"],
    ],
)
def test_a_command_outside_of_a_lab_says_so_and_makes_nothing(
    outside: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(words) == 1
    told = capsys.readouterr().err
    assert f"none at {outside}" in told
    assert "faceswap-lab init" in told
    assert "--root FOLDER" in told
    assert list(outside.iterdir()) == []


def test_python_says_so_too(outside: Path) -> None:
    for work in (lab_root, Run.find, lambda: faceswap_lab.admit("x.png")):
        with pytest.raises(RunError, match=r"lab\.init\(\)"):
            work()
    assert list(outside.iterdir()) == []


def test_what_needs_no_lab_works_without_one(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["actors", "list", "--count", "1"]) == 0
    assert command_line.main(["models", "list", "--json"]) == 0
    finding = next(each for each in doctor.examine() if each.name == "lab root")
    assert (finding.state, "faceswap-lab init" in finding.remedy) == ("warning", True)
    assert "lab:" not in capsys.readouterr().err
    assert list(outside.iterdir()) == []


def test_init_makes_a_lab_that_is_found_from_below(outside: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["init", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"lab": str(outside), "made": True}
    assert sorted(path.name for path in outside.iterdir()) == [".gitignore", "data_manifests", "runs"]
    assert sys.platform == "win32" or stat.S_IMODE((outside / "runs").stat().st_mode) == 0o700
    (outside / "a" / "b").mkdir(parents=True)
    os.chdir(outside / "a" / "b")
    assert lab_root() == outside
    assert faceswap_lab.init(outside).made is False, "again changes nothing"


def test_init_keeps_what_is_there(outside: Path) -> None:
    (outside / ".gitignore").write_text("*.pyc\n")
    (outside / "data_manifests").mkdir()
    (outside / "data_manifests" / "jane.toml").write_text("as it was")
    made = init(outside)
    assert made.not_ignored == ("/runs/", "/audit*.jsonl")
    assert (outside / ".gitignore").read_text() == "*.pyc\n"
    assert [path.name for path in (outside / "data_manifests").iterdir()] == ["jane.toml"]
    inner = init(outside / "inner")
    assert (inner.made, inner.inside) == (True, outside)
    (outside / "file").touch()
    with pytest.raises(StorageError, match="which is a file"):
        init(outside / "file")


def test_git_keeps_a_lab_without_its_faces(outside: Path) -> None:
    init(outside)
    (outside / "audit.jsonl").touch()
    (outside / "audit.torn-3.jsonl").touch()
    (outside / "runs" / "face.png").touch()
    subprocess.run(["git", "init", "-q", "."], check=True, cwd=outside)
    kept = subprocess.run(["git", "status", "--porcelain", "-uall"], check=True, cwd=outside, capture_output=True, text=True).stdout
    assert [line.split()[-1] for line in kept.splitlines()] == [".gitignore", "data_manifests/README.md"]


@pytest.mark.parametrize("mark", ["data_manifests/x.toml", "audit.jsonl", "runs/train-12345678/run.json"])
def test_labs_of_older_versions_are_labs(outside: Path, mark: str) -> None:
    assert not is_lab(outside)
    (outside / mark).parent.mkdir(parents=True, exist_ok=True)
    (outside / mark).touch()
    assert is_lab(outside)
    assert lab_root() == outside


def test_a_folder_of_that_name_alone_is_no_lab(outside: Path) -> None:
    """Other trainers keep their results in `runs/` too."""
    (outside / "runs" / "exp1").mkdir(parents=True)
    assert not is_lab(outside)


def test_the_repository_is_a_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "notebooks")
    assert lab_root() == ROOT


def test_a_named_lab_is_used_for_one_command_and_told(
    outside: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    init(outside)
    other = tmp_path / "other"
    assert command_line.main(["runs", "list", "--root", str(other)]) == 0
    assert not other.exists(), "looking makes nothing"
    assert capsys.readouterr().err == ""
    assert command_line.main(["actors", "show", "7", "--root", str(other), "-o", str(tmp_path / "7.png")]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"lab: {other}"
    assert (other / "audit.jsonl").exists()
    assert not (outside / "audit.jsonl").exists()
    assert ROOT_VARIABLE not in os.environ
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path / "third"))
    assert command_line.main(["runs", "show", "nope", "--root", str(other)]) == 1
    assert f"in the lab {other}" in capsys.readouterr().err
    assert lab_root() == tmp_path / "third"
