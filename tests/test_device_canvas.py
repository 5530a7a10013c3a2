"""The back end for GPUs against the one for the host: the same code on CPU tensors; on CUDA also without waiting for the device."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.canvas import HostCanvas
from faceswap_lab.models.device_canvas import DeviceCanvas
from faceswap_lab.models.protocols import Swapped
from tests.test_align import smooth

CPU = torch.device("cpu")
SIZE = 64
FACE = np.array([(-0.165, -0.1), (0.165, -0.1), (0.0, 0.085), (-0.14, 0.245), (0.14, 0.245)])


def frames_of(count: int, height: int = 200, width: int = 260) -> list[Frame]:
    return [Frame(image=np.roll(smooth(height, width), 9 * i, 1), origin="test:smooth", index=10 + i) for i in range(count)]


def face_at(index: int, x: float, y: float, side: float, angle: float) -> Faces:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = (FACE @ turn.T * side + (x, y)).astype(np.float32)
    return Faces(
        frame_index=np.array([index]),
        boxes=np.array([[x - side / 2, y - side / 2, x + side / 2, y + side / 2]], np.float32),
        keypoints=points[None],
        scores=np.ones(1, np.float32),
        landmarks=points[None],
        point_set=5,
    )


def answer(count: int, mask: bool, device: torch.device = CPU) -> Swapped:
    """Smooth patches, unlike the frames, and masks with an edge of their own."""
    patches = np.stack([255 - np.roll(smooth(SIZE, SIZE), 7 * i, 0) for i in range(count)])
    pixels = torch.from_numpy(patches).permute(0, 3, 1, 2).float().div(255)
    distance = np.hypot(*(np.mgrid[:SIZE, :SIZE] - (SIZE - 1) / 2))
    disc = torch.from_numpy(((SIZE * 0.45 - distance) / 6).clip(0, 1).astype(np.float32))
    return Swapped(pixels=pixels.to(device), mask=disc.expand(count, 1, SIZE, SIZE).to(device) if mask else None)


def both(frames: list[Frame], faces: Faces, mask: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Crops, then frames, of either back end."""
    host, device = HostCanvas(frames), DeviceCanvas(frames, CPU)
    crops, others = (canvas.cut(faces, template="face", size=SIZE) for canvas in (host, device))
    assert (crops.frame_to_crop == others.frame_to_crop).all()
    assert crops.landmarks is not None
    np.testing.assert_array_equal(crops.landmarks, others.landmarks)
    yield crops.pixels.numpy() * 255, others.pixels.numpy() * 255
    host.paste(crops, answer(len(faces), mask))
    device.paste(others, answer(len(faces), mask))
    for one, other in zip(host.frames(), device.frames(), strict=True):
        assert (one.index, one.origin) == (other.index, other.origin)
        yield one.image.astype(float), other.image.astype(float)


places = st.tuples(st.sampled_from([10, 11]), st.floats(-30, 290), st.floats(-30, 230), st.floats(14, 190), st.floats(-3.2, 3.2))


@settings(max_examples=25, deadline=None)
@given(st.lists(places, min_size=1, max_size=4), st.booleans())
def test_it_agrees_with_the_host_within_a_level_for_each_paste(
    where: list[tuple[int, float, float, float, float]], mask: bool
) -> None:
    frames = frames_of(2)
    before = [frame.image.copy() for frame in frames]
    for one, other in both(frames, Faces.concat([face_at(*each) for each in where]), mask):
        # Two faces pasted over one pixel round twice.
        assert np.abs(one - other).max() <= 1.01 * len(where)
    for frame, image in zip(frames, before, strict=True):
        np.testing.assert_array_equal(frame.image, image, "the caller's frames are not painted on")


@pytest.mark.parametrize("side", [25, 60, 180])
def test_something_was_pasted_and_nothing_outside(side: int) -> None:
    frames = frames_of(1)
    device = DeviceCanvas(frames, CPU)
    crops = device.cut(face_at(10, 130, 100, side, 0.3), template="face", size=SIZE)
    device.paste(crops, answer(1, True))
    (pasted,) = device.frames()
    changed = np.abs(pasted.image.astype(int) - frames[0].image).max(2)
    y, x = np.mgrid[:200, :260]
    far = np.hypot(x - 130, y - 100) > 0.75 * side + 4
    assert changed[100, 130] > 10
    assert changed[far].max() == 0


def test_frames_without_faces_come_back_as_they_are() -> None:
    frames = frames_of(3)
    canvas = DeviceCanvas(frames, CPU)
    crops = canvas.cut(face_at(11, 100, 100, 80, 0), template="face", size=SIZE)
    canvas.paste(crops, answer(1, False))
    one, two, three = canvas.frames()
    assert one is frames[0]
    assert three is frames[2]
    assert two is not frames[1]


def test_nan_is_found_before_a_frame_is_handed_out() -> None:
    canvas = DeviceCanvas(frames_of(1), CPU)
    crops = canvas.cut(face_at(10, 100, 100, 80, 0), template="face", size=SIZE)
    bad = answer(1, False)
    bad.pixels[0, 0, 3, 3] = float("nan")
    canvas.paste(crops, bad)
    with pytest.raises(ValueError, match="NaN"):
        next(canvas.frames())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cut_and_paste_do_not_wait_for_the_device() -> None:
    device, frames = torch.device("cuda"), frames_of(2)
    faces = Faces.concat([face_at(10, 100, 100, 80, 0.2), face_at(11, 60, 90, 30, 1), face_at(11, 150, 90, 180, 2)])
    swapped, canvas = answer(3, True, device), DeviceCanvas(frames, device)
    canvas.paste(canvas.cut(faces, template="face", size=SIZE), swapped)  # kernels are loaded on first use
    canvas = DeviceCanvas(frames, device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        canvas.paste(canvas.cut(faces, template="face", size=SIZE), swapped)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    host = HostCanvas(frames)
    host.paste(host.cut(faces, template="face", size=SIZE), answer(3, True))
    for one, other in zip(canvas.frames(), host.frames(), strict=True):
        assert np.abs(one.image.astype(int) - other.image).max() <= 1
