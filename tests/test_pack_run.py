"""The recipe `pack`: one call makes pictures, networks and card and can be stopped; what is shipped is as its card says."""

import json
import shutil
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import skimage.data
import torch

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import RunError, SplitError, WeightsError
from faceswap_lab.faces.frame import Frame
from faceswap_lab.maintenance import weights
from faceswap_lab.models.engines.insight import open_pack, task_of
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.registry import open_engine
from faceswap_lab.models.weights import bundled, onnx_inspect
from faceswap_lab.runs.recipe import from_json, to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import networks, recipes
from faceswap_lab.verbs.pack import pack, stages
from faceswap_lab.verbs.pack import scores as pack_scores
from faceswap_lab.verbs.pack.pack import pack_of
from faceswap_lab.verbs.train.train import train

needs_insight = pytest.mark.skipif(find_spec("insightface") is None, reason="needs insightface: make setup")
SMOKE = recipes.pack("smoke")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def unscored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores need insightface and the offline engine's weights, and take most of the time."""
    monkeypatch.setattr(pack, "score_pack", lambda *_: {"plain": {}})
    monkeypatch.setattr(pack, "check_judges", lambda: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A pack made in one go, without scores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESWAP_LAB_ROOT", str(tmp_path_factory.mktemp("whole")))
        patch.setattr(pack, "score_pack", lambda *_: {"plain": {}})
        patch.setattr(pack, "check_judges", lambda: None)
        return train(SMOKE)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: onnx_inspect.inspect(path).sha256 for path in sorted(folder.glob("*.onnx"))}


# --- the recipe ---------------------------------------------------------------------------------------------------------------


def test_the_recipe_goes_through_json() -> None:
    for recipe in (recipes.pack(), SMOKE):
        assert from_json(recipes.PackRecipe, to_json(recipe)) == recipe
    with pytest.raises(ValueError, match="smoke"):
        recipes.pack("large")


def test_what_does_not_go_together_is_refused(lab: Path) -> None:
    with pytest.raises(ValueError, match="neither source nor target"):
        train(SMOKE, source=Actor(7))
    with pytest.raises(ValueError, match="on the CPU"):
        train(SMOKE, device="cuda")
    with pytest.raises(ValueError, match="workers"):
        train(SMOKE, workers=0)
    with pytest.raises(ValueError, match="two people"):
        train(recipes.smoke(), source=Actor(7))
    with pytest.raises(ValueError, match="not both"):
        train(recipes.smoke(), source=Actor(7), target=Actor(21), compute="local:2", workers=2)
    assert not (lab / "runs").exists()


def test_what_the_scores_need_is_asked_for_before_the_work(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_scores, "check_installed", lambda: None)
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(lab / "none"))
    with pytest.raises(WeightsError, match="models fetch"):
        train(SMOKE)
    assert not (lab / "runs").exists()


def test_no_picture_of_a_test_person_is_rendered(tmp_path: Path) -> None:
    missing = {"pictures/train-0000.safetensors": range(2_000_000, 2_000_001)}
    with pytest.raises(SplitError, match="actor:2000000"):
        next(stages.render_parts(SMOKE.sets, missing, tmp_path, None))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="test people"):
        pack_scores.score_pack(tmp_path, replace(SMOKE.scores, first=5))


# --- one call -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("stop_at", ["render", "points", "embedder"])
def test_what_was_stopped_goes_on_and_comes_out_the_same(
    lab: Path, unscored: None, whole: Run, monkeypatch: pytest.MonkeyPatch, stop_at: str
) -> None:
    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if stop_at == "render":
            made = stages.make_part
            patch.setattr(stages, "make_part", lambda *given: stopped() if "val" in given[0].name else made(*given))
        else:
            put = networks.put_in_place
            patch.setattr(networks, "put_in_place", lambda part, place: (put(part, place), stop_at in place.name and stopped()))
        with pytest.raises(KeyboardInterrupt):
            train(SMOKE)
    resumed = train(SMOKE)
    assert len(list((lab / "runs").glob("train-*"))) == 1
    assert resumed.finished
    assert not (resumed.path / pack.PARTS).exists()
    assert train(SMOKE) == resumed
    assert digests(pack_of(resumed)) == digests(pack_of(whole))
    steps = [event["step"] for event in resumed.events("step") if event["network"] == "points"]
    assert steps == [2, 4]
    assert all({"step", "losses", "learning_rate", "samples_per_s"} <= event.keys() for event in resumed.events("step"))
    card = json.loads(resumed.artifact(pack.CARD).read_text())
    assert card["recipe"] == json.loads(to_json(SMOKE))
    assert {name: about["sha256"] for name, about in card["files"].items()} == digests(pack_of(whole))


@pytest.mark.slow
def test_two_workers_make_the_same_pack(lab: Path, unscored: None, whole: Run) -> None:
    two = train(SMOKE, workers=2)
    assert digests(pack_of(whole)) == digests(pack_of(two))
    assert {task_of(onnx_inspect.inspect(path)) for path in pack_of(two).glob("*.onnx")} == {
        "detection",
        "landmark_2d_106",
        "recognition",
    }
    with pytest.raises(RunError, match="trained a pack"):
        pack_of(Run.start(lab, "train", to_json(SMOKE), {"other": "1"}))


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.insight
@needs_insight
def test_a_smoke_pack_is_scored_and_works_as_an_engine(lab: Path, capsys: pytest.CaptureFixture) -> None:
    assert command_line.main(["train", "--recipe", "pack-smoke", "--json"]) == 0
    run = json.loads(capsys.readouterr().out)
    folder = lab / "runs" / run["run"] / "artifacts" / "pack"
    scores = json.loads((folder / "card.json").read_text())["scores"]
    assert scores["pictures"] == 4
    for kind in ("plain", "noise", "blur", "jpeg", "dark", "small"):
        assert 0 <= scores[kind]["pack"]["found"] <= 1
    assert scores["plain"]["offline"]["found"] == 1
    assert scores["plain"]["offline"]["nme_468"] < 0.2
    engine = open_engine(f"insight:{folder}", torch.device("cpu"))
    assert set(engine.providers()) == {"detection", "landmarks", "recognition"}


# --- what is shipped ----------------------------------------------------------------------------------------------------------


def test_the_shipped_pack_is_what_its_card_says() -> None:
    card = bundled.card()
    found = open_pack(bundled.path())
    assert set(found.networks) == {"detection", "landmark_2d_106", "recognition"}
    assert {graph.path.name: graph.sha256 for graph in found.networks.values()} == {
        name: about["sha256"] for name, about in card["files"].items()
    }
    assert card["licence"] == "Apache-2.0"
    assert sum(path.stat().st_size for path in bundled.folder().iterdir()) < 6.5e6
    recipe = recipes.pack()
    # The card keeps the record of its own training, whose uneven schedules are no longer the recipe's: all else is.
    made, plain = card["recipe"], json.loads(to_json(recipe))
    schedules = {"detector", "points", "embedder"}
    assert {key: value for key, value in made.items() if key not in schedules} == {
        key: value for key, value in plain.items() if key not in schedules
    }
    shared = ("net", "size", "box_weight", "points_weight", "polish_points_weight", "strictness")
    assert all(made["detector"][key] == plain["detector"][key] for key in shared)
    assert made["detector"]["polish"]["steps"] == plain["detector"]["fit"]["steps"]
    for network in ("points", "embedder"):
        for key in ("steps", "batch", "warmup", "weight_decay", "clip", "ema", "precision", "seed", "report_every"):
            assert made[network][key] == plain[network][key], (network, key)
    assert card["num_pictures"]["train"] == recipe.sets.num_train * recipe.sets.num_views
    for kind in ("plain", "small"):
        assert 0 <= card["scores"][kind]["pack"]["found_uncovered"] <= 1
    row = next(row for row in weights.listed() if row["name"] == bundled.NAME)
    assert (row["state"], row["licence"]) == ("ok", "Apache-2.0")


@pytest.mark.weights
@pytest.mark.insight
@needs_insight
def test_the_shipped_pack_finds_a_real_face_as_yunet_frames_it() -> None:
    """The one real picture: scikit-image's public-domain astronaut. Nobody is named by it, only the box is compared."""
    frame = Frame(image=skimage.data.astronaut(), origin="astronaut", index=0)
    ours, theirs = open_engine("insight:actors_s", torch.device("cpu")).detect(frame), OfflineEngine().detect(frame)
    assert len(ours) == len(theirs) == 1
    np.testing.assert_allclose(ours.boxes[0], theirs.boxes[0], atol=0.1 * (theirs.boxes[0, 2] - theirs.boxes[0, 0]))


def test_an_altered_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundled.folder(), copy)
    monkeypatch.setattr(bundled, "folder", lambda name=bundled.NAME: copy)
    assert bundled.state() == "ok"
    path = next(copy.glob("*.onnx"))
    path.write_bytes(path.read_bytes() + b"\0")
    assert bundled.state() == "altered"
    with pytest.raises(WeightsError, match="altered"):
        open_engine("insight:actors_s", torch.device("cpu"))
    path.unlink()
    assert bundled.state() == "missing"
    (copy / "card.json").write_text("{}")
    with pytest.raises(WeightsError, match="card"):
        bundled.card()


@pytest.mark.slow
@pytest.mark.insight
@needs_insight
@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")  # insightface's alignment asks scikit-image so
def test_insightfaces_own_loop_runs_on_the_shipped_pack_and_agrees_with_the_engine() -> None:
    """`FaceAnalysis(folder)`, its session per size and all."""
    from insightface.app import FaceAnalysis

    frame = Actor(2_100_007).perform("still", seconds=0.04, size=320)[0]
    theirs = FaceAnalysis(str(bundled.folder()), providers=["CPUExecutionProvider"])
    theirs.prepare(-1)
    faces = theirs.get(np.ascontiguousarray(frame.image[..., ::-1]))
    engine = open_engine("insight:actors_s", torch.device("cpu"))
    ours = engine.embed(frame, engine.landmarks(frame, engine.detect(frame)))
    assert len(faces) == len(ours) == 1
    np.testing.assert_allclose(faces[0].bbox, ours.boxes[0], atol=0.05)
    np.testing.assert_allclose(faces[0].kps, ours.keypoints[0], atol=0.05)
    assert ours.landmarks is not None
    assert ours.embeddings is not None
    np.testing.assert_allclose(faces[0].landmark_2d_106, ours.landmarks[0], atol=0.1)
    assert float(faces[0].normed_embedding @ ours.embeddings[0]) > 0.999
