"""Dense landmarks that obey manual corrections: a landmark network finds its own points, wherever its region is placed."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float64

from faceswap_lab.faces.align import similarity, transform_points
from faceswap_lab.faces.corrections import Corrected
from faceswap_lab.faces.face import Faces

# For each point set the points whose means are the five keypoints.
_EYES_NOSE_MOUTH: Mapping[int, tuple[tuple[int, ...], ...]] = MappingProxyType(
    {
        68: (tuple(range(36, 42)), tuple(range(42, 48)), (30,), (48,), (54,)),
        106: (tuple(range(33, 43)), tuple(range(87, 97)), (86,), (52,), (61,)),
        468: ((33, 133), (362, 263), (1,), (61,), (291,)),
    }
)


def keypoints_of(landmarks: Float[np.ndarray, "k 2"]) -> Float64[np.ndarray, "5 2"]:
    """The five keypoints, in the order of `Faces.keypoints`, of one face's 68, 106 or 468 landmarks. ValueError for other sets."""
    if len(landmarks) not in _EYES_NOSE_MOUTH:
        raise ValueError(f"the five keypoints are known of 68, 106 and 468 landmarks, got {len(landmarks)}")
    return np.stack([landmarks[list(rows)].mean(0) for rows in _EYES_NOSE_MOUTH[len(landmarks)]]).astype(np.float64)


def fitted(faces: Faces, corrected: Corrected) -> Faces:
    """`faces` (rows as in `corrected`) with the landmarks of the corrected face bent so that its moved keypoints lie where they
    were put.

    Keypoints that were not moved keep the network's landmarks, which are more accurate than the detector's keypoints. If all five
    were moved, the landmarks follow their similarity; what remains at each keypoint is spread by inverse squared distance
    (Shepard, "A two-dimensional interpolation function for irregularly-spaced data", ACM 1968).
    """
    moved = corrected.moved
    if faces.landmarks is None or corrected.row is None or not moved.any():
        return faces
    points = faces.landmarks[corrected.row].astype(np.float64)
    five = keypoints_of(points)
    wanted = np.where(moved[:, None], corrected.faces.keypoints[corrected.row], five)
    if moved.all():
        matrix = similarity(five, wanted)
        points, five = transform_points(matrix, points), transform_points(matrix, five)
    squares = ((points[:, None] - five[None]) ** 2).sum(2)
    weights = 1 / (squares + 1e-6)
    bent = faces.landmarks.copy()
    bent[corrected.row] = points + (weights / weights.sum(1, keepdims=True)) @ (wanted - five)
    return replace(faces, landmarks=bent)
