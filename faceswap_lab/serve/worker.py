"""The process that does the work: with the device, with the networks loaded, and apart from the web server.

What a visitor sends is swapped there, so most files that break a decoder break that process and not the demo (the web server
decodes a picture, or a first frame, once to check it). A job whose visitor has gone can be ended: with SIGINT, on which the lab
stops in good order, and if that doesn't help, for good.
"""

import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any

from faceswap_lab.errors import LabError
from faceswap_lab.serve.orders import Order, Outcome, Telling
from faceswap_lab.serve.refusals import StoppedError

_POLL_S, _PATIENCE_S, _START_S = 0.05, 10.0, 600.0

_log = logging.getLogger(__name__)


class Worker:
    """One process, started when it is first needed and again whenever it has died. Not for several threads at once.

    `warm` are seeds of actors that it prepares for while it has nothing else to do.
    """

    def __init__(self, warm: Sequence[int] = ()) -> None:
        self._warm = tuple(warm)
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self) -> None:
        """Start the process, without waiting until it is ready."""
        if self._process is not None and self._process.is_alive():
            return
        self._drop()
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, self._warm), name="faceswap-lab demo", daemon=True)
        process.start()
        theirs.close()
        self._process, self._pipe = process, ours

    def do(self, order: Order, *, told: Telling, gone: Callable[[], bool], max_s: float) -> Outcome:
        """Have a job done. Raises its LabError; StoppedError if `gone()`, if it takes longer, or if the process dies of it."""
        self.start()
        assert self._pipe is not None
        try:
            self._pipe.send(order)
            return self._outcome(told, gone, max_s)
        except (EOFError, OSError) as error:
            self._drop()
            _log.exception("the process that does the work died in %s", order.visit.id)
            raise StoppedError(
                expected="a file that can be worked on",
                got="a process that died of it",
                remedy="try another file, or a smaller one",
            ) from error

    def close(self) -> None:
        """End the process."""
        self._drop()

    def _outcome(self, told: Telling, gone: Callable[[], bool], max_s: float) -> Outcome:
        assert self._pipe is not None
        # Starting takes its time, and isn't the job's.
        begun: float | None = None
        asked = monotonic()
        while True:
            if self._pipe.poll(_POLL_S):
                kind, value = self._pipe.recv()
                if kind == "told":
                    begun = begun or monotonic()
                    told(*value)
                elif kind == "done":
                    done: Outcome = value
                    return done
                else:
                    raise value
            elif gone():
                raise self._interrupted("a visitor who waits for it", "nobody", "begin again")
            elif monotonic() - (begun or asked + _START_S) > max_s:
                got, remedy = "more", "shorten or shrink it, or try again when less is going on"
                raise self._interrupted(f"a job of at most {max_s:g} s", got, remedy)

    def _interrupted(self, expected: str, got: str, remedy: str) -> StoppedError:
        """End the running job, and the process if it doesn't react; the error to raise."""
        assert self._pipe is not None
        if sys.platform != "win32":
            os.kill(self._process.pid, signal.SIGINT)
            until = monotonic() + _PATIENCE_S
            while monotonic() < until:
                if self._pipe.poll(_POLL_S) and self._pipe.recv()[0] != "told":
                    break
            else:
                self._drop()
        else:
            self._drop()
        return StoppedError(expected=expected, got=got, remedy=remedy)

    def _drop(self) -> None:
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        self._pipe = self._process = None


def _serve(pipe: Connection, warm: Sequence[int]) -> None:
    """The process: jobs as they come, until the other end closes; in between, what it can prepare."""
    at_work = False

    def stop(number: int, frame: Any) -> None:
        if at_work:
            raise KeyboardInterrupt

    # Ctrl-C in a terminal reaches this process as well; the other one decides what ends.
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    from faceswap_lab.serve import scoring, work

    left = list(warm)
    while True:
        if left and not pipe.poll():
            scoring.warm(left.pop(0))
            continue
        try:
            order = pipe.recv()
        except (EOFError, OSError):
            return
        answer: tuple[str, Any]
        try:
            at_work = True
            answer = "done", work.do(order, lambda *step: pipe.send(("told", step)))
        except LabError as error:
            answer = "failed", error
        except KeyboardInterrupt:
            answer = "failed", StoppedError(expected="the job's end", got="stopped", remedy="begin again")
        except Exception:
            traceback.print_exc()
            answer = "failed", _unforeseen()
        at_work = False
        pipe.send(answer)


def _unforeseen() -> LabError:
    return LabError(
        expected="no error of this kind",
        got="one that the demo's log has",
        remedy="try another file, and tell whoever runs this demo",
    )
