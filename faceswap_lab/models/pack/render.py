"""Renders pictures of actors for the pack: all poses up to sixty degrees, expressions, lights, some with glasses, hats or a hand.

A picture is a function of the actor's seed and its number alone. In the first five of eight views actors wear nothing; in the
others, two actors in five wear something. A part of a set is one file (`training.samples`): JPEG of quality 95, 1-bit masks,
points as numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float, UInt8

from faceswap_lab.actors.head.landmark_sets import landmark_table
from faceswap_lab.actors.head.landmarks68 import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS, keypoints5
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.actors.performance.props import PropKind
from faceswap_lab.actors.performance.view import View
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.person.wear import Wears
from faceswap_lab.actors.render.render import render
from faceswap_lab.actors.render.scene import Scene, place_camera, pose
from faceswap_lab.actors.splits import Split
from faceswap_lab.faces.frame import Image
from faceswap_lab.models.pack.pictures import PackPictures, boxes_of
from faceswap_lab.models.training.samples import Shapes, map_stacks, new_stacks, num_bytes_of, read_stacks, write_stacks
from faceswap_lab.stopping import Stop, never, until

NUM_BARE = 5
"""Number of leading views in which each actor wears nothing."""

_MAX_YAW, _MAX_PITCH = 1.05, 0.45
_WEARS: tuple[Wears, ...] = ("glasses", "sunglasses", "hat", "cap", "headscarf")
_WEAR_ODDS = (0.45, 0.12, 0.13, 0.17, 0.13)
_HELD: tuple[PropKind, ...] = ("none", "hand", "microphone", "cup")
_HELD_ODDS = (0.86, 0.08, 0.03, 0.03)
_JPEG = 95

KIND = "pictures of the pack"
KIND_DECODED = "decoded pictures of the pack"
_STACKS = frozenset({"jpeg", "lengths", "masks", "identity", "points106", "keypoints5", "poses", "occluded"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledView:
    """One picture: RGB, mask of the actor (255), points in pixels, yaw, pitch and roll, and whether the face is occluded.

    `interocular` is the distance between the eyes in pixels, measured in 3D, so that rotation does not change it; `scene` is what
    was rendered.
    """

    image: Image
    mask: UInt8[np.ndarray, "h w"]
    points106: Float[np.ndarray, "106 2"]
    keypoints5: Float[np.ndarray, "5 2"]
    pose: Float[np.ndarray, " 3"]
    occluded: bool
    interocular: float
    scene: Scene


def render_views(seed: int, numbers: Sequence[int], size: int) -> Iterator[LabelledView]:
    """The pictures with these numbers of one actor, `size` pixels square."""
    for number in numbers:
        yield _labelled_view(seed, number, size)


def _labelled_view(seed: int, number: int, size: int) -> LabelledView:
    wears, view = _wears(seed, number), view_of(seed, number)
    figure = build_figure(seed, texture_rows(size), "cpu", wears)
    rendered = render(figure, view, size=size)
    # Hair may occlude a face too, but only worn or held objects count here.
    occluded = wears not in ("none", "hat", "cap") or view.prop is not None
    points106, interocular = _measured(rendered.scene)
    return LabelledView(
        image=rendered.image,
        mask=np.asarray(np.isfinite(rendered.depth) * 255, np.uint8),
        points106=points106,
        keypoints5=np.asarray(keypoints5(rendered.landmarks68), np.float32),
        interocular=interocular,
        scene=rendered.scene,
        pose=np.array([view.yaw, view.pitch, view.roll], np.float32),
        occluded=occluded,
    )


def view_of(seed: int, number: int) -> View:
    """Pose, expression, light and camera of a picture: two in five with uniform yaw, the others mostly facing the camera."""
    draw = np.random.default_rng([91, seed, number])
    held = _HELD[int(draw.choice(len(_HELD), p=_HELD_ODDS))]
    view = Performance(kind="range", seed=seed, prop=held).view(number, 0.0)
    yaw = float(draw.uniform(-_MAX_YAW, _MAX_YAW)) if draw.random() < 0.4 else view.yaw
    pitch = float(np.clip(draw.normal(0, 0.2), -_MAX_PITCH, _MAX_PITCH))
    return replace(view, yaw=float(np.clip(yaw, -_MAX_YAW, _MAX_YAW)), pitch=pitch, scale=view.scale * float(draw.uniform(1, 1.15)))


def _wears(seed: int, number: int) -> Wears:
    draw = np.random.default_rng([92, seed])
    dressed = draw.random() < 0.4
    chosen = _WEARS[int(draw.choice(len(_WEARS), p=_WEAR_ODDS))]
    return chosen if dressed and number % 8 >= NUM_BARE else "none"


def _measured(scene: Scene) -> tuple[Float[np.ndarray, "106 2"], float]:
    """The 106 points and the distance between the eyes; no visibility, which would require rendering again."""
    rig = load_rig()
    posed = pose(rig, scene.figure, scene.view)
    corners, weights = landmark_table(rig, 106)
    camera = place_camera(rig, scene.view, posed.turn, scene.size)
    xy, _ = camera.project((posed.points[corners] * weights[..., None]).sum(1))
    right, left = (posed.points[rig.landmark_vertices[list(eye)]].mean(0) for eye in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    depth = float(((right + left) / 2 - camera.position)[1])
    return np.asarray(xy.numpy() - 0.5, np.float32), float((right - left).norm()) * camera.focal / depth


# --- parts of a set ---------------------------------------------------------------------------------------------------------


def make_part(path: Path, seeds: Sequence[int], num_views: int, size: int, stop: Stop = never) -> None:
    """Renders `num_views` pictures of each actor into one file, atomically. The same call writes the same bytes.

    Raises KeyboardInterrupt, and writes nothing, when `stop()` becomes true.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        views = [_small(labelled) for seed in seeds for labelled in until(stop, render_views(seed, range(num_views), size))]
    finally:
        torch.set_num_threads(threads)
    coded = [labelled.pop("jpeg") for labelled in views]
    stacks = {name: np.stack([labelled[name] for labelled in views]) for name in views[0]}
    stacks |= {"jpeg": np.concatenate(coded), "lengths": np.array([len(each) for each in coded])}
    part = path.with_name(f".{path.name}")
    write_stacks(part, KIND, stacks | {"identity": np.repeat(np.array(seeds, np.int64), num_views)}, {"size": size})
    part.replace(path)


def _small(labelled: LabelledView) -> dict[str, np.ndarray]:
    """The parts of a picture to keep: its figure's textures would fill the memory."""
    return {
        "jpeg": _encode(labelled.image),
        "masks": np.packbits(labelled.mask.reshape(-1) > 0),
        "points106": labelled.points106,
        "keypoints5": labelled.keypoints5,
        "poses": labelled.pose,
        "occluded": np.array(labelled.occluded),
    }


def _encode(image: Image) -> UInt8[np.ndarray, " n"]:
    written, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _JPEG])
    assert written, "OpenCV was built with JPEG"
    return np.asarray(data, np.uint8).reshape(-1)


def read_parts(paths: Sequence[Path], split: Split, scratch: Path) -> PackPictures:
    """The pictures of these files, decoded into a memory-mapped file in the folder `scratch`.

    An existing file in `scratch` is reused. Raises RunError for a file that is not part of a set.
    """
    read = [read_stacks(path, KIND, _STACKS) for path in paths]
    parts, size = [stacks for stacks, _ in read], int(read[0][1]["size"])
    number = sum(len(part["identity"]) for part in parts)
    images, masks = _decoded(parts, scratch / f"{split}.safetensors", number, size)
    joined = {name: np.concatenate([part[name] for part in parts]) for name in _STACKS - {"jpeg", "lengths", "masks"}}
    return PackPictures(
        images=images,
        masks=masks,
        identity=joined["identity"],
        points106=joined["points106"],
        keypoints5=joined["keypoints5"],
        boxes=boxes_of(joined["points106"], joined["keypoints5"]),
        poses=joined["poses"],
        occluded=joined["occluded"],
        split=split,
    )


def _decoded(parts: list[dict[str, np.ndarray]], path: Path, number: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """All pictures and masks, mapped from a file that gets its name once complete; one that is there is taken."""
    shapes: Shapes = {"images": ("uint8", (number, size, size, 3)), "masks": ("uint8", (number, size, size))}
    if not (path.is_file() and path.stat().st_size == num_bytes_of(KIND_DECODED, shapes)):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with new_stacks(part, KIND_DECODED, shapes) as fresh:
            for row, (image, mask) in enumerate(_unpacked(parts, size)):
                fresh["images"][row], fresh["masks"][row] = image, mask
        part.replace(path)
    with path.open("rb") as file:
        stacks, _ = map_stacks(file, KIND_DECODED, shapes.keys())
    return stacks["images"], stacks["masks"]


def _unpacked(parts: list[dict[str, np.ndarray]], size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for part in parts:
        ends = np.cumsum(part["lengths"])
        for k, end in enumerate(ends):
            coded = part["jpeg"][end - part["lengths"][k] : end]
            read: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR)
            mask = np.unpackbits(part["masks"][k])[: size * size].reshape(size, size) * 255
            yield cv2.cvtColor(read, cv2.COLOR_BGR2RGB), mask
