"""What leaves this machine about a pipeline: names, states, seconds, ids of runs and scores. No picture, no path, nobody's name."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faceswap_lab.files import VERSION

_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_STATE = re.compile(r"[a-z]+(?: [a-z]+){0,2}")
_RUN = re.compile(r"[a-z]{1,16}-[0-9a-f]{4,64}")
_CAUSE = re.compile(
    r"(?P<error>[A-Z][A-Za-z]{0,40}(?:Error|Exception|Interrupt|Expired|Exit|Warning))\b(?: in cell (?P<cell>[0-9]{1,4}))?"
)

Step = tuple[str, str, float, str | None, str | None]
"""Of a step: name, state, seconds, its run's id, and why it failed or wasn't run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A pipeline that has ended: `state` is `finished`, `failed` or `stopped`; `report` and `run` are ids of runs.

    `started` is a time as in a run's record. Of texts, only what has the form of a name, an id or a number is passed on.
    """

    pipeline: str
    state: str
    started: str
    seconds: float
    steps: Sequence[Step] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    report: str | None = None
    run: str | None = None


def message(notice: Notice) -> dict[str, Any]:
    """The notice as JSON values."""
    return {
        "lab": f"faceswap-lab {VERSION}",
        "pipeline": _word(Path(notice.pipeline).stem, "unnamed"),
        "state": _state(notice.state),
        "started": notice.started if re.fullmatch(r"[0-9T:.+Z-]{10,40}", notice.started) else None,
        "seconds": _number(notice.seconds),
        "run": _run(notice.run),
        "report": _run(notice.report),
        "steps": [_step(number, step) for number, step in enumerate(notice.steps, 1)],
        "scores": {
            name: number
            for name, value in notice.scores.items()
            if _WORD.fullmatch(name) and (number := _number(value)) is not None
        },
    }


def subject(told: Mapping[str, Any]) -> str:
    """One line: which pipeline, and how it ended."""
    return f"faceswap-lab: {told['pipeline']} {told['state']}"


def text(told: Mapping[str, Any]) -> str:
    """The message as a letter in plain text."""
    lines = [f"The pipeline {told['pipeline']} {told['state']} after {told['seconds']} s.", ""]
    lines += [f"{name:<10} {told[name]}" for name in ("started", "run", "report") if told[name]]
    if told["steps"]:
        lines += ["", "steps"]
        lines += [
            "  " + "  ".join(str(step[name]) for name in ("name", "state", "seconds", "run", "cause") if step[name])
            for step in told["steps"]
        ]
    if told["scores"]:
        lines += ["", "scores", *(f"  {name}  {value}" for name, value in told["scores"].items())]
    lines += ["", "Pictures stay where they were made: open the report there, or `faceswap-lab runs show` with a run's id.", ""]
    return "\n".join(lines)


def _step(number: int, step: Step) -> dict[str, Any]:
    name, state, seconds, run, why = step
    cause = _CAUSE.match(why or "")
    in_cell = f" in cell {cause['cell']}" if cause and cause["cell"] else ""
    # The rest of an error's text may name files and people.
    told = f"{cause['error']}{in_cell}" if cause else None
    return {
        "name": _word(name, f"step {number}"),
        "state": _state(state),
        "seconds": _number(seconds),
        "run": _run(run),
        "cause": told,
    }


def _word(text: str, otherwise: str) -> str:
    return text if _WORD.fullmatch(text) else otherwise


def _state(text: str) -> str:
    return text if _STATE.fullmatch(text) and len(text) <= 20 else "ended"


def _run(text: str | None) -> str | None:
    return text if text and _RUN.fullmatch(text) else None


def _number(value: object) -> float | None:
    """Rounded to what a person reads; None for what is no finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(f"{value:.6g}")
