"""One attempt at a step: a process of its own, watched until it ends, asked to stop at its limit and then killed.

Whatever of it is left at the end is killed, see `marked`.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from faceswap_lab.files import ROOT_VARIABLE
from faceswap_lab.pipelines.notebook import COPY, NotebookRun
from faceswap_lab.pipelines.steps.child import GRACE_S, Order
from faceswap_lab.pipelines.steps.marked import MARK, kill_marked
from faceswap_lab.stopping import Stop

_LOOK_S = 0.1
_TAIL = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attempt ended: "finished", "failed" (with the reason in three parts) or "stopped"."""

    state: str
    seconds: float
    expected: str = ""
    got: str = ""
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """The work of an attempt, as a task for a thread here or for a worker of a cluster; all must see the lab's folder."""

    run: Path
    order: Order
    timeout_s: float

    def __call__(self, stop: Stop) -> Ending:
        """Run the process to its end. It ends early at the time limit, and when `stop()` becomes true."""
        start = time.monotonic()
        with tempfile.TemporaryFile() as log, _process(self, log) as process:
            is_late = is_stopped = False
            while process.poll() is None and not (is_late or is_stopped):
                time.sleep(_LOOK_S)
                is_late, is_stopped = time.monotonic() - start > self.timeout_s, stop()
            code = _end(process)
            seconds = round(time.monotonic() - start, 1)
            if NotebookRun(self.run).finished:
                return Ending(state="finished", seconds=seconds)
            return Ending(state="stopped", seconds=seconds) if is_stopped else self._failure(code, log, seconds, is_late=is_late)

    def _failure(self, code: int, log: IO[bytes], seconds: float, *, is_late: bool) -> Ending:
        run = NotebookRun(self.run)
        copy = (
            f"the executed copy shows how far it got: {run.path / 'artifacts' / COPY}" if run.has(COPY) else "no cell was finished"
        )
        expected = f"{run.record.recipe['notebook']} to run to its end"
        if is_late:
            got = f"more than its {self.timeout_s:g} s, and was killed"
            return Ending(state="failed", seconds=seconds, expected=expected, got=got, remedy=f"raise its timeout; {copy}")
        last: dict[str, Any] = next(reversed(run.events()), {})
        if code == 1 and last.get("kind") == "failed":
            parts = {name: str(last.get(name, "")) for name in ("expected", "got", "remedy")}
            return Ending(state="failed", seconds=seconds, **parts)
        log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL))
        said = log.read().decode(errors="replace").strip()
        got = f"its process ended with {code}: {said.splitlines()[-1] if said else 'it said nothing'}"
        remedy = "run the pipeline again; a process that is killed usually had too little memory"
        return Ending(state="failed", seconds=seconds, expected=expected, got=got, remedy=remedy)


@contextmanager
def _process(attempt: Attempt, log: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """The child, in a process group of its own, told what to do; at the end nothing is left of it."""
    mark = uuid4().hex
    process = subprocess.Popen(
        [sys.executable, "-m", "faceswap_lab.pipelines.steps.child"],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=log,
        env=os.environ | {ROOT_VARIABLE: str(attempt.run.parent.parent), MARK: mark},
        start_new_session=True,
    )
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it has ended already, and its code says why
            process.stdin.write(attempt.order.to_line())
            process.stdin.flush()
        yield process
    finally:
        _end(process, grace_s=0.0)
        kill_marked(mark)


def _end(process: subprocess.Popen[bytes], grace_s: float = GRACE_S + 10.0) -> int:
    """Close the lifeline, on which the child stops its kernel and ends, and kill it if it does not; returns its exit code."""
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        return process.wait(grace_s)
    process.kill()
    return process.wait()
