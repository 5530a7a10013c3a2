"""Scores over pairs: each method's value, floor, ceiling and share of the way, by track and by whose face it is, with intervals."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from faceswap_lab.actors.person.traits import sample_traits
from faceswap_lab.actors.tracks import TrackPair
from faceswap_lab.models import metrics
from faceswap_lab.verbs.bench.measures import Figures, averaged, measure_of
from faceswap_lab.verbs.bench.scored_pair import CEILING, FLOOR, plain

ALL = "all"
"""Beside the tracks: all pairs of all of them."""

FEWEST_PAIRS = 5
"""With fewer pairs than this no interval is given: it would be far too narrow."""

RESAMPLES, SEED = 2_000, 0

_FEWEST_PICTURES = 8
_GROUPED = ("psnr_face", "ssim_face", "id_similarity", "id_leak")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """A scored pair: its figures by role (`target`, `truth`, `by METHOD`), and the judges' vectors by role and judge."""

    pair: TrackPair
    figures: Mapping[str, Figures]
    vectors: Mapping[str, np.ndarray]


def scores_of(rows: Sequence[Row], method: str) -> dict[str, dict[str, Any]]:
    """Score to value, floor, ceiling, share and gain over these pairs, with 95 % intervals by bootstrap over pairs.

    Each pair counts the same. None is an infinite or missing figure. `share` is (value - floor) / (ceiling - floor) of the means,
    `gain` how far the value is better than the floor.
    """
    names = dict.fromkeys(name for row in rows for name in row.figures[CEILING])
    return {name: _score(name, rows, method) for name in names}


def _score(name: str, rows: Sequence[Row], method: str) -> dict[str, Any]:
    roles = (f"by {method}", FLOOR, CEILING)
    table = np.array([[row.figures[role].get(name, math.nan) for role in roles] for row in rows], np.float64)
    table = table[~np.isnan(table[:, 0])]
    measure = measure_of(name)
    value, floor, ceiling = (averaged(name, column[~np.isnan(column)].tolist()) for column in table.T)
    low, high = interval(name, table, lambda means: means[0])
    share_low, share_high = interval(name, table, lambda means: share_of_way(name, *means))
    sign = 1.0 if measure.higher_is_better else -1.0
    gain_low, gain_high = interval(name, table, lambda means: sign * (means[0] - means[1]))
    found = {
        "value": value,
        "low": low,
        "high": high,
        "floor": floor,
        "ceiling": ceiling,
        "share": share_of_way(name, value, floor, ceiling),
        "share_low": share_low,
        "share_high": share_high,
        "gain": sign * (value - floor),
        "gain_low": gain_low,
        "gain_high": gain_high,
    }
    return _finite(found) | {"pairs": len(table), "unit": measure.unit, "higher_is_better": measure.higher_is_better}


def _finite(found: Mapping[str, float]) -> dict[str, float | None]:
    return {name: round(value, 6) + 0.0 if math.isfinite(value) else None for name, value in found.items()}


def share_of_way(score: str, value: float, floor: float, ceiling: float) -> float:
    """(value - floor) / (ceiling - floor); nan where an end is infinite, the truth is no better than the target, or a measure's
    floor is no start to go from."""
    measure = measure_of(score)
    better = ceiling > floor if measure.higher_is_better else ceiling < floor
    return metrics.normalised(value, floor, ceiling) if measure.has_share and better else math.nan


def interval(score: str, table: np.ndarray, figure: Callable[[tuple[float, float, float]], float]) -> tuple[float, float]:
    """The 95 % interval of a figure of the three means (value, floor, ceiling), by bootstrap over pairs (rows) with a fixed seed;
    nan below `FEWEST_PAIRS`, and where the figure is infinite."""
    if len(table) < FEWEST_PAIRS or not math.isfinite(figure(_means(score, table))):
        return math.nan, math.nan
    draw = np.random.default_rng(SEED)
    found = [figure(_means(score, table[draw.integers(len(table), size=len(table))])) for _ in range(RESAMPLES)]
    finite = [each for each in found if math.isfinite(each)]
    low, high = np.percentile(finite, [2.5, 97.5])
    return float(low), float(high)


def _means(score: str, table: np.ndarray) -> tuple[float, float, float]:
    if measure_of(score).mean == "energy":
        with np.errstate(divide="ignore"):
            means = -10 * np.log10(np.nanmean(10 ** (-table / 10), axis=0))
    else:
        means = table.mean(axis=0)
    value, floor, ceiling = means.tolist()
    return value, floor, ceiling


def distances(rows: Sequence[Row], method: str, judges: Sequence[str]) -> dict[str, dict[str, Any]]:
    """KID of the method's pictures from the true ones by each judge's features, with its standard error; the floor is that of the
    targets. None of a video is counted, whose frames are no independent pictures; empty below 8 pictures."""
    stills = [row for row in rows if len(row.pair.frames) == 1]
    return {
        f"kid@{judge}": found
        for judge in judges
        if (
            found := _distance([[row.vectors[f"{role}/{judge}"][0] for role in (f"by {method}", FLOOR, CEILING)] for row in stills])
        )
    }


def _distance(vectors: Sequence[Sequence[np.ndarray]]) -> dict[str, Any]:
    whole = [each for each in vectors if all(np.isfinite(vector).all() for vector in each)]
    if len(whole) < _FEWEST_PICTURES:
        return {}
    results, targets, truths = (np.stack(column) for column in zip(*whole, strict=True))
    value, floor = metrics.kid(results, truths), metrics.kid(targets, truths)
    figures = {"value": value.value, "error": value.error, "floor": floor.value, "floor_error": floor.error, "ceiling": 0.0}
    share = {"share": metrics.normalised(value.value, floor.value, 0.0), "gain": floor.value - value.value}
    return _finite(figures | share) | {"pictures": len(whole), "unit": "", "higher_is_better": False}


GROUPS: Mapping[str, Callable[[int], str]] = {
    "skin": lambda seed: ("light", "medium", "dark")[int(np.digitize(sample_traits(seed).melanin, (1 / 3, 2 / 3)))],
    "age": lambda seed: ("younger", "middle", "older")[int(np.digitize(sample_traits(seed).age, (0.80, 0.86)))],
    "sex": lambda seed: "male" if sample_traits(seed).is_male else "female",
}
"""A trait in words, by seed: melanin in thirds of its range, age in three parts of the actors' range, and sex."""


def by_group(rows: Sequence[Row], method: str) -> list[dict[str, Any]]:
    """The main scores over the pairs whose source, or target, has a trait."""
    found = []
    for side in ("source", "target"):
        for trait, word_of in GROUPS.items():
            words = {word: [row for row in rows if word_of(getattr(row.pair, side)) == word] for word in _words(rows, word_of)}
            for word, part in ((word, part) for word, part in words.items() if part):
                scores = {name: score for name, score in scores_of(part, method).items() if name.partition("@")[0] in _GROUPED}
                kept = ("value", "low", "high", "floor", "ceiling", "share")
                told = {name: {key: score[key] for key in kept} for name, score in scores.items()}
                found.append({"side": side, "trait": trait, "group": word, "pairs": len(part), "scores": told})
    return found


def _words(rows: Sequence[Row], word_of: Callable[[int], str]) -> list[str]:
    present = {word_of(seed) for row in rows for seed in (row.pair.source, row.pair.target)}
    order = ("light", "medium", "dark", "younger", "middle", "older", "female", "male")
    return [word for word in order if word in present]


def chosen(rows: Sequence[Row], method: str) -> dict[str, dict[str, Any]]:
    """The pairs of the best, the median and the worst PSNR in the face; fewer where there are fewer pairs."""
    ranked = sorted(rows, key=lambda row: (-_psnr(row, method), row.pair.name))
    places = {"best": 0, "median": len(ranked) // 2, "worst": len(ranked) - 1}
    found = {word: ranked[place] for word, place in places.items()} if ranked else {}
    once = {row.pair.name: word for word, row in reversed(found.items())}
    return {
        word: {"pair": row.pair.name, "psnr_face": plain(_psnr(row, method))}
        for word, row in found.items()
        if once[row.pair.name] == word
    }


def _psnr(row: Row, method: str) -> float:
    figure = row.figures[f"by {method}"].get("psnr_face", math.nan)
    return -math.inf if math.isnan(figure) else figure
