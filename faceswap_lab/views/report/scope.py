"""The runs of a page, whom they show, and what may be told of them: decided once, before anything is drawn."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from faceswap_lab.errors import ConsentError
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.sharing.allowed import Share
from faceswap_lab.runs.sharing.descent import Descent
from faceswap_lab.runs.sharing.standing import admitted_files, require_standing
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.gate import check_swap, refuse
from faceswap_lab.trust.consent.manifest import find_entries, utc_today
from faceswap_lab.verbs.swap.result import SwapRun

NOTEBOOK = "notebook.ipynb"
"""The artifact that an executed notebook is."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Scope:
    """`runs` are those of the page; `descent` covers all of the lab; `files` are the admitted files behind each run, by its id.

    `real` are the ids of runs behind which there is a real person's file, `hides` whether one of them made somebody unrecognisable.
    """

    root: Path
    runs: tuple[Run, ...]
    descent: Descent
    files: dict[str, tuple[str, ...]]
    real: frozenset[str]
    hides: bool

    @classmethod
    def of(cls, runs: Sequence[Run]) -> "Scope":
        """What the lab knows about these runs. ConsentError, which is logged, if an entry of somebody behind them is not in force;
        RunError if a run that they were made from cannot be read."""
        root = runs[0].root
        seen = Run.survey(root)
        descent = Descent.of([*seen.runs, *(run for run in runs if run not in seen.runs)])
        files = {run.id: (*admitted_files(run, descent, seen), *_admitted_by(run)) for run in runs}
        wanted = sorted({digest for found in files.values() for digest in found})
        try:
            require_standing(root, wanted, utc_today())
        except ConsentError as error:
            refuse(root, "export refused", (), error)
        entries = find_entries(root, wanted)
        real = frozenset(run for run, found in files.items() if any(not entries[digest].synthetic for digest in found))
        return cls(root=root, runs=tuple(runs), descent=descent, files=files, real=real, hides=any(map(anonymises, runs)))

    def share(self, run: Run) -> Share:
        """What may be told of a run's record: all, or, if it goes back to a real person, what is on a list."""
        return Share(people=run.id in self.real, root=str(self.root))

    @cached_property
    def real_since(self) -> datetime | None:
        """When a real person's file first came into the lab, according to its log; None if none ever did.

        A file without an entry counts as a real person's: it may have been erased since.
        """
        lines = [line for line in audit.read(self.root) if line.event.get("action") in ("admitted", "admission declared")]
        entries = find_entries(self.root, {str(line.event.get("sha256", "")) for line in lines})
        for line in lines:
            entry = entries.get(str(line.event.get("sha256", "")))
            if entry is None or not entry.synthetic:
                return datetime.fromisoformat(line.time)
        return None


def anonymises(run: Run) -> bool:
    """Whether a run is a finished swap that puts a face that is not real on a real person. ConsentError if the gate refuses it."""
    if not isinstance(run, SwapRun) or not run.finished:
        return False
    lineage = run.lineage()
    permission = check_swap(lineage.source, lineage.target, trained_on=lineage.trained_on, root=run.root, action="export refused")
    return permission.anonymises


def made_by_notebook(run: Run) -> list[str]:
    """Ids of the runs that the notebook of this run finished, in order, according to the log."""
    lines = [line.event for line in _logged_within(run)]
    return [str(event["run"]) for event in lines if str(event.get("action", "")).endswith(" finished") and event.get("run")]


def _admitted_by(run: Run) -> list[str]:
    """SHA-256 of the files that a run's notebook let in, according to the log."""
    lines = [line.event for line in _logged_within(run)]
    return list(dict.fromkeys(str(event["sha256"]) for event in lines if event.get("action") == "admitted"))


def _logged_within(run: Run) -> Iterable[audit.Entry]:
    """The lines of the log that a run's notebook caused. ProvenanceError if the log does not verify."""
    return [line for line in audit.read(run.root) if audit.notebook_run(line.event) == run.id] if run.has(NOTEBOOK) else []
