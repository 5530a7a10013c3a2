"""What is measured over time and over sets of pictures: on shifted textures, flicker of known strength, and known distributions."""

import inspect

import cv2
import numpy as np
import pytest
import skimage.data

from faceswap_lab.models import metrics

LENGTH, SIDE = 5, 96


def moving(pixels: int) -> list[np.ndarray]:
    """A texture that moves to the left by so many pixels a frame, cut from one larger picture."""
    whole = skimage.data.astronaut()[100:196]
    return [np.ascontiguousarray(whole[:, 100 + pixels * number :][:, :SIDE]) for number in range(LENGTH)]


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    return moving(2)


@pytest.fixture(scope="module")
def masks() -> list[np.ndarray]:
    inside = np.zeros((SIDE, SIDE), bool)
    inside[16:-16, 16:-16] = True
    return [inside] * LENGTH


@pytest.fixture(scope="module")
def exact() -> list[np.ndarray]:
    """The flow of `frames`."""
    return [np.full((SIDE, SIDE, 2), (-2, 0), np.float32)] * (LENGTH - 1)


def flickering(frames: list[np.ndarray], levels: int) -> list[np.ndarray]:
    """At half the contrast, so that nothing is clipped, and brighter and darker in turn."""
    return [
        (frame.astype(int) // 2 + 60 + (levels if number % 2 else -levels)).astype(np.uint8) for number, frame in enumerate(frames)
    ]


# --- motion and warping -----------------------------------------------------------------------------------------------------


def test_motion_finds_a_known_shift(frames: list[np.ndarray], masks: list[np.ndarray], exact: list[np.ndarray]) -> None:
    found = metrics.motion(frames[0], frames[1])
    error = np.linalg.norm(found - exact[0], axis=2)[masks[0]]
    assert np.nanmean(error) < 0.2
    assert np.isnan(error).mean() < 0.1
    assert np.isnan(found[:, 0]).all(), "what leaves the picture"


def test_motion_is_nan_where_the_next_frame_hides_a_place() -> None:
    draw = np.random.default_rng(0)
    before = cv2.GaussianBlur(draw.integers(0, 256, (SIDE, SIDE, 3), np.uint8), (0, 0), 1.5)
    patch = cv2.GaussianBlur(draw.integers(0, 256, (40, 30, 3), np.uint8), (0, 0), 1.5)
    after = before.copy()
    before[30:70, 20:50], after[30:70, 28:58] = patch, patch
    hidden = np.isnan(metrics.motion(before, after)[..., 0])
    covered = np.zeros_like(hidden)
    covered[34:66, 52:57] = True
    assert hidden[covered].mean() > 0.7
    assert hidden[5:25, 5:-10].mean() < 0.05


def test_the_truth_is_as_steady_as_itself(frames: list[np.ndarray], masks: list[np.ndarray], exact: list[np.ndarray]) -> None:
    assert metrics.warping_error(frames, frames, masks) == 0
    assert metrics.warping_error(frames, frames, masks, exact) == 0
    assert metrics.flow_difference(frames, frames, masks) == 0


@pytest.mark.parametrize("levels", [2, 5])
def test_flicker_costs_its_height(frames: list[np.ndarray], masks: list[np.ndarray], exact: list[np.ndarray], levels: int) -> None:
    """Under exact flow by whole pixels, frames that alternate by +-n levels differ by 2 n, and the truth by nothing."""
    assert metrics.warping_error(flickering(frames, levels), frames, masks, exact) == pytest.approx(2 * levels)
    estimated = metrics.warping_error(flickering(frames, levels), frames, masks)
    assert estimated == pytest.approx(2 * levels, rel=0.35), "DIS is good enough"


def test_leaving_out_the_noise_of_the_camera_is_hardly_rewarded(
    frames: list[np.ndarray], masks: list[np.ndarray], exact: list[np.ndarray]
) -> None:
    noise, clean = np.random.default_rng(1), flickering(frames, 0)
    noisy = [(frame + noise.normal(0, 3, frame.shape)).round().astype(np.uint8) for frame in clean]
    ours = metrics.warping_error(clean, noisy, masks, exact)
    usual = metrics.warping_error(clean, noisy, masks, exact, sigma=0)
    assert usual == pytest.approx(-np.sqrt(2) * 3 * np.sqrt(2 / np.pi), rel=0.05), "the mean of a normal distribution's size"
    assert usual / 3 < ours < 0


def test_flow_comes_from_the_truth_and_a_frozen_face_is_caught(frames: list[np.ndarray], masks: list[np.ndarray]) -> None:
    frozen = [frames[0]] * LENGTH
    assert metrics.warping_error(frozen, frames, masks) > 2
    assert metrics.flow_difference(frozen, frames, masks) == pytest.approx(2, abs=0.2)


def test_tof_is_the_difference_of_speeds(frames: list[np.ndarray], masks: list[np.ndarray]) -> None:
    assert metrics.flow_difference(moving(3), frames, masks) == pytest.approx(1, abs=0.15)


def test_only_the_mask_and_what_is_not_hidden_count(
    frames: list[np.ndarray], masks: list[np.ndarray], exact: list[np.ndarray]
) -> None:
    hidden = [flow.copy() for flow in exact]
    for flow in hidden:
        flow[:48] = np.nan
    spoiled = [frame.copy() for frame in frames]
    for frame in spoiled[::2]:
        frame[:44] = 0  # the bilinear reach stays away from what counts
        frame[:, :8] = 0
    assert metrics.warping_error(spoiled, frames, masks, hidden) == 0
    assert metrics.warping_error(spoiled, frames, masks, exact) > 5


def test_what_time_needs(frames: list[np.ndarray], masks: list[np.ndarray], exact: list[np.ndarray]) -> None:
    for metric in (metrics.warping_error, metrics.flow_difference):
        with pytest.raises(ValueError, match="at least two"):
            metric(frames[:1], frames[:1], masks[:1])
        with pytest.raises(ValueError, match="4 results and 5"):
            metric(frames[:-1], frames, masks)
        with pytest.raises(ValueError, match="masks"):
            metric(frames, frames, masks[:2])
        with pytest.raises(ValueError, match="empty"):
            metric(frames, frames, [~each & each for each in masks])
        with pytest.raises(ValueError, match="differ in size"):
            inspect.unwrap(metric)([frame[:-1] for frame in frames], frames, masks)
    with pytest.raises(ValueError, match="flows"):
        metrics.warping_error(frames, frames, masks, exact[:-1])
    with pytest.raises(ValueError, match="followed"):
        metrics.warping_error(frames, frames, masks, [flow * np.nan for flow in exact])


# --- jitter -----------------------------------------------------------------------------------------------------------------


def test_identity_jitter_is_the_deviation_of_cosines() -> None:
    gallery = np.eye(3)[:1].repeat(5, 0)
    angles = np.array([0.1, 0.4, 0.2, 0.3])
    vectors = np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=1)
    assert metrics.identity_jitter(vectors, gallery) == pytest.approx(np.cos(angles).std())
    assert metrics.identity_jitter(vectors[[1, 1, 1]], gallery) == 0
    for wrong in (vectors[:1], vectors * np.nan):
        with pytest.raises(ValueError, match=r"two frames|finite"):
            metrics.identity_jitter(wrong, gallery)


def test_landmark_jitter_knows_noise_from_motion() -> None:
    draw = np.random.default_rng(2)
    still = draw.uniform(0, 100, (68, 2))
    steady = still + np.arange(400)[:, None, None] * np.array([1.5, -0.5])
    assert metrics.landmark_jitter(steady, 50) == pytest.approx(0, abs=1e-12)
    noisy = steady + draw.normal(0, 0.5, steady.shape)
    assert metrics.landmark_jitter(noisy, 50) == pytest.approx(np.sqrt(12) * 0.5 / 50, rel=0.02)
    for wrong in (steady[:2], steady * np.nan):
        with pytest.raises(ValueError, match=r"three frames|finite"):
            metrics.landmark_jitter(wrong, 50)
    with pytest.raises(ValueError, match="interocular"):
        metrics.landmark_jitter(steady, 0)


# --- sets of pictures -------------------------------------------------------------------------------------------------------


def directions(seed: int, count: int, towards: float = 0.0) -> np.ndarray:
    """Features of any length around one axis of 16."""
    drawn = np.random.default_rng(seed).normal(size=(count, 16))
    drawn[:, 0] += 2
    drawn[:, 1] += towards
    return drawn


def test_kid_is_the_sum_over_pairs_written_out() -> None:
    one, two = directions(0, 9), directions(1, 11, 2)
    x, y = ([row / np.linalg.norm(row) for row in features] for features in (one, two))

    def mean_kernel(a: list[np.ndarray], b: list[np.ndarray]) -> float:
        return float(
            np.mean([(float(p @ q) + 1) ** 3 for i, p in enumerate(a) for j, q in enumerate(b) if not (a is b and i == j)])
        )

    by_hand = mean_kernel(x, x) + mean_kernel(y, y) - 2 * mean_kernel(x, y)
    found = metrics.kid(one, two)
    assert found.value == pytest.approx(by_hand)
    assert metrics.kid(7 * one, 0.1 * two).value == pytest.approx(found.value), "the lengths of features don't count"
    assert found == metrics.kid(one, two), "the halves are drawn by a seed"


def test_kid_is_unbiased_where_the_sets_are_alike_and_its_error_is_honest() -> None:
    alike = [metrics.kid(directions(seed, 30), directions(1000 + seed, 30), subsets=30) for seed in range(60)]
    values, errors = (np.array([getattr(each, name) for each in alike]) for name in ("value", "error"))
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(60)
    assert values.std() < errors.mean() < 3 * values.std()
    apart = [metrics.kid(directions(seed, 30), directions(1000 + seed, 30, 3.0), subsets=30) for seed in range(60)]
    values, errors = (np.array([getattr(each, name) for each in apart]) for name in ("value", "error"))
    assert values.min() > 0
    assert errors.mean() == pytest.approx(values.std(), rel=0.4)


def test_kid_needs_sets() -> None:
    features = directions(0, 20)
    with pytest.raises(ValueError, match="at least 8"):
        metrics.kid(features[:7], features)
    with pytest.raises(ValueError, match="no direction"):
        metrics.kid(features, 0 * features)
    with pytest.raises(ValueError, match="finite"):
        metrics.kid(features, features * np.nan)
    with pytest.raises(ValueError, match="subsets"):
        metrics.kid(features, features, subsets=1)
