"""The pairs of the benchmark, the exception for fitting, what a method may do wrong, and what a scored folder may hold."""

import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.actors import tracks
from faceswap_lab.actors.splits import FITS_FROM, check_trainable, fitted_by_the_benchmark, split_of
from faceswap_lab.actors.tracks import PLANS, TRACKS, TrackPair, pairs_of
from faceswap_lab.errors import MediaError, SplitError
from faceswap_lab.models.eyes.look import action_names
from faceswap_lab.models.eyes.rotations import head_pose
from faceswap_lab.verbs.bench import table
from faceswap_lab.verbs.bench.estimator import true_parameters
from faceswap_lab.verbs.bench.folder import casia_name, opened_folder
from faceswap_lab.verbs.bench.methods import Outcome, runs_of
from faceswap_lab.verbs.bench.scored_pair import attempted
from faceswap_lab.verbs.bench.table import Row
from faceswap_lab.verbs.recipes import BenchRecipe

FULL = PLANS["full"]


@pytest.mark.slow
def test_nobody_is_in_two_pairs_and_all_are_test_persons() -> None:
    people = [seed for track in TRACKS for pair in pairs_of(track, FULL) for seed in (pair.source, pair.target)]
    assert len(set(people)) == len(people) == 2 * (6 * 24 + 8)
    assert {split_of(seed) for seed in people} == {"test"}


def test_scored_shown_and_fitted_performances_are_disjoint() -> None:
    pairs = [pair for track in ("frontal", "video") for pair in pairs_of(track, FULL)]
    scored = {pair.seed for pair in pairs} | {pair.shown_seed for pair in pairs} | {tracks.GALLERY_SEED}
    fits = [range(pair.fit_seed, pair.fit_seed + 1000) for pair in pairs]
    assert max(scored) < FITS_FROM <= min(each.start for each in fits)
    assert all(one.stop <= two.start or two.stop <= one.start for one, two in combinations(fits, 2))


def test_a_smaller_plan_has_the_first_pairs_of_a_larger_one() -> None:
    few = [pair.name for pair in pairs_of("frontal", PLANS["quick"])]
    assert few == [pair.name for pair in pairs_of("frontal", FULL)][: len(few)]


def test_a_published_pair_is_never_changed() -> None:
    pair = next(pairs_of("profile", PLANS["quick"]))
    assert (pair.source, pair.target, pair.kind, pair.seed, pair.frames) == (2301000, 2301001, "turn", 3001000, (2,))
    assert tracks.VERSION == "actors-1"


def test_only_the_benchmark_may_fit_test_persons_and_only_on_its_own_performances() -> None:
    with fitted_by_the_benchmark(2300000, 2300001, first_performance=FITS_FROM):
        check_trainable(2300000)
        with pytest.raises(SplitError):
            check_trainable(2300002)
    with pytest.raises(SplitError):
        check_trainable(2300000)
    with pytest.raises(ValueError, match="performances from"), fitted_by_the_benchmark(2300000, 2300001, first_performance=0):
        pass


@pytest.mark.parametrize(
    "given", [{"tracks": ("frontal", "side")}, {"tracks": ()}, {"methods": ("warp", "warp")}, {"num_pairs": -1}]
)
def test_a_wrong_recipe_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"track|named once|num_pairs"):
        BenchRecipe(**given)  # type: ignore[arg-type]


class Wrong:
    name: str = "wrong"

    @property
    def facts(self) -> dict[str, str]:
        return {}

    def __init__(self, images: object) -> None:
        self.images = images

    def swap(self, pair: TrackPair) -> Outcome:
        if isinstance(self.images, Exception):
            raise self.images
        return Outcome(images=self.images)  # type: ignore[arg-type]


@pytest.mark.parametrize("images", [RuntimeError("no memory"), [], [np.zeros((4, 4, 3), np.uint8)], [np.full((8, 8, 3), np.nan)]])
def test_a_method_that_fails_leaves_the_target_and_its_reason(images: object) -> None:
    target = np.full((8, 8, 3), 7, np.uint8)
    outcome, reason = attempted(Wrong(images), next(pairs_of("frontal", PLANS["smoke"])), [target])  # type: ignore[arg-type]
    assert reason
    assert outcome.images[0] is target


def test_files_that_belong_to_no_pair_are_named(tmp_path: Path) -> None:
    pairs = list(pairs_of("frontal", PLANS["quick"]))
    (tmp_path / "frontal-0.png").touch()
    with pytest.raises(MediaError, match=r"frontal-0\.png"):
        opened_folder(tmp_path, pairs)
    (tmp_path / "frontal-0.png").rename(tmp_path / "frontal-00.png")
    assert set(opened_folder(tmp_path, pairs).files) == {"frontal-00"}


def test_casias_layout_is_read(tmp_path: Path) -> None:
    pairs = list(pairs_of("frontal", PLANS["quick"]))
    place = tmp_path / "swap_results" / "mine" / casia_name(pairs[0])
    place.parent.mkdir(parents=True)
    place.touch()
    found = opened_folder(tmp_path, pairs, "mine")
    assert (found.name, set(found.files)) == ("mine", {pairs[0].name})
    with pytest.raises(MediaError, match="mine"):
        opened_folder(tmp_path, pairs, "yours")


def test_shares_and_means_are_those_of_plain_arithmetic() -> None:
    pairs = list(pairs_of("frontal", FULL))[:6]
    rows = [
        Row(
            pair=pair,
            figures={"target": {"ssim_face": 0.5}, "truth": {"ssim_face": 1.0}, "by x": {"ssim_face": 0.6 + 0.01 * n}},
            vectors={},
        )
        for n, pair in enumerate(pairs)
    ]
    score = table.scores_of(rows, "x")["ssim_face"]
    assert score["value"] == pytest.approx(0.625)
    assert score["share"] == pytest.approx(0.25)
    assert score["low"] < 0.625 < score["high"]
    assert json.dumps(score) == json.dumps(table.scores_of(rows, "x")["ssim_face"])


@pytest.mark.slow
def test_the_true_parameters_are_those_of_the_rendered_head() -> None:
    rendered = next(pairs_of("profile", PLANS["smoke"])).take().rendered(2)
    truth, pose = true_parameters(rendered), head_pose(true_parameters(rendered).rotation)
    assert (pose.yaw, pose.pitch, pose.roll) == pytest.approx(
        (rendered.head_pose.yaw, rendered.head_pose.pitch, rendered.head_pose.roll), abs=1e-4
    )
    assert list(rendered.actions) == list(action_names()), "actions are compared in one order"
    assert truth.actions.shape == (52,)
    np.testing.assert_allclose(np.linalg.norm(truth.gaze, axis=1), 1, atol=1e-5)


def test_frames_as_stretches() -> None:
    assert runs_of((5,)) == [(5, 6)]
    assert runs_of((0, 1, 2, 7)) == [(0, 3), (7, 8)]
