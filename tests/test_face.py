"""Faces: a struct of arrays that is indexed, joined and validated."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.faces.face import Faces


def faces(count: int, start: int = 0) -> Faces:
    rng = np.random.default_rng(count + start)
    return Faces(
        frame_index=np.arange(start, start + count),
        boxes=rng.random((count, 4)),
        keypoints=rng.random((count, 5, 2)),
        scores=rng.random(count),
    )


@given(st.integers(1, 6), st.data())
def test_a_row_a_slice_and_a_mask_give_faces_with_the_same_rows(count: int, data: st.DataObject) -> None:
    whole = faces(count)
    row = data.draw(st.integers(-count, count - 1))
    assert whole[row].frame_index.tolist() == [whole.frame_index[row]]
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=count, max_size=count)))
    np.testing.assert_array_equal(whole[mask].keypoints, whole.keypoints[mask])
    assert len(whole[1:]) == count - 1


def test_parts_join_in_order_and_keep_the_arrays_that_all_have() -> None:
    marked = replace(faces(2), landmarks=np.zeros((2, 68, 2)), point_set=68)
    joined = Faces.concat([faces(3), Faces.none(), marked])
    assert joined.frame_index.tolist() == [0, 1, 2, 0, 1]
    assert joined.landmarks is None
    assert joined.point_set is None
    assert Faces.concat([marked, marked]).point_set == 68
    assert len(Faces.concat([])) == 0


def test_two_embedders_never_join() -> None:
    one, other = (replace(faces(1), embeddings=np.ones((1, 4)), embedder=name) for name in ("a", "b"))
    with pytest.raises(ValueError, match="embedder"):
        Faces.concat([one, other])


def test_rows_must_agree_and_points_name_their_set() -> None:
    with pytest.raises((ValueError, TypeError)):  # in tests, the shape checker raises first
        replace(faces(2), scores=np.zeros(1))
    with pytest.raises(ValueError, match="point_set"):
        replace(faces(1), landmarks=np.zeros((1, 68, 2)))
    with pytest.raises(ValueError, match="embedder"):
        replace(faces(1), embedder="a")


def test_the_html_representation_is_small() -> None:
    shown = faces(500)._repr_html_()
    assert "500 faces" in shown
    assert len(shown) < 100_000
