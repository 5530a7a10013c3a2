"""Parts of a swap on the workers of a cluster: each opens what the run names, checks it again, and writes its part."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import Lock
from time import perf_counter
from typing import Any

import torch

from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.tasks import run_tasks
from faceswap_lab.errors import WeightsError
from faceswap_lab.faces.footage import Footage
from faceswap_lab.models import device as devices
from faceswap_lab.models.protocols import AnySwapper, Engine
from faceswap_lab.models.registry import is_named, open_engine, open_swapper, swapper_record, toned
from faceswap_lab.models.stream.swap_frames import UNDER_WAY
from faceswap_lab.progress import Progress
from faceswap_lab.stopping import Stop, stop_on_signals
from faceswap_lab.trust.consent.gate import permission_for
from faceswap_lab.verbs.people import Person, subject_of
from faceswap_lab.verbs.recipes import SwapRecipe
from faceswap_lab.verbs.swap.parts import Form, Part, Work, adopt, make_part
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.train.result import TrainRun

FOLDER = "made"
"""In the run's folder: parts that workers have written, until they are moved into the run."""


@dataclass(slots=True, kw_only=True)
class Together:
    """Several swaps that are made at the same time, by a thread each: when to stop, and one progress line for all their frames."""

    stop: Stop
    line: Progress
    done: int = 0
    _lock: Lock = field(default_factory=Lock)

    def add(self, frames: int, note: str = "") -> None:
        """Count frames that are finished."""
        with self._lock:
            self.done += frames
            self.line.update(self.done, note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where parts are made, and with what: on the workers of `compute`, each on its `device`, with the swapper of that name (as
    `swap` takes it); with `together` as those of one swap of several."""

    compute: Cluster
    device: str
    swapper: str
    together: Together | None = None

    @contextmanager
    def taking_part(self, num_frames: int) -> Iterator[Together]:
        """The swaps that this one is one of; alone it stops on signals and has a line of its own."""
        if self.together is not None:
            yield self.together
            return
        with stop_on_signals() as stop:
            line = Progress("swap", num_frames, unit="frames")
            yield Together(stop=stop, line=line)
            line.close()


def spread_parts(run: SwapRun, codes: Any, form: Form, wanted: Sequence[range], done: Sequence[Part], place: Place) -> list[Part]:
    """Have the parts of these frames made and move them into the run; all its parts.

    The first error of a part is raised, when the others that are under way have ended. What was finished is kept.
    """
    folder = run.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shared: dict[str, Any] = {
        "run": run.path,
        "swapper": place.swapper,
        "codes": codes,
        "form": form,
        "device": place.device,
        "folder": folder,
    }
    tasks = (Making(frames=frames, **shared) for frames in wanted)
    parts, start = [*done], perf_counter()
    spent: dict[str, float] = {}
    try:
        with place.taking_part(sum(map(len, wanted))) as together, closing(run_tasks(tasks, place.compute, together.stop)) as made:
            for outcome in made:
                part, path, stages = outcome.result()
                adopt(run, part, path)
                parts.append(part)
                for name, seconds in stages.items():
                    spent[name] = round(spent.get(name, 0.0) + seconds, 2)
                together.add(len(part.times_s), "; ".join(filter(None, (run.id, place.compute.bill()))))
    finally:
        run.emit("swapped", seconds=round(perf_counter() - start, 2), stages=spent)
        shutil.rmtree(folder, ignore_errors=True)
    return sorted(parts, key=lambda part: part.first)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Making:
    """The task of making one part of a swap run, in any process that sees the lab; gives the part, its file, and seconds by stage.

    The source's codes are sent along: an actor's pictures would have to be rendered on each worker.
    """

    run: Path
    swapper: str
    codes: Any
    form: Form
    frames: range
    device: str
    folder: Path

    def __call__(self, stop: Stop) -> tuple[Part, Path, dict[str, float]]:
        """See `compute.tasks.Task`."""
        run = SwapRun(self.run)
        run.require_genuine()
        source, target = _people(run.path)
        # Logs nothing: the caller does, whom a refusal reaches.
        permission_for(subject_of(source), subject_of(target), trained_on=run.trained_on(), root=run.root)
        opened, recipe = _networks(run, self.swapper, self.device), run.recipe(SwapRecipe)
        work = Work(
            target=target,
            engine=opened.engine,
            swapper=toned(opened.swapper, recipe.tone),
            codes=self.codes,
            config=recipe.stream,
            device=opened.device,
            corrections=run.corrections(),
            # On a worker with one thread, stages that work at the same time would take cores from the other workers.
            under_way=1 if opened.device.type == "cpu" and torch.get_num_threads() == 1 else UNDER_WAY,
            stop=stop,
        )
        path = self.folder / f"{self.frames.start:07d}{self.form.suffix}"
        spent: dict[str, float] = {}
        return make_part(path, work, self.form, self.frames, spent=spent), path, spent


_OPEN_CLIPS = 16


@lru_cache(maxsize=_OPEN_CLIPS)
def _people(folder: Path) -> tuple[Person, Footage]:
    """A run's people, reopened once in this process: files are located, and their digests compared."""
    source, target = SwapRun(folder).people_reopened()
    assert isinstance(target, Footage)
    return source, target


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Networks:
    engine: Engine
    swapper: AnySwapper
    device: torch.device


def _networks(run: SwapRun, swapper: str, device: str) -> _Networks:
    """The networks that a run names."""
    return _loaded(run.root, run.recipe(SwapRecipe).engine, swapper, run.inputs["swapper"], device)


@lru_cache(maxsize=2)
def _loaded(root: Path, engine: str, swapper: str, record: str, device: str) -> _Networks:
    """Networks, loaded once in this process for all runs that use them. WeightsError if the swapper is not the one on record."""
    if swapper_record(swapper) != record:
        raise WeightsError(
            expected=f"the swapper on record, {record}",
            got=f"another file at {swapper}",
            remedy="restore the file, or swap with force=True",
        )
    where = devices.pick(device)
    finder = open_engine(engine, where)
    machine = open_swapper(swapper, where, finder) if is_named(swapper) else TrainRun.open(swapper, root).swapper(where)
    return _Networks(engine=finder, swapper=machine, device=where)
