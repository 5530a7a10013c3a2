"""Weights with restrictive licences: their cards and terms, who accepted them, and fetching them afterwards.

None of these is shipped, and none is fetched or run before someone on this machine has accepted its licence by name. Acceptances
are stored beside the weights; `maintenance.weights` also writes them to the audit log.
"""

import hashlib
import json
import shutil
import tempfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from faceswap_lab.errors import LicenceError, WeightsError
from faceswap_lab.files import private_folder, sha256_file
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.weights import catalogue

_CHUNK = 1 << 20
_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """Restricted weights. `files` maps the names of its files to their sha256, `card.sha256` is that of the archive at `url`.

    Without a `url` it cannot be fetched: accepting its licence permits using one's own file.
    """

    card: Card
    terms: str
    files: Mapping[str, str]
    instead: str
    url: str = ""
    num_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Acceptance:
    """Who accepted which licence for which weights, and when (ISO 8601, UTC)."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    name: str
    licence: str
    sha256: str
    who: str
    when: str


_LICENCE = "InsightFace non-commercial research"
_TERMS = (
    "InsightFace's trained models, those downloaded by hand and those fetched by its library alike, are available for "
    "non-commercial research purposes only; anything else needs a licence from its makers. "
    "See https://github.com/deepinsight/insightface#license"
)

# Digests as pinned by several independent projects (they agree); the archive's is also published with the release.
_PACKS = (
    Pack(
        card=Card(
            name="buffalo_l",
            task="detect",
            licence=_LICENCE,
            source="InsightFace model zoo: SCRFD-10G, 106 and 68 landmarks, ArcFace ResNet-50 trained on WebFace600K",
            sha256="80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
            notes="Engine insight:buffalo_l. Never shipped, never fetched unless its licence is accepted.",
        ),
        terms=_TERMS,
        files=MappingProxyType(
            {
                "det_10g.onnx": "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91",
                "2d106det.onnx": "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf",
                "1k3d68.onnx": "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc",
                "w600k_r50.onnx": "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43",
                "genderage.onnx": "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb",
            }
        ),
        instead="the engine `offline` (MIT and Apache-2.0)",
        url="https://github.com/deepinsight/insightface/releases/download/model-zoo/buffalo_l.zip",
        num_bytes=288_621_354,
    ),
    Pack(
        card=Card(
            name="inswapper_128",
            task="swap",
            licence=_LICENCE,
            source="InsightFace; its makers do not offer it for download any more",
            sha256="e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af",
            notes="Swapper inswapper:FILE, for a file of your own. Goes with the recogniser of buffalo_l.",
        ),
        terms=_TERMS,
        files=MappingProxyType({"inswapper_128.onnx": "e4a3f08c753cb72d04e10aa0f7dbe3deebbf39567d4ead6dce08e98aa49e16af"}),
        instead="the swappers `pair` (trained here) and `warp`",
    ),
)

PACKS: Mapping[str, Pack] = MappingProxyType({pack.card.name: pack for pack in _PACKS})
"""Every restricted set of weights by name."""


def folder_of(name: str) -> Path:
    """The folder of pack `name` once fetched."""
    return catalogue.weights_folder() / "packs" / name


def path(name: str) -> Path:
    """The folder of a fetched pack. Raises LicenceError if its licence was not accepted, WeightsError if it was not fetched."""
    check_acceptance(name, None)
    place = folder_of(name)
    if not place.is_dir():
        raise WeightsError(
            expected=f"the pack {name} at {place}", got="no such folder", remedy=f"run `faceswap-lab models fetch {name}`"
        )
    return place


def state(name: str) -> str:
    """State of a pack's files, hashed again: "ok", "missing" or "altered"; "your own file" if it cannot be fetched."""
    pack = _pack(name)
    if not pack.url:
        return "your own file"
    if not folder_of(name).is_dir():
        return "missing"
    places = {folder_of(name) / file: sha256 for file, sha256 in pack.files.items()}
    return "ok" if catalogue.state_of(places) == "ok" else "altered"


def accepted(name: str) -> Acceptance | None:
    """The recorded acceptance that is still valid: for this licence and exactly these weights. None if there is none."""
    pack, place = _pack(name), _record(name)
    if not place.is_file():
        return None
    try:
        found = TypeAdapter(Acceptance).validate_json(place.read_bytes())
    except ValidationError as error:
        raise WeightsError(
            expected=f"a readable acceptance in {place}",
            got=" ".join(str(error).split())[:200],
            remedy="delete that file and accept the licence again",
        ) from error
    return found if (found.licence, found.sha256) == (pack.card.licence, pack.card.sha256) else None


def check_acceptance(name: str, licence: str | None) -> None:
    """Raises LicenceError, with the terms, unless `licence` names the licence of `name` or it was accepted before."""
    if licence is None and accepted(name) is not None:
        return
    if licence is None or licence.strip().casefold() != _pack(name).card.licence.casefold():
        raise _refused(_pack(name), "none" if licence is None else f"the acceptance of {licence!r}")


def accept(acceptance: Acceptance) -> None:
    """Stores an acceptance beside the weights."""
    catalogue.write(_record(acceptance.name), json.dumps(asdict(acceptance), indent=1).encode())


def require_accepted(digests: Iterable[str]) -> None:
    """Raises LicenceError if any of these files, wherever stored, is known to be restricted and its licence was not accepted."""
    given = frozenset(digests)  # asked once for each pack: an iterator would be used up by the first
    for pack in PACKS.values():
        if not given.isdisjoint(pack.files.values()) and accepted(pack.card.name) is None:
            raise _refused(pack, "none")


def licence_of(sha256: str) -> str:
    """The licence of a file by its digest, or a text saying that it is unknown."""
    known = {digest: pack.card.licence for pack in PACKS.values() for digest in pack.files.values()}
    return known.get(sha256, "unknown: a file of your own")


def fetch(name: str, *, progress: Callable[[str], object] = print) -> Path:
    """Fetches an accepted pack into its folder, atomically, unless it is there and intact. Returns the folder.

    Raises LicenceError without a recorded acceptance, WeightsError if the archive cannot be fetched or does not match the card.
    """
    pack = _pack(name)
    check_acceptance(name, None)
    if not pack.url:
        progress(f"{name}: {pack.card.source}; provide your own file (sha256 {pack.card.sha256})")
        return folder_of(name)
    if state(name) == "ok":
        progress(f"{name}: already there")
        return folder_of(name)
    place = folder_of(name)
    private_folder(place.parent)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{name}.") as scratch:
        archive, unpacked = Path(scratch) / "pack.zip", Path(scratch) / name
        progress(f"{name}: downloading {pack.num_bytes / 1e6:.0f} MB from {pack.url}")
        _download(pack, archive)
        _unpack(pack, archive, unpacked)
        if place.exists():
            shutil.rmtree(place)
        unpacked.rename(place)
    return place


def _download(pack: Pack, archive: Path) -> None:
    """Downloads at most the expected number of bytes, and checks their hash."""
    digest, left = hashlib.sha256(), pack.num_bytes
    try:
        with urllib.request.urlopen(pack.url, timeout=_TIMEOUT_S) as answer, archive.open("wb") as file:  # noqa: S310 (our own URLs)
            while left >= 0 and (part := answer.read(_CHUNK)):
                digest.update(part)
                file.write(part)
                left -= len(part)
    except (urllib.error.URLError, OSError) as error:
        raise WeightsError(
            expected=f"{pack.url} to answer", got=str(error), remedy="check the network and its proxy settings, then fetch again"
        ) from error
    if left != 0 or digest.hexdigest() != pack.card.sha256:
        got = f"{pack.num_bytes - left} bytes with {digest.hexdigest()}" if left >= 0 else "more bytes than that"
        raise WeightsError(
            expected=f"{pack.num_bytes} bytes with sha256 {pack.card.sha256} from {pack.url}",
            got=got,
            remedy="fetch again; if it still differs, the file was changed at its source: do not use it",
        )


def _unpack(pack: Pack, archive: Path, folder: Path) -> None:
    """Extracts only the card's files, by their base names: an archive cannot write outside the folder."""
    folder.mkdir()
    with zipfile.ZipFile(archive) as members:
        places = {Path(name).name: name for name in members.namelist()}
        for file, sha256 in pack.files.items():
            if file not in places:
                raise WeightsError(
                    expected=f"{file} in the archive", got=", ".join(places), remedy="report this: the pins contradict"
                )
            with members.open(places[file]) as inside, (folder / file).open("wb") as out:
                shutil.copyfileobj(inside, out, _CHUNK)
            if (got := sha256_file(folder / file)) != sha256:
                raise WeightsError(
                    expected=f"{file} with sha256 {sha256}", got=got, remedy="report this: the pins contradict each other"
                )


def _record(name: str) -> Path:
    return catalogue.weights_folder() / "accepted" / f"{name}.json"


def _refused(pack: Pack, got: str) -> LicenceError:
    name = pack.card.name
    return LicenceError(
        expected=f"acceptance of the licence {pack.card.licence!r} of {name}: {pack.terms}",
        got=got,
        remedy=f"if it permits your use, run `faceswap-lab models fetch {name} --accept-licence {pack.card.licence!r}`; "
        f"else use {pack.instead}",
    )


def _pack(name: str) -> Pack:
    if name not in PACKS:
        raise ValueError(f"no restricted weights are called {name!r}; there are {', '.join(PACKS)}")
    return PACKS[name]
