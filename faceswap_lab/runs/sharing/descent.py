"""Which runs were made from which, for all runs of a lab at once."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from faceswap_lab.runs.run import Run

_WORD = re.compile(r"[\w-]+")
_DIGEST = re.compile(r"(?=([0-9a-f]{64}))")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Descent:
    """Each run's parents (what it was made from) and children, as `prune.made_from` decides it for a pair, in the order of `runs`.

    A table of ids and digests takes the place of a comparison of every pair, whose cost grows with the square of their number.
    """

    parents: dict[Run, tuple[Run, ...]]
    children: dict[Run, tuple[Run, ...]]
    made: frozenset[str]
    """SHA-256 of every artifact of the runs."""

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Descent":
        """The descent of these runs among each other; a run is not its own parent."""
        makers = _makers(runs)
        place = {run: number for number, run in enumerate(runs)}
        parents, children = {}, defaultdict(list)
        for run in runs:
            named = {maker for value in run.inputs.values() for word in _words(value) for maker in makers.get(word, ())}
            parents[run] = tuple(sorted(named - {run}, key=place.__getitem__))
            for parent in parents[run]:
                children[parent].append(run)
        made = frozenset(digest for run in runs for digest in run.record.artifacts.values())
        return cls(parents=parents, children={run: tuple(children[run]) for run in runs}, made=made)

    def ancestors(self, run: Run) -> list[Run]:
        """The run itself and everything that it was made from, transitively, nearest first."""
        found, waiting = {run: None}, [run]
        while waiting:
            fresh = [parent for parent in self.parents.get(waiting.pop(0), ()) if parent not in found]
            found |= dict.fromkeys(fresh)
            waiting += fresh
        return list(found)


def _makers(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Id, and digest of each artifact, to the runs with it: a folder that was copied has the id of its original."""
    found: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        for word in {run.id, *run.record.artifacts.values()}:
            found[word].append(run)
    return found


def _words(value: str) -> Iterator[str]:
    """What an input may name a run by: its words, and every digest within them."""
    yield from _WORD.findall(value)
    yield from (found[1] for found in _DIGEST.finditer(value))
