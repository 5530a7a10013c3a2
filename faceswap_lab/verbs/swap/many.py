"""Several swaps in one call: one after the other in this process, or all at the same time on the workers of a cluster.

One that fails does so alone. What it costs to wait for a slow one is shared: each takes its turn at the workers.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from faceswap_lab.actors.cast import Actor
from faceswap_lab.compute.cluster import Cluster, opened
from faceswap_lab.errors import LabError
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.progress import Progress
from faceswap_lab.stopping import stop_on_signals
from faceswap_lab.verbs.computing import Compute
from faceswap_lab.verbs.swap.one import Call, swap_one
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.swap.spread import Together

_AT_ONCE = 2
"""Swaps at the same time for each worker: while one is being begun or finished the others keep the workers busy."""

Ended = SwapRun | LabError


def swap_each(targets: Sequence[Footage], call: Call, compute: Compute) -> list[SwapRun]:
    """The run of each footage, in order. When some have failed their error is raised, after the others are finished."""
    with opened(compute) as cluster:
        ended = _here(targets, call) if cluster is None else _spread(targets, call, cluster)
    failed = [(target, each) for target, each in zip(targets, ended, strict=True) if isinstance(each, LabError)]
    if failed:
        raise _some_failed(failed, len(targets))
    return [each for each in ended if isinstance(each, SwapRun)]


def _here(targets: Sequence[Footage], call: Call) -> list[Ended]:
    return [_ended(lambda target=target: swap_one(target, call, None)) for target in targets]  # type: ignore[misc]


def _spread(targets: Sequence[Footage], call: Call, cluster: Cluster) -> list[Ended]:
    """All at the same time, by a thread each, of which only the parts that workers make take long."""
    line = Progress("swap", sum(_num_frames(target, call) for target in targets), unit="frames")
    most = min(len(targets), _AT_ONCE * max(1, len(cluster.addresses()))) or 1
    with stop_on_signals() as stop, ThreadPoolExecutor(most, thread_name_prefix="swap") as threads:
        together = Together(stop=stop, line=line)

        def begin(target: Footage) -> Ended:
            return _ended(lambda: swap_one(target, call, cluster, together))

        futures = [threads.submit(begin, target) for target in targets]
        try:
            ended = [future.result() for future in futures]
        finally:
            for future in futures:
                future.cancel()
    line.close()
    return ended


def _ended(swapped: Callable[[], SwapRun]) -> Ended:
    try:
        return swapped()
    except LabError as error:
        return error


def _num_frames(target: Footage, call: Call) -> int:
    """0 for what cannot be swapped: its own swap says why."""
    try:
        return min(call.recipe.preview or len(target), len(target))
    except (LabError, TypeError):
        return 0


def _some_failed(failed: Sequence[tuple[Footage, LabError]], count: int) -> LabError:
    """One error of the first one's kind, which names all."""
    first = failed[0][1]
    if count == 1:
        return first
    told = "; ".join(f"{_name(target)}: {error.got}" for target, error in failed[:5])
    more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
    return type(first)(
        expected=f"{count} swaps; the first that failed expected {first.expected}",
        got=f"{count - len(failed)}; {told}{more}",
        remedy=f"{first.remedy}; the others are finished, and the same call returns them",
    )


def _name(target: Footage) -> str:
    if isinstance(target, Actor):
        return target.subject
    return target.path.name if isinstance(target, Clip | Excerpt) else target.origin
