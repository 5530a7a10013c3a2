"""Training crops for the pack's landmarks and embedder: cut as by insightface, from jittered boxes and points, then augmented with
footage-like degradations: light, colour, blur, noise, compression, other backgrounds, occluders.
"""

import math
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from faceswap_lab.actors.render.capture import jpeg
from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.faces.scratch import read_only
from faceswap_lab.models.pack.pictures import PackPictures

Random = np.random.Generator
MARGIN = 1.5
"""The side of insightface's crop for landmarks, as a multiple of the box's longer side."""


def require_trainable(pictures: PackPictures) -> None:
    """Raises SplitError if the pictures include a person of the test split."""
    for seed in set(pictures.identity.tolist()):
        check_trainable(seed)


def box_to_crop(box: Float[np.ndarray, " 4"], size: int) -> Float[np.ndarray, "2 3"]:
    """insightface's transform from picture to landmark crop: the box's centre to the crop's, without rotation."""
    width, height = float(box[2] - box[0]), float(box[3] - box[1])
    scale = size / (max(width, height) * MARGIN)
    x, y = float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2
    return np.array([[scale, 0, size / 2 - scale * x], [0, scale, size / 2 - scale * y]])


def moved_about(
    matrix: Float[np.ndarray, "2 3"], size: int, random: Random, *, turn: float, scale: float, shift: float, mirror: bool
) -> Float[np.ndarray, "2 3"]:
    """The transform with a rotation (radians) and scale about the crop's centre, a random shift (crop pixels), or mirrored."""
    cos, sin = scale * math.cos(turn), scale * math.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.diag([-1.0 if mirror else 1.0, 1.0])
    centre = np.full(2, (size - 1) / 2)
    offset = centre - linear @ centre + random.normal(0, shift, 2)
    return np.concatenate([linear @ matrix[:, :2], (linear @ matrix[:, 2] + offset)[:, None]], 1)


def cut(
    pictures: PackPictures, row: int, matrix: Float[np.ndarray, "2 3"], size: int, random: Random
) -> UInt8[np.ndarray, "s s 3"]:
    """The crop with the picture's own background or another, and a random border mode beyond the picture."""
    edge = (cv2.BORDER_CONSTANT, cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE, cv2.BORDER_REFLECT_101)[random.integers(4)]
    colour = tuple(int(value) for value in random.integers(0, 256, 3)) if random.random() < 0.5 else (0, 0, 0)
    image = np.asarray(pictures.images[row])
    crop = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderMode=edge, borderValue=colour)
    if random.random() < 0.4:
        mask = cv2.warpAffine(np.asarray(pictures.masks[row]), matrix, (size, size), flags=cv2.INTER_LINEAR)
        behind = mask < 128
        crop[behind] = value_noise(size, random)[behind]
    return crop


def value_noise(size: int, random: Random) -> UInt8[np.ndarray, "s s 3"]:
    """Smooth value noise in colour, coarse or fine."""
    cells = int(2 ** random.uniform(1, 5.5))
    base = random.uniform(0, 255, 3) + random.normal(0, random.uniform(5, 60), (cells, cells, 3))
    return np.asarray(cv2.resize(np.clip(base, 0, 255).astype(np.uint8), (size, size), interpolation=cv2.INTER_LINEAR))


def degrade(crop: UInt8[np.ndarray, "s s 3"], random: Random) -> UInt8[np.ndarray, "s s 3"]:
    """The crop with random lighting and colours, possibly grey, low-resolution, blurred, noisy or compressed."""
    if random.random() < 0.9:
        crop = _lit(crop, random)
    if random.random() < 0.1:
        crop = cv2.cvtColor(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    size = crop.shape[0]
    kind = random.random()
    if kind < 0.15:
        small = max(16, round(size * random.uniform(0.25, 0.8)))
        way = (cv2.INTER_AREA, cv2.INTER_LINEAR)[random.integers(2)]
        crop = cv2.resize(cv2.resize(crop, (small, small), interpolation=way), (size, size), interpolation=cv2.INTER_LINEAR)
    elif kind < 0.3:
        crop = cv2.GaussianBlur(crop, (0, 0), random.uniform(0.4, 0.016 * size))
    elif kind < 0.38:
        crop = _smeared(crop, random)
    if random.random() < 0.35:
        crop = _noisy(crop, random)
    if random.random() < 0.3:
        crop = jpeg(crop, int(random.integers(25, 92)))
    return np.asarray(crop, np.uint8)


def occlude(crop: UInt8[np.ndarray, "s s 3"], random: Random) -> UInt8[np.ndarray, "s s 3"]:
    """The crop with a flat or noisy occluder over up to a quarter of it."""
    size = crop.shape[0]
    width, height = (round(size * side) for side in random.uniform(0.1, 0.45, 2))
    x, y = int(random.integers(0, size - width)), int(random.integers(0, size - height))
    patch = value_noise(size, random) if random.random() < 0.5 else np.full((size, size, 3), random.integers(0, 256, 3), np.uint8)
    mask = np.zeros((size, size), np.uint8)
    if random.random() < 0.5:
        cv2.rectangle(mask, (x, y), (x + width, y + height), 255, -1)
    else:
        cv2.ellipse(mask, (x + width // 2, y + height // 2), (width // 2, height // 2), random.uniform(0, 180), 0, 360, 255, -1)
    return np.asarray(np.where(mask[..., None] > 0, patch, crop))


def _lit(crop: np.ndarray, random: Random) -> np.ndarray:
    """Gamma, contrast, brightness and a per-channel tint, by a lookup table."""
    level = np.linspace(0, 1, 256)[:, None] ** np.exp(random.normal(0, 0.3))
    level = (level - 0.5) * random.uniform(0.6, 1.35) + 0.5 + random.normal(0, 0.08)
    table = level * np.exp(random.normal(0, 0.08, 3))
    return np.asarray(cv2.LUT(crop, np.clip(255 * table, 0, 255).astype(np.uint8)[:, None]))


def _smeared(crop: np.ndarray, random: Random) -> np.ndarray:
    """Linear motion blur."""
    length = int(random.integers(3, max(4, crop.shape[0] // 14)))
    kernel = np.zeros((length, length), np.float32)
    angle, middle = random.uniform(0, math.pi), (length - 1) / 2
    reach = middle * np.array([math.cos(angle), math.sin(angle)])
    start, end = (tuple(round(float(value)) for value in middle + sign * reach) for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(crop, -1, kernel / kernel.sum()))


def _noisy(crop: np.ndarray, random: Random) -> np.ndarray:
    """Grain of one strength, from precomputed noise: drawing new numbers would take longer than everything else."""
    size, store = crop.shape[0], _grain()
    start = int(random.integers(0, len(store) - crop.size))
    grain = store[start : start + crop.size].reshape(crop.shape) * np.float32(random.uniform(2, 18))
    return np.asarray(np.clip(crop + grain, 0, 255).astype(np.uint8).reshape(size, size, 3))


@lru_cache(maxsize=1)
def _grain() -> Float[np.ndarray, " n"]:
    return read_only(np.random.default_rng(0).standard_normal(2_000_003).astype(np.float32))
