"""Metrics on pictures whose answer is known, against scikit-image, and in the right order between floor and ceiling."""

import math

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from faceswap_lab.models import metrics


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[40:168, 160:288])


@pytest.fixture(scope="module")
def disc() -> np.ndarray:
    rows, columns = np.mgrid[:128, :128]
    return np.hypot(rows - 63.5, columns - 63.5) < 40


@pytest.fixture(scope="module")
def truth(picture: np.ndarray, disc: np.ndarray) -> np.ndarray:
    """The picture with its disc turned upside down: something else, of the same kind, inside a known region."""
    return np.where(disc[..., None], picture[::-1], picture)


@pytest.fixture(scope="module")
def half_way(picture: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return ((picture.astype(int) + truth) // 2).astype(np.uint8)


def test_psnr_of_a_constant_difference_is_exact() -> None:
    grey = np.full((8, 8, 3), 100, np.uint8)
    assert metrics.psnr(grey, grey + np.uint8(10)) == pytest.approx(20 * math.log10(255 / 10))
    assert metrics.psnr(grey, grey) == math.inf


def test_psnr_counts_only_the_mask(picture: np.ndarray, truth: np.ndarray, disc: np.ndarray) -> None:
    assert metrics.psnr(picture, truth, ~disc) == math.inf
    area = disc.mean()
    assert metrics.psnr(picture, truth, disc) == pytest.approx(metrics.psnr(picture, truth) + 10 * math.log10(area))


def test_psnr_agrees_with_scikit_image(picture: np.ndarray, truth: np.ndarray) -> None:
    assert metrics.psnr(picture, truth) == pytest.approx(peak_signal_noise_ratio(truth, picture))


def test_ssim_agrees_with_scikit_image(picture: np.ndarray, truth: np.ndarray, disc: np.ndarray) -> None:
    mean, full = structural_similarity(
        picture / 255,
        truth / 255,
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert metrics.ssim(picture, truth) == pytest.approx(mean, abs=1e-9)
    assert metrics.ssim(picture, truth, disc) == pytest.approx(full[disc].mean(), abs=1e-9)
    assert metrics.ssim(truth, truth, disc) == pytest.approx(1)


def test_ssim_is_wangs_formula_by_hand(picture: np.ndarray, truth: np.ndarray, disc: np.ndarray) -> None:
    """Equation 13 written out, window by window, at the mask's pixels: at the picture's corner, at its edge and inside."""
    steps = np.arange(-5, 6)
    line = np.exp(-(steps**2) / (2 * 1.5**2))
    window = np.outer(line, line) / np.outer(line, line).sum()

    def similarity(row: int, column: int, channel: int) -> float:
        around = slice(row, row + 11), slice(column, column + 11), channel
        x, y = (np.pad(image / 255, ((5, 5), (5, 5), (0, 0)), mode="symmetric")[around] for image in (picture, truth))
        mean_x, mean_y = (window * x).sum(), (window * y).sum()
        var_x, var_y = (window * (x - mean_x) ** 2).sum(), (window * (y - mean_y) ** 2).sum()
        covariance = (window * (x - mean_x) * (y - mean_y)).sum()
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        return float(luminance * (2 * covariance + 0.03**2) / (var_x + var_y + 0.03**2))

    for places in ([(0, 0)], [(64, 127)], [(3, 60), (64, 64), (90, 70)]):
        mask = np.zeros_like(disc)
        mask[tuple(zip(*places, strict=True))] = True
        by_hand = np.mean([similarity(row, column, channel) for row, column in places for channel in range(3)])
        assert metrics.ssim(picture, truth, mask) == pytest.approx(by_hand, abs=1e-9)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_floor_below_something_below_ceiling(
    metric: object, picture: np.ndarray, half_way: np.ndarray, truth: np.ndarray, disc: np.ndarray
) -> None:
    assert callable(metric)
    floor, value, ceiling = (metric(result, truth, disc) for result in (picture, half_way, truth))
    assert floor < value < ceiling


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.spill])
def test_an_empty_mask_is_a_wrong_argument(metric: object, picture: np.ndarray) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="empty"):
        metric(picture, picture, np.zeros((128, 128), bool))


def test_changed_region_is_where_truth_differs(disc: np.ndarray) -> None:
    target = np.full((128, 128, 3), 90, np.uint8)
    truth = target.copy()
    truth[disc, 1] = 110
    truth[~disc] += 3  # noise below the threshold
    truth[5, 5] = 255  # a speck
    region = metrics.changed_region(target, truth)
    assert not (region & ~disc).any()
    assert (region & disc).sum() > 0.98 * disc.sum()
    assert not metrics.changed_region(target, target).any()


def test_spill_counts_what_was_changed_outside(picture: np.ndarray, truth: np.ndarray, disc: np.ndarray) -> None:
    assert metrics.spill(truth, picture, disc) == 0
    assert metrics.spill(picture, picture, disc) == 0
    leaked = truth.copy()
    around = cv2.dilate(disc.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~disc
    leaked[around] = np.where(leaked[around] < 128, leaked[around] + 5, leaked[around] - 5)
    assert metrics.spill(leaked, picture, disc) == pytest.approx(around.sum() / disc.sum())
    leaked[around] = np.where(picture[around] < 128, picture[around] + 4, picture[around] - 4)
    assert metrics.spill(leaked, picture, disc) == 0, "below the threshold"


def test_identity_on_constructed_vectors() -> None:
    source, target = np.eye(4)[:1].repeat(5, 0), np.eye(4)[1:2].repeat(5, 0)
    leaning = np.array([0.8, 0.6, 0, 0])
    assert metrics.identity_similarity(leaning, source) == pytest.approx(0.8)
    assert metrics.identity_similarity(leaning, target) == pytest.approx(0.6)
    assert metrics.identity_similarity(leaning * 7, source) == pytest.approx(0.8)
    assert metrics.nearer_source(leaning, source, target)
    assert not metrics.nearer_source(leaning, target, source)


def test_identity_compares_with_the_mean_direction() -> None:
    gallery = np.array([[1.0, 0.0], [0.0, 1.0]])
    assert metrics.identity_similarity(np.array([1.0, 1.0]) / math.sqrt(2), gallery) == pytest.approx(1)


@settings(deadline=None)
@given(st.floats(0.1, 10), st.floats(-50, 50), st.floats(-50, 50))
def test_landmark_error_is_a_mean_distance_and_knows_no_scale(scale: float, dx: float, dy: float) -> None:
    truth = np.random.default_rng(3).uniform(0, 100, (68, 2))
    moved = truth + np.array([dx, dy])
    error = metrics.landmark_error(moved, truth, 40.0)
    assert error == pytest.approx(math.hypot(dx, dy) / 40)
    assert metrics.landmark_error(moved * scale, truth * scale, 40 * scale) == pytest.approx(error)


def test_landmark_ratio_needs_a_real_reference() -> None:
    assert metrics.landmark_error_ratio(0.129, 0.1) == pytest.approx(1.29)
    with pytest.raises(ValueError, match="rendered points"):
        metrics.landmark_error_ratio(0.1, 0.0)
    with pytest.raises(ValueError, match="interocular"):
        metrics.landmark_error(np.zeros((5, 2)), np.zeros((5, 2)), 0.0)


def test_seam_sees_a_hard_edge_and_forgives_a_feathered_one(disc: np.ndarray) -> None:
    ramp = np.tile(np.linspace(60, 180, 128), (128, 1))[..., None].repeat(3, 2)
    mask = disc.astype(np.float32)
    soft = cv2.GaussianBlur(mask, (0, 0), 6)
    brighter = ramp + 25
    untouched, feathered, hard = (
        metrics.seam(np.round(ramp + m[..., None] * (brighter - ramp)).astype(np.uint8), disc) for m in (0 * mask, soft, mask)
    )
    assert abs(untouched) < 0.2
    assert untouched <= feathered < 1.5
    assert hard > 8


def test_seam_needs_a_contour(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="contour"):
        metrics.seam(picture, np.zeros((128, 128), bool))


def test_normalised_is_zero_at_the_floor_and_one_at_the_ceiling() -> None:
    assert metrics.normalised(0.5, 0.5, 0.8) == 0
    assert metrics.normalised(0.8, 0.5, 0.8) == 1
    assert metrics.normalised(0.2, 0.8, 0.0) == pytest.approx(0.75)  # where lower is better, too
    assert math.isnan(metrics.normalised(30.0, 15.0, math.inf))
    assert math.isnan(metrics.normalised(1.0, 2.0, 2.0))
    score = metrics.Score(value=0.65, floor=0.5, ceiling=0.8, unit="cosine")
    assert score.normalised == pytest.approx(0.5)
