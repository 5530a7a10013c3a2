"""The pack bundled with the package: three small networks trained here, on actors, without licence restrictions.

`card.json` beside them has the recipe, the scores, and the digest of each file, which is verified before anything is run.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from faceswap_lab.errors import WeightsError
from faceswap_lab.models.weights.catalogue import State, state_of

NAME = "actors_s"


def folder() -> Path:
    """The folder of its files."""
    return Path(str(files("faceswap_lab.models.weights").joinpath(NAME)))


def card() -> dict[str, Any]:
    """Recipe, seed, pictures, time, scores, licence and files of the pack. Raises WeightsError if it is missing or unreadable."""
    place = folder() / "card.json"
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        if not found["files"]:
            raise ValueError("no files")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(expected=f"the pack's card at {place}", got=str(error), remedy="reinstall the package") from error
    return found


def state() -> State:
    """Whether its files match its card."""
    return state_of({folder() / name: about["sha256"] for name, about in card()["files"].items()})


def path() -> Path:
    """The folder, with its files verified. Raises WeightsError if one is missing or does not match the card."""
    if (found := state()) != "ok":
        raise WeightsError(expected=f"the files of {NAME} as listed on its card", got=f"{found} in {folder()}", remedy="reinstall")
    return folder()
