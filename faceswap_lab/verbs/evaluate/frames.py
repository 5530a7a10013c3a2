"""The figures of all frames of a swap, measured here or by the workers of a cluster."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faceswap_lab.actors.cast import Take
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.tasks import run_tasks
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Footage
from faceswap_lab.models import device as devices
from faceswap_lab.models.registry import open_engine
from faceswap_lab.progress import Progress
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import Stop, never, stop_on_signals, until
from faceswap_lab.trust.consent.gate import require_use
from faceswap_lab.verbs.evaluate.judge import Judge
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.people import record_of, reopened, subject_of
from faceswap_lab.verbs.recipes import EvaluateRecipe
from faceswap_lab.verbs.swap.result import SwapRun

FRAMES = 25
"""Frames of one task."""

Rows = list[dict[str, float]]


def figures(
    run: Run, result: SwapRun, judge: Judge, target: Footage, truth: Take | None, compute: Cluster | None, device: str
) -> Rows:
    """The figures of each frame, with one progress line."""
    shown = result.footage()
    line = Progress("evaluate", len(shown), unit="frames")
    rows: Rows = []
    if compute is None:
        for row in measured(judge, shown, target, truth, range(len(shown)), never):
            rows.append(row)
            line.update(len(rows))
    else:
        rows = _spread(run, result, judge, truth, len(shown), compute, device, line)
    line.close()
    return rows


def measured(
    judge: Judge, shown: Footage, target: Footage, truth: Take | None, frames: range, stop: Stop
) -> Iterator[dict[str, float]]:
    """The figures of these frames of a result and its target."""
    pairs = zip(shown.frames(frames.start, frames.stop), target.frames(frames.start, frames.stop), strict=True)
    for number, (swapped, before) in zip(frames, until(stop, pairs), strict=True):
        yield judge.with_truth(swapped, before, truth, number) if truth is not None else judge.alone(swapped, before, number)


def _spread(
    run: Run, result: SwapRun, judge: Judge, truth: Take | None, count: int, compute: Cluster, device: str, line: Progress
) -> Rows:
    tasks = [
        Measuring(
            run=run.path,
            result=result.path,
            truth="" if truth is None else record_of(truth),
            galleries=(judge.source_gallery, judge.target_gallery),
            corrections=judge.corrections.to_json(),
            frames=range(first, min(first + FRAMES, count)),
            device=device,
        )
        for first in range(0, count, FRAMES)
    ]
    found: dict[int, Rows] = {}
    with stop_on_signals() as stop, closing(run_tasks(tasks, compute, stop)) as made:
        for outcome in made:
            found[outcome.number] = outcome.result()
            line.update(sum(map(len, found.values())))
    return [row for number in sorted(found) for row in found[number]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measuring:
    """The task of measuring some frames of a swap, in any process that sees the lab. Galleries are sent along, since an actor's
    would have to be rendered on each worker."""

    run: Path
    result: Path
    truth: str
    galleries: tuple[np.ndarray, np.ndarray]
    corrections: str
    frames: range
    device: str

    def __call__(self, stop: Stop) -> Rows:
        """See `compute.tasks.Task`. Files, grants and consents are checked again here."""
        run, result = ScoreRun(self.run), SwapRun(self.result)
        run.require_genuine()
        source, target = result.people()
        require_use("evaluate", subject_of(source), subject_of(target), root=result.root)
        require_use("train", *result.trained_on(), root=result.root)
        assert isinstance(target, Footage)
        truth = reopened(self.truth) if self.truth else None
        assert truth is None or isinstance(truth, Take)
        recipe = run.recipe(EvaluateRecipe)
        where = devices.pick("cpu" if recipe.engine == "offline" else self.device)
        judge = Judge(
            engine=open_engine(recipe.engine, where),
            source_gallery=self.galleries[0],
            target_gallery=self.galleries[1],
            corrections=Corrections.from_json(self.corrections) if self.corrections else Corrections(),
            origin=target.origin,
        )
        return list(measured(judge, result.footage(), target, truth, self.frames, stop))
