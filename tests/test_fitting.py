"""A picture that memory does not hold is an error that says how large it is, whichever library found out."""

from pathlib import Path

import av
import numpy as np
import pytest

from faceswap_lab.errors import FaceError, MediaError, fitting
from faceswap_lab.faces import frame, video
from faceswap_lab.faces.frame import Frame, read_still, write_still

SIZE = (7800, 10000)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 223. MiB for an array with shape (7800, 10000, 3)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("OpenCV(5.0.0) error: (-4:Insufficient memory) Failed to allocate 234000000 bytes"),
        RuntimeError("std::bad_alloc"),
    ],
)
def test_a_lack_of_memory_says_the_size_and_what_to_do(error: Exception) -> None:
    with pytest.raises(MediaError) as refused, fitting("big.jpg", SIZE):
        raise error
    assert refused.value.expected == "enough memory for big.jpg, 10000 x 7800 pixels (78 million)"
    assert refused.value.got
    assert "shrink it" in refused.value.remedy
    assert refused.value.__cause__ is error


@pytest.mark.parametrize("error", [RuntimeError("sizes differ"), FaceError(expected="memory", got="out of memory", remedy="none")])
def test_other_errors_pass_unchanged(error: Exception) -> None:
    with pytest.raises(type(error)) as passed, fitting("big.jpg", SIZE):
        raise error
    assert passed.value is error


def test_a_still_that_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    write_still(tmp_path / "a.png", np.zeros((24, 32, 3), np.uint8))
    monkeypatch.setattr(frame, "_to_rgb", full)
    with pytest.raises(MediaError, match=r"enough memory for a\.png, 32 x 24 pixels"):
        read_still(tmp_path / "a.png")


def test_an_encoder_that_cannot_start_says_the_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So x264 does where 312 MB could not be had for frames of 78 million pixels."""

    def full(*_: object, **__: object) -> None:
        raise av.ExternalError(542398533, "Generic error in an external library", "avcodec_open2")

    monkeypatch.setattr(video, "_add_stream", full)
    with pytest.raises(MediaError, match="memory for the encoder's frames, 32 x 24 pixels"):
        video.encode(tmp_path / "a.mkv", [Frame(image=np.zeros((24, 32, 3), np.uint8), origin="x")], fps=25, lossless=True)
    assert list(tmp_path.iterdir()) == []
