"""The environment of a run: code version, Python, packages, machine and device."""

import os
import platform
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from faceswap_lab.files import VERSION

PACKAGES = (
    "anny",
    "av",
    "insightface",
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "opencv-python",
    "pillow",
    "pydantic",
    "scikit-image",
    "torch",
)
"""Packages whose version can change a result."""


@cache
def code_version() -> str:
    """Version of the package, and a SHA-256 over the names and contents of its Python files."""
    folder = Path(__file__).parents[1]
    digest = sha256()
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).as_posix()):
        # Hidden folders hold notebook checkpoints and the like.
        name = path.relative_to(folder).as_posix()
        if not any(part.startswith(".") for part in name.split("/")):
            digest.update(name.encode() + b"\0" + sha256(path.read_bytes()).digest())
    return f"{VERSION}+{digest.hexdigest()[:16]}"


def environment() -> dict[str, Any]:
    """Python, platform, packages, cores and device. The first call imports torch, which takes seconds."""
    import torch

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cores": os.cpu_count() or 0,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "cuda": torch.version.cuda or "",
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
