"""From pictures to what the network is trained on: crops, draped sources and the true answer, one file for each troupe.

The same function drapes in training and in use (`look_of`), so that the network sees the same errors in both.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from torch import Tensor

from faceswap_lab.faces import align
from faceswap_lab.models.oneshot.drape import Picture, drape, draw_mesh, place_map, sample
from faceswap_lab.models.oneshot.pictures import Views
from faceswap_lab.models.oneshot.shape import Shape, ShapeExamples
from faceswap_lab.models.swappers import mesh468
from faceswap_lab.models.training.samples import map_stacks, write_stacks

TEMPLATE = "whole-face"
KIND = "examples of the one-shot"
_WIDE_LIPS, _OPEN_EYES = 1.0, 2.0
STACKS = ("targets", "truths", "masks", "moved", "draped", "shown", "places", "portraits", "keeps_tone")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """What the network sees of one face, as levels 0..255: the target's face moved to the new shape, the source draped over it, how
    well it shows each pixel, and the place on the head (127.5 is 0)."""

    moved: UInt8[np.ndarray, "s s 3"]
    draped: UInt8[np.ndarray, "s s 3"]
    shown: UInt8[np.ndarray, "s s"]
    place: UInt8[np.ndarray, "s s 3"]


def look_of(
    target: UInt8[np.ndarray, "s s 3"],
    points: Float[np.ndarray, "468 2"],
    wanted: Float[np.ndarray, "468 2"],
    sources: Sequence[Picture],
) -> Look:
    """The look of a target's crop, whose face has its points at `points`, with a source's pictures on the mesh at `wanted`."""
    drawn = draw_mesh(wanted, target.shape[0])
    draped, shown = drape(drawn, nearest_first(points, sources))
    return Look(
        moved=sample(drawn, target, points, follow=False),
        draped=draped,
        shown=np.round(255 * shown).astype(np.uint8),
        place=np.round(127.5 + 127.5 * np.clip(place_map(drawn), -1, 1)).astype(np.uint8),
    )


def nearest_first(points: Float[np.ndarray, "468 2"], sources: Sequence[Picture]) -> list[Picture]:
    """The pictures in the order of how near they are to a face in pose, opening of the mouth, and open eyes."""
    wanted = _pose_and_openings(points)

    def cost(picture: Picture) -> float:
        pose, mouth, eyes = _pose_and_openings(picture.points)
        closed = max(0.0, wanted[2] - eyes)
        return float(np.linalg.norm(pose - wanted[0]) + _WIDE_LIPS * abs(mouth - wanted[1]) + _OPEN_EYES * closed)

    return sorted(sources, key=cost)


def _pose_and_openings(points: Float[np.ndarray, "468 2"]) -> tuple[Float[np.ndarray, " 3"], float, float]:
    """Line of sight; opening of the mouth and of the eyes over the distance between the eyes' outer corners."""
    unit = float(np.linalg.norm(points[263] - points[33])) + 1e-6
    mouth, right, left = (float(np.linalg.norm(points[a] - points[b])) for a, b in ((14, 13), (159, 145), (386, 374)))
    return mesh468.line_of_sight(points), mouth / unit, (right + left) / 2 / unit


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CutViews:
    """The pictures of a part, cut: every true swap in the crop of the view that it belongs to, whose row is `view_of`."""

    crops: UInt8[np.ndarray, "n s s 3"]
    masks: UInt8[np.ndarray, "n s s"]
    points: Float32[np.ndarray, "n 468 2"]
    view_of: Int64[np.ndarray, " n"]


def cut(views: Views, size: int) -> CutViews:
    """Crops of `size` pixels by the engine's points; rows whose view shows no face to the engine stay empty."""
    number = len(views)
    crops, masks = np.zeros((number, size, size, 3), np.uint8), np.zeros((number, size, size), np.uint8)
    points = np.zeros((number, 468, 2), np.float32)
    own = np.maximum.accumulate(np.where(views.source < 0, np.arange(number), 0))
    for row, at in enumerate(own):
        if not views.seen[at]:
            continue
        matrix = align.frame_to_crop(views.keypoints5[at], template=TEMPLATE, size=size)
        crops[row] = align.crop(views.images[row], matrix, size)
        masks[row] = align.warp(views.masks[row], matrix, (size, size), interpolation=cv2.INTER_AREA, border=cv2.BORDER_CONSTANT)
        points[row] = align.transform_points(matrix, views.points468[row])
    return CutViews(crops=crops, masks=masks, points=points, view_of=own)


def shape_examples(parts: Sequence[tuple[Views, CutViews]]) -> ShapeExamples:
    """Every true swap of these parts with all pictures of its source."""
    points, rows, sources, before = [], list[tuple[int, int]](), list[list[int]](), 0
    for views, made in parts:
        own = _own_pictures(views)
        for row in np.flatnonzero((views.source >= 0) & views.seen & views.seen[made.view_of]).tolist():
            if pictures := own.get(int(views.source[row])):
                rows.append((before + int(made.view_of[row]), before + row))
                sources.append([before + picture for picture in pictures])
        points.append(made.points)
        before += len(views)
    return ShapeExamples(points=np.concatenate(points), rows=np.array(rows, np.int64).reshape(-1, 2), sources=sources)


def _own_pictures(views: Views) -> dict[int, list[int]]:
    """Seed to the rows of that actor's own views in which a face was seen."""
    own: dict[int, list[int]] = {}
    for row in np.flatnonzero((views.source < 0) & views.seen).tolist():
        own.setdefault(int(views.identity[row]), []).append(row)
    return own


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """Rows of a part: the target's view, the true swap, and the pictures of the source that are given, in no order."""

    target: int
    truth: int
    sources: tuple[int, ...]


def examples_of(views: Views, seed: int) -> list[Example]:
    """An example for each true swap: half of them with one picture of the source, the others with all.

    Of each actor's own views one is also swapped with that actor's other pictures: nothing but the picture itself is true.
    """
    own, found = _own_pictures(views), []
    at = np.maximum.accumulate(np.where(views.source < 0, np.arange(len(views)), 0))
    for row in range(len(views)):
        draw = np.random.default_rng([seed, int(views.identity[row]), int(views.view[row]), int(views.source[row]) + 1])
        if views.source[row] < 0:
            pictures = [other for other in own.get(int(views.identity[row]), []) if other != row] if views.view[row] == 0 else []
        else:
            pictures = own.get(int(views.source[row]), [])
        if not pictures or not views.seen[at[row]] or not views.seen[row]:
            continue
        chosen = draw.permutation(pictures).tolist()
        if draw.random() < 0.5:
            chosen = chosen[:1]
        found.append(Example(target=int(at[row]), truth=row, sources=tuple(chosen)))
    return found


def write_examples(path: Path, views: Views, shape: Shape, size: int, seed: int) -> None:
    """Drapes every example of a part and writes it to `path`, which the caller renames into place."""
    made = cut(views, size)
    examples = examples_of(views, seed)
    codes = _codes(shape, made.points)
    rows: dict[str, list[np.ndarray]] = {name: [] for name in STACKS}
    for example in examples:
        code = codes[list(example.sources)].mean(0, keepdim=True)
        wanted = moved_points(shape, code, made.points[example.target])
        pictures = [Picture(image=made.crops[row], points=made.points[row]) for row in example.sources]
        look = look_of(made.crops[example.target], made.points[example.target], wanted, pictures)
        rows["targets"].append(made.crops[example.target])
        rows["truths"].append(made.crops[example.truth])
        rows["masks"].append(made.masks[example.truth])
        rows["moved"].append(look.moved)
        rows["draped"].append(look.draped)
        rows["shown"].append(look.shown)
        rows["places"].append(look.place)
        rows["portraits"].append(portrait_of(nearest_first(made.points[example.target], pictures)[0].image))
        rows["keeps_tone"].append(np.array(255 * views.target_tone[example.truth], np.uint8))
    write_stacks(path, KIND, {name: np.stack(each) for name, each in rows.items()}, {"size": size})


def portrait_of(crop: UInt8[np.ndarray, "s s 3"]) -> UInt8[np.ndarray, "t t 3"]:
    """A source's crop at half its size."""
    side = crop.shape[0] // 2
    return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _codes(shape: Shape, points: Float32[np.ndarray, "n 468 2"]) -> Float[Tensor, "n c"]:
    """The code of each picture's shape; rows without a face have that of the mean head, and are never asked for."""
    known = np.abs(points).sum((1, 2)) > 0
    filled = np.where(known[:, None, None], points, points[known][:1]) if known.any() else points
    with torch.inference_mode():
        return shape.encode(torch.from_numpy(filled))


def moved_points(shape: Shape, code: Float[Tensor, "1 c"], points: Float32[np.ndarray, "468 2"]) -> Float32[np.ndarray, "468 2"]:
    """A target's points where a source's face would have them."""
    with torch.inference_mode():
        return np.asarray(shape(code, torch.from_numpy(points)[None].float())[0].numpy(), np.float32)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Examples of many parts, mapped: each of the stacks is a list with one array for each part; `rows` are (part, row)."""

    stacks: dict[str, list[np.ndarray]]
    rows: Int64[np.ndarray, "n 2"]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, numbers: Int64[np.ndarray, " b"]) -> dict[str, UInt8[np.ndarray, "b ..."]]:
        """These examples, stacked."""
        places = self.rows[numbers]
        return {name: np.stack([parts[part][row] for part, row in places]) for name, parts in self.stacks.items()}


def map_examples(paths: Sequence[Path]) -> Examples:
    """The examples in these files. Raises RunError for a file that is damaged, or has none."""
    read = list(_mapped(paths))
    stacks = {name: [part[name] for part in read] for name in STACKS}
    rows = np.array([(part, row) for part, each in enumerate(read) for row in range(len(each["targets"]))], np.int64)
    return Examples(stacks=stacks, rows=rows.reshape(-1, 2))


def _mapped(paths: Sequence[Path]) -> Iterator[dict[str, np.ndarray]]:
    for path in paths:
        with path.open("rb") as file:
            yield map_stacks(file, KIND, set(STACKS))[0]
