"""A withdrawal finds everything made from a person, changes nothing before it is confirmed, and refuses them everywhere after."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import ConsentError, RunError
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import write_still
from faceswap_lab.files import sha256_file, write_whole
from faceswap_lab.maintenance import erase
from faceswap_lab.runs import archive, prune
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import admit, audit, export
from faceswap_lab.trust.consent.gate import check_train
from faceswap_lab.trust.consent.manifest import find_entry
from faceswap_lab.verbs import library
from faceswap_lab.verbs.people import record_of, subject_of
from faceswap_lab.verbs.recipes import FacesetRecipe
from tests.subjects import result

DAY = date(2026, 6, 1)
USES = ("anonymise", "train", "evaluate", "swap-source")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 32, 3), dtype=np.uint8)


def let_in(root: Path, name: str, who: str, basis: str = "consent: signed in May", uses: tuple[str, ...] = USES) -> Clip:
    """A picture of noise, declared to show `who`: withdrawal asks no pixel."""
    path = root / "own" / name
    path.parent.mkdir(exist_ok=True)
    write_still(path, picture(sum(name.encode())))
    return admit.admit(path, root=root, who=who, basis=basis, uses=uses, today=DAY)


def made(root: Path, verb: str, files: dict[str, str] | None = None, **inputs: str) -> Run:
    run = Run.start(root, verb, '{"steps": 3}', inputs)
    with run:
        for name, content in (files or {"pair.safetensors": run.id}).items():
            with run.write(name) as path:
                path.write_text(content)
        run.finish(loss=0.5)
    return Run.open(run.id, root)


def let_out(root: Path, run: Run, target: Clip, name: str) -> Path:
    clip, lineage = result(root, run=run.id, target=subject_of(target), trained=False, inputs=run.inputs)
    return export.export(clip, root / name, lineage=lineage, root=root, today=DAY).path


def test_everything_made_from_a_person_is_found_and_nothing_else(tmp_path: Path) -> None:
    jane, john = let_in(tmp_path, "jane.png", "Jane Doe"), let_in(tmp_path, "john.png", "John Roe")
    trained = made(tmp_path, "train", source="actor:7", target=record_of(jane))
    swapped = made(tmp_path, "swap", source="actor:7", target="actor:9", swapper=trained.id)
    scored = made(tmp_path, "evaluate", swap=swapped.record.artifacts["pair.safetensors"])
    other = made(tmp_path, "train", source="actor:7", target=record_of(john))
    nobody = made(tmp_path, "train", source="actor:7", target="actor:9")
    out = let_out(tmp_path, trained, jane, "out.png")
    before = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    found = erase.plan(tmp_path, "jane  doe")
    assert {each.id for each in found.runs} == {trained.id, swapped.id, scored.id}
    assert [each.id for each in found.runs][-1] == trained.id, "what came first goes last"
    assert [original.path for original in found.originals] == [tmp_path / "own" / "jane.png"]
    assert [(left.file, left.copies) for left in found.exports] == [("out.png", (out,))]
    assert found.num_bytes > 0
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == before, "a plan changes nothing"

    done = erase.purge(tmp_path, "Jane Doe", today=DAY)
    assert {each.id for each in done.runs} == {trained.id, swapped.id, scored.id}
    assert done.copies == (out,)
    assert not out.exists()
    assert {run.id for run in Run.find(tmp_path)} == {other.id, nobody.id}
    assert jane.path.exists(), "originals are their owner's"
    assert audit.verify(tmp_path, heads=Run.heads(tmp_path)).whole
    actions = [line.event["action"] for line in audit.read(tmp_path)]
    assert actions.index("consent withdrawn") < actions.index("export removed") < actions.index("pruned")
    assert actions[-1] == "withdrawal purged"


def test_afterwards_every_gate_refuses_the_person_and_no_other(tmp_path: Path) -> None:
    jane, john = let_in(tmp_path, "jane.png", "Jane Doe"), let_in(tmp_path, "john.png", "John Roe")
    erase.purge(tmp_path, "Jane Doe", today=DAY)
    with pytest.raises(ConsentError, match="withdrawn on 2026-06-01"):
        admit.admit(jane.path, root=tmp_path)
    with pytest.raises(ConsentError, match="withdrawn"):
        check_train(subject_of(jane), root=tmp_path)
    with pytest.raises(ConsentError, match="withdrawn"):
        let_in(tmp_path, "another.png", "Jane DOE")
    check_train(subject_of(john), root=tmp_path)


def test_a_second_withdrawal_finds_nothing_more_and_keeps_the_first_date(tmp_path: Path) -> None:
    let_in(tmp_path, "jane.png", "Jane Doe")
    erase.purge(tmp_path, "Jane Doe", today=DAY)
    again = erase.purge(tmp_path, "Jane Doe", today=date(2027, 1, 1))
    assert (again.manifests, again.runs, again.copies, again.retained) == ((), (), (), ())
    assert "withdrawn = 2026-06-01" in (tmp_path / "data_manifests" / "jane-doe.toml").read_text()


def test_an_unknown_person_is_an_error_that_names_the_near(tmp_path: Path) -> None:
    let_in(tmp_path, "jane.png", "Jane Doe")
    with pytest.raises(ConsentError, match="did you mean Jane Doe"):
        erase.plan(tmp_path, "Jane Do")


def test_an_export_that_was_changed_since_is_not_removed(tmp_path: Path) -> None:
    jane = let_in(tmp_path, "jane.png", "Jane Doe")
    out = let_out(tmp_path, made(tmp_path, "swap", target=record_of(jane)), jane, "out.png")
    out.write_bytes(b"somebody's own work by now")
    assert [left.copies for left in erase.plan(tmp_path, "Jane Doe").exports] == [()]
    erase.purge(tmp_path, "Jane Doe", today=DAY)
    assert out.exists()


def test_a_notebook_that_let_a_file_in_goes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside, outside = made(tmp_path, "quickstart", notebook="a"), made(tmp_path, "quickstart", notebook="b")
    monkeypatch.setenv(audit.WITHIN, inside.id)
    let_in(tmp_path, "jane.png", "Jane Doe")
    monkeypatch.delenv(audit.WITHIN)
    assert {each.id for each in erase.plan(tmp_path, "Jane Doe").runs} == {inside.id}
    assert outside.path.exists()


def faceset(root: Path, crowd: list[Clip]) -> Run:
    """A faceset of two people, the first seen in the first two files, the second in the last; a hand has named them."""
    rows = [{"person": f"person-{1 + (number == 2)}", "source": clip.grant.sha256} for number, clip in enumerate(crowd)]
    inputs = {f"file{number}": record_of(clip) for number, clip in enumerate(crowd)}
    run = made(root, "faceset", {library.FACES: json.dumps(rows)}, **inputs)
    (run.path / library.NAMES).write_text(json.dumps({"person-1": "Ann Other", "person-2": "Bo Else"}))
    return run


def test_a_person_named_in_a_crowd_is_found_and_only_their_files_are_closed(tmp_path: Path) -> None:
    licence, uses = "licence: CC-BY-4.0, a crowd", ("train", "evaluate")
    crowd = [let_in(tmp_path, f"crowd{number}.png", "a crowd", licence, uses) for number in range(3)]
    run = faceset(tmp_path, crowd)
    done = erase.purge(tmp_path, "ann other", today=DAY)
    assert {each.id for each in done.runs} == {run.id}
    for clip, closed in zip(crowd, (True, True, False), strict=True):
        entry = find_entry(tmp_path, clip.grant.sha256)
        assert entry is not None
        assert (entry.manifest.consent.withdrawn is not None) is closed
    with pytest.raises(ConsentError, match="withdrawn"):
        admit.admit(crowd[0].path, root=tmp_path)
    admit.admit(crowd[2].path, root=tmp_path)


def test_rows_move_to_a_withdrawn_manifest_even_after_a_stop_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    licence, uses = "licence: CC-BY-4.0, a crowd", ("train", "evaluate")
    crowd = [let_in(tmp_path, f"crowd{number}.png", "a crowd", licence, uses) for number in range(3)]
    faceset(tmp_path, crowd)
    calls = []

    def stopped(path: Path, text: str, **mode: bool) -> None:
        calls.append(path)
        if len(calls) == 3:
            raise KeyboardInterrupt
        write_whole(path, text, **mode)

    monkeypatch.setattr("faceswap_lab.trust.consent.withdraw.write_whole", stopped)
    with pytest.raises(KeyboardInterrupt):
        erase.purge(tmp_path, "Ann Other", today=DAY)
    with pytest.raises(ConsentError, match="one manifest entry"):
        admit.admit(crowd[0].path, root=tmp_path)
    monkeypatch.setattr("faceswap_lab.trust.consent.withdraw.write_whole", write_whole)
    erase.purge(tmp_path, "Ann Other", today=DAY)
    rows = (tmp_path / "data_manifests" / "a-crowd.csv").read_text().splitlines()
    assert rows[1:] == [f"own/crowd2.png,{crowd[2].grant.sha256}"]
    with pytest.raises(ConsentError, match="withdrawn"):
        admit.admit(crowd[1].path, root=tmp_path)


def test_a_manifest_that_a_package_brings_is_withdrawn_by_a_copy_in_the_lab(tmp_path: Path) -> None:
    import skimage

    erase.purge(tmp_path, "Eileen Collins", today=DAY)
    assert "withdrawn = 2026-06-01" in (tmp_path / "data_manifests" / "astronaut.toml").read_text()
    with pytest.raises(ConsentError, match="withdrawn"):
        admit.admit(Path(skimage.__file__).parent / "data" / "astronaut.png", root=tmp_path)


@pytest.mark.slow
def test_a_run_at_work_stays_and_is_named(tmp_path: Path) -> None:
    jane = let_in(tmp_path, "jane.png", "Jane Doe")
    run = Run.start(tmp_path, "train", "{}", {"target": record_of(jane)})
    worker = subprocess.Popen(
        [sys.executable, "-c", f"from faceswap_lab.runs.run import Run; w = Run.open({run.id!r}).__enter__(); print(1); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "FACESWAP_LAB_ROOT": str(tmp_path)},
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    done = erase.purge(tmp_path, "Jane Doe", today=DAY)
    assert [each.id for each in done.retained if "is working on it" in each.why] == [run.id]
    worker.communicate(b"\n")
    assert [each.id for each in erase.purge(tmp_path, "Jane Doe", today=DAY).runs] == [run.id]
    assert not Run.find(tmp_path)


def test_an_unreadable_run_stops_the_search_before_anything_is_changed(tmp_path: Path) -> None:
    jane = let_in(tmp_path, "jane.png", "Jane Doe")
    run = made(tmp_path, "train", target=record_of(jane))
    (run.path / "run.json").write_text("{")
    with pytest.raises(RunError, match="readable"):
        erase.purge(tmp_path, "Jane Doe", today=DAY)
    assert find_entry(tmp_path, jane.grant.sha256).manifest.consent.withdrawn is None  # type: ignore[union-attr]


def test_a_damaged_log_does_not_stop_a_withdrawal_and_is_named(tmp_path: Path) -> None:
    jane = let_in(tmp_path, "jane.png", "Jane Doe")
    run = made(tmp_path, "train", target=record_of(jane))
    lines = (tmp_path / "audit.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "audit.jsonl").write_text("".join([lines[0].replace("admission", "emission"), *lines[1:]]))
    found = erase.plan(tmp_path, "Jane Doe")
    assert "line 1" in found.unsaid[0]
    assert [each.id for each in erase.purge(tmp_path, "Jane Doe", today=DAY).runs] == [run.id]


# --- the command ----------------------------------------------------------------------------------------------------------


def test_the_command_lists_and_only_with_yes_removes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jane = let_in(tmp_path, "jane.png", "Jane Doe")
    run = made(tmp_path, "train", target=record_of(jane))
    out = let_out(tmp_path, run, jane, "out.png")
    assert command_line.main(["facesets", "remove", "--subject", "Jane Doe", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["removed"] is False
    assert [each["run"] for each in listed["runs"]] == [run.id]
    assert listed["copies"] == [{"copy": str(out)}]
    assert listed["originals"][0]["file"] == str(jane.path)
    assert run.path.exists()
    assert command_line.main(["facesets", "remove", "--subject", "Jane Doe", "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["removed"] is True
    assert not run.path.exists()
    assert not out.exists()
    assert command_line.main(["facesets", "remove", "--subject", "Nobody Known"]) == 3
    assert command_line.main(["facesets", "remove"]) == 2


def test_a_faceset_goes_by_its_name_unless_something_was_made_from_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = to_json(FacesetRecipe(name="crowd"))
    run = Run.start(tmp_path, "faceset", recipe, {"file0": "sha256:" + "0" * 64})
    with run:
        with run.write(library.FACES) as path:
            path.write_text("[]")
        run.finish(num_faces=0)
    user = made(tmp_path, "train", source=run.id)
    assert command_line.main(["facesets", "remove", "crowd", "--yes"]) == 1
    assert user.id in capsys.readouterr().err
    prune.discard(user)
    assert command_line.main(["facesets", "remove", "crowd"]) == 0
    assert run.path.exists()
    assert command_line.main(["facesets", "remove", "crowd", "--yes"]) == 0
    assert not run.path.exists()
    assert audit.read(tmp_path)[-1].event["ids"] == [run.id]


def test_exports_renamed_in_the_lab_and_archives_are_found_by_their_digest(tmp_path: Path) -> None:
    jane, john = let_in(tmp_path, "jane.png", "Jane Doe"), let_in(tmp_path, "john.png", "John Roe")
    hers, his = (made(tmp_path, "train", source="actor:7", target=record_of(clip)) for clip in (jane, john))
    renamed = let_out(tmp_path, hers, jane, "out.png").rename(tmp_path / "own" / "holiday.png")
    kept = let_out(tmp_path, his, john, "his.png")
    zipped = archive.export(hers, tmp_path / "hers.zip").path.rename(tmp_path / "backup.zip")
    archive.export(his, tmp_path / "his.zip")
    assert {path for left in erase.plan(tmp_path, "Jane Doe").exports for path in left.copies} == {renamed, zipped}
    assert set(erase.purge(tmp_path, "Jane Doe", today=DAY).copies) == {renamed, zipped}
    assert kept.exists()
    assert (tmp_path / "his.zip").exists()
    assert not renamed.exists()
    assert not zipped.exists()


def test_an_export_logged_without_its_size_is_found_too(tmp_path: Path) -> None:
    jane = let_in(tmp_path, "jane.png", "Jane Doe")
    run = made(tmp_path, "train", source="actor:7", target=record_of(jane))
    old = tmp_path / "renamed since.mp4"
    old.write_bytes(b"an export of an older version")
    depicts = [{"run": run.id, "inputs": {}}]
    audit.append(tmp_path, {"action": "exported", "file": "old.mp4", "sha256": sha256_file(old), "depicts": depicts})
    assert [left.copies for left in erase.plan(tmp_path, "Jane Doe").exports] == [(old,)]
