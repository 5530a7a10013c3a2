"""Training crops of the eyes: aligned on the detector's keypoints or on jittered true ones, then occluded and degraded."""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from faceswap_lab.faces import align
from faceswap_lab.models.eyes.labels import LABELS
from faceswap_lab.models.eyes.layers import SIZE
from faceswap_lab.models.eyes.pictures import EyesPictures
from faceswap_lab.models.pack.augment import Random, degrade, moved_about, value_noise

_BACKGROUND, _SKIN, _OCCLUDER = (LABELS.index(name) for name in ("background", "skin", "occluder"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Jitter:
    """How crops are misplaced: in a share `detected` of them the detector's keypoints are taken, in the others the true ones with
    noise of `points` of the eyes' distance; then the crop is turned (radians), scaled (log) and shifted (of its side)."""

    detected: float
    points: float
    turn: float = 0.06
    scale: float = 0.06
    shift: float = 0.015


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sample:
    """A crop with its labels; `frame_to_crop` takes picture pixels to its pixels. Where `occluded`, something was pasted on it."""

    image: UInt8[np.ndarray, "s s 3"]
    labels: UInt8[np.ndarray, "s s"]
    frame_to_crop: Float[np.ndarray, "2 3"]
    is_mirrored: bool


def sample(pictures: EyesPictures, row: int, random: Random, jitter: Jitter, template: str, *, occluded: float) -> Sample:
    """One picture's crop, mirrored or not; in a share `occluded` of cases with something pasted over it."""
    matrix = align.frame_to_crop(_keypoints(pictures, row, random, jitter), template=template, size=SIZE)
    turn, scale = float(random.normal(0, jitter.turn)), float(np.exp(random.normal(0, jitter.scale)))
    mirror = bool(random.random() < 0.5)
    matrix = moved_about(matrix, SIZE, random, turn=turn, scale=scale, shift=jitter.shift * SIZE, mirror=mirror)
    image = align.warp(np.asarray(pictures.images[row]), matrix, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    labels = labels_of(pictures, row, matrix)
    if random.random() < 0.35:
        behind = labels == _BACKGROUND
        image[behind] = value_noise(SIZE, random)[behind]
    if random.random() < occluded:
        image, labels = _pasted(image, labels, random)
    return Sample(image=degrade(image, random), labels=labels, frame_to_crop=matrix, is_mirrored=mirror)


def labels_of(pictures: EyesPictures, row: int, matrix: Float[np.ndarray, "2 3"]) -> UInt8[np.ndarray, "s s"]:
    """The labels of a picture's crop. Beyond the picture they continue like its pixels, at its edge."""
    labels, nearest = np.asarray(pictures.labels[row]), cv2.INTER_NEAREST
    return np.asarray(cv2.warpAffine(labels, matrix, (SIZE, SIZE), flags=nearest, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def _keypoints(pictures: EyesPictures, row: int, random: Random, jitter: Jitter) -> Float[np.ndarray, "5 2"]:
    if pictures.found[row] and random.random() < jitter.detected:
        points, noise = pictures.detected5[row], 0.02
        # A detection on another face than the actor's would be no crop of a face.
        if np.abs(points - pictures.keypoints5[row]).max() < 0.8 * pictures.interocular[row]:
            return np.asarray(points + random.normal(0, noise * pictures.interocular[row], (5, 2)))
    return np.asarray(pictures.keypoints5[row] + random.normal(0, jitter.points * pictures.interocular[row], (5, 2)))


# --- things before the face -------------------------------------------------------------------------------------------------


def _pasted(image: np.ndarray, labels: np.ndarray, random: Random) -> tuple[np.ndarray, np.ndarray]:
    """A textured shape over up to a third of the crop, often of a colour like skin, with or without a shadow at its edge."""
    mask = _shape(random)
    texture = value_noise(SIZE, random)
    skin = image[labels == _SKIN]
    if len(skin) and random.random() < 0.4:
        tone = skin[random.integers(len(skin))].astype(np.float32) * random.uniform(0.6, 1.4) * np.exp(random.normal(0, 0.06, 3))
        texture = np.clip(tone + 0.25 * (texture.astype(np.float32) - texture.mean((0, 1))), 0, 255).astype(np.uint8)
    elif random.random() < 0.3:
        texture = np.full_like(texture, random.integers(0, 256, 3))
    if random.random() < 0.4:
        dark = cv2.GaussianBlur(mask, (0, 0), random.uniform(2, 6)).astype(np.float32) / 255
        image = (image * (1 - random.uniform(0.1, 0.6) * dark[..., None])).astype(np.uint8)
    soft = cv2.GaussianBlur(mask, (0, 0), random.uniform(0.4, 1.2)).astype(np.float32)[..., None] / 255
    mixed = image * (1 - soft) + texture * soft
    return np.asarray(mixed.round(), np.uint8), np.where(mask > 127, np.uint8(_OCCLUDER), labels)


def _shape(random: Random) -> UInt8[np.ndarray, "s s"]:
    """A blob, a bar, a few fingers or a rectangle as a mask of 0 and 255."""
    mask = np.zeros((SIZE, SIZE), np.uint8)
    centre, kind = random.uniform(0.1, 0.9, 2) * SIZE, random.random()
    if kind < 0.35:
        angles = np.linspace(0, 2 * math.pi, 40, endpoint=False)
        radius = SIZE * random.uniform(0.08, 0.28)
        waves = [random.uniform(0, 0.25) * np.cos(k * angles + random.uniform(0, 7)) for k in range(1, 5)]
        outline = centre + radius * (1 + np.sum(waves, 0))[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)
        cv2.fillPoly(mask, [outline.round().astype(np.int32)], 255)
    elif kind < 0.75:
        angle, thick = random.uniform(0, 2 * math.pi), int(random.integers(5, 20))
        for finger in range(int(random.choice((1, 3, 4)))):
            way = angle + random.normal(0, 0.12) + 0.1 * finger
            start = centre + (finger - 1) * thick * 1.1 * np.array([-math.sin(angle), math.cos(angle)])
            end = start + SIZE * random.uniform(0.4, 1.5) * np.array([math.cos(way), math.sin(way)])
            first, last = ([int(value) for value in point.round()] for point in (start, end))
            cv2.line(mask, first, last, 255, thick)
    else:
        sides = tuple(float(side) for side in SIZE * random.uniform(0.12, 0.6, 2))
        box = cv2.boxPoints((tuple(float(value) for value in centre), sides, float(random.uniform(0, 180))))
        cv2.fillPoly(mask, [box.round().astype(np.int32)], 255)
    return mask
