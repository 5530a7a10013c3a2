"""The one-shot's geometry: exact where it is known, and its regression finds what made its examples."""

import numpy as np
import pytest
import torch

from faceswap_lab.models.oneshot.drape import Picture, drape, draw_mesh, mirror, place_map, sample, shown_by
from faceswap_lab.models.oneshot.shape import ShapeConfig, ShapeExamples, eye_distance, fit_shape, posed
from faceswap_lab.models.swappers import mesh468
from tests.test_warp import head, picture

SIZE = 256
LEFT_EYE, RIGHT_EYE = 263, 33


def test_a_picture_draped_over_its_own_mesh_is_itself() -> None:
    points, image = head(), picture()
    drawn = draw_mesh(points, SIZE)
    for follow in (True, False):
        draped = sample(drawn, image, points, follow=follow)
        assert np.abs(draped.astype(int) - image).max() <= 1
    assert shown_by(drawn, points)[drawn.covered].min() > 0.999


def test_a_shifted_and_scaled_face_is_draped_from_where_it_is() -> None:
    """An affine change of the points is followed exactly, beyond the mesh too."""
    points, image = head(), picture()
    drawn = draw_mesh(points, SIZE)
    draped = sample(drawn, image, points + np.array([7, -5]), follow=True)
    inner = slice(20, -20)
    assert np.abs(draped[inner, inner].astype(int) - np.roll(image, (5, -7), (0, 1))[inner, inner]).max() <= 1


def test_beyond_the_mesh_the_target_stays_where_it_is() -> None:
    points, image = head(scale=700), picture()
    wanted = points + np.array([6.0, 0.0])
    drawn = draw_mesh(wanted, SIZE)
    moved = sample(drawn, image, points, follow=False)
    far = np.zeros((SIZE, SIZE), bool)
    far[:12], far[-12:] = True, True
    assert np.abs(moved[far].astype(int) - image[far]).max() <= 2
    middle = tuple(wanted.mean(0).round().astype(int))[::-1]
    assert np.abs(moved[middle].astype(int) - image[middle[0], middle[1] - 6]).max() <= 2


def test_weights_of_corners_reproduce_every_pixel() -> None:
    drawn = draw_mesh(head(yaw=25), SIZE)
    rows, columns = np.nonzero(drawn.covered)
    assert np.abs(drawn.interpolate(drawn.points) - np.stack([columns, rows], 1)).max() < 1e-3
    assert np.allclose(drawn.weights.sum(1), 1, atol=1e-5)


def test_the_hidden_side_comes_from_the_other_half_of_the_face() -> None:
    """A source that shows one side only: its other side is the mirrored one, so a symmetric face is complete."""
    turned, image = head(yaw=55), picture()
    image = np.ascontiguousarray(image)
    one = Picture(image=image, points=turned.astype(np.float32))
    drawn = draw_mesh(head(), SIZE)
    shown = shown_by(drawn, one.points)
    hidden = drawn.covered & (shown < 0.05)
    assert hidden.sum() > 500, "otherwise there is nothing to fill"
    draped, told = drape(drawn, [one])
    assert np.array_equal(told, shown)
    mirrored = drape(drawn, [one.mirrored()])[0]
    columns = np.nonzero(hidden.any(0))[0]
    assert np.abs(draped[hidden].astype(int) - mirrored[hidden]).mean() < 12
    plain = sample(drawn, image, one.points, follow=True)
    assert np.abs(draped[hidden].astype(int) - plain[hidden]).mean() > 3, f"columns {columns[:3]} are still the smeared ones"


def test_mirroring_is_its_own_inverse_and_exchanges_the_eyes() -> None:
    counterpart = mirror()
    assert np.array_equal(counterpart[counterpart], np.arange(468))
    assert counterpart[LEFT_EYE] == RIGHT_EYE
    once = Picture(image=picture(), points=head(yaw=20).astype(np.float32))
    twice = once.mirrored().mirrored()
    assert np.array_equal(twice.image, once.image)
    assert np.allclose(twice.points, once.points, atol=1e-3)


def test_places_are_those_of_the_mean_head() -> None:
    places = place_map(draw_mesh(head(), SIZE))
    points = head().round().astype(int)
    for landmark in (1, LEFT_EYE, RIGHT_EYE, 152):
        x, y = points[landmark]
        patch = places[y - 3 : y + 4, x - 3 : x + 4].reshape(-1, 3)
        assert np.abs(patch - 12 * mesh468.topology().shape[landmark]).sum(1).min() < 0.1
    assert np.abs(places).max() <= 1.01


def test_a_posed_face_is_put_back_together() -> None:
    points = torch.from_numpy(np.stack([head(yaw=yaw, scale=scale) for yaw, scale in ((0, 900), (35, 1300))]))
    face = posed(points)
    assert torch.allclose(face.camera @ face.camera.transpose(1, 2), torch.eye(2, dtype=torch.float64).expand(2, 2, 2), atol=1e-9)
    heads = torch.tensor(mesh468.topology().shape) @ face.camera.transpose(1, 2)
    again = (heads + face.offsets) * face.scale[:, None, None] + points.mean(1, keepdim=True)
    assert torch.allclose(again, points)
    # The mean head itself has no offsets beyond what orthogonal rows cost.
    assert float(face.offsets[0].abs().max()) < 1e-6


def _faces(num_people: int, num_views: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points (people, views, 468, 2), where a person's head is the mean head plus three shapes of its own; true swaps likewise."""
    draw = np.random.default_rng(seed)
    mean = mesh468.topology().shape
    basis = np.random.default_rng(1).normal(0, 0.02, (3, *mean.shape)) * np.abs(mean[None])
    heads = mean + np.einsum("pk,kic->pic", draw.normal(0, 1, (num_people, 3)), basis)
    turns = draw.normal(0, 0.3, (num_people, num_views))

    def seen(shape: np.ndarray, angle: float) -> np.ndarray:
        cos, sin = np.cos(angle), np.sin(angle)
        return (shape @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]]))[:, :2] * 1000 + 96

    own = np.array([[seen(heads[p], turns[p, v]) for v in range(num_views)] for p in range(num_people)])
    other = np.roll(np.arange(num_people), 1)
    swaps = np.array([[seen(heads[other[p]], turns[p, v]) for v in range(num_views)] for p in range(num_people)])
    return own.astype(np.float32), swaps.astype(np.float32), other


def _examples(seed: int, num_people: int) -> ShapeExamples:
    own, swaps, other = _faces(num_people, 4, seed)
    points = np.concatenate([own.reshape(-1, 468, 2), swaps.reshape(-1, 468, 2)])
    rows = np.array([(4 * p + v, 4 * num_people + 4 * p + v) for p in range(num_people) for v in range(4)])
    sources = [[int(4 * other[p] + v) for v in range(4)] for p in range(num_people) for _ in range(4)]
    return ShapeExamples(points=points, rows=rows, sources=sources)


@pytest.mark.slow
def test_the_regression_finds_the_shape_of_people_it_was_not_fitted_to() -> None:
    config = ShapeConfig(components=12, products=12, moves=12, ridge=0.001)
    shape, unseen = fit_shape(_examples(0, 60), config), _examples(9, 20)
    points = torch.from_numpy(unseen.points)
    with torch.inference_mode():
        codes = shape.encode(points)
        code = torch.stack([codes[each].mean(0) for each in unseen.sources])
        found = shape(code, points[unseen.rows[:, 0]]).numpy()
    target, truth = (unseen.points[unseen.rows[:, column]] for column in (0, 1))
    before, after = (np.median(np.linalg.norm(each - truth, axis=2).mean(1) / eye_distance(target)) for each in (target, found))
    assert after < 0.25 * before, (before, after)


def test_too_few_true_swaps_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        fit_shape(_examples(0, 3), ShapeConfig())
