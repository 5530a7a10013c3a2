"""Who can read what the lab keeps: its folders and logs are for one user, its results have the mode of any new file."""

import logging
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from faceswap_lab import files, seals
from faceswap_lab.actors.head import headpack
from faceswap_lab.models.weights import catalogue
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes of files")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def readable_by_others(folder: Path) -> list[str]:
    """What another user of the machine could reach below `folder`, going only through folders that are open to them."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and mode(path) & 0o011:
            found += readable_by_others(path)
        elif path.is_file() and mode(path) & 0o044:
            found.append(path.relative_to(folder).as_posix())
    return found


def test_runs_log_and_locks_are_the_users_alone(tmp_path: Path) -> None:
    root = tmp_path / "lab"
    run = Run.start(root, "train", "{}", {})
    with run:
        with run.write("crops/face.png") as path:
            path.write_bytes(b"a face")
        run.finish()
    assert mode(root / "runs") == 0o700
    assert mode(audit.path_of(root)) == 0o600
    assert readable_by_others(tmp_path) == []


def test_the_folder_of_a_lock_is_made_private_and_its_parents_too(tmp_path: Path) -> None:
    with files.locked(tmp_path / "a" / "b" / "lock"):
        assert [mode(path) for path in (tmp_path / "a", tmp_path / "a" / "b", tmp_path / "a" / "b" / "lock")] == [
            0o700,
            0o700,
            0o600,
        ]


def test_the_key_of_the_seals_makes_private_runs(tmp_path: Path) -> None:
    seals.seal_of(tmp_path / "lab", "x")
    assert mode(tmp_path / "lab" / "runs") == 0o700
    assert mode(tmp_path / "lab" / "runs" / seals.KEY) == 0o600


def test_an_existing_folder_keeps_its_mode(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o755)
    assert mode(files.private_folder(shared)) == 0o755


def test_cache_folders_are_made_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path / "cache"))
    catalogue.write(catalogue.weights_folder() / "x.onnx", b"weights")
    assert mode(tmp_path / "cache") == mode(tmp_path / "cache" / "weights") == 0o700
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(headpack, "fields", lambda _: ())
    headpack._write(object.__new__(headpack.HeadPack), files.cache_folder() / "head.npz")
    assert mode(tmp_path / "other") == 0o700


def test_an_open_lab_is_closed_when_it_is_used_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As versions before 0.2 left it."""
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    (tmp_path / "runs").mkdir(mode=0o755)
    (tmp_path / "audit.jsonl").touch(mode=0o644)
    (tmp_path / "data_manifests").mkdir(mode=0o755)
    with caplog.at_level(logging.WARNING):
        assert files.lab_root() == files.lab_root() == tmp_path
    assert (mode(tmp_path / "runs"), mode(tmp_path / "audit.jsonl")) == (0o700, 0o600)
    assert mode(tmp_path / "data_manifests") == 0o755, "git keeps it, and others may read it there"
    assert [record.getMessage().partition(" could be read")[0] for record in caplog.records] == [
        str(tmp_path / "runs"),
        str(tmp_path / "audit.jsonl"),
    ]


UNDER_027 = """
import os, sys
os.umask(0o027)
from pathlib import Path
from faceswap_lab import files, seals
def refuse(mask): raise AssertionError("the umask of all threads was changed")
os.umask = refuse
folder = Path(sys.argv[1])
files.write_whole(folder / "public.txt", "x")
files.write_whole(folder / "private.txt", "x", private=True)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="where Linux shows the umask")
def test_files_follow_the_umask_which_is_never_changed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", UNDER_027, str(tmp_path)], check=True, env=os.environ)
    assert mode(tmp_path / "public.txt") == 0o640
    assert mode(tmp_path / "private.txt") == 0o600


def test_without_proc_the_umask_is_read_once_and_never_set_to_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    wanted, asked = files._UMASK, []
    set_umask = os.umask
    monkeypatch.setattr(Path, "open", lambda *_, **__: (_ for _ in ()).throw(FileNotFoundError()))
    monkeypatch.setattr(os, "umask", lambda mask: (asked.append(mask), set_umask(mask))[1])
    assert files._read_umask() == wanted
    monkeypatch.undo()
    assert asked == [0o077, wanted], "others' files are private for that moment, not open"
    files.write_whole(tmp_path / "x", "x")
    assert len(asked) == 2
