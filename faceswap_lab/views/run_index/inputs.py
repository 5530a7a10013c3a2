"""A run's inputs as the index tells them: actors by their seeds, runs by their ids, files and the rest by a kind and a number."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from faceswap_lab.models.weights import catalogue
from faceswap_lab.runs.call import fields_of
from faceswap_lab.runs.record import Record
from faceswap_lab.views.run_index import shapes
from faceswap_lab.views.run_index.vocabulary import words

MAX_INPUTS = 24
"""Inputs that are listed of a run; a faceset has thousands."""

_NAMES = frozenset({"source", "target", "swapper", "engine", "corrections", "result", "truth", "notebook", "data"})
_DATA = frozenset({"head pack", "points.json", "mesh468.json", "weights", "result", *catalogue.MODELS})
_RESULTS = re.compile(rf"results of ({'|'.join(sorted(shapes.VERBS))})")
_BAKED = re.compile(r"format \d+ of anny [\d.]+")
_PLAIN = frozenset({"warp", "offline"})
_ONESHOT = re.compile(r"oneshot:sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An input: its name, what it is, and what of the lab's data that is ("actor 7", "file 2"); `run` is the run it names."""

    name: str
    text: str
    data: str = ""
    run: str = ""


@dataclass(slots=True)
class Numbers:
    """A number for each text that must not leave, the same in the whole index: "file 3" is one file wherever it is used."""

    _known: dict[tuple[str, str], int] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    def of(self, kind: str, value: str) -> str:
        """The kind and the number, such as "file 3"."""
        if (kind, value) not in self._known:
            self._last[kind] = self._last.get(kind, 0) + 1
            self._known[kind, value] = self._last[kind]
        return f"{kind} {self._known[kind, value]}"


def inputs_of(record: Record, numbers: Numbers) -> list[Told]:
    """The first inputs of a run; empty ones are left out."""
    given = [(name, value) for name, value in record.inputs.items() if value]
    return [
        _told(name if name in _NAMES else f"input {number}", value, numbers)
        for number, (name, value) in enumerate(given[:MAX_INPUTS], 1)
    ]


def data_of(record: Record) -> dict[str, str]:
    """Name to version or digest of the data files that the result depends on."""
    found = {}
    for name, value in record.data.items():
        version = shapes.digest_of(value)[:12] or (value if _BAKED.fullmatch(value) or value.isdecimal() else "")
        if version and (name in _DATA or _RESULTS.fullmatch(name)):
            found[name] = version
    return found


def _told(name: str, value: str, numbers: Numbers) -> Told:
    if run := shapes.run_id_of(value):
        return Told(name=name, text=run, run=run)
    if value in _PLAIN:
        return Told(name=name, text=value)
    if _ONESHOT.fullmatch(value):
        return Told(name=name, text="oneshot")
    fields = fields_of(value)
    if isinstance(seed := fields.get("actor"), int):
        return Told(name=name, text=f"actor {seed}", data=f"actor {seed}")
    if isinstance(take := fields.get("take"), dict) and isinstance(take.get("actor"), int):
        return Told(name=name, text=_take(take), data=f"actor {take['actor']}")
    if run := shapes.run_id_of(fields.get("faceset")):
        return Told(name=name, text=f"faces of {run}", run=run)
    if "file" in fields:
        file = numbers.of("file", str(fields["file"]))
        return Told(name=name, text=f"{file}{_frames(fields.get('frames'))}", data=file)
    kind = "data set" if "data_set" in fields else name if name in _NAMES and name != "data" else "input"
    told = numbers.of(kind, json.dumps(fields, sort_keys=True) if fields else value)
    return Told(name=name, text=told, data=told)


def _take(take: Mapping[str, Any]) -> str:
    return ", ".join(_take_parts(take))


def _take_parts(take: Mapping[str, Any]) -> Iterator[str]:
    worn = take.get("as")
    yield f"actor {take['actor']}" + (f" with the face of {worn}" if isinstance(worn, int) else "")
    kind, seed = take.get("kind"), take.get("seed")
    if kind in words():
        yield f"{kind} {seed}" if isinstance(seed, int) else str(kind)
    if isinstance(count := take.get("num_frames"), int):
        yield f"{count} frames"
    if isinstance(size := take.get("size"), int):
        yield f"{size} px"


def _frames(frames: Any) -> str:
    return (
        f", frames {frames[0]} to {frames[1]}"
        if isinstance(frames, list) and all(map(shapes.number, frames)) and len(frames) == 2
        else ""
    )
