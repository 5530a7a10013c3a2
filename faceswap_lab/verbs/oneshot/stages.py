"""Stages of making the one-shot, each runnable in any process: rendering a troupe, fitting shapes, draping a troupe.

The same recipe gives the same files for any number of processes: a picture, an example and a step are seeded by their own numbers.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.compute.cluster import Cluster
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.oneshot.casting import OneshotSets
from faceswap_lab.models.oneshot.examples import CutViews, cut, shape_examples, write_examples
from faceswap_lab.models.oneshot.pictures import Views, make_part, read_part
from faceswap_lab.models.oneshot.shape import Shape, ShapeConfig, fit_shape
from faceswap_lab.stopping import Stop
from faceswap_lab.verbs.networks import as_they_come
from faceswap_lab.verbs.pack.one_thread import one_thread

FOLDS = 2
"""Shapes for training: each drapes the troupes that it was not fitted to, so that the network learns from the errors that it will
see on new people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    name: str
    seeds: tuple[int, ...]
    sets: OneshotSets
    place: Path

    def __call__(self, stop: Stop) -> tuple[str, Path]:
        with one_thread():
            make_part(self.place, self.seeds, self.sets, OfflineEngine(), stop)
        return self.name, self.place


def render_parts(
    sets: OneshotSets, missing: Mapping[str, tuple[int, ...]], folder: Path, compute: Cluster | None
) -> Generator[tuple[str, Path], None, None]:
    """Renders these parts into `folder`, yielding the name and the file of each when it is done.

    Raises SplitError for a test person.
    """
    for seeds in missing.values():
        for seed in seeds:
            check_trainable(seed)
    yield from as_they_come(
        [_Part(name=name, seeds=seeds, sets=sets, place=folder / Path(name).name) for name, seeds in missing.items()], compute
    )


def fold_of(name: str, sets: OneshotSets) -> int:
    """The fold of a part: that of the shape which drapes it. Parts of the split "val" are draped by that of all folds, -1."""
    seeds = sets.parts()[name]
    return -1 if "/val-" in name else (seeds[0] // len(seeds)) % FOLDS


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """Fits a shape to all training parts but those of a fold (-1: to all)."""

    fold: int
    parts: tuple[tuple[int, Path], ...]
    size: int
    config: ShapeConfig
    place: Path

    def __call__(self, stop: Stop) -> tuple[int, Path]:
        with one_thread():
            shape = fit_shape(
                shape_examples([_cut(path, self.size) for fold, path in self.parts if fold != self.fold]), self.config
            )
        torch.save(shape.state_dict(), self.place)
        return self.fold, self.place


def fit_shapes(
    parts: Sequence[tuple[int, Path]], size: int, config: ShapeConfig, folder: Path, compute: Cluster | None
) -> Generator[tuple[int, Path], None, None]:
    """Fits a shape to all training parts, and one for each fold; yields fold and file."""
    yield from as_they_come(
        [
            _Fit(fold=fold, parts=tuple(parts), size=size, config=config, place=folder / f".shape-{fold}.pt")
            for fold in range(-1, FOLDS)
        ],
        compute,
    )


def read_shape(path: Path, config: ShapeConfig) -> Shape:
    """A shape, as `fit_shapes` writes it."""
    shape = Shape(config)
    shape.load_state_dict(torch.load(path, weights_only=True))
    return shape.eval()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draped:
    name: str
    part: Path
    shape: Path
    config: ShapeConfig
    size: int
    seed: int
    place: Path

    def __call__(self, stop: Stop) -> tuple[str, Path]:
        with one_thread():
            write_examples(self.place, read_part(self.part), read_shape(self.shape, self.config), self.size, self.seed)
        return self.name, self.place


def drape_parts(
    parts: Mapping[str, tuple[Path, Path]], config: ShapeConfig, size: int, seed: int, folder: Path, compute: Cluster | None
) -> Generator[tuple[str, Path], None, None]:
    """Drapes parts, given as name to (pictures, shape), yielding the name and the file of each when it is done."""
    yield from as_they_come(
        [
            _Draped(
                name=name,
                part=part,
                shape=shape,
                config=config,
                size=size,
                seed=seed,
                place=folder / f".{Path(name).stem}.examples",
            )
            for name, (part, shape) in parts.items()
        ],
        compute,
    )


def _cut(path: Path, size: int) -> tuple[Views, CutViews]:
    views = read_part(path)
    return views, cut(views, size)
