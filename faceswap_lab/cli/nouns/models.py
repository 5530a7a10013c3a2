"""`models`: fetch, list and verify weights."""

import argparse
import sys
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_group


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    weights = add_group(commands, "models", "weights")
    fetch = add_command(
        weights,
        "fetch",
        _models_fetch,
        "download and verify weights: the offline engine's and the judges', or restricted ones whose licence you accept",
        "faceswap-lab models fetch",
        "faceswap-lab models fetch facemesh-468",
        "faceswap-lab models fetch buffalo_l        # shows the licence and refuses",
        lab="",
    )
    fetch.add_argument("names", nargs="*", help="default: all of the offline engine's and the judges'")
    fetch.add_argument("--accept-licence", metavar="NAME", help="the name of the licence that you accept, which is logged")
    add_command(weights, "list", _models_list, "list all weights with their licences", "faceswap-lab models list --json", lab="")
    add_command(weights, "verify", _models_verify, "check the digest of every weight file", "faceswap-lab models verify", lab="")


def _models_fetch(options: argparse.Namespace) -> Answer:
    from faceswap_lab.maintenance import weights

    return weights.fetch(options.names, accept_licence=options.accept_licence, progress=lambda line: print(line, file=sys.stderr))


def _models_list(_: argparse.Namespace) -> Answer:
    from faceswap_lab.maintenance import weights

    return weights.listed()


def _models_verify(options: argparse.Namespace) -> Answer:
    from faceswap_lab.maintenance import weights

    weights.verify()
    return _models_list(options)
