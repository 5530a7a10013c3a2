"""Finding runs: the index is never believed over the files, what cannot be read is named, and a moved file is found again."""

import hashlib
import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from unittest import mock

import pytest
from PIL import Image as Pillow

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import RunError
from faceswap_lab.faces.footage import Clip
from faceswap_lab.models import data_files
from faceswap_lab.runs import events, index
from faceswap_lab.runs.call import PLACES, Call, without_hints
from faceswap_lab.runs.index import NAME, Query, candidates
from faceswap_lab.runs.record import read_record, run_folders
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.verbs import library
from faceswap_lab.verbs.people import admit, record_of, reopened
from faceswap_lab.verbs.recipes import EvaluateRecipe, FacesetRecipe, SwapRecipe

ROOT = Path(__file__).parent.parent


def made(root: Path, verb: str = "train", recipe: str = '{"steps": 3}', *, done: bool = True, **inputs: str) -> Run:
    run = Run.start(root, verb, recipe, inputs or {"source": "actor:7"}, force=True)
    if done:
        with run:
            run.finish()
    return run


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def settled() -> Iterator[None]:
    """Every file counts as one that has not changed for long."""
    with mock.patch.object(index, "SETTLED_NS", -1_000_000_000):
        yield


def num_read(root: Path, query: Query) -> int:
    """How many records the search reads that the index could not rule out."""
    with mock.patch.object(index, "read_record", wraps=read_record) as reading:
        candidates(root, run_folders(root), query)
    return reading.call_count


# --- the index ----------------------------------------------------------------------------------------------------------------


def test_only_what_may_be_sought_is_read(tmp_path: Path, settled: None) -> None:
    trained = made(tmp_path)
    swapped = made(tmp_path, "swap", swapper=trained.id, target='{"file": "sha256:3f9a", "path": "/a.png"}')
    made(tmp_path, "swap", done=False)
    five = made(tmp_path, "faceset", '{"name": "five"}')
    questions = [
        (Query(verb="train"), [trained]),
        (Query(finished=True, verb="swap"), [swapped]),
        (Query(uses=trained.id), [swapped]),
        (Query(uses="sha256:3f9a"), [swapped]),
        (Query(name="five"), [five]),
        (Query(name="six"), []),
    ]
    num_read(tmp_path, Query(verb="train"))
    for query, wanted in questions:
        found, _ = candidates(tmp_path, run_folders(tmp_path), query)
        assert {folder for folder, _ in found} == {run.path for run in wanted}
        assert num_read(tmp_path, query) == len(wanted), query


def test_a_file_that_has_changed_is_read_whatever_the_index_says(tmp_path: Path, settled: None) -> None:
    run = made(tmp_path, done=False)
    assert Run.find(tmp_path, finished=True) == []
    with run:
        run.finish()
    assert Run.find(tmp_path, finished=True) == [run]
    path = run.path / "run.json"
    before = path.stat()
    path.write_text(path.read_text().replace('"train"', '"trail"'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert [found.verb for found in Run.find(tmp_path, verb="trail")] == ["trail"], "same size and time, another change time"
    path.unlink()
    assert Run.find(tmp_path, finished=True) == []


def test_a_file_that_may_change_within_a_tick_is_not_remembered(tmp_path: Path) -> None:
    run = made(tmp_path)
    path = run.path / "run.json"
    changed = path.stat().st_ctime_ns
    assert index.stamp_of(path, clock=lambda: changed + index.SETTLED_NS - 1) == ""
    assert index.stamp_of(path, clock=lambda: changed + index.SETTLED_NS) != ""
    assert index.stamp_of(path, clock=lambda: changed - 1) == "", "a server's clock that is ahead"
    assert index.stamp_of(run.path / "none") == ""


@pytest.mark.parametrize("damage", [b"", b"no base at all" * 100, None])
def test_a_damaged_index_is_made_anew(tmp_path: Path, settled: None, damage: bytes | None) -> None:
    one, two = made(tmp_path), made(tmp_path, "swap")
    assert Run.find(tmp_path, verb="train") == [one]
    path = tmp_path / "runs" / NAME
    if damage is None:
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + bytes(len(whole) - 4096))
    else:
        path.write_bytes(damage)
    assert Run.find(tmp_path, verb="train") == [one]
    assert Run.find(tmp_path, verb="swap") == [two]
    assert num_read(tmp_path, Query(verb="train")) == 1, "and serves again"


def test_an_index_of_another_version_is_made_anew(tmp_path: Path, settled: None) -> None:
    one = made(tmp_path)
    path = tmp_path / "runs" / NAME
    base = sqlite3.connect(path)
    base.executescript("CREATE TABLE runs (other TEXT); PRAGMA user_version = 99")
    base.close()
    assert Run.find(tmp_path, verb="train") == [one]
    assert num_read(tmp_path, Query(verb="swap")) == 0


def test_a_locked_index_and_one_that_may_not_be_written_are_done_without(tmp_path: Path, settled: None) -> None:
    one, _ = made(tmp_path), made(tmp_path, "swap")
    base = sqlite3.connect(tmp_path / "runs" / NAME, isolation_level=None)
    base.execute("BEGIN EXCLUSIVE")
    assert Run.find(tmp_path, verb="train") == [one]
    base.close()
    index.forget(tmp_path)
    (tmp_path / "runs" / NAME).mkdir()
    assert Run.find(tmp_path, verb="train") == [one]


def test_no_name_and_no_path_stands_in_the_index(tmp_path: Path, settled: None) -> None:
    made(tmp_path, "faceset", '{"name": "Jo Doe"}', file='{"file": "sha256:3f9a", "path": "/home/jo/secret.png"}')
    assert Run.find(tmp_path, name="Jo Doe")
    content = (tmp_path / "runs" / NAME).read_bytes()
    assert b"Jo Doe" not in content
    assert b"secret" not in content


# --- what cannot be read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("torn", [True, False])
def test_one_unreadable_run_breaks_nothing(
    lab: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, torn: bool
) -> None:
    good, bad = made(lab), made(lab, "faceset", '{"name": "four"}', file="a")
    five = made(lab, "faceset", '{"name": "five"}')
    whole = (bad.path / "run.json").read_text()
    (bad.path / "run.json").write_text(whole[:100] if torn else whole.replace('"format": 2', '"format": 3'))
    with caplog.at_level(logging.WARNING):
        assert Run.find(lab) == [five, good]
    assert bad.id in caplog.text
    assert library.run_of("five") == five
    with pytest.raises(RunError, match="the name of a finished faceset"):
        library.run_of("four")
    assert command_line.main(["runs", "list", "--json"]) == 0
    rows = {row["run"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {good.id, five.id, bad.id}
    assert rows[bad.id]["status"] == "unreadable"
    assert ("format 3" in rows[bad.id]["why"]) != torn
    assert command_line.main(["runs", "list"]) == 0
    assert "unreadable" in capsys.readouterr().out
    assert command_line.main(["audit", "verify", "--json"]) == 1, "nothing vouches for it"
    verdict = json.loads(capsys.readouterr().out)
    assert [row["run"] for row in verdict["unreadable"]] == [bad.id]
    assert "1 runs cannot be read" in verdict["finding"]
    assert command_line.main(["runs", "prune", "--older-than", "0", "--json"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert bad.id not in {row["run"] for row in plan["removable"]}
    assert "cannot be read" in {row["run"]: row["why"] for row in plan["retained"]}[bad.id]
    with pytest.raises(RunError, match="restore it" if torn else "install a newer"):
        Run.open(bad.id, lab)


def test_the_log_is_still_compared_with_the_runs_that_can_be_read(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torn = made(lab)
    made(lab, "swap")
    (torn.path / "run.json").write_text("{")
    log = audit.path_of(lab)
    log.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:-1]))
    assert command_line.main(["audit", "verify", "--json"]) == 1
    assert "log was truncated" in json.loads(capsys.readouterr().out)["finding"]


# --- two processes ------------------------------------------------------------------------------------------------------------

CALLER = """
import sys
from pathlib import Path
from faceswap_lab.errors import RunError
from faceswap_lab.runs import call, working
from faceswap_lab.runs.run import Run
working.environment = call.environment = lambda: {}
root = Path(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
run = Run.start(root, "train", '{"steps": 3}', {"source": sys.argv[2]})
print(run.id, flush=True)
try:
    with run:
        sys.stdin.readline()
        run.finish()
    print("finished", flush=True)
except RunError as error:
    print(error.got, flush=True)
"""


def _told(caller: subprocess.Popen[str]) -> str:
    """The caller's last line. Not `communicate`: what the line before it has buffered would be lost."""
    with caller:
        assert caller.stdin is not None
        assert caller.stdout is not None
        assert caller.stderr is not None
        with suppress(BrokenPipeError):  # who was refused has ended already
            caller.stdin.write("go\n")
            caller.stdin.close()
        said, failed = caller.stdout.read().strip(), caller.stderr.read()
    assert caller.returncode == 0, failed
    return said


def test_processes_that_make_one_call_get_one_run(tmp_path: Path) -> None:
    for attempt in range(2):
        command = [sys.executable, "-c", CALLER, str(tmp_path), f"actor:{attempt}"]
        callers = [subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True, cwd=ROOT) for _ in range(3)]
        for caller in callers:
            assert caller.stdout is not None
            assert caller.stdout.readline() == "ready\n"
        for caller in callers:
            assert caller.stdin is not None
            caller.stdin.write("go\n")
            caller.stdin.flush()
        ids = [caller.stdout.readline().strip() for caller in callers if caller.stdout is not None]
        told = [_told(caller) for caller in callers]
        assert len(set(ids)) == 1, ids
        assert len(Run.find(tmp_path)) == attempt + 1
        assert told.count("finished") >= 1
        assert set(told) <= {"finished", "a process that is working on it", "a finished run"}, told
        assert Run.open(ids[0], tmp_path).finished
    assert [entry.event["action"] for entry in audit.read(tmp_path)].count("train started") == 2


# --- keys ---------------------------------------------------------------------------------------------------------------------


def test_a_path_is_no_part_of_a_key() -> None:
    facts = {"file": "sha256:3f9a", "frames": [0, 4], "bytes": 3}
    here, there = (json.dumps(facts | {"path": path}) for path in ("/a.mp4", "/b.mp4"))
    assert without_hints(here) == without_hints(there) == '{"file":"sha256:3f9a","frames":[0,4]}'
    assert without_hints("actor:7") == "actor:7"
    assert without_hints('{"path": "/a"}') == '{"path": "/a"}', "no file: nothing says that this is a hint"
    assert without_hints("{torn") == "{torn"


@pytest.mark.parametrize("cls", [SwapRecipe, EvaluateRecipe])
def test_the_folder_of_a_pack_is_no_part_of_a_key_and_its_digest_is(cls: type[SwapRecipe | EvaluateRecipe]) -> None:
    def key(engine: str, digest: str) -> str:
        return Call.of("swap", cls(engine=engine), {"engine": digest}, {}, 1).key

    assert key("insight:/a/pack", "3f") == key("insight:/b/pack", "3f") != key("insight:/a/pack", "4f")
    assert key("offline", "") != key("insight:/a/pack", "")
    assert Call.of("swap", cls(engine="insight:/a"), {}, {}, 1).recipe["engine"] == "insight:/a", "it is recorded as it was typed"


def test_a_schema_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Call.of("faceset", FacesetRecipe(name="five"), {}, {}, 1)
    monkeypatch.setattr(FacesetRecipe, "SCHEMA", 1000)
    assert Call.of("faceset", FacesetRecipe(name="five"), {}, {}, 1).key != before.key
    assert before.schema == f"FacesetRecipe/{before.schema.partition('/')[2]}"
    with pytest.raises(TypeError, match="no SCHEMA"):
        Call.of("train", object(), {}, {}, 1)


def test_data_files_are_told_by_what_is_in_them() -> None:
    names = {"head pack", "points.json", "mesh468.json", "yunet-2023mar-int8", "sface-2021dec-int8", "facemesh-468"}
    assert set(data_files.of_everything()) == names
    points = data_files.of_actors()["points.json"]
    content = (ROOT / "faceswap_lab" / "actors" / "head" / "points.json").read_bytes()
    assert points == hashlib.sha256(content).hexdigest()


# --- the ledger ---------------------------------------------------------------------------------------------------------------


def test_each_artifact_is_looked_up_without_reading_all_events(tmp_path: Path) -> None:
    run = Run.start(tmp_path, "render", "{}", {})
    number = 60
    with run:
        for shard in range(number):
            with run.write(f"{shard}.tar") as path:
                path.write_bytes(b"%d" % shard)
    with mock.patch.object(events, "read_segment", wraps=events.read_segment) as reading:
        for shard in range(number):
            run.artifact(f"{shard}.tar")
    assert reading.call_count <= 3 * number, "each segment once, and once more for the artifact that stands in it"


def test_an_artifact_written_since_and_an_altered_segment_are_seen(tmp_path: Path) -> None:
    run = Run.start(tmp_path, "render", "{}", {})
    with run:
        for content in (b"old", b"new"):
            with run.write("a.bin") as path:
                path.write_bytes(content)
            assert run.artifact("a.bin").read_bytes() == content
        with run.write("b.bin") as path:
            path.write_bytes(b"b")
        assert run.artifact("b.bin").read_bytes() == b"b"
    segment = next(path for path in events.segments(run.path) if "b.bin" in path.read_text())
    segment.write_text(segment.read_text().replace('"artifact"', '"artifice"'))
    with pytest.raises(RunError, match="another SHA-256"):
        run.artifact("b.bin")
    segment.write_text("{")
    with pytest.raises(RunError, match="a readable"):
        run.artifact("b.bin")


# --- moved files --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clip(lab: Path) -> Clip:
    folder = lab / "pictures"
    folder.mkdir()
    Pillow.new("RGB", (8, 8), (9, 9, 9)).save(folder / "one.png")
    Pillow.new("RGB", (8, 8), (1, 2, 3)).save(folder / "other.png")
    return admit(folder / "one.png", who="synthetic:a", basis="synthetic: drawn", uses=["anonymise"])


def test_the_same_bytes_elsewhere_are_the_same_run_which_remembers_the_place(clip: Clip, lab: Path, tmp_path: Path) -> None:
    run = Run.start(lab, "swap", "{}", {"target": record_of(clip)})
    outside = tmp_path.parent / f"{tmp_path.name}-outside" / "renamed.png"
    outside.parent.mkdir()
    clip.path.rename(outside)
    with pytest.raises(RunError, match=r"one\.png, where it was last seen.*make the run's own call"):
        reopened(run.inputs["target"], run)
    again = Run.start(lab, "swap", "{}", {"target": record_of(admit(outside))})
    assert again == run
    assert json.loads((run.path / PLACES).read_text()) == {clip.grant.sha256: str(outside)}
    found = reopened(run.inputs["target"], again)
    assert isinstance(found, Clip)
    assert found.path == outside
    Run.start(lab, "swap", "{}", {"target": record_of(admit(outside))})
    assert json.loads((run.path / PLACES).read_text()) == {clip.grant.sha256: str(outside)}


@pytest.mark.parametrize("where", ["pictures/renamed.png", "deep/er/one.PNG", "as.bin"])
def test_a_file_moved_within_the_lab_is_found(clip: Clip, lab: Path, where: str, capsys: pytest.CaptureFixture[str]) -> None:
    run = Run.start(lab, "swap", "{}", {"target": record_of(clip)})
    there = lab / where
    there.parent.mkdir(parents=True, exist_ok=True)
    clip.path.rename(there)
    found = reopened(run.inputs["target"], run)
    assert isinstance(found, Clip)
    assert (found.path, found.origin) == (there.resolve(), clip.origin)
    assert f"is now {there}" in capsys.readouterr().err


def test_another_file_in_its_place_is_not_taken_for_it(clip: Clip, lab: Path) -> None:
    run = Run.start(lab, "swap", "{}", {"target": record_of(clip)})
    clip.path.write_bytes((lab / "pictures" / "other.png").read_bytes())
    before = audit.head(lab)
    with pytest.raises(RunError, match="another file at"):
        reopened(run.inputs["target"], run)
    assert audit.head(lab) == before, "what is not the run's file is not let in"


def test_where_another_run_saw_it_counts_too(clip: Clip, lab: Path, tmp_path: Path) -> None:
    run = Run.start(lab, "swap", "{}", {"target": record_of(clip)})
    outside = tmp_path.parent / f"{tmp_path.name}-outside.png"
    clip.path.rename(outside)
    Run.start(lab, "train", "{}", {"target": record_of(admit(outside))})
    found = reopened(run.inputs["target"], run)
    assert isinstance(found, Clip)
    assert found.path == outside


def test_renaming_gathered_files_is_no_other_faceset_and_reordering_frames_is(lab: Path) -> None:
    from faceswap_lab.verbs.gather import layouts
    from faceswap_lab.verbs.gather.gather import _sequences

    def digest(names: tuple[str, str]) -> str:
        folder = lab / f"{time.monotonic_ns()}"
        folder.mkdir()
        for name, level in zip(names, (10, 20), strict=True):
            Pillow.new("RGB", (8, 8), (level,) * 3).save(folder / name)
        found = layouts.find([folder], "frames")
        about = {"who": "synthetic:a", "basis": "synthetic: drawn", "uses": ["evaluate", "train"]}
        clips = [admit(each.path, **about) for each in found.material]  # type: ignore[arg-type]
        return _sequences(sorted(clips, key=lambda clip: clip.grant.sha256), found)

    assert digest(("a_001.png", "a_002.png")) == digest(("b_001.png", "b_002.png")) != digest(("a_002.png", "a_001.png"))
