"""The words that settings can be chosen from, which are the only texts of a recipe that may leave; by the types of the recipes."""

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

from faceswap_lab.runs.fields import FieldInfo, Recipe, fields_of
from faceswap_lab.runs.recipe import schema_of


@cache
def words() -> frozenset[str]:
    """Every word that a setting can be chosen from: in a recipe, and of what actors do, wear and are filmed with."""
    from faceswap_lab.actors.performance.lights import LIGHTS
    from faceswap_lab.actors.performance.performance import KINDS
    from faceswap_lab.actors.performance.props import PROPS
    from faceswap_lab.actors.render.capture import CAPTURES

    choices = {word for fields in schemas().values() for info in fields for word in _literals(info.type)}
    told = {"from truth", "without truth", "fp16", "quickstart", "smoke", "offline", "warp", "oneshot"}
    return frozenset({*LIGHTS, *KINDS, *PROPS, *CAPTURES, *choices, *told, *_notebooks()})


def _notebooks() -> Iterator[str]:
    """Names of the shipped notebooks and pipelines: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(str(files("faceswap_lab")))
    for folder in (inside / "notebooks", inside.parent / "notebooks"):
        yield from (path.stem for path in (*folder.glob("*.ipynb"), *folder.glob("pipelines/*.toml")))


@cache
def schemas() -> Mapping[str, tuple[FieldInfo, ...]]:
    """Schema of each recipe to its fields."""
    from faceswap_lab.verbs import recipes

    kinds = [kind for kind in vars(recipes).values() if isinstance(kind, type) and issubclass(kind, Recipe) and kind is not Recipe]
    return {schema_of(kind): tuple(fields_of(kind)) for kind in kinds}


def _literals(hint: Any) -> Iterator[str]:
    for inner in get_args(hint):
        if isinstance(inner, str):
            yield inner
        else:
            yield from _literals(inner)
