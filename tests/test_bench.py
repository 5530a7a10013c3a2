"""The verb `bench`: equal runs, resumed ones, failing methods, other tools' folders, and scores that claim only what they can."""

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import faceswap_lab as lab
from faceswap_lab.__main__ import main
from faceswap_lab.actors.tracks import PLANS, TrackPair, pairs_of
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.bench import bench as verb
from faceswap_lab.verbs.bench import result, table
from faceswap_lab.verbs.bench.result import BenchRun, by_this_code
from faceswap_lab.verbs.bench.scored_pair import Scored, scored
from faceswap_lab.verbs.bench.table import FEWEST_PAIRS, Row
from faceswap_lab.verbs.recipes import BenchRecipe

SMALL = BenchRecipe(plan="smoke", tracks=("frontal", "video"), methods=("copy", "warp", "truth"), judges="engine")
FLAGS = ("--plan", "smoke", "--tracks", "frontal", "--judges", "engine")


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "lab"))
    return tmp_path


# --- the verb -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.weights
def test_a_run_that_was_stopped_goes_on_with_the_next_pair_and_is_equal_to_the_last_digit(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = list[str]()

    def stopped(pair: TrackPair, *rest: Any) -> Scored:
        if done:
            raise KeyboardInterrupt
        done.append(pair.name)
        return scored(pair, *rest)

    def noted(pair: TrackPair, *rest: Any) -> Scored:
        done.append(pair.name)
        return scored(pair, *rest)

    monkeypatch.setattr(verb, "scored", stopped)
    with pytest.raises(KeyboardInterrupt):
        lab.bench(SMALL)
    monkeypatch.setattr(verb, "scored", noted)
    resumed = lab.bench(SMALL)
    assert done == ["frontal-00", "video-00"], "each pair was scored once"
    assert lab.bench(SMALL).id == resumed.id, "an identical finished call returns its run"
    whole = lab.bench(SMALL, force=True)
    assert whole.id != resumed.id
    assert len(done) == 4
    told = whole.table
    assert resumed.table["digest"] == told["digest"]
    timed = ("seconds_per_image", "run")
    assert {key: value for key, value in resumed.table.items() if key not in timed} == {
        key: value for key, value in told.items() if key not in timed
    }

    assert told["scores"]["truth"]["frontal"]["ssim_face"]["share"] == 1
    assert told["scores"]["copy"]["frontal"]["psnr_face"]["gain"] == 0
    frontal = told["scores"]["warp"]["frontal"]["psnr_face"]
    assert frontal["floor"] < frontal["value"]
    assert frontal["low"] is None, "one pair is too few for an interval"
    assert frontal["ceiling"] is None, "the truth is infinitely near to itself"
    assert "warping_error" in told["scores"]["warp"]["video"]
    assert not any(told["failed"].values())
    assert {pair.name for pair in whole.pairs} == {"frontal-00", "video-00"}
    assert len(whole.pictures(whole.pairs[1])["by warp"]) == 3


@pytest.mark.slow
@pytest.mark.weights
def test_another_tools_folder_is_scored_from_the_command_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = root / "pairs"
    assert main(["bench", *FLAGS, "--pairs-to", str(pairs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_pairs"] == 1
    (manifest,) = json.loads((pairs / "manifest.json").read_text())["pairs"]
    # A tool that knows the answer, to one grey level.
    pair = next(pairs_of("frontal", PLANS["smoke"]))
    truth = pair.truth().rendered(pair.frames[0]).image.astype(int)
    results = root / "results"
    results.mkdir()
    near = np.clip(truth + 1, 0, 255).astype(np.uint8)
    cv2.imwrite(str(results / manifest["results"][0]), near[:, :, ::-1])
    page = root / "tool.html"
    assert main(["bench", *FLAGS, "--score", str(results), "--score-as", "my tool", "-o", str(page), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    told = BenchRun.open(answer["run"]).table
    assert list(told["methods"]) == ["my tool"]
    assert told["scores"]["my tool"]["frontal"]["psnr_face"]["value"] == pytest.approx(20 * math.log10(255), abs=0.1)
    assert told["failed"]["my tool"] == []
    text = page.read_text(encoding="utf-8")
    assert "my tool" in text
    assert "Pictures of my tool are as another tool made them" in text
    assert told["digest"] in text


@pytest.mark.slow
@pytest.mark.weights
def test_a_result_of_another_size_fails_with_its_reason_and_counts_as_no_swap(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "results").mkdir()
    cv2.imwrite(str(root / "results" / "frontal-00.png"), np.zeros((64, 64, 3), np.uint8))
    assert main(["bench", *FLAGS, "--score", str(root / "results"), "--json"]) == 0
    told = BenchRun.open(json.loads(capsys.readouterr().out)["run"]).table
    ((failed,),) = told["failed"].values()
    assert failed["pair"] == "frontal-00"
    assert "128 x 128" in failed["reason"]
    assert "64 x 64" in failed["reason"]
    assert told["scores"]["results"]["frontal"]["psnr_face"]["gain"] == 0


@pytest.mark.parametrize("flags", [("--tracks", "sideways"), ("--methods", "magic"), ("--plan", "huge")])
def test_an_unknown_track_method_or_plan_is_refused_before_there_is_a_run(root: Path, flags: tuple[str, str]) -> None:
    try:
        code: object = main(["bench", *flags, "--judges", "engine"])
    except SystemExit as error:
        code = error.code
    assert str(code) == "2"
    assert not (root / "lab" / "runs").exists()


# --- scores over pairs ---------------------------------------------------------------------------------------------------------


def rows_of(name: str, *figures: tuple[float, float, float]) -> list[Row]:
    """A row for each (value, floor, ceiling)."""
    pairs = list(pairs_of("frontal", PLANS["full"]))
    return [
        Row(pair=pair, figures={"by x": {name: value}, "target": {name: floor}, "truth": {name: ceiling}}, vectors={})
        for pair, (value, floor, ceiling) in zip(pairs, figures, strict=False)
    ]


def test_a_gain_is_positive_where_less_is_better_and_the_value_is_lower() -> None:
    found = table.scores_of(rows_of("landmark_error", (0.05, 0.12, 0.04)), "x")["landmark_error"]
    assert found["gain"] == pytest.approx(0.07)
    assert found["share"] == pytest.approx(0.875)
    assert [found[end] for end in ("low", "high", "gain_low", "share_high")] == [None] * 4, "one pair is too few"


def test_the_gain_has_an_interval_of_its_own_which_pairs_of_unequal_difficulty_do_not_widen() -> None:
    rows = rows_of("psnr_face", *((floor + 2.0, floor, math.inf) for floor in (12.0, 14.0, 16.0, 18.0, 20.0, 22.0)))
    found = table.scores_of(rows, "x")["psnr_face"]
    assert found["gain_low"] == found["gain_high"] == found["gain"] == 2.0
    assert found["high"] - found["low"] > 2.0
    assert found["share"] is None, "there is no part of an infinite way"


def test_the_interval_is_that_of_the_normal_approximation_and_the_same_each_time() -> None:
    values = np.random.default_rng(3).normal(18.0, 2.0, 24)
    rows = rows_of("psnr_face", *((value, 10.0, math.inf) for value in values.tolist()))
    found = table.scores_of(rows, "x")["psnr_face"]
    half = 1.96 * float(np.std(values)) / math.sqrt(len(values))
    assert (found["high"] - found["low"]) / 2 == pytest.approx(half, rel=0.1)
    assert table.scores_of(rows, "x")["psnr_face"] == found
    assert table.scores_of(rows[: FEWEST_PAIRS - 1], "x")["psnr_face"]["low"] is None


def test_a_background_that_was_left_alone_is_averaged_by_its_error() -> None:
    found = table.scores_of(rows_of("background_psnr", (40.0, math.inf, 60.0), (math.inf, math.inf, 60.0)), "x")["background_psnr"]
    assert found["value"] == pytest.approx(40 + 10 * math.log10(2))
    assert found["floor"] is None


def test_a_score_that_some_pairs_lack_says_in_how_many_it_exists() -> None:
    rows = rows_of("id_similarity@sface", (0.8, 0.4, 0.9), (math.nan, 0.4, 0.9))
    assert table.scores_of(rows, "x")["id_similarity@sface"]["pairs"] == 1


def test_a_result_of_older_code_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def made(recipe: str, *, force: bool = False) -> Run:
        run = Run.start(tmp_path, "train", recipe, {}, force=force)
        if not run.finished:
            with run:
                run.finish()
        return run

    first = by_this_code(made, "{}")
    assert by_this_code(made, "{}") == first, "of this code: an identical finished call returns its run"
    monkeypatch.setattr(result, "code_version", lambda: "0.1.0+of-tomorrow")
    assert by_this_code(made, "{}") != first
