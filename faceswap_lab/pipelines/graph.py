"""A pipeline as plain data: notebooks with parameters, read strictly from a TOML file, and the order in which they run.

A reference to what another step returned makes the order, `after` one without data. Nothing is run or opened here but the file
itself: `checks` looks into the notebooks.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from importlib.resources import files as resources
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from faceswap_lab.errors import RunError, storing
from faceswap_lab.files import canonical, user_path
from faceswap_lab.pipelines.references import Reference, references
from faceswap_lab.runs.fields import near

_STRICT = ConfigDict(extra="forbid", strict=True)
_STEP, _PIPELINE, _PARAMETER = (
    re.compile(r"[a-z][a-z0-9_-]*"),
    re.compile(r"\w[\w-]*", re.ASCII),
    re.compile(r"[A-Za-z_]\w*", re.ASCII),
)
_TIME = re.compile(r"(?P<number>\d+(\.\d+)?) ?(?P<unit>s|min|h)")
_UNITS_S = {"s": 1.0, "min": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One notebook of a pipeline. `files` are parameters that are paths, relative to the TOML file: their content counts.

    `uses` are values that count like parameters without being given: runs that the notebook finds in the lab by itself.
    `timeout` is for each attempt, `retries` how often a failed one is repeated.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    notebook: str
    parameters: dict[str, Any] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    uses: list[Any] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    timeout: str = "30 min"
    retries: int = 0

    @property
    def timeout_s(self) -> float:
        """Seconds that an attempt may take."""
        match = _TIME.fullmatch(self.timeout)
        assert match is not None  # checked when it was read
        return float(match["number"]) * _UNITS_S[match["unit"]]

    def references(self) -> list[Reference]:
        """All references in the parameters and in what it uses."""
        return list(references([self.parameters, self.uses]))

    @property
    def needs(self) -> frozenset[str]:
        """The steps that end before this one begins."""
        return frozenset(self.after) | {each.step for each in self.references() if each.step is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Written:
    """The TOML file's content."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    title: str
    steps: dict[str, Step]
    parameters: dict[str, Any] = field(default_factory=dict)
    smoke: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """A pipeline that was read: its steps in the order in which they are run when nothing is parallel."""

    name: str
    path: Path
    title: str
    steps: dict[str, Step]
    parameters: dict[str, Any]
    smoke: dict[str, Any]

    def values(self, given: Mapping[str, Any] | None = None, *, smoke: bool = False) -> dict[str, Any]:
        """The pipeline's parameters: their defaults, with those for a smoke run and those `given` in their places.

        RunError, with close matches, for an unknown name and for a value of another type than the default's.
        """
        changes = (self.smoke if smoke else {}) | dict(given or {})
        return self.parameters | {name: _like_default(self, name, value) for name, value in changes.items()}

    def only(self, names: Collection[str]) -> "Pipeline":
        """The pipeline with these steps and all that they need. RunError, with close matches, for an unknown one."""
        chosen: set[str] = set()
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name not in self.steps:
                raise _unknown(self.path, "a step", name, self.steps)
            chosen.add(name)
            waiting += self.steps[name].needs - chosen
        kept = {name: step for name, step in self.steps.items() if name in chosen}
        return Pipeline(name=self.name, path=self.path, title=self.title, steps=kept, parameters=self.parameters, smoke=self.smoke)

    def order(self) -> dict[str, frozenset[str]]:
        """Step to the steps that it needs, for a TopologicalSorter."""
        return {name: step.needs for name, step in self.steps.items()}


def folders() -> list[Path]:
    """Where the shipped pipelines are: inside the package in an installed wheel, beside it in a checkout."""
    inside = Path(str(resources("faceswap_lab")))
    return [place / "notebooks" / "pipelines" for place in (inside, inside.parent)]


def shipped() -> dict[str, Path]:
    """Name to path of the shipped pipelines."""
    return {path.stem: path for folder in reversed(folders()) for path in sorted(folder.glob("*.toml"))}


def read(name: str) -> Pipeline:
    """The shipped pipeline of this name, or the one at this path. RunError for one that is missing or wrong."""
    path = shipped().get(name)
    if path is None:
        path = user_path(name)
        if path.suffix != ".toml" or not path.is_file():
            close = near(name, shipped())
            remedy = f"did you mean {', '.join(close)}?" if close else f"name one of {', '.join(shipped())}, or the path of a file"
            raise RunError(expected="a shipped pipeline, or the path of a .toml file", got=name, remedy=remedy)
    return _read(path.resolve())


def _read(path: Path) -> Pipeline:
    if not _PIPELINE.fullmatch(path.stem):
        remedy = "rename the file: runs are found by this name"
        raise RunError(expected="a pipeline's file named in letters, digits, _ and -", got=repr(path.name), remedy=remedy)
    with storing(path):
        content = path.read_bytes()
    try:
        plain = tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML: a key that is given twice is not TOML either
        raise _wrong(path, "a TOML file", str(error), "correct the file there") from error
    _require_json(path, plain)
    try:
        # From JSON text: only there does pydantic make a dataclass of a table, and yet convert no value.
        written = TypeAdapter(_Written).validate_json(json.dumps(plain))
    except ValidationError as error:
        raise _explained(path, error) from error
    _check(path, written)
    order = TopologicalSorter({name: sorted(step.needs) for name, step in written.steps.items()})
    try:
        steps = {name: written.steps[name] for name in order.static_order()}
    except CycleError as error:
        ring = " -> ".join(reversed(error.args[1]))
        raise _wrong(path, "steps that can be put in an order", f"the cycle {ring}", "take one of these references out") from error
    return Pipeline(name=path.stem, path=path, title=written.title, steps=steps, parameters=written.parameters, smoke=written.smoke)


# --- what pydantic cannot check --------------------------------------------------------------------------------------------


def _check(path: Path, written: _Written) -> None:
    if not written.steps:
        raise _wrong(path, "at least one step", "none", "add a [steps.NAME] with a notebook")
    if not written.title.strip() or "\n" in written.title.strip():
        raise _wrong(path, "a title of one line", repr(written.title), "say in a line what the pipeline is for")
    for name in written.parameters:
        if not _PARAMETER.fullmatch(name):
            raise _wrong(path, "names of parameters in letters, digits and _", repr(name), "rename it")
    as_read = Pipeline(name=path.stem, path=path, title=written.title, steps={}, parameters=written.parameters, smoke={})
    as_read.values(written.smoke)
    for name, step in written.steps.items():
        if not _STEP.fullmatch(name):
            raise _wrong(path, "names of steps in small letters, digits, _ and -", repr(name), "rename it")
        _check_step(path, name, step, written)


def _check_step(path: Path, name: str, step: Step, written: _Written) -> None:
    if not _TIME.fullmatch(step.timeout) or not step.timeout_s:
        raise _wrong(path, f'a timeout of step {name} such as "90 s", "30 min" or "2 h"', repr(step.timeout), "write it so")
    if not 0 <= step.retries <= 10:
        raise _wrong(path, f"0 to 10 retries of step {name}", str(step.retries), "correct the number")
    if twice := sorted(step.parameters.keys() & step.files.keys()):
        raise _wrong(path, f"{twice[0]} of step {name} given once", "a parameter and a file", "take one of them out")
    for reference in step.references():
        if reference.step is None and reference.keys[0] not in written.parameters:
            raise _unknown(
                path, f"a parameter of the pipeline in {reference.text} of step {name}", reference.keys[0], written.parameters
            )
    for needed in sorted(step.needs):
        if needed not in written.steps:
            raise _unknown(path, f"a step that {name} can need", needed, written.steps)


def _require_json(path: Path, plain: Mapping[str, Any]) -> None:
    for where, value in _leaves(plain):
        try:
            canonical(value)
        except (TypeError, ValueError) as error:
            got = f"{where} = {value!r}"
            raise _wrong(path, "values that JSON has too", got, "write dates and times as text; leave out nan and inf") from error


def _leaves(value: Any, where: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _leaves(inner, f"{where}.{name}" if where else str(name))
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner, where)
    else:
        yield where, value


def _like_default(pipeline: Pipeline, name: str, value: Any) -> Any:
    """The value, if it is of the default's type; a whole number for a float becomes one, so that equal calls have equal keys."""
    if name not in pipeline.parameters:
        raise _unknown(pipeline.path, "a parameter of the pipeline", name, pipeline.parameters)
    default = pipeline.parameters[name]
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise _wrong(
            pipeline.path,
            f"{name} of the type {type(default).__name__}, as its default {canonical(default)}",
            f"{value!r}, a {type(value).__name__}",
            "give a value of that type; on the command line, quotes make a text of a number: -p 'name=\"7\"'",
        )
    return value


def _explained(path: Path, error: ValidationError) -> RunError:
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    where = ".".join(place)
    if first["type"] == "unexpected_keyword_argument":
        known = Step.__slots__ if place[0] == "steps" and len(place) > 1 else _Written.__slots__
        return _unknown(path, f"a key of {'.'.join(place[:-1]) or 'a pipeline'}", place[-1], known)
    got = f"{where or 'the whole file'}: {first['msg'].lower()}"
    return _wrong(path, "a pipeline: title, [parameters], [smoke] and [steps.NAME]", got, "see docs/howto/pipelines.md")


def _unknown(path: Path, what: str, name: str, known: Collection[str]) -> RunError:
    close = near(name, known)
    remedy = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known) or 'none'}"
    return _wrong(path, what, repr(name), remedy)


def _wrong(path: Path, expected: str, got: str, remedy: str) -> RunError:
    return RunError(expected=f"{expected}, in {path.name}", got=got, remedy=remedy)
