"""The pack's pictures and detector: boxes, canvases, which anchor speaks for whom, training, and the file for insightface."""

import copy
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.actors.render import truth_maps
from faceswap_lab.errors import RunError, SplitError
from faceswap_lab.models.engines.insight import task_of
from faceswap_lab.models.pack.detector import DetectorTraining, blob_of, export_detector, fresh_detector, train_detector, truth_of
from faceswap_lab.models.pack.detector_net import (
    ANCHOR_SIZES,
    STRIDES,
    Detector,
    DetectorConfig,
    anchors_of,
    assign,
    boxes_at,
    losses,
)
from faceswap_lab.models.pack.detector_scenes import Canvas, empty_canvas, make_canvas
from faceswap_lab.models.pack.onnx_writer import OnnxGraph
from faceswap_lab.models.pack.pictures import PackPictures, PackSets, boxes_of
from faceswap_lab.models.pack.render import make_part, read_parts, render_views
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.weights.onnx_inspect import inspect

TINY = DetectorTraining(
    fit=TrainConfig(steps=6, batch=2, warmup=1, report_every=1, precision="fp32"),
    polish_share=0.5,
    net=DetectorConfig(stem=8, widths=(8, 16, 24, 32), pyramid=16),
    size=96,
)


@pytest.fixture(scope="module")
def part(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("parts") / "train-0000.safetensors"
    make_part(path, [100_000], 2, 96)
    return path


@pytest.fixture(scope="module")
def pictures(part: Path) -> PackPictures:
    return read_parts([part], "train", part.parent / "scratch")


def canvas_of(*boxes: tuple[float, float, float, float], size: int = 256, ignored: bool = False) -> Canvas:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    middles = (array[:, :2] + array[:, 2:]) / 2
    return Canvas(
        image=np.zeros((size, size, 3), np.uint8),
        boxes=array,
        points=np.repeat(middles[:, None], 5, 1),
        ignored=np.full(len(array), ignored),
    )


# --- pictures -----------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_part_gives_back_what_was_rendered(pictures: PackPictures, part: Path) -> None:
    shots = list(render_views(100_000, range(2), 96))
    assert pictures.identity.tolist() == [100_000, 100_000]
    for row, shot in enumerate(shots):
        assert np.abs(pictures.images[row].astype(int) - shot.image).mean() < 4  # JPEG
        np.testing.assert_array_equal(pictures.masks[row], shot.mask)
        np.testing.assert_array_equal(pictures.points106[row], shot.points106)
        assert 0.2 < shot.mask.mean() / 255 < 0.95
    again = read_parts([part], "train", part.parent / "scratch")
    np.testing.assert_array_equal(again.images, pictures.images)
    assert len(pictures[:1]) == 1


def test_a_part_is_the_same_bytes_each_time(part: Path, tmp_path: Path) -> None:
    make_part(tmp_path / "again.safetensors", [100_000], 2, 96)
    assert (tmp_path / "again.safetensors").read_bytes() == part.read_bytes()


@pytest.mark.slow
def test_the_106_points_are_the_renderers_own_and_turning_keeps_the_eyes_distance() -> None:
    for shot in render_views(100_000, range(6), 96):
        np.testing.assert_allclose(shot.points106, truth_maps.points_of(shot.scene, 106).xy, atol=1e-3)
        seen = float(np.linalg.norm(shot.keypoints5[0] - shot.keypoints5[1]))
        assert seen <= 1.04 * shot.interocular  # perspective may enlarge it by a little
        assert seen == pytest.approx(shot.interocular * np.cos(shot.pose[0]), rel=0.12)


def test_what_is_no_part_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train-0000.safetensors").write_bytes(b"nothing")
    with pytest.raises(RunError, match="train-0000"):
        read_parts([tmp_path / "train-0000.safetensors"], "train", tmp_path)


@settings(deadline=None, max_examples=30)
@given(angle=st.floats(-3, 3), scale=st.floats(0.2, 3), mirror=st.booleans())
def test_a_box_follows_its_points(angle: float, scale: float, mirror: bool) -> None:
    draw = np.random.default_rng(3)
    dense, five = draw.uniform(20, 80, (1, 106, 2)).astype(np.float32), draw.uniform(30, 70, (1, 5, 2)).astype(np.float32)
    box = boxes_of(dense, five)[0]
    assert (dense[0] >= box[:2]).all()
    assert (dense[0] <= box[2:]).all()
    shift = np.float32([5, -3])
    np.testing.assert_allclose(
        boxes_of(dense * np.float32(scale) + shift, five * np.float32(scale) + shift)[0],
        box * np.float32(scale) + np.tile(shift, 2),
        atol=1e-2,
    )


def test_sets_are_of_their_split() -> None:
    parts = PackSets(num_train=5, num_val=1, per_part=2).parts()
    assert [len(seeds) for name, seeds in parts.items() if "train" in name] == [2, 2, 1]
    with pytest.raises(ValueError, match="split train"):
        PackSets(first_train=999_990, num_train=20)
    with pytest.raises(ValueError, match="num_views"):
        PackSets(num_views=0)


# --- canvases -----------------------------------------------------------------------------------------------------------------


def test_canvases_come_of_their_seed_alone_and_hold_what_they_say(pictures: PackPictures) -> None:
    canvases = [make_canvas(pictures, seed, 128) for seed in range(40)]
    again = make_canvas(pictures, 7, 128)
    np.testing.assert_array_equal(canvases[7].image, again.image)
    np.testing.assert_array_equal(canvases[7].boxes, again.boxes)
    counts = [len(canvas.boxes) for canvas in canvases]
    assert 0 in counts
    assert max(counts) > 1
    for canvas in canvases:
        assert canvas.image.shape == (128, 128, 3)
        for box, points, ignored in zip(canvas.boxes, canvas.points, canvas.ignored, strict=True):
            assert (box[2:] > box[:2]).all()
            assert (points >= box[:2] - 1).all()
            assert (points <= box[2:] + 1).all()
            if not ignored:  # right eye first, also when mirrored; nobody stands on their head
                assert (points[1] - points[0]) @ (points[4] - points[3]) > 0
                assert points[:2, 1].mean() < points[3:, 1].mean()


def test_a_face_is_where_its_canvas_says(pictures: PackPictures) -> None:
    """One picture, laid plainly: the same matrix moves pixels and points."""
    from faceswap_lab.models.pack import detector_scenes

    draw = np.random.default_rng(0)
    matrix = np.array([[0.5, 0, 10], [0, 0.5, 20.0]])
    moved, cover = detector_scenes._moved(pictures, 0, matrix, 128, draw)
    x, y = np.round(pictures.keypoints5[0].mean(0)).astype(int)
    there = moved[round(0.5 * y + 20), round(0.5 * x + 10)].astype(int)
    assert np.abs(there - cv2.GaussianBlur(np.asarray(pictures.images[0]), (0, 0), 1.0)[y, x]).max() < 25
    assert cover[20, 10] > 0.2
    assert cover[0, 0] == 0


def test_an_empty_canvas_is_varied() -> None:
    assert len({empty_canvas(seed, 64).tobytes() for seed in range(6)}) == 6


# --- which anchor speaks for whom ---------------------------------------------------------------------------------------------


def test_anchors_lie_where_insightface_has_them() -> None:
    anchors = anchors_of(64, 96)
    expected = []
    for stride in STRIDES:
        grid = np.stack(np.mgrid[: 64 // stride, : 96 // stride][::-1], axis=-1).astype(np.float32)
        expected.append(np.stack([(grid * stride).reshape(-1, 2)] * 2, axis=1).reshape(-1, 2))
    np.testing.assert_array_equal(anchors.place.numpy(), np.concatenate(expected))


@pytest.mark.parametrize("side", [12, 16, 24, 40, 64, 90, 128, 200, 260])
def test_every_face_has_an_anchor_of_its_size_in_its_middle(side: int) -> None:
    box = (100.0, 90.0, 100.0 + side, 90.0 + side)
    anchors = anchors_of(512, 512)
    assigned = assign(truth_of([canvas_of(box, size=512)]), anchors)
    mine = (assigned.face[0] == 0).nonzero()[:, 0]
    assert len(mine) > 0
    assert not assigned.quiet[0, mine].any()
    sizes = anchors.side[mine]
    assert ((sizes / max(side, ANCHOR_SIZES[0][0])).log2().abs() <= 0.75 + 1e-6).all()
    off = (anchors.place[mine] - torch.tensor([100 + side / 2, 90 + side / 2])).abs().amax(1)
    assert (off <= max(0.22 * side, 0.6 * 8)).all()


def test_the_smaller_of_two_faces_takes_the_anchor_and_ignored_ones_take_none() -> None:
    large, small = (40.0, 40.0, 200.0, 200.0), (80.0, 80.0, 180.0, 180.0)
    anchors = anchors_of(256, 256)
    taken = assign(truth_of([canvas_of(large, small)]), anchors).face[0]
    assert {0, 1} <= set(taken.tolist())
    both = (taken == 1) & (assign(truth_of([canvas_of(large)]), anchors).face[0] == 0)
    assert both.any(), "the smaller one is preferred where both could be"
    quiet = assign(truth_of([canvas_of(large, ignored=True)]), anchors)
    assert (quiet.face == -1).all()
    inside = ((anchors.place >= 40) & (anchors.place <= 200)).all(1)
    assert torch.equal(quiet.quiet[0], inside)


def test_a_perfect_answer_costs_nothing_but_the_score() -> None:
    box = (60.0, 50.0, 160.0, 170.0)
    canvas = canvas_of(box)
    anchors = anchors_of(256, 256)
    corners = torch.tensor(box)
    distances = torch.cat([anchors.place - corners[:2], corners[2:] - anchors.place], 1) / anchors.stride[:, None]
    offsets = (torch.tensor(canvas.points[0]).reshape(10) - anchors.place.repeat(1, 5)) / anchors.stride[:, None]
    np.testing.assert_allclose(boxes_at(anchors, distances)[5], box, atol=1e-4)
    logits = torch.where(assign(truth_of([canvas]), anchors).face[0] == 0, 12.0, -12.0)[None]
    parts = losses((logits, distances[None], offsets[None]), truth_of([canvas]), anchors)
    assert parts["box"].item() == pytest.approx(0, abs=1e-5)
    assert parts["points"].item() == pytest.approx(0, abs=1e-6)
    assert parts["score"].item() < 1e-3
    worse = losses((-logits, distances[None], offsets[None] + 1), truth_of([canvas]), anchors)
    assert worse["score"].item() > 1
    assert worse["points"].item() > 0.01


# --- training and the file ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_loss_goes_down_on_a_fixed_batch(pictures: PackPictures) -> None:
    canvases = [make_canvas(pictures, seed, 96) for seed in (1, 2)]
    state, anchors, truth = fresh_detector(TINY), anchors_of(96, 96), truth_of(canvases)
    for group in state.optimiser.param_groups:
        group["lr"] = 0.01
    costs = []
    for _ in range(60):
        cost = torch.stack(list(losses(state.net(blob_of([canvas.image for canvas in canvases])), truth, anchors).values())).sum()
        state.optimiser.zero_grad()
        cost.backward()
        state.optimiser.step()
        costs.append(cost.item())
    assert costs[-1] < 0.6 * costs[0]


@pytest.mark.slow
def test_stopping_and_going_on_changes_nothing(pictures: PackPictures) -> None:
    whole = fresh_detector(TINY)
    steps = list(train_detector(whole, pictures, TINY))
    assert [step.number for step in steps] == [1, 2, 3, 4, 5, 6]
    broken = fresh_detector(TINY)
    running = train_detector(broken, pictures, TINY)
    next(running)
    next(running)
    saved = copy.deepcopy(broken.state_dict())
    resumed = fresh_detector(TINY)
    resumed.load_state_dict(saved)
    assert [step.number for step in train_detector(resumed, pictures, TINY)] == [3, 4, 5, 6]
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


@pytest.mark.slow
def test_a_stop_between_reports_changes_nothing(pictures: PackPictures) -> None:
    config = replace(TINY, fit=replace(TINY.fit, report_every=4))
    whole, broken, resumed = (fresh_detector(config) for _ in range(3))
    assert [step.number for step in train_detector(whole, pictures, config)] == [4, 6]
    assert [step.number for step in train_detector(broken, pictures, config, lambda: broken.step == 3)] == [3]
    resumed.load_state_dict(copy.deepcopy(broken.state_dict()))
    assert [step.number for step in train_detector(resumed, pictures, config)] == [4, 6]
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_the_five_points_count_most_in_the_last_part_of_the_training() -> None:
    weights = [TINY.points_weight_at(step / TINY.fit.steps) for step in range(6)]
    assert weights == [8.0, 8.0, 8.0, 30.0, 30.0, 30.0]
    assert [replace(TINY, polish_share=share).points_weight_at(0.99) for share in (0.0, 1.0)] == [8.0, 30.0]
    with pytest.raises(ValueError, match="polish_share"):
        DetectorTraining(polish_share=1.5)


@pytest.mark.slow
def test_training_opens_no_test_person(pictures: PackPictures) -> None:
    with pytest.raises(SplitError, match="actor:2000000"):
        next(train_detector(fresh_detector(TINY), replace(pictures, identity=np.array([2_000_000, 100_000])), TINY))
    with pytest.raises(ValueError, match="multiple of 32"):
        DetectorTraining(size=100)


def test_the_file_gives_what_the_network_gives_and_insightface_takes_it_for_a_detector(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Detector(TINY.net).eval()
    for layer in net.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.2, 0.2)
            torch.nn.init.uniform_(layer.running_var, 0.5, 1.5)
    path = export_detector(net, tmp_path / "det.onnx")
    assert task_of(inspect(path)) == "detection"
    session = onnxruntime.InferenceSession(path)
    for shape in ((2, 3, 64, 96), (1, 3, 128, 128)):
        x = torch.randn(shape)
        got = session.run(None, {"input.1": x.numpy()})
        with torch.no_grad():
            logits, distances, offsets = net(x)
        np.testing.assert_allclose(np.concatenate(got[:3], 1)[..., 0], logits.sigmoid().numpy(), atol=1e-5)
        np.testing.assert_allclose(np.concatenate(got[3:6], 1), distances.numpy(), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(np.concatenate(got[6:], 1), offsets.numpy(), rtol=1e-4, atol=1e-4)
    assert export_detector(net, tmp_path / "det.onnx").read_bytes() == path.read_bytes()


def test_what_cannot_be_written_is_said() -> None:
    with pytest.raises(TypeError, match="Tanh"):
        OnnxGraph().sequence("x", torch.nn.Sequential(torch.nn.Tanh()))


def test_strictness_is_taken_from_every_score_and_nothing_else(tmp_path: Path) -> None:
    torch.manual_seed(1)
    net = Detector(TINY.net).eval()
    x = {"input.1": np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)}
    plain, strict = (
        onnxruntime.InferenceSession(export_detector(net, tmp_path / f"{value}.onnx", strictness=value)).run(None, x)
        for value in (0.0, 1.5)
    )
    for before, after in zip(plain[:3], strict[:3], strict=True):
        np.testing.assert_allclose(np.log(after / (1 - after)), np.log(before / (1 - before)) - 1.5, atol=1e-3)
    for before, after in zip(plain[3:], strict[3:], strict=True):
        np.testing.assert_array_equal(before, after)
