"""Two machines whose link is cut: for 20 seconds, which costs nothing but those, and for good, which costs a worker.

The link is cut for 20 seconds because that is what is promised; nothing else here is measured in seconds.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.machines import HERE, THERE, Machines, two_machines, why_not
from tests.test_gang import alive

pytestmark = [pytest.mark.slow, pytest.mark.netns]

CUT_S = 20.0


@pytest.fixture(autouse=True, scope="module")
def namespaces() -> None:
    if reason := why_not():
        pytest.skip(reason)


def told(folder: Path) -> list[dict[str, Any]]:
    path = folder / "told.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def until(found: Callable[[], bool], machines: Machines) -> None:
    """Wait for it, as long as the client runs."""
    client = machines.running[-1]
    while not found():
        assert client.poll() is None, machines.log()
        time.sleep(0.05)


def end(machines: Machines) -> None:
    """Wait for the client, and see it succeed."""
    assert machines.running[-1].wait() == 0, machines.log()


def steps(folder: Path) -> list[int]:
    return [each["step"] for each in told(folder) if each["kind"] == "step"]


def kinds(folder: Path) -> Counter[str]:
    return Counter(each["kind"] for each in told(folder))


def ranks_of(folder: Path) -> list[int]:
    return [each["pid"] for each in told(folder) if each["kind"] == "began"]


def at_step_7(machines: Machines, act: Callable[[], None], seconds: float = 0.6) -> None:
    """Start a gang, and do something while its ranks are held at step 7."""
    hold = machines.folder / "hold"
    hold.touch()
    machines.client("gang", seconds, "2,1")
    until(lambda: all((machines.folder / f"holding-{rank}").exists() for rank in (0, 1)), machines)
    act()
    hold.unlink()


@pytest.mark.parametrize("leader", [HERE, THERE])
def test_a_gang_outlasts_a_cut_of_20_seconds(tmp_path: Path, leader: str) -> None:
    with two_machines(tmp_path, leader=leader) as machines:
        at_step_7(machines, machines.cut)
        time.sleep(CUT_S)
        heard = steps(tmp_path)
        machines.mend()
        end(machines)
        assert leader == HERE or heard[-1] == 7, "the link was cut"
        assert steps(tmp_path) == list(range(1, 41)), "each is heard once, in order"
        assert kinds(tmp_path)["rank_died"] == 0
        assert not any(map(alive, ranks_of(tmp_path)))


@pytest.mark.parametrize("leader", [HERE, THERE])
def test_a_gang_goes_on_with_fewer_when_a_machine_is_gone_for_good(tmp_path: Path, leader: str) -> None:
    with two_machines(tmp_path, leader=leader) as machines:
        at_step_7(machines, machines.cut, seconds=1.5)  # so that the rank here is not done before the cut is noticed
        end(machines)
        assert set(steps(tmp_path)) == set(range(1, 41))
        began = [(each["size"], each["step"]) for each in told(tmp_path) if each["kind"] == "began"]
        assert began[:2] == [(2, 0), (2, 0)]
        assert began[2][0] == 1
        assert leader == HERE or began[2][1] == 5, "what the lost rank made unheard is made again"
        assert kinds(tmp_path)["rank_died"] == 1
        lost = ranks_of(tmp_path)
        while any(map(alive, lost)) or machines.processes(THERE):
            time.sleep(0.2)


@pytest.mark.weights
def test_a_training_outlasts_a_cut_of_20_seconds_with_the_same_bits(tmp_path: Path) -> None:
    """The ranks wait for each other's gradients until the link is there again."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with trained_on_two(whole) as machines:
        end(machines)
    with trained_on_two(broken) as machines:
        until(lambda: len(steps(broken)) >= 3, machines)
        machines.cut()
        time.sleep(CUT_S)
        before = steps(broken)[-1]
        machines.mend()
        end(machines)
    assert before < 12, "they did not go on without each other"
    assert steps(whole) == steps(broken) == list(range(1, 13))
    assert kinds(broken)["rank_died"] == 0
    bits = [told(folder)[-1]["artifacts"]["pair.safetensors"] for folder in (whole, broken)]
    assert bits[0] == bits[1]


@pytest.mark.weights
def test_a_training_goes_on_with_one_rank_when_a_machine_is_gone_for_good(tmp_path: Path) -> None:
    """The rank that is left waits for gradients that never come, until the scheduler misses the other's worker."""
    with trained_on_two(tmp_path) as machines:
        until(lambda: kinds(tmp_path)["checkpoint"] >= 1, machines)
        machines.cut()
        end(machines)
        assert [each["ranks"] for each in told(tmp_path) if each["kind"] == "training"] == [2, 1]
        assert set(steps(tmp_path)) == set(range(1, 13))
        assert kinds(tmp_path)["rank_died"] == 1
        while machines.processes(THERE):
            time.sleep(0.2)


@contextmanager
def trained_on_two(folder: Path) -> Iterator[Machines]:
    """Two machines, and a client that trains on both."""
    (folder / "data_manifests").mkdir(parents=True, exist_ok=True)
    with two_machines(folder) as machines:
        machines.client("training", 12, 2)
        yield machines


def test_a_batch_outlasts_a_cut_of_20_seconds(tmp_path: Path) -> None:
    with two_machines(tmp_path) as machines:
        machines.client("tasks", 70)
        until(lambda: len(told(tmp_path)) >= 10, machines)
        machines.cut()
        time.sleep(CUT_S)
        machines.mend()
        end(machines)
        assert Counter(each["value"] for each in told(tmp_path)) == Counter(range(70)), "each comes once"
        assert len(list(tmp_path.glob("made-*"))) == 70, "each is made once"
        assert {each["worker"].partition("//")[2].partition(":")[0] for each in told(tmp_path)[-20:]} == {HERE, THERE}


def test_a_batch_is_finished_by_the_others_when_a_machine_is_gone_for_good(tmp_path: Path) -> None:
    with two_machines(tmp_path) as machines:
        machines.client("tasks", 70)
        until(lambda: len(told(tmp_path)) >= 10, machines)
        machines.cut()
        end(machines)
        assert Counter(each["value"] for each in told(tmp_path)) == Counter(range(70)), "each comes once"
        assert len(list(tmp_path.glob("made-*"))) <= 74, "only what the lost machine had in hand is made twice"
        while machines.processes(THERE):
            time.sleep(0.2)
