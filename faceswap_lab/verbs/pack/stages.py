"""What making a pack comes down to, each in any process: pictures, and one network at a time that can stop and go on.

The same recipe gives the same files however many processes work on it: every picture and every step is drawn from its own number.
"""

import json
import multiprocessing
import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import cv2
import torch

from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.errors import RunError
from faceswap_lab.models.pack.detector import export_detector, fresh_detector, train_detector
from faceswap_lab.models.pack.detector_net import Detector
from faceswap_lab.models.pack.embedder import Recogniser, export_embedder, fresh_embedder, train_embedder
from faceswap_lab.models.pack.landmarker import PointsNet, export_points, fresh_points, train_points
from faceswap_lab.models.pack.pictures import PackPictures, PackSets
from faceswap_lab.models.pack.render import make_part, read_parts
from faceswap_lab.models.training.loop import FitState, Step
from faceswap_lab.runs.recipe import from_json
from faceswap_lab.verbs.recipes import PackRecipe

FILES: Mapping[str, str] = {"detector": "det_actors.onnx", "points": "2d106_actors.onnx", "embedder": "w_actors.onnx"}
"""The file of each network, in the order in which they are made."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A network that is done: its file, its losses by step, its parameters' number, and the seconds that all attempts took."""

    task: str
    path: Path
    steps: list[dict[str, Any]]
    num_parameters: int
    seconds: float


def _all_of(tasks: Sequence[Callable[[], T]], workers: int) -> Iterator[T]:
    """What these give, as each gets ready: one after the other here, or in processes of their own."""
    if workers == 1 or len(tasks) == 1:
        for task in tasks:
            yield task()
        return
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in as_completed([pool.submit(task) for task in tasks]):
            yield done.result()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    name: str
    seeds: tuple[int, ...]
    sets: PackSets
    place: Path

    def __call__(self) -> tuple[str, Path]:
        with one_thread():
            make_part(self.place, self.seeds, self.sets.num_views, self.sets.size)
        return self.name, self.place


def render_parts(sets: PackSets, missing: Mapping[str, range], folder: Path, *, workers: int) -> Iterator[tuple[str, Path]]:
    """Render these parts into `folder`, yielding the name and the file of each as it gets ready.

    Raises SplitError for a test person.
    """
    for seeds in missing.values():
        for seed in seeds:
            check_trainable(seed)
    parts = [_Part(name=name, seeds=tuple(seeds), sets=sets, place=folder / Path(name).name) for name, seeds in missing.items()]
    yield from _all_of(parts, workers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    task: str
    recipe: str
    key: str
    parts: tuple[Path, ...]
    folder: Path

    def __call__(self) -> Trained:
        with one_thread():
            return train_network(self.task, from_json(PackRecipe, self.recipe), self.parts, self.folder, key=self.key)


def train_networks(
    tasks: Sequence[str], recipe: str, parts: Sequence[Path], folder: Path, *, key: str, workers: int
) -> Iterator[Trained]:
    """Train these networks of the recipe (as JSON) on the pictures in `parts`, yielding each as it is done."""
    read_parts(parts, "train", folder)  # decoded once, before several processes would do it at the same time
    networks = [_Network(task=task, recipe=recipe, key=key, parts=tuple(parts), folder=folder) for task in tasks]
    yield from _all_of(networks, workers)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch and for OpenCV: sums come out the same everywhere, and several trainings don't slow each other down."""
    before = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        cv2.setNumThreads(before[1])


def train_network(task: str, recipe: PackRecipe, parts: Sequence[Path], folder: Path, *, key: str) -> Trained:
    """Train one network to the end and write its file; checkpoints in `folder`, made for `key`, let it go on where it stopped."""
    pictures = read_parts(parts, "train", folder)
    if task != "embedder":
        pictures = pictures[: recipe.num_for_places * recipe.sets.num_views]
    state, steps = _begun(task, recipe, pictures)
    place = folder / f"{task}.pt"
    history: list[dict[str, Any]] = []
    spent, clock = 0.0, perf_counter()
    if place.is_file():
        history, spent = _resume(state, place, key)
    kept = state.step
    for step in steps:
        history.append(asdict(step))
        if step.number - kept >= recipe.checkpoint_every:
            _keep(state, place, key, history, spent + perf_counter() - clock)
            kept = step.number
    path = folder / FILES[task]
    if task == "detector":
        assert isinstance(state.average, Detector)
        export_detector(state.average, path, strictness=recipe.detector.strictness)
    elif task == "points":
        assert isinstance(state.average, PointsNet)
        export_points(state.average, path)
    else:
        assert isinstance(state.average, Recogniser)
        export_embedder(state.average.net, path)
    kept_net = state.average.net if isinstance(state.average, Recogniser) else state.average
    number = sum(value.numel() for value in kept_net.parameters())
    return Trained(task=task, path=path, steps=history, num_parameters=number, seconds=round(spent + perf_counter() - clock, 2))


def _begun(task: str, recipe: PackRecipe, pictures: PackPictures) -> tuple[FitState, Iterator[Step]]:
    """The network's first state, and its training, which begins with whatever the state is by then."""
    if task == "detector":
        state = fresh_detector(recipe.detector)
        return state, train_detector(state, pictures, recipe.detector)
    if task == "points":
        state = fresh_points(recipe.points)
        return state, train_points(state, pictures, recipe.points)
    if task != "embedder":
        raise ValueError(f"no network {task!r}; there are {', '.join(FILES)}")
    state = fresh_embedder(pictures, recipe.embedder)
    return state, train_embedder(state, pictures, recipe.embedder)


def _keep(state: FitState, place: Path, key: str, history: list[dict[str, Any]], seconds: float) -> None:
    part = place.with_name(f".{os.getpid()}-{place.name}")
    torch.save({"key": key, "state": state.state_dict(), "history": json.dumps(history), "seconds": seconds}, part)
    part.replace(place)


def _resume(state: FitState, place: Path, key: str) -> tuple[list[dict[str, Any]], float]:
    """Go on from a checkpoint; its losses so far and the seconds spent. RunError for one of another recipe, or a damaged one."""
    try:
        saved = torch.load(place, weights_only=True)
        if saved["key"] != key:
            raise ValueError("it was made by another recipe or code")
        history, seconds = json.loads(saved["history"]), float(saved["seconds"])
        inner = saved["state"]
    except (pickle.UnpicklingError, EOFError, RuntimeError, KeyError, TypeError, ValueError) as error:
        raise RunError(
            expected=f"a training state in {place}",
            got=(str(error).splitlines() or [type(error).__name__])[0][:200],
            remedy="remove the file: the same call then begins at step 0; or train with force=True",
        ) from error
    state.load_state_dict(inner)
    return history, seconds
