"""Watching a training: previews see what is being learned and change nothing of it; its course over time is drawn."""

from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import FaceError
from faceswap_lab.faces.face import Faces
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train.preview import Preview
from faceswap_lab.verbs.train.train import train
from faceswap_lab.views import figures, training_figure

HERO, DOUBLE = Actor(7), Actor(32)


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.slow
@pytest.mark.weights
def test_a_preview_sees_each_report_and_changes_nothing() -> None:
    take = DOUBLE.perform("speech", seconds=0.16, size=128, seed=3)
    preview = Preview(take, HERO, frames=range(len(take)))
    watched = train(recipes.smoke(), source=HERO, target=DOUBLE, device="cpu", watch=preview)
    assert [each.step for each in preview.seen] == [2, 4, 6]
    assert not np.array_equal(preview.seen[0].images[0], preview.seen[-1].images[0])
    # The last report is of the final weights: the preview must be the swap, and its score the evaluation's.
    result = swap(take, source=HERO, swapper=watched, device="cpu")
    pasted = [frame.image for frame in result.footage().frames()]
    assert max(np.abs(a.astype(int) - b).max() for a, b in zip(pasted, preview.seen[-1].images, strict=True)) <= 1
    score = evaluate(result).scores["psnr_face"]
    assert preview.seen[-1].psnr == pytest.approx(score["value"], abs=0.02)
    assert preview.floor == pytest.approx(score["floor"], abs=0.02)
    alone = train(recipes.smoke(), source=HERO, target=DOUBLE, device="cpu", force=True)
    assert watched.record.artifacts["crops.safetensors"] == alone.record.artifacts["crops.safetensors"]
    losses = [[event["losses"] for event in run.events("step")] for run in (watched, alone)]
    assert losses[0] == losses[1]


def test_only_a_pair_in_this_process_can_be_watched() -> None:
    asked = {"source": HERO, "target": DOUBLE, "watch": lambda step, swapper: None}
    for more in ({"compute": "local:2"}, {"workers": 2}):
        with pytest.raises(ValueError, match="in this process only"):
            train(recipes.smoke(), **asked, **more)
    with pytest.raises(ValueError, match="training of a pair"):
        train(recipes.pack("smoke"), watch=asked["watch"])


@pytest.mark.slow
@pytest.mark.weights
def test_a_frame_without_a_face_is_no_preview(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OfflineEngine, "detect", lambda self, frame: Faces.none())
    with pytest.raises(FaceError, match="a face in frame 1 of actor:32"):
        Preview(DOUBLE.perform("speech", seconds=0.12, size=96, seed=3), HERO, frames=(1,))


def test_a_training_over_time_has_a_line_for_each_attempt_and_names_who_died(lab: Path) -> None:
    with Run.start(lab, "train", "{}", {}) as run:
        run.emit("gang", step=0, ranks=2)
        for step in (10, 20):
            run.emit("step", step=step, losses={"loss": 1.0 / step})
        run.emit("rank_died", rank=1, how="died", attempt=1)
        run.emit("gang", step=10, ranks=2)
        for step in (20, 30, 40):
            run.emit("step", step=step, losses={"loss": 1.0 / step})
    figure = training_figure.over_time(run)
    for axis, values in zip(figure.axes, ([10, 20, 20, 30, 40], [0.1, 0.05, 0.05, 1 / 30, 0.025]), strict=True):
        attempts = [line for line in axis.lines if line.get_linestyle() == "-"]
        assert [len(line.get_ydata()) for line in attempts] == [2, 3]
        assert [*attempts[0].get_ydata(), *attempts[1].get_ydata()] == pytest.approx(values)
        assert len(axis.lines) == 3, "and one for the death"
    assert [text.get_text() for text in figure.axes[0].texts] == ["rank 1 died"]
    assert figures.png(figure).startswith(b"\x89PNG")


def test_a_training_without_a_step_has_no_course(lab: Path) -> None:
    with Run.start(lab, "train", "{}", {}) as run:
        run.emit("gang", step=0)
    with pytest.raises(ValueError, match="has reported no step"):
        training_figure.over_time(run)
