"""insightface's networks behind the `Engine` protocol, from a folder of ONNX files: the only module that imports that library.

Its own classes preprocess images and decode outputs, so that a pack gives the same results here. Its loader is not used: it
downloads silently, crashes on a swapper, takes the first of two detectors, and a misspelt field is None. Instead, the folder is
inspected first and rejected if anything in it is ambiguous, and sessions are created by `device.onnx_session`.
"""

import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float

from faceswap_lab.errors import FaceError, WeightsError
from faceswap_lab.faces import align
from faceswap_lab.faces.face import Faces, PointSet
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models import device as devices
from faceswap_lab.models.engines.scrfd_batch import ELSEWHERE, ON_CPU, BatchDetector, leaves_batch_open
from faceswap_lab.models.onnx_runtime import onnxruntime
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.weights import onnx_inspect, restricted
from faceswap_lab.models.weights.onnx_inspect import Graph

SEARCH_SIZES = ((128, 128), (640, 640))
"""Widths and heights at which insightface searches a frame: small for faces that fill it, large for the others."""

_MISSING = (
    "run `make setup`, or `pip install 'insightface>=2.1'` (beside onnxruntime-gpu: `pip install --no-deps 'insightface>=2.1'`)"
)
_POINTS: Mapping[str, PointSet] = MappingProxyType({"landmark_2d_106": 106, "landmark_3d_68": 68})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InsightPack:
    """The networks of a folder by task, in insightface's names: detection, recognition, landmark_2d_106, ..."""

    folder: Path
    networks: Mapping[str, Graph]

    @property
    def point_set(self) -> PointSet | None:
        """The landmarks it predicts: 106 if it has both sets."""
        return next((points for task, points in _POINTS.items() if task in self.networks), None)

    @property
    def embedder(self) -> str:
        """Name of the recogniser: its file name and the start of its digest, as files with the same name may not be comparable."""
        graph = self.networks["recognition"]
        return f"{graph.path.stem}-{graph.sha256[:12]}"

    @property
    def digest(self) -> str:
        """Digest of the entire pack, for a run's record."""
        return " ".join(f"{task}:{graph.sha256[:16]}" for task, graph in sorted(self.networks.items()))


def open_pack(folder: Path) -> InsightPack:
    """Reads every ONNX file of a folder and determines its task, without running it.

    Raises WeightsError for a folder without detector or recogniser, with two networks for one task, or with a file that is not an
    insightface network; LicenceError for files known to be restricted whose licence was not accepted.
    """
    if not folder.is_dir():
        raise WeightsError(
            expected=f"a folder with an insightface pack at {folder}",
            got="no such folder",
            remedy="pass the folder with the ONNX files, or use the engine `offline`",
        )
    if (folder / "manifest.json").exists():
        raise WeightsError(
            expected=f"a pack of plain ONNX files in {folder}",
            got="one with a manifest.json, insightface's newer layout",
            remedy="copy its ONNX files into a separate folder, if their licence permits it",
        )
    networks: dict[str, Graph] = {}
    for path in sorted(folder.glob("*.onnx")):
        graph = onnx_inspect.inspect(path)
        task = task_of(graph)
        if task in networks:
            raise WeightsError(
                expected=f"one {task} network in {folder}",
                got=f"{networks[task].path.name} and {path.name}",
                remedy="remove one of them from the folder",
            )
        networks[task] = graph
    if lacking := {"detection", "recognition"} - networks.keys():
        raise WeightsError(
            expected=f"a detector and a recogniser in {folder}",
            got=f"no {' and no '.join(sorted(lacking))} among {[graph.path.name for graph in networks.values()]}",
            remedy=f"pass the folder of a complete pack{_deeper(folder)}, or use the engine `offline`",
        )
    restricted.require_accepted(graph.sha256 for graph in networks.values())
    return InsightPack(folder=folder, networks=MappingProxyType(networks))


def _deeper(folder: Path) -> str:
    """A hint at the folders inside with ONNX files: archives of packs often unpack to one more folder."""
    inside = sorted({path.parent for path in folder.glob("*/*.onnx")})
    return f" (there are ONNX files in {', '.join(map(str, inside[:3]))})" if inside else ""


def task_of(graph: Graph) -> str:
    """The task that insightface's router infers, with further checks. Raises WeightsError if it is ambiguous."""
    first, outputs = graph.inputs[0] if graph.inputs else None, graph.outputs
    if first is None or first.open_shape or not first.fits(None, 3, None, None):
        raise onnx_inspect.refusal(graph.path, "a network with image input (n, 3, h, w)", f"inputs {_shapes(graph.inputs)}")
    height, width = first.shape[2:]
    if len(graph.inputs) == 2 and graph.inputs[1].fits(None, None) and len(outputs) == 1:
        return "swap"
    if len(graph.inputs) != 1 or first.dtype != "float32":
        raise onnx_inspect.refusal(graph.path, "one input of 32-bit floats", f"inputs {_shapes(graph.inputs)}")
    if len(outputs) >= 5:
        _check_detector(graph)
        return "detection"
    if len(outputs) != 1:
        raise onnx_inspect.refusal(graph.path, "one output, or a detector's", f"outputs {_shapes(outputs)}")
    if (height, width) == (192, 192):
        for task, values in (("landmark_2d_106", 212), ("landmark_3d_68", 3309)):
            if outputs[0].shape[-1:] == (values,) and outputs[0].fits(None, values):
                return task
        raise onnx_inspect.refusal(graph.path, "landmarks of 212 or 3309 values", f"outputs {_shapes(outputs)}")
    if (height, width) == (96, 96):
        return "genderage"
    if height is not None and height == width and height % 112 == 0 and outputs[0].fits(None, None):
        return "recognition"
    raise onnx_inspect.refusal(
        graph.path,
        "a detector, landmarks, a recogniser or a swapper",
        f"inputs {_shapes(graph.inputs)}, outputs {_shapes(outputs)}",
    )


def _check_detector(graph: Graph) -> None:
    """SCRFD with five keypoints: scores, boxes and points (1, 4, 10 values) for 3 or 5 strides."""
    number = len(graph.outputs)
    if number not in (9, 15):
        raise onnx_inspect.refusal(graph.path, "SCRFD with keypoints: 9 or 15 outputs", f"{number} outputs")
    for place, output in enumerate(graph.outputs):
        values = (1, 4, 10)[place * 3 // number]
        if not (output.fits(None, values) or output.fits(None, None, values)):
            raise onnx_inspect.refusal(graph.path, f"output {place} of a detector with {values} values each", _shapes([output]))


def _shapes(ports: Any) -> str:
    return (
        ", ".join(f"{port.name} {port.dtype}{['?' if side is None else side for side in port.shape]}" for port in ports) or "none"
    )


class InsightEngine(Engine):
    """An engine from a pack's folder. The folder is read and weights are loaded on first use.

    `score_threshold` (0..1) and `search_sizes` default to insightface's, and so do all results: boxes and points as by its
    `FaceAnalysis`, embeddings with its alignment, normalised to unit length. At most `detect_batch` frames are processed in one
    run, if the file allows it; None: a number that is efficient on the device.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        *,
        score_threshold: float = 0.5,
        search_sizes: tuple[tuple[int, int], ...] = SEARCH_SIZES,
        detect_batch: int | None = None,
    ) -> None:
        self._folder = folder
        self._device = device
        self._score_threshold = score_threshold
        self._search_sizes = search_sizes
        self._detect_batch = detect_batch or (ON_CPU if device.type == "cpu" else ELSEWHERE)

    @cached_property
    def pack(self) -> InsightPack:
        """The contents of the folder."""
        return open_pack(self._folder)

    @property
    def embedder(self) -> str:
        """Name of the recogniser used by `embed`."""
        return self.pack.embedder

    @property
    def point_set(self) -> PointSet | None:
        """The dense landmarks that `landmarks` returns; None: the pack has none."""
        return self.pack.point_set

    @property
    def record(self) -> str:
        """The digests of the pack's networks."""
        return self.pack.digest

    def providers(self) -> dict[str, str]:
        """The provider of each network as reported by onnxruntime. Loads them."""
        loaded = {"detection": self._detector, "recognition": self._recogniser}
        if self.point_set is not None:
            loaded["landmarks"] = self._marker
        return devices.providers(**{name: network.session for name, network in loaded.items()})

    @property
    def detects_batches(self) -> bool:
        """Whether `detect_all` batches frames. Loads the detector."""
        return self._batch_detector is not None

    def detect(self, frame: Frame) -> Faces:
        """All faces with boxes, five keypoints and scores, sorted by descending score."""
        if self._is_too_narrow(frame):
            return Faces.none()
        with devices.running("a detector that accepts the search sizes"):
            rows, points = self._detector.detect(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
        return _faces(frame, rows, points)

    def detect_all(self, frames: Sequence[Frame]) -> list[Faces]:
        """The results of `detect` for each frame; batched if the file allows it and it is faster, else one by one."""
        detector = self._batch_detector if len(frames) > 1 else None
        if detector is None:
            return [self.detect(frame) for frame in frames]
        wide = [place for place, frame in enumerate(frames) if not self._is_too_narrow(frame)]
        answers = [Faces.none()] * len(frames)
        for place, found in zip(wide, detector.detect([frames[place] for place in wide]), strict=True):
            answers[place] = _faces(frames[place], *found)
        return answers

    def _is_too_narrow(self, frame: Frame) -> bool:
        """Whether the frame has less than one row at the smallest search size: insightface raises."""
        smallest = min(min(size) for size in self._detector.input_sizes)
        return bool(min(frame.size) * smallest < max(frame.size))

    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with the pack's 106 points, else its 68 (x and y of a 3D fit). WeightsError if it has neither."""
        number = self.point_set
        if number is None:
            raise WeightsError(
                expected=f"landmarks in the pack {self._folder}",
                got="none",
                remedy="add 2d106det.onnx, or use the engine `offline`",
            )
        if not (np.isfinite(faces.boxes).all() and (faces.boxes[:, 2:] > faces.boxes[:, :2]).all()):
            raise FaceError(expected="boxes with an area", got="one without", remedy="drop this detection")
        picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        marker, face = self._marker, _insightface("app.common").Face
        points = np.zeros((len(faces), number, 2), np.float32)
        with devices.running("a landmark network that accepts crops of 192 pixels"):
            for row, box in enumerate(faces.boxes):
                points[row] = marker.get(picture, face(bbox=box))[:, :2]
        return replace(faces, landmarks=points, point_set=number, visible=None)

    def embed(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with unit embeddings of insightface's crops on ArcFace's template: bilinear, black outside."""
        picture = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
        size = int(self._recogniser.input_size[0])
        matrices = [align.frame_to_crop(points, template="arcface", size=112) * (size / 112) for points in faces.keypoints]
        vectors = self._vectors([cv2.warpAffine(picture, matrix, (size, size), borderValue=0.0) for matrix in matrices])
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths).all() and (lengths > 0).all()):
            raise WeightsError(
                expected=f"non-zero, finite embeddings from {self.embedder}", got="zeros or NaN", remedy="use another pack"
            )
        return replace(faces, embeddings=vectors / lengths, embedder=self.embedder)

    def _vectors(self, patches: list[np.ndarray]) -> Float[np.ndarray, "n d"]:
        """The recogniser's outputs, batched if the file allows it."""
        port = self.pack.networks["recognition"]
        width = (port.outputs[0].shape or (0,))[-1] or 0
        if not patches:
            return np.zeros((0, width), np.float32)
        step = len(patches) if port.inputs[0].shape[0] is None else 1
        recogniser = self._recogniser
        with devices.running("a recogniser that accepts crops of its input size"):
            rows = [recogniser.get_feat(patches[start : start + step]) for start in range(0, len(patches), step)]
        return np.concatenate(rows).astype(np.float32)

    @cached_property
    def _detector(self) -> Any:
        graph = self.pack.networks["detection"]
        with _tried(graph, "a detector whose outputs fit its strides"):
            made = _insightface("model_zoo.scrfd").SCRFD(str(graph.path), self._session(graph), static_shape_sessions=False)
            made.prepare(0, input_size=self._search_sizes, det_thresh=self._score_threshold)
            width, height = made.input_sizes[0]
            made.detect(np.zeros((height, width, 3), np.uint8))
        return made

    @cached_property
    def _batch_detector(self) -> BatchDetector | None:
        """None if frames are processed one by one: the file fixes its batch size, or only claims that it does not."""
        if self._detect_batch == 1 or not leaves_batch_open(self.pack.networks["detection"]):
            return None
        made = BatchDetector(self._detector, self._detect_batch)
        return made if made.keeps_frames_apart() else None

    @cached_property
    def _marker(self) -> Any:
        task = next(task for task in _POINTS if task in self.pack.networks)
        graph, face = self.pack.networks[task], _insightface("app.common").Face(bbox=np.array([32.0, 32, 160, 160]))
        with _tried(graph, f"landmarks of {_POINTS[task]} points"):
            made = _insightface("model_zoo.landmark").Landmark(str(graph.path), self._session(graph))
            if len(found := made.get(np.zeros((192, 192, 3), np.uint8), face)) != _POINTS[task]:
                raise ValueError(f"{len(found)} points")
        return made

    @cached_property
    def _recogniser(self) -> Any:
        graph = self.pack.networks["recognition"]
        with _tried(graph, "a recogniser that returns one vector per face"):
            made = _insightface("model_zoo.arcface_onnx").ArcFaceONNX(str(graph.path), self._session(graph))
            width, height = made.input_size
            found = made.get_feat(np.zeros((height, width, 3), np.uint8))
            if found.ndim != 2 or len(found) != 1:
                raise ValueError(f"an output of shape {found.shape}")
        return made

    def _session(self, graph: Graph) -> onnxruntime.InferenceSession:
        return devices.onnx_session(graph.path, self._device)


def _faces(frame: Frame, rows: Float[np.ndarray, "k 5"], points: Float[np.ndarray, "k 5 2"]) -> Faces:
    return Faces(
        frame_index=np.full(len(rows), frame.index, np.int64),
        boxes=rows[:, :4].astype(np.float32),
        keypoints=np.asarray(points, np.float32).reshape(-1, 5, 2),
        scores=rows[:, 4].astype(np.float32),
    )


@contextmanager
def _tried(graph: Graph, expected: str) -> Iterator[None]:
    """Wraps loading a network and running it on black: its output shapes may be dynamic, or differ from those declared."""
    try:
        with devices.running(f"{expected} from {graph.path}"):
            yield
    except (IndexError, ValueError) as error:
        raise onnx_inspect.refusal(graph.path, expected, str(error)) from error


def check_installed() -> None:
    """Raises WeightsError that says how to install it if the library insightface is not installed."""
    _insightface("app.common")


def _insightface(module: str) -> Any:
    """A module of insightface. Raises WeightsError that says how to install it if the library is not installed."""
    try:
        return importlib.import_module(f"insightface.{module}")
    except ImportError as error:
        raise WeightsError(expected="the library insightface, which reads these packs", got=str(error), remedy=_MISSING) from error
