"""References in a pipeline's parameters: `${recipe}` is a parameter of the pipeline, `${train.device}` what a step returned.

A text that is nothing but a reference becomes the value with its type; inside a longer text the value is written out. In a list, a
reference to a list adds its elements. `$${` stands for `${`.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.runs.fields import near

RUN = "run"
"""`${STEP.run}` is the id of the step's own run, whatever its notebook returned."""

_REFERENCE = re.compile(r"(?P<escaped>\$\$\{)|\$\{(?P<path>[^{}]*)\}")
_PATH = re.compile(r"[\w-]+(\.[\w-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """`${parameter}` has no step; `${step.key.inner}` has the keys that lead to the value in the step's summary."""

    text: str
    step: str | None
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What references can name: the pipeline's parameters, and the summaries of ended steps, with `run` among them."""

    parameters: Mapping[str, Any]
    summaries: Mapping[str, Mapping[str, Any]]

    def value(self, reference: Reference) -> Any:
        """The value. RunError, with close matches, if a step did not return it."""
        if reference.step is None:
            return self.parameters[reference.keys[0]]
        found: Any = self.summaries[reference.step]
        for number, key in enumerate(reference.keys):
            if not isinstance(found, Mapping) or key not in found:
                raise _not_returned(reference, ".".join(reference.keys[: number + 1]), found)
            found = found[key]
        return found


def references(value: Any) -> Iterator[Reference]:
    """All references within a value, in their order. RunError for one that is malformed."""
    if isinstance(value, str):
        for match in _REFERENCE.finditer(value):
            if not match["escaped"]:
                yield _reference(match["path"])
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def resolved(value: Any, known: Known) -> Any:
    """The value with every reference replaced. RunError if a step did not return what is referred to, or a text cannot hold it."""
    if isinstance(value, str):
        return _text(value, known)
    if isinstance(value, Mapping):
        return {name: resolved(inner, known) for name, inner in value.items()}
    if isinstance(value, list):
        made: list[Any] = []
        for inner in value:
            found = resolved(inner, known)
            made.extend(found if isinstance(found, list) and isinstance(inner, str) else [found])
        return made
    return value


def _reference(path: str) -> Reference:
    text = f"${{{path}}}"
    if not _PATH.fullmatch(path):
        remedy = "correct it, or write $${ for the characters themselves"
        raise RunError(expected="a reference such as ${parameter} or ${step.key}", got=text, remedy=remedy)
    first, *rest = path.split(".")
    return Reference(text=text, step=first if rest else None, keys=tuple(rest) if rest else (first,))


def _text(text: str, known: Known) -> Any:
    whole = _REFERENCE.fullmatch(text)
    if whole and not whole["escaped"]:
        return known.value(_reference(whole["path"]))

    def written(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        found = known.value(_reference(match["path"]))
        if isinstance(found, Mapping | list) or found is None:
            raise RunError(
                expected=f"a text or a number for {match[0]} within a longer text",
                got=type(found).__name__,
                remedy="make the reference the whole value, which then keeps its type",
            )
        return str(found).lower() if isinstance(found, bool) else str(found)

    return _REFERENCE.sub(written, text)


def _not_returned(reference: Reference, key: str, found: Any) -> RunError:
    names = sorted(map(str, found)) if isinstance(found, Mapping) else []
    close = near(key.rpartition(".")[2], names)
    hint = f"did you mean {', '.join(close)}?" if close else "correct the reference, or return the value with `emit_summary`"
    has = f"{', '.join(names) or 'nothing'}" if isinstance(found, Mapping) else f"a {type(found).__name__} there"
    return RunError(expected=f"{key} in what step {reference.step} returned, for {reference.text}", got=has, remedy=hint)
