"""Errors as three lines for people or as JSON for programs, and their exit codes."""

import json
import sys
from dataclasses import asdict, dataclass

from faceswap_lab.cli.parsing import ArgumentValueError, UsageError
from faceswap_lab.errors import ConsentError, DeviceError, LabError, LicenceError, SplitError, WeightsError, storage_error

DONE, FAILED, USAGE, REFUSED, MISSING, STOPPED = 0, 1, 2, 3, 4, 130
"""Exit codes: refused (consent, licence, a test person to train on), missing (weights, a device), stopped (and saved)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An error in parts: its kind, what was expected, what was got and what to do; `code` is the exit code of the process."""

    kind: str
    expected: str
    got: str
    remedy: str
    code: int


def failure_of(error: BaseException, command: str) -> Failure:
    """The message and exit code of `command` for an error. Errors that are not LabErrors have their text as `got`."""
    if isinstance(error, OSError):
        error = storage_error(error)
    if isinstance(error, LabError | UsageError | ArgumentValueError):
        kind = type(error).__name__ if isinstance(error, LabError) else "UsageError"
        return Failure(kind=kind, expected=error.expected, got=error.got, remedy=error.remedy, code=_code(error))
    if isinstance(error, KeyboardInterrupt):
        again = "repeat the command: what was done is saved, and it resumes from there"
        return Failure(kind="KeyboardInterrupt", expected="the command's end", got="stopped", remedy=again, code=STOPPED)
    expected = f"valid values for `{command}`" if isinstance(error, ValueError) else "no error of this kind"
    remedy = f"see `{command} --help`" if isinstance(error, ValueError) else "this is a bug in the lab: please report it"
    return Failure(kind=type(error).__name__, expected=expected, got=str(error), remedy=remedy, code=_code(error))


def write_failure(failure: Failure, *, as_json: bool) -> None:
    """JSON alone to standard output, or three lines to standard error, in a panel if that is a terminal."""
    if as_json:
        parts = {name: value for name, value in asdict(failure).items() if name != "code"}
        print(json.dumps({"error": parts}), flush=True)
    elif sys.stderr.isatty():
        _write_panel(failure)
    else:
        print("\n".join(_lines(failure)), file=sys.stderr, flush=True)


def _code(error: BaseException) -> int:
    if isinstance(error, ConsentError | LicenceError | SplitError):
        return REFUSED
    if isinstance(error, WeightsError | DeviceError):
        return MISSING
    return USAGE if isinstance(error, ValueError | UsageError) else FAILED


def _lines(failure: Failure) -> tuple[str, str, str]:
    return f"faceswap-lab: {failure.got}", f"expected {failure.expected}", f"-> {failure.remedy}"


def _write_panel(failure: Failure) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    _, expected, remedy = _lines(failure)
    text = Text("\n").join([Text(failure.got, style="bold"), Text(expected), Text(remedy, style="green")])
    style = "yellow" if failure.code == STOPPED else "red"
    Console(stderr=True, highlight=False).print(Panel(text, title=Text(failure.kind), title_align="left", border_style=style))
