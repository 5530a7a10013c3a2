"""One contract for every engine and every swapper: shapes, types, range, RGB, determinism, faces in place, a batch equals a loop.

insightface's own code runs here on small ONNX files that `tests/packs.py` makes, with no restricted weight and no network. Without
the library, which `make setup` brings, those cases are skipped.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import LabError
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import AnySwapper, Card, Crops, Engine, Source, Swapper
from faceswap_lab.models.registry import open_engine, open_swapper
from faceswap_lab.models.stream.host_canvas import HostCanvas
from faceswap_lab.models.stream.probes import source_of
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.swappers.warp import WarpSwapper
from tests import packs

CPU = torch.device("cpu")
insight = [
    pytest.mark.insight,
    pytest.mark.skipif(find_spec("insightface") is None, reason="needs insightface: make setup"),
]
HERO, DOUBLE = Actor(7), Actor(21)
Drawer = Callable[[int, int, list[tuple[float, float, float]]], np.ndarray]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack with everything in it."""
    return packs.pack(tmp_path_factory.mktemp("packs") / "tiny", landmarks_3d=True)


# --- engines --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class EngineCase:
    """An engine, and how to draw a picture (height, width, faces as centre x, y and side) that has what it finds."""

    make: Callable[[], Engine]
    draw: Drawer
    side: float  # of a face that it finds easily
    num_points: int
    slack: float  # how far off a box may be, as a share of the side
    person: Callable[[int], np.ndarray]  # a picture of somebody


def _markers(height: int, width: int, faces: list[tuple[float, float, float]]) -> np.ndarray:
    return packs.scene(height, width, [(x, y, side, 40 + 50 * number % 180) for number, (x, y, side) in enumerate(faces)])


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    return DOUBLE.perform("still", seconds=0.04, size=256)[0].image


def _of_actors(portrait: np.ndarray, make: Callable[[], Engine], num_points: int) -> EngineCase:
    """An engine that finds people: actors are drawn."""
    x1, y1, x2, y2 = largest(make().detect(frame_of(portrait))).boxes[0]
    middle, side = ((x1 + x2) / 2, (y1 + y2) / 2), float(y2 - y1)

    def draw(height: int, width: int, faces: list[tuple[float, float, float]]) -> np.ndarray:
        image = np.full((height, width, 3), portrait[0, 0], np.uint8)
        for x, y, wanted in faces:
            scale = wanted / side
            size = round(portrait.shape[0] * scale)
            small = cv2.resize(portrait, (size, size), interpolation=cv2.INTER_AREA)
            left, top = round(x - middle[0] * scale), round(y - middle[1] * scale)
            inside = small[max(0, -top) : height - top, max(0, -left) : width - left]
            image[max(0, top) : max(0, top) + inside.shape[0], max(0, left) : max(0, left) + inside.shape[1]] = inside
        return image

    return EngineCase(
        make=make,
        draw=draw,
        side=110,
        num_points=num_points,
        slack=0.2,
        person=lambda seed: Actor(seed).perform("still", seconds=0.04, size=256)[0].image,
    )


def _insight(folder: Path) -> EngineCase:
    return EngineCase(
        make=lambda: open_engine(f"insight:{folder}", CPU),
        draw=_markers,
        side=50,
        num_points=106,
        slack=0.05,
        person=lambda seed: packs.scene(160, 160, [(80, 80, 60, 30 if seed == 7 else 210)]),
    )


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("offline", marks=pytest.mark.weights),
        pytest.param("insight", marks=insight),
        pytest.param("insight:actors_s", marks=insight),
    ],
)
def case(request: pytest.FixtureRequest, folder: Path, portrait: np.ndarray) -> EngineCase:
    if request.param == "insight":
        return _insight(folder)
    if request.param == "offline":
        return _of_actors(portrait, OfflineEngine, 468)
    return _of_actors(portrait, lambda: open_engine(request.param, CPU), 106)


@pytest.fixture(scope="module")
def engine(case: EngineCase) -> Engine:
    return case.make()


def frame_of(image: np.ndarray, index: int = 7) -> Frame:
    return Frame(image=np.ascontiguousarray(image), origin="test", index=index)


def everything(engine: Engine, frame: Frame) -> Faces:
    return engine.embed(frame, engine.landmarks(frame, engine.detect(frame)))


def vectors(faces: Faces) -> np.ndarray:
    assert faces.embeddings is not None
    return faces.embeddings


@pytest.mark.slow
def test_an_engine_answers_in_the_shapes_and_types_of_the_protocol(case: EngineCase, engine: Engine) -> None:
    found = everything(engine, frame_of(case.draw(300, 400, [(200, 150, case.side)])))
    assert isinstance(engine, Engine)
    assert len(found) == 1
    assert found.frame_index.tolist() == [7]
    assert (found.boxes.shape, found.keypoints.shape, found.scores.shape) == ((1, 4), (1, 5, 2), (1,))
    assert found.landmarks is not None
    assert found.landmarks.shape == (1, case.num_points, 2)
    assert found.point_set == engine.point_set == case.num_points
    assert found.embedder == engine.embedder
    for array in (found.boxes, found.keypoints, found.scores, found.landmarks, vectors(found)):
        assert array.dtype == np.float32
        assert np.isfinite(array).all()
    assert 0 < found.scores[0] <= 1
    np.testing.assert_allclose(np.linalg.norm(vectors(found), axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(("x", "y"), [(200, 150), (90, 110), (310, 180), (201.5, 149.5)])
def test_faces_are_in_place(case: EngineCase, engine: Engine, x: float, y: float) -> None:
    found = everything(engine, frame_of(case.draw(300, 400, [(x, y, case.side)])))
    assert len(found) == 1
    x1, y1, x2, y2 = found.boxes[0]
    slack = case.slack * case.side + 1
    assert abs((x1 + x2) / 2 - x) < slack
    assert abs((y1 + y2) / 2 - y) < slack
    assert abs((y2 - y1) - case.side) < 2 * slack
    right_eye, left_eye, nose, right_mouth, left_mouth = found.keypoints[0]
    assert right_eye[0] < nose[0] < left_eye[0]  # the subject's right is the picture's left
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    for points in (found.keypoints[0], np.zeros((0, 2)) if found.landmarks is None else found.landmarks[0]):
        assert (np.abs(points - [x, y]) < 0.75 * case.side).all()
        assert np.abs(points.mean(axis=0) - [x, y]).max() < 0.25 * case.side


def test_an_engine_gives_the_same_twice_and_leaves_the_frame_alone(case: EngineCase, engine: Engine) -> None:
    frame = frame_of(case.draw(300, 400, [(120, 150, case.side), (280, 150, case.side)]))
    before = frame.image.copy()
    once, again = everything(engine, frame), everything(case.make(), frame)
    np.testing.assert_array_equal(frame.image, before)
    assert len(once) == 2
    for name in ("boxes", "keypoints", "scores", "landmarks", "embeddings"):
        np.testing.assert_array_equal(getattr(once, name), getattr(again, name))


def test_what_an_engine_says_of_itself_can_be_recorded(case: EngineCase, engine: Engine) -> None:
    """`record` goes into a run's key, `providers` into its log; neither changes by being asked for, or with another instance."""
    other = case.make()
    assert (other.record, other.embedder, other.providers()) == (engine.record, engine.embedder, engine.providers())
    assert isinstance(engine.record, str)
    assert json.loads(json.dumps(engine.providers())) == engine.providers()
    assert all("ExecutionProvider" in provider for provider in engine.providers().values())


def test_several_frames_at_once_give_what_each_gives_alone(case: EngineCase, engine: Engine) -> None:
    places = [[(200.0, 150.0, case.side)], [], [(120.0, 150.0, case.side), (280.0, 150.0, case.side)]]
    frames = [frame_of(case.draw(300, 400, faces), 3 + number) for number, faces in enumerate(places)]
    at_once = engine.detect_all(frames)
    assert [len(found) for found in at_once] == [1, 0, 2]
    for found, frame in zip(at_once, frames, strict=True):
        alone = engine.detect(frame)
        for name in ("frame_index", "boxes", "keypoints", "scores"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
    assert engine.detect_all([]) == []


def test_an_upright_face_is_upright(case: EngineCase, engine: Engine) -> None:
    frame = frame_of(case.draw(300, 400, [(120, 150, case.side), (280, 150, case.side)]))
    found = engine.detect(frame)
    sure = engine.upright_probability(frame, found)
    assert (sure.shape, sure.dtype) == ((2,), np.float32)
    assert (sure > 0.9).all()
    assert (sure <= 1).all()
    assert len(engine.upright_probability(frame, Faces.none())) == 0


def test_an_engine_reads_rgb(case: EngineCase, engine: Engine) -> None:
    """Red and blue changed over are another picture: nothing is found in it, or somebody else."""
    image = case.draw(300, 400, [(200, 150, case.side)])
    right = everything(engine, frame_of(image))
    frame = frame_of(image[..., ::-1])
    wrong = engine.embed(frame, right)
    assert vectors(right)[0] @ vectors(wrong)[0] < 0.99


def test_no_face_is_no_rows(case: EngineCase, engine: Engine) -> None:
    noise = np.repeat(np.random.default_rng(0).integers(0, 256, (200, 300, 1)), 3, axis=2).astype(np.uint8)
    narrow = [np.zeros(shape, np.uint8) for shape in ((1, 1, 3), (1, 900, 3), (2, 300, 3), (640, 5, 3), (5, 641, 3))]
    for image in (noise, np.full((200, 300, 3), 128, np.uint8), *narrow):
        found = everything(engine, frame_of(image))
        assert len(found) == 0
        assert len(Faces.concat([found, found])) == 0


@pytest.mark.slow
def test_many_faces_come_surest_first_and_each_equals_itself_alone(case: EngineCase, engine: Engine) -> None:
    places = [(80.0 + 160 * column, 80.0 + 160 * row, case.side * 0.8) for row in range(3) for column in range(4)]
    frame = frame_of(case.draw(480, 640, places))
    found = everything(engine, frame)
    assert len(found) == 12
    assert (np.diff(found.scores) <= 0).all()
    centres = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    taken = [int(np.argmin(np.linalg.norm(centres - place[:2], axis=1))) for place in places]
    assert sorted(taken) == list(range(12))
    for row in (0, 5, 11):
        alone = engine.embed(frame, engine.landmarks(frame, found[row]))
        np.testing.assert_allclose(vectors(alone)[0], vectors(found)[row], atol=1e-5)
        assert alone.landmarks is not None
        assert found.landmarks is not None
        np.testing.assert_array_equal(alone.landmarks[0], found.landmarks[row])


def test_a_person_is_nearer_to_themselves_than_to_another(case: EngineCase, engine: Engine) -> None:
    def known(image: np.ndarray) -> np.ndarray:
        frame = frame_of(image)
        return vectors(engine.embed(frame, largest(engine.detect(frame))))[0]

    one, other = case.person(7), case.person(21)
    shifted = np.roll(one, (4, -6), axis=(0, 1))
    assert known(one) @ known(shifted) > known(one) @ known(other) + 0.05


# --- swappers -------------------------------------------------------------------------------------------------------------


def _pair(_: Path, __: Engine) -> AnySwapper:
    card = Card(name="test", task="swap", licence="Apache-2.0", source="tests", subjects=(HERO.subject, DOUBLE.subject))
    return PairSwapper(PairNet(PairNetConfig(size=32, width=8, code=16)), card)


def _warp(_: Path, __: Engine) -> AnySwapper:
    return WarpSwapper()


def _oneshot(_: Path, engine: Engine) -> AnySwapper:
    return open_swapper("oneshot", CPU, engine)


def _inswapper(**options: int | None) -> Callable[[Path, Engine], AnySwapper]:
    def make(folder: Path, engine: Engine) -> AnySwapper:
        width = vectors(engine.embed(frame_of(np.zeros((8, 8, 3), np.uint8)), Faces.none())).shape[1]
        name = "-".join(f"{key}{value}" for key, value in options.items())
        path = packs.swapper(folder.parent / f"swap-{name}-{width}.onnx", width=width, **options)
        return open_swapper(f"inswapper:{path}", CPU, engine)

    return make


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(_pair, id="pair"),
        pytest.param(_warp, id="warp"),
        pytest.param(_oneshot, id="oneshot"),
        pytest.param(_inswapper(size=128, batch=1), id="inswapper-128"),
        pytest.param(_inswapper(size=128, batch=None), id="inswapper-128-any-batch"),
        pytest.param(_inswapper(size=256, batch=None), id="inswapper-256-any-batch"),
        pytest.param(_inswapper(size=224, batch=1), id="inswapper-224", marks=pytest.mark.slow),
    ],
)
def swapper(request: pytest.FixtureRequest, folder: Path) -> AnySwapper:
    made: AnySwapper = request.param(folder, OfflineEngine())
    return made


@pytest.fixture(scope="module")
def seen() -> tuple[list[Frame], Faces]:
    """Three frames of an actor with everything that a swapper may need of them."""
    frames = list(DOUBLE.perform("speech", seconds=0.12, size=160).frames())
    offline = OfflineEngine()
    return frames, Faces.concat([offline.landmarks(frame, largest(offline.detect(frame))) for frame in frames])


@pytest.fixture(scope="module")
def crops(swapper: AnySwapper, seen: tuple[list[Frame], Faces]) -> Crops:
    frames, faces = seen
    return HostCanvas(frames).cut(faces, template=swapper.needs.template, size=swapper.needs.size)


@pytest.fixture(scope="module")
def sources() -> list[Source]:
    offline = OfflineEngine()
    known = [source_of(actor.perform("still", seconds=0.04, size=160), offline) for actor in (HERO, DOUBLE)]
    return [
        replace(one, faces=[offline.embed(frame, face) for frame, face in zip(one.frames, one.faces, strict=True)]) for one in known
    ]


@pytest.fixture(scope="module")
def codes(swapper: AnySwapper, sources: list[Source]) -> object:
    return swapper.encode(sources)


FIRST, BOTH = np.zeros(3, np.int64), np.array([0, 1, 0])


@pytest.mark.slow
@pytest.mark.weights
def test_a_swapper_answers_in_its_shape_type_and_range(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    assert isinstance(swapper, Swapper)
    assert all("ExecutionProvider" in provider for provider in swapper.providers().values())
    swapped = swapper(crops, codes, FIRST)
    side = swapper.needs.size
    assert swapped.pixels.shape == crops.pixels.shape == (3, 3, side, side)
    for values in [swapped.pixels] if swapped.mask is None else [swapped.pixels, swapped.mask]:
        assert values.dtype == torch.float32
        assert values.device == crops.pixels.device
        assert 0 <= values.min() <= values.max() <= 1
    if swapped.mask is not None:
        assert swapped.mask.shape == (3, 1, side, side)


@pytest.mark.weights
def test_a_swapper_gives_the_same_twice_and_a_batch_equals_a_loop(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    once, twice = swapper(crops, codes, BOTH), swapper(crops, codes, BOTH)
    assert torch.equal(once.pixels, twice.pixels)
    for row in range(3):
        alone = swapper(crops[row : row + 1], codes, BOTH[row : row + 1])
        torch.testing.assert_close(alone.pixels[0], once.pixels[row], atol=1 / 255, rtol=0)
    none = swapper(crops[0:0], codes, FIRST[:0])
    assert len(none.pixels) == 0


@pytest.mark.weights
def test_a_swapper_draws_the_one_it_is_told_to(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    swapped, first = swapper(crops, codes, BOTH), swapper(crops, codes, FIRST)
    assert (
        torch.equal(swapped.pixels[[0, 2]], first.pixels[[0, 2]]) or (swapped.pixels - first.pixels)[[0, 2]].abs().max() < 1 / 255
    )
    assert (swapped.pixels[1] - first.pixels[1]).abs().mean() > 1 / 255


@pytest.mark.weights
def test_a_swapper_reads_rgb(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    """Channels changed over on the way in are not the same picture with channels changed over on the way out."""
    turned = swapper(replace(crops, pixels=crops.pixels.flip(1)), codes, FIRST).pixels.flip(1)
    assert (turned - swapper(crops, codes, FIRST).pixels).abs().mean() > 1 / 255


@pytest.mark.weights
def test_a_swapper_leaves_the_crops_as_they_were(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    before = crops.pixels.clone()
    swapper(crops, codes, FIRST)
    assert torch.equal(before, crops.pixels)


@pytest.mark.weights
def test_a_swapper_refuses_a_source_that_shows_no_face_or_a_stranger(swapper: AnySwapper) -> None:
    with pytest.raises(LabError):
        swapper.encode([Source(subject="actor:99", frames=[], faces=[])])
