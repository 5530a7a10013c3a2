"""The stream against the plain loop, frame by frame and face by face; what it does when it is stopped; what following costs."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import DeviceError
from faceswap_lab.faces import align, blend, video
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import AnySwapper, Engine, Swapped
from faceswap_lab.models.stream import swap_frames as stream
from faceswap_lab.models.stream.colour_match import Colour, keep_grey
from faceswap_lab.models.stream.device_canvas import DeviceCanvas
from faceswap_lab.models.stream.host_canvas import border_window
from faceswap_lab.models.stream.probes import source_of
from faceswap_lab.models.stream.swap_frames import StreamConfig, SwappedFrame, swap_frames
from faceswap_lab.models.swappers.warp import WarpSwapper
from tests.media import open_clip

pytestmark = [pytest.mark.weights, pytest.mark.slow]
CPU = torch.device("cpu")


class Shown:
    """Footage of given pictures."""

    subject, fps = "actor:21", 25.0

    def __init__(self, images: list[np.ndarray], origin: str) -> None:
        self._frames = [Frame(image=image, origin=origin, index=i, time_s=i / 25) for i, image in enumerate(images)]
        self.origin, self.size = origin, self._frames[0].size

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        return iter(self._frames[start:stop])


@pytest.fixture(scope="module")
def takes() -> list[list[np.ndarray]]:
    """Four people, seven frames each."""
    return [[f.image for f in Actor(seed).perform("speech", seconds=0.28, size=192, seed=2).frames()] for seed in (21, 32, 5, 11)]


def footage_of(takes: list[list[np.ndarray]], faces: int) -> Shown:
    """One, four or no faces in a frame; the one is missing in the middle of the clip."""
    if faces == 4:
        rows = [np.concatenate([np.concatenate(four[:2], 1), np.concatenate(four[2:], 1)], 0) for four in zip(*takes, strict=True)]
        return Shown(rows, "test:four")
    grey = np.full_like(takes[0][0], 90)
    if faces == 0:
        return Shown([grey] * 5, "test:none")
    return Shown([grey if i in (2, 3) else image for i, image in enumerate(takes[0])], "test:one")


@pytest.fixture(scope="module")
def engine() -> OfflineEngine:
    return OfflineEngine()


@pytest.fixture(scope="module")
def codes(engine: OfflineEngine) -> Any:
    return WarpSwapper().encode([source_of(Actor(7).perform("still", seconds=0.04, size=160), engine)])


def run(footage: Any, engine: Any, codes: Any, swapper: AnySwapper | None = None, **config: Any) -> Iterator[SwappedFrame]:
    settings = {name: config.pop(name) for name in ("start", "stop", "spent") if name in config}
    return swap_frames(
        footage,
        engine=engine,
        swapper=swapper or WarpSwapper(),
        codes=codes,
        config=StreamConfig(**config),
        device=CPU,
        corrections=Corrections(),
        **settings,
    )


def plain(
    footage: Shown,
    engine: OfflineEngine,
    codes: Any,
    select: str,
    swapper: AnySwapper | None = None,
    colour: Colour = "none",
) -> list[np.ndarray]:
    """What the stream has to give: nothing batched, nothing shared, pasted in single steps with floats."""
    swapper, out = swapper or WarpSwapper(), []
    for frame in footage.frames():
        found = engine.detect(frame)
        faces = largest(found) if select == "largest" else found
        image = frame.image.copy()
        for row in range(len(faces)):
            face = engine.landmarks(frame, faces[row])
            assert face.landmarks is not None
            matrix = align.frame_to_crop(face.keypoints[0], template="face", size=256)
            crop = align.crop(frame.image, matrix, 256)
            crops = stream.Crops(
                pixels=torch.from_numpy(crop).permute(2, 0, 1)[None].float() / 255,
                frame_to_crop=matrix[None],
                frame_index=np.array([frame.index]),
                template="face",
                landmarks=align.transform_points(matrix, face.landmarks[0])[None],
            )
            swapped = swapper(crops, codes, np.zeros(1, np.int64))
            assert swapped.mask is not None
            mask = border_window(256) * swapped.mask[0, 0].numpy()
            patch = swapped.pixels[0].permute(1, 2, 0).numpy() * 255
            if colour != "none":
                patch = blend.match_colour(patch, crop, mask, spread=colour == "reinhard")
            image = blend.paste(image, patch, mask, matrix)
        out.append(image)
    return out


@pytest.mark.parametrize("faces", [0, 1, 4])
def test_the_stream_gives_what_the_plain_loop_gives_for_every_batch(
    faces: int, takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any
) -> None:
    footage = footage_of(takes, faces)
    before = [frame.image.copy() for frame in footage.frames()]
    for select in ("largest", "all"):
        expected = plain(footage, engine, codes, select)
        for batch in (1, 2, 3, 8):
            got = list(run(footage, engine, codes, batch=batch, select=select))
            assert [each.frame.index for each in got] == list(range(len(footage)))
            for each, image in zip(got, expected, strict=True):
                assert np.abs(each.frame.image.astype(int) - image).max() <= 1
            counts = {0: {0}, 1: {0, 1}, 4: {4} if select == "all" else {1}}[faces]
            assert {len(each.faces) for each in got} == counts
            assert {each.num_left for each in got} == ({3} if (faces, select) == (4, "largest") else {0})
    changed = [np.abs(each.frame.image.astype(int) - image).max() > 20 for each, image in zip(got, before, strict=True)]
    assert changed == [faces == 4 or (faces == 1 and i not in (2, 3)) for i in range(len(footage))]
    for image, frame in zip(before, footage.frames(), strict=True):
        np.testing.assert_array_equal(image, frame.image, "the target's own frames are not painted on")


class Sallow(WarpSwapper):
    """A swapper that gets the skin's colour wrong."""

    def __call__(self, crops: Any, codes: Any, which: Any) -> Swapped:
        swapped = super().__call__(crops, codes, which)
        return replace(swapped, pixels=swapped.pixels * torch.tensor([0.7, 1.0, 0.5])[:, None, None])


@pytest.mark.parametrize("colour", ["mean", "reinhard"])
def test_colours_are_matched_as_in_the_plain_loop_for_every_batch(
    colour: Colour, takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage = footage_of(takes, 4)
    expected = plain(footage, engine, codes, "all", Sallow(), colour)
    for one, other in zip(expected, plain(footage, engine, codes, "all", Sallow()), strict=True):
        assert np.abs(one.astype(int) - other).max() > 30
    for batch, at_once in ((1, 64), (3, 64), (8, 64), (8, 5)):
        monkeypatch.setattr(stream, "_FACES_AT_ONCE", at_once)
        spent: dict[str, float] = {}
        got = list(run(footage, engine, codes, Sallow(), batch=batch, select="all", colour=colour, spent=spent))
        assert spent["colour"] > 0
        for each, image in zip(got, expected, strict=True):
            assert np.abs(each.frame.image.astype(int) - image).max() <= 1


def test_a_crowd_is_swapped_part_by_part_with_the_same_result(
    takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    footage = footage_of(takes, 4)
    whole = [each.frame.image for each in run(footage, engine, codes, select="all")]
    monkeypatch.setattr(stream, "_FACES_AT_ONCE", 5)
    for one, other in zip(run(footage, engine, codes, select="all"), whole, strict=True):
        np.testing.assert_array_equal(one.frame.image, other)


class Inverted:
    """A swapper that needs no person: each crop's negative."""

    card, needs = WarpSwapper.card, replace(WarpSwapper.needs, template="arcface", size=64, point_set=None)

    def providers(self) -> dict[str, str]:
        return {}

    def encode(self, sources: Any) -> None:
        return None

    def __call__(self, crops: Any, codes: Any, which: Any) -> Swapped:
        return Swapped(pixels=1 - crops.pixels)


class Crowded(OfflineEngine):
    """Sees 72 faces in every frame, each overlapping its neighbours by half."""

    def detect(self, frame: Frame) -> Faces:
        corners = np.array([(x, y) for y in range(8) for x in range(9)], np.float32) * 20
        points = align.TEMPLATES["arcface"].at(40).astype(np.float32) + corners[:, None]
        boxes = np.concatenate([corners, corners + 40], 1)
        rows = np.full(len(corners), frame.index)
        return Faces(frame_index=rows, boxes=boxes, keypoints=points, scores=np.ones(len(corners), np.float32))


@pytest.mark.parametrize("canvas", ["host", "owned", "device"])
def test_no_crop_of_a_crowd_shows_a_swapped_neighbour(canvas: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if canvas == "device":
        monkeypatch.setattr(
            stream._Painter, "_canvas", lambda _, frames, *, crowd: DeviceCanvas(frames, CPU, cut_after_paste=crowd)
        )
    if canvas == "owned":
        monkeypatch.setattr(stream, "Clip", Shown)  # whose frames the stream may then paint on
    image = np.random.default_rng(0).integers(0, 256, (200, 220, 3)).astype(np.uint8)

    def swapped() -> list[SwappedFrame]:
        return list(run(Shown([image.copy(), image.copy()], "test:crowd"), Crowded(), None, Inverted(), select="all"))

    split = swapped()
    assert {len(each.faces) for each in split} == {72}
    assert stream._FACES_AT_ONCE < 72
    monkeypatch.setattr(stream, "_FACES_AT_ONCE", 1000)
    for one, other in zip(split, swapped(), strict=True):
        np.testing.assert_array_equal(one.frame.image, other.frame.image)


def test_a_stream_begun_at_a_batch_gives_the_rest_to_the_bit(
    takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any
) -> None:
    footage = footage_of(takes, 1)
    whole = [each.frame.image for each in run(footage, engine, codes, batch=2, every=2)]
    rest = [each.frame.image for each in run(footage, engine, codes, batch=2, every=2, start=4)]
    part = [each.frame.image for each in run(footage, engine, codes, batch=2, every=2, start=2, stop=5)]
    assert (len(rest), len(part)) == (len(footage) - 4, 3)
    assert all(np.array_equal(a, b) for a, b in zip(rest, whole[4:], strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(part, whole[2:5], strict=True))


class Failing:
    """A swapper that gives up at its n-th call."""

    def __init__(self, at: int, error: BaseException) -> None:
        self._swapper, self._left, self._error = WarpSwapper(), at, error
        self.card, self.needs, self.encode = self._swapper.card, self._swapper.needs, self._swapper.encode
        self.providers = self._swapper.providers

    def __call__(self, crops: Any, codes: Any, which: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise self._error
        return self._swapper(crops, codes, which)


@pytest.mark.parametrize("error", [RuntimeError("lost the device"), KeyboardInterrupt()])
def test_an_error_comes_as_itself_after_the_frames_before_it(
    error: BaseException, takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any
) -> None:
    footage = Shown(takes[0], "test:whole")
    got: list[SwappedFrame] = []
    with pytest.raises(type(error)) as raised:
        got.extend(run(footage, engine, codes, Failing(2, error), batch=2))
    assert raised.value is error
    assert [each.frame.index for each in got] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (RuntimeError("CUDA error: unspecified launch failure"), "nvidia-smi.*resumes from what was saved"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "smaller batches"),
    ],
)
def test_a_device_that_vanishes_under_torch_is_told_after_the_frames_before_it(
    error: RuntimeError, remedy: str, takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any
) -> None:
    got: list[SwappedFrame] = []
    with pytest.raises(DeviceError, match=remedy) as raised:
        got.extend(run(Shown(takes[0], "test:whole"), engine, codes, Failing(2, error), batch=2))
    assert raised.value.__cause__ is error
    assert [each.frame.index for each in got] == [0, 1, 2, 3]


class Faceless(Engine):
    """An engine that finds nobody, and counts how often it was asked."""

    embedder, point_set, looked = "none", None, 0

    def detect(self, frame: Frame) -> Faces:
        self.looked += 1
        return Faces.none()

    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        raise AssertionError("there are no faces to mark")

    embed = landmarks


@pytest.mark.parametrize("every", [1, 8])
def test_three_minutes_without_a_face_pass_through_as_they_are(every: int) -> None:
    footage, engine = Shown([np.full((16, 24, 3), i % 250, np.uint8) for i in range(4500)], "test:empty"), Faceless()
    got = 0
    for each, frame in zip(run(footage, engine, None, Failing(0, AssertionError()), every=every), footage.frames(), strict=True):
        assert each.frame.image is frame.image
        assert (len(each.faces), each.num_left) == (0, 0)
        got += 1
    assert got == 4500
    assert engine.looked == -(-4500 // every), "what was not looked at was not found empty anew"


def test_times_of_all_stages_are_counted(takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any) -> None:
    spent: dict[str, float] = {}
    list(run(Shown(takes[0], "test:whole"), engine, codes, spent=spent))
    assert set(spent) == {"read", "find", "swap", "paste"}
    assert min(spent.values()) > 0


def test_frames_of_a_clip_are_painted_on_and_those_of_a_still_are_not(
    takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any, tmp_path: Path
) -> None:
    path = video.encode(tmp_path / "clip.mkv", Shown(takes[0], "x").frames(), fps=25, lossless=True)
    clip = open_clip(path)
    expected = [each.frame.image for each in run(Shown(takes[0], clip.origin), engine, codes)]
    for _ in range(2):
        for each, image in zip(run(clip, engine, codes), expected, strict=True):
            np.testing.assert_array_equal(each.frame.image, image)
    from faceswap_lab.faces.frame import write_still

    still_path = tmp_path / "still.png"
    write_still(still_path, takes[0][0])
    still = open_clip(still_path)
    for _ in range(2):
        (each,) = run(still, engine, codes)
        np.testing.assert_array_equal(each.frame.image, expected[0])
    np.testing.assert_array_equal(still[0].image, takes[0][0])


class Counting(Engine):
    """The offline engine, which says on which frames it looked for faces."""

    embedder, point_set = OfflineEngine.embedder, OfflineEngine.point_set

    def __init__(self, engine: OfflineEngine) -> None:
        self._engine, self.looked = engine, []

    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        return self._engine.landmarks(frame, faces)

    def embed(self, frame: Frame, faces: Faces) -> Faces:
        return self._engine.embed(frame, faces)

    def detect(self, frame: Frame) -> Faces:
        self.looked.append(frame.index)
        return self._engine.detect(frame)


def test_between_detections_faces_are_followed(takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any) -> None:
    footage = footage_of(takes, 4)
    counting = Counting(engine)
    exact = list(run(footage, engine, codes, select="all"))
    followed = list(run(footage, counting, codes, select="all", batch=4, every=3))
    assert counting.looked == [0, 3, 6], "a batch of 4 becomes 6, the least multiple of 3"
    for one, other in zip(followed, exact, strict=True):
        assert one.frame.index == other.frame.index
        # The detector puts the surest first, so the order may change from frame to frame.
        apart = np.linalg.norm(one.faces.keypoints[:, None] - other.faces.keypoints[None], axis=3).mean(2).min(1)
        eyes = np.linalg.norm(one.faces.keypoints[:, 0] - one.faces.keypoints[:, 1], axis=1)
        assert (apart / eyes).max() < 0.12


def test_a_lost_face_is_detected_anew(takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any) -> None:
    """A cut to another person elsewhere in the picture, between two detections."""
    moved = [np.roll(image, 60, axis=1) for image in takes[1]]
    counting = Counting(engine)
    got = list(run(Shown([*takes[0][:4], *moved[:4]], "test:cut"), counting, codes, batch=8, every=8))
    assert counting.looked == [0, 4]
    exact = run(Shown(moved[:4], "test:cut"), engine, codes)
    for one, other in zip(got[4:], exact, strict=True):
        assert np.linalg.norm(one.faces.keypoints - other.faces.keypoints, axis=2).mean() < 6


def test_settings_that_make_no_stream_are_refused() -> None:
    for wrong in ({"batch": 0}, {"every": 0}, {"every": 61}):
        with pytest.raises(ValueError, match="every 1 to 60"):
            replace(StreamConfig(), **wrong)
    assert replace(StreamConfig(), batch=8, every=5).batch_size == 10


class Painted(WarpSwapper):
    """Paints every face red, as a swapper with colours of its own would a grey one."""

    def __call__(self, crops: Any, codes: Any, which: Any) -> Swapped:
        red = torch.zeros_like(crops.pixels)
        red[:, 0] = 0.25 + crops.pixels[:, 0] / 2
        return Swapped(pixels=red, mask=torch.ones_like(crops.pixels[:, :1]))


@pytest.mark.parametrize("colour", ["none", "mean", "reinhard"])
def test_a_black_and_white_picture_stays_one(
    colour: Colour, takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any
) -> None:
    """A frame of its own decides: colour returns with the colour of the target."""
    grey = [np.repeat(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2) for image in takes[0]]
    mixed = [grey[0], takes[0][1], grey[2]]
    got = [each.frame.image for each in run(Shown(mixed, "test:grey"), engine, codes, Painted(), batch=2, colour=colour)]
    apart = [int(np.ptp(image.astype(int), axis=2).max()) for image in got]
    assert apart[0] == apart[2] == 0
    assert apart[1] > 60
    for image, before in zip(got, mixed, strict=True):
        assert np.abs(image.astype(int) - before).max() > 10, "a face is swapped in each"


def test_noise_of_a_codec_is_grey_and_dim_colours_are_none() -> None:
    rng = np.random.default_rng(0)
    luma = rng.integers(40, 200, (64, 64, 1))
    for spread, is_kept in ((2, False), (8, True)):
        pixels = torch.from_numpy((luma + rng.integers(0, spread + 1, (64, 64, 3))).astype(np.float32) / 255).permute(2, 0, 1)[None]
        crops = stream.Crops(pixels=pixels, frame_to_crop=np.eye(2, 3)[None], frame_index=np.zeros(1, np.int64), template="face")
        out = keep_grey(crops, Swapped(pixels=torch.rand(1, 3, 64, 64))).pixels
        assert bool((out[:, 0] != out[:, 1]).any()) == is_kept


def swaying(takes: list[list[np.ndarray]]) -> Shown:
    """Two people side by side; now the one is nearer, now the other."""
    rows = []
    for i, pair in enumerate(zip(takes[1], takes[3], strict=True)):
        halves = []
        for image, side in zip(pair, (192, 130) if i % 2 else (130, 192), strict=True):
            half = np.full((200, 200, 3), 90, np.uint8)
            half[:side, :side] = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
            halves.append(half)
        rows.append(np.concatenate(halves, axis=1))
    return Shown(rows, "test:two")


def test_the_swap_stays_on_one_person_also_when_it_is_resumed(
    takes: list[list[np.ndarray]], engine: OfflineEngine, codes: Any
) -> None:
    footage = swaying(takes)
    sides = [largest(engine.detect(frame)).boxes[0, 0] > 200 for frame in footage.frames()]
    assert len(set(sides)) == 2, "the largest face is now left, now right"
    whole = list(run(footage, engine, codes, batch=2, select="largest"))
    places = [float(each.faces.boxes[0, 0]) for each in whole]
    assert {place > 200 for place in places} == {sides[0]}
    assert {each.num_left for each in whole} == {1}
    assert str(whole[0].followed) == f"face {1 + sides[0]} of 2 from the left in frame 0"
    resumed = list(run(footage, engine, codes, batch=2, select="largest", start=4))
    for one, other in zip(resumed, whole[4:], strict=True):
        np.testing.assert_array_equal(one.frame.image, other.frame.image)
        assert one.followed == other.followed
