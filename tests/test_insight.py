"""insightface's own classes beside ours on the same small files, what is refused unread, and a swap with both from end to end."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import DeviceError, FaceError, LicenceError, WeightsError
from faceswap_lab.faces import align, video
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models import device
from faceswap_lab.models.engines import insight
from faceswap_lab.models.engines.insight import InsightEngine, open_pack
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import Crops, Source
from faceswap_lab.models.registry import check_points, open_engine, open_swapper, swapper_record
from faceswap_lab.models.stream import swap_frames
from faceswap_lab.models.stream.followed import Selection
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.models.swappers.inswapper import Inswapper
from faceswap_lab.models.swappers.warp import WarpSwapper
from faceswap_lab.models.weights import onnx_inspect, restricted
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.people import admit
from faceswap_lab.verbs.recipes import EvaluateRecipe, SwapRecipe
from faceswap_lab.verbs.swap.swap import swap
from tests import packs

CPU = torch.device("cpu")
HAS_INSIGHTFACE = find_spec("insightface") is not None


def needs_insightface(test: Callable) -> Callable:
    skip = pytest.mark.skipif(not HAS_INSIGHTFACE, reason="needs insightface: make setup")
    return pytest.mark.insight(skip(test))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return packs.pack(tmp_path_factory.mktemp("packs") / "tiny", landmarks_3d=True)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """A pack of one's own to spoil."""
    return Path(shutil.copytree(folder, tmp_path / "pack"))


def frame_of(image: np.ndarray, index: int = 0) -> Frame:
    return Frame(image=np.ascontiguousarray(image), origin="test", index=index)


FOUR = [(100.0, 120.0, 40.0, 60), (300.0, 200.0, 64.0, 200), (500.0, 420.0, 90.0, 20), (420.0, 90.0, 20.0, 120)]


# --- beside insightface itself --------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_insightface
@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")
@pytest.mark.parametrize("size", [(480, 640), (640, 480), (200, 300)])
def test_a_pack_means_here_what_it_means_to_face_analysis(folder: Path, size: tuple[int, int]) -> None:
    from insightface.app import FaceAnalysis

    theirs = FaceAnalysis(str(folder), providers=["CPUExecutionProvider"])
    theirs.prepare(0)
    frame = frame_of(packs.scene(*size, FOUR))
    wanted = theirs.get(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR))
    engine = InsightEngine(folder, CPU)
    ours = engine.embed(frame, engine.landmarks(frame, engine.detect(frame)))
    assert len(ours) == len(wanted) > 0
    assert ours.landmarks is not None
    assert ours.embeddings is not None
    for row, face in enumerate(wanted):
        np.testing.assert_array_equal(ours.boxes[row], face.bbox)
        np.testing.assert_array_equal(ours.keypoints[row], face.kps)
        assert ours.scores[row] == face.det_score
        np.testing.assert_array_equal(ours.landmarks[row], face.landmark_2d_106)
        assert ours.embeddings[row] @ face.normed_embedding > 0.99999


@needs_insightface
@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")
def test_a_pack_without_106_points_gives_the_68_of_its_3d_fit(copy: Path) -> None:
    from insightface.app import FaceAnalysis

    (copy / "2d106det.onnx").unlink()
    engine, frame = InsightEngine(copy, CPU), frame_of(packs.scene(480, 640, FOUR[:1]))
    ours = engine.landmarks(frame, engine.detect(frame))
    theirs = FaceAnalysis(str(copy), providers=["CPUExecutionProvider"])
    theirs.prepare(0)
    assert ours.point_set == engine.point_set == 68
    assert ours.landmarks is not None
    np.testing.assert_array_equal(ours.landmarks[0], theirs.get(frame.image[..., ::-1])[0].landmark_3d_68[:, :2])


@needs_insightface
def test_a_pack_without_landmarks_detects_and_says_that_it_has_none(copy: Path) -> None:
    (copy / "2d106det.onnx").unlink()
    (copy / "1k3d68.onnx").unlink()
    engine, frame = InsightEngine(copy, CPU), frame_of(packs.scene(480, 640, FOUR[:1]))
    found = engine.detect(frame)
    assert len(found) == 1
    assert engine.point_set is None
    assert set(engine.providers()) == {"detection", "recognition"}
    with pytest.raises(WeightsError, match="landmarks in the pack"):
        engine.landmarks(frame, found)


@needs_insightface
@pytest.mark.parametrize("size", [640, 320])
def test_a_detector_of_one_size_is_searched_at_that_size(copy: Path, size: int) -> None:
    packs.detector(copy / "det_10g.onnx", size=size)
    frame = frame_of(packs.scene(size, size, [(150, 160, 60, 90)]))
    found = InsightEngine(copy, CPU).detect(frame)
    np.testing.assert_allclose(found.boxes, [[120, 130, 180, 190]], atol=1)


WANDERING = [[(x + 40.0 * number, y, side, green) for x, y, side, green in FOUR[: number + 1]] for number in range(4)]


@pytest.mark.slow
@needs_insightface
@pytest.mark.parametrize("size", ["side", 320])
def test_frames_detected_at_once_give_to_the_bit_what_each_gives_alone(copy: Path, size: int | str) -> None:
    """Several sizes of picture, none, one and many faces, a picture too narrow to be searched, and more than fit a run."""
    packs.detector(copy / "det_10g.onnx", size=size, batch="n")
    engine = InsightEngine(copy, CPU, detect_batch=16)
    assert engine.detects_batches
    pictures = [packs.scene(480, 640, markers) for markers in WANDERING]
    pictures += [packs.scene(200, 900, []), packs.scene(640, 480, FOUR), np.zeros((4, 2000, 3), np.uint8), packs.scene(96, 96, [])]
    frames = [frame_of(picture, 7 + index) for index, picture in enumerate(pictures * 3)]
    alone = [engine.detect(frame) for frame in frames]
    at_once = engine.detect_all(frames)
    assert {len(faces) for faces in alone} >= {0, 1, 3}
    for one, other in zip(alone, at_once, strict=True):
        for field in ("frame_index", "boxes", "keypoints", "scores"):
            np.testing.assert_array_equal(getattr(one, field), getattr(other, field))
    assert engine.detect_all([]) == []
    assert not InsightEngine(copy, CPU).detects_batches, "it does not pay on a CPU"


class Runs:
    """Counts what a session is given."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session, self.batches = session, []

    def run(self, names: list[str], fed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.batches.append(len(next(iter(fed.values()))))
        return list(self._session.run(names, fed))

    def __getattr__(self, name: str) -> object:
        return getattr(self._session, name)


@pytest.mark.slow
@needs_insightface
@pytest.mark.parametrize(("batch", "runs"), [("n", [8, 8]), (1, [1] * 16)])
def test_the_stream_detects_a_batch_at_once_where_the_file_allows_it(copy: Path, batch: int | str, runs: list[int]) -> None:
    packs.detector(copy / "det_10g.onnx", batch=batch)
    engine = InsightEngine(copy, CPU, detect_batch=16)
    swapper = Inswapper.open(packs.swapper(copy.parent / "swap.onnx", batch=None), CPU, embedder=engine.embedder)
    frames = [frame_of(packs.scene(240, 320, [(60.0 + 8 * i, 120, 64, 90)]), i) for i in range(8)]
    assert engine.detects_batches == (batch == "n")
    counted = engine._detector.session = Runs(engine._detector.session)
    finder = swap_frames._Finder(
        engine=engine,
        swapper=swapper,
        config=StreamConfig(),
        corrections=Corrections(),
        origin="test",
        selection=Selection(engine=engine, select="largest", apart=False),
    )
    found = finder.find(frames)
    assert counted.batches == runs
    assert [len(faces) for faces, _ in found] == [1] * 8
    counted.batches.clear()
    finder = replace(finder, config=StreamConfig(every=4))
    finder.find(frames)
    first = [2, 2] if batch == "n" else [1] * 4
    assert counted.batches[: len(first)] == first, "frames 0 and 4 at once"
    assert counted.batches[len(first) :] == [1] * 12, "flow loses a flat square: each frame between is looked at by itself"


@needs_insightface
def test_a_file_that_mixes_the_frames_of_a_batch_is_run_frame_by_frame(copy: Path) -> None:
    """It says that it takes any batch, and is made for one: its outputs hold the first frame's answers, or none."""
    for spoil in ("first", "refuse"):
        path = packs.detector(copy / "det_10g.onnx", batch="n")
        model = onnx.load(path)
        for node in model.graph.node:
            if node.output[0].startswith(("score", "bbox", "kps")):
                target = next(c for c in model.graph.initializer if c.name == node.input[1])
                target.CopyFrom(numpy_helper.from_array(np.array([1, -1, numpy_helper.to_array(target)[2]]), target.name))
        if spoil == "first":
            ports = {output.name for output in model.graph.output}
            for node in list(model.graph.node):
                if node.output[0] in ports:
                    inner, rows = f"{node.output[0]}_all", f"{node.output[0]}_rows"
                    node.input[0], whole = inner, node.input[0]
                    first = numpy_helper.from_array(np.array([0]), rows)
                    model.graph.initializer.append(first)
                    place = list(model.graph.node).index(node)
                    model.graph.node.insert(place, helper.make_node("Gather", [whole, rows], [inner], axis=0))
        onnx.save(model, path)
        engine = InsightEngine(copy, CPU, detect_batch=16)
        assert not engine.detects_batches
        frames = [frame_of(packs.scene(240, 320, [(60.0 + 40 * i, 120, 64, 90)]), i) for i in range(3)]
        for one, frame in zip(engine.detect_all(frames), frames, strict=True):
            np.testing.assert_array_equal(one.boxes, engine.detect(frame).boxes)
            assert len(one) == 1


@needs_insightface
@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")
@pytest.mark.parametrize("size", [112, 128, 224, 256])
def test_crops_are_cut_where_insightface_cuts_them(size: int) -> None:
    from insightface.utils import face_align

    points = np.array([[110, 90], [160, 95], [133, 120], [112, 140], [155, 144]], np.float32)
    theirs, ours = (
        face_align.estimate_norm(points, size),
        align.frame_to_crop(points, template="arcface" if size % 112 == 0 else "arcface-128", size=size),
    )
    there, here = (align.transform_points(matrix, points) for matrix in (theirs, ours))
    half_pixels = (
        size // (112 if size % 112 == 0 else 128) - 1
    ) / 2  # theirs scale from the first pixel's centre, ours from the edge
    np.testing.assert_allclose(here - there, half_pixels, atol=1e-3)


@pytest.mark.slow
@needs_insightface
@pytest.mark.filterwarnings("ignore:`estimate` is deprecated:FutureWarning")
def test_the_swapper_draws_what_inswapper_draws(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture) -> None:
    from insightface.app.common import Face
    from insightface.model_zoo.inswapper import INSwapper

    path = packs.swapper(tmp_path / "inswapper.onnx")
    engine, frame = InsightEngine(folder, CPU), frame_of(packs.scene(480, 640, FOUR[:2]))
    faces = engine.embed(frame, engine.detect(frame))
    ours = open_swapper(f"inswapper:{path}", CPU, engine)
    assert capsys.readouterr().out == ""
    assert faces.embeddings is not None
    source, target = Face(embedding=faces.embeddings[1] * 23), Face(kps=faces.keypoints[0])
    theirs = INSwapper(str(path), onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]))
    bgr, matrix = theirs.get(cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR), target, source, paste_back=False)
    crop = cv2.warpAffine(frame.image, matrix, (128, 128))
    crops = Crops(
        pixels=torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255,
        frame_to_crop=matrix[None],
        frame_index=np.zeros(1, np.int64),
        template="arcface-128",
    )
    codes = ours.encode([Source(subject="x", frames=[frame], faces=[faces[1]])])
    mine = ours(crops, codes, np.zeros(1, np.int64)).pixels[0].permute(1, 2, 0).mul(255).numpy()
    assert np.abs(mine - bgr[..., ::-1].astype(np.float32)).max() <= 1.01  # theirs are cut to whole levels
    assert np.abs(mine - bgr.astype(np.float32)).max() > 5


@pytest.mark.slow
def test_the_swapper_reads_side_and_batch_from_the_file(tmp_path: Path) -> None:
    for size, batch, template in ((128, 1, "arcface-128"), (256, None, "arcface-128"), (224, None, "arcface")):
        path = packs.swapper(tmp_path / f"{size}.onnx", size=size, batch=batch)
        needs = Inswapper.open(path, CPU, embedder="x").needs
        assert (needs.size, needs.max_batch, needs.template) == (size, batch, template)
        assert (needs.source, needs.embedder, needs.point_set) == ("embedding", "x", None)


def test_the_swapper_refuses_another_recognisers_embeddings(tmp_path: Path) -> None:
    swapper = Inswapper.open(packs.swapper(tmp_path / "s.onnx"), CPU, embedder="arcface")
    frame = frame_of(np.zeros((8, 8, 3), np.uint8))

    def source(width: int, name: str) -> Source:
        face = Faces(
            frame_index=np.zeros(1, np.int64),
            boxes=np.zeros((1, 4)),
            keypoints=np.zeros((1, 5, 2)),
            scores=np.ones(1),
            embeddings=np.ones((1, width)) / width**0.5,
            embedder=name,
        )
        return Source(subject="x", frames=[frame], faces=[face])

    code = swapper.encode([source(512, "arcface")])
    assert np.linalg.norm(code[0]) == pytest.approx(1, abs=1e-5)
    for wrong in (source(128, "arcface"), source(512, "sface")):
        with pytest.raises(WeightsError, match="embeddings that s was trained with"):
            swapper.encode([wrong])
    with pytest.raises(FaceError, match="with an embedding"):
        swapper.encode([Source(subject="x", frames=[], faces=[])])


# --- refused before anything is run ---------------------------------------------------------------------------------------


def _plain(path: Path, inputs: list, outputs: list, *, dtype: int = TensorProto.FLOAT) -> Path:
    """A network whose first input goes to every output, through a reshape that the shapes may contradict."""
    ports = [
        [helper.make_tensor_value_info(f"{side}{n}", dtype, shape) for n, shape in enumerate(shapes)]
        for side, shapes in (("in", inputs), ("out", outputs))
    ]
    nodes = [helper.make_node("Identity", ["in0"], [f"out{n}"]) for n in range(len(outputs))]
    model = helper.make_model(helper.make_graph(nodes, "plain", *ports), opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


PICTURE = [1, 3, "h", "w"]
STRANGE = {
    "no picture": ([[1, 512]], [[1, 512]]),
    "four channels": ([[1, 4, 112, 112]], [[1, 512]]),
    "three inputs": ([PICTURE, [1, 2], [1, 2]], [[1, 2]]),
    "a detector without points": ([PICTURE], [["n", 1]] * 3 + [["n", 4]] * 3),
    "a detector of seven outputs": ([PICTURE], [["n", 1]] * 7),
    "boxes of five values": ([PICTURE], [["n", 1]] * 3 + [["n", 5]] * 3 + [["n", 10]] * 3),
    "two outputs": ([[1, 3, 112, 112]], [[1, 512]] * 2),
    "landmarks of 99 values": ([[1, 3, 192, 192]], [[1, 99]]),
    "a recogniser of 113 pixels": ([[1, 3, 113, 113]], [[1, 512]]),
    "a recogniser of no shape": ([[1, 3, "a", "b"]], [[1, 512]]),
    "a picture for a vector": ([[1, 3, 112, 112]], [[1, 3, 112, 112]]),
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_network_of_no_known_kind_is_refused_by_name(copy: Path, name: str) -> None:
    _plain(copy / "a.onnx", *STRANGE[name])
    with pytest.raises(WeightsError, match=r"a\.onnx"):
        open_pack(copy)


def test_a_file_that_leaves_its_outputs_open_is_taken_for_what_its_input_says(tmp_path: Path) -> None:
    whole = onnx_inspect.inspect(_plain(tmp_path / "a.onnx", [[None, 3, 112, 112]], [None]))
    assert whole.outputs[0].open_shape
    assert insight.task_of(whole) == "recognition"
    with pytest.raises(WeightsError, match="landmarks of 212 or 3309 values"):
        insight.task_of(onnx_inspect.inspect(_plain(tmp_path / "b.onnx", [[None, 3, 192, 192]], [None])))
    with pytest.raises(WeightsError, match="image input"):
        insight.task_of(onnx_inspect.inspect(_plain(tmp_path / "c.onnx", [None], [[1, 512]])))


def test_a_network_of_integers_is_refused(copy: Path) -> None:
    _plain(copy / "a.onnx", [[1, 3, 112, 112]], [[1, 512]], dtype=TensorProto.INT64)
    with pytest.raises(WeightsError, match="32-bit floats"):
        open_pack(copy)


@pytest.mark.parametrize("content", [b"", b"not a network", b"\x08\x07" * 999, None])
def test_what_is_no_onnx_file_is_refused(copy: Path, content: bytes | None) -> None:
    """None: a file cut in the middle."""
    whole = (copy / "w600k_r50.onnx").read_bytes()
    (copy / "w600k_r50.onnx").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(WeightsError, match=r"w600k_r50\.onnx"):
        open_pack(copy)


@pytest.mark.slow
def test_two_swappers_or_two_detectors_in_a_pack_are_refused_and_one_swapper_is_not(copy: Path) -> None:
    packs.swapper(copy / "one.onnx")
    assert "swap" in open_pack(copy).networks
    packs.swapper(copy / "two.onnx", seed=4)
    with pytest.raises(WeightsError, match=r"one swap network .*one\.onnx and two\.onnx"):
        open_pack(copy)
    (copy / "two.onnx").unlink()
    packs.detector(copy / "zzz.onnx")
    with pytest.raises(WeightsError, match=r"one detection network .*det_10g\.onnx and zzz\.onnx"):
        open_pack(copy)


def test_a_folder_that_is_no_pack_is_refused(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(WeightsError, match="no such folder"):
        open_pack(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=f"there are ONNX files in {copy}"):
        open_pack(copy.parent)
    (copy / "det_10g.onnx").unlink()
    with pytest.raises(WeightsError, match="no detection among"):
        open_pack(copy)
    (copy / "manifest.json").write_text("{}")
    with pytest.raises(WeightsError, match=r"manifest\.json"):
        open_pack(copy)


def _external(path: Path, location: str, *, offset: int = 0, length: int = 64, inner: bool = False) -> Path:
    """A network with 16 floats at `location`; `inner`: in an attribute of a node rather than among the initializers."""
    tensor = numpy_helper.from_array(np.zeros(16, np.float32), "far")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    picture = helper.make_tensor_value_info("in0", TensorProto.FLOAT, [1, 3, 112, 112])
    vector = helper.make_tensor_value_info("out0", TensorProto.FLOAT, [16])
    node = helper.make_node("Constant", [], ["out0"], value=tensor) if inner else helper.make_node("Identity", ["far"], ["out0"])
    graph = helper.make_graph([node], "external", [picture], [vector], [] if inner else [tensor])
    path.write_bytes(helper.make_model(graph).SerializeToString())
    return path


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize(
    "location", ["../secret", "/etc/passwd", "C:\\secret", "..\\secret", "deep/../../secret", "", "link", "\0"]
)
def test_weights_outside_the_files_folder_are_refused_unread(tmp_path: Path, location: str, inner: bool) -> None:
    secret, folder = tmp_path / "secret", tmp_path / "pack"
    folder.mkdir()
    secret.write_bytes(bytes(64))
    (folder / "link").symlink_to(secret)
    with pytest.raises(WeightsError, match="weights in the file or beside it"):
        onnx_inspect.inspect(_external(folder / "a.onnx", location, inner=inner))


@pytest.mark.parametrize(("offset", "length"), [(0, 65), (1, 64), (-1, 64), (0, -5), (10**18, 64)])
def test_external_weights_that_are_too_short_are_refused(tmp_path: Path, offset: int, length: int) -> None:
    (tmp_path / "data").write_bytes(bytes(64))
    with pytest.raises(WeightsError, match="bytes of the weights 'far' at 'data'"):
        onnx_inspect.inspect(_external(tmp_path / "a.onnx", "data", offset=offset, length=length))


def test_external_weights_beside_the_file_count_in_its_digest(tmp_path: Path) -> None:
    path = _external(tmp_path / "a.onnx", "data")
    with pytest.raises(WeightsError, match="no such file"):
        onnx_inspect.inspect(path)
    digests = set()
    for content in (bytes(64), bytes(63) + b"x"):
        (tmp_path / "data").write_bytes(content)
        digests.add(onnx_inspect.inspect(path).sha256)
    assert len(digests) == 2


SWAPPERS = {
    "one input": ([[1, 3, 128, 128]], [[1, 3, 128, 128]]),
    "oblong": ([[1, 3, 128, 256], [1, 512]], [[1, 3, 128, 256]]),
    "130 pixels": ([[1, 3, 130, 130], [1, 512]], [[1, 3, 130, 130]]),
    "open sides": ([[1, 3, "h", "w"], [1, 512]], [[1, 3, "h", "w"]]),
    "a batch of four": ([[4, 3, 128, 128], [4, 512]], [[4, 3, 128, 128]]),
    "no shape": ([None, [1, 512]], [[1, 3, 128, 128]]),
    "a larger answer": ([[1, 3, 128, 128], [1, 512]], [[1, 3, 256, 256]]),
    "no map": ([[1, 3, 128, 128], [1, 512]], [[1, 3, 128, 128]]),
}


@pytest.mark.parametrize("name", SWAPPERS)
def test_a_swapper_of_another_shape_is_refused(tmp_path: Path, name: str) -> None:
    path = _plain(tmp_path / "a.onnx", *SWAPPERS[name])
    with pytest.raises(WeightsError, match=r"a\.onnx"):
        Inswapper.open(path, CPU, embedder="x")


@pytest.mark.slow
@pytest.mark.parametrize("spoil", ["nan", "oblong", "integers", "narrow"])
def test_a_swapper_with_a_strange_map_is_refused(tmp_path: Path, spoil: str) -> None:
    path = packs.swapper(tmp_path / "a.onnx")
    model = onnx.load(path)
    values = numpy_helper.to_array(model.graph.initializer[-1]).copy()
    strange = {"nan": values * np.nan, "oblong": values[:100], "integers": values.astype(np.int64), "narrow": values[:100, :100]}
    model.graph.initializer[-1].CopyFrom(numpy_helper.from_array(strange[spoil], model.graph.initializer[-1].name))
    onnx.save(model, path)
    with pytest.raises(WeightsError, match="codes of 100 values" if spoil == "narrow" else "a square map of finite floats"):
        Inswapper.open(path, CPU, embedder="x")


@pytest.mark.slow
def test_a_swapper_that_contradicts_itself_is_refused_when_it_is_loaded_or_run(tmp_path: Path) -> None:
    """The declared output is as large as the input, the real one is not: onnxruntime notices, and says so as our error."""
    path = packs.swapper(tmp_path / "a.onnx", batch=None)
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "Conv").attribute[1].ints[:] = [1, 1]
    onnx.save(model, path)
    crops = Crops(
        pixels=torch.zeros(2, 3, 128, 128),
        frame_to_crop=np.zeros((2, 2, 3)),
        frame_index=np.zeros(2, np.int64),
        template="arcface-128",
    )
    with pytest.raises(WeightsError):
        Inswapper.open(path, CPU, embedder="x")(crops, np.zeros((1, 512), np.float32), np.zeros(2, np.int64))


@needs_insightface
def test_a_detector_whose_outputs_fit_no_stride_is_refused_before_the_first_frame(copy: Path) -> None:
    model = onnx.load(copy / "det_10g.onnx")
    for node in model.graph.node:
        if node.output[0] == "bbox_8":  # as many boxes as the scores of another stride
            node.input[0] = next(other.input[0] for other in model.graph.node if other.output[0] == "bbox_16")
    onnx.save(model, copy / "det_10g.onnx")
    engine = InsightEngine(copy, CPU)
    with pytest.raises(WeightsError, match="outputs fit its strides"):
        engine.detect(frame_of(packs.scene(480, 640, FOUR)))


@needs_insightface
@pytest.mark.parametrize(
    ("file", "shapes", "said"),
    [
        ("w600k_r50.onnx", ([[None, 3, 112, 112]], [None]), "one vector per face"),
        ("2d106det.onnx", ([[None, 3, 192, 192]], [[None, 212]]), r"2d106det\.onnx"),
    ],
)
def test_a_network_that_gives_another_shape_than_its_task_is_refused_before_the_first_frame(
    copy: Path, file: str, shapes: tuple, said: str
) -> None:
    """These give their input back, and leave the shape open or lie about it."""
    _plain(copy / file, *shapes)
    with pytest.raises(WeightsError, match=said):
        InsightEngine(copy, CPU).providers()


@needs_insightface
def test_a_recogniser_without_a_direction_is_refused(copy: Path) -> None:
    model = onnx.load(copy / "w600k_r50.onnx")
    mix = model.graph.initializer[-1]
    mix.CopyFrom(numpy_helper.from_array(np.zeros(mix.dims, np.float32), mix.name))
    onnx.save(model, copy / "w600k_r50.onnx")
    engine, frame = InsightEngine(copy, CPU), frame_of(packs.scene(480, 640, FOUR))
    with pytest.raises(WeightsError, match="non-zero, finite embeddings"):
        engine.embed(frame, engine.detect(frame))


@needs_insightface
def test_a_box_without_area_has_no_landmarks(folder: Path) -> None:
    engine, frame = InsightEngine(folder, CPU), frame_of(packs.scene(480, 640, FOUR[:1]))
    found = engine.detect(frame)
    found.boxes[0, 2:] = found.boxes[0, :2]
    with pytest.raises(FaceError, match="boxes with an area"):
        engine.landmarks(frame, found)


# --- names, records, absences ---------------------------------------------------------------------------------------------


def test_engines_and_swappers_have_names(folder: Path, tmp_path: Path) -> None:
    assert isinstance(open_engine("offline", CPU), OfflineEngine)
    engine = open_engine(f"insight:{folder}", CPU)
    assert isinstance(engine, InsightEngine)
    for nonsense in ("insight:", "insight", "online", ""):
        with pytest.raises(ValueError, match="no engine is called"):
            open_engine(nonsense, CPU)
    for nonsense in ("inswapper:", "inswap"):
        with pytest.raises(ValueError, match="no swapper is called"):
            open_swapper(nonsense, CPU, engine)
    with pytest.raises(WeightsError, match="an ONNX file at"):
        open_swapper(f"inswapper:{tmp_path / 'none.onnx'}", CPU, engine)
    with pytest.raises(WeightsError, match="with the 468 points"):
        check_points(engine, WarpSwapper())
    check_points(OfflineEngine(), WarpSwapper())


@pytest.mark.slow
def test_another_file_of_the_same_name_is_another_engine_and_another_swapper(copy: Path, tmp_path: Path) -> None:
    before = InsightEngine(copy, CPU)
    names, digest = before.embedder, before.record
    path = packs.swapper(tmp_path / "s.onnx")
    swapper = swapper_record(f"inswapper:{path}")
    packs.recogniser(copy / "w600k_r50.onnx", batch=1)
    after = InsightEngine(copy, CPU)
    assert names.startswith("w600k_r50-")
    assert after.embedder != names
    assert after.record != digest
    packs.swapper(path, seed=9)
    assert swapper_record(f"inswapper:{path}") != swapper
    assert OfflineEngine().record == ""
    assert swapper_record("warp") == "warp"


def test_without_insightface_the_error_says_how_to_install_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "insightface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "insightface", None)
    engine = InsightEngine(folder, CPU)
    assert engine.embedder.startswith("w600k_r50-")  # what a pack is can be told without the library
    with pytest.raises(WeightsError, match=r"run `make setup`, or `pip install 'insightface>=2\.1'`"):
        engine.detect(frame_of(packs.scene(480, 640, FOUR)))


@pytest.mark.slow
def test_neither_the_engines_nor_the_command_line_import_insightface_until_it_is_needed() -> None:
    code = "import sys, faceswap_lab.models.registry, faceswap_lab.__main__; sys.exit('insightface' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["model_zoo.get_model", "utils.storage.download"])
@needs_insightface
def test_its_downloading_loader_is_never_called(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError(name)

    monkeypatch.setattr(f"insightface.{name}", refuse)
    frame = frame_of(packs.scene(480, 640, FOUR))
    assert len(InsightEngine(folder, CPU).detect(frame)) == 4


# --- devices --------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_insightface
def test_what_networks_run_on_is_what_onnxruntime_says(folder: Path, tmp_path: Path) -> None:
    engine = open_engine(f"insight:{folder}", CPU)
    swapper = open_swapper(f"inswapper:{packs.swapper(tmp_path / 's.onnx')}", CPU, engine)
    assert engine.providers() == dict.fromkeys(("detection", "recognition", "landmarks"), "CPUExecutionProvider")
    assert swapper.providers() == {"swap": "CPUExecutionProvider"}
    assert (OfflineEngine().providers(), WarpSwapper().providers()) == ({}, {})


@pytest.fixture
def pretended_cuda(monkeypatch: pytest.MonkeyPatch) -> list:
    """An onnxruntime that offers CUDA; what its sessions are asked for is collected."""
    asked: list = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: asked.append("preloaded"))
    return asked


def test_a_session_that_fell_back_to_the_cpu_is_an_error(pretended_cuda: list, monkeypatch: pytest.MonkeyPatch) -> None:
    def session(_: object, __: object, **options: object) -> SimpleNamespace:
        pretended_cuda.append(options)
        return SimpleNamespace(get_providers=lambda: ["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(DeviceError, match=r"the device cuda:1.*CPUExecutionProvider"):
        device.onnx_session(b"", torch.device("cuda", 1))
    assert pretended_cuda == [
        "preloaded",
        {
            "providers": [("CUDAExecutionProvider", {"device_id": 1, "cudnn_conv_algo_search": "HEURISTIC"})],
            "enable_fallback": 0,
        },
    ]


def test_a_provider_that_cannot_start_is_a_device_error_and_a_bad_file_a_weights_error(
    pretended_cuda: list, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def session(*_: object, **__: object) -> None:
        raise failures.EPFail("CUDA error cudaErrorInvalidDevice")

    with pytest.raises(WeightsError, match="an ONNX network that onnxruntime"):
        device.onnx_session(b"nonsense", CPU)
    (tmp_path / "a.onnx").write_bytes(b"nonsense")
    with pytest.raises(WeightsError, match=r"a\.onnx"):
        device.onnx_session(tmp_path / "a.onnx", CPU)
    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(DeviceError, match="cudaErrorInvalidDevice"):
        device.onnx_session(b"", torch.device("cuda", 0))


def test_a_device_is_probed_by_running_something_on_it() -> None:
    assert device.probe(CPU) == ["CPUExecutionProvider"]
    with pytest.raises(DeviceError, match="an onnxruntime that can use"):
        device.probe(torch.device("mps") if torch.cuda.is_available() else torch.device("cuda"))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (failures.EPFail("device lost"), DeviceError),
        (failures.Fail("CUDNN_STATUS_EXECUTION_FAILED"), DeviceError),
        (failures.RuntimeException("CUDA failure 719"), DeviceError),
        (failures.InvalidArgument("Got invalid dimensions"), WeightsError),
    ],
)
def test_a_device_that_vanishes_is_told_from_a_network_that_cannot(error: Exception, kind: type[Exception]) -> None:
    with pytest.raises(kind) as told, device.running("that"):
        raise error
    assert str(error) in str(told.value)


# --- the restricted -------------------------------------------------------------------------------------------------------


def test_a_known_restricted_file_runs_only_after_its_licence_was_accepted(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the file lies: it is known by its digest."""
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(tmp_path / "weights"))
    digest = onnx_inspect.inspect(copy / "w600k_r50.onnx").sha256
    pack = restricted.Pack(
        card=restricted.PACKS["buffalo_l"].card,
        terms="only on Sundays",
        files={"w600k_r50.onnx": digest},
        instead="the engine `offline`",
    )
    monkeypatch.setattr(restricted, "PACKS", {"buffalo_l": pack})
    with pytest.raises(LicenceError, match=r"only on Sundays.*--accept-licence.*use the engine `offline`"):
        open_engine(f"insight:{copy}", CPU)
    restricted.accept(
        restricted.Acceptance(name="buffalo_l", licence=pack.card.licence, sha256=pack.card.sha256, who="me", when="2026-01-01")
    )
    assert isinstance(open_engine(f"insight:{copy}", CPU), InsightEngine)


def test_insight_is_the_only_importer_of_insightface() -> None:
    package = Path(insight.__file__).parents[2]
    importers = [
        path.name
        for path in package.rglob("*.py")
        if "import insightface" in path.read_text() or "from insightface" in path.read_text()
    ]
    assert importers == []
    assert [path.name for path in package.rglob("*.py") if 'import_module(f"insightface' in path.read_text()] == ["insight.py"]


# --- from end to end ------------------------------------------------------------------------------------------------------


class Markers:
    """Footage of one square that walks across the picture, under an actor's name."""

    fps, size = 25.0, (240, 320)

    def __init__(self, subject: str, green: int) -> None:
        self.subject, self.green = subject, green
        self.origin = f"{subject}/markers:{green}"

    def __len__(self) -> int:
        return 6

    def __getitem__(self, index: int) -> Frame:
        square = [(60.0 + 30 * index, 120.0, 50.0, self.green)] if index != 4 else []
        return Frame(image=packs.scene(*self.size, square), origin=self.origin, index=index, time_s=index / 25)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        return (self[index] for index in range(start, len(self) if stop is None else stop))

    def admitted(self, folder: Path) -> Clip:
        """The same as a file that the lab admits."""
        path = video.encode(folder / f"markers-{self.green}.mkv", self.frames(), fps=self.fps, lossless=True)
        return admit(path, who=f"synthetic:{self.green}", basis="synthetic: drawn here", uses=("anonymise", "swap-source"))


@pytest.mark.slow
@needs_insightface
def test_a_swap_with_a_pack_and_a_swapper_from_files_is_recorded_with_what_they_are(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    path, recipe = packs.swapper(tmp_path / "inswapper.onnx"), SwapRecipe(engine=f"insight:{copy}")
    target, source = (Markers(name, green).admitted(tmp_path) for name, green in (("actor:21", 60), ("actor:7", 200)))

    def run(**options: object) -> Run:
        return swap(target, source=source, swapper=f"inswapper:{path}", recipe=recipe, device="cpu", **options)

    first = run()
    assert (first.summary["num_faces"], first.summary["frames_without_face"]) == (5, [4])
    assert capsys.readouterr().err.count("swap on CPUExecutionProvider") == 1
    (event,) = first.events("device")
    assert event["providers"] == dict.fromkeys(("detection", "recognition", "landmarks", "swap"), "CPUExecutionProvider")
    assert first.inputs["swapper"] == f"inswapper:sha256:{onnx_inspect.inspect(path).sha256}"
    assert run() == first
    pictures = [frame.image for frame in first.footage().frames()]
    for index, picture in enumerate(pictures):
        differs = np.abs(picture.astype(int) - target[index].image).max(axis=2) > 2
        assert differs.any() == (index != 4)
        assert not differs[:, :10].any()
        if index != 4:  # the change is where the face is
            rows, columns = np.nonzero(differs)
            assert abs(columns.mean() - (60 + 30 * index)) < 12
            assert abs(rows.mean() - 120) < 20
    packs.swapper(path, seed=8)
    assert run() != first
    packs.detector(copy / "det_10g.onnx", size=640)
    assert run() not in (first, Run.open(first.id))


@pytest.mark.slow
@needs_insightface
@pytest.mark.parametrize("side", [24, 16])
@pytest.mark.parametrize("detect_batch", [1, 16])
def test_fifty_small_faces_are_all_found_and_swapped_where_they_are(
    copy: Path, tmp_path: Path, side: int, detect_batch: int
) -> None:
    """The smaller ones are under 20 pixels."""
    packs.detector(copy / "det_10g.onnx", batch="n")
    places = [(32.0 + 64 * column, 70.0 + 125 * row) for row in range(5) for column in range(10)]
    picture = packs.scene(640, 640, [(x, y, side, 40 + number) for number, (x, y) in enumerate(places)])
    frames = [frame_of(picture, index) for index in range(3)]
    engine = InsightEngine(copy, CPU, detect_batch=detect_batch)
    swapper = Inswapper.open(packs.swapper(tmp_path / "swap.onnx", batch=None), CPU, embedder=engine.embedder)
    faces = engine.embed(frames[0], engine.detect(frames[0]))
    codes = swapper.encode([Source(subject="actor:7", frames=frames[:1], faces=[faces])])

    class Crowd:
        subject, fps, size, origin = "actor:21", 25.0, (640, 640), "test"

        def __len__(self) -> int:
            return len(frames)

        def __getitem__(self, index: int) -> Frame:
            return frames[index]

        def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
            return iter(frames[start:stop])

    config = StreamConfig(select="all")
    stream_of = swap_frames.swap_frames(
        Crowd(), engine=engine, swapper=swapper, codes=codes, config=config, device=CPU, corrections=Corrections()
    )
    for each in stream_of:
        assert len(each.faces) == 50
        differs = np.abs(each.frame.image.astype(int) - picture).max(axis=2) > 8
        near = np.zeros_like(differs)
        for x, y in places:
            left, top = round(x - side), round(y - side)
            assert differs[top : top + 2 * side, left : left + 2 * side].mean() > 0.1
            near[max(top - side, 0) : top + 3 * side, max(left - side, 0) : left + 3 * side] = True
        assert not differs[~near].any()


@needs_insightface
def test_a_swapper_that_the_engine_cannot_serve_is_refused_before_a_frame_is_read(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    target, source = (Markers(name, green).admitted(tmp_path) for name, green in (("actor:21", 60), ("actor:7", 200)))
    for read in ("__getitem__", "frames"):
        monkeypatch.setattr(Clip, read, lambda *_: pytest.fail("a frame was read"))
    with pytest.raises(WeightsError, match="with the 468 points"):
        swap(target, source=source, swapper="warp", recipe=SwapRecipe(engine=f"insight:{folder}"), device="cpu")


@pytest.mark.slow
@needs_insightface
@pytest.mark.weights
def test_a_judge_that_finds_no_face_says_so(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The markers' pack does not know actors: no score is made up."""
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    result = swap(Actor(21).perform("still", seconds=0.04, size=160), source=Actor(7), swapper="warp", device="cpu")
    with pytest.raises(FaceError, match="a face of actor:7 to compare with"):
        evaluate(result, recipe=EvaluateRecipe(engine=f"insight:{folder}", gallery_size=2), device="cpu")


def test_what_was_read_of_a_file_holds_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = packs.recogniser(tmp_path / "a.onnx")
    first = onnx_inspect.inspect(path)
    with monkeypatch.context() as blind:
        blind.setattr(Path, "read_bytes", lambda _: pytest.fail("read again"))
        assert onnx_inspect.inspect(path) is first
    packs.recogniser(path, batch=1)
    assert onnx_inspect.inspect(path).sha256 != first.sha256
    with pytest.raises(WeightsError, match="no plain file"):
        onnx_inspect.inspect(tmp_path)
