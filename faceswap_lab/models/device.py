"""Device selection by name, without silent fall-backs, and device errors."""

import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from faceswap_lab.errors import DeviceError, WeightsError

PROVIDERS: Mapping[str, str] = MappingProxyType(
    {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
)
"""onnxruntime's provider for each type of torch device."""

# onnxruntime also raises plain RuntimeErrors: if a provider cannot be created, and from runs on bound buffers.
_FAILURES = (
    RuntimeError,
    failures.DeviceReset,
    failures.EPFail,
    failures.Fail,
    failures.InvalidArgument,
    failures.InvalidGraph,
    failures.InvalidProtobuf,
    failures.NoSuchFile,
    failures.NotImplemented,
    failures.RuntimeException,
)


def pick(device: str = "auto") -> torch.device:
    """The torch device named `device`: "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" selects CUDA, else Apple's GPU, else the CPU: callers print `describe` of the result. Raises DeviceError for a requested
    device that is not available, ValueError for any other name.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"no device is called {device!r}; use auto, cpu, cuda, cuda:0 or mps")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise _absent(device, f"{torch.cuda.device_count()} CUDA devices in torch {torch.__version__}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise _absent(device, f"no Metal device in torch {torch.__version__}")
    return torch.device("cuda", int(number or 0)) if kind == "cuda" else torch.device(kind)


def describe(device: torch.device) -> str:
    """A description of `device`, such as "cpu (x86_64, 2 threads, torch 2.13.0+cpu)"."""
    if device.type == "cuda":
        name, total = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
        return f"{device} ({name}, {total / 2**30:.0f} GiB, torch {torch.__version__})"
    detail = f"{torch.get_num_threads()} threads" if device.type == "cpu" else "Metal"
    return f"{device} ({platform.machine()}, {detail}, torch {torch.__version__})"


def onnx_session(model: Path | bytes, device: torch.device) -> onnxruntime.InferenceSession:
    """A session of an ONNX file (or its bytes), verified to run on `device`; onnxruntime by itself falls back to the CPU silently.

    The fall-back is disabled, and the provider in use is compared with the requested one. Raises DeviceError if this onnxruntime
    has no provider for the device or could not start it, WeightsError if it rejects the file.
    """
    provider = PROVIDERS[device.type]
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            expected=f"an onnxruntime that can use {device}",
            got=f"onnxruntime {onnxruntime.__version__} with {', '.join(onnxruntime.get_available_providers())}",
            remedy="install its GPU build (remove .venv and run `make setup EXTRA=gpu`), or ask for the device cpu",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings are about unused initializers left by exporters
    # Idle threads sleep. By default they spin, and take the cores from the concurrent stages of a swap.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings: dict[str, Any] = {}
    if device.type == "cuda":
        # The default search tries every algorithm for each new shape, and the last batch of a clip is often a smaller one.
        settings = {"device_id": device.index or 0, "cudnn_conv_algo_search": "HEURISTIC"}
    if device.type == "cuda":
        onnxruntime.preload_dlls()  # the CUDA and cuDNN libraries installed with torch
    content = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[(provider, settings)], enable_fallback=0)
    except _FAILURES as error:
        if _is_of_device(error):
            raise _absent(str(device), _first_line(error)) from error
        raise WeightsError(
            expected=f"an ONNX network that onnxruntime {onnxruntime.__version__} can run",
            got=f"{_first_line(error)} ({'its bytes' if isinstance(model, bytes) else model})",
            remedy="get the file from its publisher again, or update onnxruntime",
        ) from error
    if provider not in session.get_providers():
        raise _absent(str(device), f"a session on {session.get_providers()}")
    return session


def probe(device: torch.device) -> list[str]:
    """Runs a minimal network on `device` and returns its session's providers. Raises DeviceError if onnxruntime cannot."""
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "probe", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnx_session(model.SerializeToString(), device)
    with running("a minimal network to run"):
        session.run(None, {"x": np.array([-1, 1], np.float32)})
    return list(session.get_providers())


def providers(**sessions: onnxruntime.InferenceSession) -> dict[str, str]:
    """The provider of each network as reported by onnxruntime, for display and for the run's record."""
    return {name: ", ".join(session.get_providers()) for name, session in sessions.items()}


@contextmanager
def running(expected: str) -> Iterator[None]:
    """Wraps inference: an onnxruntime error becomes a DeviceError if the device was lost, else a WeightsError.

    `expected` is the error's description of what the network should have done.
    """
    try:
        yield
    except _FAILURES as error:
        if _is_of_device(error):
            raise _lost(error) from error
        raise WeightsError(expected=expected, got=_first_line(error), remedy="use weights made for this task") from error


@contextmanager
def watched() -> Iterator[None]:
    """Wraps torch computations: a lost device or one out of memory raises DeviceError; other errors propagate unchanged."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise DeviceError(
                expected="enough device memory for a batch",
                got=_first_line(error),
                remedy="use smaller batches (recipe.stream.batch), stop other programs on the device, or choose another device",
            ) from error
        if not _is_of_device(error):
            raise
        raise _lost(error) from error


def _lost(error: Exception) -> DeviceError:
    return DeviceError(
        expected="the device to keep working",
        got=_first_line(error),
        remedy="check it (`nvidia-smi`), then call again: the run resumes from what was saved; or choose another device",
    )


def _is_of_device(error: Exception) -> bool:
    """Whether the device failed rather than the network: onnxruntime often distinguishes them only in the message."""
    if isinstance(error, failures.EPFail | failures.DeviceReset):
        return True
    return any(word in str(error).upper() for word in ("CUDA", "CUDNN", "CUBLAS", "COREML"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _absent(device: str, got: str) -> DeviceError:
    return DeviceError(
        expected=f"the device {device}", got=got, remedy="choose another device, or `auto` for the best one available"
    )
