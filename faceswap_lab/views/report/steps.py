"""The section of a pipeline in a report: its steps with what became of them, and the runs of their notebooks."""

from collections.abc import Iterable
from typing import Any

from faceswap_lab.runs.record import run_folders
from faceswap_lab.runs.run import Run
from faceswap_lab.views.report.blocks import Block, Section, Table
from faceswap_lab.views.report.record import recipe_block
from faceswap_lab.views.report.scope import Scope

KIND = "pipeline_step"
"""The kind of event that tells of a step."""


def with_steps(runs: Iterable[Run]) -> list[Run]:
    """The runs, each pipeline followed by the runs of its steps that are still there."""
    found: list[Run] = []
    for run in runs:
        found += [run, *(Run.open(name, run.root) for name in _step_runs(run))]
    return found


def section_of(run: Run, scope: Scope) -> Section:
    """A pipeline: a row for each step, with the last that was told of it."""
    rows = [[name, str(told.get("state", "")), str(told.get("run", "")), _seconds(told)] for name, told in _steps(run).items()]
    told = Table(header=["step", "state", "run", "seconds"], rows=rows, caption="What became of each step, as it was last told.")
    blocks: list[Block] = [told] if rows else []
    return Section(title="Pipeline", blocks=[*blocks, recipe_block(run, scope)])


def _steps(run: Run) -> dict[str, dict[str, Any]]:
    """Step to the fields of its events, the last of each."""
    found: dict[str, dict[str, Any]] = {}
    for event in run.events(KIND):
        name = str(event.get("step", ""))
        found[name] = found.get(name, {}) | event
    return found


def _step_runs(run: Run) -> list[str]:
    names = [str(told.get("run", "")) for told in _steps(run).values()] if run.verb == "pipeline" else []
    here = {folder.name for folder in run_folders(run.root)} if names else set()
    return [name for name in names if name in here]


def _seconds(told: dict[str, Any]) -> str:
    return f"{float(told['seconds']):.1f}" if told.get("seconds") else ""
