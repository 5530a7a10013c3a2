"""Recipes as JSON and back, strictly: what was typed is what runs, and a misspelt key is an error."""

import difflib
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical, sha256_text

R = TypeVar("R")


def schema_of(cls: type[Any]) -> str:
    """The recipe's type and the version of its fields, which `SCHEMA` says: "FacesetRecipe/2". TypeError for a type without one."""
    version = getattr(cls, "SCHEMA", None)
    if not isinstance(version, int):
        raise TypeError(f"{cls.__name__} is no recipe: it has no SCHEMA, the version of its fields")
    return f"{cls.__name__}/{version}"


def to_plain(recipe: object) -> Any:
    """The recipe (a frozen dataclass tree) as plain JSON values. An int given for a float becomes that float, so that equal
    recipes have equal digests; a value of the wrong type raises `RunError`."""
    adapter = TypeAdapter(type(recipe))
    text = adapter.dump_json(recipe, warnings=False).decode()
    return adapter.dump_python(from_json(type(recipe), text), mode="json")


def to_json(recipe: object) -> str:
    """The recipe as readable JSON; `from_json(type(recipe), ...)` gives it back."""
    return json.dumps(to_plain(recipe), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def digest(recipe: object) -> str:
    """SHA-256 of the recipe's canonical JSON."""
    return sha256_text(canonical(to_plain(recipe)))


def from_json(cls: type[R], text: str) -> R:
    """A recipe of type `cls`. Left-out keys take their defaults.

    Raises `RunError` naming the key and its near matches if a key is unknown, missing or has a value of another type.
    """
    adapter = TypeAdapter(cls)
    try:
        recipe = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        raise _explained(cls, text, error) from error
    # What the type did not take up is missing when it is written out again: this finds unknown keys at any depth.
    _check_keys(cls, json.loads(text), adapter.dump_python(recipe, mode="json"), "")
    return recipe


def _check_keys(cls: type[Any], given: Any, known: Any, where: str) -> None:
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key not in known:
                raise _unknown(cls, f"{where}{key}", key, list(known))
            _check_keys(cls, value, known[key], f"{where}{key}.")
    elif isinstance(given, list) and isinstance(known, list):
        for index, (left, right) in enumerate(zip(given, known, strict=False)):
            _check_keys(cls, left, right, f"{where}{index}.")


def _unknown(cls: type[Any], where: str, key: str, known: list[str]) -> RunError:
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5) or sorted(known)
    return RunError(
        expected=f"keys that {cls.__name__} knows",
        got=f"the unknown key {where!r}",
        remedy=f"did you mean {', '.join(near)}?",
    )


def _explained(cls: type[Any], text: str, error: ValidationError) -> RunError:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the whole text"
    remedy = "give it a value of that type"
    if first["type"] == "missing":
        remedy = f"add it; {_neighbours(text, first['loc'])}"
    return RunError(expected=f"a valid {cls.__name__}", got=f"{where}: {first['msg'].lower()}", remedy=remedy)


def _neighbours(text: str, loc: tuple[int | str, ...]) -> str:
    """Which keys were given where one is missing: the missing one is often there, misspelt."""
    place: Any = json.loads(text)
    for part in loc[:-1]:
        # Members of a union put their own names into the path; those are no keys.
        if isinstance(place, dict):
            place = place.get(part, place)
        elif isinstance(place, list) and isinstance(part, int):
            place = place[part]
    keys = list(place) if isinstance(place, dict) else []
    near = difflib.get_close_matches(str(loc[-1]), keys, n=1, cutoff=0.5)
    return f"did you write {near[0]!r} for it?" if near else f"given are {', '.join(map(repr, keys)) or 'none'}"
