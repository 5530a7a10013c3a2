"""The offline engine on a public-domain photograph (NASA), against its own symmetries and against OpenCV's recogniser."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import skimage.data
import torch

from faceswap_lab.errors import DeviceError, FaceError, WeightsError
from faceswap_lab.faces import align
from faceswap_lab.faces.face import Faces, best_face, nearest
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import device
from faceswap_lab.models.engines.offline import OfflineEngine, refined_keypoints
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.weights import catalogue


def _frame(image: np.ndarray) -> Frame:
    return Frame(image=np.ascontiguousarray(image), origin="sha256:0", index=7)


@pytest.fixture(scope="module")
def engine() -> OfflineEngine:
    return OfflineEngine()


@pytest.fixture(scope="module")
def photo() -> Image:
    return np.ascontiguousarray(skimage.data.astronaut()[:320, 64:384])


@pytest.fixture(scope="module")
def full(engine: OfflineEngine, photo: Image) -> Faces:
    return _everything(engine, photo)


def _everything(engine: Engine, image: Image) -> Faces:
    frame = _frame(image)
    return engine.embed(frame, engine.landmarks(frame, engine.detect(frame)))


def _eye_distance(faces: Faces) -> float:
    return float(np.linalg.norm(faces.keypoints[0, 1] - faces.keypoints[0, 0]))


@pytest.mark.weights
def test_one_face_with_its_parts_where_they_belong(full: Faces) -> None:
    assert len(full) == 1
    assert full.frame_index.tolist() == [7]
    assert full.scores[0] > 0.8
    right_eye, left_eye, nose, right_mouth, left_mouth = full.keypoints[0]
    assert right_eye[0] < nose[0] < left_eye[0]  # the subject's right is the picture's left
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    x1, y1, x2, y2 = full.boxes[0]
    assert ((full.keypoints[0] > [x1, y1]) & (full.keypoints[0] < [x2, y2])).all()


@pytest.mark.weights
def test_embeddings_and_landmarks_keep_the_contract(full: Faces) -> None:
    assert full.embeddings is not None
    assert full.landmarks is not None
    assert full.visible is not None
    assert full.embedder == OfflineEngine.embedder
    assert full.embeddings.shape == (1, 128)
    assert np.linalg.norm(full.embeddings[0]) == pytest.approx(1, abs=1e-5)
    assert full.point_set == 468
    assert full.visible.all()
    spread = 0.1 * _eye_distance(full)
    for eye, (outer, inner) in zip(full.keypoints[0, :2], ((33, 133), (263, 362)), strict=True):
        middle = full.landmarks[0, [outer, inner]].mean(axis=0)
        assert np.linalg.norm(middle - eye) < 1.5 * spread  # two networks agree


@pytest.mark.weights
@pytest.mark.parametrize("scale", [0.35, 0.5, 2.0, 4.0])
def test_points_are_in_pixels_of_the_frame_whatever_its_size(
    engine: OfflineEngine, photo: Image, full: Faces, scale: float
) -> None:
    size = round(320 * scale)
    found = _everything(engine, cv2.resize(photo, (size, size), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC))
    assert len(found) == 1
    assert full.landmarks is not None
    assert found.landmarks is not None
    limit = _eye_distance(full)
    back = (found.landmarks[0] + 0.5) / scale - 0.5
    assert np.linalg.norm(back - full.landmarks[0], axis=1).mean() < 0.05 * limit
    assert np.linalg.norm((found.keypoints[0] + 0.5) / scale - 0.5 - full.keypoints[0], axis=1).mean() < 0.12 * limit


@pytest.mark.weights
def test_landmarks_turn_with_the_picture(engine: OfflineEngine, photo: Image, full: Faces) -> None:
    turn = cv2.getRotationMatrix2D((160, 160), 25, 1.0)
    found = _everything(engine, cv2.warpAffine(photo, turn, (320, 320), borderMode=cv2.BORDER_REPLICATE))
    assert full.landmarks is not None
    assert found.landmarks is not None
    there = align.transform_points(turn, full.landmarks[0])
    assert np.linalg.norm(found.landmarks[0] - there, axis=1).mean() < 0.04 * _eye_distance(full)


@pytest.mark.weights
def test_a_mirror_swaps_left_and_right(engine: OfflineEngine, photo: Image, full: Faces) -> None:
    found = engine.detect(_frame(photo[:, ::-1]))
    mirrored = full.keypoints[0][[1, 0, 2, 4, 3]] * [-1, 1] + [319, 0]
    assert np.linalg.norm(found.keypoints[0] - mirrored, axis=1).max() < 0.15 * _eye_distance(full)


@pytest.mark.weights
def test_a_face_that_fills_a_large_frame_is_found(engine: OfflineEngine, photo: Image, full: Faces) -> None:
    x1, y1, x2, y2 = full.boxes[0].astype(int)
    close = cv2.resize(photo[y1 - 20 : y2 + 10, x1 - 15 : x2 + 15], None, fx=12, fy=12, interpolation=cv2.INTER_CUBIC)
    assert len(engine.detect(_frame(close))) == 1


@pytest.mark.weights
@pytest.mark.parametrize("kind", ["flat", "noise"])
def test_no_face_where_there_is_none(engine: OfflineEngine, kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    image = noise if kind == "noise" else np.full_like(noise, 128)
    found = _everything(engine, image)
    assert len(found) == 0


@pytest.mark.weights
def test_landmarks_on_something_else_are_not_believed(engine: OfflineEngine, photo: Image, full: Faces) -> None:
    noise = np.random.default_rng(0).integers(0, 256, photo.shape).astype(np.uint8)
    found = engine.landmarks(_frame(noise), full)
    assert found.visible is not None
    assert not found.visible.any()


@pytest.mark.weights
def test_several_faces_come_surest_first_and_each_equals_itself_alone(engine: OfflineEngine, photo: Image) -> None:
    small = cv2.resize(photo, (160, 160), interpolation=cv2.INTER_AREA)
    both = np.concatenate([photo, np.concatenate([small, np.zeros_like(small)])], axis=1)
    found = _everything(engine, both)
    assert len(found) == 2
    assert found.scores[0] >= found.scores[1]
    assert found.embeddings is not None
    for row in range(2):
        alone = engine.embed(_frame(both), found[row])
        assert alone.embeddings is not None
        np.testing.assert_array_equal(alone.embeddings[0], found.embeddings[row])
    assert found.embeddings[0] @ found.embeddings[1] > 0.8  # the same person twice


@pytest.mark.weights
def test_embeddings_agree_with_opencv_on_the_same_crop(engine: OfflineEngine, photo: Image, full: Faces, tmp_path: Path) -> None:
    """Also tells RGB from BGR: OpenCV swaps the channels of its BGR input itself."""
    model = onnx.load(catalogue.path("sface-2021dec-int8"))
    data = [value for value in model.graph.input if value.name == "data"]
    del model.graph.input[:]
    model.graph.input.extend(data)
    onnx.save(model, tmp_path / "sface.onnx")
    recogniser = cv2.FaceRecognizerSF.create(str(tmp_path / "sface.onnx"), "")
    crop = align.cut(photo, full.keypoints[0], template="arcface", size=112).image
    ours = full.embeddings
    assert ours is not None
    theirs = recogniser.feature(cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))[0]
    swapped = recogniser.feature(crop)[0]
    assert ours[0] @ theirs / np.linalg.norm(theirs) > 0.9999
    assert ours[0] @ swapped / np.linalg.norm(swapped) < 0.999


@pytest.mark.weights
def test_the_same_picture_gives_the_same_faces(photo: Image, full: Faces) -> None:
    again = _everything(OfflineEngine(), photo)
    for name in ("boxes", "keypoints", "scores", "landmarks", "embeddings"):
        np.testing.assert_array_equal(getattr(again, name), getattr(full, name))


def test_missing_weights_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="faceswap-lab models fetch"):
        OfflineEngine().detect(_frame(np.zeros((64, 64, 3), np.uint8)))


def _faces(boxes: list[list[float]], scores: list[float]) -> Faces:
    return Faces(
        frame_index=np.zeros(len(boxes), np.int64),
        boxes=np.array(boxes, np.float64),
        keypoints=np.zeros((len(boxes), 5, 2)),
        scores=np.array(scores),
        embeddings=np.eye(4)[: len(boxes)],
        embedder="test",
    )


@pytest.mark.weights
def test_keypoints_off_the_mesh_lie_near_the_detectors_and_turn_with_the_picture_as_well(
    engine: OfflineEngine, photo: Image, full: Faces
) -> None:
    refined = refined_keypoints(full)
    assert np.linalg.norm(refined.keypoints[0] - full.keypoints[0], axis=1).max() < 0.25 * _eye_distance(full)
    turn = cv2.getRotationMatrix2D((160, 160), 25, 1.0)
    found = refined_keypoints(_everything(engine, cv2.warpAffine(photo, turn, (320, 320), borderMode=cv2.BORDER_REPLICATE)))
    there = align.transform_points(turn, refined.keypoints[0])
    assert np.linalg.norm(found.keypoints[0] - there, axis=1).max() < 0.06 * _eye_distance(full)
    with pytest.raises(ValueError, match=r"Engine\.landmarks"):
        refined_keypoints(replace(full, landmarks=None, point_set=None))


def test_the_best_face_is_large_and_sure() -> None:
    faces = _faces([[0, 0, 10, 10], [0, 0, 40, 40], [0, 0, 42, 42]], [0.99, 0.95, 0.6])
    assert best_face(faces) == 1
    with pytest.raises(FaceError):
        best_face(Faces.none())


def test_the_nearest_face_has_the_greatest_cosine() -> None:
    faces = _faces([[0, 0, 1, 1]] * 3, [0.9] * 3)
    assert nearest(faces, np.array([0.1, 0.2, 0.9, 0.0])) == 2
    with pytest.raises(FaceError):
        nearest(Faces.none(), np.zeros(4))
    with pytest.raises(ValueError, match=r"Engine\.embed"):
        nearest(replace(faces, embeddings=None, embedder=None), np.zeros(4))


def test_devices_are_picked_by_name_or_refused() -> None:
    assert device.pick("cpu") == torch.device("cpu")
    assert "threads" in device.describe(device.pick("cpu"))
    assert device.pick("auto").type in device.describe(device.pick("auto"))
    with pytest.raises(DeviceError, match="cuda:99"):
        device.pick("cuda:99")
    for nonsense in ("gpu", "cpu:1", "cuda:x", ""):
        with pytest.raises(ValueError, match="no device is called"):
            device.pick(nonsense)


@pytest.mark.weights
def test_a_session_runs_where_it_was_asked_to_or_not_at_all(engine: OfflineEngine) -> None:
    assert engine._sface.get_providers() == ["CPUExecutionProvider"]
    with pytest.raises(DeviceError, match="onnxruntime"):
        device.onnx_session(b"", torch.device("mps") if torch.cuda.is_available() else torch.device("cuda"))
