"""Running a pipeline: steps in parallel where they are independent, those that are unchanged skipped, each in a process of its own.

A pipeline's own run is keyed as all runs are; its key covers every notebook, file and parameter, and the code. If that run is
finished and its steps' runs are whole, there is nothing to do, and nothing heavy is imported to find out.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from faceswap_lab.files import lab_root, sha256_file
from faceswap_lab.pipelines import checks
from faceswap_lab.pipelines.course import Course
from faceswap_lab.pipelines.graph import Pipeline
from faceswap_lab.pipelines.record import DONE, SKIPPED, TOML, PipelineRun, StepState
from faceswap_lab.pipelines.steps.identity import files_of, inputs_of_files, missing_of, notebook_of, package_data
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import stop_on_signals

if TYPE_CHECKING:
    from faceswap_lab.compute.cluster import Cluster

Watch = Callable[[Mapping[str, StepState]], None]
"""Called several times a second with the states of all steps, which must not be changed."""

WORKERS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a call: the pipeline's run, which is finished if all went well, and the states of its steps."""

    run: PipelineRun
    steps: dict[str, StepState]

    @property
    def ok(self) -> bool:
        """Whether each step was skipped or is finished."""
        return all(step.state in DONE for step in self.steps.values())


def run_pipeline(
    pipeline: Pipeline,
    parameters: Mapping[str, Any] | None = None,
    *,
    smoke: bool = False,
    only: str | None = None,
    workers: int = WORKERS,
    compute: "Cluster | None" = None,
    force: bool = False,
    watch: Watch = lambda _: None,
) -> Outcome:
    """Run what changed of a pipeline, at most `workers` steps at the same time, on the workers of `compute` if it is given.

    `only` runs one step and what that needs; with `force`, all steps, or that one, run although nothing changed. A step that fails
    stops those that need it, not the others: see `Outcome.ok`. RunError if the pipeline or a parameter is wrong, before anything
    runs; KeyboardInterrupt once a signal has stopped it.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    chosen = pipeline if only is None else pipeline.only([only])
    values = chosen.values(parameters, smoke=smoke)
    root = lab_root()
    if not force and (done := _finished(chosen, values)):
        return done
    checks.check(chosen, values)
    run = started(chosen, values, force=force)
    if run.finished:  # but something that its steps made is gone
        run = started(chosen, values, force=True)
    forced = frozenset(() if not force else [only] if only else chosen.steps)
    with run, stop_on_signals() as stop:
        with run.write(TOML) as path:
            path.write_bytes(pipeline.path.read_bytes())
        course = Course(pipeline=chosen, values=values, root=root, run=run, compute=compute, forced=forced, watch=watch, stop=stop)
        steps = course.run_all(workers)
        outcome = Outcome(run=run, steps=steps)
        if outcome.ok:
            run.finish(steps={name: step.told() for name, step in steps.items()})
    return outcome


def started(pipeline: Pipeline, values: Mapping[str, Any], *, force: bool = False) -> PipelineRun:
    """The pipeline's run for these values: a finished or unfinished one, else a new one."""
    return PipelineRun.start(lab_root(), "pipeline", _recipe(pipeline, values), inputs(pipeline), data=package_data(), force=force)


def inputs(pipeline: Pipeline) -> dict[str, str]:
    """The pipeline's file, and the notebooks and files of its steps."""
    found = {"pipeline": sha256_file(pipeline.path)}
    for name, step in pipeline.steps.items():
        found[f"{name}: notebook"] = sha256_file(notebook_of(pipeline, step)[0])
        found |= {f"{name}: {key}": value for key, value in inputs_of_files(files_of(pipeline, step)).items()}
    return found


def _recipe(pipeline: Pipeline, values: Mapping[str, Any]) -> str:
    return json.dumps({"name": pipeline.name, "parameters": values, "steps": sorted(pipeline.steps)}, sort_keys=True)


def _finished(pipeline: Pipeline, values: Mapping[str, Any]) -> Outcome | None:
    """The outcome of a finished run whose steps are all as they were left, without starting anything."""
    from faceswap_lab.runs.call import Call

    key = Call.of("pipeline", _recipe(pipeline, values), inputs(pipeline), package_data(), PipelineRun.RESULT_VERSION).key
    known = [run for run in PipelineRun.find(name=pipeline.name, finished=True) if run.key == key]
    if not known:
        return None
    known[0].require_genuine()
    steps = {}
    for name in pipeline.steps:
        told = known[0].summary["steps"][name]
        folder = lab_root() / "runs" / told["run"]
        if not (folder / "run.json").is_file() or not (step := Run.open(told["run"])).finished or missing_of(step):
            return None
        steps[name] = StepState(name=name, state=SKIPPED, run=told["run"])
    return Outcome(run=known[0], steps=steps)
