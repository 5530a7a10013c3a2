"""The eyes: their pictures, what crops and mirrors do to the truth, their networks in ONNX, and what looking answers."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.person.figure import build_figure
from faceswap_lab.actors.render.render import render
from faceswap_lab.actors.render.scene import rotation
from faceswap_lab.errors import FaceError, RunError, SplitError, WeightsError
from faceswap_lab.faces import align
from faceswap_lab.faces.face import Faces
from faceswap_lab.files import sha256_file
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.eyes import augment, casting, expression_training, labels, shape_training, weights
from faceswap_lab.models.eyes.expression_net import ExpressionNet, export_expression
from faceswap_lab.models.eyes.layers import SIZE, network_input
from faceswap_lab.models.eyes.look import Eyes, Outline, action_names
from faceswap_lab.models.eyes.pictures import EyesPictures, require_trainable
from faceswap_lab.models.eyes.places import EYE_POINTS, keypoints5_of
from faceswap_lab.models.eyes.render import make_part, read_parts, render_rows
from faceswap_lab.models.eyes.rotations import head_pose, in_plane, orthonormal
from faceswap_lab.models.eyes.shape_net import ShapeNet, export_shape
from faceswap_lab.models.onnx_runtime import onnxruntime
from faceswap_lab.models.training.config import TrainConfig

FEW = TrainConfig(steps=2, batch=2, warmup=1, report_every=1, precision="fp32")


class Blind(OfflineEngine):
    """An engine that finds nothing and needs no weights."""

    def detect(self, frame: object) -> Faces:
        return Faces.none()


def faces(number: int = 3, *, split: str = "train", size: int = 96, mirrored: bool = False) -> EyesPictures:
    """Made-up pictures with coherent truth: points on an ellipse, labels of a disc, the head turned by numbers."""
    random = np.random.default_rng(5)
    angle = np.linspace(0, 2 * np.pi, 106, endpoint=False)
    points = 48 + 25 * np.stack([np.cos(angle), np.sin(angle)], 1)
    five = np.array([[36, 40], [60, 40], [48, 52], [38, 64], [58, 64]], np.float32)
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (48, 48), 26, 1, -1)
    gaze = random.normal(0, 1, (number, 2, 3))
    colours = random.integers(0, 200, (number, 1, 1, 3))
    images = np.where(mask[..., None] > 0, 255 - colours, colours) + random.integers(-20, 21, (number, size, size, 3))
    camera = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    return EyesPictures(
        images=images.clip(0, 255).astype(np.uint8),
        labels=np.repeat(mask[None], number, 0),
        identity=np.arange(number) + (2_000_000 if split == "test" else 0),
        points106=np.repeat(points[None], number, 0).astype(np.float32),
        visible=np.ones((number, 106), bool),
        keypoints5=np.repeat(five[None], number, 0),
        detected5=np.repeat(five[None], number, 0),
        found=np.ones(number, bool),
        actions=random.uniform(0, 1, (number, 52)).astype(np.float32),
        gaze=(gaze / np.linalg.norm(gaze, axis=2, keepdims=True)).astype(np.float32),
        turn=np.stack([camera @ rotation(0.3, 0.1, -0.1).numpy() for _ in range(number)]).astype(np.float32),
        yaw=np.full(number, 0.3, np.float32),
        interocular=np.full(number, 24, np.float32),
        held=np.zeros(number, bool),
        split=split,  # type: ignore[arg-type]
    )


# --- casting and labels -----------------------------------------------------------------------------------------------------


def test_all_52_actions_occur_on_either_side_and_stay_within_bounds() -> None:
    known = set(load_rig().action_names)
    views = [casting.view_of(seed, number) for seed in range(300_000, 300_120) for number in range(8)]
    seen = {name: sum(view.actions.get(name, 0) > 0.15 for view in views) for name in known}
    assert set().union(*(view.actions for view in views)) <= known
    assert min(seen.values()) >= 10, sorted(seen.items(), key=lambda item: item[1])[:5]
    assert all(0 <= value <= 1 for view in views for value in view.actions.values())
    lopsided = [abs(view.actions.get("mouthSmileLeft", 0) - view.actions.get("mouthSmileRight", 0)) > 0.3 for view in views]
    assert any(lopsided)
    assert any(casting.is_profile(view.yaw) for view in views)
    assert casting.view_of(300_000, 3) == casting.view_of(300_000, 3)
    assert {view.prop.kind for view in views if view.prop} == {"hand", "microphone", "cup"}
    for one, other in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
        assert not any(view.actions.get(one) and view.actions.get(other) for view in views)


def test_sets_keep_the_splits_apart() -> None:
    sets = casting.EyesSets(num_train=25, num_test=5, per_part=10)
    assert [list(seeds)[-1] for seeds in sets.parts("train").values()] == [300_009, 300_019, 300_024]
    assert set(sets.parts("test")) == {"pictures/test-0000.safetensors"}
    for wrong in ({"first_train": 999_990}, {"first_test": 5}, {"num_views": 0}):
        with pytest.raises(ValueError, match=r"split|at least 1"):
            casting.EyesSets(**wrong)


def test_every_rendered_label_has_a_place() -> None:
    rendered = np.arange(len(labels.RENDERED), dtype=np.uint8)[None]
    found = [labels.LABELS[value] for value in labels.from_rendered(rendered)[0]]
    told = dict(zip(labels.RENDERED, found, strict=True))
    assert told["nose"] == told["ears"] == told["neck"] == "skin"
    assert told["teeth"] == told["inner mouth"] == "mouth"
    assert told["clothes"] == "background"
    assert all(told[name] == name for name in labels.LABELS if name in labels.RENDERED)
    assert set(found) == set(labels.LABELS)


# --- the truth in crops -----------------------------------------------------------------------------------------------------


def test_the_five_points_of_the_106_are_the_keypoints_of_a_rendered_face() -> None:
    view = casting.view_of(300_001, 2)
    rendered = render(build_figure(7, 128, "cpu", "none"), replace(view, prop=None), size=96)
    np.testing.assert_allclose(keypoints5_of(rendered.points(106).xy), rendered.keypoints5, atol=0.02)
    eyes = [rendered.points(106).xy[list(points)].mean(0) for points in EYE_POINTS]
    assert np.linalg.norm(np.stack(eyes) - rendered.keypoints5[:2], axis=1).max() < 3


@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (0.7, -0.2, 0.3), (-1.4, 0.4, -0.5)])
def test_a_rotation_gives_back_the_angles_of_the_view(angles: tuple[float, float, float]) -> None:
    turn = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ rotation(*angles).double().numpy()
    pose = head_pose(turn)
    np.testing.assert_allclose((pose.yaw, pose.pitch, pose.roll), angles, atol=1e-6)
    np.testing.assert_allclose(orthonormal(3 * turn[:, :2].T), turn, atol=1e-6)


def test_directions_turn_with_the_crop() -> None:
    quarter = np.array([[0.0, -2.0, 5.0], [2.0, 0.0, 1.0]])  # a quarter turn that doubles the size: right becomes down
    np.testing.assert_allclose(in_plane(quarter) @ [1, 0, 0], [0, 1, 0], atol=1e-9)
    np.testing.assert_allclose(in_plane(quarter) @ [0, 0, 1], [0, 0, 1], atol=1e-9)


def test_a_mirrored_crop_has_the_truth_of_the_mirrored_person() -> None:
    """Oracle: the other person, who looks and turns the other way, rendered by numbers: not the code's own mirror."""
    pictures = faces(1)
    plain, mirrored = (
        expression_training._truth(
            pictures, 0, crop(pictures, np.array([[sign * 1.0, 0, 0 if sign > 0 else 95], [0, 1, 0]]), sign < 0)
        )
        for sign in (1, -1)
    )
    names = load_rig().action_names
    for name in ("jawLeft", "eyeBlinkRight", "mouthSmileLeft", "jawOpen"):
        other = name.replace("Left", "?").replace("Right", "Left").replace("?", "Right")
        assert plain[0][names.index(name)] == mirrored[0][names.index(other)]
    np.testing.assert_allclose(mirrored[1], plain[1][::-1] * [-1, 1, 1], atol=1e-6)
    pose = head_pose(orthonormal(mirrored[3]))
    np.testing.assert_allclose((pose.yaw, pose.pitch, pose.roll), (-0.3, 0.1, 0.1), atol=1e-5)


def crop(pictures: EyesPictures, matrix: np.ndarray, is_mirrored: bool) -> augment.Sample:
    """A crop made by this transform, without any degradation."""
    return augment.Sample(
        image=np.zeros((SIZE, SIZE, 3), np.uint8),
        labels=augment.labels_of(pictures, 0, matrix),
        frame_to_crop=matrix,
        is_mirrored=is_mirrored,
    )


def test_points_and_labels_of_a_crop_lie_on_each_other() -> None:
    """The points are made on a circle one pixel inside the labelled disc: in any crop, too."""
    pictures, random = faces(), np.random.default_rng(3)
    for _ in range(20):
        made = augment.sample(pictures, 1, random, shape_training.JITTER, "whole-face", occluded=0.0)
        points, visible = shape_training._truth(pictures, 1, made)
        at = ((points + 1) * SIZE / 2 - 0.5).round().astype(int)
        inside = ((at >= 0) & (at < SIZE)).all(1)
        assert (visible == inside).all()
        assert (made.labels[at[inside, 1], at[inside, 0]] == labels.LABELS.index("skin")).mean() > 0.9
        assert made.image.shape == (SIZE, SIZE, 3)


def test_what_is_pasted_over_a_face_is_an_occluder_and_hides_points() -> None:
    pictures, random = faces(), np.random.default_rng(4)
    hidden, covered = 0, 0
    for _ in range(30):
        made = augment.sample(pictures, 0, random, shape_training.JITTER, "whole-face", occluded=1.0)
        over = made.labels == labels.LABELS.index("occluder")
        _, visible = shape_training._truth(pictures, 0, made)
        covered += over.any()
        hidden += (~visible).sum()
    assert covered > 25
    assert hidden > 100


def test_no_test_person_is_trained_on() -> None:
    pictures = faces(split="test")
    with pytest.raises(SplitError, match="actor:2000000"):
        require_trainable(pictures)
    for fresh, train in (
        (shape_training.fresh_shape, shape_training.train_shape),
        (expression_training.fresh_expression, expression_training.train_expression),
    ):
        with pytest.raises(SplitError):
            next(iter(train(fresh(FEW), pictures, FEW)))  # type: ignore[operator]


# --- networks ---------------------------------------------------------------------------------------------------------------


def lively(net: torch.nn.Module) -> torch.nn.Module:
    """With normalisations that do something, which a fresh network's don't."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 2)
    return net.eval()


def test_exported_networks_answer_like_torchs_and_are_small(tmp_path: Path) -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, SIZE, SIZE, 3), np.uint8)
    given = network_input(crops)
    shape, expression = lively(ShapeNet()), lively(ExpressionNet())
    with torch.inference_mode():
        outline, seen = shape(given), expression(given)
    told: Mapping[str, torch.Tensor] = {
        "points": (outline.points + 1) * (SIZE / 2) - 0.5,
        "visible": outline.visible.sigmoid(),
        "labels": torch.nn.functional.pixel_shuffle(outline.labels, 2).softmax(1),
        "actions": seen.actions.clamp(0, 1),
        "gaze": seen.gaze.flatten(1),
        "turn": seen.turn.flatten(1),
    }
    for path in (export_shape(shape, tmp_path / "s.onnx"), export_expression(expression, tmp_path / "e.onnx")):  # type: ignore[arg-type]
        assert path.stat().st_size <= 2_000_000
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [port.name for port in session.get_outputs()]
        for name, answer in zip(names, session.run(names, {"data": given.contiguous().numpy()}), strict=True):
            np.testing.assert_allclose(answer, told[name].numpy(), atol=2e-3 if name == "points" else 1e-4, err_msg=name)


@pytest.mark.slow
def test_both_networks_learn_two_pictures_by_heart() -> None:
    """With all augmentation. Only what two coloured discs can show is compared."""
    config = TrainConfig(steps=60, batch=8, warmup=5, report_every=10, precision="fp32", learning_rate=4e-3)
    for fresh, train, name in (
        (shape_training.fresh_shape, shape_training.train_shape, "points"),
        (expression_training.fresh_expression, expression_training.train_expression, "gaze"),
    ):
        steps = list(train(fresh(config), faces(2), config))  # type: ignore[operator]
        assert steps[-1].losses[name] < 0.85 * steps[0].losses[name], name


def test_the_losses_are_least_at_the_truth() -> None:
    pictures, random = faces(), np.random.default_rng(1)
    _, truth = shape_training._batch(pictures, 2, random)
    logits = torch.full((2, 40, 64, 64), -20.0)
    for label in range(10):
        logits[:, 4 * label + truth.corner][truth.labels == label] = 20.0
    perfect = shape_training.Shape(points=truth.points, visible=40 * truth.visible - 20, labels=logits)
    assert shape_training.shape_losses(perfect, truth)["loss"] < 0.05
    off = replace(perfect, points=truth.points + 0.1)
    assert shape_training.shape_losses(off, truth)["points"] > 1
    _, told = expression_training._batch(pictures, 2, random)
    right = expression_training.Expression(actions=told.actions, gaze=2.5 * told.gaze, turn=told.turn)
    spread = torch.full((52,), 0.2)
    assert expression_training.expression_losses(right, told, spread)["loss"] < 1e-3
    assert expression_training.expression_losses(replace(right, gaze=-told.gaze), told, spread)["gaze"] > 3


# --- looking ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Untrained networks with a card, which can be run but see nothing."""
    export_shape(lively(ShapeNet()), tmp_path / weights.SHAPE)  # type: ignore[arg-type]
    export_expression(lively(ExpressionNet()), tmp_path / weights.EXPRESSION)  # type: ignore[arg-type]
    files = {name: {"sha256": sha256_file(tmp_path / name)} for name in (weights.SHAPE, weights.EXPRESSION)}
    (tmp_path / weights.CARD).write_text(json.dumps({"files": files}))
    return tmp_path


def test_what_is_seen_turns_and_shifts_with_the_picture(folder: Path) -> None:
    """Equivariance: a picture turned by a right angle is seen the same, turned. It holds for any weights, trained or not."""
    eyes, pictures = Eyes(folder), faces()
    image = cv2.GaussianBlur(pictures.images[0], (0, 0), 3)
    turned = np.ascontiguousarray(np.rot90(image, -1))  # clockwise: (x, y) goes to (height - 1 - y, x)
    matrix = np.array([[0.0, -1, 95], [1, 0, 0]])
    one = eyes.look(image, pictures.keypoints5[0])
    other = eyes.look(turned, align.transform_points(matrix, pictures.keypoints5[0]))
    np.testing.assert_allclose(align.transform_points(matrix, one.outline.points106), other.outline.points106, atol=0.1)
    np.testing.assert_allclose(one.gaze @ in_plane(matrix).T, other.gaze, atol=1e-2)
    np.testing.assert_allclose(list(one.actions.values()), list(other.actions.values()), atol=1e-2)
    assert tuple(one.actions) == tuple(action_names())
    np.testing.assert_allclose(np.linalg.norm(one.gaze, axis=1), 1, atol=1e-5)
    assert one.outline.labels_in((96, 96)).shape == (96, 96)


def test_labels_return_to_the_frame_and_to_other_crops() -> None:
    """A crop whose left half is hair, cut from a frame at twice and at half its size."""
    shares = np.zeros((len(labels.LABELS), SIZE, SIZE), np.float32)
    shares[labels.LABELS.index("hair"), :, :64], shares[labels.LABELS.index("skin"), :, 64:] = 1, 1
    for scale in (0.5, 2.0):
        matrix = np.array([[scale, 0, 10.0], [0, scale, 6.0]])
        nothing = {"points106": np.zeros((106, 2), np.float32), "visible": np.ones(106, np.float32)}
        outline = Outline(**nothing, shares=shares, frame_to_crop=matrix)
        side = int(SIZE / scale)
        hair = outline.mask_in((side, side), "hair")
        edge = (63.5 - 10) / scale
        assert abs(hair.sum(1).max() - edge) <= 1.5
        covered = outline.covered(np.array([[1.0, 0, 0], [0, 1, 0]]), side)
        assert covered[side // 2, int(edge) - 4] > 0.9
        assert covered[side // 2, int(edge) + 4] < 0.1
        assert (np.isin(outline.labels_in((side, side)), [0, labels.LABELS.index("hair"), labels.LABELS.index("skin")])).all()
        with pytest.raises(ValueError, match="no label 'ear'"):
            outline.mask_in((side, side), "ear")


def test_without_files_or_with_altered_ones_nothing_is_run(folder: Path, tmp_path: Path) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    points = faces().keypoints5[0]
    with pytest.raises(WeightsError, match="train --recipe eyes"):
        Eyes(tmp_path / "none").look(image, points)
    with pytest.raises(FaceError, match="coincident"):
        Eyes(folder).look(image, np.zeros((5, 2)))
    path = folder / weights.SHAPE
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(WeightsError, match="altered"):
        Eyes(folder).look(image, points)
    (folder / weights.CARD).write_text('{"files": {}}')
    with pytest.raises(WeightsError, match="no entry"):
        Eyes(folder).look(image, points)


# --- pictures ---------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_part_comes_back_as_it_was_rendered(tmp_path: Path) -> None:
    make_part(tmp_path / "one", [300_000], 2, 64, Blind())
    make_part(tmp_path / "two", [300_000], 2, 64, Blind())
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    pictures = read_parts([tmp_path / "one"], "train", tmp_path / "scratch")
    (row,) = list(render_rows(300_000, [1], 64, Blind()))
    assert len(pictures) == 2
    np.testing.assert_array_equal(pictures.labels[1], row["labels"])
    np.testing.assert_array_equal(pictures[1:].actions[0], row["actions"])
    assert np.abs(pictures.images[1].astype(float) - row["images"]).mean() < 6
    assert not pictures.found.any()
    (tmp_path / "one").write_bytes(b"broken")
    with pytest.raises(RunError, match="pictures of the eyes"):
        read_parts([tmp_path / "one"], "train", tmp_path / "again")
