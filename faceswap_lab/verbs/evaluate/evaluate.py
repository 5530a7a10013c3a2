"""The verb `evaluate`: scores a swap against its ground truth, with a floor and a ceiling for each score."""

import json
import math
import sys
from collections import defaultdict
from dataclasses import asdict
from time import perf_counter
from typing import Literal

import numpy as np

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Footage
from faceswap_lab.files import lab_root
from faceswap_lab.models import data_files, metrics
from faceswap_lab.models import device as devices
from faceswap_lab.models.metrics import Score
from faceswap_lab.models.registry import open_engine
from faceswap_lab.trust.consent.gate import check_evaluate, check_train
from faceswap_lab.verbs.computing import Compute, computing
from faceswap_lab.verbs.evaluate.frames import figures
from faceswap_lab.verbs.evaluate.judge import Judge
from faceswap_lab.verbs.evaluate.scores import PER_FRAME, SCORES, ScoreRun
from faceswap_lab.verbs.people import Person, data_of, record_of, subject_of
from faceswap_lab.verbs.recipes import EvaluateRecipe
from faceswap_lab.verbs.swap.result import CORRECTIONS, SwapRun


def evaluate(
    result: SwapRun | str,
    *,
    truth: Take | Literal["auto"] | None = "auto",
    tone: Literal["source", "target"] | None = None,
    recipe: EvaluateRecipe | None = None,
    engine: str | None = None,
    compute: Compute = None,
    device: str = "auto",
    force: bool = False,
) -> ScoreRun:
    """Score the swap `result` (or the run of that id) against its ground truth if known; else compute the scores that need none.

    `truth` "auto" renders it if the target is an actor's take and the source an actor, with the skin tone of `tone` (default: the
    source's); a take (`take.recast(source)`) is used as is; None disables it. `engine` takes precedence over `recipe.engine`.

    Each score has a floor (that of the unchanged target) and a ceiling (that of the truth itself under the same measure).
    `device` is for the networks of judges other than the offline one, which runs on the CPU. With `compute` (see `lab.cluster`) the
    frames are measured by the workers of a cluster, with the same figures.
    Raises ValueError if the truth does not belong to this target, ConsentError if a person shown has not agreed to be measured.
    """
    result = SwapRun.open(result) if isinstance(result, str) else result
    if not isinstance(result, SwapRun):
        raise TypeError(f"result must be a Run returned by lab.swap, got {type(result).__name__}")
    recipe = (recipe or EvaluateRecipe()).with_(**({} if engine is None else {"engine": engine}))
    source, target = result.people()
    check_evaluate(subject_of(source), subject_of(target), root=lab_root())
    check_train(*result.trained_on(), root=lab_root())
    truth = _truth(result, truth, tone, source, target)
    asked = devices.pick(device)
    where = devices.pick("cpu") if recipe.engine == "offline" else asked
    judging = open_engine(recipe.engine, where)
    inputs = {"result": result.id, "truth": record_of(truth) if truth is not None else "", "engine": judging.record}
    data = data_of(source, target) | data_files.of_engine(judging) | {"result": result.record.artifacts[result.result]}
    run = ScoreRun.start(lab_root(), "evaluate", recipe, inputs, data=data, force=force)
    if run.finished:
        return run
    with run:
        start = perf_counter()
        providers = judging.providers()
        if providers:
            print(f"{run.id}: on {devices.describe(where)}; {providers}", file=sys.stderr)
        assert isinstance(target, Footage)
        device = "cpu" if recipe.engine == "offline" else device
        with computing(run, compute, device, providers=providers) as (cluster, _):
            judge = Judge.of(source, target, recipe, judging, _corrections_of(result))
            rows = figures(run, result, judge, target, truth, cluster, device)
        scores = summarised(rows)
        with run.write(PER_FRAME) as path:
            path.write_text(json.dumps(_plain(rows)))
        with run.write(SCORES) as path:
            path.write_text(json.dumps(_plain({name: asdict(score) for name, score in scores.items()}), indent=1))
        run.finish(
            scores={name: _plain(asdict(score)) for name, score in scores.items()},
            embedder=judge.engine.embedder,
            gallery_size=recipe.gallery_size,
            num_frames=len(rows),
            landmark_error_ratio=_ratio(scores),
            seconds={"evaluate": round(perf_counter() - start, 2)},
        )
    return run


def _corrections_of(result: SwapRun) -> Corrections:
    """The corrections that the swap was given; none if it has only their digest, as those of older versions."""
    return result.corrections() if result.has(CORRECTIONS) else Corrections()


def _truth(
    result: SwapRun, truth: Take | Literal["auto"] | None, tone: Literal["source", "target"] | None, source: Person, target: Person
) -> Take | None:
    """The ground truth: rendered, as given, or None."""
    if truth == "auto":
        if isinstance(source, Actor) and isinstance(target, Take):
            return target.recast(source, tone=tone or "source")
        return None
    if tone is not None:
        raise ValueError(f"tone={tone!r} applies to truth='auto' only; a take given as truth has its own")
    if truth is not None and not _belongs(truth, source, target):
        raise ValueError(f"{truth.origin} is not the truth of {result.id}: use the swap's own target, recast as its source")
    return truth


def _belongs(truth: Take, source: Person, target: Person) -> bool:
    if not (isinstance(source, Actor) and isinstance(target, Take)) or len(truth) != len(target):
        return False
    return target.recast(source, tone=truth.tone).origin == truth.origin


def _ratio(scores: dict[str, Score]) -> float | None:
    error = scores.get("landmark_error")
    return None if error is None else round(metrics.landmark_error_ratio(error.value, error.ceiling), 4)


# Column: name, unit ("" for cosines, fractions of frames, and fractions of the interocular distance), whether higher is better.
_NAMES = {
    "psnr": ("psnr_face", "dB", True),
    "ssim": ("ssim_face", "", True),
    "sharp": ("sharpness", "", True),
    "to_source": ("id_similarity", "", True),
    "to_target": ("id_leak", "", False),
    "nearer": ("id_nearer_source", "", True),
    "landmarks": ("landmark_error", "", False),
    "seam": ("seam", "levels/px", False),
    "spill": ("spill", "", False),
    "found": ("face_found", "", True),
}


def summarised(rows: list[dict[str, float]]) -> dict[str, Score]:
    """Means over frames. Frames without a figure are left out of its mean; `face_found` accounts for them."""
    columns: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, figure in row.items():
            if not math.isnan(figure):
                columns[name].append(figure)
    scores = {}
    for short, (name, unit, higher) in _NAMES.items():
        if values := columns.get(f"value.{short}"):
            parts = {role: columns.get(f"{role}.{short}", []) for role in ("floor", "ceiling")}
            floor, ceiling = (float(np.mean(part)) if part else math.nan for part in parts.values())
            scores[name] = Score(value=float(np.mean(values)), floor=floor, ceiling=ceiling, unit=unit, higher_is_better=higher)
    return scores


def _plain(value: object) -> object:
    """A JSON value, rounded, with nan and infinity as null."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, 5) if math.isfinite(value) else None
    return value
