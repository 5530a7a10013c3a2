"""What a call of a pipeline would do: for each step whether it would run or be skipped, and which of its inputs changed. Nothing is
started or written."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical, lab_root
from faceswap_lab.pipelines import checks
from faceswap_lab.pipelines.graph import Pipeline
from faceswap_lab.pipelines.notebook import NotebookRun
from faceswap_lab.pipelines.record import PipelineRun
from faceswap_lab.pipelines.references import RUN, Known
from faceswap_lab.pipelines.steps.identity import Asked, asked, missing_of, package_data
from faceswap_lab.runs.call import Call, without_hints

SKIP, RUN_IT, OPEN = "skip", "run", "open"
"""Forecasts; `OPEN` where it depends on what a step that runs will return."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a step would do and why; its run so far, and its parameters as far as they are known."""

    step: str
    would: str
    why: str
    run: str
    parameters: dict[str, Any]


def outlook(pipeline: Pipeline, values: Mapping[str, Any]) -> list[Forecast]:
    """A forecast for each step, in their order. RunError for a pipeline that is wrong."""
    known = checks.check(pipeline, values)
    summaries: dict[str, dict[str, Any]] = {}
    before = _before(pipeline)
    found = []
    for name in pipeline.steps:
        forecast, run = _forecast(pipeline, name, Known(parameters=values, summaries=summaries), known[name], before.get(name))
        if run is not None:
            summaries[name] = {**run.summary, RUN: run.id}
        found.append(forecast)
    return found


def _forecast(
    pipeline: Pipeline, name: str, known: Known, partly: dict[str, Any], before: NotebookRun | None
) -> tuple[Forecast, NotebookRun | None]:
    """The forecast, and the finished run if the step would be skipped."""
    step = pipeline.steps[name]
    last = "" if before is None else before.id
    if waits := sorted({each.step for each in step.references() if each.step is not None} - set(known.summaries)):
        why = f"depends on what {', '.join(waits)} will return"
        return Forecast(step=name, would=OPEN, why=why, run=last, parameters=partly), None
    try:
        call = asked(pipeline, step, known)
    except RunError as error:
        why = f"it would fail: {error.expected}; got {error.got}"
        return Forecast(step=name, would=RUN_IT, why=why, run=last, parameters=partly), None
    run = _known_run(call)
    if run is not None and run.finished and not (gone := missing_of(run)):
        return Forecast(step=name, would=SKIP, why="unchanged", run=run.id, parameters=call.given), run
    if run is None:
        why = "never run" if before is None else _difference(call, before)
    else:
        why = f"{gone} is gone" if run.finished else "not finished"
    return Forecast(step=name, would=RUN_IT, why=why, run=run.id if run else last, parameters=call.given), None


def _known_run(call: Asked) -> NotebookRun | None:
    """The run that `NotebookRun.start` would return, if there is one: the newest finished, else the newest."""
    key = Call.of("notebook", call.recipe, call.inputs, package_data(), NotebookRun.RESULT_VERSION).key
    known = [run for run in NotebookRun.find() if run.key == key]
    return max(known, key=lambda run: (run.finished, run.record.created), default=None)


def _before(pipeline: Pipeline) -> dict[str, NotebookRun]:
    """Step to its latest run in runs of this pipeline, whatever their parameters."""
    found: dict[str, NotebookRun] = {}
    for run in reversed(PipelineRun.find(name=pipeline.name)):
        for name, run_id in run.step_runs().items():
            if (_folder(run_id) / "run.json").is_file():
                found[name] = NotebookRun.open(run_id)
    return found


def _folder(run_id: str) -> Path:
    return lab_root() / "runs" / run_id


def _difference(call: Asked, before: NotebookRun) -> str:
    """What changed since an earlier run of the step."""
    was = before.record.recipe["parameters"]
    told = [_changed(name, was, call.parameters) for name in sorted({*was, *call.parameters})]
    inputs, earlier = call.inputs, before.inputs
    others = [name for name in sorted({*inputs, *earlier} - {"runs"}) if _counted(inputs, name) != _counted(earlier, name)]
    told += [{"notebook": "the notebook", "uses": "what it uses"}.get(name, f"the file {name}") for name in others]
    data = package_data()
    told += [f"the {name}" for name in data if before.record.data.get(name) != data[name]]
    return f"changed: {', '.join(filter(None, told)) or 'the version of its results'}"


def _counted(inputs: Mapping[str, str], name: str) -> str:
    return without_hints(inputs.get(name, ""))


def _changed(name: str, was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    if name in was and name in now:
        return "" if was[name] == now[name] else f"{name} ({_short(was[name])} -> {_short(now[name])})"
    return f"{name} (not given before)" if name in now else f"{name} (no longer given)"


def _short(value: Any) -> str:
    text = canonical(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
