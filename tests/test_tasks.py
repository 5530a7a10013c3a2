"""Tasks over workers: the same outcomes as in this process, tried again for a machine's failures only, stopped together."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab.compute.cluster import Cluster, cluster
from faceswap_lab.compute.tasks import Outcome, _Spread, run_tasks
from faceswap_lab.errors import ComputeError, MediaError

pytestmark = pytest.mark.slow
Stop = Callable[[], bool]


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with cluster("local", workers=2) as made:
        yield made


def never() -> bool:
    return False


def square(number: int, stop: Stop) -> int:
    return number * number


def spoil(number: int, stop: Stop) -> int:
    if number == 3:
        raise MediaError(expected="a clip", got="a stone", remedy="give a clip")
    return number


def fail_at_first(folder: Path, times: int, stop: Stop) -> int:
    (folder / f"tried-{time.time_ns()}").touch()
    tried = len(list(folder.glob("tried-*")))
    if tried <= times:
        raise OSError("the disk is away")
    return tried


def until_told(folder: Path, number: int, stop: Stop) -> int:
    (folder / f"begun-{number}").write_text(str(os.getpid()))
    while not stop():
        time.sleep(0.01)
    (folder / f"saved-{number}").touch()
    raise KeyboardInterrupt


def die_once(folder: Path, number: int, stop: Stop) -> int:
    try:
        (folder / f"died-{number}").touch(exist_ok=False)
    except FileExistsError:
        return number
    os.kill(os.getpid(), signal.SIGKILL)
    return -1


def die(stop: Stop) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def values(made: list[Outcome[int]]) -> dict[int, int]:
    return {each.number: each.result() for each in made}


@pytest.mark.parametrize("spread", [False, True])
def test_the_outcomes_are_the_same_here_and_there(two: Cluster, spread: bool) -> None:
    tasks = [partial(square, number) for number in range(20)]
    found = list(run_tasks(tasks, two if spread else None, never))
    assert values(found) == {number: number * number for number in range(20)}
    assert len({each.worker for each in found}) == (2 if spread else 1)


@pytest.mark.parametrize("spread", [False, True])
def test_a_task_that_fails_fails_alone(two: Cluster, spread: bool) -> None:
    found = list(run_tasks([partial(spoil, number) for number in range(6)], two if spread else None, never))
    failed = [each for each in found if each.error is not None]
    assert [each.number for each in failed] == [3]
    with pytest.raises(MediaError, match="a stone"):
        failed[0].result()


def test_tasks_are_taken_when_there_is_room_for_them(two: Cluster) -> None:
    taken: list[int] = []

    def tasks() -> Iterator[Callable[[Stop], int]]:
        for number in range(50):
            taken.append(number)
            yield partial(square, number)

    with closing(run_tasks(tasks(), two, never)) as made:
        next(made)
        assert len(taken) <= 5


def test_failures_of_the_machine_are_tried_again_a_few_times(two: Cluster, tmp_path: Path) -> None:
    [once] = run_tasks([partial(fail_at_first, tmp_path, 2)], two, never)
    assert once.result() == 3
    for path in tmp_path.iterdir():
        path.unlink()
    [given_up] = run_tasks([partial(fail_at_first, tmp_path, 9)], two, never)
    assert isinstance(given_up.error, OSError)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_stop_reaches_what_runs_and_nothing_else_begins(two: Cluster, tmp_path: Path) -> None:
    def stop() -> bool:
        return len(list(tmp_path.glob("begun-*"))) == 2

    with pytest.raises(KeyboardInterrupt):
        list(run_tasks([partial(until_told, tmp_path, number) for number in range(6)], two, stop))
    assert {path.name[-1] for path in tmp_path.glob("begun-*")} == {path.name[-1] for path in tmp_path.glob("saved-*")}
    assert len(list(tmp_path.glob("begun-*"))) == 2
    [after] = run_tasks([partial(square, 3)], two, never)
    assert after.result() == 9


def test_closing_stops_what_runs(two: Cluster, tmp_path: Path) -> None:
    tasks = [partial(square, 1), partial(until_told, tmp_path, 1)]
    with closing(run_tasks(tasks, two, never)) as made:
        assert next(made).result() == 1
        while not (tmp_path / "begun-1").exists():
            time.sleep(0.01)
    assert (tmp_path / "saved-1").exists()


def test_a_dead_workers_task_is_given_to_another(two: Cluster, tmp_path: Path) -> None:
    found = list(run_tasks([partial(die_once, tmp_path, number) for number in range(2)], two, never))
    assert values(found) == {0: 0, 1: 1}
    assert len(list(tmp_path.glob("died-*"))) == 2


def test_a_task_that_kills_every_worker_is_given_up(two: Cluster) -> None:
    [found] = run_tasks([die], two, never)
    assert isinstance(found.error, ComputeError)
    assert "died each time" in found.error.got


def test_a_task_that_the_client_lost_sight_of_is_given_out_again(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when Dask's client has lost its scheduler and found it again: it cancels all that it had asked for."""
    real, lost = _Spread._give, []

    def give(self: _Spread, given: Any) -> None:
        real(self, given)
        if not lost:
            lost.append(given.number)
            given.future.cancel()

    monkeypatch.setattr(_Spread, "_give", give)
    found = list(run_tasks([partial(square, number) for number in range(4)], two, never))
    assert lost == [0]
    assert values(found) == {number: number * number for number in range(4)}
