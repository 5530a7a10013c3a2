"""The benchmark: fixed pairs of people whom nothing was trained on, and scores over pairs that claim no more than they can."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.splits import split_of
from faceswap_lab.errors import RunError, SplitError
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.bench import scoring
from faceswap_lab.verbs.bench.pairs import PLANS, method_name, own_pairs, plan_named, trained_named, unseen_pairs
from faceswap_lab.verbs.bench.scoring import FEWEST_PAIRS, best_median_worst, by_this_code, interval, pooled
from faceswap_lab.verbs.evaluate.scores import PER_FRAME, SCORES, ScoreRun
from faceswap_lab.verbs.people import check_learnable, record_of
from faceswap_lab.verbs.recipes import CropData, EvaluateRecipe
from faceswap_lab.verbs.train.result import TrainRun


@pytest.mark.parametrize("name", PLANS)
def test_the_pairs_are_fixed_and_of_people_whom_nothing_may_be_trained_on(name: str) -> None:
    plan = plan_named(name)
    pairs = unseen_pairs(plan)
    people = [person for pair in pairs for person in (pair.source, pair.target)]
    assert len(set(people)) == 2 * plan.num_pairs, "nobody is in two pairs: the bootstrap takes pairs for independent"
    assert {split_of(person.seed) for person in people} == {"test"}
    for pair in pairs:
        with pytest.raises(SplitError):
            check_learnable(pair.source)
        take, truth = pair.take(plan), pair.truth(plan)
        assert len(take) == len(truth) == plan.num_frames
        assert truth == take.recast(pair.source)
    assert len({pair.seed for pair in pairs}) == len(pairs), "each has another performance, so another light and camera"
    # Scores of years are compared: whoever changes a plan or a pair gives it another name.
    assert [str(pair) for pair in pairs[:2]] == ["2000000 on 2000001", "2000002 on 2000003"]
    assert {name: (plan.num_pairs, plan.num_frames, plan.side, plan.gallery_size) for name, plan in PLANS.items()} == {
        "small": (8, 4, 256, 8),
        "smoke": (2, 2, 160, 2),
    }


def test_an_unknown_plan_is_refused() -> None:
    with pytest.raises(ValueError, match="small, smoke"):
        plan_named("large")


def trained(root: Path, *, done: bool = True, **inputs: str) -> TrainRun:
    with TrainRun.start(root, "train", recipes.pair(), inputs, force=True) as run:
        if done:
            run.finish(supervision="from truth")
    return run


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


def test_a_trained_pair_is_scored_both_ways_in_other_performances_than_it_learned_from(lab: Path) -> None:
    run = trained(lab, source=record_of(Actor(7)), target=record_of(Actor(32)))
    there, back = own_pairs(run)
    assert (there.source, there.target) == (back.target, back.source) == (Actor(7), Actor(32))
    data = CropData()
    learned = range(data.seed, data.seed + 100 * data.num_views)
    gallery = EvaluateRecipe().gallery_seed
    for pair in (there, back):
        assert pair.seed not in learned
        assert pair.seed != gallery
    assert there.seed != back.seed
    assert method_name(run) == "pair from truth, 900 steps at 96 px (7 and 32)"


def test_a_training_without_a_known_truth_is_refused_with_what_to_do(lab: Path) -> None:
    take = Actor(7).perform("speech", seconds=1)
    for inputs in ({}, {"source": record_of(take), "target": record_of(Actor(32))}):
        with pytest.raises(RunError, match="two actors") as caught:
            own_pairs(trained(lab, **inputs))
        assert "lab.train" in caught.value.remedy


def test_trainings_are_named_in_a_list_and_are_finished(lab: Path) -> None:
    run = trained(lab, source=record_of(Actor(7)), target=record_of(Actor(32)))
    assert trained_named([run.id, run.id]) == [run], "named twice, it is scored once"
    assert trained_named([]) == []
    with pytest.raises(RunError, match=r'trained=\["train-1"\]'):
        trained_named("train-1")
    unfinished = trained(lab, done=False, source=record_of(Actor(7)), target=record_of(Actor(21)))
    with pytest.raises(RunError, match="finished"):
        trained_named([unfinished.id])
    other = score_run(lab, psnr=[20.0])
    with pytest.raises(RunError, match="a run of train"):
        trained_named([other.id])


def score_run(root: Path, *, psnr: list[float | None], floor: float = 15.0, **more: dict[str, Any]) -> ScoreRun:
    known = [value for value in psnr if value is not None]
    scores = {
        "psnr_face": {
            "value": float(np.mean(known)) if known else None,
            "floor": floor,
            "ceiling": None,
            "unit": "dB",
            "higher_is_better": True,
        },
        **more,
    }
    with ScoreRun.start(root, "evaluate", EvaluateRecipe(), {"result": "swap-1"}, force=True) as run:
        with run.write(SCORES) as path:
            path.write_text(json.dumps(scores))
        with run.write(PER_FRAME) as path:
            path.write_text(json.dumps([{"value.psnr": value} for value in psnr]))
        run.finish(num_frames=len(psnr))
    return run


def test_every_pair_counts_the_same_whatever_its_number_of_frames(tmp_path: Path) -> None:
    runs = [score_run(tmp_path, psnr=[20.0], floor=15.0), score_run(tmp_path, psnr=[30.0, 30.0, 30.0], floor=19.0)]
    found = pooled(runs)["psnr_face"]
    assert (found["value"], found["floor"], found["gain"]) == (25.0, 17.0, 8.0)
    assert found["ceiling"] is None, "infinite"
    assert (found["pairs"], found["unit"], found["higher_is_better"]) == (2, "dB", True)
    assert [found[name] for name in ("low", "high", "gain_low", "gain_high")] == [None] * 4, "two pairs are too few"


def test_a_gain_is_positive_where_less_is_better_and_the_value_is_lower(tmp_path: Path) -> None:
    error = {"value": 0.05, "floor": 0.12, "ceiling": 0.04, "unit": "", "higher_is_better": False}
    found = pooled([score_run(tmp_path, psnr=[20.0], landmark_error=error)])["landmark_error"]
    assert found["gain"] == pytest.approx(0.07)
    assert found["ceiling"] == 0.04


def test_a_score_that_some_pairs_lack_says_in_how_many_it_exists(tmp_path: Path) -> None:
    seen = {"value": 0.8, "floor": 0.4, "ceiling": 0.9, "unit": "", "higher_is_better": True}
    runs = [score_run(tmp_path, psnr=[20.0]), score_run(tmp_path, psnr=[22.0], id_similarity=seen)]
    assert {name: each["pairs"] for name, each in pooled(runs).items()} == {"psnr_face": 2, "id_similarity": 1}
    with pytest.raises(ValueError, match="nothing to pool"):
        pooled([])


def test_the_interval_is_that_of_the_normal_approximation_and_the_same_each_time() -> None:
    values = np.random.default_rng(3).normal(18.0, 2.0, 40).tolist()
    low, high = interval(values)
    assert low is not None
    assert high is not None
    half = 1.96 * float(np.std(values)) / math.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)
    assert low < float(np.mean(values)) < high
    assert interval(values) == (low, high)
    assert interval(values[: FEWEST_PAIRS - 1]) == (None, None)
    assert interval([5.0] * 8) == (5.0, 5.0)


def test_the_gain_has_an_interval_of_its_own_which_pairs_of_unequal_difficulty_do_not_widen(tmp_path: Path) -> None:
    runs = [score_run(tmp_path, psnr=[floor + 2.0], floor=floor) for floor in (12.0, 14.0, 16.0, 18.0, 20.0, 22.0)]
    found = pooled(runs)["psnr_face"]
    assert found["gain_low"] == found["gain_high"] == found["gain"] == 2.0
    assert found["high"] - found["low"] > 2.0


def test_best_median_and_worst_are_taken_of_all_frames(tmp_path: Path) -> None:
    runs = [score_run(tmp_path, psnr=[20.0, None, 30.0]), score_run(tmp_path, psnr=[10.0, 25.0])]
    found = best_median_worst(runs)
    assert [(runs.index(each.run), each.index, each.psnr) for each in found.values()] == [(0, 2, 30.0), (0, 0, 20.0), (1, 0, 10.0)]
    assert all(one.psnr >= other.psnr for one, other in pairwise(found.values()))
    with pytest.raises(ValueError, match="without a truth"):
        best_median_worst([score_run(tmp_path, psnr=[None])])


def test_a_result_of_older_code_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def verb(recipe: str, *, force: bool = False) -> Run:
        run = Run.start(tmp_path, "train", recipe, {}, force=force)
        if not run.finished:
            with run:
                run.finish()
        return run

    first = by_this_code(verb, "{}")
    assert by_this_code(verb, "{}") == first, "of this code: an identical finished call returns its run"
    monkeypatch.setattr(scoring, "code_version", lambda: "0.1.0+of-tomorrow")
    assert by_this_code(verb, "{}") != first
