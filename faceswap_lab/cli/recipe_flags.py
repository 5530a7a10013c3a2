"""A recipe's fields as flags: `--train.learning-rate 1e-3` corresponds to `recipe.with_(train__learning_rate=1e-3)` in Python.

Names, types, choices, defaults and help texts all come from the recipe's dataclasses (`runs.fields`).
"""

import argparse
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar, get_origin

from faceswap_lab.cli.parsing import Parser
from faceswap_lab.files import user_path
from faceswap_lab.runs.fields import FieldInfo, fields_of, from_text, replaced

R = TypeVar("R")

PREFIX = "recipe."
"""Prefix of these flags' destinations, by which they are recognised among the options."""

_METAVARS = {int: "N", float: "X", str: "TEXT"}


def add_recipe(
    parser: Parser,
    choose: Callable[[str | None], object],
    *,
    short: Mapping[str, str] | None = None,
    hidden: Sequence[str] = (),
    more_choices: Mapping[str, Sequence[str]] | None = None,
    text: str = "a recipe as JSON (`runs show RUN --json` has one); flags take precedence over it",
) -> None:
    """Add `--recipe` and a flag for each field of the recipe to a command.

    `choose` returns the recipe whose defaults the help shows, or its class, given the value of `--recipe` (None if absent).
    `short` are aliases of fields, `hidden` fields that the command sets by other arguments, `more_choices` values that the command
    accepts in addition to the recipe's.
    """
    parser.add_argument("--recipe", metavar="FILE", help=text)
    parser.complete = partial(_complete, choose=choose, short=short or {}, hidden=hidden, more_choices=more_choices or {})


def recipe_of(options: argparse.Namespace, default: R) -> R:
    """The command's recipe: that of the file, else `default`, with the fields set by flags. Errors as in `from_json`."""
    return replaced(read_recipe(type(default), options.recipe) if options.recipe else default, changes(options))


def read_recipe(cls: type[R], path: str) -> R:
    """A recipe from its file. Errors as in `from_json`; OSError for a file that cannot be read."""
    from faceswap_lab.runs.recipe import from_json

    return from_json(cls, user_path(path).read_text(encoding="utf-8"))


def changes(options: argparse.Namespace) -> dict[str, Any]:
    """Dotted path to value of the fields set by flags."""
    return {name.removeprefix(PREFIX): value for name, value in vars(options).items() if name.startswith(PREFIX)}


def flag_of(path: str) -> str:
    """`train.learning_rate` -> `--train.learning-rate`."""
    return f"--{path.replace('_', '-')}"


def _complete(
    parser: Parser,
    words: Sequence[str],
    *,
    choose: Callable[[str | None], object],
    short: Mapping[str, str],
    hidden: Sequence[str],
    more_choices: Mapping[str, Sequence[str]],
) -> None:
    usage = parser.format_usage().removeprefix("usage: ").rstrip().replace("%", "%%")
    chosen = choose(_named(words))
    cls, defaults = (chosen, None) if isinstance(chosen, type) else (type(chosen), chosen)
    groups: dict[str, Any] = {}
    for info in fields_of(cls, defaults):
        if info.path not in hidden:
            part = info.path.rpartition(".")[0]
            if part not in groups:
                groups[part] = parser.add_argument_group(f"recipe, {part}" if part else "recipe")
            _add(groups[part], info, short.get(info.path), more_choices.get(info.path, ()))
    # Listing every field's flag would bury the rest of the usage line.
    parser.usage = f"{usage} [recipe flags]"


def _named(words: Sequence[str]) -> str | None:
    """The value of `--recipe`, needed before parsing because it decides which flags there are."""
    for number, word in enumerate(words):
        if word.startswith("--recipe="):
            return word.partition("=")[2]
        if word == "--recipe" and number + 1 < len(words):
            return words[number + 1]
    return None


def _add(group: Any, info: FieldInfo, short: str | None, more_choices: Sequence[str]) -> None:
    names = [flag_of(info.path), *([short] if short else [])]
    common = {"dest": PREFIX + info.path, "default": argparse.SUPPRESS, "help": _help(info)}
    if info.type is bool:
        group.add_argument(*names, action=argparse.BooleanOptionalAction, **common)
    elif info.choices:
        group.add_argument(*names, choices=[*info.choices, *more_choices], **common)
    else:
        group.add_argument(*names, type=partial(_value, info.type), metavar=_metavar(info.type), **common)


def _value(hint: Any, text: str) -> Any:
    try:
        return from_text(hint, text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _metavar(hint: Any) -> str:
    return "A,B,…" if get_origin(hint) is tuple else _METAVARS.get(hint, "VALUE")


def _help(info: FieldInfo) -> str:
    said = "" if info.default is dataclasses.MISSING else f"default: {_shown(info.default)}"
    return "; ".join(part for part in (info.meaning, said) if part).replace("%", "%%")


def _shown(value: object) -> str:
    """A value as typed on the command line."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "none" if value is None else str(value)
