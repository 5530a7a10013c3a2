"""Parts of a swap are made in any order, by one function, and missing ones are known also where there are gaps."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.models.swappers.warp import WarpSwapper
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap import one as one_swap
from faceswap_lab.verbs.swap import parts
from faceswap_lab.verbs.swap import swap as swapping
from faceswap_lab.verbs.swap.parts import Form, Part, Work, adopt, kept, make_part, missing, noted, recorded
from faceswap_lab.verbs.swap.result import RESULT


def part(first: int, stop: int) -> Part:
    count = stop - first
    return Part(
        name=parts.name_of(first, ".mkv"), first=first, times_s=(0.0,) * count, num_faces=(1,) * count, num_left=(0,) * count
    )


@given(
    cuts=st.lists(st.integers(0, 60), unique=True, max_size=8),
    num_frames=st.integers(1, 70),
    part_frames=st.integers(1, 20),
)
def test_parts_and_what_is_missing_cover_each_frame_once(cuts: list[int], num_frames: int, part_frames: int) -> None:
    edges = [cut for cut in sorted(cuts) if cut <= num_frames]
    there = [part(first, stop) for first, stop in zip(edges[::2], edges[1::2], strict=False)]
    gone = missing(there, num_frames, part_frames=part_frames)
    frames = [number for each in there for number in range(each.first, each.stop)] + [number for each in gone for number in each]
    assert sorted(frames) == list(range(num_frames))
    assert all(0 < len(each) <= part_frames for each in gone)


def written(run: Run, *given: Part) -> None:
    for each in given:
        with run.write(each.name) as path:
            path.write_text(f"{each.first} to {each.stop}")
            parts.note(run, each)


def spans(found: Sequence[Part]) -> list[tuple[int, int]]:
    return [(each.first, each.stop) for each in found]


def test_parts_are_kept_with_gaps_between_them(tmp_path: Path) -> None:
    with Run.start(tmp_path, "note", "{}", {}) as run:
        written(run, part(12, 18), part(0, 6), part(24, 30))
        assert spans(kept(run)) == [(0, 6), (12, 18), (24, 30)]
        assert spans(recorded(run)) == [(0, 6)], "what a result is made of has no gap"
        assert missing(kept(run), 32, part_frames=4) == [range(6, 10), range(10, 12), range(18, 22), range(22, 24), range(30, 32)]
        written(run, part(6, 12), part(18, 24), part(30, 32))
        assert spans(recorded(run)) == spans(kept(run)) == [(0, 6), (6, 12), (12, 18), (18, 24), (24, 30), (30, 32)]


def test_a_part_that_is_gone_is_made_again_in_other_lengths(tmp_path: Path) -> None:
    with Run.start(tmp_path, "note", "{}", {}) as run:
        written(run, part(0, 12), part(12, 24))
        (run.path / "artifacts" / parts.name_of(0, ".mkv")).unlink()
        assert missing(kept(run), 24, part_frames=8) == [range(8), range(8, 12)]
        written(run, part(0, 8), part(8, 12))
        assert spans(recorded(run)) == spans(kept(run)) == [(0, 8), (8, 12), (12, 24)]


# --- one part by itself -------------------------------------------------------------------------------------------------------


RECIPE = SwapRecipe(stream=StreamConfig(batch=2), num_source_frames=1)


def take() -> Take:
    return Actor(21).perform("speech", seconds=0.4, size=128, seed=3)


def codes_of(source: Actor) -> Any:
    swapper = WarpSwapper()
    return swapper.encode([one_swap._known(source, swapper, OfflineEngine(), RECIPE.num_source_frames)])


def work(codes: Any) -> Work:
    return Work(
        target=take(),
        engine=OfflineEngine(),
        swapper=WarpSwapper(),
        codes=codes,
        config=RECIPE.stream,
        device=torch.device("cpu"),
        corrections=Corrections(),
    )


@pytest.mark.parametrize("frames", [range(1, 4), range(0, 8, 2), range(4, 4)])
def test_a_part_begins_with_a_batch(frames: range, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="begins with a batch"):
        make_part(tmp_path / "part.mkv", work(codes=None), Form(result=RESULT, fps=25, size=(128, 128), mark={}), frames)


@pytest.mark.slow
@pytest.mark.weights
def test_parts_made_in_any_order_are_the_run_to_the_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_swap, "PART_FRAMES", 4)
    result: dict[str, bytes] = {}
    for name in ("inline", "parts"):
        monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / name))
        with monkeypatch.context() as patch:
            if name == "parts":
                patch.setattr(one_swap, "_go_on", in_reverse)
            run = swapping.swap(take(), source=Actor(7), swapper="warp", recipe=RECIPE, device="cpu")
        result[name] = run.artifact(RESULT).read_bytes()
        assert run.summary["num_frames"] == 10
    assert result["inline"] == result["parts"]


def in_reverse(run: Run, _: Work, form: Form, done: list[Part], num_frames: int) -> list[Part]:
    """As workers would: each part with networks of its own, beside the run, then adopted; its facts have been pickled."""
    codes = codes_of(Actor(7))
    for frames in reversed(missing(done, num_frames, part_frames=4)):
        path = run.path / f"worker-{frames.start}.mkv"
        adopt(run, pickle.loads(pickle.dumps(make_part(path, work(codes), form, frames))), path)
        assert not path.exists()
    assert spans(noted(run)) == [(0, 4), (4, 8), (8, 10)]
    return kept(run)


@pytest.mark.slow
@pytest.mark.weights
def test_a_part_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> Any:
        yield from frames[:3]
        raise RuntimeError("the lamp went out")

    made, form = work(codes_of(Actor(7))), Form(result=RESULT, fps=25, size=(128, 128), mark={})
    frames = list(made.stream(range(4), {}))
    monkeypatch.setattr(parts, "swap_frames", failing)
    with pytest.raises(RuntimeError, match="lamp"):
        make_part(tmp_path / "part.mkv", made, form, range(4))
    assert not list(tmp_path.iterdir())
