"""The mark of an attempt: all its processes inherit it in their environment, so that none of them outlives it.

A kernel has a process group of its own, what its cells start may leave that too, and has no parent once the kernel has ended.
"""

import os
from contextlib import suppress

MARK = "FACESWAP_LAB_STEP"
"""The variable in the environment."""


def kill_marked(mark: str) -> None:
    """Kill every process of this user with the mark, but for this one."""
    import psutil  # type: ignore[import-untyped]

    for each in psutil.process_iter():
        with suppress(psutil.Error, OSError):  # another user's, or one that has ended meanwhile
            if each.pid != os.getpid() and each.environ().get(MARK) == mark:
                each.kill()
