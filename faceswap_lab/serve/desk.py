"""The demo without its looks: what an app, or an API, calls. It takes uploads, keeps the line, has the work done, and cleans up."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import monotonic

from faceswap_lab.errors import ConsentError, FaceError, LabError
from faceswap_lab.models.registry import is_named
from faceswap_lab.serve.intake import Upload, label_of, take_in
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.orders import Declaration, Order, Outcome, Sample
from faceswap_lab.serve.queue import Line, Ticket
from faceswap_lab.serve.sources import ACTORS, Source
from faceswap_lab.serve.visits import Visits
from faceswap_lab.serve.worker import Worker
from faceswap_lab.trust import audit

_ASK_S, _QUIET_S = 0.25, 2.0
_LOOK_AT_ONCE = 2
"""Uploads that are decoded to be looked at, at one time: each takes as much memory as its pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """How far a job is: in words, how many come before it, and the share that is done (0 to 1; None while that is unknown)."""

    words: str
    before: int = 0
    share: float | None = None


class Desk:
    """All of a running demo but the pages. Use it as a context manager, or call `close`.

    `root` is the demo's own lab; `files` are offered as sources beside `actors`. The web server has to put uploads below
    `arrivals`.
    """

    def __init__(
        self,
        root: Path,
        *,
        limits: Limits | None = None,
        actors: Sequence[int] = ACTORS,
        files: Sequence[Source] = (),
        swapper: str = "oneshot",
        warm: int = 4,
    ) -> None:
        if not is_named(swapper):
            # Its run is genuine in the lab that trained it only, and a visit is another.
            raise ValueError(f"the demo's swapper is oneshot, warp or inswapper:FILE, got {swapper!r}")
        self.limits, self.swapper = limits or Limits(), swapper
        self.sources = {each.name: each for each in (*map(Source.actor, actors), *files)}
        self.visits = Visits(root, self.limits)
        self.visits.start()
        self._worker = Worker(tuple(actors)[:warm])
        self._worker.start()
        self._line = Line(self.limits)
        self._closed = threading.Event()
        self._looking = threading.Semaphore(_LOOK_AT_ONCE)

    @property
    def root(self) -> Path:
        """The demo's lab: its log, and the folders of visits."""
        return self.visits.root

    @property
    def arrivals(self) -> Path:
        """The private folder in which uploads have to arrive, and which is emptied by age."""
        return self.visits.arrivals

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._line)

    def swap(
        self,
        session: str,
        path: str | Path,
        *,
        source: str,
        declaration: Declaration,
        name: str = "",
        accept: tuple[int, int] = (0, 0),
    ) -> Iterator[Step | Outcome]:
        """Steps while the job waits and runs, and its Outcome at the end.

        `session` is whoever has one job at a time; `path` an upload below `arrivals`, `name` the visitor's name for it; `accept`
        how many frames and faces may be left as they were (see `SwapRun.export`). Raises MediaError, ConsentError, FaceError,
        QueueFullError, StoppedError or StorageError, each fit to be shown; `refusals.status_of` has their status. Closing the
        iterator ends the job.
        """
        self._line.check(session)
        label = label_of(name or Path(path).name)
        with self._refusal_logged():
            declaration.basis()
            chosen = self._source(source)
        visit = self.visits.open()
        try:
            with self._looking:
                upload = take_in(path, label, self.limits, within=self.arrivals, folder=visit.root)
        except BaseException as error:
            if isinstance(error, LabError):
                audit.append(self.root, {"action": "upload refused", "visit": visit.id, "reason": str(error)[:500]})
            self.visits.close(visit, erase=True)
            raise
        order = Order(visit=visit, source=chosen, target=upload, declaration=declaration, swapper=self.swapper, accept=accept)
        return self._followed(session, order, label)

    def sample(self, session: str, sample: Sample, *, source: str) -> Iterator[Step | Outcome]:
        """As `swap`, for an actor's performance: with all scores, since the truth is known."""
        self._line.check(session)
        with self._refusal_logged():
            chosen = self._source(source)
            self._source(f"actor:{sample.seed}")
        order = Order(visit=self.visits.open(), source=chosen, target=sample, swapper=self.swapper)
        return self._followed(session, order, "the performance")

    def close(self) -> None:
        """Stop in good order: waiting jobs are refused, the running one ends, all files are deleted."""
        if not self._closed.is_set():
            self._closed.set()
            self._line.close()
            self._worker.close()
            self.visits.stop()

    def __enter__(self) -> "Desk":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _source(self, name: str) -> Source:
        if name not in self.sources:
            raise ConsentError(
                expected=f"one of the sources offered: {', '.join(self.sources)}", got=repr(name[:80]), remedy="choose one of them"
            )
        return self.sources[name]

    @contextmanager
    def _refusal_logged(self) -> Iterator[None]:
        """What is refused before there is a visit is logged as well."""
        try:
            yield
        except ConsentError as error:
            audit.append(self.root, {"action": "demo refused", "reason": str(error)[:500]})
            raise

    def _followed(self, session: str, order: Order, label: str) -> Iterator[Step | Outcome]:
        """Take a place in the line, now; the steps follow when they are asked for. A place that nobody asks for is given up."""

        def work(ticket: Ticket) -> Outcome:
            done = False
            try:
                outcome = self._worker.do(order, told=partial(_tell, ticket), gone=ticket.gone, max_s=self.limits.max_job_s)
                done = True
                return outcome
            finally:
                self.visits.close(order.visit, erase=not done)

        try:
            ticket = self._line.enter(session, work, partial(self.visits.close, order.visit, erase=True))
        except BaseException:
            self.visits.close(order.visit, erase=True)
            raise
        return self._steps(ticket, order, label)

    def _steps(self, ticket: Ticket, order: Order, label: str) -> Iterator[Step | Outcome]:
        told, when = None, 0.0
        try:
            while not ticket.wait(_ASK_S):
                step = self._step(ticket)
                # Whoever looks on wants news, and now and then a sign of life.
                if step != told or monotonic() - when > _QUIET_S:
                    told, when = step, monotonic()
                    yield step
            try:
                outcome: Outcome = ticket.result()
            except LabError as error:
                raise _fit_to_show(error, order, label) from error
            yield outcome
        finally:
            self._line.leave(ticket)

    def _step(self, ticket: Ticket) -> Step:
        if before := self._line.before(ticket):
            return Step(words=f"waiting: {before} before you", before=before)
        told: Step | None = ticket.told
        return told or Step(words="getting ready")


def _tell(ticket: Ticket, what: str, done: int, total: int) -> None:
    ticket.told = Step(words=what if total < 2 else f"{what}: {done} of {total}", share=done / total if total > 1 else None)


def _fit_to_show(error: LabError, order: Order, label: str) -> LabError:
    """The same error without places on this machine, and with what a visitor can do about it: not what whoever runs a lab can."""
    said = {part: getattr(error, part) for part in ("expected", "got", "remedy")}
    private = {str(order.visit.root): "the demo"}
    if isinstance(order.target, Upload):
        private = {str(order.target.path): label, order.target.path.name: label} | private
    for text, shown in private.items():
        said = {part: words.replace(text, shown) for part, words in said.items()}
    return type(error)(**said | {"remedy": _for_visitors(error, order) or said["remedy"]})


def _for_visitors(error: LabError, order: Order) -> str:
    """What to do instead of what the lab suggests; empty if that will do."""
    if isinstance(error, FaceError):
        return "choose an upright picture with a clear face, at least 20 pixels wide"
    if not isinstance(error, ConsentError):
        return ""
    if "accept_frames" in error.remedy:
        return "cut the clip to where the face is seen, or look at what is left and accept these numbers"
    if not order.source.is_synthetic:
        return "choose an actor as the source, or one of the actors' performances as the target"
    return "choose another file, or one of the actors' performances"
