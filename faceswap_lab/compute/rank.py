"""One rank of a gang: a process of its own, `python -m faceswap_lab.compute.rank`, started by `compute.supervise` or by torchrun.

Its standard input is a lifeline: the first line is the job as JSON, a line "stop" asks it to stop after the current step, and its
end means that the supervisor has died. Its standard output has one JSON object a line, for the client; whatever else prints goes
to standard error, which is the rank's log.
"""

import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import IO, Any, NoReturn

from faceswap_lab.errors import LabError

JOB = "FACESWAP_LAB_JOB"
"""Environment variable with the path of a job, for ranks that torchrun starts: they have no lifeline."""

GRACE_S = 20.0
"""Seconds that a rank whose supervisor has died may take to save its state."""

REFUSED = 3
"""Exit status of a rank that ended with a LabError: doing the same again would not help."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """This process's place in its gang: `stop()` is whether it was asked to stop, `tell` sends a JSON object to the client.

    torch.distributed reads the same from the environment: RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT.
    """

    rank: int
    size: int
    stop: Callable[[], bool]
    tell: Callable[[Mapping[str, Any]], None]


Entry = Callable[[Mapping[str, Any], Member], None]
"""What a rank does with its payload, named "MODULE:FUNCTION"."""


def main() -> int:
    """Run the job; 0 when it is done or stopped, 3 after a LabError, 1 after any other error."""
    out = _own_stdout()
    lifeline = _Lifeline(GRACE_S)
    if path := os.environ.get(JOB):
        with open(path, encoding="utf-8") as file:  # noqa: PTH123 (one line of one file)
            job = json.load(file)
    else:
        job = json.loads(sys.stdin.buffer.readline())
        lifeline.watch(sys.stdin.buffer)
    member = Member(
        rank=int(os.environ["RANK"]), size=int(os.environ["WORLD_SIZE"]), stop=lifeline.is_cut, tell=lambda told: _send(out, told)
    )
    try:
        entry_of(job["entry"])(job["payload"], member)
    except LabError as error:
        member.tell({"kind": "failed", "error": type(error).__name__, **error.parts})
        traceback.print_exc()
        return REFUSED
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def entry_of(name: str) -> Entry:
    """The function named "MODULE:FUNCTION"."""
    module, _, attribute = name.partition(":")
    found: Entry = getattr(import_module(module), attribute)
    return found


class _Lifeline:
    """Reads the supervisor's words, and ends this process if the supervisor is gone and the work does not stop."""

    def __init__(self, grace_s: float) -> None:
        self._cut = threading.Event()
        self._grace_s = grace_s

    def is_cut(self) -> bool:
        return self._cut.is_set()

    def watch(self, words: IO[bytes]) -> None:
        threading.Thread(target=self._listen, args=(words,), name="lifeline", daemon=True).start()

    def _listen(self, words: IO[bytes]) -> None:
        for line in words:
            if line.strip() == b"stop":
                self._cut.set()
        self._cut.set()
        # A rank that waits for a dead one in a collective would wait until that times out.
        time.sleep(self._grace_s)
        os._exit(1)


def _own_stdout() -> IO[str]:
    """Standard output for the messages alone: prints of libraries, and of C code, go to standard error from here on."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8", newline="\n")
    os.dup2(2, 1)
    return out


_sending = threading.Lock()


def _send(out: IO[str], told: Mapping[str, Any]) -> None:
    with _sending:
        out.write(json.dumps(told, allow_nan=False) + "\n")
        out.flush()


def _exit(status: int) -> NoReturn:
    """End at once: threads of a broken process group would otherwise keep the process until their collectives time out."""
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _exit(main())
