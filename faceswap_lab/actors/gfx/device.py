"""The torch device of a name, checked before anything is computed on it."""

import torch

from faceswap_lab.errors import DeviceError


def available(name: str) -> torch.device:
    """The torch device named `name`: "cpu", "cuda", "cuda:1" or "mps".

    Raises DeviceError for one that is not available, ValueError for any other name.
    """
    kind, _, number = name.partition(":")
    if kind not in ("cpu", "cuda", "mps") or (number and not (kind == "cuda" and number.isdecimal())):
        raise ValueError(f"no device is called {name!r}; use cpu, cuda, cuda:0 or mps")
    if kind == "cuda" and int(number or 0) >= torch.cuda.device_count():
        raise absent(name, f"{torch.cuda.device_count()} CUDA devices in torch {torch.__version__}")
    if kind == "mps" and not torch.backends.mps.is_available():
        raise absent(name, f"no Metal device in torch {torch.__version__}")
    return torch.device("cuda", int(number or 0)) if kind == "cuda" else torch.device(kind)


def absent(device: str, got: str) -> DeviceError:
    """The error for a device that cannot be used."""
    return DeviceError(
        expected=f"the device {device}", got=got, remedy="choose another device, or `auto` for the best one available"
    )
