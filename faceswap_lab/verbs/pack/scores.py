"""Scores of a pack on held-out people, compared with the offline engine, on plain and degraded pictures.

This is evaluation only: it renders actors of the split "test" and trains nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Float

from faceswap_lab.actors.render import truth_maps
from faceswap_lab.actors.render.capture import jpeg
from faceswap_lab.actors.splits import split_of
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import data_files
from faceswap_lab.models.engines.insight import check_installed
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.metrics import landmark_error
from faceswap_lab.models.pack.detector_scenes import empty_canvas
from faceswap_lab.models.pack.embedder import identity_score
from faceswap_lab.models.pack.pictures import boxes_of
from faceswap_lab.models.pack.render import LabelledView, render_views
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.registry import open_engine
from faceswap_lab.models.weights import catalogue
from faceswap_lab.progress import Progress
from faceswap_lab.verbs.recipes import PackScores

_SIZE, _STEEP = 224, 0.52
_FRAME = (480, 640)


def _noise(image: Image) -> Image:
    grain = np.random.default_rng(int(image.sum()) % 2**31).normal(0, 22, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8)


def _compressed(image: Image) -> Image:
    return jpeg(image, 12)


def _dark(image: Image) -> Image:
    return np.asarray(np.round(255 * 0.35 * (image / 255.0) ** 1.3), np.uint8)


DEGRADED: dict[str, Callable[[Image], Image]] = {
    "plain": lambda image: image,
    "noise": _noise,
    "blur": lambda image: np.asarray(cv2.GaussianBlur(image, (0, 0), 3.0), np.uint8),
    "jpeg": _compressed,
    "dark": _dark,
}
"""Noise of 22 levels; blur of 3 pixels; JPEG quality 12; a third of the light. Pictures have 224 pixels, faces about 120."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Sample:
    """A frame with its ground truth in pixel coordinates."""

    seed: int
    frame: Frame
    box: Float[np.ndarray, " 4"]
    points5: Float[np.ndarray, "5 2"]
    dense: dict[int, np.ndarray]
    interocular: float
    steep: bool
    occluded: bool


def score_pack(folder: Path, config: PackScores) -> dict[str, Any]:
    """Scores of the pack in a folder, and of the offline engine on the same pictures.

    The names are explained in `docs/actors_pack.md`.
    """
    views = list(_views(config))
    engines: dict[str, Engine] = {"pack": open_engine(f"insight:{folder}", torch.device("cpu")), "offline": OfflineEngine()}
    found: dict[str, Any] = {"pictures": len(views), "actors": config.num_actors, "first": config.first}
    for kind in (*DEGRADED, "small"):
        shown = views if kind == "plain" else [each for k, each in enumerate(views) if k % config.num_views < config.num_degraded]
        samples = [_sample(seed, labelled, kind) for seed, labelled in shown]
        found[kind] = {name: _scored(engine, samples) for name, engine in engines.items()}
    empty = [_frame(empty_canvas(number, _FRAME[0])) for number in range(config.num_empty)]
    found["empty"] = {
        name: {"false_alarms": sum(len(engine.detect(frame)) for frame in empty), "pictures": len(empty)}
        for name, engine in engines.items()
    }
    return found


def check_judges() -> None:
    """Raise WeightsError if scoring is impossible: without insightface, or without the offline engine's weights."""
    check_installed()
    for name in data_files.of_offline():
        catalogue.path(name)


def _views(config: PackScores) -> Iterator[tuple[int, LabelledView]]:
    seeds = range(config.first, config.first + config.num_actors)
    if {split_of(seed) for seed in (seeds[0], seeds[-1])} != {"test"}:
        raise ValueError(f"a pack must be scored on test people, got actors {seeds[0]} to {seeds[-1]}")
    line = Progress("test pictures", len(seeds) * config.num_views, unit="pictures")
    for seed in seeds:
        # The last view of each actor may have glasses, a hat or a scarf.
        for number, labelled in enumerate(render_views(seed, [*range(config.num_views - 1), 7], _SIZE)):
            yield seed, labelled
            line.update((seed - seeds[0]) * config.num_views + number + 1)
    line.close()


def _sample(seed: int, labelled: LabelledView, kind: str) -> _Sample:
    matrix = np.array([[1.0, 0, 0], [0, 1, 0]])
    if kind == "small":
        scale, side = 0.25, _SIZE // 4
        image = np.full((*_FRAME, 3), labelled.image[:8].mean((0, 1)).astype(np.uint8), np.uint8)
        x, y = (int(value) for value in np.random.default_rng([96, seed]).integers(20, 400, 2))
        image[y : y + side, x : x + side] = cv2.resize(labelled.image, (side, side), interpolation=cv2.INTER_AREA)
        # Pixel centres are at integers: downscaling shifts them by a fraction of a pixel.
        shift = (scale - 1) / 2
        matrix = np.array([[scale, 0, x + shift], [0, scale, y + shift]])
    else:
        image, scale = DEGRADED[kind](labelled.image), 1.0

    def moved(points: np.ndarray) -> np.ndarray:
        return np.asarray(points @ matrix[:, :2].T + matrix[:, 2], np.float32)

    points106, points5 = moved(labelled.points106), moved(labelled.keypoints5)
    dense = {106: points106}
    if kind == "plain":
        dense[468] = moved(truth_maps.points_of(labelled.scene, 468).xy)
    return _Sample(
        seed=seed,
        frame=_frame(image),
        box=boxes_of(points106[None], points5[None])[0],
        points5=points5,
        dense=dense,
        interocular=labelled.interocular * scale,
        steep=bool(abs(labelled.pose[0]) > _STEEP),
        occluded=labelled.occluded,
    )


def _frame(image: Image) -> Frame:
    return Frame(image=np.ascontiguousarray(image), origin="pack scores", index=0)


def _scored(engine: Engine, samples: list[_Sample]) -> dict[str, Any]:
    """Detection, points and identities of one engine on one kind of picture."""
    hits, errors5, errors_dense, vectors, people = [], [], [], [], []
    false_alarms = 0
    for sample in samples:
        faces = engine.detect(sample.frame)
        right = [row for row in range(len(faces)) if _is(faces.boxes[row], sample.box)]
        hits.append(bool(right))
        false_alarms += len(faces) - min(1, len(right))
        if not right:
            continue
        face = engine.embed(sample.frame, engine.landmarks(sample.frame, faces[right[0]]))
        errors5.append(landmark_error(face.keypoints[0], sample.points5, sample.interocular))
        errors_dense.extend(_dense_error(face, sample))
        assert face.embeddings is not None
        vectors.append(face.embeddings[0])
        people.append(sample.seed)
    found = np.array(hits)
    steep, occluded = np.array([sample.steep for sample in samples]), np.array([sample.occluded for sample in samples])
    score = identity_score(np.stack(vectors), np.array(people)) if len(set(people)) > 1 and len(people) > len(set(people)) else None
    return {
        "pictures": len(samples),
        "found": _share(found),
        "found_uncovered": _share(found[~occluded]),
        "found_uncovered_beyond_30_degrees": _share(found[~occluded & steep]),
        "found_covered": _share(found[occluded]),
        "false_alarms": false_alarms,
        "nme_5": _mean(errors5),
        "nme_468" if isinstance(engine, OfflineEngine) else "nme_106": _mean(errors_dense),
        "auc": None if score is None else round(score.auc, 4),
        "d_prime": None if score is None else round(score.d_prime, 3),
    }


def _is(box: Float[np.ndarray, " 4"], truth: Float[np.ndarray, " 4"]) -> bool:
    """Whether a box matches this face, under any framing convention: its centre is inside, its size within a factor of two."""
    middle = (box[:2] + box[2:]) / 2
    size, wanted = (float(np.sqrt(np.prod(each[2:] - each[:2]))) for each in (box, truth))
    return bool((middle > truth[:2]).all() and (middle < truth[2:]).all() and wanted / 2 < size < wanted * 2)


def _dense_error(face: Faces, sample: _Sample) -> list[float]:
    """The landmark error, if the truth of this point set is known."""
    if face.landmarks is None or face.point_set not in sample.dense:
        return []
    return [landmark_error(face.landmarks[0], sample.dense[int(face.point_set)], sample.interocular)]


def _share(found: np.ndarray) -> float | None:
    return round(float(found.mean()), 4) if len(found) else None


def _mean(values: list[float]) -> float | None:
    return round(float(np.mean(values)), 4) if values else None
