"""Swap quality metrics: against the truth where there is one, and always alongside floor and ceiling.

The floor is the score of the unmodified target, the ceiling that of the truth itself. A figure without both says little: actors
look alike to a recogniser, so a perfect swap has a cosine of 0.81 to its source and still 0.50 to its target.
Images are RGB of the same size, 8 bits a channel; arithmetic is in floating point. Wrong arguments (an empty mask, sizes that
differ, values that are not finite, one frame where time is measured) are a ValueError.
"""

from faceswap_lab.models.metrics.arguments import Mask
from faceswap_lab.models.metrics.distribution import Distance, kid
from faceswap_lab.models.metrics.geometry import (
    Apertures,
    aperture_error,
    apertures,
    expression_correlation,
    expression_error,
    gaze_error,
    landmark_error,
    landmark_error_ratio,
    pose_error,
)
from faceswap_lab.models.metrics.identity import (
    identity_margin,
    identity_similarity,
    leak,
    leak_normalised,
    nearer_source,
    rank1,
)
from faceswap_lab.models.metrics.pictures import background_psnr, flip, psnr, psnr_calibrated, ssim
from faceswap_lab.models.metrics.score import Score, normalised
from faceswap_lab.models.metrics.seam import changed_region, seam, spill
from faceswap_lab.models.metrics.sharpness import features_mask, gradient_energy, sharpness
from faceswap_lab.models.metrics.time import flow_difference, identity_jitter, landmark_jitter, motion, warping_error

__all__ = [
    "Apertures",
    "Distance",
    "Mask",
    "Score",
    "aperture_error",
    "apertures",
    "background_psnr",
    "changed_region",
    "expression_correlation",
    "expression_error",
    "features_mask",
    "flip",
    "flow_difference",
    "gaze_error",
    "gradient_energy",
    "identity_jitter",
    "identity_margin",
    "identity_similarity",
    "kid",
    "landmark_error",
    "landmark_error_ratio",
    "landmark_jitter",
    "leak",
    "leak_normalised",
    "motion",
    "nearer_source",
    "normalised",
    "pose_error",
    "psnr",
    "psnr_calibrated",
    "rank1",
    "seam",
    "sharpness",
    "spill",
    "ssim",
    "warping_error",
]
