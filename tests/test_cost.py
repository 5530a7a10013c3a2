"""The command `cost`: what runs say of their speed, what is refused, and the figure."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.__main__ import main
from faceswap_lab.compute.costs.offers import read_offers
from faceswap_lab.compute.costs.plan import Question, plan
from faceswap_lab.compute.costs.pricing import Load, Work
from faceswap_lab.compute.costs.scaling import StepModel
from faceswap_lab.errors import RunError
from faceswap_lab.maintenance import cost
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import recipes
from faceswap_lab.views import cost_figure, figures

SPEEDS = (10.0, 80.0, 100.0, 120.0)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


def training(root: Path, speeds: tuple[float, ...] = SPEEDS) -> Run:
    """The record of a training: 600 steps of 2 x 8 pictures, whose first report is slow."""
    run = Run.start(root, "train", recipes.pair(600), {"source": "actor:7", "target": "actor:32"})
    with run:
        run.emit("device", device="cpu")
        for number, speed in enumerate(speeds, 1):
            run.emit("step", step=20 * number, losses={"loss": 1.0}, learning_rate=1e-3, samples_per_s=speed)
    return run


def swap(root: Path) -> Run:
    run = Run.start(root, "swap", "{}", {"source": "actor:7"})
    with run:
        run.finish(num_frames=250, frames_per_s=12.5)
    return run


def asked(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["cost", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main(["cost", "--json", *words]) != 0
    return json.loads(capsys.readouterr().out)["error"]


def test_a_training_tells_its_speed_without_the_first_report_and_both_peoples_samples(lab: Path) -> None:
    found = cost.measured(training(lab))
    assert (found.per_s, found.unit, found.device) == (100.0, "samples", "cpu")
    assert found.amount == 600 * 2 * 8


def test_the_amount_over_the_speed_is_the_time_that_a_real_training_took(lab: Path) -> None:
    """A training reports `samples_per_s` itself: that unit must be the one that the amount is counted in."""
    recipe = recipes.pair(600)
    seconds_per_step = 0.5
    run = training(lab, speeds=(recipe.train.samples_per_step / seconds_per_step,) * 3)
    found = cost.measured(run)
    assert Work(amount=found.amount, per_s=found.per_s).hours() == pytest.approx(600 * seconds_per_step / 3600)


def test_a_swap_tells_frames_a_second(lab: Path) -> None:
    found = cost.measured(swap(lab))
    assert (found.per_s, found.unit, found.amount) == (12.5, "frames", 250)


def test_what_cannot_tell_is_refused_with_a_way_out(lab: Path) -> None:
    with pytest.raises(RunError, match="--per-second"):
        cost.measured(training(lab, speeds=()))
    with pytest.raises(RunError, match="a run of evaluate"):
        cost.measured(Run.start(lab, "evaluate", "{}", {}))
    with pytest.raises(RunError, match="PackRecipe"):
        cost.pair_recipe(Run.start(lab, "train", recipes.pack("smoke"), {}))


def test_the_command_plans_with_a_run(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = training(lab)
    told = asked(capsys, "--run", run.id)
    assert told["work"] == {"amount": 9600.0, "unit": "samples", "per_s": 100.0}
    assert told["measured"]["device"] == "cpu"
    assert "which is no GPU" in told["told"]
    assert [each["name"] for each in told["offers"]] == ["GN6i", "GN10Xp", "GPU-accelerated"]
    assert told["offers"][0]["money"] == pytest.approx(8.5 * (96 / 3600 + 5 / 60)), "with five minutes of starting"
    ready = asked(capsys, "--run", run.id, "--start-minutes", "0")
    assert ready["offers"][0]["money"] == pytest.approx(8.5 * 96 / 3600)
    longer = asked(capsys, "--start-minutes", "0", "--run", run.id, "--steps", "6000", "--offer", "gn6i", "--speed", "GN6i=2")
    assert longer["offers"][0]["hours"] == pytest.approx(5 * ready["offers"][0]["hours"])
    minutes = asked(capsys, "--start-minutes", "0", "--run", swap(lab).id, "--minutes", "60")
    assert minutes["offers"][0]["hours"] == pytest.approx(2.0), "25 frames a second are swapped at 12.5"


def test_a_recipe_from_a_file_and_the_models_curve(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (lab / "recipe.json").write_text('{"train": {"steps": 300, "batch": 4}, "net": {"size": 32, "width": 8}}')
    told = asked(capsys, "--per-second", "80", "--recipe", str(lab / "recipe.json"), "--network", "25", "--start-minutes", "0")
    assert told["work"]["amount"] == 300 * 2 * 4
    choices = {each["gpus"]: each for each in told["offers"][0]["choices"]}
    parameters = sum(each.numel() for each in PairNet(PairNetConfig(size=32, width=8)).parameters())
    model = StepModel(compute_s=8 / 80, gradient_bytes=4 * parameters)
    assert choices.keys() == {1, 2, 4, 8, 16}
    assert choices[8]["speed_up"] == pytest.approx(model.speed_up(8, 25))
    (lab / "recipe.json").write_text('{"train": {"stepps": 300}}')
    assert "stepps" in refused(capsys, "--per-second", "80", "--recipe", str(lab / "recipe.json"))["got"]


def test_the_text_shows_its_arithmetic(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--per-second", "100", "--steps", "22500", "--samples-per-step", "64", "--scaling", "1:1,2:1.9,8:5")
    assert main(["cost", *words, "--spot-discount", "0.6", "--offer", "GN6i"]) == 0
    text = capsys.readouterr().out
    for part in (
        "1,440,000 samples at 100 a second = 4 h on one GPU",
        "speed: given, not measured",
        "300 s + half of 600 s = 600 s",
        "pays from 14.4 h of use a day on",
        "paid 8 h of work + 4 x 0.33 h",
        "30% or more holds up to 15.47 busy hours a day",
        "<- worth it",
    ):
        assert part in text


def test_wrong_questions_are_refused(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(capsys)["got"] == "neither --run nor --per-second"
    assert refused(capsys, "--per-second", "9")["got"] == "no --steps and no --minutes"
    assert "no --samples-per-step" in refused(capsys, "--per-second", "9", "--steps", "9")["got"]
    assert "GN11" in refused(capsys, "--per-second", "9", "--minutes", "9", "--offer", "GN11")["got"]
    assert "restarts_per_hour" in refused(capsys, "--per-second", "9", "--minutes", "9", "--restarts-per-hour", "2")["got"]
    run = swap(lab)
    assert refused(capsys, "--run", run.id, "--steps", "9")["got"] == "frames"
    assert refused(capsys, "--run", run.id, "--network", "25")["got"] == "frames"
    assert refused(capsys, "--run", training(lab).id, "--minutes", "9")["got"] == "samples"
    assert refused(capsys, "--per-second", "-9", "--minutes", "9")["got"].startswith("per_s must be positive")


def test_the_picture_is_written_whole(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = lab / "cost.png"
    told = asked(capsys, "--per-second", "9", "--minutes", "9", "-o", str(place))
    assert told["output"] == str(place)
    assert place.read_bytes().startswith(b"\x89PNG")
    assert not list(lab.glob(".part-*"))
    assert ".png" in refused(capsys, "--per-second", "9", "--minutes", "9", "-o", str(lab / "cost.jpg"))["expected"]


def test_the_figure_has_a_line_for_each_way_to_pay() -> None:
    question = Question(work=Work(amount=1e6, per_s=100), curve={1: 1, 2: 1.9, 8: 5}, spot_discount=0.5)
    made = plan(question, read_offers())
    figure = cost_figure.cost(made, "GN10Xp")
    left, middle, right = figure.axes
    assert [len(axis.get_lines()) for axis in (left, middle, right)] == [2, 4, 4]
    np.testing.assert_allclose(left.get_lines()[0].get_ydata(), [each.money for each in made.offers[1].choices])
    on_demand, spot, reserved, at = middle.get_lines()
    (hours,), (bill,) = at.get_data()
    assert np.interp(hours, *on_demand.get_data()) == pytest.approx(bill), "the dot lies where the lines cross"
    assert reserved.get_ydata()[0] == pytest.approx(bill)
    assert spot.get_ydata()[-1] < on_demand.get_ydata()[-1]
    assert figures.pixels(figure).std() > 5
    without = plan(replace(question, spot_discount=None, load=Load(busy_hours=0)), read_offers())
    assert len(cost_figure.cost(without).axes[1].get_lines()) == 3
    with pytest.raises(ValueError, match="GN11"):
        cost_figure.cost(made, "GN11")
