"""A swapper in the stream: frames in, frames out. What every swapper owes alone is in `test_contract.py`."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.stream.probes import source_of
from faceswap_lab.models.stream.swap_frames import StreamConfig, swap_frames
from faceswap_lab.models.swappers.warp import WarpSwapper

pytestmark = [pytest.mark.weights, pytest.mark.slow]
TARGET, SOURCE = Actor(21), Actor(7)


@pytest.fixture(scope="module")
def engine() -> OfflineEngine:
    return OfflineEngine()


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
