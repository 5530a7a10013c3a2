"""The measures of the benchmark: what each is called, and the figures of one pair. What each can't see is said beside it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from faceswap_lab.actors.render.render import Rendered
from faceswap_lab.faces.face import largest
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import metrics
from faceswap_lab.models.protocols import Engine

Figures = dict[str, float]
"""Name of a measure to its figure; nan where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """A measure's unit, direction, and what it can't see. `mean` "energy" averages decibels by the squared errors behind them."""

    unit: str
    higher_is_better: bool
    blind: str
    mean: Literal["plain", "energy"] = "plain"
    digits: int = 3
    has_share: bool = True
    """Whether the unchanged target is a start from which a share of the way means something."""


MEASURES: Mapping[str, Measure] = {
    "psnr_face": Measure(
        unit="dB",
        higher_is_better=True,
        digits=1,
        blind="Distance to the truth in the face. Can't see structure: a shift by a pixel, other light and a wrong face may cost "
        "the same.",
    ),
    "psnr_calibrated": Measure(
        unit="dB",
        higher_is_better=True,
        digits=1,
        blind="The same after the best gain and offset for each colour. Can't see a wrong skin tone.",
    ),
    "ssim_face": Measure(
        unit="",
        higher_is_better=True,
        blind="Likeness of structure. Can't see slow changes of light; favours smooth results.",
    ),
    "flip": Measure(
        unit="",
        higher_is_better=False,
        blind="Difference that an eye sees when both pictures alternate. Can't see meaning: a wrong gaze is cheap.",
    ),
    "sharpness": Measure(
        unit="of truth's",
        higher_is_better=True,
        has_share=False,
        blind="Gradient energy in eyes, brows and mouth. Can't see whether the edges are right.",
    ),
    "background_psnr": Measure(
        unit="dB",
        higher_is_better=True,
        mean="energy",
        digits=1,
        has_share=False,
        blind="Distance to the target outside the face. Can't see where it was changed; infinite if nothing was.",
    ),
    "spill": Measure(
        unit="of the face",
        higher_is_better=False,
        has_share=False,
        blind="Pixels changed outside the face. Can't see how strong a change is.",
    ),
    "seam": Measure(
        unit="levels/px",
        higher_is_better=False,
        digits=2,
        has_share=False,
        blind="Contrast along the face's contour. Can't see a wide, soft halo.",
    ),
    "landmark_error": Measure(
        unit="of the eyes' distance",
        higher_is_better=False,
        blind="Five points, found by the engine, against the rendered ones. Includes the engine's own error.",
    ),
    "face_found": Measure(
        unit="", higher_is_better=True, blind="Share of pictures in which the engine finds a face. Can't see whose.", digits=2
    ),
    "id_similarity": Measure(
        unit="", higher_is_better=True, blind="Cosine to the source's gallery. Sees what its recogniser sees, and nothing else."
    ),
    "id_leak": Measure(
        unit="",
        higher_is_better=False,
        blind="Cosine to the target's gallery. Can't tell the face from hair and outline, which stay.",
    ),
    "id_margin": Measure(
        unit="", higher_is_better=True, blind="The one less the other. Can't tell nobody's face from one between the two."
    ),
    "id_rank1": Measure(
        unit="",
        higher_is_better=True,
        digits=2,
        blind="Share of pictures whose nearest gallery of all people of the track is the source's. Depends on how many these are.",
    ),
    "pose_error": Measure(
        unit="degrees", higher_is_better=False, blind="Includes the estimator's error: compare with the ceiling.", digits=2
    ),
    "expression_error": Measure(
        unit="", higher_is_better=False, blind="Mean difference of 52 actions. A neutral face for everybody scores well."
    ),
    "gaze_error": Measure(
        unit="degrees", higher_is_better=False, blind="Includes the estimator's error. Can't see where the eyes converge.", digits=2
    ),
    "warping_error": Measure(
        unit="levels",
        higher_is_better=False,
        blind="Flicker beyond the truth's own. Can't see slow drift, or a face that is frozen while the head hardly moves.",
    ),
    "flow_difference": Measure(
        unit="px",
        higher_is_better=False,
        blind="Difference of motion. Can't see flicker of brightness; guesses on skin without texture.",
    ),
    "id_jitter": Measure(
        unit="",
        higher_is_better=False,
        blind="Spread over time of the cosine to the source. Can't tell flicker from slow change.",
        digits=4,
    ),
    "kid": Measure(
        unit="",
        higher_is_better=False,
        digits=4,
        blind="Distance of the set of results from the set of truths, in the judge's features. Can't see which picture is wrong.",
    ),
}
"""By the part of a score's name before `@`; after it is the judge's name."""


def measure_of(score: str) -> Measure:
    """The measure of a score, such as `id_leak@hse-faceres`."""
    return MEASURES[score.partition("@")[0]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scene:
    """One frame of a pair: the target and the truth as rendered, where the truth differs, and that with its holes filled."""

    target: Image
    truth: Rendered
    region: metrics.Mask
    whole: metrics.Mask
    features: metrics.Mask
    apart: float
    origin: str

    @classmethod
    def of(cls, target: Image, truth: Rendered, origin: str) -> "Scene":
        """The scene of a target and its truth."""
        region = metrics.changed_region(target, truth.image)
        eyes = float(np.linalg.norm(truth.keypoints5[0] - truth.keypoints5[1]))
        return cls(
            target=target,
            truth=truth,
            region=region,
            whole=without_holes(region),
            features=metrics.features_mask(truth.landmarks68, target.shape[:2]) & region,
            apart=eyes / max(0.2, math.cos(truth.head_pose.yaw)),  # in 3D, or a turned head would inflate errors
            origin=origin,
        )


def without_holes(region: metrics.Mask) -> metrics.Mask:
    """A seam runs around the face, not around the teeth, which may be the same in both."""
    outlines, _ = cv2.findContours(region.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(np.zeros(region.shape, np.uint8), outlines, -1, 1, cv2.FILLED), bool)


def of_picture(image: Image, scene: Scene, engine: Engine) -> Figures:
    """What is measured of one picture without a judge. Empty where the truth changes nothing, so that nothing can be right."""
    if not scene.region.any():
        return {}
    truth, region = scene.truth.image, scene.region
    figures = {
        "psnr_face": metrics.psnr(image, truth, region),
        "psnr_calibrated": metrics.psnr_calibrated(image, truth, region),
        "ssim_face": metrics.ssim(image, truth, region),
        "flip": metrics.flip(image, truth, region),
        "background_psnr": metrics.background_psnr(image, scene.target, scene.whole) if not scene.whole.all() else math.nan,
        "spill": metrics.spill(image, scene.target, scene.whole),
        "seam": _seam(image, scene.whole),
    }
    if scene.features.any():
        figures["sharpness"] = metrics.sharpness(image, truth, scene.features)
    face = largest(engine.detect(Frame(image=image, origin=scene.origin, index=0, time_s=0.0)))
    figures["face_found"] = float(len(face))
    if len(face):
        figures["landmark_error"] = metrics.landmark_error(face.keypoints[0], scene.truth.keypoints5, scene.apart)
    return figures


def _seam(image: Image, whole: metrics.Mask) -> float:
    """nan where the face fills the picture, so that its contour has no rings inside it."""
    try:
        return metrics.seam(image, whole)
    except ValueError:
        return math.nan


def of_video(images: Sequence[Image], scenes: Sequence[Scene], flows: Sequence[np.ndarray]) -> Figures:
    """What only moving pictures show. `flows` are the truth's."""
    if any(not scene.region.any() for scene in scenes):
        return {}
    truths, masks = [scene.truth.image for scene in scenes], [scene.region for scene in scenes]
    return {
        "warping_error": metrics.warping_error(images, truths, masks, flows),
        "flow_difference": metrics.flow_difference(images, truths, masks),
    }


def mean_of(rows: Sequence[Figures]) -> Figures:
    """The mean of each measure over frames, nan left out; decibels of what was left alone by their squared errors."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: averaged(name, [row[name] for row in rows if name in row and not math.isnan(row[name])]) for name in names}


def averaged(score: str, values: Sequence[float]) -> float:
    """The mean of one score's values; nan if there are none."""
    if not values:
        return math.nan
    if measure_of(score).mean == "plain":
        return float(np.mean(values))
    energy = float(np.mean([10 ** (-value / 10) for value in values]))
    return -10 * math.log10(energy) if energy > 0 else math.inf
