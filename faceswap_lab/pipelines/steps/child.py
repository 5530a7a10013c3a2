"""The process of one step: `python -m faceswap_lab.pipelines.steps.child` executes a notebook in a run that was started for it.

Standard input is a line of JSON that says what to do, and then its lifeline: when the parent closes it, on purpose or by dying,
this process stops its kernel, keeps what was executed, and ends. What came of it is in the run: it is finished, or its last event
says why not.
"""

import _thread
import json
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceswap_lab.pipelines.steps.marked import MARK, kill_marked

GRACE_S = 20.0
"""Seconds in which a process that was asked to stop may end by itself; then it and its descendants are killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a child is told: the folder of the run, the notebook (a path, or the name of a shipped one) and its parameters."""

    run: str
    notebook: str
    parameters: dict[str, Any]

    def to_line(self) -> bytes:
        """As one line of JSON."""
        told = {"run": self.run, "notebook": self.notebook, "parameters": self.parameters}
        return json.dumps(told).encode() + b"\n"


def main() -> int:
    """Execute the notebook; 0 if its run is finished, 1 if it failed, 130 if it was stopped."""
    told, asked = Order(**json.loads(_line())), threading.Event()
    threading.Thread(target=_follow, args=(asked,), daemon=True).start()
    from faceswap_lab.errors import LabError

    try:
        _execute(told, asked)
    except KeyboardInterrupt:
        return 130
    except LabError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        kill_marked(os.environ[MARK])  # the parent may be dead
    return 0


def _execute(told: Order, asked: threading.Event) -> None:
    from faceswap_lab.errors import RunError
    from faceswap_lab.files import sha256_file
    from faceswap_lab.pipelines.notebook import NotebookRun, notebook_path, placed, run_notebook

    run = NotebookRun(Path(told.run))
    path = Path(told.notebook) if told.notebook.endswith(".ipynb") else notebook_path(told.notebook)
    with run:
        if not path.is_file() or sha256_file(path) != run.inputs["notebook"]:
            got = "another file" if path.is_file() else "no such file on this machine"
            remedy = "run the pipeline again; workers of a cluster must have the same package and see the notebook's folder"
            raise RunError(expected=f"the notebook {path} as it was when the step began", got=got, remedy=remedy)

        def tell(done: int, total: int) -> None:
            run.emit("cell", number=done, cells=total)
            run.flush()

        try:
            summary = run_notebook(path, placed(path, told.parameters, run), run=run, cwd=path.parent, tell=tell)
        except Exception as error:
            if asked.is_set():  # the kernel was shut down under it
                raise KeyboardInterrupt from error
            raise
        run.finish(**summary)


def _line() -> bytes:
    """The first line of standard input.

    Read without `sys.stdin`, whose lock the thread that waits for more would hold: Python aborts if it is held at its end.
    """
    found = b""
    while not found.endswith(b"\n") and (more := os.read(0, 1 << 16)):
        found += more
    return found


def _follow(asked: threading.Event) -> None:
    """Waits for the lifeline's end; then interrupts the main thread, as Ctrl-C would, and kills all after some seconds."""
    while os.read(0, 1024):
        pass
    asked.set()
    if sys.platform == "win32":
        _thread.interrupt_main()
    else:  # a real signal also wakes a thread that waits
        os.kill(os.getpid(), signal.SIGINT)
    time.sleep(GRACE_S)
    kill_marked(os.environ[MARK])
    os._exit(137)


if __name__ == "__main__":
    sys.exit(main())
