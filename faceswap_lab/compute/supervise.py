"""On the worker: one rank's supervisor, a task of Dask that runs the rank as a subprocess and passes on what it says.

A subprocess, because Dask's workers may not have children of their own kind, and because a rank that hangs or dies must not take
the worker with it.
"""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from faceswap_lab.compute import workers
from faceswap_lab.compute.rank import GRACE_S, REFUSED

_LOOK_S = 0.1
_LOG_TAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class RankJob:
    """What a rank is to do, and where: plain data.

    `gang` is the attempt's name, under which words and events go; `worker` the address that the task is meant for; `master` the
    host and port at which the ranks meet; `log` the file for what the rank prints; `environment` is set for it.
    """

    gang: str
    entry: str
    payload: Mapping[str, Any]
    rank: int
    size: int
    worker: str
    master: tuple[str, int]
    log: str
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankEnd:
    """How a rank ended: `how` is "done", "refused" (a LabError), "died" (any other end), "misplaced" (the task ran on a worker that
    it was not meant for), "aborted" (another rank had failed) or "dropped" (nobody wants the gang any more). `said` counts its
    messages, `tail` is the end of its log.
    """

    rank: int
    how: str
    said: int = 0
    status: int | None = None
    tail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RankProcess:
    """A rank that runs now: its number, the worker that supervises it, and its process there."""

    rank: int
    worker: str
    host: str
    pid: int


_running: dict[str, RankProcess] = {}


def running() -> list[RankProcess]:
    """The ranks that this worker supervises now."""
    return list(_running.values())


def meeting_place() -> tuple[str, str, int]:
    """This worker's address, its host as others reach it, and a port that is free there now."""
    from distributed import get_worker

    address = get_worker().address
    host = host_of(address)
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as free:
        free.bind((host, 0))
        return address, host, int(free.getsockname()[1])


def supervise(job: RankJob, key: str) -> RankEnd:
    """Run the rank to its end. Its messages become events of the topic `job.gang`."""
    from distributed import get_worker

    worker = get_worker()
    if worker.address != job.worker:
        # Where a worker died Dask gives its task to another one, or to the one that replaces it.
        return RankEnd(rank=job.rank, how="misplaced", tail=f"the worker {job.worker} is gone")
    try:
        with Path(job.log).open("ab") as log:
            return _Watch(job, key, worker).run(log)
    finally:
        workers.forget(job.gang)


class _Watch:
    """One rank's process."""

    def __init__(self, job: RankJob, key: str, worker: Any) -> None:
        self.job, self.key, self.worker = job, key, worker
        self.said = 0

    def run(self, log: IO[bytes]) -> RankEnd:
        process = subprocess.Popen(
            [sys.executable, "-m", "faceswap_lab.compute.rank"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=self._environment(),
            start_new_session=True,  # Ctrl-C in the client's terminal is not for ranks: they are asked to stop
        )
        reader = threading.Thread(target=self._pass_on, args=(process.stdout, log), name="rank", daemon=True)
        reader.start()
        _running[self.key] = RankProcess(rank=self.job.rank, worker=self.job.worker, host=socket.gethostname(), pid=process.pid)
        self._say(process, json.dumps({"entry": self.job.entry, "payload": dict(self.job.payload)}))
        try:
            how = self._wait(process)
        finally:
            _running.pop(self.key, None)
            if process.poll() is None:
                process.kill()
            status = process.wait()
            reader.join()
            for pipe in (process.stdin, process.stdout):
                _close(pipe)
        how = how or {0: "done", REFUSED: "refused"}.get(status, "died")
        return RankEnd(rank=self.job.rank, how=how, said=self.said, status=status, tail=_tail(Path(self.job.log)))

    def _wait(self, process: "subprocess.Popen[bytes]") -> str:
        """Wait for the rank; "dropped" if it had to end, or was asked to, without its client; else empty."""
        asked_at: float | None = None
        dropped = False
        while process.poll() is None:
            word = workers.heard(self.job.gang)
            if word == "abort":
                return "aborted"
            if not dropped and not workers.is_wanted(self.key):
                dropped = True
            if (word or dropped) and asked_at is None:
                asked_at = time.monotonic()
                self._say(process, "stop")
            if asked_at is not None and time.monotonic() - asked_at > 2 * GRACE_S:
                return "dropped" if dropped else ""
            time.sleep(_LOOK_S)
        return "dropped" if dropped else ""

    def _environment(self) -> dict[str, str]:
        job = self.job
        host, port = job.master
        own = {"RANK": str(job.rank), "WORLD_SIZE": str(job.size), "MASTER_ADDR": host, "MASTER_PORT": str(port)}
        # Each worker of dask-cuda sees one GPU, so that each rank's is cuda:0.
        own |= {"LOCAL_RANK": "0", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        return {**_gloo(job.worker), **os.environ, **job.environment, **own}

    def _say(self, process: "subprocess.Popen[bytes]", line: str) -> None:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended, which is noticed elsewhere
            process.stdin.write(line.encode() + b"\n")
            process.stdin.flush()

    def _pass_on(self, lines: IO[bytes], log: IO[bytes]) -> None:
        for line in lines:
            try:
                told = json.loads(line)
            except ValueError:
                log.write(line)
                continue
            self.said += 1
            self.worker.log_event(self.job.gang, {**told, "rank": self.job.rank, "number": self.said})


def _gloo(worker: str) -> dict[str, str]:
    """Environment that makes gloo listen where the worker does, unless it is set already.

    Otherwise gloo takes the address that the host's name has, which many systems say is 127.0.0.1: no other machine reaches that.
    """
    import psutil  # type: ignore[import-untyped]  # which distributed brings

    host = host_of(worker)
    for name, addresses in psutil.net_if_addrs().items():
        if any(each.address.partition("%")[0] == host for each in addresses):
            return {"GLOO_SOCKET_IFNAME": name}
    return {}


def host_of(address: str) -> str:
    """The host of a worker's address such as tls://10.0.0.5:40000."""
    return address.rpartition("://")[2].rpartition(":")[0].strip("[]")


def _close(pipe: IO[bytes] | None) -> None:
    assert pipe is not None
    with suppress(BrokenPipeError):  # words that the rank did not live to read
        pipe.close()


def _tail(log: Path) -> str:
    """The end of a log."""
    with log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _LOG_TAIL))
        return file.read().decode(errors="replace")
