"""How each kind of cluster is opened. Each function returns what distributed's Client connects to, and is thin on purpose."""

import signal
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ComputeError
from faceswap_lab.threads import SHARE, allowed, one_for_each_worker

Opened = tuple[Any, int]
"""What a Client connects to, and the number of workers to wait for."""


def local(stack: ExitStack, *, workers: int | None, dashboard: str, plain_tcp: bool, **options: Any) -> Opened:
    """Worker processes on this machine, one for each core by default, each with one thread."""
    from distributed import LocalCluster

    count = allowed() if workers is None else workers
    settings = {"n_workers": count, "threads_per_worker": 1, "processes": True, "memory_limit": 0, "silence_logs": "ERROR"}
    settings |= {"local_directory": _scratch(stack), "dashboard_address": dashboard, "host": "127.0.0.1"}
    settings |= {"env": {SHARE: "1", "OPENCV_FOR_THREADS_NUM": "1"}}
    stack.enter_context(_quiet())
    # While the cluster is open its nanny starts workers again, so the rule about threads holds that long.
    stack.enter_context(one_for_each_worker())
    return stack.enter_context(LocalCluster(**settings | options)), count  # type: ignore[no-untyped-call]


def cuda(stack: ExitStack, *, workers: int | None, dashboard: str, plain_tcp: bool, **options: Any) -> Opened:
    """A worker for each GPU of this machine, or for the first `workers` of them.

    Each sees its own GPU as cuda:0. RMM's pool is left off, because torch and onnxruntime have allocators of their own, which it
    does not serve; device memory is spilled by neither.
    """
    library = _library("dask_cuda", "gpu")
    settings: dict[str, Any] = {"dashboard_address": dashboard, "local_directory": _scratch(stack), "threads_per_worker": 1}
    settings |= {"device_memory_limit": 0, "silence_logs": "ERROR"}
    if workers is not None:
        settings["n_workers"] = workers
    stack.enter_context(_quiet())
    try:
        made = stack.enter_context(library.LocalCUDACluster(**settings | options))
    except Exception as error:
        # NVML's errors come from a module that dask-cuda loads lazily; without a driver it is NVMLError_LibraryNotFound.
        if "NVML" not in type(error).__name__ + str(error):
            raise
        raise ComputeError(
            expected="an NVIDIA GPU with its driver on this machine",
            got=f"{type(error).__name__}: {error}",
            remedy='run where `nvidia-smi` answers, connect to such a machine (lab.cluster("tls://…")), or lab.cluster("local")',
        ) from error
    return made, len(made.workers)


def slurm(stack: ExitStack, *, workers: int | None, dashboard: str, plain_tcp: bool, **options: Any) -> Opened:
    """Workers as jobs of Slurm, configured as dask-jobqueue is (`jobqueue.slurm` in dask's configuration, or options).

    With `security=True` and a `shared_temp_directory` the library makes certificates for TLS of its own.
    """
    if not (plain_tcp or options.get("security")):
        raise ComputeError(
            expected="TLS between the nodes",
            got="dask-jobqueue's default, plain TCP",
            remedy="give security=True and shared_temp_directory=FOLDER, which all nodes see, or accept it: plain_tcp=True "
            "(--plain-tcp)",
        )
    library = _library("dask_jobqueue", "slurm")
    count = 1 if workers is None else workers
    made = stack.enter_context(library.SLURMCluster(scheduler_options={"dashboard_address": dashboard}, **options))
    made.scale(jobs=count)
    return made, count


def kubernetes(
    stack: ExitStack, *, workers: int | None, plain_tcp: bool, spec: Mapping[str, Any] | str | Path | None = None, **options: Any
) -> Opened:
    """Workers as pods, from a DaskCluster resource (environments/kubernetes has one): a mapping, or the path of a YAML file.

    dask-kubernetes itself talks plain TCP: with TLS, apply the resource and connect by its address (docs/cloud.md).
    """
    options.pop("dashboard", None)
    if not plain_tcp:
        raise ComputeError(
            expected="TLS between the pods",
            got="dask-kubernetes, which connects by plain TCP only",
            remedy='apply the resource with kubectl and connect by lab.cluster("tls://…") (docs/cloud.md), or accept it on a '
            "network that nobody else is on: plain_tcp=True (--plain-tcp)",
        )
    library = _library("dask_kubernetes.operator", "kubernetes")
    wanted = spec if spec is None or isinstance(spec, Mapping) else _yaml(Path(spec))
    if workers is not None:
        options["n_workers"] = workers
    made = stack.enter_context(library.KubeCluster(custom_cluster_spec=wanted, **options))
    return made, 1 if workers is None else workers


def _quiet() -> Any:
    """Dask's settings while a cluster of this machine is open: its workers don't sample their own stacks a hundred times a second,
    which takes cores from ranks and shows nothing of them."""
    import dask.config

    return dask.config.set({"distributed.worker.profile.enabled": False})


def _yaml(path: Path) -> Any:
    import yaml

    with path.expanduser().open(encoding="utf-8") as file:
        found = [each for each in yaml.safe_load_all(file) if isinstance(each, dict) and each.get("kind") == "DaskCluster"]
    if len(found) != 1:
        raise ComputeError(
            expected=f"one DaskCluster in {path}", got=f"{len(found)}", remedy="give a file such as environments/kubernetes has"
        )
    return found[0]


def _library(name: str, extra: str) -> Any:
    before = signal.getsignal(signal.SIGINT)
    try:
        return import_module(name)
    except ImportError as error:
        raise ComputeError(
            expected=f"the package of the extra {extra!r}",
            got=f"{type(error).__name__}: {error}",
            remedy=f"pip install 'faceswap-lab[{extra}]' with environments/constraints.txt",
        ) from error
    finally:
        # dask-jobqueue replaces Ctrl-C's handler when it is imported: an interrupt would end the kernel instead of the cell.
        if signal.getsignal(signal.SIGINT) is not before and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)


def _scratch(stack: ExitStack) -> str:
    """A folder for the workers' temporary files, removed with the cluster."""
    return stack.enter_context(tempfile.TemporaryDirectory(prefix="faceswap-lab-dask-", ignore_cleanup_errors=True))


KINDS: dict[str, Callable[..., Opened]] = {"local": local, "cuda": cuda, "slurm": slurm, "kubernetes": kubernetes}
