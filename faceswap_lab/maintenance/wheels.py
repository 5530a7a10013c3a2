"""The CUDA and cuDNN wheels that torch and onnxruntime say they need, against those installed. None of them is imported.

torch pins its own; onnxruntime-gpu names them as the extras `cuda` and `cudnn`, which pip does not take unless asked, and finds at
run time those that came with torch: so the two must be built for one CUDA.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata

USERS: Mapping[str, tuple[str, ...]] = {"torch": (), "onnxruntime-gpu": ("cuda", "cudnn")}
"""Distributions that run on CUDA, and the extras that name what they need for it."""

_WHEELS = ("nvidia-", "cuda-")
# What says for which CUDA a distribution was built: these wheels by their versions, others by the end of their names.
_VERSIONED = ("cuda-toolkit", "nvidia-cuda-runtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wheel:
    """`name` is needed by `user` in the version `wanted` ("==9.15.1.9"); `found` is the one installed, empty for none."""

    user: str
    name: str
    wanted: str
    found: str
    fits: bool

    @property
    def pinned(self) -> str:
        """What to give to pip."""
        return f"{self.name}{self.wanted}"

    @property
    def cuda(self) -> str:
        """The major version of CUDA that this wheel tells of, empty if it tells of none."""
        if suffix := re.search(r"-cu(\d+)$", self.name):
            return suffix[1]
        first = re.search(r"\d+", self.wanted) if self.name in _VERSIONED else None
        return first[0] if first else ""


def needed() -> list[Wheel]:
    """Every wheel that an installed user of CUDA names, with what is installed of it. Empty where all are builds for the CPU."""
    return [wheel for user, extras in USERS.items() for wheel in _wheels(user, user, extras)]


def _wheels(user: str, distribution: str, extras: Sequence[str]) -> Iterator[Wheel]:
    from packaging.requirements import Requirement  # here, so that a doctor can speak where it is missing

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
