"""How many cores this process may use, and how torch's threads wait for each other: what OpenMP is told before torch is loaded.

torch's Linux wheel carries GNU's OpenMP, whose threads spin while they wait, 300,000 turns by default: milliseconds in which they
keep a core from whoever could work on it, often from the very thread that they wait for. So a process beside others gets many times
slower, and so do the others. `SPINS` turns cover the wait for a thread that is running; whoever waits longer sleeps. Not spinning
at all costs time where nothing else runs. `benchmarks/shared_machine.py` compares settings.

OpenMP counts the cores that the scheduler allows and knows no quota: in a container with two of 64 cores it starts 64 threads.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SPINS = 5000
"""Turns that a thread of torch's spins before it sleeps."""

SHARE = "FACESWAP_LAB_THREADS"
"""Environment variable with the number of threads of one process among several: each worker of a local cluster has one."""

_WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
_COUNTS = ("OMP_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")
_DASKS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MALLOC_TRIM_THRESHOLD_", "PYTHONHASHSEED")
"""What dask's nanny puts into its own process's environment when it starts a worker, and leaves there."""

_torch_was_first = False


def settle() -> None:
    """Puts the settings into this process's environment, for torch and for child processes. What the user has set stays.

    Called by the package's `__init__`. If torch is loaded already, only child processes follow them: see `torch_was_first`.
    """
    global _torch_was_first  # what happened at import, for the doctor
    wanted: dict[str, str] = {}
    if sys.platform == "linux" and not any(name in os.environ for name in _WAITING):
        wanted["GOMP_SPINCOUNT"] = str(SPINS)
    if count := limit():
        wanted |= {name: str(count) for name in _COUNTS if name not in os.environ}
    _torch_was_first = bool(wanted) and "torch" in sys.modules
    os.environ.update(wanted)


def torch_was_first() -> bool:
    """Whether torch was loaded before the package, without these settings: its threads then spin, or are too many, to the end."""
    return _torch_was_first


@contextmanager
def one_for_each_worker() -> Iterator[None]:
    """While it is open dask's own rule holds for the workers it starts, one thread each, unless the user has set another number.

    The nanny prefers the environment's number, which the quota may have set, to its own rule, and leaves in this process's
    environment what it set for the workers: both are undone.
    """
    before = {name: os.environ.get(name) for name in _DASKS}
    if os.environ.get("OMP_NUM_THREADS") == str(limit()):
        del os.environ["OMP_NUM_THREADS"]
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- counting ---------------------------------------------------------------------------------------------------------------


def limit() -> int:
    """The most threads that work at once: as many as `SHARE` says, or as the container's quota lets; 0 where neither is below the
    cores that are allowed."""
    if (share := os.environ.get(SHARE, "")).isdecimal() and int(share):
        return int(share)
    held = quota()
    return max(1, int(held)) if held is not None and held < allowed() else 0


def cores() -> float:
    """Cores that this process may use: those that it may be scheduled on, or the container's quota, which can be a fraction."""
    held = quota()
    return allowed() if held is None else min(allowed(), held)


def allowed() -> int:
    """Cores that this process may be scheduled on; outside Linux all of the machine's."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def quota(root: Path = Path("/")) -> float | None:
    """Cores that the control groups around this process (versions 1 and 2) leave it, the tightest counts; None without a quota.

    `root` is the folder that holds proc and sys.
    """
    found = [held for folder in _groups(root) if (held := _quota_of(folder)) is not None]
    return min(found, default=None)


def _groups(root: Path) -> Iterator[Path]:
    """The folders of this process's groups and of those around them; in a container only the mount itself may be visible."""
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            bases = [mount, mount / "unified"]
        elif "cpu" in controllers.split(","):
            bases = [mount / controllers, mount / "cpu"]
        else:
            continue
        inside = Path(path.lstrip("/"))
        for base in bases:
            yield from (base / part for part in (inside, *inside.parents))


def _quota_of(folder: Path) -> float | None:
    """The quota that one group sets, in cores."""
    limit, _, period = _text(folder / "cpu.max").partition(" ")
    if not limit:
        limit, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
    # "max" and -1 stand for none.
    return int(limit) / int(period) if limit.isdecimal() and period.isdecimal() and int(period) else None


def _text(path: Path) -> str:
    """What a file says; empty where there is none that may be read."""
    return path.read_text().strip() if os.access(path, os.R_OK) else ""
