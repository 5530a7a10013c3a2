"""The course of a pipeline: which step can begin, which is skipped or not run, and what each attempt came to.

Everything here happens in the caller's thread, which alone writes to the pipeline's run. Threads only wait for the attempts'
processes, here or through a cluster.
"""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from faceswap_lab.errors import LabError, storage_error
from faceswap_lab.pipelines import record
from faceswap_lab.pipelines.checks import require_type
from faceswap_lab.pipelines.graph import Pipeline
from faceswap_lab.pipelines.notebook import NotebookRun, parameters_of
from faceswap_lab.pipelines.record import PipelineRun, StepState
from faceswap_lab.pipelines.references import RUN, Known
from faceswap_lab.pipelines.steps.attempt import Attempt, Ending
from faceswap_lab.pipelines.steps.child import Order
from faceswap_lab.pipelines.steps.identity import Asked, asked, missing_of
from faceswap_lab.pipelines.steps.progress import cell_of
from faceswap_lab.stopping import Stop

if TYPE_CHECKING:
    from faceswap_lab.compute.cluster import Cluster

_LOOK_S = 0.3


@dataclass(slots=True, kw_only=True)
class _UnderWay:
    """A step whose attempt is in progress."""

    name: str
    run: NotebookRun
    attempt: Attempt


@dataclass(slots=True, kw_only=True)
class Course:
    """One call of a pipeline. `forced` are steps that run although nothing changed."""

    pipeline: Pipeline
    values: Mapping[str, Any]
    root: Path
    run: PipelineRun
    compute: "Cluster | None"
    forced: frozenset[str]
    watch: Callable[[Mapping[str, StepState]], None]
    stop: Stop
    steps: dict[str, StepState] = field(init=False)
    _summaries: dict[str, dict[str, Any]] = field(init=False, default_factory=dict)
    _under_way: dict[Future[Ending], _UnderWay] = field(init=False, default_factory=dict)
    _order: TopologicalSorter[str] = field(init=False)
    _pool: ThreadPoolExecutor = field(init=False)
    _has_ended: threading.Event = field(init=False, default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.steps = {name: StepState(name=name) for name in self.pipeline.steps}
        self._order = TopologicalSorter(self.pipeline.order())

    def run_all(self, workers: int) -> dict[str, StepState]:
        """Run the steps to their end and return their states. KeyboardInterrupt if they were stopped."""
        self._order.prepare()
        waiting: list[str] = []
        with ThreadPoolExecutor(workers, thread_name_prefix="step") as self._pool:
            try:
                while self._order.is_active():
                    waiting += self._order.get_ready()
                    waiting = self._begin_some(waiting, workers)
                    self._look()
                    if self.stop():
                        self._end_stopped(waiting)
            finally:
                self._has_ended.set()  # whatever ended it, no process goes on
        self.watch(self.steps)
        self._tell_failure()
        return self.steps

    def _begin_some(self, waiting: list[str], workers: int) -> list[str]:
        """Begin what there is room for; returns those that must wait."""
        kept = []
        for name in waiting:
            if self._lacks(name):
                self._leave_out(name)
            elif len(self._under_way) >= workers or not self._begin(name):
                kept.append(name)
        return kept

    def _lacks(self, name: str) -> list[str]:
        """The steps that this one needs and that have failed or were not run."""
        needs = sorted(self.pipeline.steps[name].needs)
        return [each for each in needs if self.steps[each].state in (record.FAILED, record.NOT_RUN)]

    def _leave_out(self, name: str) -> None:
        step = self.steps[name]
        step.state, step.got = record.NOT_RUN, f"needs {', '.join(self._lacks(name))}"
        self._settle(step)

    def _begin(self, name: str) -> bool:
        """Skip a step or start it; False if another step is making the same run at this moment."""
        try:
            call = self._asked(name)
            run = self._run_of(name, call)
        except LabError as error:
            self._fail(self.steps[name], error.expected, error.got, error.remedy)
            return True
        if any(run == other.run for other in self._under_way.values()):
            return False
        step = self.steps[name]
        step.run = run.id
        if run.finished:
            step.state = record.SKIPPED
            self._done(step, run)
            return True
        notebook = str(call.notebook) if not call.is_shipped else call.notebook.stem
        order = Order(run=str(run.path), notebook=notebook, parameters=call.given)
        attempt = Attempt(run=run.path, order=order, timeout_s=self.pipeline.steps[name].timeout_s)
        self._start(_UnderWay(name=name, run=run, attempt=attempt))
        return True

    def _asked(self, name: str) -> Asked:
        """The step with all its values, whose types are now known. RunError if a step did not return one of them."""
        step = self.pipeline.steps[name]
        known = Known(parameters=self.values, summaries=self._summaries)
        call = asked(self.pipeline, step, known)
        if any(reference.step for reference in step.references()):
            types = parameters_of(call.notebook)
            for key, value in call.parameters.items():
                require_type(name, types[key], value)
        return call

    def _run_of(self, name: str, call: Asked) -> NotebookRun:
        run = call.start(self.root, force=name in self.forced)
        if run.finished and (gone := missing_of(run)):
            self.run.emit("pipeline_step", step=name, state="made again", run=run.id, missing=gone)
            return call.start(self.root, force=True)
        return run

    def _start(self, under_way: _UnderWay) -> None:
        step = self.steps[under_way.name]
        step.state, step.began = record.RUNNING, perf_counter()
        self.run.emit("pipeline_step", step=step.name, state="started", run=step.run, attempt=step.attempt)
        self.run.flush()
        self._under_way[self._pool.submit(_carried_out, under_way.attempt, self.compute, self._must_stop)] = under_way

    def _must_stop(self) -> bool:
        return self.stop() or self._has_ended.is_set()

    def _look(self) -> None:
        """Wait a moment, take over what has ended, and tell of the rest."""
        if self._under_way:
            ended, _ = wait(self._under_way, timeout=_LOOK_S, return_when=FIRST_COMPLETED)
            for future in ended:
                self._end(self._under_way.pop(future), future.result())
            for each in self._under_way.values():
                step = self.steps[each.name]
                step.cell, step.cells = cell_of(each.run.path)
        self.watch(self.steps)

    def _end(self, under_way: _UnderWay, ending: Ending) -> None:
        step = self.steps[under_way.name]
        step.seconds, step.began = round(step.seconds + ending.seconds, 1), None
        if ending.state == record.FINISHED:
            step.state = record.FINISHED
            self._done(step, NotebookRun(under_way.run.path))
        elif ending.state == record.STOPPED:
            step.state = record.STOPPED
        elif step.attempt <= self.pipeline.steps[step.name].retries and not self.stop():
            step.attempt += 1
            self.run.emit("pipeline_step", step=step.name, state="retried", run=step.run, seconds=ending.seconds, got=ending.got)
            self._start(under_way)
        else:
            self._fail(step, ending.expected, ending.got, ending.remedy)

    def _done(self, step: StepState, run: NotebookRun) -> None:
        self._summaries[step.name] = {**run.summary, RUN: run.id}
        self._settle(step)

    def _fail(self, step: StepState, expected: str, got: str, remedy: str) -> None:
        step.state, step.expected, step.got, step.remedy = record.FAILED, expected, got, remedy
        self._settle(step)

    def _settle(self, step: StepState) -> None:
        """What became of a step is final: told in the run, and the steps that need it are next."""
        self.run.emit("pipeline_step", step=step.name, **step.told())
        self.run.flush()
        self._order.done(step.name)

    def _end_stopped(self, waiting: list[str]) -> None:
        """Wait until the processes have ended, then raise KeyboardInterrupt, with which the run ends as stopped."""
        for future, under_way in self._under_way.items():
            self._end(under_way, future.result())
        self._under_way.clear()
        for name in waiting:
            self.steps[name].got = "stopped before it began"
        self.watch(self.steps)
        raise KeyboardInterrupt

    def _tell_failure(self) -> None:
        """The run's last event, if a step failed: the run stays unfinished, and the same call resumes it."""
        failed = [step for step in self.steps.values() if step.state == record.FAILED]
        if not failed:
            return
        got = "; ".join(f"{step.name}: {step.got}" for step in failed)
        parts = {"expected": "every step to run to its end", "got": got, "remedy": failed[0].remedy}
        self.run.emit("failed", error="RunError", **parts)


def _carried_out(attempt: Attempt, compute: "Cluster | None", stop: Stop) -> Ending:
    """The ending of an attempt, in a process of this machine or on a worker; errors on the way are a failure of this attempt."""
    from faceswap_lab.compute.tasks import run_tasks

    start = perf_counter()
    try:
        if compute is None:
            return attempt(stop)
        with closing(run_tasks([attempt], compute, stop)) as outcomes:
            return next(outcomes).result()
    except KeyboardInterrupt:
        return Ending(state=record.STOPPED, seconds=perf_counter() - start)
    except (LabError, OSError) as raised:
        error = raised if isinstance(raised, LabError) else storage_error(raised)
        seconds = perf_counter() - start
        return Ending(state=record.FAILED, seconds=seconds, **error.parts)
