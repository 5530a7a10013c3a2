"""The back end for GPUs against the one for the host: the same code on CPU tensors; on CUDA also without waiting for the device."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.patches.packing import packed, unpacked
from faceswap_lab.faces.patches.patch import lay, patches_of
from faceswap_lab.models.protocols import Crops, Swapped
from faceswap_lab.models.stream.colour_match import Colour, to_lab
from faceswap_lab.models.stream.device_canvas import DeviceCanvas
from faceswap_lab.models.stream.host_canvas import HostCanvas
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


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@example([(10, 0.0, 0.0, 14.0, 0.0), (10, 0.0, 0.0, 42.75, 0.0)], False).via("two sizes, both smaller than their crops")
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


@pytest.mark.parametrize("colour", ["mean", "reinhard"])
@pytest.mark.parametrize("template", ["face", "whole-face", "arcface-128"])
@pytest.mark.parametrize("mask", [True, False])
def test_colours_are_matched_as_on_the_host(colour: Colour, template: str, mask: bool) -> None:
    frames, where = frames_of(2), [(10, 130, 100, 150, 0.3), (11, 60, 80, 60, -1.0), (11, 190, 90, 30, 2.0)]
    faces, found = Faces.concat([face_at(*each) for each in where]), []
    for canvas in (HostCanvas(frames), DeviceCanvas(frames, CPU)):
        crops = canvas.cut(faces, template=template, size=SIZE)
        matched = canvas.match(crops, answer(3, mask), colour)
        canvas.paste(crops, matched)
        found.append((255 * matched.pixels.numpy(), [frame.image.astype(int) for frame in canvas.frames()]))
    (one, images), (other, others) = found
    assert np.abs(one - 255 * answer(3, mask).pixels.numpy()).max() > 20, "something was matched"
    assert np.abs(one - other).max() < 0.1
    assert max(np.abs(a - b).max() for a, b in zip(images, others, strict=True)) <= 1


@pytest.mark.parametrize("canvas_of", [HostCanvas, lambda frames: DeviceCanvas(frames, CPU)])
def test_matching_moves_the_colours_that_are_seen_and_nothing_where_the_mask_is_empty(canvas_of: Any) -> None:
    canvas = canvas_of(frames_of(1))
    crops = canvas.cut(Faces.concat([face_at(10, 130, 100, 90, 0.1)] * 2), template="face", size=SIZE)
    given = answer(2, True)
    assert given.mask is not None
    mask = given.mask * torch.tensor([1.0, 0.0])[:, None, None, None]
    given = replace(given, pixels=0.3 + 0.5 * given.pixels, mask=mask)
    assert canvas.match(crops, given, "none") is given
    spread = {}
    for colour in ("mean", "reinhard"):
        matched = canvas.match(crops, given, colour).pixels
        np.testing.assert_allclose(matched[1], given.pixels[1], atol=1e-6)
        inside = given.mask[0, 0] > 0.999
        labs = [to_lab(picture[:1])[0, :, inside] for picture in (matched, crops.pixels, given.pixels)]
        means, spreads = ([lab.mean(1) for lab in labs], [lab.std(1) for lab in labs])
        assert (means[0] - means[1]).abs().max() < 3 < (means[2] - means[1]).abs().max()
        spread[colour] = [(spreads[0] - each).abs().max().item() for each in spreads[1:]]
    assert spread["mean"][0] > 3, "the patch keeps its contrast"
    assert spread["reinhard"][0] < spread["mean"][0] / 2


def shown(canvas: HostCanvas | DeviceCanvas, crops: Crops, swapped: Swapped, colour: Colour) -> list[Frame]:
    canvas.paste(crops, canvas.match(crops, swapped, colour))
    return list(canvas.frames())


@pytest.mark.parametrize("canvas_of", [HostCanvas, lambda frames: DeviceCanvas(frames, CPU)])
def test_what_lies_around_a_face_keeps_its_colours_where_the_swapper_gives_no_mask(canvas_of: Any) -> None:
    """Such a swapper draws the background too, and rightly: matched with the face it would show as a halo."""
    canvas, given = canvas_of(frames_of(1)), answer(1, False)
    crops = canvas.cut(face_at(10, 130, 100, 90, 0.1), template="arcface-128", size=SIZE)
    changed = (canvas.match(crops, given, "mean").pixels - given.pixels).abs().amax(1)[0].numpy() * 255
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE
    apart = ((x - 0.5) / 0.30) ** 2 + ((y - 0.56) / 0.31) ** 2
    assert changed[apart > 1.2].max() < 0.1
    assert changed[apart < 0.3].min() > 3


@pytest.mark.parametrize("colour", ["mean", "reinhard"])
def test_nan_does_not_come_through_matching(colour: Colour) -> None:
    for canvas in (HostCanvas(frames_of(1)), DeviceCanvas(frames_of(1), CPU)):
        crops = canvas.cut(face_at(10, 100, 100, 80, 0), template="face", size=SIZE)
        bad = answer(1, False)
        bad.pixels[0, 0, 3, 3] = float("nan")
        with pytest.raises(ValueError, match="NaN"):
            shown(canvas, crops, bad, colour)


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
    swapped = answer(3, True, device)

    def work(canvas: DeviceCanvas) -> DeviceCanvas:
        crops = canvas.cut(faces, template="face", size=SIZE)
        canvas.paste(crops, canvas.match(crops, swapped, "reinhard"))
        return canvas

    work(DeviceCanvas(frames, device))  # kernels are loaded on first use
    canvas = DeviceCanvas(frames, device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        work(canvas)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    host = HostCanvas(frames)
    crops = host.cut(faces, template="face", size=SIZE)
    host.paste(crops, host.match(crops, answer(3, True), "reinhard"))
    for one, other in zip(canvas.frames(), host.frames(), strict=True):
        assert np.abs(one.image.astype(int) - other.image).max() <= 1


@pytest.mark.parametrize("canvas_of", [HostCanvas, lambda frames: DeviceCanvas(frames, CPU), "owned"])
@pytest.mark.parametrize("mask", [True, False])
@settings(max_examples=10, deadline=None)
@given(places=st.lists(st.tuples(st.integers(-20, 280), st.integers(-20, 220), st.integers(20, 150)), min_size=1, max_size=4))
def test_patches_compose_what_either_back_end_pastes(canvas_of: Any, mask: bool, places: list[tuple[int, int, int]]) -> None:
    """Also where faces overlap, or lie over the picture's edge, and where the frames themselves are pasted into."""
    given = frames_of(2)
    frames = [replace(frame, image=frame.image.copy()) for frame in given] if canvas_of == "owned" else given
    canvas = HostCanvas(frames, owned=True) if canvas_of == "owned" else canvas_of(frames)
    faces = Faces.concat([face_at(10, x, y, side, 0.1 * side) for x, y, side in places])
    crops = canvas.cut(faces, template="face", size=SIZE)
    canvas.paste(crops, answer(len(faces), mask))
    for frame, regions, before in zip(canvas.frames(), canvas.regions(), given, strict=True):
        composed = before.image.copy()
        for patch in unpacked(b"".join(map(packed, patches_of(frame.image, regions)))):
            lay(composed, patch)
        np.testing.assert_array_equal(composed, frame.image)
    assert not regions, "nothing was pasted into the second frame"
