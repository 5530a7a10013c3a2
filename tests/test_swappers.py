"""One contract for every swapper: shapes, type, range, determinism, and a batch that equals a loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.faces.face import Faces
from faceswap_lab.models.canvas import HostCanvas
from faceswap_lab.models.nets import PairNet, PairNetConfig
from faceswap_lab.models.opencv import OfflineEngine
from faceswap_lab.models.pair import PairSwapper
from faceswap_lab.models.protocols import AnySwapper, Card, Crops
from faceswap_lab.models.stream import StreamConfig, largest, source_of, swap_frames
from faceswap_lab.models.warp import WarpSwapper

pytestmark = pytest.mark.weights
TARGET, SOURCE = Actor(21), Actor(7)


def pair() -> PairSwapper:
    card = Card(name="test", task="swap", licence="Apache-2.0", source="tests", subjects=(SOURCE.subject, TARGET.subject))
    return PairSwapper(PairNet(PairNetConfig(size=32, width=8, code=16)), card)


@pytest.fixture(scope="module")
def engine() -> OfflineEngine:
    return OfflineEngine()


@pytest.fixture(scope="module", params=[pair, WarpSwapper])
def swapper(request: pytest.FixtureRequest) -> AnySwapper:
    made: AnySwapper = request.param()
    return made


@pytest.fixture(scope="module")
def crops(swapper: AnySwapper, engine: OfflineEngine) -> Crops:
    frames = list(TARGET.perform("speech", seconds=0.12, size=160).frames())
    faces = Faces.concat([engine.landmarks(frame, largest(engine.detect(frame))) for frame in frames])
    return HostCanvas(frames).cut(faces, template=swapper.needs.template, size=swapper.needs.size)


@pytest.fixture(scope="module")
def codes(swapper: AnySwapper, engine: OfflineEngine) -> object:
    return swapper.encode([source_of(SOURCE.perform("still", seconds=0.04, size=160), engine)])


def test_pixels_and_mask_have_their_shape_type_and_range(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    swapped = swapper(crops, codes, np.zeros(3, np.int64))
    assert swapped.pixels.shape == crops.pixels.shape
    assert swapped.mask is not None
    assert swapped.mask.shape == (3, 1, swapper.needs.size, swapper.needs.size)
    for values in (swapped.pixels, swapped.mask):
        assert values.dtype == torch.float32
        assert values.device == crops.pixels.device
        assert 0 <= values.min() <= values.max() <= 1


def test_it_is_the_same_twice_and_a_batch_equals_a_loop(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    which = np.zeros(3, np.int64)
    once, twice = swapper(crops, codes, which), swapper(crops, codes, which)
    assert torch.equal(once.pixels, twice.pixels)
    for row in range(3):
        alone = swapper(crops[row : row + 1], codes, which[:1])
        torch.testing.assert_close(alone.pixels[0], once.pixels[row], atol=1 / 255, rtol=0)


def test_the_crops_are_left_as_they_were(swapper: AnySwapper, crops: Crops, codes: object) -> None:
    before = crops.pixels.clone()
    swapper(crops, codes, np.zeros(3, np.int64))
    assert torch.equal(before, crops.pixels)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_the_stream_gives_the_same_frames_for_every_batch(batch: int, engine: OfflineEngine) -> None:
    from faceswap_lab.faces.corrections import Corrections

    swapper, take = WarpSwapper(), TARGET.perform("speech", seconds=0.12, size=160)
    codes = swapper.encode([source_of(SOURCE.perform("still", seconds=0.04, size=160), engine)])

    def images(size: int) -> list[np.ndarray]:
        config = replace(StreamConfig(), batch=size)
        kwargs = {"engine": engine, "swapper": swapper, "codes": codes, "device": torch.device("cpu"), "corrections": Corrections()}
        return [each.frame.image for each in swap_frames(take, config=config, **kwargs)]

    originals = [frame.image.copy() for frame in take.frames()]
    for one, other in zip(images(batch), images(3), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
    for original, frame in zip(originals, take.frames(), strict=True):
        np.testing.assert_array_equal(original, frame.image, "the target's own frames are not painted on")
