"""What a GPU would be waited for, counted on a pretend one (`tests/pretend.py`): uploads and waits a frame, a step and a batch."""

import copy
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.actors import cast
from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.gfx.selected import Selected, rows_where
from faceswap_lab.actors.gfx.transfer import constant, fetch, send
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.render.render import Rendered, render
from faceswap_lab.faces.face import Faces
from faceswap_lab.models import device as devices
from faceswap_lab.models.protocols import Card, Crops
from faceswap_lab.models.stream.device_canvas import _PIXELS_AT_ONCE, Box, DeviceCanvas, groups_by_size
from faceswap_lab.models.stream.host_canvas import HostCanvas
from faceswap_lab.models.stream.swap_frames import _Painter
from faceswap_lab.models.swappers.pair import _REDUCED, PairSwapper
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.swappers.warp import WarpSwapper
from faceswap_lab.models.training.pair import PairTraining, Portraits, fresh_pair, train_pair
from faceswap_lab.models.training.state import TrainState
from tests import pretend
from tests.test_device_canvas import SIZE, answer, face_at, frames_of

A_FRAME, A_STEP = 10, 1
"""Uploads and waits together that a rendered frame may cost; uploads of a training step."""


@pytest.fixture
def counts() -> Iterator[pretend.Counts]:
    with pretend.counted() as counts:
        yield counts


# --- the pretend device itself ------------------------------------------------------------------------------------------------


def test_every_way_up_is_counted(counts: pretend.Counts) -> None:
    host = torch.arange(4.0)
    there = torch.tensor([1.0, 2.0], device=pretend.DEVICE)
    assert counts.uploads.total() == 1
    host.to(pretend.DEVICE, non_blocking=True)
    there.copy_(host[:2])
    host.to(pretend.DEVICE)[torch.tensor([1, 2])]
    assert counts.uploads.total() == 5
    assert not counts.waits
    torch.zeros(3, device=pretend.DEVICE) + 2.0
    torch.arange(4, device=pretend.DEVICE)
    there.view(1, 2).clone()
    assert counts.total == 5, "what is made on the device, or from a number, is no upload"


@pytest.mark.parametrize(
    "waits",
    [
        lambda x: float(x[0]),
        lambda x: x[0].item(),
        lambda x: bool((x > 1).any()),
        lambda x: (x > 1).nonzero(),
        lambda x: x[x > 1],
        lambda x: x.masked_select(x > 1),
        lambda x: x.cpu(),
        lambda x: torch.unique(x),
        lambda x: torch.repeat_interleave(x.long()),
        lambda x: torch.equal(x, x),
        lambda x: x.index_put_((x > 1,), x[:1]),
        lambda x: torch.zeros(3).copy_(x),
    ],
)
@pytest.mark.parametrize("inference", [True, False])
def test_every_wait_is_counted(waits: Any, inference: bool, counts: pretend.Counts) -> None:
    there = torch.tensor([1.0, 2.0, 3.0]).to(pretend.DEVICE)
    counts.clear()
    with torch.inference_mode(inference):
        waits(there)
    assert counts.waits.total() == 1
    assert not counts.uploads


def test_what_needs_no_wait_is_not_counted_and_devices_do_not_mix(counts: pretend.Counts) -> None:
    there = torch.tensor([1.0, 2.0, 3.0]).to(pretend.DEVICE)
    counts.clear()
    torch.repeat_interleave(there.long(), output_size=6)
    there.masked_fill_(there > 1, 0.0)
    there.index_put_((there > 5,), torch.tensor(1.0))
    torch.where(there > 1, there, 0.0)
    assert counts.total == 0
    with pytest.raises(RuntimeError, match="same device"):
        there + torch.ones(3)


# --- what passes between host and device --------------------------------------------------------------------------------------


def test_many_tensors_go_up_and_come_down_at_once(counts: pretend.Counts) -> None:
    values = [torch.arange(5, dtype=torch.uint8), torch.randn(3, 2, generator=torch.Generator()), torch.tensor(7), torch.empty(0)]
    values += [torch.tensor([True, False, True]), torch.arange(6.0).view(2, 3).T]
    there = send(torch.device(pretend.DEVICE), *values)
    assert counts.uploads.total() == 1
    back = fetch(*there)
    assert counts.total == 2
    for value, array in zip(values, back, strict=True):
        np.testing.assert_array_equal(array, value.numpy())
        assert array.dtype == value.numpy().dtype
    assert send(torch.device("cpu"), *values) == tuple(values), "on the CPU nothing is copied"
    assert np.shares_memory(fetch(values[0])[0], values[0].numpy())


def test_a_constant_goes_up_once(counts: pretend.Counts) -> None:
    device = torch.device(pretend.DEVICE)
    one = constant(((1.5, 2.5), (3.5, 4.5)), device)
    assert constant(((1.5, 2.5), (3.5, 4.5)), device) is one
    assert counts.uploads.total() <= 1
    np.testing.assert_array_equal(fetch(one)[0], [[1.5, 2.5], [3.5, 4.5]])


def test_selecting_by_mask_is_selecting_by_rows() -> None:
    draw = torch.Generator().manual_seed(0)
    table, wide = torch.randn(50, generator=draw), torch.randn(60, 3, generator=draw)
    mask, inner = table > 0.3, wide[:50, 0] > 0
    results = []
    for selected in (Selected.where(mask), Selected(mask, None)):
        within = Selected(mask & inner, None)
        if selected.rows is not None:
            within = selected.narrowed(Selected.where(selected.pick(inner)))
        sums, colours = table.clone(), wide.clone()
        within.add(sums, within.pick(wide)[:, 1], alpha=0.5)
        selected.put(colours, selected.pick(wide) * 2 + 1)
        within.put(colours[:, 1], 0.25)
        results.append((sums, colours))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_rows_of_many_masks_cost_one_wait(share: float, counts: pretend.Counts) -> None:
    masks = [torch.rand(97, generator=torch.Generator().manual_seed(seed)) < share for seed in range(4)]
    there = [mask.to(pretend.DEVICE) for mask in masks]
    counts.clear()
    found = rows_where(*there)
    assert counts.total == 1
    for mask, rows, host in zip(masks, fetch(*found), rows_where(*masks), strict=True):
        np.testing.assert_array_equal(rows, mask.nonzero()[:, 0])
        np.testing.assert_array_equal(rows, host)


# --- a rendered frame ---------------------------------------------------------------------------------------------------------

TAKES = {
    "plain": Actor(7).perform("speech", size=96),
    "long hair, glasses and a prop": Actor(21).perform("speech", size=96, wears="glasses", prop="hand"),
    "sunglasses": Actor(8).perform("range", size=96, wears="sunglasses"),
    "cap and cup": Actor(11).perform("range", size=96, wears="cap", prop="cup"),
    "headscarf": Actor(12).perform("range", size=96, wears="headscarf"),
    "recast": Actor(5).perform("range", size=96).recast(Actor(6)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TAKES)
def test_a_frame_costs_at_most_ten_uploads_and_waits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And it is the frame of the CPU: where that gathers, the device masks, with the same arithmetic on every sample."""
    monkeypatch.setattr(cast, "available", torch.device)
    one: Rendered = TAKES[name].rendered(3)
    take = TAKES[name].on(pretend.install())
    with pretend.counted() as counts:
        take.rendered(0)  # figure, rig and constants go up with the first frame
        counts.clear()
        other = take.rendered(3)
        assert counts.total <= A_FRAME, f"{name}: {counts}"
        labels, albedo, points = other.maps.labels, other.maps.albedo, other.points(106)
    assert np.abs(one.image.astype(int) - other.image).max() <= 1
    for attribute in ("landmarks68", "visible68", "face_mask", "depth", "box", "head_to_camera", "camera"):
        np.testing.assert_allclose(getattr(one, attribute), getattr(other, attribute), atol=1e-5, err_msg=attribute)
    np.testing.assert_array_equal(one.maps.labels, labels)
    np.testing.assert_allclose(one.maps.albedo, albedo, atol=1e-5)
    np.testing.assert_array_equal(one.points(106).visible, points.visible)


@pytest.mark.slow
def test_motion_blur_costs_as_much_for_each_of_its_moments() -> None:
    take, figure = Actor(7).perform("speech", size=64), build_figure(7, texture_rows(64))
    views = [take.view(row) for row in range(3)]
    with pretend.counted() as counts:
        there = figure.to(pretend.DEVICE)
        render(there, views[0], size=64)
        counts.clear()
        render(there, views[0], size=64, exposure=views[1:])
    assert counts.total <= A_FRAME * len(views), str(counts)


# --- a training step ----------------------------------------------------------------------------------------------------------


def portraits(seed: int, *, truth: bool) -> Portraits:
    draw = torch.Generator().manual_seed(seed)

    def stack(channels: int, count: int = 5) -> torch.Tensor:
        return torch.randint(256, (count, channels, 32, 32), dtype=torch.uint8, generator=draw)

    if not truth:
        return Portraits(self_images=stack(3), self_masks=stack(2))
    return Portraits(self_images=stack(3), self_masks=stack(2), inputs=stack(3, 7), targets=stack(3, 7), target_masks=stack(2, 7))


NET = PairNetConfig(size=32, width=4, code=8)
TRAINING = PairTraining(steps=12, batch=4, report_every=4, precision="fp32")


def costs_of_a_report(truth: bool) -> tuple[int, int, str]:
    """Uploads and waits of `report_every` steps. For a process of its own: autograd knows only devices that were there before its
    first backward pass."""
    pretend.install()
    with pretend.counted() as counts:
        state = fresh_pair(NET, TRAINING, torch.device(pretend.DEVICE))
        training = train_pair(state, (portraits(1, truth=truth), portraits(2, truth=truth)), TRAINING)
        next(training)
        counts.clear()
        assert next(training).number == 2 * TRAINING.report_every
    return counts.uploads.total(), counts.waits.total(), str(counts)


@pytest.mark.slow
@pytest.mark.parametrize("truth", [True, False])
def test_a_training_step_costs_at_most_one_upload_and_waits_only_to_report(truth: bool) -> None:
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        uploads, waits, where = process.submit(costs_of_a_report, truth).result()
    assert uploads <= A_STEP, f"in {TRAINING.report_every} steps: {where}"
    assert waits <= 1, f"for the losses that are reported: {where}"


def stopped_at(state: TrainState[PairNet], people: tuple[Portraits, Portraits], config: PairTraining, step: int) -> list[int]:
    return [each.number for each in train_pair(state, people, config, lambda: state.step == step)]


@pytest.mark.parametrize("truth", [True, False])
def test_draws_ahead_are_those_of_every_step(truth: bool) -> None:
    """A training that draws ahead, stopped and resumed at any step, is one that draws step by step."""
    people = (portraits(1, truth=truth), portraits(2, truth=truth))
    weights = []
    for report_every, stop_at in ((1, 0), (5, 0), (5, 3)):
        config = replace(TRAINING, steps=8, report_every=report_every)
        state = fresh_pair(NET, config, torch.device("cpu"))
        if stop_at:
            first, state = state, fresh_pair(NET, config, torch.device("cpu"))
            assert stopped_at(first, people, config, stop_at) == [stop_at]
            state.load_state_dict(copy.deepcopy(first.state_dict()))
        list(train_pair(state, people, config))
        weights.append([*state.net.state_dict().values(), *state.averaged.state_dict().values(), state.generator.get_state()])
    for other in weights[1:]:
        assert all(map(torch.equal, weights[0], other))


# --- a swap -------------------------------------------------------------------------------------------------------------------


def worked(canvas: HostCanvas | DeviceCanvas, device: str = "cpu") -> HostCanvas | DeviceCanvas:
    faces = Faces.concat([face_at(10, 100, 100, 80, 0.2), face_at(11, 60, 90, 30, 1), face_at(11, 150, 90, 180, 2)])
    crops = canvas.cut(faces, template="face", size=SIZE)
    canvas.paste(crops, canvas.match(crops, answer(3, True, torch.device(device)), "reinhard"))
    return canvas


def test_a_batch_is_cut_matched_and_pasted_without_waiting_and_comes_down_in_one_copy() -> None:
    frames = frames_of(2)
    with pretend.counted() as counts:
        canvas = DeviceCanvas(frames, torch.device(pretend.install()))
        worked(canvas, pretend.DEVICE)
        assert not counts.waits, str(counts)
        canvas.begin_download()
        found = list(canvas.frames())
        assert counts.waits.total() == 1, str(counts)
    for one, other in zip(found, worked(HostCanvas(frames)).frames(), strict=True):
        assert np.abs(one.image.astype(int) - other.image).max() <= 1


def test_what_is_pasted_after_a_download_began_comes_down_too(counts: pretend.Counts) -> None:
    canvas = DeviceCanvas(frames_of(2), torch.device(pretend.DEVICE))
    canvas.begin_download()
    worked(canvas, pretend.DEVICE)
    assert all(np.abs(a.image.astype(int) - b.image).max() > 10 for a, b in zip(canvas.frames(), frames_of(2), strict=True))


def pair(*, trained_steps: int = 0) -> tuple[PairSwapper, tuple[Portraits, Portraits]]:
    people = (portraits(1, truth=True), portraits(2, truth=True))
    config = replace(TRAINING, steps=max(1, trained_steps))
    state = fresh_pair(replace(NET, width=8, code=32), config, torch.device("cpu"))
    if trained_steps:
        list(train_pair(state, people, config))
    card = Card(name="pair", task="swap", licence="test", source="test", subjects=("actor:1", "actor:2"))
    return PairSwapper(state.averaged, card), people


def crops_of(pixels: torch.Tensor) -> Crops:
    count = len(pixels)
    matrices = np.repeat(np.eye(2, 3)[None], count, 0)
    return Crops(pixels=pixels, frame_to_crop=matrices, frame_index=np.arange(count), template="whole-face")


def test_crops_are_cut_where_the_swapper_computes() -> None:
    frames, device = frames_of(1), torch.device(pretend.install())
    with pretend.counted() as counts:
        for swapper, kind in ((WarpSwapper(), HostCanvas), (pair()[0], DeviceCanvas)):
            painter = _Painter(swapper=swapper, codes=None, colour="none", device=device, owned=False)
            counts.clear()
            assert type(painter._canvas(frames, crowd=False)) is kind
            assert counts.total == (kind is DeviceCanvas)


def test_the_pair_draws_one_person_without_an_upload_or_a_wait() -> None:
    swapper, people = pair()
    pixels = people[0].self_images.float() / 255
    expected = swapper(crops_of(pixels), [0, 1], np.ones(len(pixels), np.int64))
    with pretend.counted() as counts:
        swapper._net.to(pretend.install())
        there = crops_of(pixels.to(pretend.DEVICE))
        counts.clear()
        drawn = swapper(there, [0, 1], np.ones(len(pixels), np.int64))
        assert counts.total == 0, str(counts)
        np.testing.assert_allclose(fetch(drawn.pixels)[0], expected.pixels.numpy(), atol=1e-5)


@pytest.mark.slow
def test_the_pair_in_half_precision_is_within_a_level() -> None:
    swapper, people = pair(trained_steps=40)
    assert people[0].inputs is not None
    pixels = people[0].inputs.float() / 255
    with torch.inference_mode():
        whole = swapper._net(pixels, 0)
        with torch.autocast("cpu", _REDUCED):
            half = swapper._net(pixels, 0).float()
    assert whole.std() > 0.02, "it draws something"
    assert (255 * (whole - half)).abs().max() <= 1


def test_cudnn_does_not_search_anew_for_each_batch_size(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    class Session(onnxruntime.InferenceSession):
        def __init__(self, *_: Any, providers: Any, **__: Any) -> None:
            asked.extend(providers)

        def get_providers(self) -> list[str]:
            return ["CUDAExecutionProvider"]

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    devices.onnx_session(b"", torch.device("cuda", 1))
    assert asked == [("CUDAExecutionProvider", {"device_id": 1, "cudnn_conv_algo_search": "HEURISTIC"})]


# --- memory of a crowd --------------------------------------------------------------------------------------------------------


def boxes_of(*sides: int) -> list[Box]:
    return [Box(top=0, left=0, height=side, width=side) for side in sides]


def padded(boxes: list[Box], groups: list[list[int]]) -> list[int]:
    return [len(rows) * max(boxes[row].height for row in rows) * max(boxes[row].width for row in rows) for rows in groups]


def test_one_large_face_does_not_pad_a_crowd() -> None:
    boxes = boxes_of(*[100] * 31, 2000, *[100] * 32)
    groups = groups_by_size(boxes, range(64))
    assert sorted(map(len, groups)) == [1, 63]
    assert sum(padded(boxes, groups)) < 1.2 * 2000**2, "and not 64 times that"


@given(st.lists(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), max_size=64), st.integers(0, 6), st.integers(1, 3))
def test_groups_hold_every_face_once_and_waste_at_most_as_much_as_they_hold(
    sizes: list[tuple[int, int]], margin: int, times: int
) -> None:
    boxes = [Box(top=0, left=0, height=height, width=width) for height, width in sizes]
    grown = [replace(box, height=(box.height + margin) * times, width=(box.width + margin) * times) for box in boxes]
    groups = groups_by_size(boxes, range(len(boxes)), margin=margin, times=times)
    assert sorted(row for rows in groups for row in rows) == list(range(len(boxes)))
    for rows, number in zip(groups, padded(grown, groups), strict=True):
        assert len(rows) == 1 or number <= min(_PIXELS_AT_ONCE, 2 * sum(grown[row].height * grown[row].width for row in rows))
