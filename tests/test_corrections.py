import json
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from faceswap_lab.faces.corrections import Correction, Corrections, selected
from faceswap_lab.faces.face import Faces

points5 = hnp.arrays(np.float64, (5, 2), elements=st.floats(-1e6, 1e6))
changes = st.lists(st.tuples(st.sampled_from(["actor:3/speech:1", "sha256:ab", "é"]), st.integers(0, 9), points5), max_size=8)
POINTS = np.arange(10.0).reshape(5, 2)


def faces(*rows: tuple[int, float]) -> Faces:
    """A face for each (frame index, shift)."""
    keypoints = np.stack([POINTS + shift for _, shift in rows]).astype(np.float32)
    boxes = np.concatenate([keypoints.min(1), keypoints.max(1)], 1)
    return Faces(
        frame_index=np.array([index for index, _ in rows]), boxes=boxes, keypoints=keypoints, scores=np.ones(len(rows), np.float32)
    )


@given(changes)
def test_json_round_trip_is_exact_and_order_does_not_matter(rows):
    latest = {(origin, index): points for origin, index, points in rows}
    made = Corrections()
    for origin, index, points in rows:
        made = made.with_points(origin, index, points)
    backwards = Corrections()
    for (origin, index), points in reversed(latest.items()):
        backwards = backwards.with_points(origin, index, points)
    assert Corrections.from_json(made.to_json()) == made == backwards
    assert made.digest() == backwards.digest()
    assert pickle.loads(pickle.dumps(made)) == made
    assert len(made) == len(latest)
    for (origin, index), points in latest.items():
        np.testing.assert_array_equal(made.points(origin, index), points)


def test_changing_gives_new_corrections():
    empty = Corrections()
    one = empty.with_points("a", 3, POINTS)
    assert len(empty) == 0
    assert one.without("a", 3) == empty
    assert one.digest() != empty.digest()
    assert one.points("a", 4) is None
    assert one.with_points("a", 3, POINTS + 1).digest() != one.digest()


def test_only_the_nearest_face_of_that_frame_is_moved():
    found = faces((2, 0.0), (2, 100.0))
    corrected = Corrections().with_points("a", 2, POINTS + 104).of_frame("a", 2, found)
    np.testing.assert_array_equal(corrected.faces.keypoints[1], (POINTS + 104).astype(np.float32))
    np.testing.assert_array_equal(corrected.faces.keypoints[0], found.keypoints[0])
    np.testing.assert_array_equal(found.keypoints, faces((2, 0.0), (2, 100.0)).keypoints)
    assert corrected.faces.keypoints.dtype == found.keypoints.dtype
    assert (corrected.row, corrected.moved.tolist()) == (1, [True] * 5)
    np.testing.assert_allclose(corrected.faces.boxes, found.boxes + np.array([[0], [4]]), atol=1e-3)


def test_other_footage_and_frames_are_left_alone():
    found = faces((2, 0.0))
    for corrections, origin in (
        (Corrections().with_points("a", 2, POINTS + 1), "b"),
        (Corrections().with_points("a", 5, POINTS), "a"),
    ):
        corrected = corrections.of_frame(origin, 2, found)
        assert corrected.faces is found
        assert (corrected.row, corrected.moved.any()) == (None, False)


def test_faces_with_landmarks_or_embeddings_are_refused():
    found = faces((2, 0.0))
    described = Faces(
        frame_index=found.frame_index,
        boxes=found.boxes,
        keypoints=found.keypoints,
        scores=found.scores,
        embeddings=np.ones((1, 4), np.float32),
        embedder="x",
    )
    with pytest.raises(ValueError, match="before landmarks and embeddings"):
        Corrections().with_points("a", 2, POINTS).of_frame("a", 2, described)


@pytest.mark.parametrize("found", [Faces.none(), faces((7, 500.0))], ids=["none found", "somebody else found"])
def test_an_undetected_face_is_added(found: Faces):
    corrected = Corrections().with_points("a", 7, POINTS).of_frame("a", 7, found)
    row = len(found)
    assert (len(corrected.faces), corrected.row, corrected.moved.all()) == (row + 1, row, True)
    np.testing.assert_array_equal(corrected.faces.keypoints[:row], found.keypoints)
    assert corrected.faces.frame_index.tolist() == [7] * (row + 1)
    low, high = corrected.faces.boxes[row, :2], corrected.faces.boxes[row, 2:]
    assert (corrected.faces.keypoints[row] > low).all()
    assert (corrected.faces.keypoints[row] < high).all()
    assert len(Corrections().with_points("a", 7, POINTS).of_frame("a", 8, Faces.none()).faces) == 0


def test_only_points_that_differ_from_the_detectors_are_moved():
    points = POINTS.copy()
    points[2] += (3.0, 0.0)
    corrected = Corrections().with_points("a", 2, points).of_frame("a", 2, faces((2, 1e-4)))
    assert corrected.moved.tolist() == [False, False, True, False, False]


def big_and_small() -> Faces:
    """A small face of high score, and one of a hundred times its area."""
    points = np.stack([POINTS, 10 * POINTS + 200]).astype(np.float32)
    boxes = np.concatenate([points.min(1), points.max(1)], 1)
    return Faces(frame_index=np.array([0, 0]), boxes=boxes, keypoints=points, scores=np.array([0.9, 0.8], np.float32))


def test_selected_is_the_corrected_face_else_the_largest():
    found = big_and_small()
    plain = selected(Corrections().of_frame("a", 0, found))
    np.testing.assert_array_equal(plain.faces.keypoints[0], found.keypoints[1])
    pointed_at = selected(Corrections().with_points("a", 0, POINTS + 1).of_frame("a", 0, found))
    np.testing.assert_array_equal(pointed_at.faces.keypoints, (POINTS + 1).astype(np.float32)[None])
    assert (pointed_at.row, pointed_at.moved.all()) == (0, True)
    everybody = Corrections().with_points("a", 0, POINTS + 1).of_frame("a", 0, found)
    assert (len(everybody.faces), everybody.row) == (2, 0)
    assert len(selected(Corrections().of_frame("a", 0, Faces.none())).faces) == 0


def test_errors_do_not_show_points():
    with pytest.raises(ValueError, match="5 finite points") as caught:
        Correction(origin="a", index=0, points=((123.5, 1.0),) * 4)
    assert "123.5" not in str(caught.value)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_points_are_refused(bad):
    points = POINTS.copy()
    points[2, 1] = bad
    with pytest.raises(ValueError, match="5 finite points"):
        Corrections().with_points("a", 0, points)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(format=2),
        lambda d: d.update(extra=1),
        lambda d: d.pop("corrections"),
        lambda d: d["corrections"][0].update(extra=1),
        lambda d: d["corrections"][0].pop("index"),
        lambda d: d["corrections"][0].update(index=True),
        lambda d: d["corrections"][0].update(index=-1),
        lambda d: d["corrections"][0].update(origin=""),
        lambda d: d["corrections"][0].update(points=[[0, 0]] * 4),
        lambda d: d["corrections"][0].update(points=[[0, "0"]] * 5),
        lambda d: d["corrections"][0].update(points=[[0, float("nan")]] * 5),
        lambda d: d["corrections"].append(d["corrections"][0]),
    ],
)
def test_json_with_another_structure_is_refused(change):
    loaded = json.loads(Corrections().with_points("a", 0, POINTS).to_json())
    change(loaded)
    with pytest.raises(ValueError):  # noqa: PT011 - each case has its own message
        Corrections.from_json(json.dumps(loaded))


def test_entries_are_sorted_and_unique():
    one = Correction(origin="a", index=1, points=tuple((float(x), float(y)) for x, y in POINTS))
    with pytest.raises(ValueError, match="one for each"):
        Corrections(entries=(one, one))
