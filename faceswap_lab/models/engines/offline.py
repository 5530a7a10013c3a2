"""The offline engine: free weights that run on any CPU. YuNet detects, MediaPipe's mesh gives 468 landmarks, SFace embeddings."""

from dataclasses import replace
from functools import cached_property

import cv2
import numpy as np
import onnx
import torch
from jaxtyping import Float

from faceswap_lab.errors import FaceError
from faceswap_lab.faces import align
from faceswap_lab.faces.face import Faces, PointSet
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import device
from faceswap_lab.models.onnx_runtime import onnxruntime
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.weights import catalogue

_MESH_SIZE = 192
_MESH_MARGIN = 1.5
_UPRIGHT_LOGIT = 14.0


class OfflineEngine(Engine):
    """The engine that runs on any CPU. Weights load on first use; not thread-safe.

    `score_threshold` (0..1) is YuNet's. A frame is searched with its long side at most `search_side` pixels; YuNet was trained on
    faces of about 10 to 300 pixels, so if nothing is found, half that size is searched for faces that fill the frame.
    """

    embedder = "sface-2021dec-int8"
    point_set: PointSet | None = 468

    def __init__(self, *, score_threshold: float = 0.6, search_side: int = 640) -> None:
        self._score_threshold = score_threshold
        self._search_side = search_side

    def detect(self, frame: Frame) -> Faces:
        """All faces with boxes, five keypoints and scores, sorted by descending score.

        On synthetic actors the keypoint error is about 11 % of the inter-ocular distance: mouth corners are too high and wide.
        """
        long_side = max(frame.size)
        first = min(max(long_side, 160), self._search_side)
        found = self._search(frame.image, first / long_side)
        if not len(found) and long_side > 160:
            found = self._search(frame.image, first / 2 / long_side)
        rows = found[np.argsort(-found[:, 14], kind="stable")]
        return Faces(
            frame_index=np.full(len(rows), frame.index, np.int64),
            boxes=np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1),
            keypoints=rows[:, 4:14].reshape(-1, 5, 2),
            scores=rows[:, 14],
        )

    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with 468 points. `visible` is False for all points of a face that the mesh network itself rejects.

        Two passes, as in MediaPipe's tracker: the first on the detector's box, the second on the box of the points found.
        """
        points, logits = self._dense(frame, faces)
        return replace(faces, landmarks=points, visible=np.repeat(logits[:, None] > 0, 468, axis=1), point_set=468)

    def upright_probability(self, frame: Frame, faces: Faces) -> Float[np.ndarray, " n"]:
        """The mesh network's probability (0..1) that each is an upright face.

        On six actors its logit was 19 to 28 for upright faces and below 8 for sideways or upside-down ones, while the detector's
        scores hardly differed.
        """
        return np.asarray(1 / (1 + np.exp((_UPRIGHT_LOGIT - self._dense(frame, faces)[1]) / 2)), np.float32)

    def _dense(self, frame: Frame, faces: Faces) -> tuple[Float[np.ndarray, "n 468 2"], Float[np.ndarray, " n"]]:
        """The points, and the network's face logit for the region."""
        points, logits = np.zeros((len(faces), 468, 2), np.float32), np.zeros(len(faces), np.float32)
        for row in range(len(faces)):
            x1, y1, x2, y2 = faces.boxes[row]
            eyes = faces.keypoints[row, :2]
            corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
            first = self._points(frame.image, mesh_region(corners, eyes))
            points[row] = self._points(frame.image, mesh_region(first, first[[33, 263]]))
            logits[row] = float(self._facemesh.forward("conv2d_31").item())
        return points, logits

    def embed(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with unit embeddings of 128 values, from RGB crops of 112 pixels aligned to ArcFace's template."""
        vectors = np.zeros((len(faces), 128), np.float32)
        for row in range(len(faces)):
            matrix = align.frame_to_crop(faces.keypoints[row], template="arcface", size=112)
            patch = align.crop(frame.image, matrix, 112)
            (answer,) = self._sface.run(None, {"data": patch.transpose(2, 0, 1)[None].astype(np.float32)})
            vectors[row] = answer[0] / np.linalg.norm(answer[0])
        return replace(faces, embeddings=vectors, embedder=self.embedder)

    def mesh(self, image: Image, frame_to_patch: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "468 3"]:
        """The network's output for one region: x, y and depth (smaller is nearer) in pixels of its 192-pixel patch."""
        patch = align.crop(image, frame_to_patch, _MESH_SIZE)
        self._facemesh.setInput(patch.transpose(2, 0, 1)[None].astype(np.float32) / 255)
        return np.asarray(self._facemesh.forward("conv2d_21"), np.float32).reshape(468, 3)

    def _search(self, image: Image, scale: float) -> Float[np.ndarray, "n 15"]:
        height, width = (max(16, round(side * scale)) for side in image.shape[:2])
        shrink = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        small = image if (height, width) == image.shape[:2] else cv2.resize(image, (width, height), interpolation=shrink)
        self._yunet.setInputSize((width, height))
        rows: np.ndarray | None = self._yunet.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
        if rows is None:
            return np.zeros((0, 15), np.float32)
        factor = np.array([image.shape[1] / width, image.shape[0] / height], np.float32)
        back = np.asarray(rows, np.float32).copy()
        back[:, 2:4] *= factor
        for column in (0, 4, 6, 8, 10, 12):
            back[:, column : column + 2] = (back[:, column : column + 2] + 0.5) * factor - 0.5
        return back

    def _points(self, image: Image, frame_to_patch: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "468 2"]:
        inside = self.mesh(image, frame_to_patch)[:, :2]
        return align.transform_points(align.invert(frame_to_patch), inside).astype(np.float32)

    @cached_property
    def _yunet(self) -> "cv2.FaceDetectorYN":
        weights = str(catalogue.path("yunet-2023mar-int8"))
        level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # OpenCV 5 warns about a target that it sets itself
        try:
            return cv2.FaceDetectorYN.create(weights, "", (160, 160), self._score_threshold, 0.3, 5000)
        finally:
            cv2.utils.logging.setLogLevel(level)

    @cached_property
    def _facemesh(self) -> "cv2.dnn.Net":
        return cv2.dnn.readNetFromTFLite(str(catalogue.path("facemesh-468")))

    @cached_property
    def _sface(self) -> onnxruntime.InferenceSession:
        """The file also lists its weights as graph inputs, which onnxruntime and OpenCV 5 reject: only `data` is one."""
        model = onnx.load(catalogue.path("sface-2021dec-int8"))
        data = [value for value in model.graph.input if value.name == "data"]
        del model.graph.input[:]
        model.graph.input.extend(data)
        return device.onnx_session(model.SerializeToString(), torch.device("cpu"))


def mesh_region(around: Float[np.ndarray, "p 2"], eyes: Float[np.ndarray, "2 2"]) -> Float[np.ndarray, "2 3"]:
    """frame_to_patch of MediaPipe's region: the points' box aligned with the eye line, made square by its long side, enlarged."""
    across = (eyes[1] - eyes[0]).astype(np.float64)
    if (length := float(np.linalg.norm(across))) < 1e-3:
        raise FaceError(
            expected="two distinct eyes", got="both at one point", remedy="drop this detection, or correct its points manually"
        )
    (cos, sin) = across / length
    rotate = np.array([[cos, sin], [-sin, cos]])
    turned = around @ rotate.T
    low, high = turned.min(0), turned.max(0)
    scale = _MESH_SIZE / (float((high - low).max()) * _MESH_MARGIN)
    shift = (_MESH_SIZE - 1) / 2 - scale * (low + high) / 2
    return np.concatenate([scale * rotate, shift[:, None]], axis=1)


def refined_keypoints(faces: Faces) -> Faces:
    """The same faces with five keypoints derived from the 468-point mesh: midpoints of the eye corners, nose tip, mouth corners.

    On synthetic actors in all poses their error is 8 % of the inter-ocular distance, the detector's is 14 %.
    ValueError without 468 landmarks.
    """
    if faces.landmarks is None or faces.point_set != 468:
        raise ValueError("these Faces have no 468 landmarks: run Engine.landmarks first")
    points = faces.landmarks
    right_eye, left_eye = points[:, [33, 133]].mean(axis=1), points[:, [362, 263]].mean(axis=1)
    return replace(faces, keypoints=np.stack([right_eye, left_eye, points[:, 1], points[:, 61], points[:, 291]], axis=1))
