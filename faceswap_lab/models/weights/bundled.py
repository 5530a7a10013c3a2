"""The pack that comes with the package: three small networks trained here, on actors, which no licence restricts.

`card.json` beside them holds the recipe, the scores, and the digest of each file, which is checked before anything is run.
"""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from faceswap_lab.errors import WeightsError
from faceswap_lab.models.weights.catalogue import State, state_of

NAME = "actors_s"


def folder() -> Path:
    """Where its files lie."""
    return Path(str(files("faceswap_lab.models.weights").joinpath(NAME)))


def card() -> dict[str, Any]:
    """Recipe, seed, pictures, time, scores, licence and files of the pack. Raises WeightsError if it is missing or unreadable."""
    place = folder() / "card.json"
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        if not found["files"]:
            raise ValueError("no files")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(expected=f"the pack's card at {place}", got=str(error), remedy="install the package anew") from error
    return found


def state() -> State:
    """Whether its files are those on its card."""
    return state_of({folder() / name: about["sha256"] for name, about in card()["files"].items()})


def path() -> Path:
    """The folder, its files checked. Raises WeightsError if one is missing or is not the one on the card."""
    if (found := state()) != "ok":
        raise WeightsError(
            expected=f"the files of {NAME} as its card has them", got=f"{found} in {folder()}", remedy="install anew"
        )
    return folder()
