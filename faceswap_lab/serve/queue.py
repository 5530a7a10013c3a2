"""The line before the one device: first come, first served, one job a session, and no job that nobody waits for.

Gradio's own queue bounds the number that wait and runs one at a time, but lets one session take all places, and what it runs goes
on after its browser has gone. So the demo lets it pass everything on, and this line decides.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.refusals import QueueFullError, StoppedError

Gone = Callable[[], bool]
"""Whether the job is to end: its visitor has gone, or the demo stops."""

Work = Callable[["Ticket"], Any]


class Ticket:
    """A place in the line, and later the job's result. Whoever waits for it keeps asking: who doesn't has gone."""

    def __init__(self, session: str, work: Work, dropped: Callable[[], None], unattended_s: float) -> None:
        self.session, self.work, self.dropped = session, work, dropped
        self.told: Any = None
        self._unattended_s, self._asked = unattended_s, time.monotonic()
        self._cancelled, self._done = threading.Event(), threading.Event()
        self._result: Any = None
        self._error: BaseException | None = None

    def wait(self, seconds: float) -> bool:
        """Whether the job has ended, within that many seconds."""
        self._asked = time.monotonic()
        ended = self._done.wait(seconds)
        self._asked = time.monotonic()
        return ended

    def result(self) -> Any:
        """What the work returned, or its error. Only after `wait` said that it has ended."""
        if self._error is not None:
            raise self._error
        return self._result

    def cancel(self) -> None:
        """Nobody waits any more: a waiting job is never begun, a running one is told to end."""
        self._cancelled.set()

    def gone(self) -> bool:
        """Whether the job is to end: it was cancelled, or nobody has asked for it lately."""
        return self._cancelled.is_set() or time.monotonic() - self._asked > self._unattended_s

    def _end(self, result: Any = None, error: BaseException | None = None) -> None:
        self._result, self._error = result, error
        self._done.set()


class Line:
    """Tickets in order, and the thread that works them off one by one. `close` ends it: what waits is refused, what runs is
    told."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._waiting: deque[Ticket] = deque()
        self._running: Ticket | None = None
        self._closed = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._serve, name="demo-line", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def enter(self, session: str, work: Work, dropped: Callable[[], None] = lambda: None) -> Ticket:
        """A place at the end. QueueFullError if all places are taken or the session has one; StoppedError once the line is closed.

        `work(ticket)` runs in the line's thread, and looks at `ticket.gone()`; `dropped` is called instead if it never begins.
        """
        ticket = Ticket(session, work, dropped, self._limits.unattended_s)
        with self._changed:
            self.check(session)
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def check(self, session: str) -> None:
        """Raise what `enter` would raise: it costs nothing, so it is asked before an upload is looked at."""
        with self._changed:
            if self._closed:
                raise _stopped()
            self._drop_gone()
            if any(each.session == session for each in (*self._waiting, self._running) if each is not None):
                got, remedy = "another one under way", "wait for it, or cancel it"
                raise QueueFullError(expected="one job of a session at a time", got=got, remedy=remedy)
            # The first to come finds the device free, and waits for nobody.
            if len(self._waiting) - (self._running is None) >= self._limits.max_waiting:
                most, got = self._limits.max_waiting, f"{len(self._waiting)}: the queue is full"
                raise QueueFullError(expected=f"at most {most} jobs waiting", got=got, remedy="try again in a minute")

    def before(self, ticket: Ticket) -> int:
        """How many jobs come before this one; 0 once it runs."""
        with self._changed:
            if ticket not in self._waiting:
                return 0
            return self._waiting.index(ticket) + (self._running is not None)

    def leave(self, ticket: Ticket) -> None:
        """Nobody waits for this job any more: its place is free at once; if it runs, it is told to end."""
        ticket.cancel()
        with self._changed:
            self._drop_gone()

    def close(self) -> None:
        """Refuse what waits, tell the running job to end, and wait for its end."""
        with self._changed:
            self._closed = True
            for ticket in self._waiting:
                ticket.dropped()
                ticket._end(error=_stopped())
            self._waiting.clear()
            if self._running is not None:
                self._running.cancel()
            self._changed.notify_all()
        self._thread.join()

    def _serve(self) -> None:
        while (ticket := self._next()) is not None:
            ended: dict[str, Any] = {}
            try:
                ended["result"] = ticket.work(ticket)
            except BaseException as error:  # handed to whoever waits for it
                ended["error"] = error
            # First: whoever sees the end may enter again at once.
            with self._changed:
                self._running = None
            ticket._end(**ended)

    def _next(self) -> Ticket | None:
        with self._changed:
            while True:
                self._drop_gone()
                if self._closed:
                    return None
                if self._waiting:
                    self._running = self._waiting.popleft()
                    return self._running
                self._changed.wait(1.0)

    def _drop_gone(self) -> None:
        """Takes out whom nobody waits for any more, so that they hold no place."""
        for ticket in [each for each in self._waiting if each.gone()]:
            self._waiting.remove(ticket)
            ticket.dropped()
            ticket._end(error=StoppedError(expected="a visitor who waits", got="nobody", remedy="begin again"))


def _stopped() -> StoppedError:
    return StoppedError(expected="a demo that runs", got="one that is being stopped", remedy="come back when it runs again")
