"""The 106 points match insightface's `2d106det` in order and position, as far as public information goes.

insightface's README of the model says "ordered by point names" and shows a numbered picture of them; the names are those of
Face++'s API, whose left is the image's. So the names are listed here, sorted, and each point must be where its name says. Mind the
contour, where lexicographic order puts 10 before 2.
"""

import numpy as np
import pytest
from jaxtyping import Float

from faceswap_lab.actors.head.landmark_sets import landmark_table
from faceswap_lab.actors.head.rig import load_rig

EYE = ("bottom", "center", "left_corner", "pupil", "right_corner", "top")
QUARTERS = tuple(f"{level}_{side}_quarter" for level in ("lower", "upper") for side in ("left", "right"))
MIDDLES = ("lower_middle", "upper_middle")
NAMES = sorted(
    ["contour_chin"]
    + [f"contour_{side}{number}" for side in ("left", "right") for number in range(1, 17)]
    + [f"{side}_eye_{part}" for side in ("left", "right") for part in EYE + QUARTERS]
    + [f"{side}_eyebrow_{part}" for side in ("left", "right") for part in QUARTERS + MIDDLES]
    + [f"left_eyebrow_{part}" for part in ("left_corner", "lower_right_corner", "upper_right_corner")]
    + [f"right_eyebrow_{part}" for part in ("right_corner", "lower_left_corner", "upper_left_corner")]
    + ["nose_tip", "nose_middle_contour", "nose_bridge1", "nose_bridge2", "nose_bridge3"]
    + [f"nose_{side}_contour{number}" for side in ("left", "right") for number in range(1, 6)]
    + [f"mouth_{part}" for part in ("left_corner", "right_corner")]
    + [f"mouth_{lip}_lip_{part}" for lip in ("lower", "upper") for part in ("bottom", "top")]
    + [f"mouth_lower_lip_{side}_contour{number}" for side in ("left", "right") for number in range(1, 4)]
    + [f"mouth_upper_lip_{side}_contour{number}" for side in ("left", "right") for number in range(1, 5)]
)
# Outlines as traversed by public code that draws this model's output: contour, brows, eyes, outer lips.
CONTOUR = (1, 9, 10, 11, 12, 13, 14, 15, 16, 2, 3, 4, 5, 6, 7, 8, 0, 24, 23, 22, 21, 20, 19, 18, 32, 31, 30, 29, 28, 27, 26, 25, 17)
RINGS = (
    (43, 48, 49, 51, 50, 46, 47, 45, 44),
    (102, 103, 104, 105, 101, 100, 99, 98, 97),
    (35, 41, 40, 42, 39, 37, 33, 36),
    (89, 95, 94, 96, 93, 91, 87, 90),
    (52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55),
)
# insightface's index of each of iBUG's inner points, as in public conversion tables.
OF_IBUG = (
    *(43, 48, 49, 51, 50, 102, 103, 104, 105, 101, 72, 73, 74, 86, 78, 79, 80, 85, 84),
    *(35, 41, 42, 39, 37, 36, 89, 95, 96, 93, 91, 90),
    *(52, 64, 63, 71, 67, 68, 61, 58, 59, 53, 56, 55, 65, 66, 62, 70, 69, 57, 60, 54),
)


@pytest.fixture(scope="module")
def positions() -> Float[np.ndarray, "106 2"]:
    """The points on the neutral template in front view, in millimetres: x to the image's right, y down from the eyes."""
    rig = load_rig()
    corners, weights = landmark_table(rig, 106)
    place = 1e3 * (rig.template[corners] * weights[..., None]).sum(1).numpy()
    return np.stack([place[:, 0], place[[38, 92], 2].mean() - place[:, 2]], 1)


def at(positions: Float[np.ndarray, "106 2"], name: str) -> Float[np.ndarray, "2"]:
    return np.asarray(positions[NAMES.index(name)])


def test_anchor_points_have_the_indices_of_the_published_picture() -> None:
    expected = {
        "contour_chin": 0,
        "contour_left1": 1,
        "contour_left2": 9,
        "contour_right1": 17,
        "contour_right16": 24,
        "left_eye_left_corner": 35,
        "left_eye_pupil": 38,
        "left_eye_right_corner": 39,
        "left_eyebrow_left_corner": 43,
        "mouth_left_corner": 52,
        "mouth_right_corner": 61,
        "nose_bridge1": 72,
        "nose_left_contour1": 75,
        "nose_middle_contour": 80,
        "nose_tip": 86,
        "right_eye_left_corner": 89,
        "right_eye_pupil": 92,
        "right_eye_right_corner": 93,
        "right_eyebrow_right_corner": 101,
    }
    assert len(NAMES) == len(set(NAMES)) == 106
    assert {name: NAMES.index(name) for name in expected} == expected


def test_eye_and_brow_points_are_where_their_names_say(positions: Float[np.ndarray, "106 2"]) -> None:
    for number, name in enumerate(NAMES):
        part = name.split("_")[1]
        if part not in ("eye", "eyebrow"):
            continue
        inside = [other for other, each in enumerate(NAMES) if each.split("_")[:2] == name.split("_")[:2]]
        x, y = positions[number] - (positions[inside].min(0) + positions[inside].max(0)) / 2
        words = name.split("_")[2:]
        assert "left" not in words or x < -1, name
        assert "right" not in words or x > 1, name
        assert ("upper" not in words and "top" not in words) or y < 0.5 * (part == "eyebrow"), name
        assert ("lower" not in words and "bottom" not in words) or y > -0.5 * (part == "eyebrow"), name
        assert (positions[number, 0] < 0) == name.startswith("left"), name


def test_nose_and_lip_points_are_where_their_names_say(positions: Float[np.ndarray, "106 2"]) -> None:
    down = [at(positions, f"nose_{part}")[1] for part in ("bridge1", "bridge2", "bridge3", "tip", "middle_contour")]
    assert np.all(np.diff(down) > 3), down
    assert abs(down[0]) < 3, "the bridge starts between the eyes"
    for side, sign in (("left", -1), ("right", 1)):
        wing = np.array([at(positions, f"nose_{side}_contour{number}") for number in range(1, 6)])
        assert (np.diff(wing[:, 1]) > -1).all(), side
        assert (sign * wing[:, 0] > 4).all(), side
        assert (sign * wing[:, 0]).argmax() == 2, "the third is where the wing is widest"
        corner = at(positions, f"{side}_eye_{'right' if side == 'left' else 'left'}_corner")
        assert abs(wing[0, 1] - corner[1]) < 5, "the first is at the height of the eye's inner corner"
        assert sign * wing[0, 0] < sign * corner[0], side
    x, y = np.array([at(positions, f"mouth_{part}") for part in ("left_corner", "right_corner")]).T
    assert x[0] < -15
    assert x[1] > 15
    assert abs(y[0] - y[1]) < 1
    heights = [
        at(positions, f"mouth_{part}")[1] for part in ("upper_lip_top", "upper_lip_bottom", "lower_lip_top", "lower_lip_bottom")
    ]
    assert (np.diff(heights) >= 0).all(), heights
    assert min(heights[1] - heights[0], heights[3] - heights[2]) > 3, heights
    for sign, side in ((-1, "left"), (1, "right")):
        upper = sign * np.array([at(positions, f"mouth_upper_lip_{side}_contour{number}")[0] for number in (1, 2, 3)])
        assert (np.diff(upper) > 2).all(), "the upper lip is numbered from its middle to its corner"
        lower = sign * np.array([at(positions, f"mouth_lower_lip_{side}_contour{number}")[0] for number in (1, 2, 3)])
        assert lower[1] > lower[2] > 3, "the lower lip's outer two are numbered from the corner"


def test_the_contour_is_evenly_spaced_from_above_one_eye_to_above_the_other(positions: Float[np.ndarray, "106 2"]) -> None:
    line = positions[list(CONTOUR)]
    by_name = [f"contour_left{number}" for number in range(1, 17)] + ["contour_chin"]
    by_name += [f"contour_right{number}" for number in range(16, 0, -1)]
    assert [NAMES.index(name) for name in by_name] == list(CONTOUR)
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    assert np.abs(steps / steps.mean() - 1).max() < 0.2, steps
    brows = positions[[43, 101], 1]
    for end, second, brow in ((line[0], line[1], brows[0]), (line[-1], line[-2], brows[1])):
        assert brow < end[1] < -4, "the ends are between the brow and the eye"
        assert abs(second[1]) < 8, "the second is at the eye's height"
    assert line[:, 1].argmax() == 16
    assert abs(line[16, 0]) < 1


def test_outlines_of_public_code_do_not_self_intersect(positions: Float[np.ndarray, "106 2"]) -> None:
    for ring in RINGS:
        x, y = positions[list(ring)].T
        area = (x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2
        hull = positions[list(ring)]
        turned = np.arctan2(*(hull - hull.mean(0)).T[::-1])
        assert area > 0, ring
        assert (np.diff(np.unwrap(turned)) > -0.35).all(), ring


def test_inner_points_match_ibugs_in_public_conversion_tables(positions: Float[np.ndarray, "106 2"]) -> None:
    rig = load_rig()
    corners, weights = landmark_table(rig, 68)
    place = 1e3 * (rig.template[corners] * weights[..., None]).sum(1).numpy()
    ibug = np.stack([place[:, 0], place[:, 2]], 1)
    ours = positions * np.array([1, -1])
    shift = ours[86] - ibug[30]
    far = np.linalg.norm(ours[list(OF_IBUG)] - ibug[17:] - shift, axis=1)
    assert far.max() < 4, far.round(1)  # iBUG's brow is a single line, these points are its upper edge
    assert far.mean() < 1
