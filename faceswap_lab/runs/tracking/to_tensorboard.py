"""TensorBoard: one folder of event files for each run."""

from pathlib import Path
from typing import Any

from faceswap_lab.runs.tracking.choice import missing
from faceswap_lab.runs.tracking.tracker import Facts, Point, Tracker

_FLUSH_S = 5


class TensorBoard:
    """Scalars only; the recipe's numbers stand under `recipe/` at step 0."""

    def __init__(self, place: Path, writer: Any) -> None:
        self._place, self._opens = place, writer
        self._writer: Any = None

    def start(self, facts: Facts, *, fresh: bool) -> None:
        """A file more in the run's folder; with `fresh`, the older ones go."""
        folder = self._place / facts.id
        if fresh:
            for older in folder.glob("events.out.tfevents.*"):
                older.unlink()
        is_first = not any(folder.glob("events.out.tfevents.*"))
        self._writer = self._opens(str(folder), flush_secs=_FLUSH_S)
        if is_first:
            for name, value in facts.numbers.items():
                self._writer.add_scalar(f"recipe/{name}", value, 0)

    def log(self, point: Point) -> None:
        """One scalar for each number."""
        for name, value in point.values.items():
            self._writer.add_scalar(name, value, point.step, walltime=point.time_s)

    def finish(self, point: Point) -> None:
        """The key figures, as scalars of the last step."""
        self.log(point)

    def close(self, *, stopped: bool) -> None:
        """Flush and close the file."""
        if self._writer is not None:
            self._writer.close()


def open_tracker(place: Path) -> Tracker:
    """The tracker. LabError without the library."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise missing("tensorboard", error) from error
    return TensorBoard(place, SummaryWriter)


def shown_by(place: Path) -> str:
    """TensorBoard's own server; it listens on this machine only."""
    return f"tensorboard --logdir '{place}'"
