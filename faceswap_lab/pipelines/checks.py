"""A pipeline checked against its notebooks, before anything runs: they exist, know the parameters, and take values of these types.

No two steps may write one place.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical
from faceswap_lab.pipelines.graph import Pipeline, Step
from faceswap_lab.pipelines.notebook import Parameter, parameters_of, require_known
from faceswap_lab.pipelines.references import Known, references, resolved
from faceswap_lab.pipelines.steps.identity import files_of, notebook_of

PLACES = ("folder", "output")
"""Parameters that say where a notebook writes."""

_TYPES: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}


def check(pipeline: Pipeline, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Step to its parameters, as far as they are known with these values of the pipeline's parameters: what other steps return is
    not. RunError, with the step's name, for the first thing that is wrong."""
    known: dict[Path, dict[str, Parameter]] = {}
    asked: dict[str, dict[str, Any]] = {}
    for name, step in pipeline.steps.items():
        path, _ = notebook_of(pipeline, step)
        if path not in known:
            known[path] = parameters_of(path)
        asked[name] = _checked(pipeline, name, step, known[path], values)
    _require_apart(pipeline, asked)
    return asked


def _checked(
    pipeline: Pipeline, name: str, step: Step, known: Mapping[str, Parameter], values: Mapping[str, Any]
) -> dict[str, Any]:
    path, _ = notebook_of(pipeline, step)
    try:
        require_known(path, [*step.parameters, *step.files], known)
    except RunError as error:
        raise RunError(expected=f"{error.expected}, for step {name}", got=error.got, remedy=error.remedy) from error
    found = known_now(step, values)
    for parameter, value in found.items():
        require_type(name, known[parameter], value)
    for parameter, file in files_of(pipeline, step).items():
        require_type(name, known[parameter], str(file))
    return found


def known_now(step: Step, values: Mapping[str, Any]) -> dict[str, Any]:
    """The step's parameters that refer to no other step, resolved."""
    now = {key: value for key, value in step.parameters.items() if all(each.step is None for each in references(value))}
    return dict(resolved(now, Known(parameters=values, summaries={})))


def require_type(step: str, parameter: Parameter, value: Any) -> None:
    """RunError if the value is not of the type that the notebook annotates; types other than JSON's are not checked."""
    wanted = parameter.type.partition("[")[0]
    allowed = _TYPES.get(wanted)
    if allowed is None or (isinstance(value, allowed) and (wanted == "bool" or not isinstance(value, bool))):
        return
    raise RunError(
        expected=f"{parameter.name} of step {step} as {parameter.type}, as its notebook defines it",
        got=f"{canonical(value)[:100]}, a {type(value).__name__}",
        remedy="give a value of that type",
    )


def _require_apart(pipeline: Pipeline, asked: Mapping[str, dict[str, Any]]) -> None:
    """Refuse two steps that would write one folder, or that are one call: their runs would be one."""
    places: dict[str, str] = {}
    for name, parameters in asked.items():
        step = pipeline.steps[name]
        # Two steps whose open references differ may still be equal once these are known: then the second finds the first's run.
        whole = canonical([step.notebook, step.parameters | parameters, step.uses, step.files])
        written = {f"{key} {Path(str(parameters[key])).expanduser().resolve()}" for key in PLACES if parameters.get(key)}
        for place in (f"the same: {whole}", *(place.partition(" ")[2] for place in written)):
            other = places.setdefault(place, name)
            if other != name:
                same = place.startswith("the same: ")
                why = "the same notebook with the same parameters" if same else f"which both write {place}"
                raise RunError(
                    expected=f"steps that each write a place of their own, in {pipeline.path.name}",
                    got=f"{other} and {name}, {why}",
                    remedy="take one of them out" if same else "leave the folder out, and each step writes into its own run",
                )
