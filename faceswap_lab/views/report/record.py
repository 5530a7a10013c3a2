"""The record of the page's runs: environment, inputs, outputs, and the recipe with what differs from its defaults."""

import json
from collections.abc import Iterator
from typing import Any

from faceswap_lab.files import canonical
from faceswap_lab.runs.fields import fields_of
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.sharing.allowed import PLAIN_NAME
from faceswap_lab.verbs import recipes
from faceswap_lab.views.report.blocks import Block, Command, Facts, Folded, Paragraph, Plain, Section, Table
from faceswap_lab.views.report.scope import Scope
from faceswap_lab.views.report.telling import told_input

_RECIPES = (
    *("PairRecipe", "OneshotRecipe", "PackRecipe", "EyesRecipe"),
    *("SwapRecipe", "EvaluateRecipe", "FacesetRecipe", "RenderRecipe"),
)
_MOST_OUTPUTS = 12


def section_of(scope: Scope) -> Section:
    """The environment of the first run, and for each run its key, code, inputs, outputs and recipe."""
    environment = scope.runs[0].record.environment
    machine = {name: str(value) for name, value in environment.items() if name != "packages"}
    packages = {name: str(value) for name, value in environment.get("packages", {}).items()}
    blocks: list[Block] = [Facts(rows=machine), Facts(rows=packages, mono=True)]
    blocks += [Folded(title=run.id, blocks=_of_run(run, scope)) for run in scope.runs]
    commands = "\n".join(f"faceswap-lab runs show {run.id}" for run in scope.runs)
    return Section(title="Record", blocks=[*blocks, Command(text=commands)], folded=True)


def recipe_block(run: Run, scope: Scope) -> Table | Facts | Paragraph:
    """The settings of a run that differ from the defaults of its recipe's type, with what they mean; of an untyped one, all."""
    if run.record.recipe_schema.partition("/")[0] not in _RECIPES:
        return Facts(rows=flat_recipe(run, scope))
    rows = [[path, value, default, meaning] for path, value, default, meaning in _settings(run, scope) if value != default]
    if not rows:
        return Paragraph(text="All settings have their defaults.")
    about = "Settings that differ from the defaults; all others have their default."
    return Table(header=["setting", "value", "default", "meaning"], rows=rows, caption=about)


def flat_recipe(run: Run, scope: Scope) -> dict[str, str]:
    """Every setting of a run by its path ("train.learning_rate"), as text."""
    return dict(_flat(scope.share(run).of(run.record.recipe, "recipe")))


def _of_run(run: Run, scope: Scope) -> list[Plain]:
    rows = {"run": run.id, "key": run.key, "code": run.record.code, "created": run.record.created}
    inputs = {name: value for name, value in run.inputs.items() if value}
    rows |= {
        _input_name(run, name, number): told_input(value, hides=scope.hides)
        for number, (name, value) in enumerate(inputs.items(), 1)
    }
    outputs = {
        name: digest for name, digest in run.record.artifacts.items() if run.id not in scope.real or PLAIN_NAME.fullmatch(name)
    }
    rows |= {f"output: {name}": f"sha256:{digest}" for name, digest in list(outputs.items())[:_MOST_OUTPUTS]}
    if (more := len(run.record.artifacts) - min(len(outputs), _MOST_OUTPUTS)) > 0:
        rows["more outputs"] = str(more)
    recipe = json.dumps(scope.share(run).of(run.record.recipe, "recipe"), indent=1)
    return [Facts(rows=rows, mono=True), Command(text=recipe)]


def _input_name(run: Run, name: str, number: int) -> str:
    """The inputs of a faceset are called by their files, which may be named after somebody."""
    return f"input {number}" if run.verb == "faceset" else f"input: {name}"


def _settings(run: Run, scope: Scope) -> Iterator[tuple[str, str, str, str]]:
    """Path, value, default and meaning of each setting."""
    name, _, _ = run.record.recipe_schema.partition("/")
    known = {info.path: info for info in fields_of(getattr(recipes, name))} if name in _RECIPES else {}
    for path, value in flat_recipe(run, scope).items():
        info = known.get(path)
        default = "" if info is None else _text(info.default)
        yield path, value, default, "" if info is None else info.meaning


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _flat(inner, f"{path}.{name}" if path else str(name))
    else:
        yield path, _text(value)


def _text(value: Any) -> str:
    """A value as JSON has it, so that a tuple and a list, 1e-4 and 0.0001 are the same."""
    if isinstance(value, str):
        return value
    try:
        return canonical(list(value) if isinstance(value, tuple | frozenset) else value)
    except (TypeError, ValueError):
        return str(value)
