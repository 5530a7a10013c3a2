"""A swap's memory does not grow with the clip: few frames live at a time, and events do not pile up. See benchmarks/memory.py."""

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.video import encode
from faceswap_lab.models.protocols import Card, Crops, Engine, Needs, Swapped
from faceswap_lab.models.stream.swap_frames import UNDER_WAY, StreamConfig, swap_frames
from faceswap_lab.runs import events
from faceswap_lab.runs.run import Run
from tests.media import numbered

NUM_FRAMES, BATCH = 300, 8
POINTS = np.array([[24, 20], [40, 20], [32, 28], [26, 36], [38, 36]], np.float32)


class Counted:
    """Footage that knows how many of its frames and faces are alive."""

    origin, subject, fps, size = "counted", "actor:7", 25.0, (48, 64)

    def __init__(self) -> None:
        self.alive: set[int] = set()
        self.most = 0

    def __len__(self) -> int:
        return NUM_FRAMES

    def __getitem__(self, index: int) -> Frame:
        raise NotImplementedError

    def watch(self, array: np.ndarray) -> np.ndarray:
        self.alive.add(id(array))
        weakref.finalize(array, self.alive.discard, id(array))
        self.most = max(self.most, len(self.alive))
        return array

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        for number in range(NUM_FRAMES):
            yield Frame(image=self.watch(numbered(number)), origin="counted", index=number, time_s=number / 25)


class OneFace(Engine):
    """An engine that finds one face in each frame."""

    embedder, point_set = "none", None

    def __init__(self, footage: Counted) -> None:
        self.footage = footage

    def detect(self, frame: Frame) -> Faces:
        return Faces(
            frame_index=np.array([frame.index]),
            boxes=np.array([[16, 8, 48, 44]], np.float32),
            keypoints=self.footage.watch(POINTS[None].copy()),
            scores=np.ones(1, np.float32),
        )

    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        return faces

    def embed(self, frame: Frame, faces: Faces) -> Faces:
        return replace(faces, embeddings=np.ones((len(faces), 4), np.float32) / 2, embedder=self.embedder)


class Grey:
    """A swapper that paints every face grey."""

    card = Card(name="grey", task="swap", licence="none", source="a test")
    needs = Needs(template="face", size=32, source="trained")

    def providers(self) -> dict[str, str]:
        return {}

    def encode(self, sources: object) -> None:
        return None

    def __call__(self, crops: Crops, codes: None, which: np.ndarray) -> Swapped:
        return Swapped(pixels=torch.full_like(crops.pixels, 0.5))


@pytest.mark.slow
def test_few_frames_and_faces_live_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "FLUSH_AFTER_S", 0.0)
    footage = Counted()
    run = Run.start(tmp_path, "swap", "{}", {})
    longest = 0

    def finished() -> Iterator[Frame]:
        nonlocal longest
        for each in swap_frames(
            footage,
            engine=OneFace(footage),
            swapper=Grey(),
            codes=None,
            config=StreamConfig(batch=BATCH),
            device=torch.device("cpu"),
            corrections=Corrections(),
        ):
            run.emit("frame", index=each.frame.index, keypoints=each.faces.keypoints.tolist())
            assert run._journal is not None
            longest = max(longest, len(run._journal._buffer))
            yield each.frame

    with run, run.write("result.mkv") as path:
        encode(path, finished(), fps=25, lossless=True)
    gc.collect()
    assert len(run.events("frame")) == NUM_FRAMES
    # A frame and its face of each of the batches under way, whatever the clip's length.
    assert footage.most <= 2 * UNDER_WAY * BATCH + 4, f"{footage.most} pictures and faces of {NUM_FRAMES} frames were alive at once"
    assert not footage.alive
    assert longest <= 2
