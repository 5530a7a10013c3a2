"""Where arithmetic runs: picked by name, described in words, never changed behind the user's back."""

import platform
from pathlib import Path
from typing import Any

import onnxruntime
import torch

from faceswap_lab.errors import DeviceError


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

    Raises DeviceError if this onnxruntime has no provider for the device or could not start it.
    """
    wanted: dict[str, str] = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider", "mps": "CoreMLExecutionProvider"}
    provider = wanted[device.type]
    if provider not in onnxruntime.get_available_providers():
        raise _absent(str(device), f"onnxruntime {onnxruntime.__version__} with {onnxruntime.get_available_providers()}")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # warnings are about initialisers that the exporters left unused
    settings: dict[str, Any] = {"device_id": device.index or 0} if device.type == "cuda" else {}
    content = model if isinstance(model, bytes) else str(model)
    session = onnxruntime.InferenceSession(content, options, providers=[(provider, settings)])
    if provider not in session.get_providers():
        raise _absent(str(device), f"a session on {session.get_providers()}")
    return session


def _absent(device: str, got: str) -> DeviceError:
    return DeviceError(
        expected=f"the device {device}", got=got, remedy="choose another device, or `auto` to take the best one there is"
    )
