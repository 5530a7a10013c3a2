"""`init`: make a lab."""

import argparse
from pathlib import Path
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command


def offer(commands: Any) -> None:
    """Adds the command."""
    init = add_command(
        commands,
        "init",
        _init,
        "make a lab: the folder in which runs, manifests and the audit log are kept",
        "faceswap-lab init",
        "faceswap-lab init ~/faces",
        lab="",
    )
    init.add_argument("folder", nargs="?", type=Path, help="default: --root, else the current folder")


def _init(options: argparse.Namespace) -> Answer:
    from faceswap_lab.maintenance.new_lab import init

    lab = init(options.folder or options.root or Path())
    answer: dict[str, Any] = {"lab": str(lab.root), "made": lab.made}
    if lab.inside:
        answer["inside"] = f"{lab.inside}, another lab; from this folder on, commands use the new one"
    if lab.not_ignored:
        answer["next"] = f"add to .gitignore, so that git keeps neither faces nor the log: {' '.join(lab.not_ignored)}"
    return answer
