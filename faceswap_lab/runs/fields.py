"""Fields of a recipe by path: listing them with type, default and meaning, parsing them from text, and replacing them.

Both APIs share one description: `recipe.with_(train__learning_rate=1e-3)` and `--train.learning-rate 1e-3`.
"""

import dataclasses
import difflib
import inspect
import re
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, Literal, TypeVar, get_args, get_origin

from pydantic import ConfigDict, TypeAdapter, ValidationError

R = TypeVar("R")


class Recipe:
    """Base class of all recipes, which are frozen dataclasses."""

    __slots__ = ()

    def with_(self: R, **changes: Any) -> R:
        """This recipe with some fields replaced; two underscores separate nested names: `with_(train__steps=50, net__size=128)`.

        Raises TypeError, with close matches, for an unknown field; ValueError for a value of the wrong type and for what the
        recipe itself rejects.
        """
        return replaced(self, {name.replace("__", "."): value for name, value in changes.items()}, separator="__")

    def _repr_html_(self) -> str:
        """A table of all fields: path, value, and what the documentation says of it; values other than the default in bold."""
        defaults = {info.path: info.default for info in fields_of(type(self))}
        rows = "".join(_row(info, is_default=info.default == defaults[info.path]) for info in fields_of(type(self), self))
        head = "".join(f"<th style='text-align:left'>{title}</th>" for title in ("field", "value", "meaning"))
        return f"<table><tr>{head}</tr>{rows}</table>"


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldInfo:
    """One value of a recipe: its `path` ("train.learning_rate"), type, default (MISSING if there is none) and meaning."""

    path: str
    type: Any
    default: Any
    meaning: str

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values, if the type is a Literal."""
        return get_args(self.type) if get_origin(self.type) is Literal else ()


def fields_of(cls: type[Any], recipe: object = None, prefix: str = "") -> Iterator[FieldInfo]:
    """All values of a recipe class, nested ones included, in the order of definition. Defaults are those of `recipe`, else of the
    class."""
    hints = typing.get_type_hints(cls)
    meanings = _meanings(cls)
    for each in dataclasses.fields(cls):
        value = _default(each) if recipe is None else getattr(recipe, each.name)
        hint, path = hints[each.name], f"{prefix}{each.name}"
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            yield from fields_of(hint, None if value is dataclasses.MISSING else value, f"{path}.")
        else:
            yield FieldInfo(path=path, type=hint, default=value, meaning=meanings.get(each.name, ""))


def replaced(recipe: R, changes: Mapping[str, Any], *, separator: str = ".") -> R:
    """`recipe` with the values at these dotted paths, replaced at once, so that checks see them all. Errors as in `Recipe.with_`.

    `separator` joins the parts of a path in messages.
    """
    known = {path for info in fields_of(type(recipe)) for path in _with_parts(info.path)}
    for path in changes:
        if path not in known:
            raise _unknown(type(recipe), path, separator)
    return _replaced(recipe, changes, "", separator)


def from_text(hint: Any, text: str) -> Any:
    """A value of type `hint` parsed from text: numbers and words verbatim, tuples with commas, "none" where None is allowed.

    Raises ValueError if it does not parse.
    """
    inner = [each for each in get_args(hint) if each is not type(None)]
    optional = get_origin(hint) in (typing.Union, types.UnionType) and len(inner) < len(get_args(hint))
    if optional and text.lower() == "none":
        return None
    plain = inner[0] if optional and len(inner) == 1 else hint
    given: Any = tuple(part.strip() for part in text.split(",")) if get_origin(plain) is tuple else text
    try:
        return TypeAdapter(plain, config=ConfigDict(allow_inf_nan=False)).validate_python(given)
    except ValidationError as error:
        raise ValueError(f"{text!r}: {error.errors()[0]['msg'].lower()}") from error


def near(name: str, known: Iterable[str]) -> list[str]:
    """Names in `known` that may have been meant, most likely first; paths also match by their last part alone."""
    names = list(known)
    wanted = _last(name)
    leaves = [each for each in names if difflib.SequenceMatcher(a=wanted, b=_last(each)).ratio() > 0.8]
    return list(dict.fromkeys([*difflib.get_close_matches(name, names, n=3, cutoff=0.75), *leaves]))[:3]


def _row(info: FieldInfo, *, is_default: bool) -> str:
    value = escape(str(info.default))
    cells = (escape(info.path), value if is_default else f"<b>{value}</b>", escape(info.meaning))
    return "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in cells) + "</tr>"


def _last(path: str) -> str:
    return re.split(r"\.|__", path)[-1].lstrip("-")


def _default(each: "dataclasses.Field[Any]") -> Any:
    return each.default if each.default_factory is dataclasses.MISSING else each.default_factory()


def _with_parts(path: str) -> Iterator[str]:
    """The path and its parent paths, because nested recipes can be replaced as a whole."""
    names = path.split(".")
    return (".".join(names[: number + 1]) for number in range(len(names)))


def _replaced(recipe: R, changes: Mapping[str, Any], prefix: str, separator: str) -> R:
    parts: dict[str, dict[str, Any]] = {}
    values: dict[str, Any] = {}
    hints = typing.get_type_hints(type(recipe))
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        if rest:
            parts.setdefault(name, {})[rest] = value
        else:
            values[name] = _checked(hints[name], value, f"{prefix}{name}".replace(".", separator))
    for name, inner in parts.items():
        values[name] = _replaced(values.get(name, getattr(recipe, name)), inner, f"{prefix}{name}.", separator)
    return dataclasses.replace(recipe, **values)  # type: ignore[type-var]


def _checked(hint: Any, value: object, path: str) -> Any:
    try:
        return TypeAdapter(hint).validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(f"{path}: {error.errors()[0]['msg'].lower()}, got {value!r}") from error


def _unknown(cls: type[Any], path: str, separator: str) -> TypeError:
    names = [info.path.replace(".", separator) for info in fields_of(cls)]
    given = path.replace(".", separator)
    close = near(given, names)
    hint = f"did you mean {', '.join(close)}?" if close else f"it has {', '.join(names)}"
    return TypeError(f"{cls.__name__} has no field {given!r}; {hint}")


def _meanings(cls: type[Any]) -> dict[str, str]:
    """Field to the sentence of the docstring that mentions it, of the class or else of those that it inherits from: help texts come
    from docstrings alone."""
    sentences = [sentence for each in cls.__mro__ for sentence in _sentences(each)]
    found: dict[str, str] = {}
    for each in dataclasses.fields(cls):
        said = next((sentence for sentence in sentences if f"`{each.name}`" in sentence), "")
        found[each.name] = said.replace("`", "")
    return found


def _sentences(cls: type[Any]) -> list[str]:
    text = " ".join(inspect.cleandoc(vars(cls).get("__doc__") or "").split())
    return [each.rstrip(".;") for each in re.split(r"(?<=[.;])\s+(?=[A-Z`\"a-z])", text)]
