"""How torch's threads wait and how many they are: quotas of both versions of control groups, and what a fresh process is given."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from faceswap_lab import threads
from faceswap_lab.models import device
from tests import packs

ROOT = Path(__file__).parents[1]
linux = pytest.mark.skipif(sys.platform != "linux", reason="control groups and GNU's OpenMP are Linux's")
NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def machine(root: Path, groups: str, **files: str) -> Path:
    """A root with the control groups of a process, and files below sys/fs/cgroup."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(groups)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "200000 100000"}, 2.0),
        ("0::/\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/jobs/one\n", {"jobs/one/cpu.max": "max 100000", "jobs/cpu.max": "300000 100000"}, 3.0),
        ("0::/jobs/one\n", {"jobs/one/cpu.max": "100000 50000", "jobs/cpu.max": "300000 100000"}, 2.0),
        ("0::/not/visible/here\n", {"cpu.max": "400000 100000"}, 4.0),
        ("2:cpu,cpuacct:/\n", {"cpu,cpuacct/cpu.cfs_quota_us": "50000", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, 0.5),
        (
            "9:name=systemd:/\n1:cpu:/box\n0::/\n",
            {"cpu/box/cpu.cfs_quota_us": "700000", "cpu/box/cpu.cfs_period_us": "100000"},
            7.0,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("3:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "50000", "cpuset/cpu.cfs_period_us": "100000"}, None),
        ("", {}, None),
    ],
)
def test_the_tightest_quota_around_a_process_counts(
    tmp_path: Path, groups: str, files: dict[str, str], expected: float | None
) -> None:
    assert threads.quota(machine(tmp_path, groups, **files)) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert threads.quota(tmp_path) is None


@pytest.mark.parametrize(("quota", "limit", "cores"), [(None, 0, 8), (2.0, 2, 2.0), (1.5, 1, 1.5), (0.5, 1, 0.5), (16.0, 0, 8)])
def test_a_quota_limits_threads_only_below_the_cores_that_are_allowed(
    monkeypatch: pytest.MonkeyPatch, quota: float | None, limit: int, cores: float
) -> None:
    monkeypatch.setattr(threads, "allowed", lambda: 8)
    monkeypatch.setattr(threads, "quota", lambda: quota)
    assert threads.limit() == limit
    assert threads.cores() == cores


def test_onnxruntimes_threads_follow_the_quota(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = packs.swapper(tmp_path / "small.onnx")
    for limit in (0, 1):
        monkeypatch.setattr(threads, "limit", lambda limit=limit: limit)
        session = device.onnx_session(path, torch.device("cpu"))
        assert session.get_session_options().intra_op_num_threads == limit


# --- in a fresh process -----------------------------------------------------------------------------------------------------

TOLD = f"""
print(json.dumps({{name: os.environ[name] for name in {NAMES!r} if name in os.environ}} | {{"late": threads.torch_was_first()}}))
"""


def fresh(imports: str, told: str = TOLD, **settings: str) -> dict[str, object]:
    """What a fresh interpreter says after `imports`, in an environment without the lab's own settings."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    code = f"import json, os, sys\n{imports}\nfrom faceswap_lab import threads\n{told}"
    done = subprocess.run([sys.executable, "-c", code], env=kept | settings, capture_output=True, text=True, check=True, cwd=ROOT)
    found: dict[str, object] = json.loads(done.stdout)
    return found


@linux
def test_importing_the_package_sets_how_threads_wait() -> None:
    found = fresh("import faceswap_lab")
    assert (found["GOMP_SPINCOUNT"], found["late"]) == (str(threads.SPINS), False)


@linux
@pytest.mark.parametrize("own", [{"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_what_the_user_set_stays(own: dict[str, str]) -> None:
    found = fresh("import faceswap_lab", **own)
    assert {name: found.get(name) for name in NAMES[:2]} == {name: own.get(name) for name in NAMES[:2]}


LIMITED = "from faceswap_lab import threads\nthreads.allowed, threads.quota = (lambda: 64), (lambda: {quota})\nthreads.settle()"


def test_under_a_quota_threads_are_counted_by_it() -> None:
    found = fresh(LIMITED.format(quota=2.0))
    assert (found["OMP_NUM_THREADS"], found["OPENCV_FOR_THREADS_NUM"]) == ("2", "2")
    assert fresh(LIMITED.format(quota=2.0), OMP_NUM_THREADS="5")["OMP_NUM_THREADS"] == "5"
    assert "OMP_NUM_THREADS" not in fresh(LIMITED.format(quota=None))


@pytest.mark.slow
def test_torch_and_opencv_obey() -> None:
    told = "import cv2, torch\nprint(json.dumps({'torch': torch.get_num_threads(), 'cv2': cv2.getNumThreads()}))"
    assert fresh(LIMITED.format(quota=1.0), told) == {"torch": 1, "cv2": 1}


@linux
@pytest.mark.slow
def test_torchs_openmp_takes_the_setting() -> None:
    """Its own display of what it was told, which it writes when it is loaded."""
    kept = {name: value for name, value in os.environ.items() if name not in NAMES}
    command = [sys.executable, "-c", "import faceswap_lab, torch"]
    done = subprocess.run(command, env=kept | {"OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True, text=True, check=True, cwd=ROOT)
    assert f"GOMP_SPINCOUNT = '{threads.SPINS}'" in done.stderr


@linux
@pytest.mark.slow
def test_a_torch_that_came_first_is_noticed_unless_the_environment_had_told_it() -> None:
    assert fresh("import torch, faceswap_lab")["late"] is True
    assert fresh("import torch, faceswap_lab", GOMP_SPINCOUNT=str(threads.SPINS))["late"] is False
    assert fresh("import torch, faceswap_lab")["GOMP_SPINCOUNT"] == str(threads.SPINS), "for child processes"


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_lab_sets_it_for_every_kernel() -> None:
    done = subprocess.run(["make", "--dry-run", "lab"], capture_output=True, text=True, check=True, cwd=ROOT)
    (line,) = [line for line in done.stdout.splitlines() if "jupyterlab.labapp" in line]
    assert line.index("import faceswap_lab") < line.index("jupyterlab")
    assert " notebooks" in line


# --- workers ----------------------------------------------------------------------------------------------------------------


def test_what_dask_sets_for_its_workers_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "limit", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    with threads.one_for_each_worker():
        assert "OMP_NUM_THREADS" not in os.environ, "the quota's number is not each worker's"
        os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert "MKL_NUM_THREADS" not in os.environ


def test_the_users_number_is_also_his_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "limit", lambda: 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    with threads.one_for_each_worker():
        assert os.environ["OMP_NUM_THREADS"] == "3"


CLUSTER = """
if __name__ == "__main__":
    from faceswap_lab.compute.cluster import cluster
    import dask.distributed
    before = dict(os.environ)
    with cluster("local", workers=2) as two:
        told = two.client.run(lambda: {name: __import__("os").environ.get(name) for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")})
    left = sorted({name for name, _ in dict(os.environ).items() ^ before.items()})
    print(json.dumps({"workers": list(told.values()), "left": left}))
"""


@linux
@pytest.mark.slow
def test_workers_of_a_local_cluster_have_one_thread_each_and_leave_nothing_behind() -> None:
    found = fresh(LIMITED.format(quota=2.0), CLUSTER)
    assert found["workers"] == [{"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": str(threads.SPINS)}] * 2
    assert found["left"] == ["__DASK_PARENT_PID"], "a mark of dask's own, which sets nothing"


def test_a_process_among_several_has_the_threads_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(threads.SHARE, "1")
    assert threads.limit() == 1
    for nothing in ("", "0", "many"):
        monkeypatch.setenv(threads.SHARE, nothing)
        assert threads.limit() == (0 if threads.quota() is None else threads.limit())
