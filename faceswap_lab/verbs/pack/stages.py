"""Stages of making a pack, each runnable in any process: rendering pictures, and resumable training of one network.

The same recipe gives the same files for any number of processes: each picture and each step is seeded by its own number.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Generic, TypeVar

from torch import nn

from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.compute.tasks import run_tasks
from faceswap_lab.files import put_in_place
from faceswap_lab.models.pack.detector import export_detector, fresh_detector, train_detector
from faceswap_lab.models.pack.embedder import Recogniser, export_embedder, fresh_embedder, train_embedder
from faceswap_lab.models.pack.landmarker import export_points, fresh_points, train_points
from faceswap_lab.models.pack.pictures import PackPictures, PackSets
from faceswap_lab.models.pack.render import make_part, read_parts
from faceswap_lab.models.training.checkpoint import read_checkpoint, write_checkpoint
from faceswap_lab.models.training.loop import Session, Step
from faceswap_lab.models.training.state import N, TrainState, require_finite
from faceswap_lab.runs.recipe import from_json
from faceswap_lab.stopping import Stop, never, stop_on_signals
from faceswap_lab.verbs.pack.one_thread import one_thread
from faceswap_lab.verbs.recipes import PackRecipe

T = TypeVar("T")

FILES: Mapping[str, str] = {"detector": "det_actors.onnx", "points": "2d106_actors.onnx", "embedder": "w_actors.onnx"}
"""The file of each network, in the order in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained network: its file, its `step` events, its number of parameters, and the total seconds of all attempts."""

    task: str
    path: Path
    events: list[dict[str, Any]]
    num_parameters: int
    seconds: float


# --- pictures ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    name: str
    seeds: tuple[int, ...]
    sets: PackSets
    place: Path

    def __call__(self, stop: Stop) -> tuple[str, Path]:
        with one_thread():
            make_part(self.place, self.seeds, self.sets.num_views, self.sets.size, stop)
        return self.name, self.place


def render_parts(
    sets: PackSets, missing: Mapping[str, range], folder: Path, compute: Cluster | None
) -> Generator[tuple[str, Path], None, None]:
    """Render these parts into `folder`, yielding the name and the file of each when it is done.

    Raises SplitError for a test person.
    """
    for seeds in missing.values():
        for seed in seeds:
            check_trainable(seed)
    parts = [_Part(name=name, seeds=tuple(seeds), sets=sets, place=folder / Path(name).name) for name, seeds in missing.items()]
    yield from _results(parts, compute)


# --- networks ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    task: str
    recipe: str
    key: str
    parts: tuple[Path, ...]
    folder: Path

    def __call__(self, stop: Stop) -> Trained:
        recipe = from_json(PackRecipe, self.recipe)
        with one_thread():
            return train_network(self.task, recipe, self.parts, self.folder, key=self.key, stop=stop)


def train_networks(
    tasks: Sequence[str], recipe: str, parts: Sequence[Path], folder: Path, compute: Cluster | None, *, key: str
) -> Generator[Trained, None, None]:
    """Train these networks of the recipe (as JSON) on the pictures in `parts`, yielding each when it is done."""
    read_parts(parts, "train", folder)  # decoded once here, so that several processes do not do it at the same time
    networks = [_Network(task=task, recipe=recipe, key=key, parts=tuple(parts), folder=folder) for task in tasks]
    yield from _results(networks, compute)


def _results(tasks: Sequence[Callable[[Stop], T]], compute: Cluster | None) -> Generator[T, None, None]:
    """The results as they come. A signal stops all tasks, each where its progress is saved; so does the first error."""
    with stop_on_signals() as stop, closing(run_tasks(tasks, compute, stop)) as made:
        for outcome in made:
            yield outcome.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Training(Generic[N]):
    """The specifics of a network: its initial state, its training from the current state, and its export."""

    state: TrainState[N]
    train: Callable[[Stop], Iterator[Step]]
    export: Callable[[N, Path], Path]


def train_network(task: str, recipe: PackRecipe, parts: Sequence[Path], folder: Path, *, key: str, stop: Stop = never) -> Trained:
    """Train one network to the end and write its file, resuming from a checkpoint in `folder` that was made for `key`.

    Raises KeyboardInterrupt, with a checkpoint at the last step, when `stop()` becomes true or a signal arrives.
    """
    training = _training(task, recipe, read_parts(parts, "train", folder))
    place = folder / f"{task}.pt"
    clock = perf_counter()
    events, spent = _resume(training.state, place, key)

    def seconds() -> float:
        return round(spent + perf_counter() - clock, 2)

    def keep() -> None:
        part = place.with_name(f".{place.name}")
        write_checkpoint(part, training.state, key=key, notes={"events": events, "seconds": seconds()})
        put_in_place(part, place)

    session = Session(state=training.state, keep=keep, keep_every=recipe.checkpoint_every)
    with stop_on_signals() as signalled:
        session.run(training.train, lambda step: events.append(step.event()), lambda: stop() or signalled())
    # No checkpoint is written after the last step, which may have made the weights diverge.
    require_finite(training.state.state_dict())
    path = training.export(training.state.averaged, folder / FILES[task])
    return Trained(task=task, path=path, events=events, num_parameters=_num_parameters(training.state.averaged), seconds=seconds())


def _training(task: str, recipe: PackRecipe, pictures: PackPictures) -> _Training[Any]:
    if task not in FILES:
        raise ValueError(f"unknown network {task!r}; there are {', '.join(FILES)}")
    few = pictures[: recipe.num_for_places * recipe.sets.num_views]
    if task == "detector":
        detector = fresh_detector(recipe.detector)
        return _Training(
            state=detector,
            train=partial(train_detector, detector, few, recipe.detector),
            export=partial(export_detector, strictness=recipe.detector.strictness),
        )
    if task == "points":
        points = fresh_points(recipe.points)
        train = partial(train_points, points, few, recipe.points)
        return _Training(state=points, train=train, export=export_points)
    embedder = fresh_embedder(pictures, recipe.embedder)
    return _Training(
        state=embedder,
        train=partial(train_embedder, embedder, pictures, recipe.embedder),
        export=lambda recogniser, path: export_embedder(recogniser.net, path),
    )


def _num_parameters(net: nn.Module) -> int:
    """Parameters in the exported file, which excludes the recogniser's class weights."""
    kept = net.net if isinstance(net, Recogniser) else net
    return sum(value.numel() for value in kept.parameters())


def _resume(state: TrainState[N], place: Path, key: str) -> tuple[list[dict[str, Any]], float]:
    """Resume from the checkpoint, if there is one; its events so far and the seconds spent."""
    if not place.is_file():
        return [], 0.0
    saved = read_checkpoint(place, key=key, owner="this pack")
    state.load_state_dict(saved.state)
    return list(saved.notes.get("events", [])), float(saved.notes.get("seconds", 0.0))
