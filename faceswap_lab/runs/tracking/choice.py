"""Which trackers follow the runs of this process: those named by `FACESWAP_LAB_TRACK`, and those of `with lab.track(...)`."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from pathlib import Path
from typing import cast

from faceswap_lab.errors import LabError
from faceswap_lab.files import private_folder
from faceswap_lab.runs.fields import near
from faceswap_lab.runs.tracking.tracker import OpensTracker, Tracker

VARIABLE = "FACESWAP_LAB_TRACK"
FOLDER = ".tracking"
"""Within a lab's `runs/`; one folder for each library."""

MODULES = {name: f"{__package__}.to_{name}" for name in ("trackio", "tensorboard", "mlflow")}

_chosen: ContextVar[tuple[str, ...]] = ContextVar("faceswap_lab_track", default=())


def wanted() -> tuple[str, ...]:
    """Names of the chosen trackers, each once. LabError for a name that is none."""
    return known((*os.environ.get(VARIABLE, "").split(","), *_chosen.get()))


def known(names: Iterable[str]) -> tuple[str, ...]:
    """The names, stripped and each once, without empty ones. LabError for one that is no tracker's."""
    asked = tuple(dict.fromkeys(stripped for name in names if (stripped := name.strip().lower())))
    for name in asked:
        if name not in MODULES:
            close = near(name, MODULES)
            remedy = f"did you mean {close[0]}?" if close else f"correct the name (is it in {VARIABLE}?)"
            raise LabError(expected=f"a tracker of {', '.join(MODULES)}", got=name, remedy=remedy)
    return asked


def place_of(root: Path, name: str) -> Path:
    """Where a tracker keeps what it gets of a lab's runs. Creates nothing."""
    return root / "runs" / FOLDER / name


def opened(root: Path, name: str) -> Tracker:
    """The tracker, with its folder made. LabError if its library is not installed."""
    tracker = _module(name).open_tracker(place_of(root, name))
    private_folder(place_of(root, name))
    return tracker


def shown_by(root: Path, name: str) -> str:
    """A command line that shows what a tracker has kept."""
    return _module(name).shown_by(place_of(root, name))


@contextmanager
def track(*names: str) -> Iterator[None]:
    """Runs worked on within the block are followed by these trackers: `"trackio"`, `"tensorboard"`, `"mlflow"`.

    LabError for another name, at once; where a library is missing, when the first run begins.
    """
    before = _chosen.set((*_chosen.get(), *known(names)))
    try:
        yield
    finally:
        _chosen.reset(before)


def missing(name: str, error: ImportError) -> LabError:
    """The error for a library that cannot be imported."""
    return LabError(
        expected=f"the library {name}, which is to follow this run",
        got=str(error).splitlines()[0],
        remedy=f"install the extra: `pip install 'faceswap-lab[{name}]'`, or leave {name} out of {VARIABLE}",
    )


def _module(name: str) -> OpensTracker:
    return cast(OpensTracker, import_module(MODULES[name]))
