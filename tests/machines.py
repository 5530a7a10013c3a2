"""Two machines that are namespaces of this one's network, with a switch between them whose port can be switched off.

`HERE` has the scheduler, a worker and the client, `THERE` the other worker. All see the same disk. As with a cable that is pulled
far away, nobody is told that the link is cut: what is sent is lost, and what a machine says to itself arrives.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.authority import as_flags, write_certificates

ROOT = Path(__file__).parents[1]
HERE, THERE = "10.213.77.1", "10.213.77.2"


def why_not() -> str:
    """Why this machine can't have such namespaces; empty if it can."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` (iproute2)"
    name = f"lab-probe-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode == 0:
        made = subprocess.run(["ip", "-n", name, "link", "add", "switch0", "type", "bridge"], capture_output=True, text=True)
        subprocess.run(["ip", "netns", "del", name], check=True)
    return made.stderr.strip() and f"no namespaces or no bridges in them: {made.stderr.strip()}"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


@dataclass(slots=True)
class Machines:
    """The two namespaces, and what runs in them. `address` is the scheduler's."""

    folder: Path
    name: str = field(default_factory=lambda: f"lab{os.getpid()}")
    address: str = ""
    running: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    def namespace(self, host: str) -> str:
        return self.name + {HERE: "-here", THERE: "-there"}.get(host, "-switch")

    def start(self, host: str, *command: object, **options: object) -> "subprocess.Popen[bytes]":
        """Start a command on one of the two. `ip` becomes the command, so its process is the command's."""
        environment = os.environ | {"PYTHONPATH": str(ROOT), "FACESWAP_LAB_ROOT": str(self.folder)}
        environment |= {"OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__COMM__TLS__MIN_VERSION": "1.3"}
        words = ["ip", "netns", "exec", self.namespace(host), *map(str, command)]
        made = subprocess.Popen(words, env=environment, cwd=self.folder, start_new_session=True, **options)  # type: ignore[call-overload]
        self.running.append(made)
        return made  # type: ignore[no-any-return]

    def client(self, what: str, *arguments: object) -> "subprocess.Popen[bytes]":
        """A client beside the scheduler: see `tests.clients`."""
        with (self.folder / "client.log").open("ab") as log:
            words = (sys.executable, "-m", "tests.clients", what, self.address, self.folder, *arguments)
            return self.start(HERE, *words, stdout=log, stderr=log)

    def cut(self) -> None:
        ip("-n", self.namespace("switch"), "link", "set", "there", "down")

    def mend(self) -> None:
        ip("-n", self.namespace("switch"), "link", "set", "there", "up")

    def processes(self, host: str) -> list[int]:
        """What runs on one of the two."""
        return [int(pid) for pid in ip("netns", "pids", self.namespace(host)).split()]

    def log(self) -> str:
        """The ends of what the processes said."""
        logs = {path.name: path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log"))}
        return "\n".join(f"--- {name}\n{text[-3000:]}" for name, text in logs.items())


@contextmanager
def two_machines(folder: Path, *, leader: str = HERE) -> Iterator[Machines]:
    """The two, with a scheduler and two workers that speak TLS. Rank 0 goes to the worker of the host `leader`."""
    made = Machines(folder)
    try:
        _connect(made)
        secure = as_flags(write_certificates(folder, (HERE, THERE)))
        dask, told = Path(sys.executable).with_name("dask"), folder / "scheduler.json"
        quiet = {"stdout": subprocess.DEVNULL}
        where = ("--host", f"tls://{HERE}", "--port", "0", "--no-dashboard", "--scheduler-file", told)
        with (folder / "scheduler.log").open("wb") as log:
            scheduler = made.start(HERE, dask, "scheduler", *where, *secure, stderr=log, **quiet)
        while not (told.exists() and told.stat().st_size):  # it is made, then written
            assert scheduler.poll() is None, made.log()
            time.sleep(0.05)
        made.address = json.loads(told.read_text())["address"]
        for host in (HERE, THERE):
            own = ("--host", host, "--name", int(host != leader), "--local-directory", folder / host, "--nthreads", "1")
            with (folder / f"worker-{host}.log").open("wb") as log:
                made.start(host, dask, "worker", made.address, "--no-dashboard", *own, *secure, stderr=log, **quiet)
        yield made
    finally:
        _end(made)


def _connect(made: Machines) -> None:
    for host in ("switch", HERE, THERE):
        ip("netns", "add", made.namespace(host))
        ip("-n", made.namespace(host), "link", "set", "lo", "up")
    switch = made.namespace("switch")
    ip("-n", switch, "link", "add", "switch0", "type", "bridge")
    ip("-n", switch, "link", "set", "switch0", "up")
    for host, port in ((HERE, "here"), (THERE, "there")):
        namespace = made.namespace(host)
        ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth", "netns", namespace)
        ip("-n", switch, "link", "set", port, "master", "switch0", "up")
        ip("-n", namespace, "link", "set", "eth", "up")
        ip("-n", namespace, "addr", "add", f"{host}/24", "dev", "eth")
    while _answer(made) != "ConnectionRefusedError":  # of a port that nobody listens at: packets come and go
        time.sleep(0.1)


def _answer(made: Machines) -> str:
    """What one of the two hears when it knocks at the other."""
    knock = f"""
import socket
try:
    socket.create_connection(("{HERE}", 1), timeout=3)
except OSError as error:
    print(type(error).__name__)
"""
    words = ["ip", "netns", "exec", made.namespace(THERE), sys.executable, "-c", knock]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def _end(made: Machines) -> None:
    for each in reversed(made.running):
        each.terminate()
    for each in made.running:
        try:
            each.wait(timeout=60)
        except subprocess.TimeoutExpired:
            each.kill()
            each.wait()
    for host in (HERE, THERE, "switch"):
        subprocess.run(["ip", "netns", "del", made.namespace(host)], check=False)
