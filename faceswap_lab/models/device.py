"""Where arithmetic runs: picked by name, described in words, never changed behind the user's back."""

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
"""What onnxruntime calls each kind of torch device."""

# onnxruntime raises plain RuntimeErrors too: where a provider cannot be made, and from runs on bound buffers.
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
    """The torch device called `device`: "auto", "cpu", "cuda", "cuda:1" or "mps".

    "auto" takes CUDA, else Apple's GPU, else the CPU: callers print `describe` of the answer. Raises DeviceError for a device
    that was asked for and is not there, ValueError for a name that is none of these.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    kind, _, number = device.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"no device is called {device!r}; say auto, cpu, cuda, cuda:0 or mps")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise _absent(device, f"{torch.cuda.device_count()} CUDA devices in torch {torch.__version__}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise _absent(device, f"no Metal device in torch {torch.__version__}")
    return torch.device("cuda", int(number or 0)) if kind == "cuda" else torch.device(kind)


def describe(device: torch.device) -> str:
    """`device` in words, such as "cpu (x86_64, 2 threads, torch 2.13.0+cpu)"."""
    if device.type == "cuda":
        name, total = torch.cuda.get_device_name(device), torch.cuda.get_device_properties(device).total_memory
        return f"{device} ({name}, {total / 2**30:.0f} GiB, torch {torch.__version__})"
    detail = f"{torch.get_num_threads()} threads" if device.type == "cpu" else "Metal"
    return f"{device} ({platform.machine()}, {detail}, torch {torch.__version__})"


def onnx_session(model: Path | bytes, device: torch.device) -> onnxruntime.InferenceSession:
    """A session of an ONNX file (or its bytes) that really runs on `device`; onnxruntime alone would fall back to the CPU silently.

    Its fall-back is off, and what it says it runs on is compared with what was asked for. Raises DeviceError if this onnxruntime
    has no provider for the device or could not start it, WeightsError if it refuses the file.
    """
    provider = PROVIDERS[device.type]
    if provider not in onnxruntime.get_available_providers():
        raise DeviceError(
            expected=f"an onnxruntime that can use {device}",
            got=f"onnxruntime {onnxruntime.__version__} with {', '.join(onnxruntime.get_available_providers())}",
            remedy="install its GPU build (remove .venv and run `make setup EXTRA=gpu`), or ask for the device cpu",
        )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings are about initialisers that the exporters left unused
    # Threads that have nothing to do sleep. By default they spin, and take the cores from the stages of a swap that run beside.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings: dict[str, Any] = {"device_id": device.index or 0} if device.type == "cuda" else {}
    if device.type == "cuda":
        onnxruntime.preload_dlls()  # the CUDA and cuDNN libraries that came with torch
    content = model if isinstance(model, bytes) else str(model)
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[(provider, settings)], enable_fallback=0)
    except _FAILURES as error:
        if _is_of_device(error):
            raise _absent(str(device), _first_line(error)) from error
        raise WeightsError(
            expected=f"an ONNX network that onnxruntime {onnxruntime.__version__} can run",
            got=f"{_first_line(error)} ({'its bytes' if isinstance(model, bytes) else model})",
            remedy="take the file from its maker anew, or update onnxruntime",
        ) from error
    if provider not in session.get_providers():
        raise _absent(str(device), f"a session on {session.get_providers()}")
    return session


def probe(device: torch.device) -> list[str]:
    """Run the smallest of networks on `device`; what its session runs on. Raises DeviceError if onnxruntime cannot."""
    ports = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "probe", ports[:1], ports[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    session = onnx_session(model.SerializeToString(), device)
    with running("the smallest network to run"):
        session.run(None, {"x": np.array([-1, 1], np.float32)})
    return list(session.get_providers())


def providers(**sessions: onnxruntime.InferenceSession) -> dict[str, str]:
    """What each network runs on as onnxruntime itself says, for people and for the run's record."""
    return {name: ", ".join(session.get_providers()) for name, session in sessions.items()}


@contextmanager
def running(expected: str) -> Iterator[None]:
    """Around a run of a network: what onnxruntime raises becomes a DeviceError if the device went away, else a WeightsError.

    `expected` is what the network should have done, as the error will say it.
    """
    try:
        yield
    except _FAILURES as error:
        if _is_of_device(error):
            raise _lost(error) from error
        raise WeightsError(expected=expected, got=_first_line(error), remedy="use weights made for this task") from error


@contextmanager
def watched() -> Iterator[None]:
    """Around torch's work: a device that went away, or ran out of memory, is a DeviceError; any other error goes on as itself."""
    try:
        yield
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise DeviceError(
                expected="memory on the device for a batch",
                got=_first_line(error),
                remedy="take smaller batches (recipe.stream.batch), end what else runs there, or choose another device",
            ) from error
        if not _is_of_device(error):
            raise
        raise _lost(error) from error


def _lost(error: Exception) -> DeviceError:
    return DeviceError(
        expected="the device to go on working",
        got=_first_line(error),
        remedy="look at it (`nvidia-smi`), then call again: the run goes on from what was saved; or choose another device",
    )


def _is_of_device(error: Exception) -> bool:
    """A device that failed rather than a network that cannot: onnxruntime often tells them apart in words only."""
    if isinstance(error, failures.EPFail | failures.DeviceReset):
        return True
    return any(word in str(error).upper() for word in ("CUDA", "CUDNN", "CUBLAS", "COREML"))


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def _absent(device: str, got: str) -> DeviceError:
    return DeviceError(
        expected=f"the device {device}", got=got, remedy="choose another device, or `auto` to take the best one there is"
    )
