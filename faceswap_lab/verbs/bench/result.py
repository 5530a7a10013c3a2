"""The class of bench runs: their table, pictures, and the results in the layout that other tools read."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, ParamSpec, TypeVar

import numpy as np

from faceswap_lab.actors.tracks import TrackPair
from faceswap_lab.faces.frame import Image
from faceswap_lab.runs.call import without_pack
from faceswap_lab.runs.environment import code_version
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.bench.handing_out import write_results
from faceswap_lab.verbs.bench.scored_pair import number, pairs_in
from faceswap_lab.verbs.bench.table import Row
from faceswap_lab.verbs.recipes import BenchRecipe

BENCH = "bench.json"

P = ParamSpec("P")
R = TypeVar("R", bound=Run)


def by_this_code(verb: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """The run of this call of a verb, made by this version of the code.

    A verb returns the finished run of an identical call, whichever version made it: a score of that would say nothing about the
    code of today.
    """
    run = verb(*args, **kwargs)
    if run.record.code == code_version():
        return run
    kwargs["force"] = True
    return verb(*args, **kwargs)


def figures_name(pair: TrackPair) -> str:
    """The artifact with a pair's figures."""
    return f"pairs/{pair.name}.json"


def arrays_name(pair: TrackPair) -> str:
    """The artifact with a pair's pictures and the judges' vectors."""
    return f"pairs/{pair.name}.npz"


class BenchRun(Run):
    """A bench run, as returned by `lab.bench`."""

    VERB: ClassVar[str | None] = "bench"
    RESULT_VERSION: ClassVar[int] = 1

    @staticmethod
    def counted(recipe: Any) -> Any:
        """See `RunReader.counted`: the path of an engine's pack is a hint."""
        return without_pack(recipe)

    @property
    def table(self) -> dict[str, Any]:
        """All of `bench.json`. RunError if the run is not finished."""
        self.require_finished()
        found: dict[str, Any] = json.loads(self.artifact(BENCH).read_text(encoding="utf-8"))
        return found

    @property
    def pairs(self) -> list[TrackPair]:
        """The scored pairs."""
        return pairs_in(self.recipe(BenchRecipe))

    def rows(self) -> Iterator[Row]:
        """The figures and vectors of each pair."""
        for pair in self.pairs:
            told = json.loads(self.artifact(figures_name(pair)).read_text(encoding="utf-8"))
            figures = {role: {name: number(value) for name, value in each.items()} for role, each in told["figures"].items()}
            yield Row(pair=pair, figures=figures, vectors=self._arrays(pair, "vectors/"))

    def pictures(self, pair: TrackPair) -> dict[str, Sequence[Image]]:
        """The kept pictures of a pair: "source", "target", "truth", and "by METHOD"; of a video three of its frames."""
        return {name: list(images) for name, images in self._arrays(pair, "pictures/").items()}

    def _arrays(self, pair: TrackPair, beginning: str) -> dict[str, np.ndarray]:
        with np.load(self.artifact(arrays_name(pair)), allow_pickle=False) as file:
            return {name.removeprefix(beginning): file[name] for name in file.files if name.startswith(beginning)}

    def export_results(self, path: str | Path) -> Path:
        """Write the pictures of every method as `swap_results/METHOD/…` in CASIA's layout into the new folder `path`: marked, and
        logged. The video track, which that layout doesn't have, is left out. Errors as in `verbs.bench.handing_out.write_pairs`."""
        self.require_finished()
        return write_results(self.recipe(BenchRecipe), self.pictures, Path(path), run=self.id, root=self.root)
