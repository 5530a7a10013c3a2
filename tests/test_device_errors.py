"""Errors of devices are told from errors of the program, and a device or a library that is missing is named before any work."""

import subprocess
import sys

import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import DeviceError, WeightsError
from faceswap_lab.models import device
from faceswap_lab.models.onnx_runtime import failures, onnxruntime

TWO_DEVICES = "Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"
NO_MEMORY = "bfc_arena.cc:376 AllocateRawInternal Failed to allocate memory for requested buffer of size 8589934592"


@pytest.mark.parametrize(
    "text",
    [
        TWO_DEVICES,
        "CUDA error: device-side assert triggered",
        "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED. This error may appear if you passed in a non-contiguous input.",
        "Expected a 'cuda' device type for generator but found 'cpu'",
        "Input type (torch.cuda.FloatTensor) and weight type (torch.FloatTensor) should be the same",
    ],
)
def test_a_fault_of_the_program_stays_what_it_is(text: str) -> None:
    error = RuntimeError(text)
    with pytest.raises(RuntimeError) as told, device.watched():
        raise error
    assert told.value is error


@pytest.mark.parametrize(
    "text",
    [
        "CUDA error: unspecified launch failure",
        "CUDA driver error: unknown error",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`",
    ],
)
def test_a_lost_device_is_told_as_one(text: str) -> None:
    with pytest.raises(DeviceError, match="the device to keep working"), device.watched():
        raise RuntimeError(text)


@pytest.mark.parametrize(
    "error",
    [
        failures.RuntimeException(NO_MEMORY),
        failures.Fail(NO_MEMORY),
        failures.RuntimeException("CUDA failure 2: out of memory ; GPU=0"),
        failures.Fail("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED"),
        RuntimeError("std::bad_alloc"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"
        ),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB"),
        MemoryError("Unable to allocate 8.00 GiB"),
    ],
)
def test_a_lack_of_memory_is_told_as_one(error: Exception) -> None:
    with pytest.raises(DeviceError, match=r"enough memory.*smaller batches") as told, device.running("a network to run"):
        raise error
    assert str(error)[:40] in told.value.got
    if isinstance(error, RuntimeError | MemoryError):
        with pytest.raises(DeviceError, match="enough memory"), device.watched():
            raise error


def test_a_lack_of_memory_is_told_when_a_network_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def session(*_: object, **__: object) -> None:
        raise failures.RuntimeException(NO_MEMORY)

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    with pytest.raises(DeviceError, match="enough memory"):
        device.onnx_session(b"", torch.device("cpu"))


def test_what_a_file_gets_wrong_is_not_a_lost_device() -> None:
    with pytest.raises(WeightsError), device.running("a network"):
        raise failures.InvalidArgument("Got invalid dimensions for input: cuda_frames")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_take_on_a_device_that_is_not_there_is_refused_when_it_is_read() -> None:
    take = Actor(7).perform("still", seconds=0.04, size=64, device="cuda")
    for read in (lambda: take[0], lambda: take.rendered(0), lambda: next(take.frames()), lambda: take.recast(Actor(5))[0]):
        with pytest.raises(DeviceError, match="the device cuda"):
            read()
    with pytest.raises(ValueError, match="no device is called 'gpu'"):
        take.on("gpu")[0]


@pytest.mark.slow
@pytest.mark.parametrize("missing", ["onnxruntime", "onnxruntime.capi"])
def test_a_missing_onnxruntime_is_named(missing: str) -> None:
    """In a process of its own: here the library is loaded."""
    code = f"""
import sys
sys.modules[{missing!r}] = None
from faceswap_lab.__main__ import main
sys.exit(main(["swap", "--source", "actor:7", "--target", "actor:21"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 4, done.stderr
    assert "expected the library onnxruntime" in done.stderr
    assert "-> run `make setup`, or `pip install onnxruntime`" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_doctor_names_a_missing_onnxruntime() -> None:
    code = """
import sys
sys.modules["onnxruntime"] = None
from faceswap_lab.maintenance import doctor
found = [finding for finding in doctor.examine() if "onnxruntime" in finding.found]
assert found, "no finding"
assert all(finding.state == "problem" and "pip install onnxruntime" in finding.remedy for finding in found), found
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
