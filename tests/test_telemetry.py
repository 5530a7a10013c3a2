"""Nothing reports home: a process that uses the lab leaves no device id behind and asks for no connection."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faceswap_lab import telemetry
from faceswap_lab.maintenance import doctor, findings

ROOT = Path(__file__).parents[1]

SESSION = """
import sys
import numpy, torch
from faceswap_lab.models import device
device.probe(torch.device("cpu"))
print("ready", flush=True)
sys.stdin.read()
"""
PLAIN = "import sys, onnxruntime; print('ready', flush=True); sys.stdin.read()"


class Proxy:
    """Listens where HTTP clients, Python's and native ones, look for a proxy, and notes what they ask for."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.asked: list[bytes] = []
        self.was_asked = threading.Event()
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client:
                self.asked.append(client.recv(200))
            self.was_asked.set()

    @property
    def variables(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        return {name: address for both in ("http_proxy", "https_proxy") for name in (both, both.upper())}


@contextmanager
def child(code: str, home: Path, proxy: Proxy, **variables: str) -> Iterator[None]:
    """A process with an empty home folder, ready and still running inside the block."""
    home.mkdir()
    kept = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT", "LD_LIBRARY_PATH") if name in os.environ}
    environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **proxy.variables, **variables}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.communicate("")
    assert process.returncode == 0


def files_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="where onnxruntime keeps its device id is known for Linux")
def test_a_session_of_the_lab_leaves_no_device_id_and_sends_nothing(tmp_path: Path) -> None:
    """onnxruntime by itself runs beside it: once that has asked for its connection, the lab's had the time to do so as well."""
    by_itself, lab = Proxy(), Proxy()
    with child(PLAIN, tmp_path / "plain", by_itself), child(SESSION, tmp_path / "lab", lab, ORT_DISABLE_TELEMETRY="0"):
        if not files_in(tmp_path / "plain"):
            pytest.skip("this onnxruntime has no telemetry to switch off")
        assert by_itself.was_asked.wait(300)
        assert b"CONNECT" in by_itself.asked[0]
        assert "deviceid" in files_in(tmp_path / "plain")[0]
    assert lab.asked == []
    assert files_in(tmp_path / "lab") == []


def told(code: str) -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name not in telemetry.SWITCHES}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


def test_the_switches_are_set_by_the_import_and_reach_child_processes() -> None:
    child = "import os, sys; print(*(os.environ[name] for name in sys.argv[1:]))"
    code = (
        "import subprocess, sys, faceswap_lab; from faceswap_lab.telemetry import SWITCHES\n"
        f"subprocess.run([sys.executable, '-c', {child!r}, *SWITCHES], check=True)"
    )
    assert told(code) == list(telemetry.SWITCHES.values())


def test_a_library_that_was_imported_earlier_is_asked_to_stop_and_named() -> None:
    code = (
        "import sys, types; early = sys.modules['onnxruntime'] = types.ModuleType('onnxruntime')\n"
        "early.disable_telemetry_events = lambda: print('asked')\n"
        "import faceswap_lab; from faceswap_lab import telemetry; print(*telemetry.late())"
    )
    assert told(code) == ["asked", "onnxruntime"]


def test_mlflow_too_is_asked_to_read_its_switch_again() -> None:
    code = (
        "import sys, types; early = sys.modules['mlflow'] = types.ModuleType('mlflow'); early.telemetry = types.SimpleNamespace()\n"
        "early.telemetry.set_telemetry_client = lambda: print('asked')\n"
        "import faceswap_lab; from faceswap_lab import telemetry; print(*telemetry.late())"
    )
    assert told(code) == ["asked", "mlflow"]


@pytest.mark.slow
def test_the_real_mlflow_sends_nothing_whether_it_came_first_or_not(tmp_path: Path) -> None:
    """mlflow by itself shows that the question is asked: in a test run or on a CI machine it would be silent anyway."""
    pytest.importorskip("mlflow")
    ask = "from mlflow.telemetry import get_telemetry_client as client; print('on' if client() else 'off')"
    found = {}
    for number, modules in enumerate(("mlflow", "faceswap_lab, mlflow", "mlflow, faceswap_lab")):
        home, proxy = tmp_path / str(number), Proxy()
        home.mkdir()
        kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
        environment = {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **proxy.variables}
        command = [sys.executable, "-c", f"import {modules}; {ask}"]
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True, text=True, check=True)
        found[modules] = done.stdout.split()[0]
    assert found == {"mlflow": "on", "faceswap_lab, mlflow": "off", "mlflow, faceswap_lab": "off"}


def test_doctor_tells_whether_telemetry_is_off() -> None:
    assert findings.judge_telemetry(late=[], not_set=[]).state == "ok"
    late = findings.judge_telemetry(late=["onnxruntime"], not_set=[])
    assert (late.state, "onnxruntime was imported before" in late.found) == ("warning", True)
    assert findings.judge_telemetry(late=[], not_set=["HF_HUB_DISABLE_TELEMETRY"]).state == "warning"
    assert telemetry.not_set() == ()
    assert next(each for each in doctor.examine() if each.name == "telemetry").state == "ok"
