import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.transform import SimilarityTransform

from faceswap_lab.errors import FaceError
from faceswap_lab.faces import align

coordinates = st.floats(-500, 500, allow_subnormal=False)
point_sets = hnp.arrays(np.float64, st.tuples(st.integers(2, 12), st.just(2)), elements=coordinates)


def matrix_of(scale: float, angle: float, x: float, y: float) -> np.ndarray:
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    return np.array([[cosine, -sine, x], [sine, cosine, y]])


matrices = st.builds(matrix_of, st.floats(0.05, 20), st.floats(-7, 7), coordinates, coordinates)


def smooth(height: int, width: int) -> np.ndarray:
    """An image without wavelengths below 60 pixels: any reasonable resampling preserves it."""
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / 31 + channel) + np.cos(y / 27 - channel) for channel in range(3)]
    return np.rint(127 + 50 * np.stack(waves, -1)).astype(np.uint8)


@given(matrices, point_sets)
def test_similarity_recovers_the_map_that_made_the_points(matrix, points):
    if np.ptp(points, axis=0).max() < 1:
        return
    found = align.similarity(points, align.transform_points(matrix, points))
    np.testing.assert_allclose(align.transform_points(found, points), align.transform_points(matrix, points), atol=1e-5)


@given(hnp.arrays(np.float64, (2, 5, 2), elements=coordinates))
def test_similarity_is_as_good_as_scikit_image_on_arbitrary_points(pair):
    points_from, points_to = pair
    try:
        found = align.similarity(points_from, points_to)
    except FaceError:
        return
    oracle = SimilarityTransform.from_estimate(points_from, points_to)
    if not oracle or np.ptp(points_from, axis=0).min() < 1 or np.ptp(points_to, axis=0).min() < 1:
        return
    error = np.linalg.norm(align.transform_points(found, points_from) - points_to)
    oracle_error = np.linalg.norm(align.transform_points(oracle.params[:2], points_from) - points_to)
    assert error <= oracle_error + 1e-6
    assert np.linalg.det(found[:, :2]) >= -1e-9


def test_similarity_matches_scikit_image_entry_by_entry():
    rng = np.random.default_rng(3)
    for _ in range(20):
        points = rng.normal(size=(5, 2)) * 40
        noisy = align.transform_points(matrix_of(1.7, 0.6, 12, -9), points) + rng.normal(size=(5, 2))
        np.testing.assert_allclose(
            align.similarity(points, noisy), SimilarityTransform.from_estimate(points, noisy).params[:2], atol=1e-9
        )


def test_similarity_does_not_mirror():
    points = align.template_points("face", 100)
    found = align.similarity(points, points * [-1, 1])
    assert np.linalg.det(found[:, :2]) > 0


@pytest.mark.parametrize("points", [np.zeros((5, 2)), np.full((5, 2), np.nan), np.full((5, 2), np.inf)])
def test_degenerate_keypoints_are_refused(points):
    with pytest.raises(FaceError):
        align.frame_to_crop(points, template="face", size=64)


@given(matrices, point_sets)
def test_transforming_points_and_back_is_the_identity(matrix, points):
    there_and_back = align.transform_points(align.invert(matrix), align.transform_points(matrix, points))
    np.testing.assert_allclose(there_and_back, points, atol=1e-7)


def test_a_map_without_inverse_is_refused():
    with pytest.raises(ValueError, match="no inverse"):
        align.invert(np.array([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]]))


def test_arcface_matches_its_published_points():
    published = [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
    np.testing.assert_allclose(align.template_points("arcface", 112), published, atol=1e-9)


@pytest.mark.parametrize("name", sorted(align.TEMPLATES))
def test_a_template_scales_about_the_crops_outer_edge(name):
    small, large = align.template_points(name, 50), align.template_points(name, 100)
    np.testing.assert_allclose((large + 0.5) / 2, small + 0.5, atol=1e-12)
    right_eye, left_eye, nose, right_mouth, left_mouth = small
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_unknown_templates_and_sizes_are_refused():
    with pytest.raises(ValueError, match=r"arcface.*face"):
        align.template_points("ffhq", 64)
    with pytest.raises(ValueError, match="at least 1 pixel"):
        align.template_points("face", 0)


def test_keypoints_land_on_the_template():
    keypoints = align.transform_points(matrix_of(2.5, -0.4, 300, 200), align.template_points("face", 128))
    matrix = align.frame_to_crop(keypoints.astype(np.float32), template="face", size=128)
    np.testing.assert_allclose(align.transform_points(matrix, keypoints), align.template_points("face", 128), atol=1e-3)


def test_a_whole_pixel_shift_copies_pixels():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    matrix = np.array([[1.0, 0.0, -7.0], [0.0, 1.0, -11.0]])
    np.testing.assert_array_equal(align.crop(image, matrix, 20), image[11:31, 7:27])


@pytest.mark.parametrize("factor", [2, 3, 4, 7])
def test_shrinking_by_a_whole_number_averages_blocks(factor):
    image = np.random.default_rng(1).integers(0, 256, (84, 84, 3), dtype=np.uint8)
    size = 84 // factor
    # Crop pixel c covers frame pixels f * c to f * c + f - 1, whose centre is f * c + (f - 1) / 2.
    matrix = np.array([[1 / factor, 0, -(factor - 1) / (2 * factor)], [0, 1 / factor, -(factor - 1) / (2 * factor)]])
    blocks = image.reshape(size, factor, size, factor, 3).mean((1, 3))
    assert np.abs(align.crop(image, matrix, size) - blocks).max() <= 1


def test_shrinking_does_not_alias():
    stripes = np.zeros((256, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    matrix = np.array([[0.23, 0, 0], [0, 0.23, 0]])
    inside = align.crop(stripes, matrix, 58)[4:54, 4:54].astype(float)
    assert np.ptp(inside) < 60
    assert abs(inside.mean() - 127.5) < 3


@given(matrix=st.builds(matrix_of, st.floats(0.2, 4), st.floats(-4, 4), st.just(0.0), st.just(0.0)))
def test_a_crop_shows_the_part_of_the_frame_given_by_its_matrix(matrix):
    image = smooth(200, 240)
    matrix[:, 2] = np.array([31.5, 31.5]) - matrix[:, :2] @ [120, 100]
    grid = np.stack(np.meshgrid(np.arange(64.0), np.arange(64.0)), -1)
    where = align.transform_points(align.invert(matrix), grid)
    inside = ((where > 5) & (where < [234, 194])).all(-1)
    x, y = where[..., 0], where[..., 1]
    exact = np.stack([127 + 50 * (np.sin(x / 31 + c) + np.cos(y / 27 - c)) for c in range(3)], -1)
    assert inside.any()
    assert np.abs(align.crop(image, matrix, 64) - exact)[inside].max() <= 2


def test_cut_keeps_matrix_and_template_with_the_pixels():
    image = smooth(200, 240)
    keypoints = align.transform_points(matrix_of(0.8, 0.1, 60, 50), align.template_points("face", 96))
    cut = align.cut(image, keypoints, template="face", size=96)
    assert cut.size == 96
    assert cut.template == "face"
    np.testing.assert_array_equal(cut.image, align.crop(image, cut.frame_to_crop, 96))
