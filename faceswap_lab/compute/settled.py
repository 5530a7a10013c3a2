"""Set-up of each worker process: apart from the other modules, because it needs distributed as soon as it is imported."""

import signal
import threading
from typing import Any

from distributed.diagnostics.plugin import WorkerPlugin


class Settled(WorkerPlugin):
    """Set-up of each worker process that this lab started, also of one that replaces another.

    Ctrl-C in a terminal or a notebook signals every process of its group; workers ignore it and rely on the client, so that
    all stop in the same way. Workers that somebody else started (`own` is false) are left as they are.
    """

    name = "faceswap-lab"

    def __init__(self, *, own: bool) -> None:
        self.own = own

    def setup(self, worker: Any) -> None:
        """See `WorkerPlugin.setup`: called in the worker's main thread."""
        if self.own and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
