"""From a run's record and events to the numbers that trackers get.

What is not listed here stays in the run: texts, paths, names, inputs, pictures, and each field that somebody adds later, until it
is added here as well. Names within `losses`, `scores`, `stages` and `seconds` come from the lab's code; their form is checked.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from faceswap_lab.runs.record import Record
from faceswap_lab.runs.tracking.tracker import Facts, Point

_RECIPE = frozenset(
    re.findall(
        r"\w+",
        """
        steps batch learning_rate warmup final_share weight_decay beta2 clip ema seed report_every self_share mask_weight size width
        code num_views render_size checkpoint_every every gallery_size gallery_seed
        """,
    )
)
_RECIPE_PARTS = frozenset({"train", "net", "data", "stream"})
_SUMMARY = frozenset(
    re.findall(
        r"\w+",
        """
        loss steps frames_per_s landmark_error_ratio num_frames num_faces num_faces_left num_frames_without_face num_samples
        num_shards num_files num_refused num_pictures gallery_size bytes
        """,
    )
)
_SUMMARY_PARTS = frozenset({"seconds", "stage_seconds", "scores", "splits"})
_SPENT = frozenset({"crops", "trained", "swapped", "interrupted", "pictures", "looked"})
"""Kinds of events that say how many seconds something took."""

_PLAIN = re.compile(r"[a-z][a-z0-9_]{0,40}")


class Scalars:
    """Reduces the events of one run, in order. Events without a step of their own get that of the last one with a step."""

    def __init__(self, record: Record) -> None:
        self.facts = facts_of(record)
        self._steps = self.facts.numbers.get("train.steps", 0.0) if record.verb == "train" else 0.0
        self._step = 0

    def point(self, kind: str, fields: Mapping[str, Any], time_s: float) -> Point | None:
        """The numbers of an event; None if it has none that may leave."""
        values = dict(self._values(kind, fields))
        return Point(step=self._step, time_s=time_s, values=values) if values else None

    def _values(self, kind: str, fields: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        if kind == "step":
            yield from self._training(fields)
        elif kind == "part":
            yield from self._swapping(fields)
        elif kind == "finished":
            yield from _summary(fields)
        elif kind in _SPENT:
            yield from _numbers({kind: fields.get("seconds")}, "seconds/")
            yield from _numbers(fields.get("stages"), "seconds/")

    def _training(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        if not isinstance(step := fields.get("step"), int):
            return
        self._step = step
        network = str(fields.get("network", ""))
        prefix = f"{network}/" if _PLAIN.fullmatch(network) else ""
        yield from _numbers(fields.get("losses"), f"{prefix}loss/")
        yield from _numbers({name: fields.get(name) for name in ("learning_rate", "samples_per_s")}, prefix)
        if self._steps and not network:
            yield "progress", self._step / self._steps

    def _swapping(self, fields: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
        first, times = fields.get("first"), fields.get("times_s")
        if not isinstance(first, int) or not isinstance(times, list | tuple):
            return
        self._step = first + len(times)
        yield "frames", float(self._step)
        for name in ("num_faces", "num_left"):
            yield name, float(sum(fields.get(name, ())))


def facts_of(record: Record) -> Facts:
    """The facts of a run: of its recipe only numbers that are listed, and nothing of its inputs."""
    recipe = record.recipe if isinstance(record.recipe, dict) else {}
    numbers = {name: value for name, value in _numbers(recipe) if name in _RECIPE}
    for part in sorted(_RECIPE_PARTS & recipe.keys()):
        numbers |= {f"{part}.{name}": value for name, value in _numbers(recipe[part]) if name in _RECIPE}
    return Facts(id=record.id, verb=record.verb, created=record.created, numbers=numbers)


def seconds_of(event: Mapping[str, Any]) -> float:
    """The time of an event on disk, in seconds since 1970."""
    return datetime.fromisoformat(str(event["time"])).timestamp()


def _summary(fields: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in _numbers(fields):
        if name in _SUMMARY:
            yield f"summary/{name}", value
    for part in sorted(_SUMMARY_PARTS & fields.keys()):
        yield from _nested(fields[part], f"summary/{part}/")


def _nested(given: Any, prefix: str) -> Iterator[tuple[str, float]]:
    yield from _numbers(given, prefix)
    if isinstance(given, Mapping):
        for name, value in given.items():
            if isinstance(value, Mapping) and _PLAIN.fullmatch(str(name)):
                yield from _nested(value, f"{prefix}{name}/")


def _numbers(given: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """The finite numbers of a mapping whose names are plain; truth values are none."""
    if not isinstance(given, Mapping):
        return
    for name, value in given.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        if is_number and _PLAIN.fullmatch(str(name)):
            yield f"{prefix}{name}", float(value)
