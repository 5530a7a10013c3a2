"""The pack's landmark network and embedder: crops as insightface cuts them, training, and files that insightface reads."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from faceswap_lab.errors import RunError, SplitError
from faceswap_lab.models.engines.insight import task_of
from faceswap_lab.models.pack import augment, detector_scenes, landmarker, render
from faceswap_lab.models.pack import embedder as embed_net
from faceswap_lab.models.pack.pictures import PackPictures, boxes_of
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Step
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.models.weights.onnx_inspect import inspect
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.networks import as_they_come
from faceswap_lab.verbs.pack import scores, stages
from tests.test_landmark_order import NAMES

Train = Callable[..., Iterator[Step]]
TINY = TrainConfig(steps=4, batch=4, warmup=1, report_every=1, precision="fp32")
FIVE = [38, 92, 86, 52, 61]


def drawn_pictures(num_identities: int = 3, num_views: int = 4, *, first: int = 0) -> PackPictures:
    """Heads of one colour a person, with dark dots at 106 places that turn and shift: enough for a network to find something."""
    draw = np.random.default_rng(7)
    pattern = draw.uniform(-0.5, 0.5, (106, 2))
    pattern[FIVE] = [[-0.2, -0.2], [0.2, -0.2], [0.0, 0.05], [-0.15, 0.25], [0.15, 0.25]]
    colours = draw.integers(90, 255, (num_identities, 3))
    images, masks, points = [], [], []
    for number in range(num_identities * num_views):
        angle, side = draw.uniform(-0.2, 0.2), draw.uniform(90, 120)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = draw.uniform(90, 110, 2)
        place = centre + side * pattern @ turn.T
        image = np.full((200, 200, 3), 40, np.uint8)
        mask = np.zeros((200, 200), np.uint8)
        middle = (int(centre[0]), int(centre[1]))
        cv2.circle(mask, middle, round(0.75 * side), 255, -1)
        image[mask > 0] = colours[number // num_views]
        for x, y in place:
            cv2.circle(image, (round(x), round(y)), 2, (10, 10, 10), -1)
        images.append(image)
        masks.append(mask)
        points.append(place)
    points106 = np.array(points, np.float32)
    keypoints5 = points106[:, FIVE]
    return PackPictures(
        images=np.stack(images),
        masks=np.stack(masks),
        identity=np.repeat(np.arange(first, first + num_identities), num_views),
        points106=points106,
        keypoints5=keypoints5,
        boxes=boxes_of(points106, keypoints5),
        poses=np.zeros((len(images), 3), np.float32),
        occluded=np.zeros(len(images), bool),
        split="train",
    )


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_crop_is_insightfaces() -> None:
    face_align = pytest.importorskip("insightface.utils.face_align")
    box = np.array([31.0, 20.5, 97.0, 121.0])
    scale = 192 / (max(box[2] - box[0], box[3] - box[1]) * 1.5)
    centre = ((box[2] + box[0]) / 2, (box[3] + box[1]) / 2)
    _, theirs = face_align.transform(np.zeros((200, 200, 3), np.uint8), centre, 192, scale, 0)
    np.testing.assert_allclose(augment.box_to_crop(box, 192), theirs, atol=1e-9)


def test_a_points_mirror_image_has_the_mirrored_name() -> None:
    other = {"left": "right", "right": "left"}
    wanted = [NAMES.index("_".join("".join(_swap(word, other)) for word in name.split("_"))) for name in NAMES]
    assert landmarker.mirrored_106().tolist() == wanted


def _swap(word: str, other: dict[str, str]) -> Iterator[str]:
    yield other.get(word.rstrip("0123456789"), word.rstrip("0123456789"))
    yield word[len(word.rstrip("0123456789")) :]


def test_a_mirrored_crop_carries_its_points_along() -> None:
    pictures = drawn_pictures(1, 1)
    matrix = augment.box_to_crop(pictures.boxes[0], 192)
    random = np.random.default_rng(0)
    moved = augment.moved_about(matrix, 192, random, turn=0.3, scale=1.1, shift=0.0, mirror=True)
    crop = cv2.warpAffine(pictures.images[0], moved, (192, 192))
    places = pictures.points106[0] @ moved[:, :2].T + moved[:, 2]
    inside = ((places > 6) & (places < 185)).all(1)
    assert inside.sum() > 80
    for x, y in places[inside]:
        assert crop[round(y), round(x)].max() < 60, "every dot is still where its point is"
    back = augment.moved_about(np.eye(2, 3), 192, random, turn=0.0, scale=1.0, shift=0.0, mirror=True)
    np.testing.assert_allclose(back @ [0, 5, 1], [191, 5])


def test_spoiling_changes_pictures_and_depends_on_the_seed_alone() -> None:
    crop = drawn_pictures(1, 1).images[0][:96, :96].copy()
    before = crop.copy()
    one, two, again = (
        np.stack([augment.occlude(augment.degrade(crop, random), random) for _ in range(12)])
        for random in (np.random.default_rng(seed) for seed in (1, 2, 1))
    )
    assert (crop == before).all()
    assert one.shape == (12, 96, 96, 3)
    assert (one == again).all()
    assert (one != two).mean() > 0.5
    assert len({each.tobytes() for each in one}) == 12


def test_wing_loss_is_smooth_and_counts_the_contour_half() -> None:
    zero = torch.zeros(1, 106, 2)
    assert float(landmarker.wing(zero, zero)) == 0
    near, far = (float(landmarker.wing(zero + gap, zero)) for gap in (7.999, 8.001))
    assert far - near == pytest.approx(0.0, abs=0.01)
    assert float(landmarker.wing(zero + 18.0, zero)) - float(landmarker.wing(zero + 8.0, zero)) == pytest.approx(10.0, abs=1e-3)
    contour, nose = zero.clone(), zero.clone()
    contour[0, 5], nose[0, 86] = 3.0, 3.0
    assert float(landmarker.wing(nose, zero)) == pytest.approx(2 * float(landmarker.wing(contour, zero)), rel=1e-5)


def test_margin_loss_asks_for_more_than_being_nearest() -> None:
    cosines = torch.tensor([[0.5, 0.4, -0.1], [0.1, 0.6, 0.7]])
    person = torch.tensor([0, 1])
    plain, asked = (embed_net.margin_loss(cosines, person, margin) for margin in (0.0, 0.3))
    assert asked["loss"] > plain["loss"] + 1
    assert float(asked["wrong"]) == 0.5


def test_identity_score_counts_pairs() -> None:
    draw = np.random.default_rng(0)
    people = np.repeat(np.arange(6), 4)
    directions = draw.normal(size=(6, 16))
    vectors = directions[people] + draw.normal(size=(24, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    score = embed_net.identity_score(vectors, people)
    cosines = vectors @ vectors.T
    same = np.array([cosines[i, j] for i in range(24) for j in range(i) if people[i] == people[j]])
    other = np.array([cosines[i, j] for i in range(24) for j in range(i) if people[i] != people[j]])
    assert score.auc == pytest.approx(float((same[:, None] > other).mean()))
    assert score.same == pytest.approx(same.mean())
    assert score.d_prime == pytest.approx((same.mean() - other.mean()) / np.sqrt((same.var() + other.var()) / 2))
    assert embed_net.identity_score(np.eye(6)[people] + 0.01 * vectors[:, :6], people).auc == 1
    with pytest.raises(ValueError, match="pairs"):
        embed_net.identity_score(vectors, np.arange(24))


def fresh(name: str, pictures: PackPictures, config: TrainConfig) -> tuple[TrainState[Any], Train]:
    if name == "points":
        return landmarker.fresh_points(config), landmarker.train_points
    return embed_net.fresh_embedder(pictures, config), embed_net.train_embedder


@pytest.mark.slow
@pytest.mark.parametrize("name", ["points", "embedder"])
def test_training_learns(name: str) -> None:
    pictures = drawn_pictures()
    config = TrainConfig(steps=32, batch=12, warmup=4, learning_rate=3e-3, report_every=8, precision="bf16")
    state, train = fresh(name, pictures, config)
    steps = list(train(state, pictures, config))
    assert [step.number for step in steps] == [8, 16, 24, 32]
    first, last = (next(iter(step.losses.values())) if name == "points" else step.losses["wrong"] for step in (steps[0], steps[-1]))
    assert last < 0.85 * first, (first, last)
    assert all(value.isfinite().all() for value in state.average.state_dict().values())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["points", "embedder"])
def test_an_interrupted_training_ends_as_an_uninterrupted_one(name: str, tmp_path: Path) -> None:
    pictures = drawn_pictures()
    whole, train = fresh(name, pictures, TINY)
    list(train(whole, pictures, TINY))
    half, _ = fresh(name, pictures, TINY)
    for step in train(half, pictures, TINY):
        if step.number == 2:
            break
    torch.save(half.state_dict(), tmp_path / "state.pt")
    again, _ = fresh(name, pictures, replace(TINY, seed=5))
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert again.step == 2
    list(train(again, pictures, TINY))
    for one, other in zip(whole.state_dict()["average"].items(), again.state_dict()["average"].items(), strict=True):
        assert torch.equal(one[1], other[1]), one[0]


@pytest.mark.parametrize("name", ["points", "embedder"])
def test_a_stop_between_reports_changes_nothing(name: str) -> None:
    pictures, config = drawn_pictures(), replace(TINY, report_every=3)
    whole, train = fresh(name, pictures, config)
    list(train(whole, pictures, config))
    half, _ = fresh(name, pictures, config)
    assert [step.number for step in train(half, pictures, config, lambda: half.step == 2)] == [2]
    again, _ = fresh(name, pictures, replace(config, seed=5))
    again.load_state_dict(half.state_dict())
    assert [step.number for step in train(again, pictures, config)] == [3, 4]
    for one, other in zip(whole.average.state_dict().items(), again.average.state_dict().items(), strict=True):
        assert torch.equal(one[1], other[1]), one[0]


def test_a_checkpoint_of_another_network_is_refused() -> None:
    pictures = drawn_pictures()
    points, embedder = (fresh(name, pictures, TINY)[0] for name in ("points", "embedder"))
    with pytest.raises(RunError, match="force=True"):
        points.load_state_dict(embedder.state_dict())


@pytest.mark.parametrize("name", ["points", "embedder"])
def test_test_people_are_refused(name: str) -> None:
    pictures = drawn_pictures(first=2_000_000)
    state, train = fresh(name, pictures, TINY)
    with pytest.raises(SplitError, match="actor:2000000"):
        next(train(state, pictures, TINY))


def stirred(net: nn.Module) -> nn.Module:
    """The network with running means and gains that are not their first values."""
    torch.manual_seed(3)
    for value in net.state_dict().values():
        if value.dtype == torch.float32 and value.ndim == 1:
            value += 0.1 * torch.rand_like(value)
    return net.eval()


def test_exported_points_are_what_insightface_reads(tmp_path: Path) -> None:
    net = stirred(landmarker.PointsNet())
    assert isinstance(net, landmarker.PointsNet)
    path = landmarker.export_points(net, tmp_path / "points.onnx")
    assert task_of(inspect(path)) == "landmark_2d_106"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    crops = np.random.default_rng(0).integers(0, 256, (3, 192, 192, 3), dtype=np.uint8)
    blob = (crops.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 128
    with torch.inference_mode():
        wanted = net(torch.from_numpy(blob)).numpy()
    np.testing.assert_allclose(session.run(None, {"data": blob})[0], wanted, atol=2e-4)

    marker = pytest.importorskip("insightface.model_zoo.landmark").Landmark(str(path), session)
    picture = drawn_pictures(1, 1)
    box = picture.boxes[0]
    assert (marker.input_mean, marker.input_std) == (landmarker.MEAN, landmarker.SCALE)
    face = pytest.importorskip("insightface.app.common").Face(bbox=box)
    theirs = marker.get(picture.images[0][..., ::-1].copy(), face)
    matrix = augment.box_to_crop(box, 192)
    crop = cv2.warpAffine(picture.images[0], matrix, (192, 192))
    with torch.inference_mode():
        ours = net(torch.from_numpy((crop.astype(np.float32).transpose(2, 0, 1)[None] - 127.5) / 128)).view(106, 2).numpy()
    ours = ((ours + 1) * 96 - matrix[:, 2]) / matrix[0, 0]
    np.testing.assert_allclose(theirs, ours, atol=0.02)
    errors = landmarker.point_errors(theirs[None], picture)
    assert landmarker.score_points(net, picture, off=0.0).mean == pytest.approx(errors.mean(), rel=0.02)


def test_exported_vectors_are_what_insightface_reads(tmp_path: Path) -> None:
    net = stirred(embed_net.EmbedNet())
    assert isinstance(net, embed_net.EmbedNet)
    path = embed_net.export_embedder(net, tmp_path / "embedder.onnx")
    assert task_of(inspect(path)) == "recognition"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    recogniser = pytest.importorskip("insightface.model_zoo.arcface_onnx").ArcFaceONNX(str(path), session)
    assert (recogniser.input_mean, recogniser.input_std) == (embed_net.MEAN, embed_net.SCALE)
    crops = np.random.default_rng(0).integers(0, 256, (3, 112, 112, 3), dtype=np.uint8)
    with torch.inference_mode():
        wanted = net(torch.from_numpy((crops.astype(np.float32).transpose(0, 3, 1, 2) - 127.5) / 127.5)).numpy()
    found = recogniser.get_feat([crop[..., ::-1] for crop in crops])
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
    assert found.shape == (3, embed_net.NUM_VALUES)


def test_exporting_twice_gives_the_same_bytes_and_small_ones(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    for export, net in ((landmarker.export_points, landmarker.PointsNet()), (embed_net.export_embedder, embed_net.EmbedNet())):
        one, two = (export(net, folder / "net.onnx").read_bytes() for folder in (tmp_path, tmp_path / "again"))
        assert one == two
        assert len(one) < 4_000_000


# --- faults that would otherwise show only in the finished pack -----------------------------------------------------------------


class Drawn(np.random.Generator):
    """A random generator with given answers of `random()`, whose integers are 50."""

    def __init__(self, *answers: float) -> None:
        super().__init__(np.random.PCG64(0))
        self._answers = iter(answers)

    def random(self, *_: Any, **__: Any) -> Any:
        return next(self._answers)

    def integers(self, *_: Any, **__: Any) -> Any:
        return 50


RED = np.full((64, 64, 3), (220, 40, 20), np.uint8)


@pytest.mark.parametrize(
    "compressed",
    [
        lambda: augment.degrade(RED, Drawn(0.99, 0.99, 0.99, 0.99, 0.0)),
        lambda: detector_scenes._developed(RED, Drawn(0.99, 0.99, 0.99, 0.99, 0.0)),
        lambda: scores.DEGRADED["jpeg"](RED),
    ],
    ids=["crops", "scenes", "scores"],
)
def test_jpeg_compresses_red_as_red(compressed: Callable[[], np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEG keeps less of blue than of red: what is compressed must be what a camera would."""
    coded: list[np.ndarray] = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda suffix, bgr, options: coded.append(bgr) or encode(suffix, bgr, options))
    found = compressed()
    assert len(coded) == 1
    np.testing.assert_array_equal(coded[0], RED[..., ::-1])
    assert np.abs(found.astype(int) - RED).max() < 30


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_network_with_nan_is_not_exported(value: float, tmp_path: Path) -> None:
    net = landmarker.PointsNet()
    with torch.no_grad():
        net.offset.weight[3] = value
    with pytest.raises(RunError, match=r"finite weights for points\.onnx"):
        landmarker.export_points(net, tmp_path / "points.onnx")
    assert not list(tmp_path.iterdir())


def test_a_training_that_diverges_in_its_last_step_is_not_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = landmarker.fresh_points(TINY)

    def training(_: Any) -> Iterator[Step]:
        yield Step(number=1, losses={"loss": 1.0}, learning_rate=0.1, samples_per_s=1.0)
        with torch.no_grad():
            next(state.average.module.parameters())[0] = float("nan")

    made = stages.Training(state=state, train=training, export=lambda *_: pytest.fail("a network with NaN was exported"))
    monkeypatch.setattr(stages, "read_parts", lambda *_: None)
    monkeypatch.setattr(stages, "_training", lambda *_: made)
    with pytest.raises(RunError, match="finite numbers in the training state"):
        stages.train_network("points", recipes.pack("smoke"), [], tmp_path, key="key")
    assert not list(tmp_path.iterdir())


def test_rendering_ends_at_the_next_picture_when_told_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[int] = []
    monkeypatch.setattr(render, "_labelled_view", lambda seed, number, size: begun.append(number))
    monkeypatch.setattr(render, "_small", lambda labelled: labelled)
    with pytest.raises(KeyboardInterrupt):
        render.make_part(tmp_path / "part", [100_000, 100_001], 8, 64, lambda: len(begun) == 3)
    assert begun == [0, 1, 2]
    assert not list(tmp_path.iterdir())


def test_a_signal_ends_tasks_in_this_process_at_their_next_look() -> None:
    looked: list[int] = []

    def task(stop: Callable[[], bool]) -> None:
        for number in range(5):
            looked.append(number)
            if stop():
                raise KeyboardInterrupt
            if number == 1:
                signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        list(as_they_come([task], None))
    assert looked == [0, 1, 2]
