"""One pair of the benchmark: what every method makes of it, and what the pictures score, beside floor and ceiling."""

import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from faceswap_lab.actors.tracks import TrackPair, pairs_of, plan_of
from faceswap_lab.errors import FaceError, LabError
from faceswap_lab.faces.frame import Image
from faceswap_lab.models import metrics
from faceswap_lab.models.protocols import Engine
from faceswap_lab.verbs.bench.estimator import Estimator, true_parameters
from faceswap_lab.verbs.bench.judging import Galleries, Judge, vectors_of
from faceswap_lab.verbs.bench.measures import Figures, Scene, mean_of, of_picture, of_video
from faceswap_lab.verbs.bench.methods import Method, Outcome
from faceswap_lab.verbs.recipes import BenchRecipe

FLOOR, CEILING, SOURCE = "target", "truth", "source"
"""Roles in a pair's pictures beside the methods' names."""

INFINITE = "infinite"

_KEPT = 3
"""Frames of a video whose pictures are kept: the first, the middle one and the last."""

_ESTIMATED = ("pose_error", "expression_error", "gaze_error")


def pairs_in(recipe: BenchRecipe) -> list[TrackPair]:
    """The pairs that a recipe scores, track by track."""
    plan = plan_of(recipe.plan)
    pairs = [pair for track in recipe.tracks for pair in pairs_of(track, plan)]
    return [pair for pair in pairs if not recipe.num_pairs or pair.number < recipe.num_pairs]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bench:
    """What every pair is scored with. `galleries` are those of the pair's track."""

    engine: Engine
    judges: Sequence[Judge]
    galleries: Galleries
    estimator: Estimator | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """A pair's figures (`target` the floor, `truth` the ceiling, and each method), the judges' vectors, the pictures, failures with
    their reasons, and seconds by method."""

    figures: Mapping[str, Figures]
    vectors: Mapping[str, np.ndarray]
    pictures: Mapping[str, Sequence[Image]]
    failed: Mapping[str, str]
    missed: Mapping[str, int]
    seconds: Mapping[str, float]

    def record(self) -> str:
        """The figures, failures and missed faces as JSON."""
        told = {"figures": self.figures, "failed": self.failed, "missed": self.missed}
        return json.dumps(plain(told), indent=1)

    def arrays(self) -> bytes:
        """Vectors and pictures as a compressed archive of arrays (npz)."""
        named = {f"vectors/{name}": value for name, value in self.vectors.items()}
        named |= {f"pictures/{name}": np.stack(images) for name, images in self.pictures.items()}
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **named)  # type: ignore[arg-type]  # numpy's stub takes names for its flag
        return buffer.getvalue()


@dataclass(frozen=True, eq=False)
class Stage:
    """A pair as rendered: scenes of its frames, and what is computed of the truth alone."""

    pair: TrackPair
    bench: Bench
    scenes: Sequence[Scene] = field(init=False)

    def __post_init__(self) -> None:
        take, truth = self.pair.take(), self.pair.truth()
        scenes = [
            Scene.of(take.rendered(index).image, truth.rendered(index), f"{self.pair.name}/{index}") for index in self.pair.frames
        ]
        object.__setattr__(self, "scenes", scenes)

    @cached_property
    def flows(self) -> list[np.ndarray]:
        """The truth's motion from each frame to the next."""
        return [metrics.motion(*each) for each in pairwise([scene.truth.image for scene in self.scenes])]

    def figures(self, images: Sequence[Image]) -> tuple[Figures, dict[str, np.ndarray]]:
        """The figures of these pictures, one for each frame, and the judges' vectors (nan where a judge sees no face)."""
        rows = [of_picture(image, scene, self.bench.engine) for image, scene in zip(images, self.scenes, strict=True)]
        vectors = {}
        figures = mean_of(rows)
        points = [scene.truth.keypoints5 for scene in self.scenes]
        for judge in self.bench.judges:
            found = vectors_of(images, points, judge)
            figures |= self._identity(judge.card.name, [each for each in found if each is not None])
            length = max((len(each) for each in found if each is not None), default=1)
            vectors[judge.card.name] = np.stack([np.full(length, np.nan, np.float32) if each is None else each for each in found])
        if self.bench.estimator is not None:
            figures |= self._estimated(images, self.bench.estimator)
        if len(images) > 1:
            figures |= of_video(images, self.scenes, self.flows)
        return figures, vectors

    def _identity(self, judge: str, vectors: Sequence[np.ndarray]) -> Figures:
        galleries = self.bench.galleries[judge]
        source, target = galleries[self.pair.source], galleries[self.pair.target]
        named = {str(seed): gallery for seed, gallery in galleries.items()}
        rows = [
            {
                f"id_similarity@{judge}": metrics.identity_similarity(vector, source),
                f"id_leak@{judge}": metrics.leak(vector, target),
                f"id_margin@{judge}": metrics.identity_margin(vector, source, target),
                f"id_rank1@{judge}": float(metrics.rank1(vector, named, str(self.pair.source))),
            }
            for vector in vectors
        ]
        jitter = {f"id_jitter@{judge}": metrics.identity_jitter(np.stack(vectors), source)} if len(vectors) > 1 else {}
        return mean_of(rows) | jitter

    def _estimated(self, images: Sequence[Image], estimator: Estimator) -> Figures:
        rows = []
        for image, scene in zip(images, self.scenes, strict=True):
            truth = true_parameters(scene.truth)
            try:
                seen = estimator.estimate(image, scene.truth.keypoints5)
            except FaceError:
                rows.append(dict.fromkeys(_ESTIMATED, math.nan))
                continue
            rows.append(
                {
                    "pose_error": metrics.pose_error(seen.rotation, truth.rotation),
                    "expression_error": metrics.expression_error(seen.actions[None], truth.actions[None]),
                    "gaze_error": metrics.gaze_error(seen.gaze, truth.gaze),
                }
            )
        return mean_of(rows)


def scored(pair: TrackPair, methods: Sequence[Method], bench: Bench) -> Scored:
    """Everything about one pair. A method that raises, or gives pictures of another number or size, is counted as failed and
    scored as the unchanged target, which is what its user is left with."""
    stage = Stage(pair, bench)
    targets = [scene.target for scene in stage.scenes]
    pictures: dict[str, list[Image]] = {FLOOR: targets, CEILING: [scene.truth.image for scene in stage.scenes]}
    failed, missed, seconds = {}, {}, {}
    for method in methods:
        outcome, reason = attempted(method, pair, targets)
        if reason:
            failed[method.name] = reason
        pictures[f"by {method.name}"] = list(outcome.images)
        missed[method.name] = outcome.missed
        seconds[method.name] = outcome.seconds
    figures, vectors = {}, dict[str, np.ndarray]()
    for role, images in pictures.items():
        figures[role], found = stage.figures(images)
        vectors |= {f"{role}/{judge}": values for judge, values in found.items()}
    kept = sorted(set(np.linspace(0, len(pair.frames) - 1, min(_KEPT, len(pair.frames))).round().astype(int).tolist()))
    shown = {role: [images[index] for index in kept] for role, images in pictures.items()}
    shown[SOURCE] = [take.rendered(index).image for take, index in pair.shown()]
    return Scored(figures=figures, vectors=vectors, pictures=shown, failed=failed, missed=missed, seconds=seconds)


def attempted(method: Method, pair: TrackPair, targets: Sequence[Image]) -> tuple[Outcome, str]:
    """What a method makes of a pair; or the targets themselves, with the reason why it made nothing."""
    try:
        outcome = method.swap(pair)
        _check(outcome, targets)
    except (OSError, MemoryError):  # the machine's fault, not the method's: the run stops, and resumes
        raise
    except Exception as error:  # whatever a method does wrong, the others are scored; the reason is kept, shown and counted
        return Outcome(images=targets), _told(error)
    return outcome, ""


def _check(outcome: Outcome, targets: Sequence[Image]) -> None:
    if len(outcome.images) != len(targets):
        raise ValueError(f"{len(outcome.images)} pictures for {len(targets)} frames")
    for image, target in zip(outcome.images, targets, strict=True):
        if image.shape != target.shape or image.dtype != np.uint8:
            raise ValueError(f"a picture of {image.shape} {image.dtype}, where {target.shape} uint8 is right")


def _told(error: Exception) -> str:
    said = f"expected {error.expected}, got {error.got}" if isinstance(error, LabError) else " ".join(str(error).split())
    return f"{type(error).__name__}: {said[:500]}"


def plain(value: Any) -> Any:
    """A JSON value, rounded to six digits, with nan as null and infinity as a word."""
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else INFINITE
    return round(value, 6) if isinstance(value, float) else value


def number(value: Any) -> float:
    """The number that `plain` wrote."""
    return math.nan if value is None else math.inf if value == INFINITE else float(value)
