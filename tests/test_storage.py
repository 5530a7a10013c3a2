"""Disks that are full or read-only, folders that cannot be written, paths that programs trip over: said in three parts, nothing
half-written, and after the remedy the same call goes on."""

import contextlib
import errno
import os
import pickle
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import LabError, StorageError, storage_error, storing
from faceswap_lab.faces.frame import Frame, hidden_beside, read_still, remove_leftovers, write_still, written_whole
from faceswap_lab.faces.video import encode
from faceswap_lab.models.weights import catalogue
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train.train import train
from tests.media import numbered, open_clip
from tests.subjects import LAB_FILES

on_posix = pytest.mark.skipif(sys.platform == "win32", reason="mounts and limits of POSIX systems")


def in_three_parts(error: LabError, *words: str) -> None:
    assert error.expected
    assert error.got
    assert error.remedy
    for word in words:
        assert word in str(error)


def frames(count: int = 30, size: int = 120) -> list[Frame]:
    noise = np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
    return [Frame(image=image, origin="x", index=n, time_s=n / 25) for n, image in enumerate(noise)]


def hidden(folder: Path) -> list[str]:
    """What half-done writers would have left."""
    kept = {".exports", *LAB_FILES}
    return [path.name for path in folder.rglob(".*") if path.suffix != ".lock" and path.name not in kept]


# --- what is said -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, ("No space left", "free some space", "FACESWAP_LAB_ROOT", "to resume")),
        (errno.EDQUOT, ("free some space",)),
        (errno.EROFS, ("Read-only", "give this user write access", "FACESWAP_LAB_CACHE")),
        (errno.EACCES, ("Permission denied", "give this user write access")),
        (errno.ENAMETOOLONG, ("shorter",)),
        (errno.ENOENT, ("check the path",)),
        (errno.EFBIG, ("ulimit -f",)),
        (errno.ESTALE, ("fix the reported cause",)),
    ],
)
def test_what_the_system_says_comes_in_three_parts(number: int, words: tuple[str, ...]) -> None:
    said = OSError(number, os.strerror(number))
    with pytest.raises(StorageError) as caught, storing(Path("/lab/runs")):
        raise said
    in_three_parts(caught.value, "/lab/runs", *words)
    in_three_parts(storage_error(OSError(number, os.strerror(number), "/the/file"), Path("/lab")), "/the/file")
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    with pytest.raises(BlockingIOError), storing(Path("/lab/runs")):
        raise BlockingIOError(errno.EAGAIN, "locked")


# --- a disk that is full ----------------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], object]] = {
    "a.mkv": lambda path: encode(path, frames(), fps=25, lossless=True),
    "a.mp4": lambda path: encode(path, frames(), fps=25),
    "a.png": lambda path: write_still(path, frames(1, 400)[0].image),
    "a.jpg": lambda path: write_still(path, frames(1, 400)[0].image),
}

LIMITED = """
import resource, sys
from pathlib import Path
from tests.test_storage import limited_work
limited_work(Path(sys.argv[1]), resource)
print("went on", flush=True)
"""


def limited_work(root: Path, resource: object) -> None:
    """In a process of its own: no file may grow past 8 KiB, then it may again."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)  # type: ignore[attr-defined]

    def limit(num_bytes: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))  # type: ignore[attr-defined]

    fails_and_goes_on(root, lambda: limit(8192), lambda: limit(hard))


def fails_and_goes_on(root: Path, fill: Callable[[], object], free: Callable[[], object]) -> None:
    """Every writer of the lab on a disk that is full, and again when it is not."""
    out = root / "out"
    out.mkdir(parents=True)
    run = Run.start(root, "train", "{}", {})
    for name, write in WRITERS.items():
        fill()
        with pytest.raises(StorageError) as caught:
            write(out / name)
        in_three_parts(caught.value, name)
        assert list(out.iterdir()) == [], name
        free()
        write(out / name)
        assert [path.name for path in out.iterdir()] == [name]
        (out / name).unlink()
    with pytest.raises(StorageError) as caught:
        _write_twice(run, fill)
    in_three_parts(caught.value, "to resume")
    assert not hidden(run.path)
    with pytest.raises(StorageError):
        audit.append(root, {"action": "x", "long": "y" * 20_000})
    free()
    assert run.artifact("state.bin").read_bytes() == b"old"
    with run:
        with run.write("state.bin") as path:
            path.write_bytes(b"new")
        run.finish()
    assert Run(run.path).finished
    assert not hidden(root)
    audit.verify(root, heads=Run.heads(root)).require_whole()


def _write_twice(run: Run, fill: Callable[[], object]) -> None:
    with run:
        with run.write("state.bin") as path:
            path.write_bytes(b"old")
        fill()
        with run.write("state.bin") as path:
            path.write_bytes(bytes(200_000))


@pytest.mark.slow
@on_posix
def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "lab")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.stdout.endswith("went on\n"), done.stdout + done.stderr


class Disk:
    """A small file system in memory."""

    def __init__(self, place: Path) -> None:
        self.place, self.filler = place, place / "filler"

    def fill(self, leave: int = 0) -> None:
        """Leaves about so many bytes free."""
        with contextlib.suppress(OSError), self.filler.open("wb") as file:
            while file.write(bytes(1 << 20)):
                file.flush()
        with self.filler.open("r+b") as file:
            file.truncate(max(0, self.filler.stat().st_size - leave))

    def free(self) -> None:
        self.filler.unlink(missing_ok=True)


def mounted(place: Path, options: str) -> None:
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("this user may not mount")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    if sys.platform != "linux" or shutil.which("mount") is None:
        pytest.skip("no tmpfs")
    place = tmp_path / "disk"
    place.mkdir()
    mounted(place, "size=256m")
    try:
        yield Disk(place)
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
def test_every_writer_on_a_full_disk(disk: Disk) -> None:
    fails_and_goes_on(disk.place / "lab", lambda: disk.fill(16_384), disk.free)


@pytest.mark.weights
@pytest.mark.slow
def test_train_swap_and_export_on_a_full_disk_go_on_when_there_is_room(
    disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = disk.place / "lab"
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    hero, double = Actor(7), Actor(21)
    take = double.perform("speech", seconds=0.2, size=160, seed=3)

    def broken(work: Callable[[], object], leave: int) -> None:
        disk.fill(leave)
        with pytest.raises(StorageError) as caught:
            work()
        in_three_parts(caught.value, "No space left", "free some space")
        assert not hidden(root)
        for run in Run.find(root):
            for name in run.artifacts():
                run.artifact(name)
        disk.free()

    def trained() -> Run:
        return train(recipes.smoke(), source=hero, target=double, device="cpu")

    def swapped() -> Run:
        recipe = recipes.SwapRecipe(num_source_frames=1)
        return swap(take, source=hero, swapper=trained(), recipe=recipe, device="cpu")

    broken(trained, 0)
    broken(trained, 2_000_000)
    (begun,) = Run.find(root)
    assert not begun.finished
    assert trained().id == begun.id
    broken(swapped, 30_000)
    result = swapped()
    assert [run.verb for run in Run.find(root)] == ["swap", "train"]
    out = disk.place / "out" / "swap.mp4"
    broken(lambda: result.export(out), 0)
    assert not out.exists()
    disk.fill()
    assert command_line.main(["actors", "show", "7", "-o", str(disk.place / "out" / "hero.png")]) == 1
    assert "No space left" in capsys.readouterr().err
    disk.free()
    assert read_mark(result.export(out))
    audit.verify(root, heads=Run.heads(root)).require_whole()


# --- what cannot be written -------------------------------------------------------------------------------------------------


def test_a_root_below_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "file" / "lab"))
    for work in (lambda root: Run.start(root, "train", "{}", {}), lambda root: audit.append(root, {"action": "x"})):
        with pytest.raises(StorageError) as caught:
            work(tmp_path / "file" / "lab")
        in_three_parts(caught.value, "Not a directory", "FACESWAP_LAB_ROOT")
    assert command_line.main(["train", "--source", "actor:7", "--target", "actor:21", "--recipe", str(tmp_path / "none.json")]) == 1
    said = capsys.readouterr().err
    assert "none.json" in said
    assert "check the path" in said


def test_a_read_only_disk(disk: Disk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = disk.place / "lab"
    run = Run.start(root, "train", "{}", {})
    subprocess.run(["mount", "-o", "remount,ro", str(disk.place)], check=True)
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    for work in (
        lambda: Run.start(root, "swap", "{}", {}),
        lambda: Run(run.path).__enter__(),
        lambda: audit.append(root, {"action": "x"}),
        lambda: write_still(root / "a.png", numbered(1)),
        lambda: encode(root / "a.mp4", frames(3), fps=25),
        lambda: catalogue.write(root / "weights" / "a.onnx", b"x"),
    ):
        with pytest.raises(StorageError) as caught:
            work()
        in_three_parts(caught.value, "Read-only", "give this user write access")
    assert command_line.main(["audit", "verify"]) == 0, "what only reads, works"
    assert command_line.main(["runs", "list"]) == 0
    assert run.id in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a folder that not even root can write to")
def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    gone = ("XDG_CACHE_HOME", "FACESWAP_LAB_CACHE", "FACESWAP_LAB_WEIGHTS")
    environment = {name: value for name, value in os.environ.items() if name not in gone}
    environment |= {"HOME": "/proc/nobody", "FACESWAP_LAB_ROOT": str(tmp_path)}
    command = [sys.executable, "-m", "faceswap_lab", "actors", "show", "7", "-o", str(tmp_path / "a.png")]

    def shown(**more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment | more)

    refused = shown()
    assert refused.returncode == 1, refused.stderr
    assert "Traceback" not in refused.stderr
    assert "/proc/nobody" in refused.stderr
    assert "FACESWAP_LAB_CACHE" in refused.stderr
    assert not (tmp_path / "a.png").exists()
    done = shown(FACESWAP_LAB_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.png").exists()


# --- paths that programs trip over ------------------------------------------------------------------------------------------

ODD = f"two words, grüße {unicodedata.normalize('NFD', 'café')} 音 'quoted' 100%d #1"


def long_folder(folder: Path, length: int = 250) -> Path:
    while len(str(folder)) < length - 60:
        folder = folder / ("d" * 50)
    return folder / ("e" * (length - len(str(folder)) - 1))


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("kind", ["odd", "long"])
def test_everything_works_in_an_odd_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / ODD / "lab" if kind == "odd" else long_folder(tmp_path)
    assert kind == "odd" or len(str(root)) == 250
    weights = root / "cache" / "weights"
    shutil.copytree(catalogue.weights_folder(), weights)
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(weights))
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    assert command_line.main(["models", "fetch"]) == 0
    hero, double = Actor(7), Actor(21)
    trained = train(recipes.smoke(), source=hero, target=double, device="cpu")
    filmed = root / "films" / "ä b.mp4"
    filmed.parent.mkdir()
    encode(filmed, double.perform("speech", seconds=0.2, size=160, seed=3).frames(), fps=25)
    words = ["swap", "--source", "actor:7", "--target", str(filmed), "--swapper", "warp", "-o", str(root / "out ü" / "é.mp4")]
    words += ["--who", "synthetic:Zoë", "--basis", "synthetic: filmed here"]
    assert command_line.main(words) == 0
    assert read_mark(root / "out ü" / "é.mp4")
    assert trained.finished
    assert command_line.main(["audit", "verify"]) == 0
    assert len(open_clip(root / "out ü" / "é.mp4")) == 5
    assert not hidden(root)
    capsys.readouterr()


@pytest.mark.parametrize("letter", ["a", "ü", "音", unicodedata.normalize("NFD", "é")])
def test_names_as_long_as_systems_take(tmp_path: Path, letter: str) -> None:
    stem = (letter * 255).encode()[: 255 - 4].decode(errors="ignore")
    still, clip = tmp_path / f"{stem}.png", tmp_path / f"{stem}.mp4"
    write_still(still, numbered(3))
    assert np.array_equal(read_still(still), numbered(3))
    encode(clip, frames(3), fps=25)
    assert sorted(tmp_path.iterdir()) == sorted([still, clip])
    killed = written_whole(still)
    left = killed.__enter__()
    left.write_bytes(b"half")
    assert len(left.name.encode()) <= 255
    assert hidden_beside(still, "0" * 16) != hidden_beside(still, "1" * 16)
    remove_leftovers(still)
    assert list(tmp_path.iterdir()) == [clip]
    killed.gen.close()
