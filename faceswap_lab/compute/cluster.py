"""A cluster of workers behind one small class: local processes, local GPUs, any Dask scheduler, Slurm, Kubernetes.

`with lab.cluster("local", workers=2) as cluster:` opens one, and `compute=cluster` makes a verb use it. Results are those
without, but for the rounding of a training on several ranks. Every wait has a deadline with a name, because Dask's own are infinite
by default.
"""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any
from uuid import uuid4

from faceswap_lab.compute import kinds, workers
from faceswap_lab.compute.costs.meter import Meter, Price
from faceswap_lab.compute.security import check_address, is_address, security
from faceswap_lab.compute.supervise import RankProcess, running
from faceswap_lab.compute.workers import WorkerFacts
from faceswap_lab.errors import ComputeError

_log = logging.getLogger(__name__)

_AGAIN_S = 0.5
_TELL_S = 10.0
"""Seconds that workers may take to hear a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds to wait: for a scheduler to answer, for workers to come, for a worker's answer to a question, and for a task that no
    worker can take. Starting GPU nodes takes minutes: `workers_s` is to be raised there."""

    connect_s: float = 30.0
    workers_s: float = 300.0
    answer_s: float = 120.0
    stop_s: float = 60.0


class Cluster:
    """A connection to workers. Opened by `cluster`, closed at the end of its `with` block or by `close`."""

    def __init__(self, client: Any, *, kind: str, stack: ExitStack, deadlines: Deadlines, price: Price | None = None) -> None:
        self.client, self.kind, self.deadlines = client, kind, deadlines
        self.is_adaptive = False
        self._stack = stack
        self._is_closed = False
        self._meter = None if price is None else Meter(price)
        self._facts: dict[str, WorkerFacts] = {}

    def __enter__(self) -> "Cluster":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and end the workers if they were started with the cluster. Does nothing the second time."""
        self._is_closed = True
        self._stack.close()

    @property
    def address(self) -> str:
        """The scheduler's address."""
        return str(self.client.scheduler.address) if self.client.scheduler is not None else ""

    @property
    def dashboard(self) -> str:
        """The address of Dask's dashboard; empty if it has none."""
        return str(self.client.dashboard_link or "")

    def addresses(self) -> list[str]:
        """The addresses of the workers that are there now, in a stable order.

        A scheduler that cannot be reached is asked again, since links come back; ComputeError after `deadlines.answer_s`.
        """
        if self._is_closed:
            return []
        begun = time.monotonic()
        while True:
            left = begun + self.deadlines.answer_s - time.monotonic()
            try:
                found = self._identity(left)["workers"]
            except OSError as error:  # of distributed's, all of them: closed connections and time that is up
                if left <= _AGAIN_S or self.client.status == "closed":
                    raise self._lost(error) from error
                time.sleep(_AGAIN_S)
                continue
            if self._meter is not None:
                self._meter.count(len(found))
            return [address for address, _ in sorted(found.items(), key=lambda each: (str(each[1].get("name")), each[0]))]

    def _identity(self, seconds: float) -> Any:
        if self.client.scheduler is None:  # Dask's client closes itself when it could not reconnect
            raise ConnectionError("the connection was lost and could not be made again")
        return self.client.sync(self.client.scheduler.identity, n_workers=-1, callback_timeout=max(seconds, _AGAIN_S))

    def _lost(self, error: Exception) -> ComputeError:
        return ComputeError(
            expected=f"an answer of the scheduler within {self.deadlines.answer_s:g} s",
            got=" ".join(str(error).split())[:300] or type(error).__name__,
            remedy="look whether it still runs and can be reached; connect again and repeat the call, which resumes",
        )

    def bill(self) -> str:
        """What the workers have cost since the cluster was opened, such as "0.42 CNY so far"; empty without a price."""
        return "" if self._meter is None else f"{self._meter.money:.2f} {self._meter.price.currency} so far"

    def adapt(self, *, minimum: int = 0, maximum: int) -> None:
        """Let the number of workers follow the work, between these two: for swaps, scores and rendering.

        A training would lose ranks whenever a worker is retired, and is refused from here on. Raises ComputeError for a cluster
        that somebody else started.
        """
        made = getattr(self.client, "cluster", None)
        if made is None:
            raise ComputeError(
                expected="a cluster that was started here",
                got=f"{self.address}, a scheduler that was running",
                remedy="set the limits where it was started",
            )
        made.adapt(minimum=minimum, maximum=maximum)
        self.is_adaptive = True

    def wait_for(self, count: int) -> list[str]:
        """The addresses of at least `count` workers. Says so if it has to wait; ComputeError after `deadlines.workers_s`."""
        begun, is_told = time.monotonic(), False
        while len(found := self.addresses()) < count:
            waited = time.monotonic() - begun
            if waited > self.deadlines.workers_s:
                raise ComputeError(
                    expected=f"{count} workers within {self.deadlines.workers_s:g} s",
                    got=f"{len(found)}",
                    remedy="start more workers, ask for fewer ranks or workers, or wait longer: "
                    "lab.cluster(…, deadlines=Deadlines(workers_s=…))",
                )
            if waited > 2 and not is_told:
                _log.warning(
                    "waiting for %d workers, %d are there; gives up after %g s", count, len(found), self.deadlines.workers_s
                )
                is_told = True
            time.sleep(0.1)
        return found

    def workers(self) -> list[WorkerFacts]:
        """What each worker says of itself. Asked once of each; ComputeError if one does not answer."""
        here = self.addresses()
        missing = [address for address in here if address not in self._facts]
        asked = {address: self._ask(address) for address in missing}
        for address, future in asked.items():
            self._facts[address] = self._answer(address, future)
        return [self._facts[address] for address in here]

    def _ask(self, address: str) -> Any:
        return self.client.submit(workers.facts, workers=[address], allow_other_workers=True, pure=False, priority=100)

    def _answer(self, address: str, future: Any) -> WorkerFacts:
        from distributed import TimeoutError as Late

        limit = time.monotonic() + self.deadlines.answer_s
        try:
            found: WorkerFacts = future.result(timeout=self.deadlines.answer_s)
            while found.address != address:  # an idle worker has taken the question from a busy one
                future.release()
                future = self._ask(address)
                found = future.result(timeout=max(0.1, limit - time.monotonic()))
        except Late as error:
            raise ComputeError(
                expected=f"an answer from {address} within {self.deadlines.answer_s:g} s",
                got="none",
                remedy="the worker may be busy with another client's tasks: look at the dashboard, or wait longer (answer_s)",
            ) from error
        finally:
            future.release()
        return found

    def check(self, *, device: str = "auto", folder: Path | None = None) -> list[WorkerFacts]:
        """The workers, at least one: with the versions of this process, with `device`, and each seeing `folder` under its path.

        Raises ComputeError otherwise. What verbs make goes through the lab's folder, which all machines must share.
        """
        self.wait_for(1)
        found = self.workers()
        workers.check_versions(found)
        workers.check_device(found, device)
        if folder is not None:
            self._check_folder(folder, [each.address for each in found])
        return found

    def _check_folder(self, folder: Path, addresses: Sequence[str]) -> None:
        token = uuid4().hex
        probe = folder / f".seen-{token[:8]}"
        probe.write_text(token, encoding="ascii")
        try:
            seen = self.client.run(workers.sees, str(probe), token, workers=list(addresses), on_error="return")
        finally:
            probe.unlink(missing_ok=True)
        if blind := [address for address in addresses if seen.get(address) is not True]:
            raise ComputeError(
                expected=f"workers that see the lab's folder {folder.parent}",
                got=f"{len(blind)} of {len(addresses)} that don't: {', '.join(blind[:4])}",
                remedy="mount the same volume under the same path on every machine (docs/cloud.md), or set FACESWAP_LAB_ROOT to a "
                "folder that all of them share",
            )

    def ranks(self) -> list[RankProcess]:
        """The ranks of trainings that run on the workers now, in order, with their processes."""
        found = self.client.run(running, on_error="ignore")
        return sorted((rank for ranks in found.values() for rank in ranks), key=lambda each: (each.rank, each.worker))

    def tell(self, name: str, word: str, addresses: Sequence[str] | None = None) -> None:
        """Let tasks that listen to `name` know `word`: see `workers.tell`. Workers that are gone hear nothing, nor do those
        that can't be reached now."""
        here = set(self.addresses())
        there = [address for address in (addresses if addresses is not None else sorted(here)) if address in here]
        if there:
            # Those that can be reached hear it at once; one behind a cut link would keep this process waiting for a minute.
            with suppress(TimeoutError):
                self.client.sync(
                    self.client._run, workers.tell, name, word, workers=there, on_error="ignore", callback_timeout=_TELL_S
                )

    def _repr_html_(self) -> str:
        from faceswap_lab.compute.show import as_html

        return as_html(self)

    def __repr__(self) -> str:
        return f"Cluster({self.kind}, {len(self.addresses())} workers, {self.address})"


def cluster(
    where: str = "local",
    *,
    workers: int | None = None,
    deadlines: Deadlines | None = None,
    dashboard: str = "127.0.0.1:0",
    ca: str | Path | None = None,
    cert: str | Path | None = None,
    key: str | Path | None = None,
    plain_tcp: bool = False,
    price: Price | None = None,
    **options: Any,
) -> Cluster:
    """Open a cluster: a context that ends what it started.

    `where` is "local" (processes on this machine), "cuda" (one for each of its GPUs), a scheduler's address (tcp://…, tls://…),
    "slurm" (jobs, through dask-jobqueue) or "kubernetes" (pods, through dask-kubernetes: `spec`, `namespace`). `workers` are
    started and waited for; `options` are passed on to the library that starts them.

    `ca`, `cert` and `key` are PEM files for TLS 1.3; plain TCP to another machine is refused unless `plain_tcp`.
    With a `price` for an hour of a worker the progress of long work says what it has cost so far.
    Raises ValueError for an unknown kind, ComputeError for a scheduler that does not answer or speaks otherwise, for too few
    workers within `deadlines`, and for workers whose versions differ from those of this process.
    """
    from faceswap_lab.compute.settled import Settled

    deadlines = deadlines or Deadlines()
    if workers is not None and workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if not is_address(where) and where not in kinds.KINDS:
        raise ValueError(f"a cluster is one of {', '.join(kinds.KINDS)}, or an address such as tls://host:8786; got {where!r}")
    with ExitStack() as stack:
        if is_address(where):
            if options:
                raise ValueError(f"{', '.join(options)} can't be given for a scheduler that runs already")
            check_address(where, plain_tcp=plain_tcp)
            secure = security(ca=ca, cert=cert, key=key) if where.startswith("tls") else None
            client = _connect(stack, where, deadlines, secure)
            wanted = workers or 1
        else:
            made, wanted = kinds.KINDS[where](stack, workers=workers, dashboard=dashboard, plain_tcp=plain_tcp, **options)
            client = _connect(stack, made, deadlines, None)
        client.register_plugin(Settled(own=where in ("local", "cuda")))
        opened = Cluster(client, kind=where.partition(":")[0], stack=stack.pop_all(), deadlines=deadlines, price=price)
    try:
        opened.wait_for(wanted)
        opened.check()
    except BaseException:
        opened.close()
        raise
    return opened


def _connect(stack: ExitStack, target: Any, deadlines: Deadlines, secure: Any) -> Any:  # distributed is typed in part only
    from distributed import Client

    try:
        client = Client(target, timeout=deadlines.connect_s, security=secure, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError) as error:  # distributed's timeouts and refusals are OSErrors
        raise ComputeError(
            expected=f"a Dask scheduler at {target}",
            got=" ".join(str(error).split())[:300] or type(error).__name__,
            remedy="start one there (`dask scheduler`), check the port, whether it wants tls://, and that both sides have the same "
            "versions",
        ) from error
    stack.callback(client.close)
    return client


@contextmanager
def opened(compute: "Cluster | str | None", **options: Any) -> Iterator[Cluster | None]:
    """The cluster itself, or one opened from a text such as "local:2" or "tls://host:8786" and closed afterwards; None for None."""
    if not isinstance(compute, str):
        yield compute
        return
    kind, _, count = (compute, "", "") if is_address(compute) else compute.partition(":")
    if count and not count.isdecimal():
        raise ValueError(f"a cluster is written KIND or KIND:WORKERS, such as local:2; got {compute!r}")
    with cluster(kind, workers=int(count) if count else None, **options) as made:
        yield made
