"""Verbs on a cluster: the same bytes as in this process, checked again on the worker, and nothing lost when one dies."""

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import torch

from faceswap_lab import threads
from faceswap_lab.actors.cast import Actor
from faceswap_lab.compute.cluster import Cluster, cluster
from faceswap_lab.errors import ConsentError, FaceError, RunError
from faceswap_lab.faces import video
from faceswap_lab.models.training.team import Parallel
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent import withdraw
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.gather.gather import gather
from faceswap_lab.verbs.people import admit
from faceswap_lab.verbs.render.render import render
from faceswap_lab.verbs.shard_sets import shards
from faceswap_lab.verbs.swap import one, spread
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train.ranks import GangTraining
from faceswap_lab.verbs.train.train import train

pytestmark = [pytest.mark.slow, pytest.mark.weights]

SMOKE = recipes.smoke()
FP32 = replace(SMOKE, train=replace(SMOKE.train, precision="fp32"))


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    """Workers that were started elsewhere: nothing of the labs below is in their environment."""
    with cluster("local", workers=2) as made:
        yield made


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    def made() -> Path:
        root = tmp_path_factory.mktemp("lab")
        (root / "data_manifests").mkdir()
        return root

    return made


@pytest.fixture
def within(labs: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """Makes a new lab and works in it."""

    def enter() -> Path:
        root = labs()
        monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
        return root

    return enter


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """As many threads in this process as a rank that is alone on its machine has: sums depend on it in their last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, int(threads.cores())))
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one, "PART_FRAMES", 8)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that shows an actor: to the lab it is a person like any other."""
    path = tmp_path_factory.mktemp("clip") / "jane.mp4"
    take = Actor(32).perform("speech", seconds=0.8, size=160)
    video.encode(path, take.frames(), fps=take.fps, size=take.size)
    return path


def jane(path: Path) -> Any:
    return admit(path, who="Jane Doe", basis="consent: form signed on 3 May 2026", uses=["anonymise", "evaluate", "train"])


# --- the same as in this process ----------------------------------------------------------------------------------------------


def test_a_swap_of_a_file_and_its_scores_have_the_bytes_of_this_process(
    two: Cluster, within: Callable[[], Path], clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made, scored = [], []
    for compute in (None, two):
        root = within()
        run = swap(jane(clip), source=Actor(7), compute=compute)
        scores = evaluate(run, compute=compute)
        made.append((run.id, run.record.artifacts, {name: run.summary[name] for name in ("num_faces", "num_frames", "followed")}))
        scored.append(scores.record.artifacts)
        assert not (run.path / spread.FOLDER).exists()
        audit.verify(root, heads=Run.heads(root)).require_whole()
    assert made[0] == made[1]
    assert scored[0] == scored[1]


def test_training_with_one_rank_has_the_bits_of_this_process_and_two_are_close(two: Cluster, within: Callable[[], Path]) -> None:
    runs = {}
    for name, more in {"alone": {}, "one": {"ranks": 1}, "two": {"ranks": 2}}.items():
        within()
        compute = two if more else None
        runs[name] = train(FP32, source=Actor(7), target=Actor(32), compute=compute, parallel=Parallel(**more))
    curves = {name: [event["losses"]["loss"] for event in run.events("step")] for name, run in runs.items()}
    weights = {name: run.record.artifacts["pair.safetensors"] for name, run in runs.items()}
    assert len({run.id for run in runs.values()}) == 1
    assert curves["one"] == curves["alone"]
    assert weights["one"] == weights["alone"]
    assert curves["two"] == pytest.approx(curves["alone"], rel=1e-4)
    assert runs["two"].events("gang")[-1]["ranks"] == 2
    assert {"logs/rank-0.log", "logs/rank-1.log"} <= runs["two"].artifacts().keys()


def test_training_is_gone_on_with_by_another_number_of_ranks(
    two: Cluster, within: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two ranks until a checkpoint, then this process, then one rank; to the bit where one process does it all."""
    within()
    real = GangTraining._take_over

    def stop_after(self: GangTraining, path: Path, sha256: str, step: int) -> None:
        real(self, path, sha256, step)
        signal.raise_signal(signal.SIGINT)

    recipe = replace(FP32, train=replace(FP32.train, steps=9))
    with monkeypatch.context() as patch:
        patch.setattr(GangTraining, "_take_over", stop_after)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, source=Actor(7), target=Actor(32), compute=two, parallel=Parallel(ranks=2))
    [broken] = Run.find(verb="train")
    assert not broken.finished
    assert broken.has("checkpoint.pt")
    run = train(recipe, source=Actor(7), target=Actor(32), compute=two, parallel=Parallel(ranks=1))
    assert run.id == broken.id
    within()
    whole = train(recipe, source=Actor(7), target=Actor(32))
    steps, ours = ({e["step"]: e["losses"]["loss"] for e in each.events("step", unique="step")} for each in (whole, run))
    assert ours[9] == pytest.approx(steps[9], rel=1e-4)


def test_training_on_a_rendered_data_set_is_the_same_on_ranks_that_read_it_themselves(
    two: Cluster, within: Callable[[], Path]
) -> None:
    within()
    made = render(recipes.RenderRecipe(first=7, num_actors=2, num_views=6, size=128, recast=True, shard_size=4))
    data = shards(made)
    recipe = replace(FP32, train=replace(FP32.train, steps=4))
    alone = train(recipe, source=Actor(7), target=Actor(8), data=data)
    curves = [[event["losses"]["loss"] for event in alone.events("step")]]
    assert not alone.has("crops.safetensors")
    for ranks in (1, 2):
        run = train(recipe, source=Actor(7), target=Actor(8), data=data, compute=two, parallel=Parallel(ranks=ranks), force=True)
        assert run.key == alone.key
        assert run.summary["num_pictures"] == [6, 6]
        curves.append([event["losses"]["loss"] for event in run.events("step")])
    assert curves[1] == curves[0]
    assert curves[2] == pytest.approx(curves[0], rel=1e-4)
    assert train(recipe, source=Actor(7), target=Actor(8)).key != alone.key
    with pytest.raises(ValueError, match="actors 7 to 8, not actor:32"):
        train(recipe, source=Actor(7), target=Actor(32), data=data)
    with pytest.raises(ValueError, match="accumulate=2"):
        train(recipe, source=Actor(7), target=Actor(8), data=data, parallel=Parallel(accumulate=2), force=True)


def test_a_faceset_is_the_same(two: Cluster, within: Callable[[], Path], clip: Path) -> None:
    made = []
    for compute in (None, two):
        within()
        recipe = recipes.FacesetRecipe(name="jane", every_s=0.1, min_side=20, min_sharpness=0.0, same_person=0.2)
        run = gather(recipe, clip, who="Jane Doe", basis="consent: signed 3 May 2026", compute=compute)
        made.append((run.id, run.record.artifacts))
    assert made[0] == made[1]


# --- what may be done is asked again on the worker ----------------------------------------------------------------------------


def test_a_worker_refuses_a_swap_whose_consent_was_withdrawn(
    two: Cluster, within: Callable[[], Path], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = within()
    shown, real = jane(clip), one.spread_parts

    def after_withdrawal(*given: Any) -> Any:
        withdraw.withdraw(root, "Jane Doe", today=date(2026, 6, 1))
        return real(*given)

    monkeypatch.setattr(one, "spread_parts", after_withdrawal)
    with pytest.raises(ConsentError):
        swap(shown, source=Actor(7), compute=two)
    [run] = Run.find(root)
    assert not run.artifacts()


def test_a_worker_refuses_a_record_that_was_changed(
    two: Cluster, within: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = within()
    real = one.spread_parts

    def after_change(run: Run, *given: Any) -> Any:
        path = run.path / "run.json"
        path.write_text(path.read_text().replace('{"actor":7}', '{"actor":8}').replace('{\\"actor\\": 7}', '{\\"actor\\": 8}'))
        return real(run, *given)

    monkeypatch.setattr(one, "spread_parts", after_change)
    with pytest.raises(RunError, match="those of its key"):
        swap(Actor(32).perform("speech", seconds=0.4, size=128), source=Actor(7), compute=two)
    assert Run.find(root, finished=True) == []


# --- several ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spread_out", [False, True])
def test_one_bad_footage_fails_alone_and_says_why(two: Cluster, within: Callable[[], Path], clip: Path, spread_out: bool) -> None:
    root = within()
    empty = root / "empty.mp4"
    video.encode(empty, (replace(frame, image=frame.image // 64) for frame in jane(clip).frames(0, 4)), fps=25, size=(160, 160))
    takes = [Actor(32).perform("speech", seconds=0.2, size=128, seed=seed) for seed in (1, 2)]
    targets = [takes[0], admit(empty, who="Nobody", basis="consent: test", uses=["anonymise"]), takes[1]]
    with pytest.raises(FaceError, match=r"got 2; empty\.mp4: none in any of its 4 frames") as caught:
        swap(targets, source=Actor(7), compute=two if spread_out else None)
    assert "the others are finished" in caught.value.remedy
    assert len(Run.find(verb="swap", finished=True)) == 2
    runs = swap(takes, source=Actor(7), compute=two if spread_out else None)
    assert [run.summary["target"] for run in runs] == ["actor:32", "actor:32"]
    assert len(Run.find(verb="swap", finished=True)) == 2, "they were returned, not made again"


# --- deaths -----------------------------------------------------------------------------------------------------------------


def test_a_worker_killed_in_a_swap_costs_its_part_and_nothing_is_made_twice(
    two: Cluster, within: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    take = Actor(32).perform("speech", seconds=1.3, size=128)
    within()
    whole = swap(take, source=Actor(7))
    within()
    real, killed = spread.adopt, []

    def kill_after_first(*given: Any) -> None:
        real(*given)
        if not killed:
            killed.append(two.workers()[0].pid)
            os.kill(killed[0], signal.SIGKILL)

    monkeypatch.setattr(spread, "adopt", kill_after_first)
    run = swap(take, source=Actor(7), compute=two)
    assert killed
    assert run.record.artifacts == whole.record.artifacts
    parts = [event["name"] for event in run.events("part")]
    assert len(parts) == len(set(parts))


def test_an_interrupted_swap_is_gone_on_with_in_this_process(
    two: Cluster, within: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    take = Actor(32).perform("speech", seconds=1.3, size=128)
    within()
    whole = swap(take, source=Actor(7))
    within()
    real = spread.adopt

    def interrupt_after_first(*given: Any) -> None:
        real(*given)
        signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(spread, "adopt", interrupt_after_first)
        with pytest.raises(KeyboardInterrupt):
            swap(take, source=Actor(7), compute=two)
    assert "keeps 8 frames: repeat the call to resume" in capsys.readouterr().err
    run = swap(take, source=Actor(7))
    assert run.record.artifacts == whole.record.artifacts


def test_a_rank_killed_in_training_is_started_again_from_the_checkpoint(
    two: Cluster, within: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Enough steps that the ranks are still at work when this process, on a busy machine, hears of the first checkpoint.
    recipe = replace(FP32, train=replace(FP32.train, steps=60))
    within()
    whole = train(recipe, source=Actor(7), target=Actor(32), compute=two, parallel=Parallel(ranks=2))
    within()
    real, killed = GangTraining._take_over, []

    def kill_after_first(self: GangTraining, path: Path, sha256: str, step: int) -> None:
        real(self, path, sha256, step)
        if not killed:
            killed.append(step)
            [*_, last] = sorted(int(pid.name) for pid in Path("/proc").iterdir() if pid.name.isdecimal() and _is_rank(pid))
            os.kill(last, signal.SIGKILL)

    monkeypatch.setattr(GangTraining, "_take_over", kill_after_first)
    run = train(recipe, source=Actor(7), target=Actor(32), compute=two, parallel=Parallel(ranks=2))
    assert run.events("rank_died")
    assert run.record.artifacts["pair.safetensors"] == whole.record.artifacts["pair.safetensors"], "to the bit"


def _is_rank(process: Path) -> bool:
    try:
        words = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"faceswap_lab.compute.rank" in words
