"""The unit of bars on time: one matrix product and one memory copy on one core, measured in the same run as what is judged.

A bar in milliseconds or frames per second judges the processor. A multiple of this unit judges the code: it tells a renderer that
got slower from a machine that is slow. The unit is in seconds of CPU time, which neighbours on the cores disturb least, and so must
be what is divided by it.
"""

import faceswap_lab  # noqa: F401 (before torch: it sets how torch's threads wait)

# isort: split
import json
import platform
import statistics
import time

import numpy as np
import torch

SIDE, BYTES, TIMES = 512, 32 * 2**20, 5
"""Of the product, of the copy; how often each is done for one measurement."""

_matrix = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(0))
_product = torch.empty(SIDE, SIDE)
_from, _to = np.ones(BYTES, np.uint8), np.ones(BYTES, np.uint8)


def unit_seconds() -> float:
    """The median of a few: seconds of CPU time of one product and one copy, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return statistics.median(_once() for _ in range(TIMES))
    finally:
        torch.set_num_threads(threads)


def _once() -> float:
    start = time.thread_time()
    torch.mm(_matrix, _matrix, out=_product)
    np.copyto(_to, _from)
    return time.thread_time() - start


if __name__ == "__main__":
    machine = f"{platform.processor() or platform.machine()}, torch {torch.__version__}"
    print(json.dumps({"name": "reference", "machine": machine, "figures": {"unit_ms": round(1e3 * unit_seconds(), 2)}, "bars": {}}))
