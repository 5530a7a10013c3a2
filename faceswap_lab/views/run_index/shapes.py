"""What a value of a run's record must look like to be written into the index.

The index is passed on, so a text leaves only if it is one of a list of words, or has the shape of what it should be: a time, a
digest, a version, an id. Anything else may be a name or a path, whatever the field is called.
"""

import math
import re
from datetime import UTC, datetime
from typing import Any

from faceswap_lab.runs.run import HANDLES

_RELEASE = r"\d+(\.\d+)*((a|b|rc)\d+)?(\.(post|dev)\d+)?"
_VERSION = re.compile(rf"{_RELEASE}(\+(cpu|xpu|cu\d+|rocm[\d.]+))?")
_CODE = re.compile(rf"{_RELEASE}\+[0-9a-f]{{8,64}}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RUN_ID = re.compile(r"(?P<verb>[a-z]+)-[0-9a-f]{8}(-\d+)?")
_GPU = re.compile(
    r"(NVIDIA|AMD|Intel|Apple|Tesla|Quadro|GeForce|Radeon)"
    r"( [A-Z]{0,4}\d{1,5}[A-Za-z]{0,2}(-[A-Z]{0,4}\d{1,3}[A-Z]{0,2}){0,3}"
    r"| (RTX|GTX|TITAN|Ti|SUPER|Super|PCIe|SXM|NVL|GeForce|Tesla|Quadro|Laptop|GPU|Ada|Generation|Instinct|Radeon|Arc|Graphics"
    r"|Max|Pro|Ultra))*"
)
VERBS = frozenset(HANDLES)


def number(value: Any) -> bool:
    """Whether it is a finite number, a yes or no, or nothing."""
    return value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value))


def time_of(value: Any) -> str:
    """A time in ISO 8601, in UTC to the second; empty if it is none."""
    try:
        return datetime.fromisoformat(str(value)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError):
        return ""


def seconds_between(start: Any, end: Any) -> float | None:
    """Seconds between two times of a record; None if one of them is none."""
    try:
        return round((datetime.fromisoformat(str(end)) - datetime.fromisoformat(str(start))).total_seconds(), 1)
    except (ValueError, TypeError):
        return None


def version_of(value: Any) -> str:
    """A version such as "2.13.0+cpu"; empty for any other text."""
    return value if isinstance(value, str) and _VERSION.fullmatch(value) else ""


def code_of(value: Any) -> str:
    """A code version: the package's, and the digest of its files; empty for any other text."""
    return value if isinstance(value, str) and _CODE.fullmatch(value) else ""


def digest_of(value: Any) -> str:
    """A SHA-256; empty for any other text."""
    return value if isinstance(value, str) and _DIGEST.fullmatch(value) else ""


def run_id_of(value: Any) -> str:
    """A run's id, of a verb of this package; empty for any other text, such as a folder that was renamed."""
    found = _RUN_ID.fullmatch(value) if isinstance(value, str) else None
    return found[0] if found and found["verb"] in VERBS else ""


def device_of(value: Any) -> str:
    """The kind of device: "cpu", "mps" or a GPU's model as its maker spells it; "other" for any other text."""
    if not isinstance(value, str) or not value:
        return ""
    if value in ("cpu", "mps", "cuda"):
        return value
    return value if _GPU.fullmatch(value) else "other"
