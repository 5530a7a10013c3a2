"""Why a run failed, cannot be read, or is withheld, in words that name nobody: the messages themselves hold names and paths."""

import builtins
import json
import re

from pydantic import ValidationError

from faceswap_lab import errors
from faceswap_lab.errors import ConsentError, LabError
from faceswap_lab.runs.events import last_event
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.sharing.allowed import WORDS

WITHHELD = "withheld"
_OTHERS = {
    "OutOfMemoryError": "too little memory on the device",
    "MemoryError": "too little memory",
    "KilledWorker": "a worker of the cluster died too often",
    "PapermillExecutionError": "a cell of the notebook failed",
    "CellTimeoutError": "a cell of the notebook took longer than it may",
}


def ended(run: Run) -> tuple[str, str]:
    """Status of an unfinished run by its last event ("failed", "stopped", "unfinished"), and the reason."""
    try:
        event = last_event(run.path)
    except LabError:
        return "unfinished", "Its events cannot be read."
    if event is None or event["kind"] not in ("failed", "stopped"):
        return "unfinished", ""
    if event["kind"] == "stopped":
        return "stopped", "It was interrupted; the same call resumes it."
    return "failed", f"{_of_error(event.get('error'))} The message is in its folder, as it may name files and people."


def _of_error(name: object) -> str:
    """A sentence about a class of errors, if it is one of this package, of Python, or well known."""
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z]+", name):
        return "An error."
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    if isinstance(kind, type) and issubclass(kind, LabError):
        return f"{name}: {(kind.__doc__ or '').split(chr(10))[0]}"
    if name in _OTHERS:
        return f"{name}: {_OTHERS[name]}."
    return f"{name}." if isinstance(kind, type) and issubclass(kind, BaseException) else "An error of another library."


def unreadable(error: LabError) -> str:
    """Why a record cannot be read."""
    if found := re.match(r"format (\d{1,6})\b", error.got):
        return f"Its record has format {found[1]}, which this version does not know: {_short(error.remedy)}."
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        return f"run.json is torn or was edited: no JSON from line {cause.lineno}, column {cause.colno} on."
    if isinstance(cause, ValidationError):
        fields = {str(each["loc"][0]) for each in cause.errors() if each["loc"]}
        known = sorted(fields & (WORDS | {"recipe", "inputs", "artifacts", "summary", "environment", "format"}))
        return f"run.json lacks fields or has wrong ones{': ' + ', '.join(known) if known else ''}."
    if isinstance(cause, UnicodeDecodeError):
        return "run.json is not text."
    return "The system does not open run.json." if isinstance(cause, OSError) else "run.json is not the record of a run."


def _short(remedy: str) -> str:
    return "install a newer faceswap_lab" if remedy.startswith("install a newer") else "restore it from a backup"


def withheld(error: LabError) -> str:
    """Why nothing of a run may be told."""
    if isinstance(error, ConsentError):
        return "Withheld: a consent of somebody whom it depicts is missing, has expired or was withdrawn."
    return "Withheld: a run that it was made from cannot be read, so that it is unknown whom it depicts."
