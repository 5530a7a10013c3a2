"""Where a verb computes: in this process, or on the workers of a cluster that is opened, checked and recorded in one place."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from faceswap_lab.compute.cluster import Cluster, opened
from faceswap_lab.models import device as devices
from faceswap_lab.runs.run import Run

Compute = Cluster | str | None
"""The argument `compute` of verbs: a cluster, a text such as "local:2" or "tls://host:8786" (see `lab.cluster`), or None."""


def either(compute: Compute, workers: int) -> Compute:
    """`compute`, or the local processes that `workers` is short for; ValueError for both, or for less than one worker."""
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    if compute is not None and workers > 1:
        raise ValueError(f"give compute or workers, not both: workers={workers} is short for compute='local:{workers}'")
    return f"local:{workers}" if workers > 1 else compute


@contextmanager
def computing(run: Run, compute: Compute, device: str, **facts: Any) -> Iterator[tuple[Cluster | None, torch.device]]:
    """The cluster, or None, and the device of this process; the run's event `device` says what will compute, and the
    `facts`.

    Each worker has the versions of this process and the device, and sees the lab's folder; ComputeError otherwise.
    """
    where = devices.pick(device if compute is None else "cpu")
    with opened(compute) as cluster:
        if cluster is None:
            run.emit("device", device=devices.describe(where), workers=1, **facts)
        else:
            found = cluster.check(device=device, folder=run.root / "runs")
            kinds = Counter(each.device if device == "auto" else device for each in found)
            told = ", ".join(f"{count} x {kind}" for kind, count in kinds.items())
            run.emit("device", device=told, workers=len(found), compute=cluster.kind, **facts)
        run.flush()
        yield cluster, where
