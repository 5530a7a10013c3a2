"""A run's recipe as the index tells it: numbers, yes and no, and words that a setting can be chosen from, by their path."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from faceswap_lab.runs.record import Record
from faceswap_lab.runs.sharing.allowed import FIGURES, WORDS
from faceswap_lab.views.run_index import shapes
from faceswap_lab.views.run_index.vocabulary import schemas, words

Setting = bool | int | float | str | None


def settings_of(record: Record) -> dict[str, Setting]:
    """Dotted path to value of the recipe's fields that may leave.

    A recipe of a known type tells the fields of that type. Of any other, such as the parameters of a notebook, only those leave
    that the archive of a run lists, or that some recipe has.
    """
    known = schemas().get(record.recipe_schema)
    allowed = {info.path: info for info in known} if known else {}
    found: dict[str, Setting] = {}
    for path, value in _flat(record.recipe):
        if path not in allowed if known else not all(part in _names() for part in path.split(".")):
            continue
        default = allowed[path].default if path in allowed else None
        if _may_leave(value, default):
            found[path] = _told(value)
    return found


@cache
def _names() -> frozenset[str]:
    """Names that a recipe of no known type may use for its fields, at any depth."""
    named = {part for fields in schemas().values() for info in fields for part in info.path.split(".")}
    return FIGURES | WORDS | named | {"parameters", "notebook", "name"}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    elif path:
        yield path, value


def _may_leave(value: Any, default: Any) -> bool:
    if isinstance(value, list):
        return all(_may_leave(inner, None) for inner in value)
    if isinstance(value, str):
        return value in words() or value == default
    return shapes.number(value)


def _told(value: Any) -> Setting:
    if isinstance(value, list):
        return ", ".join(str(inner) for inner in value)
    told: Setting = value
    return told
