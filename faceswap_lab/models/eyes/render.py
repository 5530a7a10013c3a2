"""Renders the pictures of the eyes with their truth, and reads them again.

A picture is a function of the actor's seed and its number alone. A part of a set is one file (`training.samples`): JPEG of quality
95, label maps as PNG, points and actions as numbers.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import UInt8

from faceswap_lab.actors.head.landmarks68 import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS
from faceswap_lab.actors.head.rig import load_rig
from faceswap_lab.actors.person.figure import build_figure, texture_rows
from faceswap_lab.actors.render.render import Rendered, render
from faceswap_lab.actors.render.scene import Scene, place_camera, pose
from faceswap_lab.actors.splits import Split
from faceswap_lab.faces.face import largest
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models.eyes.casting import view_of, wears_of
from faceswap_lab.models.eyes.labels import from_rendered
from faceswap_lab.models.eyes.pictures import EyesPictures
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.training.samples import Shapes, map_stacks, new_stacks, num_bytes_of, read_stacks, write_stacks
from faceswap_lab.stopping import Stop, never, until

KIND, KIND_DECODED = "pictures of the eyes", "decoded pictures of the eyes"
_NUMBERS = frozenset(
    [
        "identity",
        "points106",
        "visible",
        "keypoints5",
        "detected5",
        "found",
        "actions",
        "gaze",
        "turn",
        "yaw",
        "interocular",
        "held",
    ]
)
_CODED = {"images": (".jpg", [cv2.IMWRITE_JPEG_QUALITY, 95]), "labels": (".png", [cv2.IMWRITE_PNG_COMPRESSION, 9])}


def render_rows(seed: int, numbers: Sequence[int], size: int, engine: Engine) -> Iterator[dict[str, np.ndarray]]:
    """The pictures with these numbers of one actor, `size` pixels square: one row of `EyesPictures` each."""
    figure = build_figure(seed, texture_rows(size), "cpu", wears_of(seed))
    for number in numbers:
        rendered = render(figure, view_of(seed, number), size=size)
        yield {"identity": np.array(seed, np.int64)} | _row(rendered, engine)


def _row(rendered: Rendered, engine: Engine) -> dict[str, np.ndarray]:
    frame = Frame(image=rendered.image, origin="pictures of the eyes", index=0)
    faces = largest(engine.detect(frame))
    points = rendered.points(106)
    return {
        "images": rendered.image,
        "labels": from_rendered(rendered.maps.labels),
        "points106": np.asarray(points.xy, np.float32),
        "visible": points.visible,
        "keypoints5": np.asarray(rendered.keypoints5, np.float32),
        "detected5": np.asarray(faces.keypoints[0] if len(faces) else np.zeros((5, 2)), np.float32),
        "found": np.array(len(faces) > 0),
        "actions": np.array(list(rendered.actions.values()), np.float32),
        "gaze": np.asarray(rendered.gaze, np.float32),
        "turn": np.asarray(rendered.head_to_camera[:3, :3], np.float32),
        "yaw": np.array(rendered.scene.view.yaw, np.float32),
        "interocular": np.array(_interocular(rendered.scene), np.float32),
        "held": np.array(rendered.scene.view.prop is not None),
    }


def _interocular(scene: Scene) -> float:
    """The distance between the eyes in pixels, as if the head faced the camera."""
    rig = load_rig()
    posed = pose(rig, scene.figure, scene.view)
    camera = place_camera(rig, scene.view, posed.turn, scene.size)
    right, left = (posed.points[rig.landmark_vertices[list(eye)]].mean(0) for eye in (RIGHT_EYE_CORNERS, LEFT_EYE_CORNERS))
    return float((right - left).norm()) * camera.focal / float(((right + left) / 2 - camera.position)[1])


# --- parts of a set ---------------------------------------------------------------------------------------------------------


def make_part(path: Path, seeds: Sequence[int], num_views: int, size: int, engine: Engine, stop: Stop = never) -> None:
    """Renders `num_views` pictures of each actor into one file, atomically. The same call writes the same bytes.

    Raises KeyboardInterrupt, and writes nothing, when `stop()` becomes true.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [_coded(row) for seed in seeds for row in until(stop, render_rows(seed, range(num_views), size, engine))]
    finally:
        torch.set_num_threads(threads)
    stacks = {name: np.stack([row[name] for row in rows]) for name in _NUMBERS}
    for name in _CODED:
        coded = [row[name] for row in rows]
        stacks |= {name: np.concatenate(coded), f"{name}_lengths": np.array([len(each) for each in coded], np.int64)}
    part = path.with_name(f".{path.name}")
    write_stacks(part, KIND, stacks, {"size": size})
    part.replace(path)


def _coded(row: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    bgr = cv2.cvtColor(row["images"], cv2.COLOR_RGB2BGR)
    return row | {"images": _encode("images", bgr), "labels": _encode("labels", row["labels"])}


def _encode(name: str, image: Image | UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, " n"]:
    written, data = cv2.imencode(_CODED[name][0], image, _CODED[name][1])
    assert written, "OpenCV was built with JPEG and PNG"
    return np.asarray(data, np.uint8).reshape(-1)


def read_parts(paths: Sequence[Path], split: Split, scratch: Path) -> EyesPictures:
    """The pictures of these files, decoded into a memory-mapped file in the folder `scratch`, where one that is there is reused.

    Raises RunError for a file that is not part of a set.
    """
    lengths = {f"{name}_lengths" for name in _CODED}
    read = [read_stacks(path, KIND, _NUMBERS | _CODED.keys() | lengths) for path in paths]
    parts, size = [stacks for stacks, _ in read], int(read[0][1]["size"])
    joined = {name: np.concatenate([part[name] for part in parts]) for name in _NUMBERS}
    decoded = _decoded(parts, scratch / f"{split}.safetensors", len(joined["identity"]), size)
    return EyesPictures(**decoded, **joined, split=split)


def _decoded(parts: list[dict[str, np.ndarray]], path: Path, number: int, size: int) -> dict[str, np.ndarray]:
    """All pictures and label maps, mapped from a file that gets its name once complete; one that is there is taken."""
    shapes: Shapes = {"images": ("uint8", (number, size, size, 3)), "labels": ("uint8", (number, size, size))}
    if not (path.is_file() and path.stat().st_size == num_bytes_of(KIND_DECODED, shapes)):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        with new_stacks(part, KIND_DECODED, shapes) as fresh:
            for row, (image, labels) in enumerate(_unpacked(parts)):
                fresh["images"][row], fresh["labels"][row] = image, labels
        part.replace(path)
    with path.open("rb") as file:
        return map_stacks(file, KIND_DECODED, shapes.keys())[0]


def _unpacked(parts: list[dict[str, np.ndarray]]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for part in parts:
        images, labels = (np.split(part[name], np.cumsum(part[f"{name}_lengths"])[:-1]) for name in ("images", "labels"))
        for image, label in zip(images, labels, strict=True):
            read: Any = cv2.imdecode(image, cv2.IMREAD_COLOR)
            yield cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.asarray(cv2.imdecode(label, cv2.IMREAD_GRAYSCALE), np.uint8)
