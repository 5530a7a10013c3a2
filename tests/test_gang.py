"""Gangs: all ranks or none, again from the newest checkpoint after any death, and nothing left running."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab.compute.cluster import Cluster, Deadlines, cluster
from faceswap_lab.compute.gang import Gang, Job, Tolerance
from faceswap_lab.compute.supervise import RankProcess
from faceswap_lab.errors import ComputeError, RunError

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
FAST = Deadlines(workers_s=60, answer_s=60, stop_s=30)


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with cluster("local", workers=2, deadlines=FAST) as made:
        yield made


def payload(folder: Path, steps: int = 20, **more: Any) -> Callable[[int], dict[str, Any]]:
    """The payload of each attempt: from the newest checkpoint in the folder."""

    def of(_: int) -> dict[str, Any]:
        kept = folder / "checkpoint"
        begin = int(kept.read_text()) if kept.exists() else 0
        return {"folder": str(folder), "steps": steps, "hold_at": 7, "begin": begin, **more}

    return of


def gang(
    on: Cluster,
    folder: Path,
    told: list[Mapping[str, Any]],
    *,
    entry: str = "count",
    sizes: tuple[int, ...] = (2,),
    tolerance: Tolerance | None = None,
    **more: Any,
) -> Gang:
    job = Job(entry=f"tests.gang_entries:{entry}", payload=payload(folder, **more), logs=folder / "logs")
    return Gang(on, job, sizes=sizes, hear=told.append, tolerance=tolerance or Tolerance())


def never() -> bool:
    return False


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


def died(told: list[Mapping[str, Any]]) -> Callable[[], bool]:
    return lambda: any(each["kind"] == "rank_died" for each in told)


def pids(told: list[Mapping[str, Any]]) -> list[int]:
    return [each["pid"] for each in told if each["kind"] == "began"]


@contextmanager
def at_hold(folder: Path, act: Callable[[], None], until: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """While it is open ranks are held at step 7; there `act` is done, and they are let go on when `until()` holds."""
    (folder / "hold").touch()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            while not all((folder / f"holding-{rank}").exists() for rank in (0, 1)):
                time.sleep(0.01)
            act()
            while not until():
                time.sleep(0.01)
        except BaseException as error:  # shown by the test
            failed.append(error)
        finally:
            (folder / "hold").unlink()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert not failed


def test_all_messages_are_heard_in_order_and_all_ranks_end(two: Cluster, tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    gang(two, tmp_path, told).run(never)
    assert [each["step"] for each in told if each["kind"] == "step"] == list(range(1, 21))
    assert {each["size"] for each in told if each["kind"] == "began"} == {2}
    assert len({*pids(told)}) == 2
    assert not any(map(alive, pids(told)))
    assert {path.name for path in (tmp_path / "logs").iterdir()} == {"rank-0.log", "rank-1.log"}


def test_running_ranks_are_told_with_their_processes(two: Cluster, tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    seen: list[list[RankProcess]] = []
    with at_hold(tmp_path, lambda: seen.append(two.ranks())):
        gang(two, tmp_path, told).run(never)
    assert [(each.rank, each.pid) for each in seen[0]] == [(rank, int((tmp_path / f"pid-{rank}").read_text())) for rank in (0, 1)]
    assert {each.worker for each in seen[0]} == set(two.addresses())
    assert two.ranks() == []


@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_rank_costs_at_most_the_steps_since_the_checkpoint(two: Cluster, tmp_path: Path, rank: int) -> None:
    told: list[Mapping[str, Any]] = []
    with at_hold(tmp_path, lambda: os.kill(int((tmp_path / f"pid-{rank}").read_text()), signal.SIGKILL), died(told)):
        gang(two, tmp_path, told).run(never)
    steps = [each["step"] for each in told if each["kind"] == "step"]
    assert [each["rank"] for each in told if each["kind"] == "rank_died"] == [rank], "not the one that lost it"
    assert steps[-1] == 20
    assert set(steps) == set(range(1, 21))
    assert len(steps) - 20 <= 2, "only steps 6 and 7, after the checkpoint of step 5, are made twice"
    assert len(pids(told)) == 4
    assert not any(map(alive, pids(told)))


def test_a_killed_worker_is_replaced_and_the_gang_goes_on(two: Cluster, tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    before = two.workers()
    with at_hold(tmp_path, lambda: os.kill(before[1].pid, signal.SIGKILL), died(told)):
        gang(two, tmp_path, told).run(never)
    assert [each["step"] for each in told if each["kind"] == "step"][-1] == 20
    assert {each["kind"] for each in told} >= {"rank_died", "checkpoint"}
    assert not any(map(alive, pids(told))), "the rank of a dead worker ends by its lifeline"
    assert {each.pid for each in two.workers()} != {each.pid for each in before}


def test_a_stop_reaches_all_ranks_and_is_raised_when_they_have_saved(two: Cluster, tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    asked = threading.Event()
    with at_hold(tmp_path, asked.set), pytest.raises(KeyboardInterrupt):
        gang(two, tmp_path, told, steps=10**6).run(asked.is_set)
    steps = [each["step"] for each in told if each["kind"] == "step"]
    assert int((tmp_path / "checkpoint").read_text()) == steps[-1]
    assert {(tmp_path / f"ended-{rank}").exists() for rank in (0, 1)} == {True}
    assert not any(map(alive, pids(told)))


def test_an_error_that_would_come_again_ends_the_gang_at_once(two: Cluster, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="lower the learning rate"):
        gang(two, tmp_path, [], entry="refuse").run(never)
    assert len(list(tmp_path.glob("tried-1-*"))) == 1


def test_deaths_without_progress_are_given_up_with_the_last_words(two: Cluster, tmp_path: Path) -> None:
    with pytest.raises(ComputeError, match=r"3 deaths in a row.*ZeroDivisionError: of rank"):
        gang(two, tmp_path, [], entry="fall", sizes=(1,)).run(never)
    assert len(list(tmp_path.glob("tried-0-*"))) == 3
    assert "a library says this" in (tmp_path / "logs" / "rank-0.log").read_text()


def test_two_gangs_have_workers_apart(two: Cluster, tmp_path: Path) -> None:
    """Each waits for the other to have begun: they would never end if one had to wait for the other's workers."""
    told: tuple[list[Mapping[str, Any]], list[Mapping[str, Any]]] = ([], [])
    folders = [tmp_path / name for name in ("one", "other")]
    for folder in folders:
        folder.mkdir()
        (folder / "hold").touch()
    threads = [
        threading.Thread(target=gang(two, folder, words, sizes=(1,)).run, args=(never,))
        for folder, words in zip(folders, told, strict=True)
    ]
    for thread in threads:
        thread.start()
    while not all((folder / "holding-0").exists() for folder in folders):
        time.sleep(0.01)
    for folder in folders:
        (folder / "hold").unlink()
    for thread in threads:
        thread.join()
    assert [[each["step"] for each in words if each["kind"] == "step"][-1] for words in told] == [20, 20]


def test_a_gang_for_which_no_worker_is_free_waits_and_gives_up_at_the_stated_time(two: Cluster, tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    first = threading.Thread(target=gang(two, tmp_path, []).run, args=(never,))
    first.start()
    while not (tmp_path / "holding-0").exists():
        time.sleep(0.01)
    hurried = Cluster(two.client, kind="local", stack=two._stack, deadlines=Deadlines(workers_s=1))
    with pytest.raises(ComputeError, match=r"2 free workers within 1 s; got 2, some of them in use by another training"):
        gang(hurried, tmp_path, []).run(never)
    with pytest.raises(ComputeError, match="3 free workers within 1 s; got 2;"):
        gang(hurried, tmp_path, [], sizes=(3,)).run(never)
    (tmp_path / "hold").unlink()
    first.join()


# --- processes of others: their scheduler, their workers, and a client that dies ---------------------------------------------


@contextmanager
def processes(folder: Path, num_workers: int) -> Iterator[tuple[str, list["subprocess.Popen[bytes]"]]]:
    """A scheduler and workers as `dask scheduler` and `dask worker` start them: the address, and the workers' nannies."""
    dask = Path(sys.executable).with_name("dask")
    told = folder / "scheduler.json"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": folder}
    # No dashboard: its port is taken where tests run side by side.
    command = [dask, "scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(told)]
    running = [subprocess.Popen(command, start_new_session=True, **quiet)]
    try:
        while not (told.exists() and told.stat().st_size):  # it is made, then written
            time.sleep(0.05)
        address = json.loads(told.read_text())["address"]
        for number in range(num_workers):
            command = [dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--name", str(number)]
            command += ["--local-directory", str(folder / f"worker-{number}")]
            running.append(subprocess.Popen(command, start_new_session=True, **quiet))
        yield address, running[1:]
    finally:
        for each in running:
            each.terminate()
        for each in running:
            each.wait()


CLIENT = """
import sys
from pathlib import Path
from faceswap_lab.compute.cluster import cluster
from tests.test_gang import gang, never
folder = Path(sys.argv[2])
with cluster(sys.argv[1], workers=2) as made:
    gang(made, folder, [], steps=40).run(never)
(folder / "client-ended").touch()
"""


def test_a_client_that_is_killed_leaves_no_rank_and_another_goes_on(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with processes(tmp_path, 2) as (address, _):
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        client = subprocess.Popen([sys.executable, "-c", CLIENT, address, str(tmp_path)], env=environment)
        while not all((tmp_path / f"holding-{rank}").exists() for rank in (0, 1)) and client.poll() is None:
            time.sleep(0.05)
        ranks = [int((tmp_path / f"pid-{rank}").read_text()) for rank in (0, 1)]
        client.kill()
        client.wait()
        while any(map(alive, ranks)):
            time.sleep(0.05)
        assert int((tmp_path / "checkpoint").read_text()) == 7, "they saved before they ended"
        (tmp_path / "hold").unlink()
        subprocess.run([sys.executable, "-c", CLIENT, address, str(tmp_path)], env=environment, check=True)
    assert (tmp_path / "checkpoint").read_text() == "40"
    assert (tmp_path / "client-ended").exists()


def test_a_killed_nanny_takes_its_worker_and_rank_along_and_the_gang_goes_on_with_fewer(tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    with (
        processes(tmp_path, 2) as (address, nannies),
        cluster(address, workers=2, deadlines=FAST) as made,
        at_hold(tmp_path, nannies[0].kill, died(told)),
    ):
        gang(made, tmp_path, told, sizes=(2, 1), tolerance=Tolerance(wait_s=2)).run(never)
    assert [each["size"] for each in told if each["kind"] == "began"] == [2, 2, 1]
    assert [each["step"] for each in told if each["kind"] == "step"][-1] == 20
    assert not any(map(alive, pids(told)))


def test_a_scheduler_that_is_gone_is_given_up_at_the_stated_time_and_takes_all_ranks_along(tmp_path: Path) -> None:
    told: list[Mapping[str, Any]] = []
    hurried = Deadlines(connect_s=5, answer_s=5)
    with processes(tmp_path, 2) as (address, _), cluster(address, workers=2) as made:
        made.deadlines = hurried
        scheduler = made.client.run_on_scheduler(os.getpid)
        killed = at_hold(tmp_path, lambda: os.kill(scheduler, signal.SIGKILL))
        with killed, pytest.raises(ComputeError, match="an answer of the scheduler within 5 s"):
            gang(made, tmp_path, told, steps=10**7).run(never)
        while any(map(alive, pids(told))):
            time.sleep(0.05)
    assert (tmp_path / "checkpoint").exists()


def test_a_rank_whose_lifeline_ends_ends_too(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    job = {"entry": "tests.gang_entries:count", "payload": payload(tmp_path)(1)}
    own = {"RANK": "0", "WORLD_SIZE": "1", "PYTHONPATH": str(ROOT)}
    rank = subprocess.Popen(
        [sys.executable, "-m", "faceswap_lab.compute.rank"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | own,
    )
    assert rank.stdin is not None
    rank.stdin.write(json.dumps(job).encode() + b"\n")
    rank.stdin.flush()
    while not (tmp_path / "holding-0").exists():
        time.sleep(0.01)
    rank.stdin.close()
    assert rank.stdout is not None
    said = rank.stdout.read()  # to the end
    rank.stdout.close()
    assert rank.wait() == 0
    assert json.loads(said.splitlines()[-1])["kind"] == "checkpoint"
    assert (tmp_path / "checkpoint").read_text() == "7"
