"""The verbs end to end on actors, small: what they make, that they can be asked again, stopped and refused."""

import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, RunError
from faceswap_lab.faces import video
from faceswap_lab.faces.frame import read_still
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.models.training.loop import Step
from faceswap_lab.runs.recipe import from_json
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent import manifest
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs import people, recipes
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train import crops, material
from faceswap_lab.verbs.train import train as train_module
from faceswap_lab.verbs.train.train import train
from faceswap_lab.views.report.runs import report

pytestmark = [pytest.mark.weights, pytest.mark.slow]

HERO, DOUBLE = Actor(7), Actor(21)
MANIFESTS = Path(__file__).parent.parent / "data_manifests"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "data_manifests").mkdir()
    for path in MANIFESTS.glob("astronaut.*"):
        (folder / "data_manifests" / path.name).write_bytes(path.read_bytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESWAP_LAB_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def trained(root: Path) -> Run:
    return train(recipes.smoke(), source=HERO, target=DOUBLE, device="cpu")


@pytest.fixture(scope="module")
def result(trained: Run) -> Run:
    take = DOUBLE.perform("speech", seconds=0.2, size=160, seed=3)
    return swap(take, source=HERO, swapper=trained, device="cpu")


def numbers_in(value: object) -> int:
    """The longest list of numbers, or of lists of numbers, in an event."""
    if isinstance(value, dict):
        return max(map(numbers_in, value.values()), default=0)
    if isinstance(value, list):
        return max(len(value) if value and isinstance(value[0], float) else 0, *map(numbers_in, value), 0)
    return 0


def test_events_of_a_swap_hold_no_points_boxes_or_embeddings_of_faces(result: Run) -> None:
    """Biometric data would stay there unread. What is measured for each frame are its time and its number of faces."""
    events = list(result.events())
    assert {event["kind"] for event in events} <= {"opened", "device", "part", "artifact", "swapped", "finished"}
    lists = [name for event in events for name, value in event.items() if numbers_in(value)]
    assert set(lists) <= {"times_s"}


@pytest.mark.insight
@pytest.mark.skipif(find_spec("insightface") is None, reason="needs insightface: make setup")
def test_another_engine_than_the_trainings_is_told(trained: Run, result: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert not result.events("warning")
    take = DOUBLE.perform("speech", seconds=0.08, size=160, seed=3)
    told = swap(take, source=HERO, swapper=trained, recipe=recipes.SwapRecipe(engine="insight:actors_s"), device="cpu")
    (warning,) = told.events("warning")
    assert trained.id in warning["text"]
    assert warning["text"] in capsys.readouterr().err


def test_an_identical_call_returns_its_run_and_again_makes_another(trained: Run) -> None:
    assert train(recipes.smoke(), source=HERO, target=DOUBLE, device="cpu") == trained
    assert trained.summary["supervision"] == "from truth"
    other = train(recipes.smoke(), source=HERO, target=DOUBLE, device="cpu", force=True)
    assert other.id != trained.id
    first, second = (run.swapper(torch.device("cpu"))._net.state_dict() for run in (trained, other))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_interrupted_training_goes_on_to_the_same_weights(trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(recipes.smoke(), checkpoint_every=2)
    whole = train(recipe, source=HERO, target=DOUBLE, device="cpu")
    steps = material.train_pair

    def stopped(*args: object) -> Iterator[Step]:
        for step in steps(*args):  # type: ignore[arg-type]
            yield step
            if step.number == 4:
                raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(material, "train_pair", stopped)
        with pytest.raises(KeyboardInterrupt):
            train(recipe, source=HERO, target=DOUBLE, device="cpu", force=True)
    (unfinished,) = Run.find(verb="train", finished=False)
    resumed = train(recipe, source=HERO, target=DOUBLE, device="cpu", force=False)
    assert resumed == whole, "the finished one is the answer to the plain call"
    with monkeypatch.context() as patch:
        patch.setattr(Run, "start", classmethod(lambda *_, **__: Run.open(unfinished.id)))
        resumed = train(recipe, source=HERO, target=DOUBLE, device="cpu")
    assert resumed.id == unfinished.id
    assert resumed.events("resumed")[-1]["step"] == 4
    first, second = (run.swapper(torch.device("cpu"))._net.state_dict() for run in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_people_without_truth_are_trained_without(root: Path) -> None:
    recipe = replace(recipes.smoke(), supervision="none")
    run = train(recipe, source=HERO, target=DOUBLE, device="cpu")
    assert run.summary["supervision"] == "without truth"
    config = run.swapper(torch.device("cpu"))._net.config
    assert (config.skips, config.normalise) == (False, True)
    portraits = crops.load(run.artifact(train_module.CROPS))
    assert portraits[0].inputs is None
    with pytest.raises(ValueError, match="two actors"):
        crops.supervised(recipes.PairRecipe(supervision="truth"), HERO, DOUBLE.perform("speech"))


def test_footage_trains_without_truth(root: Path, tmp_path: Path) -> None:
    """Clips take the road of real faces: the gate, the detector, the mesh."""
    take = DOUBLE.perform("speech", seconds=0.32, size=160, seed=8)
    path = video.encode(tmp_path / "double.mp4", take.frames(), fps=25)
    clip = people.admit(path, who="synthetic:double", basis="synthetic: an actor filmed here", uses=["train", "anonymise"])
    recipe = replace(recipes.smoke(), data=replace(recipes.smoke().data, num_views=6))
    run = train(recipe, source=HERO, target=clip, device="cpu")
    assert run.summary["supervision"] == "without truth"
    _, seen = crops.load(run.artifact(train_module.CROPS))
    face, focus = seen.self_masks[:, 0].float() / 255, seen.self_masks[:, 1].float() / 255
    assert 0.1 < face.mean() < 0.6
    assert 0.01 < focus.mean() < 0.2
    assert (focus <= face + 1 / 255).all(), "eyes and mouth lie in the face, also of a turned head"


def test_training_crops_show_the_right_person(trained: Run) -> None:
    """A crop's truth is the same crop but for the face: outside the mask they are equal, inside they are not."""
    hero, double = crops.load(trained.artifact(train_module.CROPS))
    for portraits in (hero, double):
        assert portraits.inputs is not None
        assert portraits.targets is not None
        assert portraits.target_masks is not None
        differs = (portraits.inputs.int() - portraits.targets.int()).abs().amax(1).float()
        inside = portraits.target_masks[:, 0] > 250
        outside = portraits.target_masks[:, 0] == 0
        assert differs[inside].mean() > 10 * max(0.2, float(differs[outside].mean()))


def test_a_swap_changes_the_face_and_nothing_else(result: Run) -> None:
    source, target = result.people()
    assert (source, target.subject) == (HERO, DOUBLE.subject)
    shown = result.footage()
    assert len(shown) == len(target) == 5
    for before, after in zip(target.frames(), shown.frames(), strict=True):
        assert after.time_s == pytest.approx(before.time_s, abs=1e-6)
        changed = np.abs(before.image.astype(int) - after.image).max(2) > 0
        assert changed.any()
        assert not changed[:8].any()
        assert not changed[-6:].any()


def test_matched_colours_are_a_run_of_their_own_however_they_are_asked_for(result: Run, trained: Run) -> None:
    _, target = result.people()
    matched = swap(target, source=HERO, swapper=trained, colour="mean", device="cpu")
    assert (result.summary["colour"], matched.summary["colour"]) == ("none", "mean")
    assert set(matched.summary["stage_seconds"]) == {*result.summary["stage_seconds"], "colour"}
    recipe = recipes.SwapRecipe(stream=StreamConfig(colour="mean"))
    assert swap(target, source=HERO, swapper=trained, recipe=recipe, device="cpu") == matched
    assert swap([target], source=HERO, swapper=trained, colour="mean", device="cpu") == [matched]
    one, other = (next(run.footage().frames()).image.astype(int) for run in (result, matched))
    assert np.abs(one - other).max() > 3
    with pytest.raises(RunError, match=r"stream\.colour"):
        from_json(recipes.SwapRecipe, '{"stream": {"colour": "rct"}}')


def test_scores_stand_between_floor_and_ceiling(result: Run) -> None:
    source, target = result.people()
    run = evaluate(result, truth=target.recast(source))
    assert run.scores["ssim_face"]["ceiling"] == pytest.approx(1)
    assert run.scores["psnr_face"]["ceiling"] is None
    assert run.scores["id_nearer_source"]["floor"] <= 0.2 <= run.scores["id_nearer_source"]["ceiling"]
    assert run.scores["landmark_error"]["ceiling"] > 0
    assert run.scores["sharpness"]["ceiling"] == pytest.approx(1)
    assert 0 < run.scores["sharpness"]["value"] < 0.9, "thirty-two pixels and a few seconds make no sharp eyes"
    assert run.scores["spill"]["floor"] == 0
    assert run.scores["spill"]["ceiling"] < 0.2 < run.scores["spill"]["value"], (
        "the truth's specks, and a paste of seconds' training"
    )
    with pytest.raises(ValueError, match="not the truth"):
        evaluate(result, truth=target.recast(Actor(9)))


def test_the_truth_is_rendered_where_it_is_known_or_left_out(result: Run, trained: Run) -> None:
    source, target = result.people()
    given = evaluate(result, truth=target.recast(source))
    assert evaluate(result) == evaluate(result.id) == given, "the same truth, however it is said: the same run"
    assert evaluate(result, tone="target") == evaluate(result, truth=target.recast(source, tone="target")) != given
    alone = evaluate(result, truth=None)
    assert "ssim_face" in given.scores
    assert "ssim_face" not in alone.scores
    with pytest.raises(ValueError, match="tone='target' applies to truth='auto' only"):
        evaluate(result, truth=None, tone="target")
    words = ["evaluate", result.id, "--json"]
    for more, run in (((), given), (("--tone", "target"), evaluate(result, tone="target")), (("--truth", "none"), alone)):
        with redirect_stdout(StringIO()) as out:
            assert command_line.main([*words, *more]) == 0
        assert json.loads(out.getvalue())["run"] == run.id


def test_the_target_itself_scores_the_floor_and_the_truth_the_ceiling(result: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = result.people()
    truth = target.recast(source)
    monkeypatch.setattr(SwapRun, "footage", lambda _: target)
    floor = evaluate(result, truth=truth, force=True).scores
    assert all(score["value"] == pytest.approx(score["floor"]) for score in floor.values())
    monkeypatch.setattr(SwapRun, "footage", lambda _: truth)
    ceiling = evaluate(result, truth=truth, force=True).scores
    assert all(score["value"] == pytest.approx(score["ceiling"]) for name, score in ceiling.items() if name != "psnr_face")


def test_what_leaves_is_marked_and_logged(result: Run, root: Path, tmp_path: Path) -> None:
    clip = result.export(tmp_path / "swap.mp4")
    (mark,) = read_mark(clip) or [{}]
    assert mark["source"]["subject"] == "actor:7"
    assert mark["run"] == result.id
    page = report(result, path=tmp_path / "report.html")
    assert read_mark(page)
    assert audit.verify(root, heads=Run.heads()).whole


def test_a_result_can_be_swapped_again(result: Run) -> None:
    twice = swap(result.footage(), source=Actor(9), swapper="warp", device="cpu")
    assert twice.summary["num_frames"] == 5


def test_a_trained_pair_refuses_strangers(trained: Run, root: Path) -> None:
    with pytest.raises(ConsentError, match="actor:9"):
        swap(DOUBLE.perform("still", seconds=0.04, size=160), source=Actor(9), swapper=trained, device="cpu")
    with pytest.raises(RunError, match="train run"):
        swap(DOUBLE.perform("still", seconds=0.04, size=160), source=HERO, swapper=Run.find(verb="swap")[0], device="cpu")


def test_the_photograph_may_be_anonymised_and_nothing_else(root: Path, tmp_path: Path) -> None:
    photo = people.admit(manifest.locate(root, "package://skimage/data/astronaut.png"))
    run = swap(photo, source=HERO, swapper="warp", device="cpu")
    before, after = photo[0].image, run.footage()[0].image
    changed = np.argwhere(np.abs(before.astype(int) - after).max(2) > 0)
    top, left = changed.min(0)
    bottom, right = changed.max(0)
    assert 30 < bottom - top < 256
    assert 30 < right - left < 256
    out = run.export(tmp_path / "anonymous.png")
    assert "Collins" not in json.dumps(read_mark(out))
    page = report(run, path=tmp_path / "report.html").read_text()
    assert "Collins" not in page
    assert photo.origin.removeprefix("sha256:") not in page
    np.testing.assert_array_equal(read_still(out), after)
    with pytest.raises(ConsentError):
        swap(DOUBLE.perform("still", seconds=0.04, size=160), source=photo, swapper="warp", device="cpu")
    with pytest.raises(ConsentError):
        train(recipes.smoke(), source=HERO, target=photo, device="cpu")
    with pytest.raises(ConsentError):
        evaluate(run)


def test_a_real_file_without_an_entry_is_refused(root: Path, tmp_path: Path) -> None:
    Pillow.new("RGB", (64, 64), (9, 9, 9)).save(tmp_path / "unknown.png")
    with pytest.raises(ConsentError, match=r"unknown\.png"):
        people.admit(tmp_path / "unknown.png")


@pytest.mark.parametrize(
    ("given", "said"),
    [("clip.mp4", r"lab.admit\('clip.mp4'"), (Path("a.png"), "lab.admit"), (7, "an actor, a take, a clip or a faceset, got int")],
)
def test_a_source_that_is_nobody_is_told_what_to_write(given: object, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        people.check_person(given, "source")


def test_a_recipe_without_steps_is_refused() -> None:
    with pytest.raises(ValueError, match="steps must be at least 1"):
        recipes.pair(steps=0)
