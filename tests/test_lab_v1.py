"""A lab of format 1 is opened, listed, verified, exported and pruned as it is; what it says in old words is read in today's.

`tests/golden/lab_v1` was written by the code of before format 2 (see `make_lab_v1.py` there).
"""

import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import RunError
from faceswap_lab.faces.footage import digest
from faceswap_lab.maintenance import erase
from faceswap_lab.runs import archive, prune
from faceswap_lab.runs.record import FORMAT, FORMAT_STEPS, migrated_recipe, read_record, write_record
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.verbs import library, recipes
from faceswap_lab.verbs.recipes import FacesetRecipe, PairRecipe, SwapRecipe
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.train.result import TrainRun

GOLDEN = Path(__file__).parent / "golden" / "lab_v1"
VERBS = ["evaluate", "faceset", "quickstart", "render", "swap", "swap", "train", "train"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy, which is somewhere else than where it was made: no path in it is true any more."""
    root = tmp_path / "lab"
    shutil.copytree(GOLDEN, root)
    for folder in (root / "runs").glob("[a-z]*-*"):
        if folder.is_dir():
            (folder / "artifacts").mkdir(exist_ok=True)  # git keeps no empty folder
            record = folder / "run.json"
            record.write_text(record.read_text().replace("/tmp/lab_v1", str(tmp_path / "gone")))
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    return root


def by_target(root: Path, target: str) -> SwapRun:
    (run,) = [run for run in SwapRun.find(root) if target in run.inputs["target"]]
    return run


def records() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(GOLDEN.glob("runs/*/run.json")):
        yield path.parent.name, json.loads(path.read_text())


def test_the_golden_lab_is_of_format_1() -> None:
    found = dict(records())
    assert sorted(record["verb"] for record in found.values()) == VERBS
    assert {record["format"] for record in found.values()} == {1}
    assert not any("recipe_schema" in record for record in found.values())
    log = (GOLDEN / "audit.jsonl").read_text()
    assert '"shows":' in log
    assert '"within":' in log
    assert '"depicts":' not in log


def test_every_run_opens_in_the_class_of_its_verb(lab: Path) -> None:
    for name, old in records():
        run = Run.open(name)
        assert (run.verb, run.key, run.summary) == (old["verb"], old["key"], old.get("summary", {}))
        assert run.record.status == old.get("status", "unfinished")
        assert run.record.format == FORMAT
        assert run.record.result_version == 0
        assert run.inputs.keys() == old["inputs"].keys()
        assert run.events()[0]["kind"] == "opened"
        for artifact in run.record.artifacts:
            if artifact not in ("checkpoint.pt", "crops.safetensors"):
                run.artifact(artifact)
        run._repr_html_()


def test_reading_changes_nothing_on_the_disk(lab: Path) -> None:
    before = {path: path.read_bytes() for path in lab.rglob("*") if path.is_file()}
    Run.find()
    library.faceset("five")
    audit.verify(lab, heads=Run.heads())
    after = {path: path.read_bytes() for path in lab.rglob("*") if path.is_file() and path.name != ".index.sqlite"}
    assert after == before


def test_recipes_are_read_in_their_new_words(lab: Path) -> None:
    (five,) = Run.find(verb="faceset")
    old = json.loads((five.path / "run.json").read_text())["recipe"]
    recipe = five.recipe(FacesetRecipe)
    assert (recipe.identities, recipe.near_duplicate_max, recipe.size) == (old["people"], old["like"], 64)
    trained = next(run for run in TrainRun.find(finished=True))
    was = json.loads((trained.path / "run.json").read_text())["recipe"]["train"]
    assert trained.recipe(PairRecipe).train.learning_rate == was["rate"]
    assert trained.recipe(PairRecipe).net.width == 2
    assert by_target(lab, "take").recipe(SwapRecipe).num_source_frames == 1
    assert "device" not in json.loads(Run.find(verb="quickstart")[0].recipe_json)


def test_migrations_are_pure_and_go_to_the_present_format() -> None:
    for _, old in records():
        text = json.dumps(old)
        record = old
        while record["format"] != FORMAT:
            record = FORMAT_STEPS[record["format"]](record)
            migrated_recipe(record["recipe_schema"], record["recipe"])
        assert json.dumps(old) == text


def test_a_pack_of_a_schedule_that_is_gone_is_shown_and_not_read_as_its_type(tmp_path: Path) -> None:
    """The knobs recorded an improvised training: where they were not used the recipe is the same without them."""
    fit = {"steps": 3, "rate": 0.001, "cosine_over": 0, "fall_from": 0, "again_from": 0}
    plain = {"sets": {}, "points": fit, "embedder": fit, "detector": {"fit": fit, "polish": fit}}
    schema, recipe = migrated_recipe("PackRecipe/1", plain)
    assert schema == "PackRecipe/2"
    assert recipe["points"] == recipe["detector"]["polish"] == {"steps": 3, "learning_rate": 0.001}
    used = plain | {"points": fit | {"again_from": 4000}}
    assert migrated_recipe("PackRecipe/1", used) == ("PackRecipe/1", used)
    record = next(record for _, record in records() if record["verb"] == "train")
    folder = tmp_path / "runs" / record["id"]
    folder.mkdir(parents=True)
    write_record(folder, record | {"recipe": used})
    assert read_record(folder).recipe["points"]["again_from"] == 4000
    with pytest.raises(RunError, match="read it as plain JSON"):
        Run(folder).recipe(recipes.PackRecipe)


def test_the_list_and_the_log(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["runs", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {row["run"]: row["status"] for row in listed} == {name: old.get("status", "unfinished") for name, old in records()}
    assert command_line.main(["audit", "verify", "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert (verdict["ok"], verdict["unreadable"], verdict["altered"]) == (True, [], [])
    lines = (lab / "audit.jsonl").read_text().splitlines(keepends=True)
    (lab / "audit.jsonl").write_text("".join(lines[:-1]))
    assert command_line.main(["audit", "verify", "--json"]) == 1
    assert "the log was truncated" in json.loads(capsys.readouterr().out)["finding"]


def test_the_log_in_its_old_words_finds_what_was_made_of_a_person(lab: Path) -> None:
    found = erase.plan(lab, "synthetic:actor five")
    runs = {each.id: each.why for each in found.runs}
    assert any("its notebook admitted" in why for name, why in runs.items() if name.startswith("quickstart"))
    assert by_target(lab, "file").id in runs
    assert [left.file for left in found.exports] == ["exported.png"]
    assert found.exports[0].copies == (lab / "exported.png",)


def test_a_faceset_is_found_by_name_and_by_id(lab: Path) -> None:
    five = library.faceset("five")
    assert len(five) == 2
    assert library.run_of(five.run).id == five.run
    assert five[0].image.shape == (64, 64, 3)
    assert library.check(library.run_of("five"))[0]["state"] == "warning", "its sources are not where they were"


def test_an_old_swap_is_exported_though_its_file_is_elsewhere_now(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = by_target(lab, "file")
    out = run.export(tmp_path / "out.png")
    assert out.is_file()
    assert f"is now {lab / 'pictures' / '1.png'}" in capsys.readouterr().err
    event = audit.read(lab)[-1].event
    assert event["depicts"][0]["run"] == run.id
    assert audit.verify(lab, heads=Run.heads()).whole
    assert by_target(lab, "take").lineage().trained


def test_an_old_swap_whose_file_was_moved_within_the_lab(lab: Path, tmp_path: Path) -> None:
    """Its record has no size to look for, and the manifest's row is stale: files of the same suffix are compared."""
    run = by_target(lab, "file")
    (lab / "elsewhere").mkdir()
    (lab / "pictures" / "1.png").rename(lab / "elsewhere" / "renamed.png")
    run.export(tmp_path / "out.png")
    (lab / "elsewhere" / "renamed.png").unlink()
    with pytest.raises(RunError, match=r"gone/pictures/1\.png, where it was last seen"):
        run.export(tmp_path / "out.png")


def test_an_archive_of_an_old_run(lab: Path, tmp_path: Path) -> None:
    (scores,) = Run.find(verb="evaluate")
    done = archive.export(scores, tmp_path / "scores.zip")
    assert done.sha256 == digest(done.path)
    assert any(name.endswith("scores.json") for name in done.members)


def test_pruning_takes_the_old_unfinished_one_and_no_other(lab: Path) -> None:
    later = datetime.now(UTC) + timedelta(days=1)
    (unfinished,) = Run.find(finished=False)
    done = prune.prune(lab, unfinished=True, now=later)
    assert [each.id for each in done.removable] == [unfinished.id]
    assert len(Run.find()) == len(VERBS) - 1
    assert audit.verify(lab, heads=Run.heads()).whole


def test_an_old_unfinished_run_is_written_in_the_new_format_when_it_goes_on(lab: Path) -> None:
    (run,) = Run.find(finished=False)
    with run:
        assert json.loads((run.path / "run.json").read_text())["format"] == 1
        run.finish()
    assert json.loads((run.path / "run.json").read_text())["format"] == FORMAT
    again = Run.open(run.id)
    assert again.finished
    assert again.events("step")[0]["rate"] == 0.002, "segments are never rewritten"
    assert [event["kind"] for event in again.events()] == ["opened", "step", "opened", "finished"]
