"""The recipe `eyes`: one call makes pictures, networks, scores and card, and can be stopped; scores are what they are called."""

import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import RunError, WeightsError
from faceswap_lab.files import sha256_file
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.eyes.labels import LABELS
from faceswap_lab.models.eyes.layers import SIZE
from faceswap_lab.models.eyes.look import Eyes, Outline, Seen, action_names
from faceswap_lab.models.eyes.pictures import EyesPictures
from faceswap_lab.models.eyes.rotations import head_pose
from faceswap_lab.runs.recipe import from_json, to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import networks, recipes
from faceswap_lab.verbs.bench.estimator import estimator
from faceswap_lab.verbs.eyes import eyes, scores, stages
from faceswap_lab.verbs.eyes.eyes import eyes_of
from faceswap_lab.verbs.train.train import _check_on_actors, train
from tests.test_eyes import faces

SMOKE = recipes.eyes("smoke")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


def test_the_recipe_goes_through_json() -> None:
    for recipe in (recipes.eyes(), SMOKE):
        assert from_json(recipes.EyesRecipe, to_json(recipe)) == recipe
    with pytest.raises(ValueError, match="smoke"):
        recipes.eyes("large")


def test_what_does_not_go_together_is_refused(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="the eyes are trained on the actors of the recipe: give neither"):
        train(SMOKE, source=Actor(7))
    with pytest.raises(ValueError, match="give no data"):
        _check_on_actors(SMOKE, people=False, data=True, device="auto")
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(lab / "none"))
    with pytest.raises(WeightsError, match="models fetch"):
        train(SMOKE)
    assert not (lab / "runs").exists()


# --- scores -----------------------------------------------------------------------------------------------------------------


class Oracle(Eyes):
    """Sees the truth of these pictures, in order, after `change`."""

    def __init__(self, pictures: EyesPictures) -> None:
        super().__init__(Path("none"))
        self.pictures, self.row = pictures, -1

    def look(self, image: np.ndarray, keypoints5: np.ndarray) -> Seen:
        self.row += 1
        matrix = np.array([[SIZE / 96, 0, SIZE / 192 - 0.5], [0, SIZE / 96, SIZE / 192 - 0.5]])
        at = (np.stack(np.meshgrid(np.arange(SIZE), np.arange(SIZE)), 2) - matrix[:, 2]) / (SIZE / 96)
        column, line = at.round().astype(int).clip(0, 95).transpose(2, 0, 1)
        shares = np.eye(len(LABELS), dtype=np.float32)[self.pictures.labels[self.row][line, column]].transpose(2, 0, 1)
        outline = Outline(
            points106=self.pictures.points106[self.row],
            visible=self.pictures.visible[self.row].astype(np.float32),
            shares=shares,
            frame_to_crop=matrix,
        )
        values = self.pictures.actions[self.row].tolist()
        return Seen(
            outline=outline,
            actions=MappingProxyType(dict(zip(action_names(), values, strict=True))),
            gaze=self.pictures.gaze[self.row],
            rotation=self.pictures.turn[self.row].astype(np.float64),
            pose=head_pose(self.pictures.turn[self.row].astype(np.float64)),
        )


def scored(pictures: EyesPictures, oracle: EyesPictures, monkeypatch: pytest.MonkeyPatch) -> dict:
    monkeypatch.setattr(scores, "_Checked", lambda _: Oracle(oracle))
    monkeypatch.setattr(scores, "_by_mesh", lambda _, five, *__: five)
    return scores.score_eyes(Path("none"), pictures, OfflineEngine())


def test_the_truth_itself_scores_best(monkeypatch: pytest.MonkeyPatch) -> None:
    test = faces(6, split="test")
    found = scored(test, test, monkeypatch)
    assert found["found"] == found["actors"] == 6
    assert found["points"]["median"] == found["points"]["mean"] == 0
    assert found["points"]["visibility_right"] == 1
    assert found["iou"]["skin"] > 0.97
    assert found["iou"]["hair"] is None
    assert found["actions"]["occurring"] == 52
    assert found["actions"]["mean_correlation"] == 1
    assert found["gaze"]["mean_deg"] < 0.1
    assert found["pose_deg"]["yaw"]["mean_error"] == 0


def test_scores_measure_what_was_put_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """Points off by 3 pixels of 24 between the eyes, gaze by five degrees, one action upside down, half of the disc missed."""
    test = faces(6, split="test")
    five = np.radians(5)
    across = np.cross(test.gaze, np.array([0, 1.0, 0]))
    across /= np.linalg.norm(across, axis=2, keepdims=True)
    half = np.asarray(test.labels).copy()
    half[:, :, :48] = 0
    wrong = replace(
        test,
        points106=test.points106 + np.float32([3, 0]),
        gaze=(np.cos(five) * test.gaze + np.sin(five) * across).astype(np.float32),
        actions=np.concatenate([1 - test.actions[:, :1], test.actions[:, 1:]], 1),
        visible=~test.visible,
        labels=half,
    )
    found = scored(test, wrong, monkeypatch)
    assert found["points"]["median"] == pytest.approx(3 / 24, abs=1e-3)
    assert found["points"]["visibility_right"] == 0
    assert found["gaze"]["median_deg"] == pytest.approx(5, abs=0.05)
    assert found["actions"]["correlation"]["browDownLeft"] == pytest.approx(-1, abs=1e-3)
    assert found["actions"]["mean_correlation"] == pytest.approx(50 / 52, abs=1e-3)
    assert 0.45 < found["iou"]["skin"] < 0.55


def test_only_test_actors_are_scored_and_missed_ones_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="test actors"):
        scores.score_eyes(Path("none"), faces(), OfflineEngine())
    test = faces(4, split="test")
    blind = replace(test, found=np.array([False, True, False, False]))
    assert scored(blind, test, monkeypatch)["found"] == 1
    assert scored(replace(test, found=np.zeros(4, bool)), test, monkeypatch) == {"pictures": 4, "found": 0}
    assert scores.correlation(np.array([1.0, 1, 1]), np.array([1.0, 2, 3])) is None


# --- one call ---------------------------------------------------------------------------------------------------------------


def stop_once(patch: pytest.MonkeyPatch, stop_at: str) -> None:
    """Interrupts the training before a part is rendered, or after a checkpoint is written."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    made, put = stages.make_part, networks.put_in_place
    patch.setattr(stages, "make_part", lambda *given: stopped() if stop_at in given[0].name else made(*given))
    patch.setattr(networks, "put_in_place", lambda part, place: (put(part, place), place.name == stop_at and stopped()))


@pytest.mark.slow
@pytest.mark.weights
def test_what_was_stopped_goes_on_and_comes_out_the_same(
    lab: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for stop_at in ("train-0001", "expression.pt", "test-0000"):
        with monkeypatch.context() as patch:
            stop_once(patch, stop_at)
            with pytest.raises(KeyboardInterrupt):
                train(SMOKE)
    assert command_line.main(["train", "--recipe", "eyes-smoke", "--json"]) == 0
    resumed = Run.open(json.loads(capsys.readouterr().out.splitlines()[-1])["run"])
    assert len(list((lab / "runs").glob("train-*"))) == 1
    assert train(SMOKE) == resumed
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path_factory.mktemp("whole")))
    whole = train(SMOKE)
    digests = [{path.name: sha256_file(path) for path in eyes_of(run).glob("*.onnx")} for run in (resumed, whole)]
    assert digests[0] == digests[1]
    card = json.loads((eyes_of(whole) / "card.json").read_text())
    assert card["recipe"] == json.loads(to_json(SMOKE))
    assert card["scores"]["pictures"] == 4
    assert {name: about["sha256"] for name, about in card["files"].items()} == digests[1]
    assert not (whole.path / eyes.PARTS).exists()
    image, points = np.zeros((64, 64, 3), np.uint8), faces().keypoints5[0]
    seen = Eyes(eyes_of(whole)).look(image, points)
    judge = estimator(eyes_of(whole))
    assert judge is not None
    told = judge.estimate(image, points)
    np.testing.assert_array_equal(told.rotation, seen.rotation)
    assert told.actions.tolist() == list(seen.actions.values())
    assert judge.card.name == "smoke"
    assert estimator(whole.path / "none") is None
    assert len(seen.actions) == 52
    with pytest.raises(RunError, match="trained the eyes"):
        eyes_of(Run.start(lab, "train", to_json(SMOKE), {"other": "1"}))
