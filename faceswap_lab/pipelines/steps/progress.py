"""How far a step's notebook is, read from its run's folder, which the caller sees wherever the step runs."""

import json
from pathlib import Path

from faceswap_lab.runs.events import segments


def cell_of(run: Path) -> tuple[int, int]:
    """The number of the cell that is being executed, and the number of cells; zeros before the first one.

    Only what was written last is read, and nothing is checked: this is for display, several times a second.
    """
    for segment in reversed(segments(run)):
        for line in reversed(segment.read_text(encoding="utf-8").split("\n")):
            event = json.loads(line) if line else {}
            if event.get("kind") == "cell":
                return int(event["number"]), int(event["cells"])
            if event.get("kind") == "opened":
                return 0, 0
    return 0, 0
