"""Older forms of `run.json` brought up to today's, one pure step at a time: records by their format, recipes by their schema."""

from collections.abc import Callable, Mapping
from typing import Any

_GONE_FROM_FIT = ("cosine_over", "fall_from", "again_from")
"""Knobs of a pack's schedule that recorded one improvised training. 0 meant that they were not used."""


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Format 1 had no schema of the recipe, no version of results and no data files: its key held the digest of all code."""
    schema = _schema_of_1(str(record.get("verb")), record.get("recipe"))
    return record | {"format": 2, "recipe_schema": schema, "result_version": 0, "data": {}}


FORMAT_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
"""Format n to the function that gives the record of format n + 1."""


def _schema_of_1(verb: str, recipe: Any) -> str:
    if verb == "train":
        return "PackRecipe/1" if isinstance(recipe, dict) and "sets" in recipe else "PairRecipe/1"
    names = {"swap": "Swap", "evaluate": "Evaluate", "faceset": "Faceset", "render": "Render", "quickstart": "Quickstart"}
    return f"{names[verb]}Recipe/1" if verb in names else ""


def migrated_recipe(schema: str, recipe: Any) -> tuple[str, Any]:
    """The newest schema that the recipe (plain JSON) can be said in, and the recipe in it; a recipe without schema as it is.

    A recipe that says what a newer schema cannot keeps its schema and its spelling: it can be shown, but not read as its type.
    """
    while isinstance(recipe, dict) and schema in _RECIPE_STEPS:
        changed = _RECIPE_STEPS[schema](recipe)
        if changed is None:
            break
        name, _, version = schema.partition("/")
        schema, recipe = f"{name}/{int(version) + 1}", changed
    return schema, recipe


def _pair_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    return _within(recipe, "train", lambda train: _renamed(train, rate="learning_rate"))


def _pack_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    fits = [recipe.get("points"), recipe.get("embedder")]
    detector = recipe.get("detector")
    if isinstance(detector, dict):
        fits += [detector.get("fit"), detector.get("polish")]
    if any(fit.get(name) for fit in fits if isinstance(fit, dict) for name in _GONE_FROM_FIT):
        return None
    for name in ("points", "embedder"):
        recipe = _within(recipe, name, _fit)
    return _within(recipe, "detector", lambda inner: _within(_within(inner, "fit", _fit), "polish", _fit))


def _fit(fit: dict[str, Any]) -> dict[str, Any]:
    return _renamed({name: value for name, value in fit.items() if name not in _GONE_FROM_FIT}, rate="learning_rate")


def _faceset_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    return _renamed(recipe, people="identities", like="near_duplicate_max")


def _quickstart_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in recipe.items() if name != "device"}


_RECIPE_STEPS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "PairRecipe/1": _pair_from_1,
    "PackRecipe/1": _pack_from_1,
    "FacesetRecipe/1": _faceset_from_1,
    "QuickstartRecipe/1": _quickstart_from_1,
}
"""Schema n of a recipe to the function that gives it in schema n + 1, or None if it cannot be said there."""


def _renamed(fields: dict[str, Any], **names: str) -> dict[str, Any]:
    """Fields under their new names, in their old places; one that stands under its new name already is not overwritten."""
    return {names[name] if name in names and names[name] not in fields else name: value for name, value in fields.items()}


def _within(fields: dict[str, Any], name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    inner = fields.get(name)
    return fields | {name: change(inner)} if isinstance(inner, dict) else fields
