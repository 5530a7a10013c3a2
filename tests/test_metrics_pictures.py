"""Sharpness, calibrated PSNR, background and FLIP, on pictures whose answer is known in closed form."""

import inspect
import math
from collections.abc import Callable

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio

import faceswap_lab as lab
from faceswap_lab.models import metrics

EVERYWHERE = np.ones((64, 64), bool)


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.ascontiguousarray(skimage.data.astronaut()[40:104, 190:254])


def grey(values: np.ndarray) -> np.ndarray:
    return np.round(values).astype(np.uint8)[..., None].repeat(3, 2)


def wave(length: float, amplitude: float = 100) -> np.ndarray:
    return grey(np.tile(128 + amplitude * np.sin(2 * np.pi * np.arange(64) / length), (64, 1)))


# --- sharpness --------------------------------------------------------------------------------------------------------------


def test_gradient_energy_of_a_ramp_is_its_slope_squared() -> None:
    rows, columns = np.mgrid[:64, :64]
    inside = np.zeros((64, 64), bool)
    inside[8:-8, 8:-8] = True
    for sigma in (0.5, 0.7, 2.0):
        assert metrics.gradient_energy(grey(3 * columns), inside, sigma=sigma) == pytest.approx(9)
        assert metrics.gradient_energy(grey(2 * columns + rows), inside, sigma=sigma) == pytest.approx(5)


def test_gradient_energy_weighs_colours_as_luma_does() -> None:
    ramp = np.zeros((64, 64, 3), np.uint8)
    ramp[..., 1] = 2 * np.arange(64)
    inside = np.zeros((64, 64), bool)
    inside[8:-8, 8:-8] = True
    assert metrics.gradient_energy(ramp, inside) == pytest.approx((2 * 0.587) ** 2)


@pytest.mark.parametrize("length", [8, 16, 32])
@pytest.mark.parametrize("blur", [0.7, 1.5])
def test_a_blurred_wave_has_the_energy_that_the_gaussian_leaves(length: float, blur: float) -> None:
    """A Gaussian of sigma b multiplies a wave of frequency w by exp(-b^2 w^2 / 2), so its energy by the square of that."""
    sharp = wave(length)
    blurred = cv2.GaussianBlur(sharp, (0, 0), blur)
    inside = np.zeros((64, 64), bool)
    inside[:, 16:-16] = True
    frequency = 2 * np.pi / length
    assert metrics.sharpness(blurred, sharp, inside) == pytest.approx(math.exp(-((blur * frequency) ** 2)), rel=0.05)


def test_contrast_counts_by_its_square_and_only_the_mask_counts(picture: np.ndarray) -> None:
    assert metrics.sharpness(wave(16, 50), wave(16, 100), EVERYWHERE) == pytest.approx(0.25, rel=0.02)
    left = np.zeros((64, 64), bool)
    left[:, :20] = True
    spoiled = picture.copy()
    spoiled[:, 32:] = 0
    assert metrics.sharpness(spoiled, picture, left) == 1


def test_noise_is_hardly_rewarded_beside_what_blur_costs(picture: np.ndarray) -> None:
    noise = np.random.default_rng(0).normal(0, 4, picture.shape[:2])[..., None]
    noisy = np.clip(picture + noise, 0, 255).round().astype(np.uint8)
    blurred = cv2.GaussianBlur(picture, (0, 0), 0.7)
    assert abs(metrics.sharpness(noisy, picture, EVERYWHERE) - 1) < 0.1
    assert metrics.sharpness(blurred, picture, EVERYWHERE) < 0.75


def test_sharpness_needs_something_to_be_as_sharp_as(picture: np.ndarray) -> None:
    flat = np.full_like(picture, 90)
    assert metrics.sharpness(flat, picture, EVERYWHERE) == pytest.approx(0, abs=1e-12)
    with pytest.raises(ValueError, match="no gradient"):
        metrics.sharpness(picture, flat, EVERYWHERE)
    with pytest.raises(ValueError, match="sigma"):
        metrics.sharpness(picture, picture, EVERYWHERE, sigma=0)


@pytest.mark.slow
def test_on_an_actor_the_mask_holds_the_features_and_little_else() -> None:
    rendered = lab.actor(30).perform("still", seconds=1, fps=1, size=256).rendered(0)
    mask = metrics.features_mask(rendered.landmarks68, (256, 256))
    features = rendered.maps.mask("brows", "eyes", "lips", "teeth", "inner mouth")
    assert (mask & features).sum() > 0.9 * features.sum()
    assert mask.sum() < 3 * features.sum()
    assert not mask[tuple(rendered.landmarks68[30].round().astype(int)[::-1])], "the tip of the nose"
    blurred = cv2.GaussianBlur(rendered.image, (0, 0), 0.7)
    assert 0.4 < metrics.sharpness(blurred, rendered.image, mask) < 0.8


def test_the_mask_follows_the_landmarks_and_grows_with_the_face() -> None:
    points = np.random.default_rng(1).uniform(60, 120, (68, 2))
    small, moved = (metrics.features_mask(points + shift, (256, 256)) for shift in (np.zeros(2), np.array([40, 25])))
    assert np.array_equal(moved, np.roll(small, (25, 40), (0, 1)))
    featured = points[[*range(17, 27), *range(36, 60)]]
    between = np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))
    reached = round(featured[:, 0].min()) - round(0.5 * between), round(featured[:, 0].max()) + round(0.5 * between)
    (columns,) = np.nonzero(metrics.features_mask(points, (256, 256), reach=0.5).any(axis=0))
    assert (columns[0], columns[-1]) == reached
    large = metrics.features_mask(points * 2, (512, 512))
    assert large.sum() == pytest.approx(4 * small.sum(), rel=0.05)
    assert not metrics.features_mask(points + 1000, (256, 256)).any()
    with pytest.raises(ValueError, match="finite"):
        metrics.features_mask(points * np.nan, (256, 256))


# --- PSNR after calibration, and of the background --------------------------------------------------------------------------


def test_a_gain_and_an_offset_for_each_channel_cost_nothing_after_calibration() -> None:
    columns = np.tile(np.arange(0, 120, 2, dtype=np.uint8), (60, 1))
    picture = np.stack([columns, columns.T, columns], axis=2)
    other = np.stack([2 * columns + 10, columns.T // 2, 250 - 2 * columns], axis=2).astype(np.uint8)
    mask = np.ones((60, 60), bool)
    assert metrics.psnr(picture, other, mask) < 20
    assert metrics.psnr_calibrated(picture, other, mask) == math.inf


def test_calibration_is_a_line_fitted_to_each_channel(picture: np.ndarray) -> None:
    result, mask = picture[:, ::-1], np.tril(EVERYWHERE)
    fitted = picture / 255
    for channel in range(3):
        x, y = result[..., channel][mask] / 255, picture[..., channel][mask] / 255
        fitted[..., channel][mask] = np.polyval(np.polyfit(x, y, 1), x)
    by_hand = peak_signal_noise_ratio(picture[mask] / 255, fitted[mask], data_range=1)
    assert metrics.psnr_calibrated(result, picture, mask) == pytest.approx(by_hand)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_calibration_never_costs(seed: int) -> None:
    draw = np.random.default_rng(seed)
    one, two = draw.integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    mask = np.ones((8, 8), bool)
    assert metrics.psnr_calibrated(one, two, mask) >= metrics.psnr(one, two, mask) - 1e-9


def test_a_flat_result_is_scored_as_the_mean(picture: np.ndarray) -> None:
    spread = ((picture - picture.mean((0, 1))) / 255).astype(np.float64)
    flat = np.zeros_like(picture)
    assert metrics.psnr_calibrated(flat, picture, EVERYWHERE) == pytest.approx(-10 * math.log10((spread**2).mean()))


def test_background_is_what_the_region_leaves(picture: np.ndarray) -> None:
    region = np.zeros((64, 64), bool)
    region[20:40, 20:40] = True
    changed = picture.copy()
    changed[region] = 255 - changed[region]
    assert metrics.background_psnr(changed, picture, region) == math.inf
    touched = np.where(picture < 128, picture + 10, picture - 10).astype(np.uint8)
    assert metrics.background_psnr(touched, picture, region) == pytest.approx(20 * math.log10(255 / 10))
    with pytest.raises(ValueError, match="empty"):
        metrics.background_psnr(changed, picture, EVERYWHERE)


# --- FLIP -------------------------------------------------------------------------------------------------------------------


def difference_of_colours(one: tuple[int, ...], two: tuple[int, ...]) -> float:
    """FLIP between two even areas, written out from the paper: no filter changes them and there are no edges."""
    to_xyz = np.array([[10135552, 8788810, 4435075], [2613072, 8788810, 887015], [1425312, 8788810, 70074185]]) / [
        [24577794],
        [12288897],
        [73733382],
    ]
    white = to_xyz.sum(axis=1)

    def hunt_lab(colour: tuple[int, ...]) -> np.ndarray:
        srgb = np.array(colour) / 255
        linear = np.where(srgb > 0.04045, ((srgb + 0.055) / 1.055) ** 2.4, srgb / 12.92)
        relative = to_xyz @ linear / white
        x, y, z = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), relative / (3 * (6 / 29) ** 2) + 4 / 29)
        lightness = 116 * y - 16
        return np.array([lightness, 0.01 * lightness * 500 * (x - y), 0.01 * lightness * 200 * (y - z)])

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float((abs(a[0] - b[0]) + math.hypot(*(a - b)[1:])) ** 0.7)

    most = distance(hunt_lab((0, 255, 0)), hunt_lab((0, 0, 255)))
    d = distance(hunt_lab(one), hunt_lab(two))
    return d / (0.4 * most) * 0.95 if d < 0.4 * most else 0.95 + (d - 0.4 * most) / (0.6 * most) * 0.05


@pytest.mark.parametrize(
    ("one", "two"),
    [((0, 255, 0), (0, 0, 255)), ((255, 0, 0), (0, 0, 255)), ((100, 120, 140), (110, 118, 130)), ((20, 20, 20), (30, 30, 30))],
)
def test_flip_of_two_colours_is_the_papers(one: tuple[int, ...], two: tuple[int, ...]) -> None:
    areas = [np.full((64, 64, 3), colour, np.uint8) for colour in (one, two)]
    assert metrics.flip(*areas) == pytest.approx(difference_of_colours(one, two), abs=2e-4)


def test_flip_is_a_mean_over_the_mask(picture: np.ndarray) -> None:
    assert metrics.flip(picture, picture) == 0
    half = np.zeros((64, 64), bool)
    half[:, :20] = True
    spoiled = picture.copy()
    spoiled[:, 40:] = 255 - spoiled[:, 40:]
    assert metrics.flip(spoiled, picture, half) < 0.01 < metrics.flip(spoiled, picture, ~half)


def test_flip_sees_fine_patterns_from_near_and_not_from_far() -> None:
    rows, columns = np.mgrid[:64, :64]
    board, even = grey(128 + 20 * ((rows + columns) % 2)), np.full((64, 64, 3), 139, np.uint8)
    near, far = (metrics.flip(board, even, pixels_per_degree=ppd) for ppd in (10, 120))
    assert near > 4 * far
    with pytest.raises(ValueError, match="pixels_per_degree"):
        metrics.flip(board, even, pixels_per_degree=0)


# --- wrong arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [metrics.psnr_calibrated, metrics.background_psnr, metrics.sharpness, metrics.flip])
def test_masks_and_pictures_must_fit(metric: Callable[..., float], picture: np.ndarray) -> None:
    metric = inspect.unwrap(metric)  # as it is without the tests' check of shapes
    with pytest.raises(ValueError, match="empty"):
        metric(picture, picture, ~EVERYWHERE)
    with pytest.raises(ValueError, match="differ in size"):
        metric(picture, picture[:-1], EVERYWHERE)
    with pytest.raises(ValueError, match="differ in size"):
        metric(picture, picture, EVERYWHERE[:-1])


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
def test_pictures_of_two_sizes_have_no_score(metric: Callable[..., float], picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="differ in size"):
        inspect.unwrap(metric)(picture, picture[:-1])
