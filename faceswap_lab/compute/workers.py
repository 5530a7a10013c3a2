"""The workers of a cluster: what they are, whether they run the same versions as this process, and what is told to all of them."""

import os
import platform
import socket
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ComputeError
from faceswap_lab.threads import cores

COMPARED = (
    "faceswap-lab",
    "dask",
    "distributed",
    "torch",
    "numpy",
    "opencv-python",
    "av",
    "onnxruntime",
    "onnxruntime-gpu",
    "anny",
)
"""Packages whose versions client and workers must share: what moves between them, and what results depend on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerFacts:
    """What a worker process says of itself. `device` is what "auto" would pick there; `cores` are those of its host
    that it may use; `code` are the versions of `COMPARED`."""

    address: str
    host: str
    pid: int
    device: str
    cores: float
    num_threads: int
    memory: int
    code: Mapping[str, str]


def versions() -> dict[str, str]:
    """Python's version and those of the packages in `COMPARED`, "none" where one is not installed."""
    found = {"python": platform.python_version()}
    for name in COMPARED:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "none"
    return found


def facts() -> WorkerFacts:
    """The facts of the worker that runs this task. Loads torch, which later tasks need anyway."""
    import torch
    from distributed import get_worker

    worker = get_worker()
    return WorkerFacts(
        address=worker.address,
        host=socket.gethostname(),
        pid=os.getpid(),
        device=_device(torch),
        cores=cores(),
        num_threads=worker.state.nthreads,
        memory=int(worker.memory_manager.memory_limit or 0),
        code=versions(),
    )


def _device(torch: Any) -> str:
    if torch.cuda.is_available():
        return f"cuda:0 ({torch.cuda.get_device_name(0)})"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def check_versions(found: Iterable[WorkerFacts]) -> None:
    """Raise ComputeError, naming each difference, unless all workers run the versions of this process."""
    own = versions()
    wrong = [
        f"{name} {each.code.get(name, 'none')} on {each.address}, {mine} here"
        for each in found
        for name, mine in own.items()
        if each.code.get(name, "none") != mine and not _is_other_runtime(name, mine, each.code.get(name, "none"))
    ]
    if wrong:
        raise ComputeError(
            expected="workers with the versions of this process",
            got="; ".join(wrong[:6]) + (f"; and {len(wrong) - 6} more" if len(wrong) > 6 else ""),
            remedy="install the same faceswap_lab and environments/constraints.txt on both sides, and restart the workers",
        )


def _is_other_runtime(name: str, mine: str, theirs: str) -> bool:
    """Whether one side has onnxruntime and the other its build for GPUs, whose releases differ: a client without a GPU may use
    workers that have one."""
    return name.startswith("onnxruntime") and "none" in (mine, theirs)


def check_device(found: Iterable[WorkerFacts], device: str) -> None:
    """Raise ComputeError unless each worker has the device of this name; "auto" and "cpu" are everywhere."""
    kind = device.partition(":")[0]
    lacking = [f"{each.address} has {each.device}" for each in found if kind not in ("auto", "cpu", each.device.partition(":")[0])]
    if lacking:
        raise ComputeError(
            expected=f"workers with the device {device}",
            got="; ".join(lacking[:4]),
            remedy='start workers where that device is (`lab.cluster("cuda")`, `dask cuda worker`), or ask for device="auto"',
        )


def sees(path: str, token: str) -> bool:
    """Whether this worker's file at `path` says `token`, that is, whether it sees the client's folder under the same name."""
    try:
        return Path(path).read_text(encoding="ascii") == token
    except (OSError, UnicodeDecodeError):
        return False


# --- what is told to running tasks ----------------------------------------------------------------------------------------


_told: dict[str, str] = {}
_changed = threading.Condition()


def tell(name: str, word: str) -> None:
    """Let the tasks of this worker that listen to `name` know `word`, "stop" or "abort". Run on each worker by `Client.run`."""
    with _changed:
        _told[name] = word
        _changed.notify_all()


def heard(name: str) -> str:
    """What has been told under `name` so far; empty if nothing."""
    return _told.get(name, "")


def forget(name: str) -> None:
    """Drop what has been told under `name`."""
    with _changed:
        _told.pop(name, None)


def is_wanted(key: str) -> bool:
    """Whether the scheduler still wants the task `key`, which runs here: not if its client has died or has cancelled it."""
    from distributed import get_worker

    worker = get_worker()
    task = worker.state.tasks.get(key)
    return task is not None and task.state != "cancelled" and worker.status.name in ("running", "paused")
