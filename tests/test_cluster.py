"""Opening a cluster: what is refused, and with which words; what is told of workers."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.compute import kinds, show, workers
from faceswap_lab.compute.cluster import Cluster, Deadlines, cluster, opened
from faceswap_lab.compute.costs.meter import Meter, Price
from faceswap_lab.compute.security import check_address, security
from faceswap_lab.compute.show import as_html, dashboard_link, rows
from faceswap_lab.compute.tasks import run_tasks
from faceswap_lab.errors import ComputeError
from tests.authority import write_certificates

HURRIED = Deadlines(connect_s=1, workers_s=1, answer_s=30)


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with cluster("local", workers=2) as made:
        yield made


def told(**changes: str) -> workers.WorkerFacts:
    """The facts of a worker like this process."""
    code = workers.versions() | changes
    return workers.WorkerFacts(
        address="tcp://10.0.0.5:40000", host="h", pid=1, device="cpu", cores=2, num_threads=1, memory=0, code=code
    )


# --- what is refused without any connection ---------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["nothing", "", "local2", "tcp:/host"])
def test_an_unknown_kind_is_refused(where: str) -> None:
    with pytest.raises(ValueError, match="local, cuda, slurm, kubernetes"):
        cluster(where)


@pytest.mark.parametrize("address", ["tcp://host", "http://host:1", "tls://:8786", "tcp://host:port", "tcp://host:99999999"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        check_address(address, plain_tcp=True)


def test_plain_tcp_to_another_machine_must_be_accepted_by_name() -> None:
    with pytest.raises(ComputeError, match="TLS to a scheduler on another machine") as caught:
        cluster("tcp://192.0.2.1:8786")
    assert "plain_tcp=True" in caught.value.remedy
    check_address("tcp://192.0.2.1:8786", plain_tcp=True)
    for own in ("tcp://127.0.0.1:8786", "tcp://localhost:8786", "tcp://[::1]:8786", "tls://192.0.2.1:8786"):
        check_address(own, plain_tcp=False)


def test_tls_needs_three_files(tmp_path: Path) -> None:
    with pytest.raises(ComputeError, match=r"ca.*got none"):
        security(ca=None, cert=None, key=None)
    (tmp_path / "ca.pem").touch()
    with pytest.raises(ComputeError, match="which is not there"):
        security(ca=tmp_path / "ca.pem", cert=tmp_path / "none.pem", key=tmp_path / "none.pem")
    made = security(ca=tmp_path / "ca.pem", cert=tmp_path / "ca.pem", key=tmp_path / "ca.pem")
    assert (made.tls_min_version, made.require_encryption) == (ssl.TLSVersion.TLSv1_3, True)


def test_other_versions_are_named() -> None:
    workers.check_versions([told()])
    with pytest.raises(ComputeError) as caught:
        workers.check_versions([told(), told(torch="2.9.0", python="3.13.1")])
    assert "torch 2.9.0 on tcp://10.0.0.5:40000, " in caught.value.got
    assert "python 3.13.1" in caught.value.got
    assert "constraints.txt" in caught.value.remedy


def test_a_client_without_a_gpu_may_use_workers_with_onnxruntimes_other_build() -> None:
    workers.check_versions([told(**{"onnxruntime": "none", "onnxruntime-gpu": "1.31.1"})])
    with pytest.raises(ComputeError, match=r"onnxruntime 1\.0\.0"):
        workers.check_versions([told(onnxruntime="1.0.0")])


@pytest.mark.parametrize(("device", "wanted"), [("cpu", "cuda"), ("cuda:0 (NVIDIA L4)", "mps")])
def test_a_worker_without_the_device_is_named(device: str, wanted: str) -> None:
    with pytest.raises(ComputeError, match=f"workers with the device {wanted}; got tcp://10.0.0.5:40000 has"):
        workers.check_device([replace(told(), device=device)], wanted)


def test_every_worker_has_auto_and_the_cpu() -> None:
    workers.check_device([told(), replace(told(), device="cuda:0 (NVIDIA L4)")], "auto")
    workers.check_device([replace(told(), device="cuda:0 (NVIDIA L4)")], "cpu")
    workers.check_device([replace(told(), device="cuda:0 (NVIDIA L4)")], "cuda")


@pytest.mark.parametrize("text", ["local:two", "local:-1"])
def test_a_count_of_workers_is_a_number(text: str) -> None:
    with pytest.raises(ValueError, match="KIND:WORKERS"), opened(text):
        pass


@pytest.mark.parametrize("kind", ["cuda", "slurm", "kubernetes"])
def test_a_missing_package_names_its_extra(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("dask_cuda", "dask_jobqueue", "dask_kubernetes.operator"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ComputeError, match="the package of the extra"):
        cluster(kind, plain_tcp=True)


@pytest.mark.parametrize("kind", ["slurm", "kubernetes"])
def test_libraries_that_talk_plain_tcp_must_be_accepted_too(kind: str) -> None:
    with pytest.raises(ComputeError, match="TLS between the") as caught:
        cluster(kind)
    assert "plain_tcp=True" in caught.value.remedy


def test_a_gpu_cluster_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    class NVMLError_LibraryNotFound(Exception):
        pass

    class Library:
        @staticmethod
        def LocalCUDACluster(**_: object) -> None:
            raise NVMLError_LibraryNotFound("NVML Shared Library Not Found")

    monkeypatch.setattr(kinds, "_library", lambda name, extra: Library)
    with pytest.raises(ComputeError, match="NVIDIA GPU with its driver"):
        cluster("cuda")


def test_a_slurm_job_starts_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """The script that would be submitted, from the real library; there is no Slurm here."""
    before = signal.getsignal(signal.SIGINT)
    jobqueue = kinds._library("dask_jobqueue", "slurm")
    assert signal.getsignal(signal.SIGINT) is before, "its import takes Ctrl-C for itself"
    scripts: list[str] = []

    class Held(jobqueue.SLURMCluster):  # type: ignore[name-defined,misc]
        def scale(self, n: int = 0, jobs: int = 0, **_: object) -> None:
            scripts.append(f"{jobs} {self.job_script()}")

    monkeypatch.setattr(jobqueue, "SLURMCluster", Held)
    from contextlib import ExitStack

    with ExitStack() as stack:
        kinds.slurm(
            stack,
            workers=3,
            dashboard=":0",
            plain_tcp=True,
            cores=4,
            processes=1,
            memory="16GB",
            job_extra_directives=["--gres=gpu:1"],
        )
    [script] = [each for each in scripts if each.startswith("3 ")]  # the library itself calls it with 0
    assert "#SBATCH --gres=gpu:1" in script
    assert "distributed.cli.dask_worker" in script


def test_kubernetes_gets_the_resource_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, object] = {}

    class Library:
        class KubeCluster:
            def __init__(self, **options: object) -> None:
                given.update(options)

            def __enter__(self) -> "Library.KubeCluster":
                return self

            def __exit__(self, *_: object) -> None:
                pass

    monkeypatch.setattr(kinds, "_library", lambda name, extra: Library)
    from contextlib import ExitStack

    path = tmp_path / "cluster.yaml"
    path.write_text("kind: ConfigMap\n---\nkind: DaskCluster\nmetadata: {name: lab}\n")
    with ExitStack() as stack:
        assert kinds.kubernetes(stack, workers=4, plain_tcp=True, spec=path, namespace="lab", dashboard=":0")[1] == 4
    assert given == {
        "custom_cluster_spec": {"kind": "DaskCluster", "metadata": {"name": "lab"}},
        "n_workers": 4,
        "namespace": "lab",
    }
    path.write_text("kind: ConfigMap\n")
    with ExitStack() as stack, pytest.raises(ComputeError, match="one DaskCluster"):
        kinds.kubernetes(stack, workers=1, plain_tcp=True, spec=path)


def test_a_meter_adds_up_workers_by_time_whether_they_work_or_not() -> None:
    now = iter([0.0, 1800.0, 1800.0, 5400.0, 7200.0])
    meter = Meter(Price(an_hour=8.5, currency="CNY"), clock=lambda: next(now))
    for num_workers in (2, 2, 0, 1, 1):
        meter.count(num_workers)
    assert meter.money == pytest.approx(8.5 * (2 * 0.5 + 0 * 1 + 1 * 0.5))
    with pytest.raises(ValueError, match="negative"):
        Price(an_hour=-1, currency="CNY")


# --- with processes ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_named() -> None:
    with pytest.raises(ComputeError, match=r"a Dask scheduler at tcp://127\.0\.0\.1:1;"):
        cluster("tcp://127.0.0.1:1", deadlines=HURRIED)


@pytest.mark.slow
def test_too_few_workers_are_waited_for_until_the_stated_time(two: Cluster) -> None:
    with pytest.raises(ComputeError, match="3 workers within 1 s; got 2;"):
        cluster(two.address, workers=3, deadlines=HURRIED)


@pytest.mark.slow
def test_workers_of_another_version_are_refused(two: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    own = workers.versions()
    monkeypatch.setattr(workers, "versions", lambda: own | {"torch": "9.9.9"})
    with pytest.raises(ComputeError, match=r"torch .* on tcp://127\.0\.0\.1:\d+, 9\.9\.9 here"):
        cluster(two.address)


@pytest.mark.slow
def test_a_folder_that_workers_do_not_see_is_refused(two: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two.check(folder=tmp_path)
    monkeypatch.setattr(workers, "sees", lambda path, token: False)
    with pytest.raises(ComputeError, match="workers that see the lab's folder") as caught:
        two.check(folder=tmp_path)
    assert "same volume" in caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_cluster_shows_itself(two: Cluster, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = rows(two)
    assert [each["worker"] for each in found] == two.addresses()
    assert {each["device"] for each in found} == {"cpu"}
    assert all(each["memory_mib"] > 0 for each in found)
    text = as_html(two)
    assert "2 workers" in text
    assert two.addresses()[0] in text
    assert two.dashboard in text
    port = two.dashboard.rpartition(":")[2].partition("/")[0]
    monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", "/user/jane/")
    assert dashboard_link(two.dashboard) == f"/user/jane/proxy/{port}/status"
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX")
    assert dashboard_link(two.dashboard) == two.dashboard
    assert command_line.main(["cluster", "show", "--compute", two.address, "--json"]) == 0
    assert [row["worker"] for row in json.loads(capsys.readouterr().out)] == two.addresses()


def test_a_kernel_of_a_plain_server_links_through_its_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server is the one of this process's parent, of several that run; without the proxy the link is the dashboard's own."""
    told_link = "http://127.0.0.1:8799/status"
    running = [{"pid": 1, "base_url": "/other/"}, {"pid": os.getppid(), "base_url": "/here/"}]
    monkeypatch.setattr("jupyter_server.serverapp.list_running_servers", lambda: iter(running))
    for name in ("JUPYTERHUB_SERVICE_PREFIX", "FACESWAP_LAB_PROXY", "JPY_PARENT_PID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(sys.modules, "ipykernel", raising=False)
    assert dashboard_link(told_link) == told_link, "no kernel"
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    assert dashboard_link(told_link) == "/here/proxy/8799/status"
    running.pop()
    assert dashboard_link(told_link) == told_link, "a kernel of no server, such as papermill's"
    running[0]["pid"] = os.getppid()
    monkeypatch.setattr(show, "find_spec", lambda name: None)
    assert dashboard_link(told_link) == told_link, "no proxy"


@pytest.mark.slow
def test_workers_follow_the_work_and_a_bill_is_kept(two: Cluster) -> None:
    with pytest.raises(ComputeError, match="started here"), cluster(two.address) as other:
        other.adapt(maximum=2)
    with cluster("local", workers=1, price=Price(an_hour=3600, currency="EUR")) as made:
        made.adapt(minimum=0, maximum=2)
        done = list(run_tasks([partial(_slept, number) for number in range(6)], made, lambda: False))
        assert sorted(each.result() for each in done) == list(range(6))
        assert len({each.worker for each in done}) == 2
        while made.addresses():  # they go when there is nothing to do
            time.sleep(0.1)
        assert made.bill().endswith(" EUR so far")
        assert float(made.bill().split()[0]) > 0


def _slept(number: int, stop: Callable[[], bool]) -> int:
    time.sleep(2)
    return number


@contextmanager
def tls_scheduler(folder: Path) -> Iterator[str]:
    """A scheduler and a worker that talk TLS only, with certificates of an own authority in `folder`."""
    write_certificates(folder)
    dask, told = Path(sys.executable).with_name("dask"), folder / "scheduler.json"
    secure = ["--tls-ca-file", folder / "ca.pem", "--tls-cert", folder / "node.pem", "--tls-key", folder / "node-key.pem"]
    # dask's command line has no flag for the version of TLS.
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "DASK_DISTRIBUTED__COMM__TLS__MIN_VERSION": "1.3"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment, "cwd": folder}
    command = [dask, "scheduler", "--host", "tls://127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", told, *secure]
    running = [subprocess.Popen(list(map(str, command)), **quiet)]
    try:
        while not (told.exists() and told.stat().st_size):  # it is made, then written
            time.sleep(0.05)
            assert running[0].poll() is None
        address = json.loads(told.read_text())["address"]
        command = [dask, "worker", address, "--nthreads", "1", "--no-dashboard", "--local-directory", folder, *secure]
        running.append(subprocess.Popen(list(map(str, command)), **quiet))
        yield address
    finally:
        for each in running:
            each.terminate()
        for each in running:
            each.wait()


@pytest.mark.slow
def test_tls_1_3_with_an_own_authority_and_nothing_less(tmp_path: Path) -> None:
    files = {name: tmp_path / file for name, file in (("ca", "ca.pem"), ("cert", "node.pem"), ("key", "node-key.pem"))}
    with tls_scheduler(tmp_path) as address:
        assert address.startswith("tls://127.0.0.1:")
        with cluster(address, workers=1, **files) as made:
            assert len(made.workers()) == 1
        with pytest.raises(ComputeError, match="a Dask scheduler at tcp"):
            cluster(address.replace("tls", "tcp"), deadlines=HURRIED)
        port = int(address.rpartition(":")[2])
        old = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
        old.load_cert_chain(tmp_path / "node.pem", tmp_path / "node-key.pem")
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        import socket

        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", port)) as plain:
            old.wrap_socket(plain, server_hostname="127.0.0.1")
        other = tmp_path / "other"
        other.mkdir()
        write_certificates(other)
        with pytest.raises(ComputeError, match="a Dask scheduler at tls"):
            cluster(address, deadlines=HURRIED, ca=files["ca"], cert=other / "node.pem", key=other / "node-key.pem")
