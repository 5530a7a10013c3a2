"""Entry point of the command line: parse, call, print. Commands live in `cli`, the work in the verbs they call.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused (consent, licence, a test person to train on), 4 missing (weights, device),
130 stopped and saved.

Standard output carries only the answer; anything printed while a command works goes to standard error.
"""

import argparse
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from faceswap_lab.cli import answers
from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.failures import failure_of, write_failure
from faceswap_lab.cli.parser import parser
from faceswap_lab.cli.parsing import UsageError
from faceswap_lab.errors import LabError
from faceswap_lab.files import ROOT_VARIABLE, lab_root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. A command line that cannot be parsed raises SystemExit(2), as in argparse."""
    words = sys.argv[1:] if arguments is None else arguments
    if isinstance(sys.stdout, io.TextIOWrapper):
        # File names may hold bytes that are not UTF-8, and terminals may know fewer characters than names have.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        options = parser().parse_args(words)
    except (UsageError, LabError, OSError, KeyboardInterrupt) as error:
        # The recipe file is read, and its type imported, while parsing already: they decide which flags there are.
        code = _fail(error, "faceswap-lab", as_json="--json" in words)
        if isinstance(error, UsageError):
            raise
        return code
    # Read before the command runs: a command may force JSON for its answer, and its errors should stay readable.
    as_json = options.json
    try:
        answer = _called(options)
    except (LabError, ValueError, OSError, KeyboardInterrupt) as error:
        return _fail(error, options.command_name, as_json=as_json)
    except Exception as error:
        if as_json:
            _fail(error, options.command_name, as_json=True)
        raise
    _quietly(lambda: answers.write(answer, as_json=options.json, readable=options.readable))
    if not isinstance(answer, dict):
        return 0
    return int(answer.get("exit_code", 1 if answer.get("ok") is False else 0))


def _called(options: argparse.Namespace) -> Answer:
    command: Callable[[argparse.Namespace], Answer] = options.command
    with redirect_stdout(sys.stderr), _rooted(options.root):
        root = lab_root() if options.lab else None
        answer = command(options)
        if options.lab == "write":
            print(f"lab: {root}", flush=True)
        return answer


@contextmanager
def _rooted(root: Path | None) -> Iterator[None]:
    """`--root` as the variable that names the lab, which worker processes and kernels inherit."""
    before = os.environ.get(ROOT_VARIABLE)
    if root is not None:
        os.environ[ROOT_VARIABLE] = str(root.expanduser().resolve())
    try:
        yield
    finally:
        if before is not None:
            os.environ[ROOT_VARIABLE] = before
        elif root is not None:
            os.environ.pop(ROOT_VARIABLE, None)


def _fail(error: BaseException, name: str, *, as_json: bool) -> int:
    failure = failure_of(error, name)
    _quietly(lambda: write_failure(failure, as_json=as_json))
    return failure.code


def _quietly(write: Callable[[], None]) -> None:
    """Write, tolerating a closed pipe (`| head -1`). Standard output is then discarded, also the flush at Python's exit."""
    try:
        write()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
