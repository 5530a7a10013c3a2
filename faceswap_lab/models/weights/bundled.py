"""The weights bundled with the package, trained here, on actors, without licence restrictions: a pack of three small networks, and
the one-shot swapper.

`card.json` beside them has the recipe, the scores, and the digest of each file, which is verified before anything is run.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from faceswap_lab.errors import WeightsError
from faceswap_lab.models.weights.catalogue import State, state_of

NAME, ONESHOT = "actors_s", "oneshot"
TASKS = {NAME: "detect", ONESHOT: "swap"}
"""What is bundled, and the first thing that it is for."""

_ONESHOT_FILE = "oneshot.safetensors"


def folder(name: str = NAME) -> Path:
    """The folder of its files."""
    return Path(str(files("faceswap_lab.models.weights").joinpath(name)))


def card(name: str = NAME) -> dict[str, Any]:
    """Recipe, seed, pictures, time, scores, licence and files. Raises WeightsError if the card is missing or unreadable."""
    place = folder(name) / "card.json"
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        if not found["files"]:
            raise ValueError("no files")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(expected=f"the card of {name} at {place}", got=str(error), remedy="reinstall the package") from error
    return found


def state(name: str = NAME) -> State:
    """Whether its files match its card."""
    return state_of({folder(name) / file: about["sha256"] for file, about in card(name)["files"].items()})


def path(name: str = NAME) -> Path:
    """The folder, with its files verified. Raises WeightsError if one is missing or does not match the card."""
    if (found := state(name)) != "ok":
        raise WeightsError(
            expected=f"the files of {name} as listed on its card", got=f"{found} in {folder(name)}", remedy="reinstall"
        )
    return folder(name)


def oneshot() -> Path:
    """The one-shot's weights, verified. Raises WeightsError as `path`."""
    return path(ONESHOT) / _ONESHOT_FILE


def oneshot_digest() -> str:
    """The SHA-256 of the one-shot's weights, from its card."""
    return str(card(ONESHOT)["files"][_ONESHOT_FILE]["sha256"])
