"""The table of prices: GPU machines with price, currency, date and source, from the shipped TOML file or one of the user's own."""

import tomllib
from dataclasses import MISSING, dataclass, fields
from datetime import date
from importlib.resources import files
from pathlib import Path
from typing import Any

from faceswap_lab.compute.costs.pricing import require_positive, require_share
from faceswap_lab.errors import LabError, storing

SHIPPED = "prices.toml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """One machine for one hour. An empty text and a 0 mean that the source does not say; a discount is 0..1, None if unknown."""

    name: str
    price: float
    currency: str
    date: date
    source: str
    gpus: int = 1
    gpu: str = ""
    gpu_memory_gb: float = 0.0
    network_gbit_s: float = 0.0
    reserved_discount: float | None = None
    spot_discount: float | None = None

    def __post_init__(self) -> None:
        for name in ("name", "currency", "source"):
            if not getattr(self, name).strip():
                raise ValueError(f"{name} must not be empty")
        require_positive("price", self.price)
        require_positive("gpus", self.gpus)
        for name in ("reserved_discount", "spot_discount"):
            if getattr(self, name) is not None:
                require_share(name, getattr(self, name))

    @property
    def gpu_price(self) -> float:
        """Of one GPU and one hour."""
        return self.price / self.gpus


def read_offers(path: Path | None = None) -> list[Offer]:
    """The offers of a user's table, or of the shipped one. LabError for a table that cannot be read."""
    text = _text(path)
    place = str(path or SHIPPED)
    try:
        rows = tomllib.loads(text).get("offer")
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(place, str(error)) from error
    if not isinstance(rows, list) or not rows:
        raise _unreadable(place, "no [[offer]]")
    offers = [_offer(row, f"{place}, offer {number}") for number, row in enumerate(rows, 1)]
    names = [offer.name for offer in offers]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise _unreadable(place, f"two offers named {twice[0]}")
    return offers


def offer_named(offers: list[Offer], name: str) -> Offer:
    """The offer of this name, in whichever case. LabError if there is none."""
    for offer in offers:
        if offer.name.casefold() == name.casefold():
            return offer
    known = ", ".join(offer.name for offer in offers)
    raise LabError(expected=f"an offer of {known}", got=name, remedy="name one of these, or add it to a table of your own")


def _text(path: Path | None) -> str:
    if path is None:
        return files(__package__).joinpath(SHIPPED).read_text(encoding="utf-8")
    with storing(path):
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise _unreadable(str(path), "bytes that are not UTF-8") from error


_KINDS: dict[str, tuple[type, ...]] = {
    "name": (str,),
    "currency": (str,),
    "source": (str,),
    "gpu": (str,),
    "date": (date,),
    "gpus": (int,),
}


def _offer(row: Any, place: str) -> Offer:
    known = {field.name for field in fields(Offer)}
    needed = {field.name for field in fields(Offer) if field.default is MISSING}
    if not isinstance(row, dict):
        raise _unreadable(place, f"{row!r}, which is no table")
    if unknown := sorted(row.keys() - known):
        raise _unreadable(place, f"the unknown field {unknown[0]}")
    if missing := sorted(needed - row.keys()):
        raise _unreadable(place, f"no {missing[0]}")
    for name, value in row.items():
        if isinstance(value, bool) or not isinstance(value, _KINDS.get(name, (int, float))):
            raise _unreadable(place, f"{name} = {value!r}")
    try:
        return Offer(**row)
    except ValueError as error:
        raise _unreadable(place, str(error)) from error


def _unreadable(place: str, got: str) -> LabError:
    remedy = "correct it; every offer has name, price, currency, date and source, and the shipped table's head lists all fields"
    return LabError(expected=f"a table of prices in {place}", got=got, remedy=remedy)
