"""What covers a face stays the target's, when a swap is asked to keep it: on both canvases, with a swapper's mask and without."""

from pathlib import Path

import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import WeightsError
from faceswap_lab.faces import align
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models import data_files
from faceswap_lab.models.eyes import weights
from faceswap_lab.models.eyes.labels import LABELS
from faceswap_lab.models.eyes.layers import SIZE
from faceswap_lab.models.eyes.look import Eyes, Outline
from faceswap_lab.models.protocols import Swapped
from faceswap_lab.models.stream.covers import CoverKeeper
from faceswap_lab.models.stream.device_canvas import DeviceCanvas
from faceswap_lab.models.stream.host_canvas import HostCanvas
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.swap import swap

POINTS = np.array([[80, 90], [120, 90], [100, 115], [84, 135], [116, 135]], np.float32)
CPU = torch.device("cpu")


class Half(Eyes):
    """Sees an occluder over the left half of the frame: left of column 100."""

    def outline(self, image: np.ndarray, keypoints5: np.ndarray) -> Outline:
        matrix = align.frame_to_crop(keypoints5, template="whole-face", size=SIZE)
        (edge,) = align.transform_points(matrix, np.array([[100.0, 100.0]]))[:, 0]
        shares = np.zeros((len(LABELS), SIZE, SIZE), np.float32)
        left = np.arange(SIZE) < edge
        shares[LABELS.index("occluder"), :, left] = 1
        shares[LABELS.index("skin"), :, ~left] = 1
        return Outline(
            points106=np.zeros((106, 2), np.float32), visible=np.ones(106, np.float32), shares=shares, frame_to_crop=matrix
        )


@pytest.mark.parametrize("with_mask", [True, False])
@pytest.mark.parametrize("on_host", [True, False])
def test_the_covered_half_stays_the_targets(with_mask: bool, on_host: bool) -> None:
    image = np.full((200, 200, 3), 40, np.uint8)
    frames = [Frame(image=image, origin="test", index=3)]
    faces = Faces(
        frame_index=np.array([3]),
        boxes=np.array([[60, 60, 140, 160]], np.float32),
        keypoints=POINTS[None],
        scores=np.ones(1, np.float32),
    )
    canvas = HostCanvas(frames) if on_host else DeviceCanvas(frames, CPU)
    crops = canvas.cut(faces, template="face", size=96)
    mask = torch.ones(1, 1, 96, 96) if with_mask else None
    white = Swapped(pixels=torch.ones(1, 3, 96, 96), mask=mask)
    canvas.paste(crops, CoverKeeper(eyes=Half()).kept(frames, faces, crops, white))
    (result,) = canvas.frames()
    changed = (result.image != image).any(2)
    assert not changed[:, :97].any()
    assert changed[80:140, 103:125].all()
    assert (result.image[90:130, 105:120] > 250).all()


def test_nothing_is_loaded_unless_it_is_asked_for() -> None:
    assert CoverKeeper.of(StreamConfig().covers) is None
    assert StreamConfig(covers="kept").covers == "kept"
    swapped = Swapped(pixels=torch.zeros(0, 3, 8, 8))
    keeper = CoverKeeper.of("kept")
    assert keeper is not None
    canvas = HostCanvas([])
    assert keeper.kept([], Faces.none(), canvas.cut(Faces.none(), template="face", size=8), swapped) is swapped


@pytest.mark.weights
def test_a_swap_that_keeps_covers_needs_the_eyes_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    monkeypatch.setattr(weights, "bundled", lambda: tmp_path / "none")
    with pytest.raises(WeightsError, match="train --recipe eyes"):
        data_files.of_eyes()
    footage = Actor(32).perform("still", seconds=0.04, size=160)
    with pytest.raises(WeightsError, match="card of the eyes"):
        swap(footage, source=Actor(7), recipe=SwapRecipe(stream=StreamConfig(covers="kept")))
    assert not list(tmp_path.rglob("run.json"))
