"""A cluster for people: a card in the notebook, rows for the command line."""

import os
import sys
from collections.abc import Sequence
from html import escape
from importlib.util import find_spec
from typing import Any, Protocol, runtime_checkable
from urllib.parse import urlsplit

from faceswap_lab.compute.workers import WorkerFacts


@runtime_checkable
class Shown(Protocol):
    """What is shown of a `Cluster`."""

    kind: str
    client: Any

    @property
    def address(self) -> str:
        """The scheduler's address."""

    @property
    def dashboard(self) -> str:
        """The dashboard's address, or an empty text."""

    def addresses(self) -> Sequence[str]:
        """Those of its workers."""

    def workers(self) -> Sequence[WorkerFacts]:
        """The facts of its workers."""


def rows(cluster: Shown) -> list[dict[str, Any]]:
    """A row for each worker: what it is, and what it is doing now."""
    told = cluster.client.sync(cluster.client.scheduler.identity, n_workers=-1)["workers"]
    facts = {each.address: each for each in cluster.workers()}
    found = []
    for address in cluster.addresses():
        metrics, known = told.get(address, {}).get("metrics", {}), facts[address]
        found.append(
            {
                "worker": address,
                "host": known.host,
                "device": known.device,
                "threads": known.num_threads,
                "cpu_percent": round(float(metrics.get("cpu", 0))),
                "memory_mib": round(float(metrics.get("memory", 0)) / 2**20),
                "running": int(metrics.get("task_counts", {}).get("executing", 0)),
                "python": known.code["python"],
                "torch": known.code["torch"],
            }
        )
    return found


def dashboard_link(link: str) -> str:
    """A dashboard's address as a browser reaches it: through jupyter-server-proxy from a notebook, else as it is.

    A notebook's server is often on another machine than the browser, which can reach that server only.
    """
    port = urlsplit(link).port if link else None
    shown = proxied(port) if port else ""
    return f"{shown}/status" if shown else link


def proxied(port: int) -> str:
    """The path at which this notebook's server shows a port of its machine (`/user/jo/proxy/8787`); empty where none does."""
    prefix = os.environ.get("JUPYTERHUB_SERVICE_PREFIX") or os.environ.get("FACESWAP_LAB_PROXY") or _served_at()
    return f"{prefix.rstrip('/')}/proxy/{port}" if prefix else ""


def _served_at() -> str:
    """The base path of the Jupyter server that started this kernel; empty for another process, and for a server without the proxy.

    A kernel is a child of its server, which leaves its address in Jupyter's runtime folder.
    """
    if "ipykernel" not in sys.modules or find_spec("jupyter_server_proxy") is None or find_spec("jupyter_server") is None:
        return ""
    from jupyter_server.serverapp import list_running_servers

    parents = {str(os.getppid()), os.environ.get("JPY_PARENT_PID")}
    return next((str(each["base_url"]) for each in list_running_servers() if str(each["pid"]) in parents), "")


def as_html(cluster: Shown) -> str:
    """The cluster as a small table."""
    table = rows(cluster)
    names = ("worker", "device", "threads", "cpu_percent", "memory_mib", "running")
    titles = ("worker", "device", "threads", "CPU %", "memory, MiB", "running")
    head = "".join(f"<th style='text-align:left;padding:0 1em 0 0'>{title}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left;padding:0 1em 0 0'>{escape(str(row[name]))}</td>" for name in names) + "</tr>"
        for row in table
    )
    link = dashboard_link(cluster.dashboard)
    board = f' · <a href="{escape(link)}" target="_blank" rel="noopener">dashboard</a>' if link else ""
    count = f"{len(table)} worker{'' if len(table) == 1 else 's'}"
    return f"<div><b>{escape(cluster.kind)}</b> · {count} · {escape(cluster.address)}{board}<table>{head}{body}</table></div>"
