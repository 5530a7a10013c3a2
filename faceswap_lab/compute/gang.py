"""A gang: the ranks of one training, all of them or none, started again from the newest checkpoint when one of them dies.

Each rank is a subprocess under a task of Dask on a worker of its own (`compute.supervise`). The gang holds locks on its workers, so
that two trainings on one cluster either have workers apart or wait for each other. What is written, and what a checkpoint is, is
the caller's: a job is a function's name and plain data.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, NoReturn
from uuid import uuid4

from faceswap_lab import errors
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.supervise import RankEnd, RankJob, meeting_place, supervise
from faceswap_lab.errors import ComputeError
from faceswap_lab.stopping import Stop

_log = logging.getLogger(__name__)

_LOOK_S = 0.05
_ERROR = re.compile(r"[\w.]*(Error|Exception)\b")
_ASK_S = 1.0
_HEAR_S = 10.0
"""Seconds in which the last messages of a rank that has ended must arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What the ranks do: the function `entry` ("MODULE:FUNCTION"), with the payload that `payload(size)` gives for
    each attempt, plain data. `logs` is a folder that all workers see, for what the ranks print."""

    entry: str
    payload: Callable[[int], Mapping[str, Any]]
    logs: Path
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """How much is put up with: `deaths` in a row without a new checkpoint, and fewer ranks than asked for, but not less than
    `fewest`, when workers that died have not come back after `wait_s`."""

    deaths: int = 3
    fewest: int = 1
    wait_s: float = 60.0


class Gang:
    """The attempts of one training on a cluster."""

    def __init__(
        self, cluster: Cluster, job: Job, *, sizes: Sequence[int], hear: Callable[[Mapping[str, Any]], None], tolerance: Tolerance
    ) -> None:
        self.cluster, self.job, self.hear, self.tolerance = cluster, job, hear, tolerance
        self.sizes = sorted(sizes, reverse=True)
        self._messages: SimpleQueue[Mapping[str, Any]] = SimpleQueue()
        self._heard: dict[int, int] = {}
        self._early: dict[tuple[int, int], Mapping[str, Any]] = {}
        self._failed: Mapping[str, Any] | None = None
        self._fruitless = 0
        self._number = 0
        self._asked = 0.0

    def run(self, stop: Stop) -> None:
        """Run the ranks until they are done. KeyboardInterrupt after `stop()`, when all have saved and ended.

        Raises the LabError that a rank ended with, ComputeError for too few workers, and for deaths without progress.
        """
        while True:
            with ExitStack() as held:
                workers = self._take_workers(held, stop)
                ends = self._attempt(workers, stop)
            if all(end.how == "done" for end in ends):
                if stop():
                    raise KeyboardInterrupt
                return
            self._judge(ends, stop)

    # --- workers ----------------------------------------------------------------------------------------------------------

    def _take_workers(self, held: ExitStack, stop: Stop) -> list[str]:
        """Workers for the largest size that can be had, locked until `held` ends: all at once or none, so that two gangs which want
        the same workers cannot each hold half of them."""
        begun, is_told = time.monotonic(), False
        while True:
            if stop():
                raise KeyboardInterrupt
            waited = time.monotonic() - begun
            # A training starts with what was asked for; later it goes on with fewer rather than not at all.
            sizes = self.sizes if self._number and waited >= self.tolerance.wait_s else self.sizes[:1]
            present = self.cluster.addresses()
            for size in sizes:
                if size <= len(present) and (taken := self._lock(held, present, size)):
                    return taken
            if waited > self.cluster.deadlines.workers_s:
                raise self._too_few(len(present))
            if waited > 2 and not is_told:
                self._say(f"waiting for {self.sizes[0]} free workers; {len(present)} are there, some in use by another training")
                is_told = True
            time.sleep(0.2)

    def _lock(self, held: ExitStack, present: Sequence[str], size: int) -> list[str]:
        from distributed import Lock

        with ExitStack() as trying:
            taken: list[str] = []
            for address in present:
                with self.cluster.client.as_current():
                    lock: Any = Lock(f"faceswap-lab-gang-{address}")  # type: ignore[no-untyped-call]
                with suppress(OSError):  # a scheduler that can't be reached: `addresses` tries again, and says when it is lost
                    if lock.acquire(timeout=0.05):
                        trying.callback(_release, lock)
                        taken.append(address)
                if len(taken) == size:
                    held.enter_context(trying.pop_all())
                    return taken
        return []

    def _too_few(self, count: int) -> ComputeError:
        wanted = " or ".join(map(str, self.sizes[:4]))
        return ComputeError(
            expected=f"{wanted} free workers within {self.cluster.deadlines.workers_s:g} s",
            got=f"{count}, some of them in use by another training" if count >= min(self.sizes) else str(count),
            remedy="start more workers, ask for fewer ranks, or wait for the other training; then repeat the call, which resumes",
        )

    # --- one attempt ------------------------------------------------------------------------------------------------------

    def _attempt(self, workers: Sequence[str], stop: Stop) -> list[RankEnd]:
        """Start a rank on each of the workers, and wait until all have ended, in whichever way."""
        self._number += 1
        self._heard, self._early = {}, {}
        self._messages = SimpleQueue()
        name = f"gang-{uuid4().hex[:12]}"
        client = self.cluster.client
        client.subscribe_topic(name, self._queue)
        try:
            if (master := self._meet(workers[0])) is None:
                return [RankEnd(rank=0, how="died", tail=f"the worker {workers[0]} does not answer")]
            futures = self._start(name, workers, master)
            return self._watch(name, workers, futures, stop)
        finally:
            client.unsubscribe_topic(name)

    def _meet(self, worker: str) -> tuple[str, int] | None:
        """Where the ranks meet, on the worker of the first; None if it has gone or does not answer."""
        # Where that worker is gone another one may answer: what it says is not used, but a task that nobody takes would hang.
        future = self.cluster.client.submit(meeting_place, workers=[worker], allow_other_workers=True, pure=False, priority=100)
        limit = time.monotonic() + self.cluster.deadlines.answer_s
        try:
            while not future.done() and time.monotonic() < limit and worker in self.cluster.addresses():
                time.sleep(_LOOK_S)
            if not future.done():
                return None
            by, host, port = future.result(timeout=self.cluster.deadlines.answer_s)
        except Exception as error:  # of Dask: the worker died, the connection was lost, or it took too long
            _log.warning("%s does not answer: %s", worker, type(error).__name__)
            return None
        finally:
            future.release()
        return (host, port) if by == worker else None

    def _start(self, name: str, workers: Sequence[str], master: tuple[str, int]) -> list[Any]:
        client = self.cluster.client
        self.job.logs.mkdir(parents=True, exist_ok=True)
        payload = dict(self.job.payload(len(workers)))
        futures = []
        for rank, worker in enumerate(workers):
            job = RankJob(
                gang=name,
                entry=self.job.entry,
                payload=payload,
                rank=rank,
                size=len(workers),
                worker=worker,
                master=master,
                log=str(self.job.logs / f"rank-{rank}.log"),
                environment=self.job.environment,
            )
            key = f"{name}-rank-{rank}"
            # Pinned, but not so that it hangs for ever when that worker is gone: the task itself checks where it runs.
            futures.append(
                client.submit(supervise, job, key, key=key, workers=[worker], allow_other_workers=True, pure=False, priority=10)
            )
        return futures

    def _watch(self, name: str, workers: Sequence[str], futures: Sequence[Any], stop: Stop) -> list[RankEnd]:
        ends: dict[int, RankEnd] = {}
        word, limit = "", None
        try:
            while len(ends) < len(futures):
                self._drain()
                self._collect(futures, workers, ends)
                now = self._word(ends, stop)
                if now and now != word and word != "abort":
                    word = now
                    limit = time.monotonic() + self.cluster.deadlines.stop_s
                    self.cluster.tell(name, word, workers)
                if limit is not None and time.monotonic() > limit:
                    break  # a supervisor that does not answer is lost, and its rank ends by its lifeline
                time.sleep(_LOOK_S)
        finally:
            # Released at once: Dask computes results again whose worker goes away while somebody holds them.
            with suppress(Exception):
                self.cluster.client.cancel(list(futures))
        self._hear_all(ends)
        # In the order in which they ended: the first is the cause, and the others were told to.
        return [*ends.values(), *(RankEnd(rank=rank, how="died") for rank in range(len(futures)) if rank not in ends)]

    def _word(self, ends: Mapping[int, RankEnd], stop: Stop) -> str:
        """What is to be told to the ranks that still run: to end at once if one has failed, to stop if the caller wants that."""
        if any(end.how != "done" for end in ends.values()):
            return "abort"
        return "stop" if stop() else ""

    def _collect(self, futures: Sequence[Any], workers: Sequence[str], ends: dict[int, RankEnd]) -> None:
        # Not at each look: the question takes cores from the ranks where scheduler and client are on their machine.
        asks = time.monotonic() - self._asked > _ASK_S
        present: set[str] | None = None
        for rank, future in enumerate(futures):
            if rank in ends:
                continue
            if future.done():
                try:
                    ends[rank] = future.result()
                except Exception as error:  # of Dask: the worker died with its task, or the scheduler is gone
                    ends[rank] = RankEnd(rank=rank, how="died", tail=f"{type(error).__name__}: {error}")
                continue
            if not asks:
                continue
            if present is None:
                present, self._asked = set(self.cluster.addresses()), time.monotonic()
            if workers[rank] not in present:
                ends[rank] = RankEnd(rank=rank, how="died", tail=f"the worker {workers[rank]} is gone")

    # --- messages ---------------------------------------------------------------------------------------------------------

    def _queue(self, event: Any) -> None:
        """Called by Dask's own thread with (time, message)."""
        self._messages.put(event[1])

    def _drain(self) -> None:
        """Hear what has come, of each rank in the order in which it spoke: Dask handles each message in a task of its own."""
        with suppress(Empty):
            while True:
                told = self._messages.get_nowait()
                self._early[told["rank"], told["number"]] = told
        for rank in {rank for rank, _ in self._early}:
            while told := self._early.pop((rank, self._heard.get(rank, 0) + 1), {}):
                self._heard[rank] = told["number"]
                self._take(told)

    def _take(self, told: Mapping[str, Any]) -> None:
        if told["kind"] == "failed":
            self._failed = told
            return
        if told["kind"] == "checkpoint":
            self._fruitless = 0
        self.hear(told)

    def _hear_all(self, ends: dict[int, RankEnd]) -> None:
        """Wait for messages that are still on their way from ranks that have ended.

        A rank whose words were lost is as good as dead: among them may be that of its last checkpoint.
        """
        limit = time.monotonic() + _HEAR_S
        while missed := [end for end in ends.values() if self._heard.get(end.rank, 0) < end.said]:
            if time.monotonic() > limit:
                for end in missed:
                    lost = f"{end.said - self._heard.get(end.rank, 0)} of its {end.said} messages were lost"
                    ends[end.rank] = RankEnd(rank=end.rank, how="died", status=end.status, tail=lost)
                return
            time.sleep(_LOOK_S)
            self._drain()

    # --- after an attempt -------------------------------------------------------------------------------------------------

    def _judge(self, ends: Sequence[RankEnd], stop: Stop) -> None:
        """Return if another attempt is worth it; else raise."""
        if self._failed is not None:
            _raise_failed(self._failed)
        if stop():
            raise KeyboardInterrupt
        dead = min((end for end in ends if end.how != "done"), key=_innocence)
        self._fruitless += 1
        self.hear({"kind": "rank_died", "rank": dead.rank, "how": dead.how, "status": dead.status, "attempt": self._number})
        if self._fruitless >= self.tolerance.deaths:
            raise ComputeError(
                expected="ranks that reach the next checkpoint",
                got=f"{self._fruitless} deaths in a row, the last of rank {dead.rank} ({_ended(dead)})",
                remedy=f"see the ranks' logs (rank-{dead.rank}.log); then repeat the call, which resumes",
            )
        self._say(f"rank {dead.rank} ended ({_ended(dead)}); starts again from the newest checkpoint")

    def _say(self, text: str) -> None:
        _log.warning("%s", text)


def _raise_failed(told: Mapping[str, Any]) -> NoReturn:
    """Raise the LabError that a rank ended with."""
    kind = getattr(errors, str(told["error"]), ComputeError)
    raise kind(expected=told["expected"], got=told["got"], remedy=told["remedy"])


def _innocence(end: RankEnd) -> tuple[bool, bool, int]:
    """Sorts the ranks of a failed attempt, whoever caused it first: a signal or a lost worker comes from outside, an error may come
    from a broken connection to another rank, and whoever was ended by its supervisor died of another's death."""
    return end.how == "aborted", end.status is not None and end.status >= 0, end.rank


def _ended(end: RankEnd) -> str:
    """How a rank ended, with the last error in its log; warnings and progress say nothing about it."""
    lines = end.tail.strip().splitlines()
    errors = lines if len(lines) == 1 else [line for line in lines if _ERROR.match(line)]
    status = "" if end.status is None else f"exit status {end.status}"
    return ", ".join(filter(None, (end.how, status, errors[-1][:200] if errors else "")))


def _release(lock: Any) -> None:
    # The lease of a lock whose client is gone ends by itself.
    with suppress(Exception):
        lock.release()
