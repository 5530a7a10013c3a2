"""What the ranks of test gangs do: small work without torch, that can be killed, stopped, and gone on with."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from faceswap_lab.compute.rank import Member
from faceswap_lab.errors import RunError


def count(payload: Mapping[str, Any], member: Member) -> None:
    """Count to `steps` from the newest checkpoint in `folder`, which rank 0 keeps every five steps.

    While there is the file `hold` in it, no step after `hold_at` is made.
    """
    folder = Path(payload["folder"])
    step = payload["begin"]
    (folder / f"pid-{member.rank}").write_text(str(os.getpid()))
    member.tell({"kind": "began", "step": step, "pid": os.getpid(), "size": member.size})
    while step < payload["steps"] and not member.stop():
        if (folder / "hold").exists() and step >= payload["hold_at"]:
            (folder / f"holding-{member.rank}").touch()
            time.sleep(0.01)
            continue
        time.sleep(payload.get("seconds", 0.001))
        step += 1
        if member.rank == 0:
            member.tell({"kind": "step", "step": step})
            if step % 5 == 0:
                keep(folder, step, member)
    if member.rank == 0 and step % 5:
        keep(folder, step, member)
    (folder / f"ended-{member.rank}").write_text(str(step))


def keep(folder: Path, step: int, member: Member) -> None:
    """A checkpoint: the number of steps."""
    part = folder / ".checkpoint"
    part.write_text(str(step))
    part.replace(folder / "checkpoint")
    member.tell({"kind": "checkpoint", "step": step})


def refuse(payload: Mapping[str, Any], member: Member) -> None:
    """End with a LabError in one rank, and wait for ever in the others."""
    (Path(payload["folder"]) / f"tried-{member.rank}-{time.time_ns()}").touch()
    if member.rank == 1:
        raise RunError(expected="finite losses", got="nan", remedy="lower the learning rate")
    while not member.stop():
        time.sleep(0.01)


def fall(payload: Mapping[str, Any], member: Member) -> None:
    """End with an error that nobody expected."""
    (Path(payload["folder"]) / f"tried-{member.rank}-{time.time_ns()}").touch()
    print("a library says this on standard output")
    raise ZeroDivisionError("of rank")
