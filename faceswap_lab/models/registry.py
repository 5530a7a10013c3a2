"""Engines and swappers by their names in recipes and on the command line."""

from pathlib import Path
from typing import Literal

import torch

from faceswap_lab.errors import WeightsError
from faceswap_lab.files import user_path
from faceswap_lab.models.engines.insight import InsightEngine
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import AnySwapper, Engine
from faceswap_lab.models.swappers.inswapper import Inswapper
from faceswap_lab.models.swappers.oneshot import OneshotSwapper
from faceswap_lab.models.swappers.warp import WarpSwapper
from faceswap_lab.models.weights import bundled, onnx_inspect, restricted

INSIGHT, INSWAPPER = "insight:", "inswapper:"
WARP, ONESHOT = "warp", "oneshot"

ToneWish = Literal["auto", "source", "target"]


def open_engine(name: str, device: torch.device) -> Engine:
    """`"offline"`, or `"insight:PACK"` with `actors_s`, a fetched pack's name or a folder.

    The offline engine always runs on the CPU.

    Raises WeightsError if the pack's folder cannot be used; ValueError for another name.
    """
    if name == "offline":
        return OfflineEngine()
    if not name.startswith(INSIGHT) or name == INSIGHT:
        raise ValueError(f"no engine is called {name!r}; use offline, or insight: and a pack's folder or name")
    engine = InsightEngine(_folder(name.removeprefix(INSIGHT)), device)
    engine.pack  # noqa: B018 (read here to report a bad pack before any work; networks load on first use)
    return engine


def is_named(swapper: str) -> bool:
    """Whether a text names a swapper that needs no train run."""
    return swapper in (WARP, ONESHOT) or swapper.startswith(INSWAPPER)


def open_swapper(name: str, device: torch.device, engine: Engine) -> AnySwapper:
    """`"warp"`, `"oneshot"`, or `"inswapper:FILE"`, for the embeddings of `engine`.

    Raises WeightsError for a file that is something else, ValueError for another name.
    """
    if name == WARP:
        return WarpSwapper()
    if name == ONESHOT:
        return OneshotSwapper.load(bundled.oneshot(), device)
    return Inswapper.open(_file(name), device, embedder=engine.embedder)


def check_tone(tone: ToneWish, *, oneshot: bool, name: str) -> None:
    """Raises ValueError for a wish of a skin tone that a swapper can't be told: all but the one-shot have one convention."""
    if tone != "auto" and not oneshot:
        raise ValueError(f"tone={tone!r} is for the one-shot swapper; {name} has one convention only: leave tone at auto")


def toned(swapper: AnySwapper, tone: ToneWish) -> AnySwapper:
    """The swapper with this convention of whose skin tone a face gets; "auto" is its own. ValueError as `check_tone`."""
    if tone == "auto":
        return swapper
    check_tone(tone, oneshot=isinstance(swapper, OneshotSwapper), name=swapper.card.name)
    assert isinstance(swapper, OneshotSwapper)
    return swapper.with_tone(tone)


def swapper_record(name: str) -> str:
    """Identity of a swapper without a training run, for a run's key: a file's digest, or the name of one without weights."""
    if name == ONESHOT:
        return f"{ONESHOT}:sha256:{bundled.oneshot_digest()}"
    if not name.startswith(INSWAPPER):
        return name
    return f"{INSWAPPER}sha256:{onnx_inspect.inspect(_file(name)).sha256}"


def check_points(engine: Engine, swapper: AnySwapper) -> None:
    """Raises WeightsError if the swapper needs landmarks that the engine does not provide."""
    wanted, given = swapper.needs.point_set, engine.point_set
    if wanted is not None and wanted != given:
        raise WeightsError(
            expected=f"an engine with the {wanted} points that the swapper {swapper.card.name} needs",
            got=f"one with {given or 'none'}",
            remedy="use engine='offline' with this swapper",
        )


def _file(name: str) -> Path:
    if not name.startswith(INSWAPPER) or name == INSWAPPER:
        raise ValueError(f"no swapper is called {name!r}; use oneshot, warp, a train run's id, or inswapper: and an ONNX file")
    return user_path(name.removeprefix(INSWAPPER))


def _folder(name: str) -> Path:
    if name == bundled.NAME:
        return bundled.path()
    return restricted.path(name) if name in restricted.PACKS else user_path(name)
