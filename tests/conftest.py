"""What holds in every test: shapes and types are checked, workers don't fight for cores, Ctrl-C works as in a terminal, and
Hypothesis has no deadline.

jaxtyping and beartype wrap the package before it is imported; the threads of a worker are set before torch is.
"""

import os
import signal

# Test modules import onnxruntime before faceswap_lab, which would switch it off.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if "PYTEST_XDIST_WORKER" in os.environ:
    # As many workers as cores: two threads each would wait for each other. Child processes inherit it.
    os.environ["OMP_NUM_THREADS"] = "1"

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # Under nohup and in a script's background job SIGINT is ignored, and so it would be in every child that a test interrupts.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# As `faceswap_lab.threads` sets it: test files import torch before the package, and many run beside other work.
if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "5000"

import pytest
from hypothesis import HealthCheck, settings
from jaxtyping import install_import_hook

import tests.typecheck  # noqa: F401 (the hook looks the checker up by name)

install_import_hook("faceswap_lab", "tests.typecheck.check")

# By default an example that takes 200 ms fails, which on a busy machine says nothing of the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

# Files whose tests take minutes on one core. They start first, so that no worker ends up alone with them.
LONGEST = (
    "test_two_machines.py",
    "test_compute.py",
    "test_notebooks.py",
    "test_promise.py",
    "test_report_pages.py",
    "test_demo_browser.py",
    "test_pipeline_run.py",
    "test_kills.py",
    "test_resume.py",
    "test_interrupts.py",
    "test_browser.py",
    "test_verbs.py",
    "test_faceset.py",
    "test_pack_run.py",
    "test_index_browser.py",
    "test_serve_desk.py",
    "test_schedule_commands.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first and leaves the order of the others."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))
