"""The files of the eyes: those bundled with the package, or in a folder that a run made. A card beside them lists their digests."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from faceswap_lab.errors import WeightsError
from faceswap_lab.models.weights.catalogue import state_of

SHAPE, EXPRESSION, CARD = "shape.onnx", "expression.onnx", "card.json"
_REMEDY = "make them with `faceswap-lab train --recipe eyes`, and pass the run's folder `eyes/` as Eyes(folder)"


def bundled() -> Path:
    """The folder of the files that come with the package."""
    return Path(str(files("faceswap_lab.models.weights").joinpath("eyes")))


def card_of(folder: Path) -> dict[str, Any]:
    """Recipe, pictures, scores, licence and files. Raises WeightsError if the card is missing or unreadable."""
    place = folder / CARD
    try:
        card: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
        if missing := {SHAPE, EXPRESSION} - set(card["files"]):
            raise ValueError(f"no entry for {', '.join(sorted(missing))}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(expected=f"the card of the eyes at {place}", got=str(error), remedy=_REMEDY) from error
    return card


def verified(folder: Path) -> Path:
    """The folder, its files verified. Raises WeightsError if one is missing or does not match the card."""
    digests = {folder / name: about["sha256"] for name, about in card_of(folder)["files"].items()}
    if (found := state_of(digests)) != "ok":
        raise WeightsError(expected=f"{SHAPE} and {EXPRESSION} as on their card in {folder}", got=found, remedy=_REMEDY)
    return folder
