"""`doctor`: what is missing here, and the remedy."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command


def offer(commands: Any) -> None:
    """Adds the command."""
    doctor = add_command(
        commands,
        "doctor",
        _doctor,
        "check this machine and this lab: what is there, what is missing, and what to do about it",
        "faceswap-lab doctor",
        "faceswap-lab doctor --device cuda --json",
        lab="",
        readable=_readable,
    )
    doctor.add_argument("--device", default="auto", help="a device that must be available: auto, cpu, cuda, cuda:1, mps")


def _doctor(options: argparse.Namespace) -> Answer:
    from dataclasses import asdict

    from faceswap_lab.maintenance import doctor

    found = doctor.examine(options.device)
    code = doctor.exit_code(found)
    return {"ok": code == 0, "exit_code": code, "findings": [asdict(finding) for finding in found]}


def _readable(answer: dict[str, Any]) -> str:
    """A line for each finding, with the remedy below it."""
    lines = []
    for finding in answer["findings"]:
        lines.append(f"{finding['state']:<8} {finding['name']:<12} {finding['found']}")
        if finding["remedy"]:
            lines.append(f"{'':<21} -> {finding['remedy']}")
    return "\n".join(lines)
