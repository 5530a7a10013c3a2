"""From a pipeline's outcome to the notice about it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceswap_lab.errors import LabError
from faceswap_lab.pipelines.notices.content import Notice
from faceswap_lab.pipelines.record import STOPPED, StepState
from faceswap_lab.runs.run import Run

MEASURES = frozenset(
    (
        "psnr_face",
        "psnr_face_floor",
        "ssim_face",
        "ssim_face_floor",
        "sharpness",
        "id_similarity",
        "id_leak",
        "id_nearer_source",
        "landmark_error",
        "landmark_error_ratio",
    )
)
"""Figures of a notebook's summary that are told. Others stay in the run: their names may be anybody's."""

_FAILED, _FINISHED = "failed", "finished"


def of_outcome(pipeline: str, run: Run, steps: Mapping[str, StepState], *, ok: bool, started: str, seconds: float) -> Notice:
    """Of a pipeline that came to its end, whether all steps did well or not."""
    summaries = {name: _summary(step.run) for name, step in steps.items()}
    reports = [step.run for name, step in steps.items() if "report" in summaries[name]]
    return Notice(
        pipeline=pipeline,
        state=_FINISHED if ok else _FAILED,
        started=started,
        seconds=seconds,
        steps=[(name, step.state, step.seconds, step.run or None, step.got or None) for name, step in steps.items()],
        scores={f"{name}.{key}": value for name, found in summaries.items() for key, value in scores_of(found).items()},
        report=reports[-1] if reports else None,
        run=run.id,
    )


def of_error(pipeline: str, error: BaseException, *, started: str, seconds: float) -> Notice:
    """Of a pipeline that an error ended before its steps were through, or that somebody stopped."""
    stopped = isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)
    step = (Path(pipeline).stem, STOPPED if stopped else _FAILED, seconds, None, type(error).__name__)
    return Notice(pipeline=pipeline, state=STOPPED if stopped else _FAILED, started=started, seconds=seconds, steps=[step])


def scores_of(summary: Mapping[str, Any]) -> dict[str, float]:
    """The measures at the summary's top, and of each method of a benchmark."""
    found = {name: value for name, value in summary.items() if name in MEASURES and isinstance(value, int | float)}
    benchmark = summary.get("benchmark")
    methods = benchmark.get("methods") if isinstance(benchmark, Mapping) else None
    for method, scores in methods.items() if isinstance(methods, Mapping) else ():
        for name, score in scores.items() if isinstance(scores, Mapping) else ():
            if name in MEASURES and isinstance(score, Mapping) and isinstance(score.get("value"), int | float):
                found[f"{method}.{name}"] = score["value"]
    return found


def _summary(run: str) -> Mapping[str, Any]:
    """A step's summary; empty for a step without a run, and for a run that can't be read: the notice goes out all the same."""
    if not run:
        return {}
    try:
        return Run.open(run).summary
    except LabError:
        return {}
