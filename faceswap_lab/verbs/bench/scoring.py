"""A method's scores over the pairs of the benchmark: every pair counts the same; an interval where there are enough of them."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import numpy as np

from faceswap_lab.runs.environment import code_version
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.evaluate.scores import PER_FRAME, ScoreRun

FEWEST_PAIRS = 5
"""With fewer pairs than this no interval is given: it would be far too narrow."""

_RESAMPLES = 5_000

P = ParamSpec("P")
R = TypeVar("R", bound=Run)


def by_this_code(verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The run of this call of a verb, made by this version of the code.

    A verb returns the finished run of an identical call, whichever version made it: a score of that would say nothing about the
    code of today.
    """
    run = verb(*args, **kwargs)
    if run.record.code == code_version():
        return run
    kwargs["force"] = True
    return verb(*args, **kwargs)


def pooled(runs: Sequence[ScoreRun]) -> dict[str, dict[str, Any]]:
    """Score to its mean over pairs, one run each: value, floor, ceiling (None where infinite), and how far value is above floor.

    `low` and `high`, and `gain_low` and `gain_high`, are 95 % intervals by bootstrap over pairs, None below `FEWEST_PAIRS`.
    `pairs` is in how many the score exists: a measure of the found face needs one.
    """
    if not runs:
        raise ValueError("there is nothing to pool: no run was given")
    tables = [run.scores for run in runs]
    names = list(dict.fromkeys(name for table in tables for name in table))
    return {name: _pooled([table[name] for table in tables if name in table]) for name in names}


def _pooled(scores: Sequence[dict[str, Any]]) -> dict[str, Any]:
    known = [score for score in scores if score["value"] is not None]
    sign = 1.0 if scores[0]["higher_is_better"] else -1.0
    values = [score["value"] for score in known]
    gains = [sign * (score["value"] - score["floor"]) for score in known if score["floor"] is not None]
    low, high = interval(values)
    gain_low, gain_high = interval(gains)
    return {
        "value": _mean(values),
        "floor": _mean([score["floor"] for score in known]),
        "ceiling": _mean([score["ceiling"] for score in known]),
        "low": low,
        "high": high,
        "gain": _mean(gains),
        "gain_low": gain_low,
        "gain_high": gain_high,
        "pairs": len(known),
        "unit": scores[0]["unit"],
        "higher_is_better": scores[0]["higher_is_better"],
    }


def _mean(values: Sequence[float | None]) -> float | None:
    """The mean; None if there are no values, or one of them is infinite (None)."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 5) if known and len(known) == len(values) else None


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean by bootstrap, with a fixed seed; None twice below `FEWEST_PAIRS` values."""
    if len(values) < FEWEST_PAIRS:
        return None, None
    from scipy.stats import bootstrap

    found = bootstrap((values,), np.mean, n_resamples=_RESAMPLES, method="percentile", rng=np.random.default_rng(0))
    return round(float(found.confidence_interval.low), 5), round(float(found.confidence_interval.high), 5)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredFrame:
    """A frame of a scored swap, with its PSNR in the face."""

    run: ScoreRun
    index: int
    psnr: float


def best_median_worst(runs: Sequence[ScoreRun]) -> dict[str, ScoredFrame]:
    """Of all frames of these runs the one of the highest PSNR in the face, the median and the lowest."""
    frames = [
        ScoredFrame(run=run, index=index, psnr=row["value.psnr"])
        for run in runs
        for index, row in enumerate(json.loads(run.artifact(PER_FRAME).read_text()))
        if row.get("value.psnr") is not None
    ]
    if not frames:
        raise ValueError("no frame of these runs has a PSNR: they were scored without a truth")
    ordered = sorted(frames, key=lambda frame: frame.psnr, reverse=True)
    return {"best": ordered[0], "median": ordered[len(ordered) // 2], "worst": ordered[-1]}
