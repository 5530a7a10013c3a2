"""A swap that is stopped, by an error, an interrupt or kill -9, goes on to the same frames; its parts are joined to the bit."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.errors import MediaError, RunError
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.join import join
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.evaluate.evaluate import PER_FRAME, evaluate
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap import one as one_swap
from faceswap_lab.verbs.swap import parts
from faceswap_lab.verbs.swap import swap as swapping
from faceswap_lab.verbs.swap.result import RESULT
from tests.media import open_clip

noise = np.random.default_rng(4)


def pictures(times: list[float]) -> list[Frame]:
    return [
        Frame(image=noise.integers(0, 256, (34, 50, 3), dtype=np.uint8), origin="test:noise", index=i, time_s=time_s)
        for i, time_s in enumerate(times)
    ]


def read(path: Path) -> Clip:
    return open_clip(path)


# --- joining ----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("fps", [25.0, 23.976, 30000 / 1001, 60.0])
@pytest.mark.parametrize("cuts", [[0, 12, 24, 31], [0, 31], [0, 1, 30, 31]])
def test_joined_parts_are_to_the_bit_what_one_file_is(fps: float, cuts: list[int], tmp_path: Path) -> None:
    frames = pictures([0.5 + number / fps for number in range(31)])
    whole = read(video.encode(tmp_path / "whole.mkv", frames, fps=fps, lossless=True))
    made = [video.encode(tmp_path / f"{a}.mkv", frames[a:b], fps=fps, lossless=True) for a, b in pairwise(cuts)]
    joined = read(join(tmp_path / "joined.mkv", made, [frame.time_s for frame in frames]))
    assert len(joined) == 31
    assert joined.fps == pytest.approx(whole.fps, rel=1e-6)
    for one, other, given in zip(joined.frames(), whole.frames(), frames, strict=True):
        np.testing.assert_array_equal(one.image, given.image)
        assert one.time_s == other.time_s
        assert one.colour == other.colour
    assert np.array_equal(joined[17].image, frames[17].image), "found by seeking too"


@pytest.mark.parametrize("fps", [1.0, 25.0])
def test_one_frame_can_be_joined(fps: float, tmp_path: Path) -> None:
    """A still: its file says how long it lasts by its rate alone."""
    (frame,) = frames = pictures([0.0])
    part = video.encode(tmp_path / "part.mkv", frames, fps=fps, lossless=True)
    joined = read(join(tmp_path / "joined.mkv", [part], [0.0]))
    assert joined.fps == read(part).fps
    np.testing.assert_array_equal(joined[0].image, frame.image)


def test_variable_times_are_kept(tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.11, 0.3, 0.9, 0.933, 1.0]
    frames = pictures(times)
    made = [video.encode(tmp_path / f"{a}.mkv", frames[a : a + 3], fps=25, lossless=True) for a in (0, 3, 6)]
    joined = read(join(tmp_path / "joined.mkv", made, times))
    assert [frame.time_s for frame in joined.frames()] == pytest.approx(times, abs=0.0006)


def test_parts_that_do_not_fit_their_times_are_refused(tmp_path: Path) -> None:
    frames = pictures([0.0, 0.04, 0.08])
    part = video.encode(tmp_path / "part.mkv", frames, fps=25, lossless=True)
    for times in ([0.0, 0.04], [0.0, 0.08, 0.04], []):
        with pytest.raises(ValueError, match="times"):
            join(tmp_path / "joined.mkv", [part], times)
    with pytest.raises(ValueError, match="parts"):
        join(tmp_path / "joined.mkv", [], [0.0])
    with pytest.raises(MediaError, match="4 frames in 1 parts"):
        join(tmp_path / "joined.mkv", [part], [0.0, 0.04, 0.08, 0.12])
    assert [path.name for path in tmp_path.iterdir()] == ["part.mkv"]


# --- stopping and going on ----------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    monkeypatch.setattr(one_swap, "PART_FRAMES", 6)
    return tmp_path


def take() -> Take:
    return Actor(21).perform("speech", seconds=0.8, size=128, seed=3)


RECIPE = SwapRecipe(stream=StreamConfig(batch=3), num_source_frames=1)


def swap(**options: Any) -> Run:
    return swapping.swap(take(), source=Actor(7), swapper="warp", recipe=RECIPE, device="cpu", **options)


def images(run: Run) -> list[np.ndarray]:
    return [frame.image for frame in run.footage().frames()]


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.parametrize("error", [KeyboardInterrupt(), MemoryError("too much")])
def test_a_stopped_swap_keeps_its_batches_and_goes_on(error: BaseException, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = swap()
    frames, asked = Take.frames, []

    def stopping(self: Take, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        asked.append(start)
        for frame in frames(self, start, stop):
            if len(self) == 20 and frame.index == 11:
                raise error
            yield frame

    with monkeypatch.context() as patch:
        patch.setattr(Take, "frames", stopping)
        # A lack of memory is told with the picture's size.
        with pytest.raises(MediaError if isinstance(error, MemoryError) else type(error)) as raised:
            swap(force=True)
    assert error in (raised.value, raised.value.__cause__)
    (broken,) = Run.find(root, verb="swap", finished=False)
    assert [(part.first, part.stop) for part in parts.kept(broken)] == [(0, 6), (6, 9)], "frame 11 was in the batch from 9"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "start", classmethod(lambda *_, **__: Run.open(broken.id)))
        resumed = swap()
    assert resumed.id == broken.id
    assert all(np.array_equal(a, b) for a, b in zip(images(resumed), images(unbroken), strict=True))
    told = {"frames_per_s", "seconds", "stage_seconds"}
    assert {k: v for k, v in resumed.summary.items() if k not in told} == {
        k: v for k, v in unbroken.summary.items() if k not in told
    }
    assert list(resumed.artifacts()) == list(unbroken.artifacts()) == [RESULT], "the parts' space is given back"


@pytest.mark.weights
@pytest.mark.slow
def test_what_is_done_is_not_done_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped between the last part and the result: nothing is rendered, found or swapped any more."""
    with monkeypatch.context() as patch:
        patch.setattr(one_swap, "join_parts", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            swap()
    with monkeypatch.context() as patch:
        patch.setattr(parts, "swap_frames", None)
        run = swap()
    assert run.summary["num_frames"] == len(images(run)) == 20


@pytest.mark.weights
@pytest.mark.slow
def test_an_altered_part_is_not_built_upon(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(one_swap, "join_parts", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            swap()
    (broken,) = Run.find(root, verb="swap")
    part = broken.path / "artifacts" / parts.kept(broken)[1].name
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    with pytest.raises(RunError, match="another SHA-256"):
        swap()
    part.unlink()
    run = swap()
    assert run.finished
    assert len(images(run)) == 20


@pytest.mark.weights
@pytest.mark.slow
def test_a_preview_is_a_run_of_its_own_that_can_be_scored(root: Path) -> None:
    whole = swap()
    recipe = SwapRecipe(stream=RECIPE.stream, num_source_frames=1, preview=4)
    preview = swapping.swap(take(), source=Actor(7), swapper="warp", recipe=recipe, device="cpu")
    assert preview.id != whole.id
    assert preview.summary["num_frames"] == 4
    for one, other in zip(images(preview), images(whole)[:4], strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    scored = evaluate(preview, truth=take().recast(Actor(7)))
    assert len(json.loads(scored.artifact(PER_FRAME).read_text())) == 4


CHILD = """
import sys, time
from pathlib import Path
from faceswap_lab.actors.cast import Take
from faceswap_lab.verbs.swap import one
frames = Take.frames
def held(self, *where):
    for frame in frames(self, *where):
        while self.actor.seed == 21 and frame.index >= 15 and not Path(sys.argv[1]).exists():
            time.sleep(0.02)
        yield frame
Take.frames = held
from tests.test_resume import swap
one.PART_FRAMES = 6
swap()
"""
"""Reads no frame from the 16th on before there is the file that it is given: it can't end before it is stopped."""


@pytest.mark.weights
@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_swap_goes_on_to_the_same_frames(number: int, root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FACESWAP_LAB_ROOT": str(root)}
    stopped = tmp_path / "stopped"
    with subprocess.Popen([sys.executable, "-c", CHILD, str(stopped)], env=environment, cwd=Path(__file__).parents[1]) as child:
        while child.poll() is None and len(list(root.glob("runs/*/artifacts/parts/[0-9]*.mkv"))) < 2:
            time.sleep(0.02)
        child.send_signal(number)
        stopped.touch()  # an interrupted swap waits for the thread that reads
    assert child.returncode != 0, "it was stopped before its end"
    (broken,) = Run.find(root, verb="swap")
    assert not broken.finished
    before = parts.kept(broken)[-1].stop
    assert 6 <= before < 20
    resumed = swap()
    assert resumed.id == broken.id
    left = [path.name for path in resumed.path.rglob(".*") if path.is_file()]
    assert not left
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "other"))
    unbroken = swap()
    for one, other in zip(resumed.footage().frames(), unbroken.footage().frames(), strict=True):
        np.testing.assert_array_equal(one.image, other.image)
        assert one.time_s == other.time_s
