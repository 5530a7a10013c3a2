"""The run of a pipeline: which steps ran, in which runs of their own, and what became of them."""

from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any, ClassVar

from faceswap_lab.runs.run import Run

WAITING, RUNNING, SKIPPED, FINISHED = "waiting", "running", "skipped", "finished"
FAILED, NOT_RUN, STOPPED = "failed", "not run", "stopped"

DONE = frozenset({SKIPPED, FINISHED})
"""States of a step whose summary others can use."""

TOML = "pipeline.toml"
"""The artifact with the pipeline as it was read."""


@dataclass(slots=True, kw_only=True)
class StepState:
    """Where a step stands: its state, its run, how long it took, the cell it is at; and why, in three parts, if it failed."""

    name: str
    state: str = WAITING
    run: str = ""
    seconds: float = 0.0
    cell: int = 0
    cells: int = 0
    attempt: int = 1
    expected: str = ""
    got: str = ""
    remedy: str = ""
    began: float | None = None

    @property
    def spent_s(self) -> float:
        """Seconds so far."""
        return self.seconds if self.began is None else perf_counter() - self.began

    def told(self) -> dict[str, Any]:
        """As plain JSON, without what is empty or only of the moment."""
        plain = {name: value for name, value in asdict(self).items() if name not in ("name", "began", "cell", "cells", "attempt")}
        return {name: value for name, value in plain.items() if value not in ("",)}


class PipelineRun(Run):
    """A run of a pipeline. Its events of the kind `pipeline_step` tell what became of each step, the summary the last of them."""

    VERB: ClassVar[str | None] = "pipeline"
    RESULT_VERSION: ClassVar[int] = 1

    def step_runs(self) -> dict[str, str]:
        """Step to the id of the run that it was last given, also in a pipeline that is not finished."""
        return {str(event["step"]): str(event["run"]) for event in self.events("pipeline_step") if event.get("run")}

    def ran(self, run_id: str) -> bool:
        """Whether a step was ever given this run."""
        return any(event.get("run") == run_id for event in self.events("pipeline_step"))
