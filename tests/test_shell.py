"""The suite depends neither on the shell that starts it nor on how busy the machine is."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]
CHILD = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
SUITE = f"""
import signal, subprocess, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)  # as nohup does, and a script for its background jobs
{{load}}
print(subprocess.run([sys.executable, "-c", {CHILD!r}], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
@pytest.mark.parametrize(("load", "can_be_stopped"), [("import tests.conftest", "True"), ("", "False")])
def test_a_child_can_be_interrupted_where_the_shell_ignores_it(load: str, can_be_stopped: str) -> None:
    """Without the second case, the first would say nothing about conftest."""
    command = [sys.executable, "-c", SUITE.format(load=load)]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert found.strip() == can_be_stopped


def test_this_process_can_be_interrupted() -> None:
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_no_example_fails_by_the_clock() -> None:
    assert settings().deadline is None
    assert HealthCheck.too_slow in settings().suppress_health_check
