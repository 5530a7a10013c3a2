"""Identity, pose, landmarks, expression and gaze, on vectors, rotations and points whose answer is known."""

import inspect
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from faceswap_lab.models import metrics

AXES = np.eye(4)
PEOPLE = {name: AXES[[number]].repeat(5, 0) for number, name in enumerate(["source", "target", "stranger"])}
LEANING = np.array([0.6, 0.5, 0.0, math.sqrt(1 - 0.36 - 0.25)])


# --- identity ---------------------------------------------------------------------------------------------------------------


def test_margin_is_the_difference_of_two_cosines() -> None:
    assert metrics.leak(LEANING, PEOPLE["target"]) == pytest.approx(0.5)
    assert metrics.identity_margin(LEANING, PEOPLE["source"], PEOPLE["target"]) == pytest.approx(0.1)
    assert metrics.identity_margin(LEANING, PEOPLE["target"], PEOPLE["source"]) == pytest.approx(-0.1)


def test_rank1_asks_everybody() -> None:
    assert metrics.rank1(LEANING, PEOPLE, "source")
    assert not metrics.rank1(LEANING, PEOPLE, "target")
    assert not metrics.rank1(LEANING, {**PEOPLE, "twin": LEANING[None]}, "source"), "somebody else is nearer"
    assert not metrics.rank1(LEANING, {"source": PEOPLE["source"], "same": PEOPLE["source"]}, "source"), "a tie"


@pytest.mark.parametrize("galleries", [{}, {"source": AXES[:1]}, {"target": AXES[:1], "stranger": AXES[1:2]}])
def test_rank1_needs_the_source_and_another(galleries: dict[str, np.ndarray]) -> None:
    with pytest.raises(ValueError, match="at least one other"):
        metrics.rank1(LEANING, galleries, "source")


def test_leak_is_0_as_truth_and_1_as_the_untouched_target() -> None:
    assert metrics.leak_normalised(0.5, target=0.9, truth=0.5) == pytest.approx(0)
    assert metrics.leak_normalised(0.9, target=0.9, truth=0.5) == pytest.approx(1)
    assert metrics.leak_normalised(0.6, target=0.9, truth=0.5) == pytest.approx(0.25)
    assert metrics.leak_normalised(0.4, target=0.9, truth=0.5) == pytest.approx(-0.25)
    assert math.isnan(metrics.leak_normalised(0.4, target=0.5, truth=0.5))


@pytest.mark.parametrize("broken", [np.full(4, np.nan), np.zeros(4)])
def test_a_broken_embedding_has_no_similarity(broken: np.ndarray) -> None:
    for pair in ((broken, PEOPLE["source"]), (LEANING, broken[None])):
        with pytest.raises(ValueError, match=r"finite|no direction"):
            metrics.identity_similarity(*pair)


# --- pose -------------------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.floats(0.001, 179.999), st.integers(0, 2**32 - 1))
def test_pose_error_is_the_angle_about_any_axis(degrees: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    start, axis = Rotation.random(rng=draw), draw.normal(size=3)
    turned = start * Rotation.from_rotvec(np.radians(degrees) * axis / np.linalg.norm(axis))
    assert metrics.pose_error(start.as_matrix(), turned.as_matrix()) == pytest.approx(degrees, abs=1e-5)


def test_pose_error_of_equal_and_of_opposite_poses() -> None:
    assert metrics.pose_error(np.eye(3), np.eye(3)) == 0
    assert metrics.pose_error(np.eye(3), np.diag([1.0, -1, -1])) == pytest.approx(180)


@pytest.mark.parametrize("matrix", [2 * np.eye(3), np.diag([1.0, 1, -1]), np.full((3, 3), np.nan), np.zeros((3, 3))])
def test_what_is_no_rotation_is_no_pose(matrix: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"rotation|finite"):
        metrics.pose_error(np.eye(3), matrix)
    with pytest.raises(ValueError, match=r"rotation|finite"):
        metrics.pose_error(matrix, np.eye(3))


# --- landmarks and apertures ------------------------------------------------------------------------------------------------


def test_hidden_points_do_not_count() -> None:
    truth = np.random.default_rng(0).uniform(0, 100, (68, 2))
    points, visible = truth + np.array([3.0, 4.0]), np.ones(68, bool)
    points[:10] += 50
    visible[:10] = False
    assert metrics.landmark_error(points, truth, 50, visible) == pytest.approx(0.1)
    for wrong in (np.zeros(68, bool), visible[:-1]):
        with pytest.raises(ValueError, match=r"visible|points"):
            inspect.unwrap(metrics.landmark_error)(points, truth, 50, wrong)
    with pytest.raises(ValueError, match="finite"):
        metrics.landmark_error(points * np.nan, truth, 50)


@pytest.fixture
def neutral() -> np.ndarray:
    """Points with a mouth 40 wide and 10 open, eyes 20 wide and 6 (right) and 8 (left) open."""
    points = np.zeros((68, 2))
    for corners, gaps, left, width, gap in (
        ((60, 64), ((61, 67), (62, 66), (63, 65)), 30, 40, 10),
        ((36, 39), ((37, 41), (38, 40)), 20, 20, 6),
        ((42, 45), ((43, 47), (44, 46)), 60, 20, 8),
    ):
        points[list(corners)] = [[left, 50], [left + width, 50]]
        for number, (above, below) in enumerate(gaps, 1):
            half = gap / 2 + (number - (len(gaps) + 1) / 2)  # uneven, and as wide in the mean
            points[[above, below]] = [[left + 5 * number, 50 - half], [left + 5 * number, 50 + half]]
    return points


def test_apertures_are_heights_over_widths_whatever_the_size_and_roll(neutral: np.ndarray) -> None:
    roll = Rotation.from_euler("z", 30, degrees=True).as_matrix()[:2, :2]
    for points in (neutral, 3 * neutral @ roll.T + 7):
        found = metrics.apertures(points)
        assert (found.mouth, found.right_eye, found.left_eye) == pytest.approx((0.25, 0.3, 0.4))
    blinking = neutral.copy()
    blinking[[37, 38, 40, 41], 1] = 50
    error = metrics.aperture_error(blinking, neutral)
    assert (error.mouth, error.right_eye, error.left_eye) == pytest.approx((0, 0.3, 0))
    with pytest.raises(ValueError, match="coincide"):
        metrics.apertures(np.zeros((68, 2)))


# --- expression and gaze ----------------------------------------------------------------------------------------------------


def test_expression_error_and_correlation() -> None:
    truth = np.array([[0.0, 0.1, 0.5], [0.5, 0.2, 0.5], [1.0, 0.6, 0.5]])
    estimate = np.array([[0.2, 0.3, 0.5], [0.3, 0.3, 0.4], [0.4, 0.3, 0.6]])
    assert metrics.expression_error(estimate, truth) == pytest.approx((0.2 + 0.2 + 0.6 + 0.2 + 0.1 + 0.3 + 0 + 0.1 + 0.1) / 9)
    first, still, constant = metrics.expression_correlation(estimate, truth)
    assert first == pytest.approx(1), "moves with the truth, though less"
    assert still == 0, "the estimate never moves"
    assert math.isnan(constant), "the truth never moves"
    assert metrics.expression_correlation(-estimate, truth)[0] == pytest.approx(-1)


def test_correlation_is_numpys() -> None:
    draw = np.random.default_rng(5)
    one, two = draw.uniform(size=(2, 30, 6))
    expected = [np.corrcoef(one[:, action], two[:, action])[0, 1] for action in range(6)]
    assert metrics.expression_correlation(one, two) == pytest.approx(expected)


def test_two_pictures_always_correlate_so_three_are_asked_for() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        metrics.expression_correlation(np.zeros((2, 52)), np.ones((2, 52)))
    for wrong in (np.full((4, 52), np.nan), np.zeros((4, 51)), np.zeros((0, 52))):
        with pytest.raises(ValueError, match=r"finite|shape"):
            inspect.unwrap(metrics.expression_error)(wrong, np.zeros((4, 52)))


def test_gaze_error_is_a_mean_angle_whatever_the_lengths() -> None:
    ahead = np.array([[0.0, 0, 1], [0, 0, 2]])
    aside = np.array([[math.sin(0.1), 0, math.cos(0.1)], [0, 3 * math.sin(0.3), 3 * math.cos(0.3)]])
    assert metrics.gaze_error(aside, ahead) == pytest.approx(math.degrees(0.2))
    assert metrics.gaze_error(ahead, ahead) == 0
    assert metrics.gaze_error(-ahead, ahead) == pytest.approx(180)
    with pytest.raises(ValueError, match="length"):
        metrics.gaze_error(0 * ahead, ahead)
