"""A run's key figures, scores and environment as the index tells them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from faceswap_lab.runs.environment import PACKAGES
from faceswap_lab.runs.record import Record
from faceswap_lab.runs.sharing.allowed import FIGURES
from faceswap_lab.views.run_index import shapes
from faceswap_lab.views.run_index.vocabulary import words

MAX_ITEMS = 8
"""A list of more numbers than these, such as the frames without a face, is no key figure."""

_MORE = frozenset({"faces_found_from_px", "num_frames_corrected", "num_samples", "num_shards", "followed", "cells", "executed"})
_STAGES = frozenset(
    {"all", "crops", "evaluate", "find", "gather", "paste", "photograph", "read", "render", "swap", "train", "write", "bench"}
)
_WORDS = frozenset({"supervision", "precision", "colour", "tone", "select"})
_SYSTEMS = ("Linux", "macOS", "Darwin", "Windows")
_MACHINES = frozenset({"x86_64", "AMD64", "arm64", "aarch64"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """How a score is written: its title, unit, digits after the point, and whether higher is better."""

    title: str
    unit: str = ""
    digits: int = 3
    higher: bool = True


MEASURES = {
    "psnr_face": Measure(title="PSNR in the face", unit="dB", digits=1),
    "ssim_face": Measure(title="SSIM in the face"),
    "sharpness": Measure(title="Sharpness of features", digits=2),
    "id_similarity": Measure(title="Similarity to source"),
    "id_leak": Measure(title="Similarity to target", higher=False),
    "id_nearer_source": Measure(title="Nearer to source", digits=2),
    "landmark_error": Measure(title="Landmark error", higher=False),
    "seam": Measure(title="Seam", unit="levels/px", digits=2, higher=False),
    "spill": Measure(title="Outside the face", digits=2, higher=False),
    "face_found": Measure(title="Face found", digits=2),
}
"""The measures of `evaluate`, in the order of its report."""


def figures_of(record: Record) -> dict[str, Any]:
    """Dotted name to key figure: numbers, short lists of them, and words that say how a thing was done."""
    return dict(_figures(record.summary, ""))


def _figures(given: Mapping[str, Any], within: str) -> Iterator[tuple[str, Any]]:
    for name, value in given.items():
        path = f"{within}.{name}" if within else name
        if not _is_known(name, within):
            continue
        if isinstance(value, dict) and not within:
            yield from _figures(value, name)
        elif isinstance(value, list):
            if 0 < len(value) <= MAX_ITEMS and all(map(shapes.number, value)):
                yield path, ", ".join(map(str, value))
        elif isinstance(value, str):
            if name in _WORDS and value in words():
                yield path, value
        elif shapes.number(value) and value is not None:
            yield path, value


def _is_known(name: str, within: str) -> bool:
    if within:
        return within in ("seconds", "stage_seconds") and name in _STAGES
    return name != "scores" and (name in FIGURES or name in _MORE or name in _WORDS or name in MEASURES)


def scores_of(record: Record) -> dict[str, list[float | None]]:
    """Measure to value, floor and ceiling; None where a figure is unknown or infinite."""
    found = record.summary.get("scores")
    given = found if isinstance(found, dict) else {}
    return {
        name: [_finite(given[name].get(role)) for role in ("value", "floor", "ceiling")]
        for name in MEASURES
        if isinstance(given.get(name), dict)
    }


def _finite(value: Any) -> float | None:
    return value if shapes.number(value) and not isinstance(value, bool) else None


def environment_of(record: Record) -> dict[str, str]:
    """Where a run was started: device, cores, system, Python, CUDA and the packages that can change a result."""
    given = record.environment
    system = next((name for name in _SYSTEMS if str(given.get("platform", "")).startswith(name)), "")
    machine = given.get("machine")
    facts = {
        "device": shapes.device_of(given.get("device")),
        "cores": str(given["cores"]) if type(given.get("cores")) is int else "",
        "system": " ".join(part for part in (system, machine if machine in _MACHINES else "") if part),
        "python": shapes.version_of(given.get("python")),
        "cuda": shapes.version_of(given.get("cuda")),
    }
    packages = given.get("packages")
    versions = {name: shapes.version_of(packages.get(name)) for name in PACKAGES} if isinstance(packages, dict) else {}
    return {name: value for name, value in (facts | versions).items() if value}


def device_of(record: Record) -> str:
    """The device that the work was done on, if the run says so; else the one that its machine has."""
    told = str(record.summary.get("device", ""))
    kind = told.partition(" (")[0].rpartition(" x ")[2]
    if kind in ("cpu", "mps"):
        return kind
    return shapes.device_of(record.environment.get("device"))
