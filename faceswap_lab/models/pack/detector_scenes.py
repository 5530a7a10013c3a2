"""Training canvases for a detector: pictures of actors composited onto varied backgrounds, with hard negatives.

Each canvas is a function of the pictures and a seed. It contains zero or more faces of 12 to about 280 pixels, rotated, mirrored,
partly outside, beside heads without faces; then light, colour, blur, noise and compression are augmented, and part of it may be
black like insightface's padding.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float

from faceswap_lab.actors.render.capture import jpeg
from faceswap_lab.faces.frame import Image
from faceswap_lab.models.pack.pictures import PackPictures, boxes_of

Random = np.random.Generator
_COUNTS, _COUNT_ODDS = (0, 1, 2, 3, 5, 8), (0.10, 0.36, 0.22, 0.14, 0.12, 0.06)
_SMALLEST, _LARGEST = 12.0, 280.0
_MIRRORED5 = [1, 0, 2, 4, 3]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """A square RGB picture and its faces: boxes and five points in pixels. Faces with `ignored` are excluded from the loss."""

    image: Image
    boxes: Float[np.ndarray, "k 4"]
    points: Float[np.ndarray, "k 5 2"]
    ignored: Bool[np.ndarray, " k"]


@dataclass(slots=True, kw_only=True, eq=False)
class _Scene:
    """A canvas under construction."""

    image: np.ndarray
    boxes: list[np.ndarray]
    points: list[np.ndarray]


def make_canvas(pictures: PackPictures, seed: int, size: int) -> Canvas:
    """The canvas of a seed, `size` pixels square."""
    draw = np.random.default_rng([93, seed])
    scene = _Scene(image=np.zeros((size, size, 3), np.uint8), boxes=[], points=[])
    count = int(draw.choice(_COUNTS, p=_COUNT_ODDS))
    if count and draw.random() < 0.35:
        _place_face(scene, pictures, draw, whole=True)
        count -= 1
    else:
        scene.image[:] = _background(pictures, draw, size)
    for _ in range(int(draw.integers(1, 4)) if draw.random() < 0.4 else 0):
        _distract(scene, pictures, draw)
    for _ in range(count):
        _place_face(scene, pictures, draw, whole=False)
    boxes = np.array(scene.boxes, np.float32).reshape(-1, 4)
    _cover_some(scene.image, boxes, draw)
    image = _band(scene.image, boxes, draw)
    return Canvas(
        image=_developed(image, draw),
        boxes=boxes,
        points=np.array(scene.points, np.float32).reshape(-1, 5, 2),
        ignored=_ignored(boxes, image),
    )


def empty_canvas(seed: int, size: int) -> Image:
    """A square picture without any face: noise of all scales, and shapes."""
    draw = np.random.default_rng([97, seed])
    image = _clouds(draw, size)
    return _developed(np.maximum(_shapes(image, draw) if seed % 2 else image, 1), draw)


def _ignored(boxes: Float[np.ndarray, "k 4"], image: Image) -> Bool[np.ndarray, " k"]:
    """Mask of faces that are mostly outside the canvas or under its black band, or tiny."""
    size = image.shape[0]
    found = np.zeros(len(boxes), bool)
    for k, box in enumerate(boxes):
        x1, y1, x2, y2 = np.clip(np.round(box), 0, size).astype(int)
        area = (box[2] - box[0]) * (box[3] - box[1])
        seen = float((image[y1:y2, x1:x2].max(2) > 0).sum())
        found[k] = seen < 0.6 * area or area < (0.8 * _SMALLEST) ** 2
    return found


# --- placing faces ------------------------------------------------------------------------------------------------------------


def _place_face(scene: _Scene, pictures: PackPictures, draw: Random, *, whole: bool) -> None:
    """Composites one picture onto the canvas: its actor alone or the entire square; with `whole` it fills the canvas. Skipped if it
    would hide an existing face."""
    row = int(draw.integers(len(pictures)))
    size = scene.image.shape[0]
    box = pictures.boxes[row]
    side = math.sqrt(float((box[2] - box[0]) * (box[3] - box[1])))
    if whole:
        scale = size / pictures.images.shape[1] * float(draw.uniform(1.0, 2.2))
    else:
        scale = float(np.exp(draw.uniform(math.log(_SMALLEST), math.log(_LARGEST)))) / side
    matrix = _placement(box, scale, size, draw, whole=whole)
    points = pictures.keypoints5[row] @ matrix[:, :2].T + matrix[:, 2]
    around = pictures.points106[row] @ matrix[:, :2].T + matrix[:, 2]
    if matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0] < 0:
        points = points[_MIRRORED5]
    placed = boxes_of(around[None].astype(np.float32), points[None].astype(np.float32))[0]
    picture, cover = _moved(pictures, row, matrix, size, draw)
    if whole:
        _fill(scene.image, picture, cover, pictures, draw)
    else:
        if draw.random() < 0.65:
            mask = _moved_mask(pictures, row, matrix, size)
            cover = cover * mask
        if _hides(scene.boxes, cover, placed):
            return
        _blend(scene.image, picture, cover)
    scene.boxes.append(placed)
    scene.points.append(points)


def _placement(box: np.ndarray, scale: float, size: int, draw: Random, *, whole: bool) -> Float[np.ndarray, "2 3"]:
    """Transform from picture to canvas: scale, rotate, possibly mirror, and centre the face at a random position."""
    spread = 0.45 if draw.random() < 0.15 else 0.16
    angle = float(np.clip(draw.normal(0, spread), -0.9, 0.9)) * (0.4 if whole else 1)
    stretch = float(np.exp(draw.normal(0, 0.05)))
    flip = -1.0 if draw.random() < 0.5 else 1.0
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = turn @ np.diag([flip * scale * stretch, scale / stretch])
    middle = np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
    side = scale * max(box[2] - box[0], box[3] - box[1])
    room = 0.5 * side * float(draw.choice([1.0, 0.4], p=[0.85, 0.15]))
    low, high = (room, size - room) if size > 2 * room else (size * 0.4, size * 0.6)
    place = draw.uniform(low, high, 2)
    return np.concatenate([linear, (place - linear @ middle)[:, None]], 1)


def _moved(pictures: PackPictures, row: int, matrix: np.ndarray, size: int, draw: Random) -> tuple[np.ndarray, np.ndarray]:
    """The picture warped to the canvas, and its coverage 0..1. Half of the minified ones are not antialiased, as in insightface."""
    image = np.asarray(pictures.images[row])
    matrix = np.asarray(matrix, np.float64)
    scale = math.sqrt(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))
    if scale < 0.6 and draw.random() < 0.5:
        small = max(8, round(image.shape[0] * scale))
        matrix = _shrunk(matrix, image.shape[0] / small)
        image = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    moved = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    whole = np.full(image.shape[:2], 255, np.uint8)
    return moved, cv2.warpAffine(whole, matrix, (size, size), flags=cv2.INTER_LINEAR).astype(np.float32) / 255


def _moved_mask(pictures: PackPictures, row: int, matrix: np.ndarray, size: int) -> np.ndarray:
    mask = cv2.erode(np.asarray(pictures.masks[row]), np.ones((3, 3), np.uint8))
    scale = math.sqrt(abs(matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0]))
    if scale < 0.6:
        small = max(8, round(mask.shape[0] * scale))
        matrix = _shrunk(matrix, mask.shape[0] / small)
        mask = cv2.resize(mask, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.warpAffine(mask, matrix, (size, size), flags=cv2.INTER_LINEAR).astype(np.float32) / 255)


def _shrunk(matrix: np.ndarray, times: float) -> np.ndarray:
    """The same transform for a picture `times` smaller; pixel centres at integers."""
    linear = matrix[:, :2] * times
    shift = matrix[:, 2] + matrix[:, :2] @ np.full(2, (times - 1) / 2)
    return np.concatenate([linear, shift[:, None]], 1)


def _hides(boxes: list[np.ndarray], cover: np.ndarray, placed: np.ndarray) -> bool:
    """Whether more than a quarter of an existing face would be covered, or two boxes would nearly coincide."""
    size = cover.shape[0]
    for box in boxes:
        x1, y1, x2, y2 = np.clip(np.round(box), 0, size).astype(int)
        if x2 <= x1 or y2 <= y1 or cover[y1:y2, x1:x2].mean() > 0.25 or _iou(box, placed) > 0.3:
            return True
    return False


def _iou(one: np.ndarray, other: np.ndarray) -> float:
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = float(np.prod(np.maximum(high - low, 0)))
    return both / max(float(np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])) - both, 1e-6)


def _blend(image: np.ndarray, picture: np.ndarray, cover: np.ndarray) -> None:
    rows, columns = np.flatnonzero(cover.any(1)), np.flatnonzero(cover.any(0))
    if len(rows) == 0:
        return
    part = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share = cover[part][..., None]
    image[part] = np.round(image[part] * (1 - share) + picture[part] * share).astype(np.uint8)


def _fill(image: np.ndarray, picture: np.ndarray, cover: np.ndarray, pictures: PackPictures, draw: Random) -> None:
    """Fills the canvas with the picture; beyond it, its edges are replicated, or another background is used."""
    image[:] = picture if draw.random() < 0.6 else _background(pictures, draw, image.shape[0])
    _blend(image, picture, cover)


# --- backgrounds and distractors ----------------------------------------------------------------------------------------------


def _background(pictures: PackPictures, draw: Random, size: int) -> np.ndarray:
    kind = draw.random()
    if kind < 0.3:
        return _backdrop(pictures, draw, size)
    if kind < 0.55:
        return _clouds(draw, size)
    return _shapes(
        _clouds(draw, size) if draw.random() < 0.5 else np.full((size, size, 3), draw.integers(0, 256, 3), np.uint8), draw
    )


def _backdrop(pictures: PackPictures, draw: Random, size: int) -> np.ndarray:
    """An enlarged patch of a picture beside the face, or of hair, neck or clothes."""
    row = int(draw.integers(len(pictures)))
    image, box = np.asarray(pictures.images[row]), pictures.boxes[row]
    side = image.shape[0]
    strips = [(0, 0, side, box[1]), (0, box[3], side, side), (0, 0, box[0], side), (box[2], 0, side, side)]
    x1, y1, x2, y2 = (int(np.clip(value, 0, side)) for value in strips[int(draw.integers(4))])
    if x2 - x1 < 12 or y2 - y1 < 12:
        return _clouds(draw, size)
    return cv2.resize(image[y1:y2, x1:x2], (size, size), interpolation=cv2.INTER_LINEAR)


def _clouds(draw: Random, size: int) -> np.ndarray:
    """Multi-scale noise in related colours: resembles walls, leaves, cloth, sky."""
    base, spread = draw.uniform(20, 235) + draw.normal(0, 30, 3), draw.uniform(5, 70)
    grey = float(draw.uniform(0.2, 1.0))
    total = np.zeros((size, size, 3), np.float32)
    weight = 1.0
    fade = draw.uniform(0.4, 1.0)
    for cells in (3, 7, 17, 41, 97):
        noise = draw.normal(size=(cells, max(2, round(cells * draw.uniform(0.3, 1))), 3)).astype(np.float32)
        noise = noise * (1 - grey) + noise[..., :1] * grey
        total += weight * cv2.resize(noise.astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
        weight *= fade
    return np.clip(base + spread * total, 0, 255).astype(np.uint8)


def _shapes(image: np.ndarray, draw: Random) -> np.ndarray:
    """Straight lines, grids, discs and ovals, some with two dark spots and a bar like a face."""
    size = image.shape[0]
    image = np.ascontiguousarray(image)
    for _ in range(int(draw.integers(2, 25))):
        colour = tuple(int(value) for value in draw.integers(0, 256, 3))
        kind, (x, y), length = draw.integers(5), draw.integers(0, size, 2), float(np.exp(draw.uniform(1, math.log(size))))
        if kind == 0:
            end = (int(x + draw.normal() * length), int(y + draw.normal() * length))
            cv2.line(image, (int(x), int(y)), end, colour, int(draw.integers(1, 12)), cv2.LINE_AA)
        elif kind == 1:
            cv2.rectangle(image, (int(x), int(y)), (int(x + length), int(y + length * draw.uniform(0.2, 3))), colour, -1)
        elif kind == 2:
            for step in range(0, int(length), max(3, int(length / draw.integers(3, 14)))):
                cv2.line(image, (int(x + step), int(y)), (int(x + step), int(y + length)), colour, int(draw.integers(1, 4)))
        else:
            _oval(image, (int(x), int(y)), length / 2, colour, draw, spots=bool(kind == 4))
    return image


def _oval(image: np.ndarray, place: tuple[int, int], half: float, colour: tuple[int, ...], draw: Random, *, spots: bool) -> None:
    axes = (max(2, round(half * draw.uniform(0.6, 1))), max(2, round(half)))
    angle = float(draw.normal(0, 25))
    cv2.ellipse(image, place, axes, angle, 0, 360, colour, -1, cv2.LINE_AA)
    if not spots:
        return
    dark = tuple(int(value * draw.uniform(0, 0.6)) for value in colour)
    number = int(draw.integers(1, 5))
    for _ in range(number):
        x, y = (int(place[axis] + draw.uniform(-0.6, 0.6) * axes[axis]) for axis in (0, 1))
        cv2.circle(image, (x, y), max(1, round(half * draw.uniform(0.04, 0.2))), dark, -1, cv2.LINE_AA)


def _distract(scene: _Scene, pictures: PackPictures, draw: Random) -> None:
    """A head whose face region is replaced by its mean colour or by noise, shuffled, or reduced to a few pixels."""
    row = int(draw.integers(len(pictures)))
    size = scene.image.shape[0]
    box = pictures.boxes[row]
    image = np.array(pictures.images[row])
    x1, y1, x2, y2 = np.clip(np.round(box), 0, image.shape[0] - 1).astype(int)
    if x2 - x1 < 16 or y2 - y1 < 16:
        return
    face = image[y1:y2, x1:x2]
    kind = draw.integers(4)
    if kind == 0:
        image[y1:y2, x1:x2] = cv2.resize(face.mean((0, 1), keepdims=True).astype(np.uint8), (x2 - x1, y2 - y1))
    elif kind == 1:
        image[y1:y2, x1:x2] = _jumbled(face, draw)
    elif kind == 2:
        image[y1:y2, x1:x2] = cv2.resize(_clouds(draw, 64), (x2 - x1, y2 - y1))
    else:
        image[y1:y2, x1:x2] = cv2.resize(cv2.resize(face, (3, 4), interpolation=cv2.INTER_AREA), (x2 - x1, y2 - y1))
    other = PackPictures(**{name: getattr(pictures[[row]], name) for name in PackPictures.__slots__} | {"images": image[None]})
    scale = float(np.exp(draw.uniform(math.log(20), math.log(size)))) / float(x2 - x1)
    matrix = _placement(box, scale, size, draw, whole=False)
    picture, cover = _moved(other, 0, matrix, size, draw)
    if draw.random() < 0.65:
        cover = cover * _moved_mask(other, 0, matrix, size)
    if not _hides(scene.boxes, cover, np.zeros(4)):
        _blend(scene.image, picture, cover)


def _jumbled(face: np.ndarray, draw: Random) -> np.ndarray:
    """The face's parts, shuffled and randomly mirrored."""
    height, width = face.shape[0] // 3, face.shape[1] // 3
    out = face.copy()
    cells = [(row * height, column * width) for row in range(3) for column in range(3)]
    for (to_y, to_x), source in zip(cells, draw.permutation(9), strict=True):
        y, x = cells[int(source)]
        out[to_y : to_y + height, to_x : to_x + width] = face[y : y + height, x : x + width][:, :: 1 if draw.random() < 0.5 else -1]
    return out


# --- degradation --------------------------------------------------------------------------------------------------------------


def _cover_some(image: np.ndarray, boxes: Float[np.ndarray, "k 4"], draw: Random) -> None:
    """Flat occluders over up to a third of a face."""
    for box in boxes:
        if draw.random() > 0.12:
            continue
        width, height = box[2:] - box[:2]
        share_x, share_y = draw.uniform(0.2, 0.7), draw.uniform(0.15, 0.45)
        x, y = box[0] + draw.uniform(0, 1 - share_x) * width, box[1] + draw.uniform(0, 1 - share_y) * height
        corners = [int(value) for value in (x, y, x + share_x * width, y + share_y * height)]
        colour = tuple(int(value) for value in draw.integers(0, 256, 3))
        cv2.rectangle(image, (corners[0], corners[1]), (corners[2], corners[3]), colour, -1)


def _band(image: np.ndarray, boxes: Float[np.ndarray, "k 4"], draw: Random) -> Image:
    """A black band at the bottom or right, like insightface's padding to a square."""
    image = np.maximum(image, 1)
    if draw.random() < 0.35:
        share = draw.uniform(0.5, 0.95)
        edge = round(image.shape[0] * share)
        middles = boxes[:, :2] / 2 + boxes[:, 2:] / 2
        axis = int(draw.integers(2))
        if not len(boxes) or (middles[:, axis] < 0.9 * edge).any():
            image[(slice(edge, None), slice(None)) if axis else (slice(None), slice(edge, None))] = 0
    return image


def _developed(image: np.ndarray, draw: Random) -> Image:
    """Augments light, colour, blur, noise and compression."""
    black = (image == 0).all(2)
    light: Any = image.astype(np.float32) / 255
    if draw.random() < 0.8:
        light = light ** float(np.exp(draw.normal(0, 0.3)))
        light = (light - 0.5) * float(draw.uniform(0.6, 1.35)) + 0.5 + float(draw.normal(0, 0.1))
        light = light * np.exp(draw.normal(0, 0.09, 3)).astype(np.float32)
    if draw.random() < 0.12:
        light = np.repeat(light.mean(2, keepdims=True), 3, 2)
    if draw.random() < 0.25:
        light = cv2.GaussianBlur(light, (0, 0), float(draw.uniform(0.4, 1.8)))
    if draw.random() < 0.4:
        light = light + draw.standard_normal(light.shape, np.float32) * np.float32(draw.uniform(0.005, 0.07))
    out = np.round(np.clip(light, 0, 1) * 255).astype(np.uint8)
    if draw.random() < 0.4:
        out = jpeg(out, int(draw.integers(20, 92)))
    out[black] = 0
    return np.asarray(out)
