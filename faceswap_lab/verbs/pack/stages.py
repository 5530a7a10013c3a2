"""Stages of making a pack, each runnable in any process: rendering pictures, and resumable training of one network.

The same recipe gives the same files for any number of processes: each picture and each step is seeded by its own number.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.models.pack.detector import export_detector, fresh_detector, train_detector
from faceswap_lab.models.pack.embedder import export_embedder, fresh_embedder, train_embedder
from faceswap_lab.models.pack.landmarker import export_points, fresh_points, train_points
from faceswap_lab.models.pack.pictures import PackPictures, PackSets
from faceswap_lab.models.pack.render import make_part, read_parts
from faceswap_lab.runs.recipe import from_json
from faceswap_lab.stopping import Stop, never
from faceswap_lab.verbs import networks
from faceswap_lab.verbs.networks import Keeping, Trained, Training, as_they_come
from faceswap_lab.verbs.pack.one_thread import one_thread
from faceswap_lab.verbs.recipes import PackRecipe

FILES: Mapping[str, str] = {"detector": "det_actors.onnx", "points": "2d106_actors.onnx", "embedder": "w_actors.onnx"}
"""The file of each network, in the order in which they are made."""


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
    yield from as_they_come(parts, compute)


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
    work = [_Network(task=task, recipe=recipe, key=key, parts=tuple(parts), folder=folder) for task in tasks]
    yield from as_they_come(work, compute)


def train_network(task: str, recipe: PackRecipe, parts: Sequence[Path], folder: Path, *, key: str, stop: Stop = never) -> Trained:
    """Train one network to the end and write its file, resuming from a checkpoint in `folder` that was made for `key`.

    Raises KeyboardInterrupt, with a checkpoint at the last step, when `stop()` becomes true or a signal arrives.
    """
    training = _training(task, recipe, read_parts(parts, "train", folder))
    keeping = Keeping(place=folder / f"{task}.pt", key=key, every=recipe.checkpoint_every, owner="this pack")
    return networks.train_network(task, training, folder / FILES[task], keeping, stop)


def _training(task: str, recipe: PackRecipe, pictures: PackPictures) -> Training[Any]:
    if task not in FILES:
        raise ValueError(f"unknown network {task!r}; there are {', '.join(FILES)}")
    few = pictures[: recipe.num_for_places * recipe.sets.num_views]
    if task == "detector":
        detector = fresh_detector(recipe.detector)
        return Training(
            state=detector,
            train=partial(train_detector, detector, few, recipe.detector),
            export=partial(export_detector, strictness=recipe.detector.strictness),
        )
    if task == "points":
        points = fresh_points(recipe.points)
        train = partial(train_points, points, few, recipe.points)
        return Training(state=points, train=train, export=export_points)
    embedder = fresh_embedder(pictures, recipe.embedder)
    return Training(
        state=embedder,
        train=partial(train_embedder, embedder, pictures, recipe.embedder),
        export=lambda recogniser, path: export_embedder(recogniser.net, path),
        count=lambda recogniser: networks.num_parameters(recogniser.net),
    )
