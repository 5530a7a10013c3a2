"""Run folders: whole or resumable after any kill, found by what they did, worked on by one process."""

import json
import os
import pickle
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faceswap_lab.errors import FaceError, RunError
from faceswap_lab.files import lab_root
from faceswap_lab.maintenance import doctor
from faceswap_lab.runs import call, events, quota, working
from faceswap_lab.runs import run as run_module
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit

RECIPE = '{"steps": 3, "rate": 0.1}'


def start(root: Path, verb: str = "train", recipe: str = RECIPE, force: bool = False, **inputs: str) -> Run:
    return Run.start(root, verb, recipe, inputs or {"source": "actor:7"}, force=force)


def finished(root: Path, verb: str = "train", **inputs: str) -> Run:
    run = start(root, verb, **inputs)
    with run:
        run.emit("step", step=1, loss=0.5)
        with run.write("weights.bin") as path:
            path.write_bytes(b"weights")
        run.finish(loss=0.5)
    return run


def test_a_run_from_start_to_finish(tmp_path: Path) -> None:
    run = finished(tmp_path)
    force = Run.open(run.id, tmp_path)
    assert force.finished
    assert force.summary == {"loss": 0.5}
    assert force.inputs == {"source": "actor:7"}
    assert json.loads(force.recipe_json) == json.loads(RECIPE)
    assert force.artifact("weights.bin").read_bytes() == b"weights"
    assert [event["kind"] for event in force.events()] == ["opened", "step", "artifact", "finished"]
    assert [event["n"] for event in force.events()] == [0, 1, 2, 3]
    assert force.record.environment["packages"]["torch"]
    assert force.root == tmp_path.resolve()


def test_the_key_is_verb_recipe_inputs_data_files_and_version_of_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start(tmp_path)
    assert start(tmp_path, recipe='{"rate": 0.1,   "steps": 3}') == first, "spelling is no difference"
    others = [start(tmp_path, verb="swap"), start(tmp_path, recipe='{"steps": 4}'), start(tmp_path, source="actor:8")]
    others.append(Run.start(tmp_path, "train", RECIPE, {"source": "actor:7"}, data={"points.json": "3f9a"}))
    monkeypatch.setattr(run_module.class_of("train"), "RESULT_VERSION", 1000)
    others.append(start(tmp_path))
    assert len({run.key for run in [first, *others]}) == 6


def test_code_packages_and_device_are_recorded_and_no_other_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = start(tmp_path)
    with first:
        first.emit("step", step=1)
    for module in (call, working):
        monkeypatch.setattr(module, "code_version", lambda: "another")
        monkeypatch.setattr(module, "environment", lambda: {"device": "abacus"})
    again = start(tmp_path)
    assert again == first
    with again:
        again.finish()
    opened = again.events("opened")
    assert [event["code"] for event in opened] == [first.record.code, "another"], "which code went on is on record"
    assert opened[1]["environment"] == {"device": "abacus"}
    assert Run.open(again.id, tmp_path).record.code == first.record.code


def test_an_identical_call_finds_its_run(tmp_path: Path) -> None:
    unfinished = start(tmp_path)
    assert start(tmp_path) == unfinished
    done = finished(tmp_path)
    assert done == unfinished
    second = start(tmp_path, force=True)
    third = start(tmp_path, force=True)
    assert [second.id, third.id] == [f"{done.id}-2", f"{done.id}-3"]
    assert {second.key, third.key} == {done.key}
    assert start(tmp_path) == done, "a finished one stands before an unfinished one"
    with second:
        second.finish()
    assert start(tmp_path) == second, "the newest finished one"


def test_two_keys_that_begin_alike_are_two_runs(tmp_path: Path) -> None:
    run = finished(tmp_path)
    path = run.path / "run.json"
    path.write_text(path.read_text().replace(run.key, run.key[:8] + "0" * 56))
    other = start(tmp_path)
    assert other.id == f"{run.id}-2"
    assert not other.finished
    assert start(tmp_path) == other


def test_open_by_beginning(tmp_path: Path) -> None:
    one, two = finished(tmp_path), finished(tmp_path, verb="swap")
    assert Run.open(one.id[:9], tmp_path) == one
    assert Run.open("swap", tmp_path) == two
    with pytest.raises(RunError, match=one.id):
        Run.open(one.id[:-1] + "~", tmp_path)
    finished(tmp_path, source="actor:9")
    with pytest.raises(RunError, match="give more"):
        Run.open("train", tmp_path)
    with pytest.raises(RunError, match="no runs below"):
        Run.open("train", tmp_path / "elsewhere")


def test_find(tmp_path: Path) -> None:
    one = finished(tmp_path)
    two = start(tmp_path, verb="swap", swapper=one.id)
    assert Run.find(tmp_path) == [two, one]
    assert Run.find(tmp_path, verb="train") == [one]
    assert Run.find(tmp_path, finished=False) == [two]
    assert Run.find(tmp_path, uses=one.id) == [two]


def interrupted(run: Run) -> None:
    with run:
        for step in (3, 4):
            run.emit("step", step=step, loss=0.0)
        raise KeyboardInterrupt


def test_resuming_goes_on_behind_the_last_event(tmp_path: Path) -> None:
    run = start(tmp_path)
    with run:
        for step in (1, 2, 3):
            run.emit("step", step=step, loss=1 / step)
        run.flush()
        run.emit("step", step=4, loss=9.0)
    with pytest.raises(KeyboardInterrupt):
        interrupted(Run.open(run.id, tmp_path))
    assert [event["step"] for event in run.events("step")] == [1, 2, 3, 4, 3, 4]
    assert [(event["step"], event["loss"]) for event in run.events("step", unique="step")] == [
        (1, 1.0),
        (2, 0.5),
        (3, 0.0),
        (4, 0.0),
    ]
    assert [event["n"] for event in run.events()] == list(range(9))
    assert run.events()[-1]["kind"] == "stopped"


def test_the_error_that_ends_a_run_is_its_last_event(tmp_path: Path) -> None:
    run = start(tmp_path)
    wanted = {"expected": "a face", "got": "none", "remedy": "another picture"}
    with pytest.raises(FaceError), run:
        raise FaceError(**wanted)
    told = run.events()[-1]
    assert {name: told[name] for name in ("kind", "error", *wanted)} == {"kind": "failed", "error": "FaceError", **wanted}
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError("by nought")
    told = run.events()[-1]
    assert (told["kind"], told["error"], told["got"]) == ("failed", "ZeroDivisionError", "by nought")
    with run:
        run.finish()
    assert run.finished, "it can go on"
    assert [event["kind"] for event in run.events() if event["kind"] in ("failed", "stopped")] == ["failed", "failed"]


def test_writing_needs_the_lock(tmp_path: Path) -> None:
    run = start(tmp_path)
    with pytest.raises(RunError, match="with run"):
        run.emit("step")
    with pytest.raises(RunError, match="with run"), run.write("a"):
        pass
    with run, pytest.raises(RunError, match="free"), Run.open(run.id, tmp_path):
        pass
    with run:
        run.finish()
    with pytest.raises(RunError, match="a finished run"), run:
        pass


@pytest.mark.slow
def test_a_second_process_is_refused(tmp_path: Path) -> None:
    run = start(tmp_path)
    code = "import sys; from pathlib import Path; from faceswap_lab.runs.run import Run\nwith Run(Path(sys.argv[1])): pass"
    with run:
        other = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
        assert "RunError" in other.stderr
        assert "free" in other.stderr
    other = subprocess.run([sys.executable, "-c", code, str(run.path)], capture_output=True, text=True, check=False)
    assert other.returncode == 0, other.stderr


def test_an_artifact_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    run = start(tmp_path)
    with run:
        with run.write("state.pt") as path:
            assert path.suffix == ".pt"
            path.write_bytes(b"old")
        with pytest.raises(ZeroDivisionError), run.write("state.pt") as path:
            path.write_bytes(bytes([1 // (not path.write_bytes(b"half"))]))
        assert run.artifact("state.pt").read_bytes() == b"old"
        with run.write("pictures/one.png") as path:
            path.write_bytes(b"x")
    assert list(run.artifacts()) == ["pictures/one.png", "state.pt"]
    assert not [path for path in run.path.rglob("*") if ".part" in path.name or path.suffix == ".tmp"]


def test_an_altered_artifact_is_refused(tmp_path: Path) -> None:
    run = finished(tmp_path)
    (run.path / "artifacts" / "weights.bin").write_bytes(b"Weights")
    with pytest.raises(RunError, match="another SHA-256"):
        run.artifact("weights.bin")
    with pytest.raises(RunError, match=r"weights\.bin"):
        run.artifact("no.bin")
    assert not run.has("no.bin")


@pytest.mark.parametrize("name", ["../x", "/tmp/x", "a/../../x", "", ".", ".hidden", "a/.part-b"])
def test_artifacts_stay_in_their_folder(tmp_path: Path, name: str) -> None:
    run = start(tmp_path)
    with run, pytest.raises(ValueError, match="inside"), run.write(name):
        pass


def test_torn_and_foreign_records(tmp_path: Path) -> None:
    run = finished(tmp_path)
    path = run.path / "run.json"
    whole = path.read_text()
    for text, named in [
        (whole[: len(whole) // 2], "restore"),
        ("", "restore"),
        ("[]", "restore"),
        (whole.replace('"format": 2', '"format": 3'), "install a newer"),
        (whole.replace('"verb"', '"vreb"'), "restore"),
        (whole.replace('"finished",', '"perhaps",'), "restore"),
    ]:
        path.write_text(text)
        with pytest.raises(RunError, match=named):
            Run.open(run.id, tmp_path)
        with pytest.raises(RunError, match=named):
            start(tmp_path)


@pytest.mark.parametrize("version", ["0", '"x"', "null", "-1", "true", "1.5", "[1]", "missing", "3", "99"])
def test_formats_that_this_version_does_not_know_are_refused(tmp_path: Path, version: str) -> None:
    """Format 2 is what `finished` writes and every other test reads; format 1 is read by tests/test_lab_v1.py."""
    run = finished(tmp_path)
    path = run.path / "run.json"
    whole = path.read_text()
    assert whole.count('"format": 2,') == 1
    path.write_text(whole.replace('  "format": 2,\n', "") if version == "missing" else whole.replace("2,", f"{version},", 1))
    with pytest.raises(RunError) as caught:
        Run.open(run.id, tmp_path)
    assert caught.value.expected == "a run folder of format 1 or 2"
    shown = '"none"' if version == "missing" else version
    assert caught.value.got == f"format {shown} in {path}"
    assert ("install a newer" in caught.value.remedy) == (version in ("3", "99"))
    path.write_text(whole)
    assert Run.open(run.id, tmp_path).summary == {"loss": 0.5}


# --- the quota --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "limit"),
    [("", None), ("  ", None), ("50 GB", 50 * 10**9), ("1.5GiB", 3 * 2**29), ("800mb", 8 * 10**8), ("12", 12), ("0", 0)],
)
def test_a_quota_is_a_size(monkeypatch: pytest.MonkeyPatch, text: str, limit: int | None) -> None:
    monkeypatch.setenv(quota.VARIABLE, text)
    assert quota.quota() == limit


@pytest.mark.parametrize("text", ["much", "-1 GB", "5 XB", "GB", "1,5 GB", "8 bit", "5 GB and more"])
def test_a_quota_that_is_no_size_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str) -> None:
    monkeypatch.setenv(quota.VARIABLE, text)
    with pytest.raises(ValueError, match="50 GB"):
        start(tmp_path)
    found = doctor._root(tmp_path)
    assert found.state == "problem"
    assert text in found.found


def test_a_verb_does_not_start_above_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    big, half = finished(tmp_path), start(tmp_path, source="actor:9")
    (big.path / "artifacts" / "extra.bin").write_bytes(bytes(300_000))
    monkeypatch.setenv(quota.VARIABLE, "200 KB")
    lines = audit.head(tmp_path).count
    with pytest.raises(RunError, match=r"195\.3 KiB in total") as caught:
        start(tmp_path, verb="swap")
    assert caught.value.got.split("largest: ")[1].startswith(f"{big.id} 29")
    assert "runs prune" in caught.value.remedy
    with pytest.raises(RunError, match="in total"), half:
        pass
    assert audit.head(tmp_path).count == lines
    assert len(Run.find(tmp_path)) == 2
    assert start(tmp_path) == big, "what is done is still given"
    monkeypatch.setenv(quota.VARIABLE, "1 MB")
    start(tmp_path, verb="swap")


def test_a_verb_stops_that_outgrows_the_quota_and_goes_on_with_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(quota.VARIABLE, "150 KB")
    run = start(tmp_path)

    def work(size: int) -> None:
        with run:
            for content in (b"old" * 20_000, bytes(size)):
                with run.write("state.bin") as path:
                    path.write_bytes(content)

    with pytest.raises(RunError, match="in total"):
        work(160_000)
    assert run.artifact("state.bin").read_bytes() == b"old" * 20_000
    work(100_000)
    assert run.artifact("state.bin").stat().st_size == 100_000, "the older one does not count beside the one that replaces it"
    monkeypatch.setattr(events, "FLUSH_AFTER_S", 0.0)
    monkeypatch.setenv(quota.VARIABLE, "1 KB")
    with pytest.raises(RunError, match="in total"):
        work(1)
    monkeypatch.setenv(quota.VARIABLE, "200 KB")
    with pytest.raises(RunError, match="in total"):
        _emit_much(run)


def _emit_much(run: Run) -> None:
    with run:
        for _ in range(200):
            run.emit("frame", keypoints="x" * 1000)


def test_the_doctor_shows_use_and_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finished(tmp_path)
    assert "no quota (FACESWAP_LAB_QUOTA" in doctor._root(tmp_path).found
    used = quota.size_of(tmp_path / "runs")
    for limit, state in ((used * 2, "ok"), (round(used * 1.05), "warning"), (used - 1, "problem")):
        monkeypatch.setenv(quota.VARIABLE, str(limit))
        found = doctor._root(tmp_path)
        assert found.state == state
        assert f"quota {quota.size_text(limit)}" in found.found
        assert ("runs prune" in found.remedy) == (state != "ok")


def test_runs_keep_the_heads_of_the_log(tmp_path: Path) -> None:
    finished(tmp_path)
    finished(tmp_path, verb="swap")
    heads = Run.heads(tmp_path)
    assert audit.verify(tmp_path, heads=heads).whole
    log = audit.path_of(tmp_path)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert audit.verify(tmp_path).bad_line == 4
    (tmp_path / "runs" / audit.ANCHOR).unlink()
    assert audit.verify(tmp_path).whole
    assert audit.verify(tmp_path, heads=heads).bad_line == 4


def test_pickles_as_a_reader(tmp_path: Path) -> None:
    run = start(tmp_path)
    with run:
        run.emit("step", step=1)
        copy = pickle.loads(pickle.dumps(run))
        assert copy == run
        with pytest.raises(RunError, match="read-only handle"):
            copy.emit("step", step=2)


def test_shows_itself_small_and_escaped(tmp_path: Path) -> None:
    run = start(tmp_path, **{f"input{number}": "<script>" + "x" * 10_000 for number in range(100)})
    with run:
        run.finish(**{f"figure{number}": "y" * 10_000 for number in range(100)})
    html = run._repr_html_()
    assert run.id in html
    assert "<script>" not in html
    assert len(html) < 100_000


def test_events_hold_numbers_that_json_knows(tmp_path: Path) -> None:
    run = start(tmp_path)
    with run:
        with pytest.raises(ValueError, match="JSON"):
            run.emit("step", loss=float("inf"))
        with pytest.raises(ValueError, match="reserved fields"):
            run.emit("step", time=3)
    assert [event["n"] for event in run.events()] == [0]


def test_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACESWAP_LAB_ROOT", raising=False)
    deep = tmp_path / "lab" / "a" / "b"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    with pytest.raises(RunError, match="faceswap-lab init"):
        lab_root()
    assert list(deep.iterdir()) == []
    (tmp_path / "lab" / "data_manifests").mkdir()
    assert lab_root() == tmp_path / "lab"
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    assert lab_root() == tmp_path


WORKER = """
import sys
from pathlib import Path
from faceswap_lab.runs import call, events, working
from faceswap_lab.runs import run as module
working.environment = call.environment = lambda: {}
events.FLUSH_AFTER_S = 0.0
run = module.Run.start(Path(sys.argv[1]), "train", '{"steps": 3}', {"source": "actor:7"})
print(run.id, flush=True)
with run:
    start = int(run.artifact("state.txt").read_text()) if run.has("state.txt") else 0
    for step in range(start + 1, 1_000_000):
        run.emit("step", step=step)
        with run.write("state.txt") as path:
            path.write_text(str(step))
        print(step, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_kills_leave_a_run_that_goes_on(tmp_path: Path) -> None:
    chance = random.Random(1)
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        printed = [process.stdout.readline(), process.stdout.readline()]
        time.sleep(chance.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        printed += process.stdout.read().splitlines()
        process.wait()
        process.stdout.close()
        (run,) = Run.find(tmp_path)
        assert run.id == printed[0].strip()
        # The artifact is whole and was on record before it got its name; it is the confirmed step's or the next one's.
        state = int(run.artifact("state.txt").read_text())
        assert state - int(printed[-1]) in (0, 1)
        recorded = run.events()
        assert [event["n"] for event in recorded] == list(range(len(recorded)))
        steps = [event["step"] for event in run.events("step", unique="step")]
        assert sorted(steps) == list(range(1, max(steps) + 1))
        assert max(steps) - state in (0, 1)
    assert audit.verify(tmp_path, heads=Run.heads(tmp_path)).whole
