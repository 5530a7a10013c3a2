"""Device selection by name, without silent fall-backs, and device errors."""

import platform
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
import torch

from faceswap_lab import threads
from faceswap_lab.actors.gfx.device import absent, available
from faceswap_lab.errors import DeviceError, WeightsError
from faceswap_lab.models.onnx_runtime import failures, onnxruntime

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

# These are about the file and its inputs, whatever names their message quotes.
_OF_THE_FILE = (failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf, failures.NoSuchFile)
# "CUDA failure 2: out of memory", "Failed to allocate memory for requested buffer", "DefaultCPUAllocator: can't allocate memory",
# "std::bad_alloc", "CUBLAS_STATUS_ALLOC_FAILED", "MPS backend out of memory".
_OUT_OF_MEMORY = re.compile(
    r"out of memory|failed to allocate memory|can't allocate memory|bad.alloc|_STATUS_ALLOC_FAILED", re.IGNORECASE
)
# What the program did wrong on a device that works.
_MISUSED = re.compile(r"device-side assert|_STATUS_(NOT_SUPPORTED|BAD_PARAM|INVALID_VALUE)")
# "CUDA error: unspecified launch failure", "CUDA driver error", "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED", "CUDA failure 719".
_DEVICE_FAILED = re.compile(
    r"\b(CUDA|cuDNN|cuBLAS|NVRTC|Metal|MPS)( driver| runtime| backend)? (error|failure)\b"
    r"|\bCU(DNN|BLAS)_STATUS_",
    re.IGNORECASE,
)

_SMALLER = (
    "use smaller batches (recipe.stream.batch, recipe.train.batch) or pictures, stop other programs on the device, or "
    "choose another device"
)


def pick(device: str = "auto") -> torch.device:
    """The torch device named `device`: "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" selects CUDA, else Apple's GPU, else the CPU: callers print `describe` of the result. Raises DeviceError for a requested
    device that is not available, ValueError for any other name.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return available(device)


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
    has no provider for the device, could not start it or finds too little memory, WeightsError if it rejects the file.
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
    options.intra_op_num_threads = threads.limit()  # 0: its own count of cores, which knows no container's quota
    settings: dict[str, Any] = {}
    if device.type == "cuda":
        # The default search tries every algorithm for each new shape, and the last batch of a clip is often a smaller one.
        settings = {"device_id": device.index or 0, "cudnn_conv_algo_search": "HEURISTIC"}
    if device.type == "cuda":
        onnxruntime.preload_dlls()  # the CUDA and cuDNN libraries installed with torch
    content = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[(provider, settings)], enable_fallback=0)
    except (*_FAILURES, MemoryError) as error:
        if _is_out_of_memory(error):
            raise _full(error) from error
        if _is_of_device(error):
            raise absent(str(device), _first_line(error)) from error
        raise WeightsError(
            expected=f"an ONNX network that onnxruntime {onnxruntime.__version__} can run",
            got=f"{_first_line(error)} ({'its bytes' if isinstance(model, bytes) else model})",
            remedy="get the file from its publisher again, or update onnxruntime",
        ) from error
    if provider not in session.get_providers():
        raise absent(str(device), f"a session on {session.get_providers()}")
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
    """Wraps inference: an onnxruntime error becomes a DeviceError if the device was lost or memory ran out, else a WeightsError.

    `expected` is the error's description of what the network should have done.
    """
    try:
        yield
    except (*_FAILURES, MemoryError) as error:
        if _is_out_of_memory(error):
            raise _full(error) from error
        if _is_of_device(error):
            raise _lost(error) from error
        raise WeightsError(expected=expected, got=_first_line(error), remedy="use weights made for this task") from error


@contextmanager
def watched(batch: str = "a batch", remedy: str = _SMALLER) -> Iterator[None]:
    """Wraps torch computations: a lost device or one out of memory raises DeviceError; other errors propagate unchanged.

    `batch` and `remedy` say for what the memory was too little, and what helps.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if _is_out_of_memory(error):
            raise _full(error, batch, remedy) from error
        if not _is_lost(error):
            raise
        raise _lost(error) from error


def _full(error: Exception, batch: str = "a batch", remedy: str = _SMALLER) -> DeviceError:
    return DeviceError(expected=f"enough memory for {batch}", got=_first_line(error), remedy=remedy)


def _lost(error: Exception) -> DeviceError:
    return DeviceError(
        expected="the device to keep working",
        got=_first_line(error),
        remedy="check it (`nvidia-smi`), then call again: the run resumes from what was saved; or choose another device",
    )


def _is_out_of_memory(error: Exception) -> bool:
    """Whether torch or onnxruntime could not allocate memory, on the host or the device."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def _is_lost(error: Exception) -> bool:
    """Whether a torch error is a failure of the device, rather than a fault of the program such as tensors on two devices."""
    text = str(error)
    return bool(_DEVICE_FAILED.search(text)) and not _MISUSED.search(text)


def _is_of_device(error: Exception) -> bool:
    """Whether the device failed rather than the network: onnxruntime often distinguishes them only in the message."""
    if isinstance(error, failures.EPFail | failures.DeviceReset):
        return True
    if isinstance(error, _OF_THE_FILE):
        return False
    return any(word in str(error).upper() for word in ("CUDA", "CUDNN", "CUBLAS", "COREML"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
