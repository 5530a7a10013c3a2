"""The commands of the images, manifests and docs/cloud.md are started here, on one machine, as far as it has what they need."""

import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml

from faceswap_lab.compute.cluster import cluster as open_cluster
from tests.dockerfile import read, sources
from tests.manifests import KUBERNETES, Pod, pods, resolve

ROOT = Path(__file__).parent.parent
GUIDE = (ROOT / "docs/cloud.md").read_text()
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCKERFILE = ROOT / "environments/images/Dockerfile"
CERTIFICATES = KUBERNETES / "certificates.sh"

OTHERS = {
    "kubectl": ["--all", "--for", "--from-file", "--selector", "--timeout"],
    "helm": ["--create-namespace", "--namespace", "--repo", "--set", "--version"],
    "docker": ["--build-arg", "--format", "--read-only", "--rm", "--target", "--tmpfs", "--volume", "--workdir"],
    "pip": ["--no-deps", "--require-hashes", "--build-isolation"],
}
"""Flags of other programs in the documentation of environments/ and in docs/cloud.md."""

pytestmark = pytest.mark.slow


def blocks(language: str, of: str) -> str:
    """The one code block of the guide in which a text stands."""
    (found,) = [code for named, code in FENCED.findall(GUIDE) if named == language and of in code]
    return str(found)


def test_the_guide_uses_only_flags_that_are_known_here() -> None:
    for _, code in FENCED.findall(GUIDE):
        for line in code.replace("\\\n", " ").splitlines():
            program = next((name for name in OTHERS if f"{name} " in line), None)
            flags = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", line.partition("#")[0]))
            assert not flags or program, line
            assert flags <= {flag for name in OTHERS if f"{name} " in line for flag in OTHERS[name]}, line


def test_the_guide_installs_the_operator_whose_schema_is_tested() -> None:
    assert f"--version {version('dask-kubernetes')} " in GUIDE


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait(what: Callable[[], Any], process: subprocess.Popen[str], log: Path) -> Any:
    """What `what` returns once it doesn't raise OSError; fails when the process ends before."""
    end = time.monotonic() + 300
    while True:
        try:
            return what()
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)


@contextmanager
def running(command: list[str], log: Path, **environment: str) -> Iterator[subprocess.Popen[str]]:
    settings = (
        os.environ
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
        | environment
    )
    with log.open("w") as out:
        process = subprocess.Popen(command, env=settings, stdout=out, stderr=subprocess.STDOUT, text=True)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def answer(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as response:
        return response.read().decode()


# --- a cluster ---------------------------------------------------------------------------------------------------------

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates") / "secrets"
    subprocess.run(["sh", str(CERTIFICATES), str(folder), "2"], check=True)
    return folder


@needs_openssl
def test_certificates_are_private_and_never_overwritten(secrets: Path) -> None:
    found = {path.relative_to(secrets).as_posix() for path in secrets.rglob("*") if path.is_file()}
    assert found == {f"{role}/{name}" for role in ("scheduler", "worker", "client") for name in ("ca.crt", "tls.crt", "tls.key")}
    assert {path.stat().st_mode & 0o077 for path in secrets.rglob("*")} == {0}
    again = subprocess.run(["sh", str(CERTIFICATES), str(secrets)], capture_output=True, text=True, check=False)
    assert again.returncode != 0
    for role in ("scheduler", "worker", "client"):
        checked = ["openssl", "verify", "-x509_strict", "-CAfile", str(secrets / role / "ca.crt"), str(secrets / role / "tls.crt")]
        assert subprocess.run(checked, capture_output=True, text=True, check=False).returncode == 0


def started(pod: Pod, secrets: Path, scratch: Path, ports: dict[str, int]) -> tuple[list[str], dict[str, str]]:
    """Command and environment of a pod's container, with this machine's folders and ports in place of its own."""
    (container,) = pod.spec["containers"]
    mounts = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    role = pod.labels["dask.org/component"]
    values = {each["name"]: each["value"] for each in container["env"]}
    here = {mounts["tls"]: str(secrets / role), mounts["scratch"]: str(scratch), "$(DASK_WORKER_NAME)": "gpu-default-worker-0"}
    here |= {f"gpu-scheduler.{pod.namespace}.svc.cluster.local": "127.0.0.1"} | {old: str(new) for old, new in ports.items()}

    def local(text: str) -> str:
        for old, new in here.items():
            text = text.replace(old, new)
        return text

    return [local(each) for each in container["args"]], {name: local(value) for name, value in values.items()}


def jupyterlabs(secrets: Path) -> dict[str, str]:
    """The environment of JupyterLab's container, as far as it has values, with this machine's certificates."""
    (pod,) = [each for each in pods(resolve(KUBERNETES / "base")) if each.role == "jupyterlab"]
    (container,) = pod.spec["containers"]
    (place,) = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == "tls"]
    return {each["name"]: each["value"].replace(place, str(secrets / "client")) for each in container["env"] if "value" in each}


@needs_openssl
def test_scheduler_and_worker_start_as_the_manifest_says_and_speak_tls_1_3_only(secrets: Path, tmp_path: Path) -> None:
    import dask.config
    import distributed  # noqa: F401 (its defaults)

    ports = {"8786": free_port(), "8787": free_port()}
    address = f"tls://127.0.0.1:{ports['8786']}"
    scheduler, worker = pods(resolve(KUBERNETES / "clusters/base"))
    command, settings = started(scheduler, secrets, tmp_path, ports)
    work, work_settings = started(worker, secrets, tmp_path / "scratch", ports)
    work = [each for each in work if each not in ("cuda", "--device-memory-limit=0")]
    log, work_log = tmp_path / "scheduler.log", tmp_path / "worker.log"
    with running(command, log, **settings) as process:
        # The readiness probe, and the question that the operator asks before it deletes an idle cluster.
        assert wait(lambda: answer(f"http://127.0.0.1:{ports['8787']}/health"), process, log) == "ok"
        assert "idle_since" in json.loads(answer(f"http://127.0.0.1:{ports['8787']}/api/v1/check_idle"))
        # As in a notebook of JupyterLab: the address alone, the certificates from the environment.
        client = dask.config.set(dask.config.merge(dask.config.config, dask.config.collect_env(jupyterlabs(secrets))))
        with running(work, work_log, **work_settings), client, open_cluster(address) as cluster:
            (facts,) = cluster.check(folder=tmp_path)
            assert facts.address.startswith("tls://")
            assert cluster.client.submit(pow, 2, 5).result(timeout=120) == 32
            (known,) = cluster.client.scheduler_info()["workers"].values()
            assert known["name"] == "gpu-default-worker-0", "the operator removes workers by this name"
        assert spoken(ports["8786"], secrets / "client", ssl.TLSVersion.TLSv1_3)
        with pytest.raises(OSError, match=r"(?i)version|alert|eof|reset"):
            spoken(ports["8786"], secrets / "client", ssl.TLSVersion.TLSv1_2)
        with pytest.raises(OSError, match=r"(?i)certificate|alert|eof|reset"):
            spoken(ports["8786"], None, ssl.TLSVersion.TLSv1_3)


def spoken(port: int, own: Path | None, newest: ssl.TLSVersion) -> bytes:
    """The first bytes that a scheduler sends to a client of this TLS version, with a certificate or without."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = newest
    if own is not None:
        context.load_cert_chain(own / "tls.crt", own / "tls.key")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as plain, context.wrap_socket(plain) as connection:
        return connection.recv(1)


# --- JupyterLab and the report -----------------------------------------------------------------------------------------


def test_jupyterlab_starts_with_the_images_command_and_lets_nobody_in_without_the_token(tmp_path: Path) -> None:
    (command,) = read(DOCKERFILE.read_text()).stages["lab"].all_of("CMD")
    port = free_port()
    here = {"/lab/notebooks": str(tmp_path), "0.0.0.0": "127.0.0.1", "--port=8888": f"--port={port}"}
    words = [next((each.replace(old, new) for old, new in here.items() if old in each), each) for each in json.loads(command)]
    log, place = tmp_path / "jupyter.log", f"http://127.0.0.1:{port}"
    words += ["--allow-root"] if os.geteuid() == 0 else []
    with running(words, log, JUPYTER_TOKEN="secret-of-the-test", HOME=str(tmp_path)) as process:
        assert "version" in json.loads(wait(lambda: answer(f"{place}/api"), process, log)), "the probe needs no token"
        assert "content" in json.loads(answer(f"{place}/api/contents?token=secret-of-the-test"))
        assert refusal(f"{place}/api/contents?token=another") == 403
        closed = free_port()
        assert refusal(f"{place}/proxy/evil.example:{closed}/?token=secret-of-the-test") == 403
        # Let through, and then there is nobody: the host's name means something in the cluster only.
        assert refusal(f"{place}/proxy/gpu-scheduler:{closed}/?token=secret-of-the-test") >= 500
    assert "extension failed" not in log.read_text()


def test_the_lab_is_made_once_and_edited_notebooks_are_kept(tmp_path: Path) -> None:
    (pod,) = [each for each in pods(resolve(KUBERNETES / "base")) if each.role == "jupyterlab"]
    (container,) = pod.spec["initContainers"]
    (script,) = container["args"]
    place, settings = tmp_path / "lab", with_program(tmp_path)
    script = (
        script.replace("/opt/faceswap-lab", shlex.quote(str(ROOT)))
        .replace("/lab/notebooks", f"{place}/notebooks")
        .replace("init /lab", f"init {place}")
    )
    subprocess.run([*container["command"], script], env=settings, check=True, capture_output=True)
    assert {path.name for path in (place / "notebooks").iterdir()} == {path.name for path in (ROOT / "notebooks").iterdir()}
    edited, lost = place / "notebooks/00_quickstart.py", place / "notebooks/12_actors.py"
    edited.write_text("mine")
    lost.unlink()
    subprocess.run([*container["command"], script], env=settings, check=True, capture_output=True)
    assert edited.read_text() == "mine"
    assert lost.is_file()
    assert (place / "runs").is_dir()


def with_program(folder: Path) -> dict[str, str]:
    """An environment in which `faceswap-lab` is this tree's, and `python` this Python."""
    programs = folder / "bin"
    programs.mkdir()
    (programs / "faceswap-lab").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m faceswap_lab "$@"\n')
    (programs / "faceswap-lab").chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}


def refusal(url: str) -> int:
    with pytest.raises(urllib.error.HTTPError) as error:
        answer(url)
    error.value.close()
    return error.value.code


def test_the_nightly_report_is_written_from_finished_runs(tmp_path: Path) -> None:
    (pod,) = [each for each in pods(resolve(KUBERNETES / "base")) if each.role == "report"]
    (container,) = pod.spec["containers"]
    (script,) = container["args"]
    script = script.replace("/tmp/", f"{tmp_path}/")
    settings = with_program(tmp_path)

    def run(root: Path) -> subprocess.CompletedProcess[str]:
        command = [*container["command"], script]
        return subprocess.run(command, env=settings | {"FACESWAP_LAB_ROOT": str(root)}, capture_output=True, text=True, check=False)

    empty = tmp_path / "empty"
    subprocess.run([str(tmp_path / "bin/faceswap-lab"), "init", str(empty)], env=settings, check=True, capture_output=True)
    assert (done := run(empty)).returncode == 0, done.stderr
    assert "no finished run" in done.stdout
    full = tmp_path / "lab"
    shutil.copytree(ROOT / "tests/golden/lab_v1", full)
    assert (done := run(full)).returncode == 0, done.stderr
    (page,) = (full / "reports").iterdir()
    assert page.suffix == ".html"
    assert "swap-112773c0" in page.read_text()


# --- the guide ---------------------------------------------------------------------------------------------------------

needs_kubectl = pytest.mark.skipif(shutil.which("kubectl") is None, reason="no kubectl")


@needs_kubectl
@pytest.mark.parametrize("tree", ["base", "clusters/single-gpu"])
def test_the_guides_own_overlay_replaces_every_placeholder(tree: str, tmp_path: Path) -> None:
    site = tmp_path / "site/mine"
    site.mkdir(parents=True)
    shutil.copytree(ROOT / "environments/kubernetes", tmp_path / "faceswap_lab/environments/kubernetes")
    (site / "kustomization.yaml").write_text(blocks("yaml", f"kubernetes/{tree}"))
    done = subprocess.run(["kubectl", "kustomize", str(site)], capture_output=True, text=True, check=True)
    assert not re.findall(r"registry\.example|192\.0\.2\.|198\.51\.100\.", done.stdout)
    assert len(list(yaml.safe_load_all(done.stdout))) == len(resolve(KUBERNETES / tree))


@needs_kubectl
@needs_openssl
def test_the_guides_secrets_are_those_that_the_manifests_read(tmp_path: Path) -> None:
    """Its commands are run with a kubectl that only says what it would do."""
    folder, real = tmp_path / "bin", shutil.which("kubectl")
    folder.mkdir()
    (folder / "kubectl").write_text(f'#!/bin/sh\necho ---\nexec {real} "$@" --dry-run=client -o yaml\n')
    (folder / "kubectl").chmod(0o755)
    script = blocks("sh", "certificates.sh").replace("environments/kubernetes/", f"{shlex.quote(str(KUBERNETES))}/")
    settings = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-euc", script], cwd=tmp_path, env=settings, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    made = [each for each in yaml.safe_load_all(done.stdout) if each]
    keys = {each["metadata"]["name"]: set(each["data"]) for each in made if each["kind"] == "Secret"}
    three = {"ca.crt", "tls.crt", "tls.key"}
    assert keys == {f"dask-tls-{role}": three for role in ("client", "scheduler", "worker")} | {"jupyterlab-token": {"token"}}
    assert not (tmp_path / "secrets").exists()


def test_the_guides_python_is_the_images() -> None:
    tag = read(DOCKERFILE.read_text()).arguments["BASE_TAG"]
    assert f"python:{tag}" in GUIDE


def test_the_image_copies_what_the_wheel_is_made_of() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel, project = settings["tool"]["hatch"]["build"]["targets"]["wheel"], settings["project"]
    needed = {*wheel["packages"], *wheel["force-include"], project["readme"], *project["license-files"], "pyproject.toml"}
    assert needed == {
        each for each in sources(read(DOCKERFILE.read_text()).stages["build"]) if not each.startswith("environments/")
    }
