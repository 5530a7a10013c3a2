"""The CUDA and cuDNN wheels that torch and onnxruntime require, compared with those installed. None of them is imported.

torch pins its own; onnxruntime-gpu lists them as the extras `cuda` and `cudnn`, which pip does not install by default, and at run
time it loads those installed with torch: so both must be built for the same CUDA.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

USERS: Mapping[str, tuple[str, ...]] = {"torch": (), "onnxruntime-gpu": ("cuda", "cudnn")}
"""Distributions that run on CUDA, and the extras that list what they need for it."""

_WHEELS = ("nvidia-", "cuda-")
# The CUDA version a distribution was built for: the version of these wheels, a suffix of the name of others.
_VERSIONED = ("cuda-toolkit", "nvidia-cuda-runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """`user` requires `name` in version `wanted` ("==9.15.1.9"); `found` is the installed version, empty for none."""

    user: str
    name: str
    wanted: str
    found: str
    fits: bool

    @property
    def pinned(self) -> str:
        """The requirement for pip."""
        return f"{self.name}{self.wanted}"

    @property
    def cuda(self) -> str:
        """The CUDA major version that this wheel indicates, empty if none."""
        if suffix := re.search(r"-cu(\d+)$", self.name):
            return suffix[1]
        first = re.search(r"\d+", self.wanted) if self.name in _VERSIONED else None
        return first[0] if first else ""


def needed() -> list[Wheel]:
    """Every wheel that an installed CUDA user requires, with its installed version. Empty if all are CPU builds."""
    return [wheel for user, extras in USERS.items() for wheel in _wheels(user, user, extras)]


def _wheels(user: str, distribution: str, extras: Sequence[str]) -> Iterator[Wheel]:
    from packaging.requirements import Requirement  # here, so that the doctor works even without it

    for text in _requires(distribution):
        wanted = Requirement(text)
        if not wanted.name.startswith(_WHEELS):
            continue
        if wanted.marker and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        found = _version(wanted.name)
        fits = bool(found) and wanted.specifier.contains(found, prereleases=True)
        yield Wheel(user=user, name=wanted.name, wanted=str(wanted.specifier), found=found, fits=fits)
        if wanted.extras:
            yield from _wheels(user, wanted.name, sorted(wanted.extras))


def _requires(distribution: str) -> list[str]:
    try:
        return metadata.requires(distribution) or []
    except metadata.PackageNotFoundError:
        return []


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""
