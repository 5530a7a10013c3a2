"""Which of the 106 points lie where: the eyes, and those that give the five keypoints."""

import numpy as np
from jaxtyping import Float

EYE_POINTS = (tuple(range(33, 43)), tuple(range(87, 97)))
"""Points of the right and the left eye: lids, corners, pupil."""

_RIGHT_CORNERS, _LEFT_CORNERS, _NOSE, _MOUTH = [35, 39], [89, 93], 86, [52, 61]


def keypoints5_of(points106: Float[np.ndarray, "*n 106 2"]) -> Float[np.ndarray, "*n 5 2"]:
    """Right and left eye (midpoints of the corners), tip of the nose, right and left corner of the mouth."""
    eyes = [points106[..., corners, :].mean(-2) for corners in (_RIGHT_CORNERS, _LEFT_CORNERS)]
    return np.stack([*eyes, points106[..., _NOSE, :], *(points106[..., corner, :] for corner in _MOUTH)], -2)
