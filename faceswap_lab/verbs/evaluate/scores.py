"""The class of evaluate runs, with their scores."""

import json
from typing import Any, ClassVar

from faceswap_lab.runs.call import without_pack
from faceswap_lab.runs.run import Run

SCORES, PER_FRAME = "scores.json", "frames.json"


class ScoreRun(Run):
    """An evaluate run, as returned by `lab.evaluate`."""

    VERB: ClassVar[str | None] = "evaluate"
    RESULT_VERSION: ClassVar[int] = 3

    @staticmethod
    def counted(recipe: Any) -> Any:
        """See `RunReader.counted`: the path of an engine's pack is a hint."""
        return without_pack(recipe)

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Name to value, floor and ceiling (None where infinite). RunError if the evaluation is not finished."""
        self.require_finished()
        found: dict[str, dict[str, Any]] = json.loads(self.artifact(SCORES).read_text())
        return found

    def gain(self, name: str) -> float:
        """By how much a score is above its floor, or below it if lower is better."""
        score = self.scores[name]
        above: float = score["value"] - score["floor"]
        return above if score["higher_is_better"] else -above
