"""What every training shares: its schedule, its running average, its stop, its file of a state, and stacks of pictures."""

import copy
import json
import math
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from faceswap_lab.errors import RunError
from faceswap_lab.models.training.checkpoint import read_checkpoint, write_checkpoint
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.loop import Session, Step, StepContext, train
from faceswap_lab.models.training.pair import PairTraining
from faceswap_lab.models.training.samples import map_stacks, new_stacks, num_bytes_of, read_stacks, write_stacks
from faceswap_lab.models.training.state import RunningAverage, TrainState
from faceswap_lab.stopping import stop_on_signals, until

CONFIG = TrainConfig(steps=9, batch=4, warmup=2, report_every=4, ema=0.9, precision="fp32")


def small_net() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 1))


def losses(net: nn.Module, context: StepContext) -> dict[str, Tensor]:
    """Draws from both kinds of random numbers."""
    x = torch.from_numpy(context.numpy_generator().normal(size=(4, 1, 8, 8)).astype(np.float32))
    x = x + torch.randn(x.shape, generator=context.generator)
    return {"loss": (net(x)[:, 0] - x.mean((1, 2, 3))).square().mean()}


def trained(config: TrainConfig = CONFIG, stop_at: int = -1) -> tuple[TrainState[nn.Sequential], list[Step]]:
    state = TrainState.fresh(small_net, config)
    return state, list(train(state, losses, config, lambda: state.step == stop_at))


def same(one: TrainState[Any], other: TrainState[Any]) -> bool:
    pairs = ((one.net, other.net), (one.average, other.average))
    return all(
        torch.equal(value, b.state_dict()[name]) for a, b in pairs for name, value in a.state_dict().items()
    ) and torch.equal(one.generator.get_state(), other.generator.get_state())


# --- schedule ---------------------------------------------------------------------------------------------------------------


def test_the_rate_rises_in_a_line_falls_as_a_cosine_and_ends_at_its_share() -> None:
    config = TrainConfig(steps=1100, warmup=100, learning_rate=0.2, final_share=0.05)
    rates = [config.learning_rate_at(step) for step in range(1101)]
    np.testing.assert_allclose(rates[:100], 0.002 * np.arange(1, 101))
    assert rates[100] == 0.2
    assert rates[600] == pytest.approx(0.2 * (1 + 0.05) / 2)
    assert rates[1100] == pytest.approx(0.2 * 0.05)
    assert all(before > after for before, after in pairwise(rates[100:]))
    assert {replace(config, schedule="constant").learning_rate_at(step) for step in range(100, 1100)} == {0.2}


def test_a_training_without_a_warm_up_begins_at_its_height() -> None:
    assert TrainConfig(steps=10, warmup=0).learning_rate_at(0) == TrainConfig(steps=10).learning_rate
    assert TrainConfig(steps=2, warmup=5).learning_rate_at(1) == pytest.approx(0.4 * TrainConfig(steps=2).learning_rate)


@given(step=st.integers(0, 2000), steps=st.integers(1, 2000))
def test_the_pairs_schedule_is_to_the_bit_what_it_was(step: int, steps: int) -> None:
    """Its weights are promised: the formula of the version that made them."""
    config = PairTraining(steps=steps)
    if step < 30:
        expected = 2e-3 * (step + 1) / 30
    else:
        done = (step - 30) / max(1, steps - 30)
        expected = 2e-3 * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
    assert config.learning_rate_at(step) == expected


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("batch", 0), ("report_every", 0), ("warmup", -1), ("final_share", 1.1), ("final_share", -0.1), ("ema", 1.5)],
)
def test_figures_that_make_no_training_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{field: value})


# --- the running average ----------------------------------------------------------------------------------------------------


def test_the_average_is_to_the_bit_the_recurrence_that_promised_weights_came_of() -> None:
    torch.manual_seed(0)
    net = small_net()
    average, mean, exact = RunningAverage(net, 0.5), copy.deepcopy(net), [value.detach().double() for value in net.parameters()]
    for step in range(30):
        with torch.no_grad():
            for value in net.state_dict().values():
                if value.is_floating_point():
                    value.add_(torch.randn(value.shape))
        average.update_parameters(net)
        keep = min(0.5, (1 + step) / (10 + step))
        exact = [keep * old + (1 - keep) * new.detach().double() for old, new in zip(exact, net.parameters(), strict=True)]
        with torch.no_grad():
            torch._foreach_lerp_(list(mean.parameters()), list(net.parameters()), 1 - keep)
    for ours, theirs, double in zip(average.module.parameters(), mean.parameters(), exact, strict=True):
        assert torch.equal(ours, theirs)
        torch.testing.assert_close(ours.double(), double, atol=1e-5, rtol=1e-5)
    assert torch.equal(average.module[1].running_mean, net[1].running_mean), "buffers are the network's own"
    assert not any(value.requires_grad for value in average.parameters())
    assert not average.module.training


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_a_stop_at_any_step_and_a_resume_equal_an_unbroken_run(stop_at: int, tmp_path: Path) -> None:
    whole, steps = trained()
    assert [step.number for step in steps] == [4, 8, 9]
    half, told = trained(stop_at=stop_at)
    assert (told[-1].number, half.step) == (stop_at, stop_at)
    write_checkpoint(tmp_path / "state.pt", half, key="k")
    again = TrainState.fresh(small_net, replace(CONFIG, seed=8))
    assert not same(again, half)
    again.load_state_dict(read_checkpoint(tmp_path / "state.pt", key="k", owner="it").state)
    assert same(again, half)
    assert int(again.average.n_averaged) == stop_at + 1, "how much of itself the average keeps goes on too"
    list(train(again, losses, CONFIG))
    assert same(again, whole)


def test_means_are_of_the_steps_since_the_last_report() -> None:
    _, each = trained(replace(CONFIG, report_every=1))
    _, some = trained()
    loss = [step.losses["loss"] for step in each]
    np.testing.assert_allclose([step.losses["loss"] for step in some], [np.mean(loss[:4]), np.mean(loss[4:8]), loss[8]], rtol=1e-5)
    assert set(some[0].event()) == {"step", "losses", "learning_rate", "samples_per_s"}
    assert some[0].learning_rate == CONFIG.learning_rate_at(3)


def test_only_what_a_config_says_is_decayed() -> None:
    for vectors in (False, True):
        state = TrainState.fresh(small_net, replace(CONFIG, decay_vectors=vectors))
        shrunk = {group["weight_decay"] > 0: {value.ndim for value in group["params"]} for group in state.optimiser.param_groups}
        assert shrunk == ({True: {1}} if vectors else {True: {2, 4}, False: {1}}) or vectors
        assert {group["weight_decay"] for group in state.optimiser.param_groups} == ({0.02} if vectors else {0.02, 0.0})


# --- stopping ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def usual_handlers() -> Iterator[dict[signal.Signals, Any]]:
    """The handlers of a program in the foreground, whatever shell started the tests: under nohup SIGINT is ignored."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield usual
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_asks_and_the_second_one_breaks_in(number: signal.Signals, usual_handlers: dict[signal.Signals, Any]) -> None:
    told: list[str] = []

    def work() -> None:
        with stop_on_signals(lambda: told.append("told")) as stop:
            assert not stop()
            signal.raise_signal(number)
            assert stop()
            told.append("went on")
            signal.raise_signal(signal.SIGINT)
            told.append("never reached")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert told == ["told", "went on"]
    assert {number: signal.getsignal(number) for number in usual_handlers} == usual_handlers


def test_a_signal_that_nobody_asked_for_is_not_lost(usual_handlers: dict[signal.Signals, Any]) -> None:
    reached = []

    def work() -> None:
        with stop_on_signals():
            signal.raise_signal(signal.SIGTERM)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached == ["the end"]


def test_handlers_come_back_after_an_error_and_ignored_signals_stay_ignored(usual_handlers: dict[signal.Signals, Any]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def work() -> None:
        with stop_on_signals() as stop:
            signal.raise_signal(signal.SIGINT)
            assert not stop()
            assert signal.getsignal(signal.SIGTERM) not in usual_handlers.values()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) is usual_handlers[signal.SIGTERM]


def test_a_worker_thread_trains_without_handlers(usual_handlers: dict[signal.Signals, Any]) -> None:
    found: list[object] = []

    def work() -> None:
        with stop_on_signals() as stop:
            found.extend((stop(), signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False, *usual_handlers.values()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("at", "saved"), [(3, 3), (4, 4), (9, 9)])
def test_a_session_keeps_the_last_step(number: int, at: int, saved: int, usual_handlers: dict[signal.Signals, Any]) -> None:
    """The signal comes in the middle of a step, between reports, at one, and in the last step."""
    state, kept, told = TrainState.fresh(small_net, CONFIG), list[int](), list[int]()

    def interrupted(net: nn.Module, context: StepContext) -> dict[str, Tensor]:
        if context.step + 1 == at:
            signal.raise_signal(number)
        return losses(net, context)

    session = Session(state=state, keep=lambda: kept.append(state.step), keep_every=100)
    training: Callable[..., Iterator[Step]] = partial(train, state, interrupted, CONFIG)
    with pytest.raises(KeyboardInterrupt), stop_on_signals() as stop:
        session.run(training, lambda step: told.append(step.number), stop)
    assert kept == [saved]
    assert told[-1] == session.kept == saved


def test_a_session_keeps_now_and_then() -> None:
    state, kept = TrainState.fresh(small_net, CONFIG), list[int]()
    session = Session(state=state, keep=lambda: kept.append(state.step), keep_every=3)
    session.run(partial(train, state, losses, replace(CONFIG, report_every=1)), lambda _: None, lambda: False)
    assert kept == [3, 6, 9]


def test_items_are_made_until_the_stop() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(9):
            made.append(number)
            yield number

    assert list(until(lambda: False, range(3))) == [0, 1, 2]
    with pytest.raises(KeyboardInterrupt):
        list(until(lambda: len(made) == 2, items()))
    assert made == [0, 1]


# --- checkpoints ------------------------------------------------------------------------------------------------------------


def test_a_checkpoint_carries_notes_and_is_not_written_unless_it_is_finite(tmp_path: Path) -> None:
    state, _ = trained()
    path = tmp_path / "state.pt"
    write_checkpoint(path, state, key="k", notes={"seconds": 2.5, "events": [{"step": 4}]})
    assert read_checkpoint(path, key="k", owner="it").notes == {"seconds": 2.5, "events": [{"step": 4}]}
    before = path.read_bytes()
    with torch.no_grad():
        state.net[0].weight[0, 0, 0, 0] = math.inf
    with pytest.raises(RunError, match=r"net\.0\.weight"):
        write_checkpoint(path, state, key="k")
    assert path.read_bytes() == before


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "state.pt"
    write_checkpoint(path, trained()[0], key="k")
    return path.read_bytes()


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated:UserWarning")  # asked for by a damaged name
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), cut=st.booleans())
def test_a_damaged_checkpoint_is_read_or_refused_in_three_parts(
    place: float, bit: int, cut: bool, checkpoint: bytes, tmp_path: Path
) -> None:
    content = bytearray(checkpoint)
    at = int(place * len(content))
    content[at] ^= 1 << bit
    path = tmp_path / "state.pt"
    path.write_bytes(content[:at] if cut else content)
    try:
        read_checkpoint(path, key="k", owner="it")
    except RunError as error:
        refusal = error.remedy
    else:
        refusal = "" if cut else "force=True"
    assert "force=True" in refusal, "what is cut off is never read"


# --- stacks -----------------------------------------------------------------------------------------------------------------

STACKS = {
    "images": np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3),
    "points": np.linspace(0, 1, 12, dtype=np.float32).reshape(2, 3, 2),
    "occluded": np.array([True, False]),
    "identity": np.array([7, 2**40]),
}


def test_stacks_come_back_and_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    write_stacks(one, "test pictures", STACKS, {"size": 4, "name": "é"})
    write_stacks(two, "test pictures", dict(reversed(STACKS.items())), {"name": "é", "size": 4})
    assert one.read_bytes() == two.read_bytes()
    stacks, about = read_stacks(one, "test pictures", {"images", "points"})
    assert about == {"size": 4, "name": "é"}
    assert stacks.keys() == STACKS.keys()
    for name, stack in STACKS.items():
        assert stacks[name].dtype == stack.dtype
        np.testing.assert_array_equal(stacks[name], stack)
    torch.from_numpy(stacks["images"])[0] = 3  # may be written to: torch warns of arrays that may not


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_bytes(b""), ("test pictures",)),
        (lambda path: path.write_bytes(path.read_bytes()[:-3]), ("test pictures",)),
        (lambda path: path.write_bytes(b"\xff" * 999), ("test pictures",)),
        (Path.unlink, ("test pictures",)),
        (lambda path: write_stacks(path, "other pictures", STACKS), ("'other pictures' of format 1",)),
        (lambda path: write_stacks(path, "test pictures", {"images": STACKS["images"]}), ("no points",)),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'\\"format\\":1', b'\\"format\\":9')), ("of format 9",)),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'"faceswap_lab"', b'"faceswap_lob"')), ("faceswap_lab",)),
    ],
)
def test_what_are_no_such_stacks_is_refused(tmp_path: Path, change: Callable[[Path], object], words: tuple[str, ...]) -> None:
    path = tmp_path / "stacks.safetensors"
    write_stacks(path, "test pictures", STACKS)
    change(path)
    with pytest.raises(RunError) as caught:
        read_stacks(path, "test pictures", {"images", "points"})
    for word in (*words, str(path), "recreates it"):
        assert word in str(caught.value)


def test_a_stack_file_is_plain_safetensors(tmp_path: Path) -> None:
    """Any reader of the format opens it: eight bytes of length, then JSON."""
    write_stacks(tmp_path / "a", "test pictures", STACKS, {"size": 4})
    content = (tmp_path / "a").read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    assert json.loads(header["__metadata__"]["faceswap_lab"]) == {"about": {"size": 4}, "format": 1, "kind": "test pictures"}


SHAPES = {name: (stack.dtype.name, stack.shape) for name, stack in STACKS.items()} | {"none": ("uint8", (0, 3))}


def test_stacks_that_were_filled_in_place_are_read_and_mapped_like_any(tmp_path: Path) -> None:
    path = tmp_path / "filled"
    with new_stacks(path, "test pictures", SHAPES, {"size": 4}) as fresh:
        for name, stack in STACKS.items():
            for row in range(2):
                fresh[name][row] = stack[row]
    assert path.stat().st_size == num_bytes_of("test pictures", SHAPES, {"size": 4})
    whole, about = read_stacks(path, "test pictures", STACKS.keys())  # safetensors' own reader
    with path.open("rb") as file:
        mapped, same = map_stacks(file, "test pictures", STACKS.keys())
    path.unlink()
    assert about == same == {"size": 4}
    assert whole.keys() == mapped.keys() == SHAPES.keys()
    for name, stack in (STACKS | {"none": np.zeros((0, 3), np.uint8)}).items():
        np.testing.assert_array_equal(whole[name], stack)
        np.testing.assert_array_equal(mapped[name], stack)
        assert not (mapped[name].flags.writeable and name in STACKS)


def test_stacks_that_were_written_at_once_can_be_mapped(tmp_path: Path) -> None:
    write_stacks(tmp_path / "a", "test pictures", STACKS, {"size": 4})
    with (tmp_path / "a").open("rb") as file:
        mapped, _ = map_stacks(file, "test pictures", {"images"})
        with pytest.raises(RunError, match="'test pictures' of format 1"):
            map_stacks(file, "other pictures", {"images"})
        with pytest.raises(RunError, match="no masks"):
            map_stacks(file, "test pictures", {"masks"})
    for name, stack in STACKS.items():
        np.testing.assert_array_equal(mapped[name], stack)


@pytest.mark.parametrize("cut", [0, 5, 40, -3])
def test_a_torn_file_is_not_mapped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "a"
    write_stacks(path, "test pictures", STACKS)
    path.write_bytes(path.read_bytes()[:cut])
    with path.open("rb") as file, pytest.raises(RunError, match="recreates it"):
        map_stacks(file, "test pictures", {"images"})
