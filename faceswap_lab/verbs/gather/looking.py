"""Looking through the sources of a faceset on the workers of a cluster: what each sees is stored in the run's folder `work/`."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.tasks import run_tasks
from faceswap_lab.faces.footage import Clip
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.progress import Progress
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import Stop, stop_on_signals, until
from faceswap_lab.trust.consent.gate import require_use
from faceswap_lab.verbs.gather.sightings import look_through
from faceswap_lab.verbs.people import file_record, reopened, subject_of
from faceswap_lab.verbs.recipes import FacesetRecipe

_SOURCES = 8
"""Sources of one task, most of which are stills."""


def look_on(run: Run, clips: Sequence[Clip], compute: Cluster) -> None:
    """Have the workers look through all sources. What they store is what looking through them here would, and is read back."""
    records = [file_record(clip) for clip in clips]
    tasks = [Looking(run=run.path, records=tuple(records[first : first + _SOURCES])) for first in range(0, len(records), _SOURCES)]
    line = Progress("faces", len(clips), unit="files")
    done = 0
    with stop_on_signals() as stop, closing(run_tasks(tasks, compute, stop)) as made:
        for outcome in made:
            done += outcome.result()
            line.update(done)
    line.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """The task of looking through some sources of a faceset's run, in any process that sees the lab; gives their number."""

    run: Path
    records: tuple[str, ...]

    def __call__(self, stop: Stop) -> int:
        """See `compute.tasks.Task`. Files, grants and consents are checked again here."""
        run, engine = Run(self.run), OfflineEngine()
        run.require_genuine()
        recipe = run.recipe(FacesetRecipe)
        for record in self.records:
            clip = reopened(record, run)
            assert isinstance(clip, Clip)
            for use in ("evaluate", "train"):
                require_use(use, subject_of(clip), root=run.root)
            for _ in until(stop, look_through(clip, recipe, engine, run.path / "work")):
                pass
        return len(self.records)
