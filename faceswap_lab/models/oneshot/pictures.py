"""Renders the views of a troupe and their true swaps, and reads them again.

A part of a set is one troupe in one file (`training.samples`): JPEG of quality 95 without chroma subsampling, masks as PNG, points
as numbers. A picture is a function of the actors' seeds and its number alone, so that the same call writes the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8

from faceswap_lab.actors.person.figure import Figure, build_figure, texture_rows
from faceswap_lab.actors.person.recast import build_recast
from faceswap_lab.actors.render.render import Rendered, render
from faceswap_lab.faces.face import largest
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models.oneshot.casting import OneshotSets, takers, view_of, wears_in
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.training.samples import read_stacks, write_stacks
from faceswap_lab.stopping import Stop, never

KIND = "views and true swaps"
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
_STACKS = frozenset({"images", "masks", "identity", "view", "source", "target_tone", "keypoints5", "points468", "seen"})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Views:
    """Pictures of a troupe: its members' own views (`source` -1), each followed by its true swaps.

    `identity` is the seed whose performance it is, `view` its number, `source` the seed of the face in a true swap, of whose skin
    tone `target_tone` tells whether it stayed the target's. `masks` are where a swap replaces the picture, 0..255. `keypoints5` and
    `points468` are the offline engine's, in pixels; where it found no face they are 0 and `seen` is false.
    """

    images: list[Image]
    masks: list[UInt8[np.ndarray, "h w"]]
    identity: Int[np.ndarray, " n"]
    view: Int[np.ndarray, " n"]
    source: Int[np.ndarray, " n"]
    target_tone: Bool[np.ndarray, " n"]
    keypoints5: Float[np.ndarray, "n 5 2"]
    points468: Float[np.ndarray, "n 468 2"]
    seen: Bool[np.ndarray, " n"]

    def __len__(self) -> int:
        return len(self.images)


def make_part(path: Path, seeds: Sequence[int], sets: OneshotSets, engine: Engine, stop: Stop = never) -> None:
    """Renders a troupe's views and true swaps into one file, atomically.

    Raises KeyboardInterrupt, and writes nothing, when `stop()` becomes true.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = []
        for row in _rendered(seeds, sets, engine):
            if stop():
                raise KeyboardInterrupt
            rows.append(row)
    finally:
        torch.set_num_threads(threads)
    stacks = {name: np.array([row[name] for row in rows]) for name in rows[0] if name not in ("images", "masks")}
    for name in ("images", "masks"):
        coded = [row[name] for row in rows]
        stacks |= {name: np.concatenate(coded), f"{name}_lengths": np.array([len(each) for each in coded], np.int64)}
    part = path.with_name(f".{path.name}")
    write_stacks(part, KIND, stacks, {"size": sets.size})
    part.replace(path)


def _rendered(seeds: Sequence[int], sets: OneshotSets, engine: Engine) -> Iterator[dict[str, np.ndarray]]:
    rows = texture_rows(sets.size)
    for member, seed in enumerate(seeds):
        for number in range(sets.num_views):
            wears = wears_in(seed, number)
            yield _row(build_figure(seed, rows, wears=wears), seed, number, sets.size, engine)
            for other, tone in takers(sets, member, number):
                figure = build_recast(seed, seeds[other], tone, rows, wears=wears)
                row = _row(figure, seed, number, sets.size, engine)
                yield row | {"source": np.array(seeds[other], np.int64), "target_tone": np.array(tone == "target")}


def _row(figure: Figure, seed: int, number: int, size: int, engine: Engine) -> dict[str, np.ndarray]:
    rendered = render(figure, view_of(seed, number), size=size)
    keypoints5, points468, seen = _sighting(rendered, engine, f"actor:{seed}/{number}")
    return {
        "images": _coded(".jpg", cv2.cvtColor(rendered.image, cv2.COLOR_RGB2BGR), _QUALITY),
        "masks": _coded(".png", np.round(255 * rendered.face_mask).astype(np.uint8), []),
        "identity": np.array(seed, np.int64),
        "view": np.array(number, np.int64),
        "source": np.array(-1, np.int64),
        "target_tone": np.array(False),
        "keypoints5": keypoints5,
        "points468": points468,
        "seen": np.array(seen),
    }


def _sighting(rendered: Rendered, engine: Engine, origin: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """The engine's points on the picture, as it would find them in use: with its errors."""
    frame = Frame(image=rendered.image, origin=origin, index=0, time_s=0.0)
    faces = largest(engine.detect(frame))
    if not len(faces):
        return np.zeros((5, 2), np.float32), np.zeros((468, 2), np.float32), False
    landmarks = engine.landmarks(frame, faces).landmarks
    assert landmarks is not None
    return np.asarray(faces.keypoints[0], np.float32), np.asarray(landmarks[0], np.float32), True


def _coded(suffix: str, image: np.ndarray, options: list[int]) -> UInt8[np.ndarray, " n"]:
    written, data = cv2.imencode(suffix, image, options)
    assert written, "OpenCV was built with JPEG and PNG"
    return np.asarray(data, np.uint8).reshape(-1)


def read_part(path: Path) -> Views:
    """The pictures of a part. Raises RunError for a file that is not one."""
    stacks, _ = read_stacks(path, KIND, _STACKS | {"images_lengths", "masks_lengths"})
    return Views(
        images=[_decoded(each) for each in _split(stacks, "images")],
        masks=[np.asarray(cv2.imdecode(each, cv2.IMREAD_GRAYSCALE), np.uint8) for each in _split(stacks, "masks")],
        **{name: stacks[name] for name in _STACKS - {"images", "masks"}},
    )


def _decoded(coded: UInt8[np.ndarray, " n"]) -> Image:
    read: Any = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(read, cv2.COLOR_BGR2RGB), np.uint8)


def _split(stacks: dict[str, np.ndarray], name: str) -> list[np.ndarray]:
    return np.split(stacks[name], np.cumsum(stacks[f"{name}_lengths"])[:-1])
