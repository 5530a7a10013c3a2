"""Switches off what libraries would send home: usage statistics, device ids, looks for updates.

The package's `__init__` calls `switch_off` before it can import anything else, because onnxruntime reads its switch when it is
first imported. Environment variables are inherited by kernels and worker processes. The table of all dependencies is in
`docs/concepts/privacy.md`.
"""

import os
import sys
from collections.abc import Mapping
from operator import attrgetter
from types import MappingProxyType

SWITCHES: Mapping[str, str] = MappingProxyType(
    {
        "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime: an id of the device in the cache folder, and events to Microsoft
        "HF_HUB_DISABLE_TELEMETRY": "True",  # huggingface_hub; in the word that Gradio sets when its own is off
        "GRADIO_ANALYTICS_ENABLED": "False",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "true",  # mlflow understands this word only; others take it as well
        "NO_ALBUMENTATIONS_UPDATE": "1",  # albumentations asks PyPI for a newer version when it is imported
    }
)
"""Environment variable to the value that forbids sending."""

_READ_ON_IMPORT = MappingProxyType(
    {
        # Stops all but essential events; the device id exists already.
        "onnxruntime": ("ORT_DISABLE_TELEMETRY", "disable_telemetry_events"),
        # Reads the switch again.
        "mlflow": ("MLFLOW_DISABLE_TELEMETRY", "telemetry.set_telemetry_client"),
    }
)
"""Modules that read their switch only once, when they are imported; and their function that stops what has begun."""

_late: list[str] = []


def switch_off() -> None:
    """Set all switches, whatever they were: the lab handles faces, and none of its processes reports anything to anybody.

    A library that was imported with its switch on can only be asked to send less; `late` names it.
    """
    late = [
        name for name, (switch, _) in _READ_ON_IMPORT.items() if name in sys.modules and os.environ.get(switch) != SWITCHES[switch]
    ]
    os.environ.update(SWITCHES)
    for name in late:
        _late.append(name)
        attrgetter(_READ_ON_IMPORT[name][1])(sys.modules[name])()


def late() -> tuple[str, ...]:
    """Libraries that were imported before the lab could set their switch."""
    return tuple(_late)


def not_set() -> tuple[str, ...]:
    """Switches that do not have their value any more."""
    return tuple(name for name, value in SWITCHES.items() if os.environ.get(name) != value)
