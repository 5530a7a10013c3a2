"""Stages of making the eyes, each runnable in any process: rendering pictures, and resumable training of one network."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.eyes.casting import EyesSets
from faceswap_lab.models.eyes.expression_net import export_expression
from faceswap_lab.models.eyes.expression_training import fresh_expression, train_expression
from faceswap_lab.models.eyes.pictures import EyesPictures
from faceswap_lab.models.eyes.render import make_part, read_parts
from faceswap_lab.models.eyes.shape_net import export_shape
from faceswap_lab.models.eyes.shape_training import fresh_shape, train_shape
from faceswap_lab.models.eyes.weights import EXPRESSION, SHAPE
from faceswap_lab.runs.recipe import from_json
from faceswap_lab.stopping import Stop, never
from faceswap_lab.verbs import networks
from faceswap_lab.verbs.networks import Keeping, Trained, Training, as_they_come
from faceswap_lab.verbs.pack.one_thread import one_thread
from faceswap_lab.verbs.recipes import EyesRecipe

FILES: Mapping[str, str] = {"shape": SHAPE, "expression": EXPRESSION}
"""The file of each network, in the order in which they are made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    name: str
    seeds: tuple[int, ...]
    sets: EyesSets
    place: Path

    def __call__(self, stop: Stop) -> tuple[str, Path]:
        with one_thread():
            make_part(self.place, self.seeds, self.sets.num_views, self.sets.size, OfflineEngine(), stop)
        return self.name, self.place


def render_parts(
    sets: EyesSets, missing: Mapping[str, range], folder: Path, compute: Cluster | None
) -> Generator[tuple[str, Path], None, None]:
    """Render these parts into `folder`, yielding the name and the file of each when it is done."""
    parts = [_Part(name=name, seeds=tuple(seeds), sets=sets, place=folder / Path(name).name) for name, seeds in missing.items()]
    yield from as_they_come(parts, compute)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    task: str
    recipe: str
    key: str
    device: str
    parts: tuple[Path, ...]
    folder: Path

    def __call__(self, stop: Stop) -> Trained:
        recipe, device = from_json(EyesRecipe, self.recipe), torch.device(self.device)
        with one_thread():
            return train_network(self.task, recipe, self.parts, self.folder, key=self.key, device=device, stop=stop)


def train_networks(
    tasks: Sequence[str], recipe: str, parts: Sequence[Path], folder: Path, compute: Cluster | None, *, key: str, device: str
) -> Generator[Trained, None, None]:
    """Train these networks of the recipe (as JSON) on the pictures in `parts`, yielding each when it is done."""
    read_parts(parts, "train", folder)  # decoded once here, so that several processes do not do it at the same time
    work = [_Network(task=task, recipe=recipe, key=key, device=device, parts=tuple(parts), folder=folder) for task in tasks]
    yield from as_they_come(work, compute)


def train_network(
    task: str,
    recipe: EyesRecipe,
    parts: Sequence[Path],
    folder: Path,
    *,
    key: str,
    device: torch.device | None = None,
    stop: Stop = never,
) -> Trained:
    """Train one network to the end and write its file, resuming from a checkpoint in `folder` that was made for `key`.

    Raises KeyboardInterrupt, with a checkpoint at the last step, when `stop()` becomes true or a signal arrives.
    """
    training = _training(task, recipe, read_parts(parts, "train", folder), device)
    keeping = Keeping(place=folder / f"{task}.pt", key=key, every=recipe.checkpoint_every, owner="these eyes")
    return networks.train_network(task, training, folder / FILES[task], keeping, stop)


def _training(task: str, recipe: EyesRecipe, pictures: EyesPictures, device: torch.device | None) -> Training[Any]:
    if task not in FILES:
        raise ValueError(f"unknown network {task!r}; there are {', '.join(FILES)}")
    if task == "shape":
        shape = fresh_shape(recipe.shape, device)
        return Training(state=shape, train=partial(train_shape, shape, pictures, recipe.shape), export=export_shape)
    expression = fresh_expression(recipe.expression, device)
    train = partial(train_expression, expression, pictures, recipe.expression)
    return Training(state=expression, train=train, export=export_expression)
