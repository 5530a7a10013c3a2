"""The trends of the benchmark over commits as the index tells them: known names, and numbers."""

import re
from collections.abc import Sequence
from typing import Any

from faceswap_lab.actors.tracks import TRACKS
from faceswap_lab.views.run_index import shapes
from faceswap_lab.views.run_index.figures import MEASURES
from faceswap_lab.views.run_index.inputs import Numbers
from faceswap_lab.views.run_index.vocabulary import words
from faceswap_lab.views.trends import Point, Trend

_METHODS = {"copy", "warp", "oneshot", "pair", "pair-supervised", "pair-unsupervised", "inswapper"}
_WORDS = frozenset(
    {*TRACKS, *_METHODS, "people", "of", "from", "without", "truth", "steps", "at", "px", "and", "smoke", "small", "quick", "full",
     "actors"}
)  # fmt: skip
_NUMBER = re.compile(r"[0-9]{1,7}")


def trends_of(trends: Sequence[Trend], withheld: frozenset[str]) -> list[dict[str, Any]]:
    """Plain data of each trend of a known measure; points of runs in `withheld` are left out.

    Names of benchmarks and methods are a notebook's own text: those that are no word of this package's become a number.
    """
    numbers = Numbers()
    return [
        {
            "benchmark": _name("benchmark", trend.name, numbers),
            "method": _name("method", trend.method, numbers),
            "score": trend.score,
            "points": [_point(point) for point in trend.points if point.run not in withheld],
        }
        for trend in trends
        if trend.score in MEASURES
    ]


def _name(kind: str, text: str, numbers: Numbers) -> str:
    """The text if all of it is words of ours and numbers, as in "pair from truth, 300 steps at 64 px (7 and 32)"."""
    parts = re.sub(r"[(),:]", " ", text).split()
    known = all(part in _WORDS or part in words() or _NUMBER.fullmatch(part) or shapes.run_id_of(part) for part in parts)
    return text if known and parts else numbers.of(kind, text)


def _point(point: Point) -> list[Any]:
    """Run, code, time, value, floor, ceiling, and the ends of its interval."""
    figures = [point.value, point.floor, point.ceiling, point.low, point.high]
    return [shapes.run_id_of(point.run), shapes.code_of(point.code), shapes.time_of(point.created), *figures]
