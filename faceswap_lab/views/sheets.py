"""Contact sheets of actors: many people in one condition, one person in many, and one picture with all its ground truth."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import cv2
import numpy as np
from matplotlib import colormaps

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.performance.lights import LIGHTS
from faceswap_lab.actors.render.render import Rendered
from faceswap_lab.actors.render.truth_maps import LABELS
from faceswap_lab.faces.frame import Image
from faceswap_lab.views import images
from faceswap_lab.views.images import AnyImage

_GAP = 3
_PAPER = 255
_LENSES_DEG = (14.0, 20.0, 28.0, 40.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sheet:
    """A grid of pictures with a one-line caption. Displayed in notebooks."""

    image: AnyImage
    caption: str

    def _repr_html_(self) -> str:
        uri, text = images.image_uri(self.image, budget=1_500_000), escape(self.caption)
        picture = f'<img alt="{text}" src="{uri}" style="max-width:100%">'
        return f'<figure style="margin:4px">{picture}<figcaption>{text}</figcaption></figure>'


def sheet(pictures: Sequence[Image], *, columns: int, caption: str = "") -> Sheet:
    """Pictures of one size in rows of `columns`, in reading order. ValueError for none, or for different sizes."""
    if not pictures or len({picture.shape for picture in pictures}) != 1:
        raise ValueError(f"a sheet needs pictures of one size, got {sorted({picture.shape for picture in pictures})}")
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    page = np.full((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, 3), _PAPER, np.uint8)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        y, x = row * (height + _GAP), column * (width + _GAP)
        page[y : y + height, x : x + width] = picture
    return Sheet(image=page, caption=caption)


def cast_sheet(seeds: Iterable[int], *, side: int = 128, columns: int = 10) -> Sheet:
    """Studio portraits of the actors of these seeds: many people in one condition."""
    people = [Actor(seed) for seed in seeds]
    caption = f"{len(people)} synthetic people in one condition"
    return sheet([person.portrait(side) for person in people], columns=min(columns, max(1, len(people))), caption=caption)


def conditions_sheet(actor: Actor, num: int = 40, *, side: int = 128, columns: int = 10, seed: int = 0) -> Sheet:
    """One person in many conditions: random pose and expression, every type of light, four lenses."""
    pictures = []
    for number in range(num):
        light, fov = LIGHTS[number % len(LIGHTS)], _LENSES_DEG[number // len(LIGHTS) % len(_LENSES_DEG)]
        take = actor.perform("range", seconds=1, fps=num, seed=seed, size=side, light=light, fov_deg=fov)
        pictures.append(take[number].image)
    caption = f"{actor.subject} in {num} conditions of pose, expression, light and lens"
    return sheet(pictures, columns=min(columns, num), caption=caption)


def truth_sheet(rendered: Rendered, *, columns: int = 3) -> Sheet:
    """A picture with its labels, normals, depth, albedo and 68 landmarks (green if visible, red if hidden)."""
    maps = rendered.maps
    near = np.isfinite(rendered.depth)
    depth = np.zeros_like(rendered.depth, dtype=np.float32)
    if near.any():
        low, high = rendered.depth[near].min(), rendered.depth[near].max()
        depth[near] = 1 - 0.85 * (rendered.depth[near] - low) / max(high - low, 1e-6)
    normals = np.where(np.abs(maps.normals).sum(axis=2, keepdims=True) > 0, maps.normals * [0.5, -0.5, -0.5] + 0.5, 0)
    pictures = [
        rendered.image,
        _with_points(rendered.image, rendered.landmarks68, rendered.visible68),
        np.ascontiguousarray(colormaps["tab20"](maps.labels % 20, bytes=True)[..., :3]),
        _bytes(normals),
        _bytes(np.repeat(depth[..., None], 3, axis=2)),
        _bytes(np.clip(maps.albedo, 0, 1) ** (1 / 2.2)),
    ]
    shown = ", ".join(name for number, name in enumerate(LABELS) if (maps.labels == number).any())
    return sheet(pictures, columns=columns, caption=f"picture, landmarks, labels ({shown}), normals, depth, albedo")


def _with_points(image: Image, points: np.ndarray, visible: np.ndarray) -> Image:
    """Points drawn with quarter-pixel accuracy."""
    marked = image.copy()
    for (x, y), seen in zip(points, visible, strict=True):
        colour = (90, 230, 120) if seen else (235, 80, 80)
        cv2.circle(marked, (round(x * 4), round(y * 4)), round(image.shape[0] / 160 * 4), colour, -1, cv2.LINE_AA, shift=2)
    return marked


def _bytes(shares: np.ndarray) -> Image:
    return np.ascontiguousarray((shares * 255).round().astype(np.uint8))
