"""Pruning takes nothing that is needed or at work and survives a kill; an archive holds no pixel, no weight and no name."""

import json
import os
import subprocess
import sys
import time
import zipfile
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import ConsentError, MediaError, RunError, StorageError
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.files import sha256_file
from faceswap_lab.runs import archive, prune
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import admit, audit
from faceswap_lab.verbs.people import record_of

ROOT = Path(__file__).parent.parent
LATER = datetime.now(UTC) + timedelta(days=40)


def made(root: Path, verb: str = "train", *, done: bool = True, files: Mapping[str, bytes] | None = None, **inputs: str) -> Run:
    run = Run.start(root, verb, '{"steps": 3}', inputs or {"source": "actor:7"}, force=True)
    with run:
        run.emit("frame", index=0, keypoints=[[1.0, 2.0]])
        for name, content in (files or {"pair.safetensors": run.id.encode() * 100}).items():
            with run.write(name) as path:
                path.write_bytes(content)
        if done:
            run.finish(loss=0.5)
    return Run.open(run.id, root)


def ids(weighed: tuple[prune.Weighed, ...]) -> set[str]:
    return {each.id for each in weighed}


def left(root: Path) -> set[str]:
    return {run.id for run in Run.find(root)}


# --- pruning --------------------------------------------------------------------------------------------------------------


def test_a_plan_removes_nothing_and_weighs_what_would_go(tmp_path: Path) -> None:
    kept, half = made(tmp_path), made(tmp_path, done=False)
    found = prune.plan(tmp_path, unfinished=True)
    assert ids(found.removable) == {half.id}
    assert found.num_bytes == sum(path.stat().st_size for path in half.path.rglob("*") if path.is_file()) > 900
    assert found.removable[0].why == "unfinished"
    assert left(tmp_path) == {kept.id, half.id}
    assert [entry.event["action"] for entry in audit.read(tmp_path)].count("pruned") == 0


def test_pruning_removes_logs_and_leaves_the_log_whole(tmp_path: Path) -> None:
    kept, half = made(tmp_path), made(tmp_path, done=False)
    done = prune.prune(tmp_path, unfinished=True)
    assert ids(done.removable) == {half.id}
    assert left(tmp_path) == {kept.id}
    assert not half.path.exists()
    assert not list((tmp_path / "runs").glob(".gone-*"))
    last = audit.read(tmp_path)[-1].event
    assert (last["action"], last["ids"]) == ("pruned", [half.id])
    assert audit.verify(tmp_path, heads=Run.heads(tmp_path)).whole
    assert prune.prune(tmp_path, unfinished=True).removable == ()


def test_a_log_cut_behind_the_removal_of_the_last_run_is_found(tmp_path: Path) -> None:
    made(tmp_path, done=False)
    prune.prune(tmp_path, unfinished=True)
    path = tmp_path / "audit.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    verdict = audit.verify(tmp_path, heads=Run.heads(tmp_path))
    assert not verdict.whole
    assert "log was truncated" in verdict.reason


def test_age_counts_from_the_last_work_and_narrows_unfinished(tmp_path: Path) -> None:
    done, half = made(tmp_path), made(tmp_path, done=False)
    assert prune.plan(tmp_path, older_than_days=1).removable == ()
    assert ids(prune.plan(tmp_path, older_than_days=39, now=LATER).removable) == {done.id, half.id}
    assert prune.plan(tmp_path, older_than_days=41, now=LATER).removable == ()
    assert ids(prune.plan(tmp_path, unfinished=True, older_than_days=39, now=LATER).removable) == {half.id}
    record = json.loads((half.path / "run.json").read_text())
    old = (datetime.now(UTC) - timedelta(days=100)).isoformat()
    (half.path / "run.json").write_text(json.dumps(record | {"created": old}))
    assert prune.plan(tmp_path, unfinished=True, older_than_days=50).removable == (), "worked on today, whenever it was started"


@pytest.mark.parametrize("asked", [{}, {"older_than_days": -1.0}, {"older_than_days": float("nan")}])
def test_what_may_go_must_be_said(tmp_path: Path, asked: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"say which runs|0 or more"):
        prune.plan(tmp_path, **asked)


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(shape=st.lists(st.tuples(st.booleans(), st.sets(st.integers(0, 5), max_size=2)), min_size=2, max_size=6))
def test_exactly_what_no_kept_run_was_made_from_goes(
    tmp_path_factory: pytest.TempPathFactory, shape: list[tuple[bool, set[int]]]
) -> None:
    """The oracle: a run stays if it is finished or if a staying one names it, however far down."""
    root = tmp_path_factory.mktemp("lab")
    runs: list[Run] = []
    parents: list[set[int]] = []
    for number, (done, wanted) in enumerate(shape):
        parents.append({parent for parent in wanted if parent < number})
        inputs = {f"input{parent}": runs[parent].id for parent in parents[-1]} | {"source": f"actor:{number}"}
        runs.append(made(root, done=done, **inputs))
    staying = {number for number, (done, _) in enumerate(shape) if done}
    for number in reversed(range(len(shape))):
        staying |= parents[number] if number in staying else set()
    assert prune.prune(root, unfinished=True).retained == prune.plan(root, unfinished=True).retained
    assert left(root) == {runs[number].id for number in staying}


def test_an_id_is_not_taken_for_another_that_begins_with_it(tmp_path: Path) -> None:
    first, second = made(tmp_path, done=False), made(tmp_path, done=False)
    assert second.id == f"{first.id}-2"
    made(tmp_path, "swap", swapper=second.id)
    found = prune.plan(tmp_path, unfinished=True)
    assert ids(found.removable) == {first.id}
    assert ids(found.retained) == {second.id}


def test_a_file_of_a_run_holds_it_too(tmp_path: Path) -> None:
    by_path, by_digest, free = (made(tmp_path, "swap", source=f"actor:{seed}") for seed in (1, 2, 3))
    fields = {"file": "sha256:" + "0" * 64, "path": str(by_path.path / "artifacts" / "result.mkv")}
    digest = next(iter(by_digest.record.artifacts.values()))
    user = made(tmp_path, "swap", target=json.dumps(fields), source=json.dumps({"file": f"sha256:{digest}", "path": "copy.mkv"}))
    runs = [by_path, by_digest, free]
    assert [run.id for run in runs if prune.made_from(user, run)] == [by_path.id, by_digest.id]


def test_a_run_at_work_stays_until_the_process_lets_go(tmp_path: Path) -> None:
    run = made(tmp_path, done=False)
    with run:
        assert ids(prune.prune(tmp_path, unfinished=True).retained) == {run.id}
        assert left(tmp_path) == {run.id}
    assert ids(prune.prune(tmp_path, unfinished=True).removable) == {run.id}


def test_a_run_taken_up_between_plan_and_removal_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path, done=False)
    monkeypatch.setattr(prune, "_held", lambda *_: "")
    with run:
        done = prune.prune(tmp_path, unfinished=True)
    assert (ids(done.removable), ids(done.retained), left(tmp_path)) == (set(), {run.id}, {run.id})


@pytest.mark.skipif(sys.platform == "win32", reason="there an open file keeps its folder from being renamed")
def test_the_lock_is_held_until_the_run_is_out_of_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, rename = made(tmp_path, done=False), Path.rename

    def while_renaming(path: Path, to: Path) -> Path:
        with pytest.raises(RunError, match="working on it"), run:
            pass
        return rename(path, to)

    monkeypatch.setattr(Path, "rename", while_renaming)
    assert ids(prune.prune(tmp_path, unfinished=True).removable) == {run.id}


def test_one_prune_at_a_time(tmp_path: Path) -> None:
    made(tmp_path, done=False)
    with prune.acquire(tmp_path / "runs" / ".prune.lock"), pytest.raises(RunError, match="another process"):
        prune.prune(tmp_path, unfinished=True)


def test_what_a_link_leads_to_stays(tmp_path: Path) -> None:
    elsewhere = made(tmp_path / "other", done=False)
    (tmp_path / "lab" / "runs").mkdir(parents=True)
    (tmp_path / "lab" / "runs" / elsewhere.id).symlink_to(elsewhere.path)
    assert ids(prune.prune(tmp_path / "lab", unfinished=True).retained) == {elsewhere.id}
    assert elsewhere.path.exists()


def test_a_run_that_cannot_be_read_stays_with_what_it_may_have_been_made_from(tmp_path: Path) -> None:
    """What it was made from is told by its record as far as that is whole, else by the audit log, else by nothing."""
    used, free = made(tmp_path, done=False), made(tmp_path, done=False, source="actor:9")
    user = made(tmp_path, "swap", done=False, swapper=used.id)
    path = user.path / "run.json"
    whole = path.read_text()
    for torn in ("{", whole.replace('"format": 2', '"format": 3'), whole[: len(whole) // 2]):
        path.write_text(torn)
        found = prune.plan(tmp_path, unfinished=True)
        assert ids(found.removable) == {free.id}
        why = {each.id: each.why for each in found.retained}
        assert set(why) == {used.id, user.id}
        assert "cannot be read" in why[user.id]
        assert f"{user.id}, which cannot be read, may have been made from it" in why[used.id]
    with pytest.raises(RunError, match="may have been made from it"):
        prune.discard(used)
    log = tmp_path / "audit.jsonl"
    log.write_text("".join(line for line in log.read_text().splitlines(keepends=True) if "swap started" not in line))
    found = prune.prune(tmp_path, unfinished=True)
    assert (ids(found.removable), ids(found.retained)) == (set(), {used.id, free.id, user.id}), "nobody knows what it was made from"
    assert free.path.exists()


_KILLED = """
import os, sys
from pathlib import Path
from faceswap_lab.runs import prune
root, stage = Path(sys.argv[1]), sys.argv[2]
rename, unlink = Path.rename, os.unlink
def die(*_, **__): os._exit(9)
def rename_then_die(path, to): rename(path, to); os._exit(9)
def unlink_then_die(*given, **named): unlink(*given, **named); os._exit(9)
if stage == "before the rename": Path.rename = die
if stage == "after the rename": Path.rename = rename_then_die
if stage == "while deleting": os.unlink = unlink_then_die
prune.prune(root, unfinished=True)
"""


@pytest.mark.parametrize("stage", ["before the rename", "after the rename", "while deleting"])
def test_a_kill_leaves_every_run_whole_or_gone(tmp_path: Path, stage: str) -> None:
    kept = made(tmp_path)
    halves = [made(tmp_path, done=False) for _ in range(3)]
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path), stage], cwd=ROOT, check=False)
    assert killed.returncode == 9
    seen = Run.find(tmp_path)
    assert len(seen) == (4 if stage == "before the rename" else 3)
    for run in seen:
        assert run.artifact("pair.safetensors").read_bytes() == run.id.encode() * 100
    assert audit.verify(tmp_path, heads=Run.heads(tmp_path)).whole
    logged = {name for entry in audit.read(tmp_path) for name in entry.event.get("ids", [])}
    assert {run.id for run in halves} - left(tmp_path) <= logged, "nothing goes without a line"
    prune.prune(tmp_path, unfinished=True)
    assert left(tmp_path) == {kept.id}
    assert not list((tmp_path / "runs").glob(".gone-*"))


def test_sizes_are_sums_of_files_and_follow_no_link(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "one").write_bytes(b"1" * 1000)
    (tmp_path / "a" / "b" / "two").write_bytes(b"2" * 234)
    (tmp_path / "large").write_bytes(b"0" * 10_000)
    assert prune.size_of(tmp_path / "a") == 1234
    (tmp_path / "a" / "link").symlink_to(tmp_path / "large")
    assert 1234 < prune.size_of(tmp_path / "a") < 2000
    assert prune.size_of(tmp_path / "none") == 0


# --- exporting ------------------------------------------------------------------------------------------------------------

FILES = {
    "pair.safetensors": b"weights",
    "crops.safetensors": b"crops",
    "checkpoint.pt": b"state",
    "result.mkv": b"pixels",
    "notebook.ipynb": b'{"cells": []}',
    "scores.json": b'{"psnr": {"value": 27.5}}',
    "notes.txt": b"seen by Jo Doe",
    "pictured.json": b'{"image/png": "iVBORw0"}',
    "binary.txt": b"\xff\xfe\x00",
    "torn.json": b'{"a": ',
    "large.csv": b"1,2\n" * (archive.MAX_TEXT // 4 + 1),
}


def members(path: Path) -> dict[str, str]:
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        return {name.partition("/")[2]: archive.read(name).decode() for name in archive.namelist()}


def test_an_archive_holds_the_record_and_texts_and_nothing_else(tmp_path: Path) -> None:
    run = made(tmp_path, files=FILES)
    done = archive.export(run, tmp_path / "out" / "run.zip")
    texts = members(done.path)
    assert set(texts) == {
        "run.json",
        "recipe.json",
        "events.jsonl",
        "left_out.json",
        "artifacts/scores.json",
        "artifacts/notes.txt",
    }
    assert set(done.left_out) == set(FILES) - {"scores.json", "notes.txt"}
    assert json.loads(texts["left_out.json"]) == done.left_out
    assert json.loads(texts["recipe.json"]) == {"steps": 3}
    assert json.loads(texts["run.json"])["artifacts"] == run.record.artifacts
    assert [json.loads(line) for line in texts["events.jsonl"].splitlines()] == run.events()
    last = audit.read(tmp_path)[-1].event
    where = {"file": "run.zip", "to": str(done.path.resolve())}
    sized = {"sha256": sha256_file(done.path), "bytes": done.path.stat().st_size}
    assert last == {"action": "run exported", "run": run.id, **where, **sized}


def test_the_same_run_gives_the_same_bytes_and_replaces_only_its_like(tmp_path: Path) -> None:
    run = made(tmp_path)
    first, second = archive.export(run, tmp_path / "a.zip"), archive.export(run, tmp_path / "b.zip")
    assert first.sha256 == second.sha256 == sha256_file(tmp_path / "b.zip")
    assert archive.export(run, tmp_path / "a.zip").sha256 == first.sha256
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("thesis.txt", "years of work")
    before = (tmp_path / "other.zip").read_bytes()
    with pytest.raises(MediaError, match="another file"):
        archive.export(run, tmp_path / "other.zip")
    assert (tmp_path / "other.zip").read_bytes() == before
    with pytest.raises(ValueError, match=r"\.zip"):
        archive.export(run, tmp_path / "a.tar")


def test_nothing_appears_without_its_line_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(tmp_path)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit, "append", full)
    with pytest.raises(StorageError, match="No space"):
        archive.export(run, tmp_path / "out" / "a.zip")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.fixture
def real(tmp_path: Path) -> Run:
    """A swap onto a person, whose name and path stand in places of every kind."""
    folder = tmp_path / 'Jo Doe\'s "clips"'
    folder.mkdir()
    Pillow.new("RGB", (8, 8)).save(folder / "take-größe.png")
    clip = admit.admit(
        folder / "take-größe.png", root=tmp_path, who="Jo Doe", basis="consent: signed 2026-03-01", uses=("anonymise",)
    )
    run = Run.start(tmp_path, "swap", '{"steps": 3}', {"source": '{"actor": 7}', "target": record_of(clip)})
    with run:
        run.emit("frame", index=0, keypoints=[[123.25, 2.0]], frame_to_crop=[[321.5, 2.0]], note=f"read {clip.path}")
        run.emit("part", name="Jo Doe", first=0, num_faces=[1])
        texts = {"frames.json": '[{"who": "jo doe", "value.psnr": 27.5}]', "notes.txt": "Jo Doe smiles"}
        texts["corrections.json"] = Corrections().with_points(clip.origin, 0, np.full((5, 2), 123.25)).to_json()
        for name, text in texts.items():
            with run.write(name) as path:
                path.write_text(text)
        run.finish(target=clip.subject, name="My Set", refused=["Jack Roe"], nested={"Jo Doe": [record_of(clip)]}, num_frames=1)
    return Run.open(run.id, tmp_path)


def test_no_name_path_or_point_of_a_person_leaves(real: Run, tmp_path: Path) -> None:
    scores = made(tmp_path, "evaluate", result=real.id, files={"scores.json": b'{"of": "Jo Doe"}'})
    for run, kept in ((real, "artifacts/frames.json"), (scores, "artifacts/scores.json")):
        texts = members(archive.export(run, tmp_path / f"{run.id}.zip").path)
        assert kept in texts
        assert "artifacts/notes.txt" not in texts
        for name, text in texts.items():
            for secret in (
                "jo doe",
                "größe",
                "u00f6",
                str(tmp_path).lower(),
                "keypoints",
                "123.25",
                "frame_to_crop",
                "321.5",
                "my set",
                "jack roe",
            ):
                assert secret not in text.lower(), (name, secret)
        assert '"target": "file 2"' in texts["run.json"] or run is scores
        assert json.loads(texts["run.json"])["recipe"] == {"steps": 3}
    assert "27.5" in members(tmp_path / f"{real.id}.zip")["artifacts/frames.json"]


def test_points_of_actors_leave(tmp_path: Path) -> None:
    assert "keypoints" in members(archive.export(made(tmp_path), tmp_path / "a.zip").path)["events.jsonl"]


def test_a_run_of_somebody_who_withdrew_does_not_leave(real: Run, tmp_path: Path) -> None:
    scores = made(tmp_path, "evaluate", result=real.id)
    manifest = next((tmp_path / "data_manifests").glob("*.toml"))
    manifest.write_text(manifest.read_text().replace("[consent]", f"[consent]\nwithdrawn = {date.today()}"))
    for run in (real, scores):
        with pytest.raises(ConsentError, match="withdrawn"):
            archive.export(run, tmp_path / "a.zip")
    assert not (tmp_path / "a.zip").exists()


# --- leftovers ------------------------------------------------------------------------------------------------------------


def test_hidden_leftovers_of_stopped_processes_go_and_nothing_else(tmp_path: Path) -> None:
    run, other = made(tmp_path), made(tmp_path, done=False, source="actor:9")
    left = [".run.json.abc.tmp", "events/.000009.jsonl.xy.tmp", "artifacts/.part-pair.safetensors", "artifacts/a/..part-b.0a.mkv"]
    for folder in (run.path, other.path):
        for name in left:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(b"x" * 100)
    young, old = (tmp_path / "runs" / name / "train-1" for name in (".new-young", ".new-old"))
    for folder in (young, old):
        folder.mkdir(parents=True)
        (folder / "run.json").write_bytes(b"y" * 50)
    long_ago = time.time() - 7200
    os.utime(old.parent, (long_ago, long_ago))
    with other:
        seen = prune.plan(tmp_path, older_than_days=100)
        assert sorted(each.id for each in seen.leftovers) == sorted([*(f"{run.id}/{name}" for name in left), ".new-old"])
        assert seen.num_bytes == 450
        assert all((run.path / name).exists() for name in left), "a plan removes nothing"
        went = prune.prune(tmp_path, older_than_days=100)
        assert went == seen
    assert not [name for name in left if (run.path / name).exists()]
    assert all((other.path / name).exists() for name in left), "a process worked on that one"
    assert young.exists()
    assert not old.parent.exists()
    for name in run.record.artifacts:
        run.artifact(name)
    went = prune.prune(tmp_path, unfinished=True)
    assert [each.id for each in went.removable] == [other.id]
    assert went.leftovers == ()


# --- the command line -----------------------------------------------------------------------------------------------------


def test_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    kept, half = made(tmp_path), made(tmp_path, done=False)

    def answer(*arguments: str) -> object:
        assert command_line.main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    listed = answer("runs", "list")
    assert isinstance(listed, list)
    assert {row["run"]: row["bytes"] for row in listed} == {run.id: prune.size_of(run.path) for run in (kept, half)}
    assert command_line.main(["runs", "list"]) == 0
    assert "KiB" in capsys.readouterr().out
    asked = answer("runs", "prune", "--unfinished")
    assert isinstance(asked, dict)
    assert (asked["removed"], [row["run"] for row in asked["removable"]]) == (False, [half.id])
    assert half.path.exists()
    assert command_line.main(["runs", "prune"]) == 2
    assert "say which runs" in capsys.readouterr().err
    done = answer("runs", "prune", "--unfinished", "--yes")
    assert isinstance(done, dict)
    assert (done["removed"], half.path.exists(), kept.path.exists()) == (True, False, True)
    sent = answer("runs", "export", kept.id, "-o", str(tmp_path / "a.zip"))
    assert isinstance(sent, dict)
    assert set(sent["members"]) == set(members(tmp_path / "a.zip"))
