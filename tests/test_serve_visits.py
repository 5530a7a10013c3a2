"""Visits: private folders that end after their time, after a crash as well, and a log that verifies when they are gone."""

import json
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from faceswap_lab.errors import RunError, StorageError
from faceswap_lab.runs.run import Run
from faceswap_lab.serve import visits as module
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.visits import Visit, Visits
from faceswap_lab.trust import audit
from tests.waiting import Clock, eventually


@pytest.fixture
def clock() -> Clock:
    return Clock(1_000_000.0)


@pytest.fixture
def visits(tmp_path: Path, clock: Clock) -> Visits:
    return Visits(tmp_path / "demo", Limits(), clock=clock)


def worked_in(visit: Visit) -> Run:
    """A visit with what a job leaves: an upload, a finished run, an export."""
    (visit.root / "upload").write_bytes(b"a face")
    (visit.root / "exports").mkdir()
    (visit.root / "exports" / "out.png").write_bytes(b"another face")
    run = Run.start(visit.root, "train", json.dumps({"of": visit.id}), {})
    with run:
        with run.write("artifact") as path:
            path.write_bytes(b"pixels")
        run.finish()
    return run


def actions(root: Path) -> list[str]:
    return [entry.event["action"] for entry in audit.read(root)]


def test_a_visit_is_a_lab_of_its_own_that_nobody_else_can_enter(visits: Visits) -> None:
    first, second = visits.open(), visits.open()
    assert first.root != second.root
    assert len(first.id) == 32
    for folder in (first.root, second.root, visits.arrivals):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    worked_in(first)
    assert Run.survey(first.root).runs
    assert not Run.survey(second.root).runs


def test_it_stays_for_an_hour_and_then_all_of_it_is_gone_but_the_log(visits: Visits, clock: Clock) -> None:
    visit = visits.open()
    run = worked_in(visit)
    visits.close(visit)
    clock.now += 3599
    assert visits.sweep() == 0
    assert run.path.is_dir()
    clock.now += 1
    assert visits.sweep() == 1
    assert list((visits.root / "visits").iterdir()) == []
    assert audit.verify(visits.root).whole
    told = actions(visits.root)
    assert told[0] == "visit opened"
    assert told[-2:] == ["pruned", "visit erased"]
    assert "face" not in audit.path_of(visits.root).read_text()


def test_a_visit_in_use_is_kept_beyond_its_time(visits: Visits, clock: Clock) -> None:
    visit = visits.open()
    clock.now += 100_000
    assert visits.sweep() == 0
    visits.close(visit)
    assert visits.sweep() == 1


def test_a_failed_one_is_erased_at_once(visits: Visits) -> None:
    visit = visits.open()
    worked_in(visit)
    visits.close(visit, erase=True)
    assert not visit.root.exists()


def test_what_a_crash_left_is_deleted_when_its_time_is_up_and_at_the_next_start(tmp_path: Path, clock: Clock) -> None:
    before = Visits(tmp_path / "demo", Limits(), clock=clock)
    old = before.open()
    worked_in(old)
    clock.now += 3000
    young = before.open()
    half = tmp_path / "demo" / "visits" / "half-made"
    half.mkdir()
    (tmp_path / "demo" / "visits" / ".gone-abc").mkdir()
    (tmp_path / "demo" / "visits" / ".gone-abc" / "face").write_bytes(b"a face")
    clock.now += 700
    after = Visits(tmp_path / "demo", Limits(), clock=clock)
    after.start()
    try:
        assert sorted(path.name for path in (tmp_path / "demo" / "visits").iterdir()) == [young.id]
    finally:
        after.stop()
    assert audit.verify(after.root).whole


@pytest.mark.parametrize("opened", ["nonsense", '{"opened": "soon"}', '{"opened": 9e15}', "{}", "[]"])
def test_one_that_does_not_say_since_when_is_not_kept(visits: Visits, opened: str) -> None:
    visit = visits.open()
    visits.close(visit)
    (visit.root / "visit.json").write_text(opened)
    assert visits.sweep() == 1


def test_uploads_that_nobody_came_for_are_deleted(visits: Visits, clock: Clock) -> None:
    folder = visits.arrivals / "hash"
    folder.mkdir()
    for name, age in (("old.png", 3601), ("new.png", 10)):
        (folder / name).write_bytes(b"a face")
        os.utime(folder / name, (clock.now - age, clock.now - age))
    assert visits.sweep() == 1
    assert [path.name for path in folder.iterdir()] == ["new.png"]
    clock.now += 5000
    os.utime(folder, (0, 0))
    assert visits.sweep() == 1
    os.utime(folder, (0, 0))
    visits.sweep()
    assert list(visits.arrivals.iterdir()) == []


def test_a_link_in_the_folders_is_removed_and_not_followed(visits: Visits, clock: Clock, tmp_path: Path) -> None:
    private = tmp_path / "private.png"
    private.write_bytes(b"a face")
    (visits.arrivals / "link").symlink_to(private)
    visit = visits.open()
    (visit.root / "link").symlink_to(private)
    visits.close(visit, erase=True)
    clock.now += 10**10
    visits.sweep()
    assert not (visits.arrivals / "link").is_symlink()
    assert private.read_bytes() == b"a face"


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    first, second = (Visits(tmp_path / "demo", Limits()) for _ in range(2))
    first.start()
    try:
        with pytest.raises(RunError, match="another demo"):
            second.start()
    finally:
        first.stop()
    second.start()
    second.stop()


def test_a_demo_that_stops_leaves_nothing_of_its_visitors(visits: Visits) -> None:
    visits.start()
    kept, in_use = visits.open(), visits.open()
    worked_in(kept)
    visits.close(kept)
    (in_use.root / "upload").write_bytes(b"a face")
    (visits.arrivals / "abc").mkdir()
    (visits.arrivals / "abc" / "just-now.png").write_bytes(b"a face")
    visits.stop()
    assert list((visits.root / "visits").iterdir()) == []
    assert list(visits.arrivals.iterdir()) == []
    assert audit.verify(visits.root).whole


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_git_takes_nothing_of_it(visits: Visits) -> None:
    subprocess.run(["git", "init", "--quiet", visits.root.parent], check=True)
    visits.start()
    worked_in(visits.open())
    asked = ["git", "-C", visits.root.parent, "status", "--short", "--untracked-files=all"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    visits.stop()
    assert found == ""


def test_all_visits_together_take_no_more_than_they_may(tmp_path: Path) -> None:
    visits = Visits(tmp_path / "demo", Limits(max_stored_bytes=10_000))
    visit = visits.open()
    (visit.root / "upload").write_bytes(bytes(20_000))
    with pytest.raises(StorageError, match="come back later"):
        visits.open()
    visits.close(visit, erase=True)
    assert visits.open().root.is_dir()


def test_the_thread_deletes_on_its_own_and_goes_on_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    visits, failed = Visits(tmp_path / "demo", Limits(keep_s=0.2)), []
    real = visits.sweep

    def failing_once(*, all_of_it: bool = False) -> int:
        if not failed:
            failed.append(True)
            raise OSError("disk")
        return real(all_of_it=all_of_it)

    monkeypatch.setattr(module, "_SWEEP_S", 0.02)
    visits.start()
    monkeypatch.setattr(visits, "sweep", failing_once)
    visit = visits.open()
    visits.close(visit)
    eventually(lambda: not visit.root.exists())
    assert failed
    visits.stop()
    assert visits._thread is not None
    assert not visits._thread.is_alive()
