"""Files whose name is not UTF-8, such as one in Latin-1: gathered, swapped, exported, logged and found again like any other."""

import io
import json
import os
import sys
import zipfile
from pathlib import Path

import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.cli import answers
from faceswap_lab.errors import ManifestError
from faceswap_lab.faces import video
from faceswap_lab.faces.frame import hidden_beside, write_still
from faceswap_lab.files import canonical, encodable, sha256_text, write_whole
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import locate, uri_problem

NAME = "b\udcfcld"
"""What Python makes of the bytes of "büld" in Latin-1."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    try:
        (tmp_path / NAME).touch()
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    (tmp_path / NAME).unlink()
    return tmp_path


def test_json_of_such_a_name_can_be_written_hashed_and_read_back(tmp_path: Path) -> None:
    value = {"path": f"/x/{NAME}.png", "é": ["\U0001f600", NAME, "\\udcfc"]}
    text = canonical(value)
    assert "é" in text
    assert json.loads(text) == value
    write_whole(tmp_path / "a.json", text)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value
    assert canonical(json.loads(text)) == text
    assert len({sha256_text(name) for name in (NAME, "büld", "b?ld", "b\udcfdld")}) == 4
    assert encodable('{"é": "\\udcfc"}') == '{"é": "\\udcfc"}'
    assert sha256_text("é") == "4a99557e4033c3539de2eb65472017cad5f9557f7a0625a09f1c3f6e2ba69c4c"


def test_a_manifest_takes_no_such_name_and_hidden_names_are_plain(tmp_path: Path) -> None:
    assert uri_problem(f"{NAME}.png") == "not UTF-8"
    with pytest.raises(ManifestError, match="not UTF-8"):
        locate(tmp_path, f"{NAME}.png")
    assert hidden_beside(tmp_path / f"{NAME}.mp4", "0").name == ".bld.0.mp4"
    long = hidden_beside(tmp_path / f"{'ü' * 200}.mp{NAME}", "0" * 8)
    assert len(os.fsencode(long.name)) <= 255


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_answer_with_such_a_name_is_printed(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(command_line, "_called", lambda _: {"output": f"/x/{NAME}-é.mp4"})
    assert command_line.main(["runs", "list"]) == 0
    answers.write({"output": NAME}, as_json=True)
    out.flush()
    printed = out.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]
    assert "/x/b\\udcfcld-" in printed
    assert json.loads(printed.splitlines()[-1]) == {"output": NAME}


@pytest.mark.slow
@pytest.mark.weights
def test_one_such_picture_does_not_end_a_faceset(lab: Path) -> None:
    folder = lab / "pictures"
    folder.mkdir()
    for seed, name in enumerate(("a", NAME)):
        image = Actor(5).perform("range", seconds=0.04, seed=seed, size=128)[0].image
        write_still(folder / "x.png", image)
        (folder / "x.png").rename(folder / f"{name}.png")
    few = ["--min-side", "16", "--min-sharpness", "0.05", "--near-duplicate-max", "0"]
    who = ["--who", "synthetic:five", "--basis", "synthetic: actor"]
    assert command_line.main(["facesets", "add", "five", str(folder), *who, *few]) == 0
    (run,) = Run.find(verb="faceset")
    assert run.summary["num_faces"] == 2
    for command in ("show", "check"):
        assert command_line.main(["facesets", command, "five"]) == 0
    rows = next((lab / "data_manifests").glob("*.csv")).read_text(encoding="utf-8").splitlines()
    assert len(rows) == 3, "the header, and a row for each file"


@pytest.mark.slow
@pytest.mark.weights
def test_such_a_clip_is_swapped_exported_moved_and_withdrawn(lab: Path) -> None:
    video.encode(lab / "x.mp4", Actor(21).perform("speech", seconds=0.08, size=96).frames(), fps=25)
    (lab / "x.mp4").rename(lab / f"{NAME}.mp4")
    swap = [
        "swap",
        "--source",
        "actor:7",
        "--num-source-frames",
        "1",
        "-o",
        str(lab / f"out-{NAME}.mp4"),
        "--accept-recognisable",
        "--target",
    ]
    who = ["--who", "Jo Doe", "--basis", "consent: rendered here"]
    assert command_line.main([*swap, str(lab / f"{NAME}.mp4"), *who]) == 0
    assert (lab / f"out-{NAME}.mp4").is_file()
    (lab / f"{NAME}.mp4").rename(lab / f"moved-{NAME}.mp4")
    assert command_line.main([*swap, str(lab / f"moved-{NAME}.mp4")]) == 0
    (run,) = Run.find(verb="swap")
    assert command_line.main(["report", run.id, "--accept-recognisable", "-o", str(lab / f"{NAME}.html")]) == 0
    assert command_line.main(["runs", "export", run.id, "-o", str(lab / f"{NAME}.zip")]) == 0
    with zipfile.ZipFile(lab / f"{NAME}.zip") as archive:
        for member in archive.namelist():
            assert "ld.mp4" not in archive.read(member).decode(), "the name of a real person's file stays here"
    assert command_line.main(["consent", "withdraw", "Jo Doe", "--yes"]) == 0
    assert not (lab / f"out-{NAME}.mp4").exists()
    log, verdict = audit.walk(lab)
    assert verdict.whole
    assert any(NAME in str(line.event.get("file", "")) for line in log)
