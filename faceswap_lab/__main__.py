"""The command line's entry: parse, call, print. Commands live in `cli`, work in the verbs that they call.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused (consent, licence, a test person to train on), 4 missing (weights, device),
130 stopped and saved.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence

from faceswap_lab.cli.answers import Answer, readable
from faceswap_lab.cli.parser import parser
from faceswap_lab.errors import ConsentError, DeviceError, LabError, LicenceError, SplitError, WeightsError, storage_error


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], Answer] = options.command
    try:
        answer = command(options)
    except KeyboardInterrupt:
        print("stopped; what was done is saved, the same command goes on from there", file=sys.stderr)
        return 130
    except (LabError, ValueError) as error:
        print(f"faceswap-lab: {error}", file=sys.stderr)
        return _exit_code(error)
    except OSError as error:
        print(f"faceswap-lab: {storage_error(error)}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if options.json else readable(answer))
    if not isinstance(answer, dict):
        return 0
    return int(answer.get("exit_code", 1 if answer.get("ok") is False else 0))


def _exit_code(error: Exception) -> int:
    if isinstance(error, ConsentError | LicenceError | SplitError):
        return 3
    if isinstance(error, WeightsError | DeviceError):
        return 4
    return 2 if isinstance(error, ValueError) else 1


if __name__ == "__main__":
    sys.exit(main())
