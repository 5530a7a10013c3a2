"""Recipes as JSON and back, strictly: no coercion of values, and a misspelt key is an error."""

import difflib
import json
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical, sha256_text

R = TypeVar("R")


def schema_of(cls: type[Any]) -> str:
    """The recipe's type and the version of its fields, `SCHEMA`: "FacesetRecipe/2". TypeError for a type without one."""
    version = getattr(cls, "SCHEMA", None)
    if not isinstance(version, int):
        raise TypeError(f"{cls.__name__} is not a recipe: it has no SCHEMA, the version of its fields")
    return f"{cls.__name__}/{version}"


def to_plain(recipe: object) -> Any:
    """The recipe (a frozen dataclass tree) as plain JSON values. An int given for a float becomes a float, so that equal recipes
    have equal digests; a value of the wrong type raises `RunError`."""
    adapter = TypeAdapter(type(recipe))
    text = adapter.dump_json(recipe, warnings=False).decode()
    return adapter.dump_python(from_json(type(recipe), text), mode="json")


def to_json(recipe: object) -> str:
    """The recipe as readable JSON; `from_json(type(recipe), ...)` is the inverse."""
    return json.dumps(to_plain(recipe), indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)


def digest(recipe: object) -> str:
    """SHA-256 of the recipe's canonical JSON."""
    return sha256_text(canonical(to_plain(recipe)))


def from_json(cls: type[R], text: str) -> R:
    """A recipe of type `cls`. Omitted keys take their defaults.

    Raises `RunError` with the key and its close matches if a key is unknown, missing or has a value of another type.
    """
    adapter = TypeAdapter(cls)
    try:
        recipe = adapter.validate_json(text, strict=True)
    except ValidationError as error:
        raise _explained(cls, text, error) from error
    # Keys that the type ignored are missing when it is serialised again: this finds unknown keys at any depth.
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
        expected=f"keys of {cls.__name__}",
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
    """The keys given next to a missing one, which is often there, misspelt."""
    place: Any = json.loads(text)
    for part in loc[:-1]:
        # Members of a union add their own names to the path; those are not keys.
        if isinstance(place, dict):
            place = place.get(part, place)
        elif isinstance(place, list) and isinstance(part, int):
            place = place[part]
    keys = list(place) if isinstance(place, dict) else []
    near = difflib.get_close_matches(str(loc[-1]), keys, n=1, cutoff=0.5)
    return f"did you write {near[0]!r} for it?" if near else f"the keys given are {', '.join(map(repr, keys)) or 'none'}"
