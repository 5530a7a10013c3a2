"""Training crops of two people, aligned by detected points, as at inference."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.errors import FaceError
from faceswap_lab.faces import align, blend
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.stream.followed import Selection
from faceswap_lab.models.swappers.pair import TEMPLATE
from faceswap_lab.models.training.pair import Portraits
from faceswap_lab.models.training.samples import read_stacks, write_stacks
from faceswap_lab.progress import Progress
from faceswap_lab.verbs.people import Person, check_learnable
from faceswap_lab.verbs.recipes import CropData, PairRecipe

KIND = "crops of two people"

_TAKE = 10  # frames of each speech take, 0.4 s apart
_FEWEST = 4
# Right eye, left eye and mouth in iBUG's 68 points and in MediaPipe's mesh.
_FOCUS_68 = (tuple(range(36, 42)), tuple(range(42, 48)), tuple(range(48, 60)))
_FOCUS_468 = ((33, 160, 158, 133, 153, 144), (362, 385, 387, 263, 373, 380), (61, 37, 0, 267, 291, 314, 17, 84))
_KEYS = ("self_images", "self_masks", "inputs", "targets", "target_masks")


def supervised(recipe: PairRecipe, source: Person, target: Person) -> bool:
    """Whether this recipe uses ground truth for these two. Raises ValueError if it requires truth that does not exist."""
    actors = isinstance(source, Actor) and isinstance(target, Actor)
    if recipe.supervision == "truth" and not actors:
        raise ValueError("supervision='truth' needs two actors: the true swap of real footage is unknown; use 'auto' or 'none'")
    return actors and recipe.supervision != "none"


def gather(recipe: PairRecipe, source: Person, target: Person, engine: Engine, line: Progress) -> tuple[Portraits, Portraits]:
    """Crops of (source, target). Frames without a face are skipped. Raises FaceError if fewer than 4 are left of either, SplitError
    for a test person."""
    people = (source, target)
    check_learnable(*people)
    with_truth = supervised(recipe, source, target)
    shelves = [_Shelf(), _Shelf()]
    done = 0
    for number, person in enumerate(people):
        other = people[1 - number]
        for take in _takes(person, recipe.data, number):
            truth = (
                take.recast(other, tone=recipe.tone) if with_truth and isinstance(take, Take) and isinstance(other, Actor) else None
            )
            # Footage may show others too: they are not learned.
            chosen = Selection(engine=engine, select="largest", apart=isinstance(take, Clip | Excerpt), linked=False)
            for place in _places(take, recipe.data.num_views):
                row = _one(take, truth, place, chosen, recipe.net.size)
                done += 1
                line.update(done)
                if row is None:
                    continue
                shelves[number].add(self_images=row.picture, self_masks=row.mask)
                if row.truth is not None and row.truth_mask is not None:
                    # This frame shows `number`; its truth shows the other person, whose decoder learns from it.
                    shelves[1 - number].add(inputs=row.picture, targets=row.truth, target_masks=row.truth_mask)
    for person, shelf in zip(people, shelves, strict=True):
        if (count := shelf.count("self_images")) < _FEWEST:
            raise FaceError(
                expected=f"at least {_FEWEST} frames with a face of {person.subject}",
                got=str(count),
                remedy="give footage in which the face is at least 40 pixels wide and mostly frontal",
            )
    return shelves[0].portraits(), shelves[1].portraits()


def _takes(person: Person, data: CropData, number: int) -> Iterator[Footage]:
    """A person's footage, or for an actor one take of kind "range" and many short ones of speech."""
    if not isinstance(person, Actor):
        yield person
        return
    num_speech = round(data.num_views * data.speech_share)
    seed = data.seed + 500 * number
    if num_range := data.num_views - num_speech:
        yield person.perform("range", seconds=num_range / 25, fps=25, seed=seed, size=data.render_size)
    for take, start in enumerate(range(0, num_speech, _TAKE), 1):
        count = min(_TAKE, num_speech - start)
        yield person.perform("speech", seconds=count / 2.5, fps=2.5, seed=seed + take, size=data.render_size)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Row:
    picture: np.ndarray
    mask: np.ndarray
    truth: np.ndarray | None = None
    truth_mask: np.ndarray | None = None


def _one(take: Footage, truth: Take | None, number: int, chosen: Selection, size: int) -> _Row | None:
    frame, engine = take[number], chosen.engine
    (face,) = chosen.choose([frame], [engine.detect(frame)])
    if not len(face):
        return None
    matrix = align.frame_to_crop(face.keypoints[0], template=TEMPLATE, size=size)
    picture = align.crop(frame.image, matrix, size)
    if isinstance(take, Take):
        mask = _rendered_mask(take, number, matrix, size)
    else:
        dense = engine.landmarks(frame, face).landmarks
        assert dense is not None
        points = align.transform_points(matrix, dense[0])
        whole = blend.landmark_hull_mask(points, size=size, feather=0.05 * size)
        mask = np.stack([whole, whole * _focus(points, _FOCUS_468, size)], axis=2)
    if truth is None:
        return _Row(picture=picture, mask=mask)
    rendered = truth.rendered(number)
    return _Row(
        picture=picture,
        mask=mask,
        truth=align.crop(rendered.image, matrix, size),
        truth_mask=_rendered_mask(truth, number, matrix, size),
    )


def _rendered_mask(take: Take, number: int, matrix: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 2): the region to paste, and eyes and mouth.

    The region covers everything that the truth changes, so that the mask fades outside it rather than inside.
    """
    rendered = take.rendered(number)
    cut = align.warp(rendered.face_mask, matrix, (size, size), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
    focus = _focus(align.transform_points(matrix, rendered.landmarks68), _FOCUS_68, size)
    whole = np.clip(3 * cut, 0, 1).astype(np.float32)
    return np.stack([whole, whole * focus], axis=2)


def _focus(points: np.ndarray, groups: tuple[tuple[int, ...], ...], size: int) -> np.ndarray:
    """(size, size) float32: 1 on the convex hulls of the groups of points (crop pixels), dilated slightly and feathered."""
    mask = np.zeros((size, size), np.uint8)
    for group in groups:
        cv2.fillConvexPoly(mask, cv2.convexHull(points[list(group)].round().astype(np.int32)), 255)
    reach = max(1, round(0.03 * size))
    grown = cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return cv2.GaussianBlur(grown, (0, 0), reach / 2).astype(np.float32) / 255


def _places(take: Footage, limit: int) -> Iterator[int]:
    count = min(limit, len(take))
    yield from (int(place) for place in np.unique(np.linspace(0, len(take) - 1, count).round()))


@dataclass(slots=True)
class _Shelf:
    """Collects pictures by name, to be stacked into one Portraits."""

    rows: dict[str, list[Tensor]] = field(default_factory=dict)

    def add(self, **pictures: np.ndarray) -> None:
        for name, picture in pictures.items():
            levels = picture if picture.dtype == np.uint8 else np.round(picture * 255).astype(np.uint8)
            tensor = torch.from_numpy(np.ascontiguousarray(levels))
            self.rows.setdefault(name, []).append(tensor.permute(2, 0, 1) if tensor.ndim == 3 else tensor[None])

    def count(self, name: str) -> int:
        return len(self.rows.get(name, []))

    def portraits(self) -> Portraits:
        return Portraits(**{name: torch.stack(rows).contiguous() for name, rows in self.rows.items()})


def save(path: Path, people: tuple[Portraits, Portraits]) -> None:
    """Write both people's crops to one file of stacks, which the caller renames into place."""
    stacks = {
        f"{number}.{key}": tensor.numpy()
        for number, portraits in enumerate(people)
        for key in _KEYS
        if (tensor := getattr(portraits, key)) is not None
    }
    write_stacks(path, KIND, stacks)


def load(path: Path) -> tuple[Portraits, Portraits]:
    """Read what `save` wrote. Raises RunError for any other file."""
    stacks, _ = read_stacks(path, KIND, {f"{number}.{key}" for number in (0, 1) for key in _KEYS[:2]})
    tensors = {name: torch.from_numpy(stack) for name, stack in stacks.items()}
    first, second = ({key: tensors.get(f"{number}.{key}") for key in _KEYS} for number in (0, 1))
    return Portraits(**first), Portraits(**second)  # type: ignore[arg-type]
