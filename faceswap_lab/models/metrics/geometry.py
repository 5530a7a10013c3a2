"""Where things are: pose, landmarks, expression, gaze.

An estimator's own error is in every figure here. Measure result and truth by the same estimator, and print what it scores on the
truth, whose parameters are known, beside the figure.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from faceswap_lab.models.metrics.arguments import finite, same_shape

Points68 = Float[np.ndarray, "68 2"]


def landmark_error(
    points: Float[np.ndarray, "k 2"],
    truth: Float[np.ndarray, "k 2"],
    interocular: float,
    visible: Bool[np.ndarray, " k"] | None = None,
) -> float:
    """Mean point-to-point distance divided by the inter-ocular distance, 0 is best (NME of the 300-W challenge).

    `interocular` in pixels, from the truth, measured in 3D rather than in the image, or a turned head inflates the figure. Points
    that are not `visible` don't count. Includes the estimator's bias (YuNet: 0.11 on actors), so compare with the same estimator on
    the truth: `landmark_error_ratio`. Cannot see a face that slides along its own outline: leave the jaw's points out, which mean
    no place on the skin. Raises ValueError unless interocular is above zero, and if no point is visible.
    """
    if not interocular > 0:
        raise ValueError(f"interocular must be above zero, got {interocular}")
    if visible is not None:
        if visible.shape != (len(points),):
            raise ValueError(f"visible must have a value for each of {len(points)} points, got {visible.shape}")
        points, truth = points[visible], truth[visible]
    same_shape("points", points, truth)
    return float(np.linalg.norm(points - truth, axis=1).mean() / interocular)


def landmark_error_ratio(error: float, error_of_truth: float) -> float:
    """Landmark error of the result over that of the truth image, both by one estimator against rendered points; 1 equals the truth.

    Says little by itself: the unswapped target scored 1.29 on actors, so a threshold must be tighter than that.
    Raises ValueError for an `error_of_truth` of zero, as when the truth's estimated points are themselves the reference.
    """
    if not error_of_truth > 0:
        raise ValueError("the truth's own error is zero: measure both against rendered points, not against each other")
    return error / error_of_truth


def pose_error(rotation: Float[np.ndarray, "3 3"], truth: Float[np.ndarray, "3 3"]) -> float:
    """Angle of the rotation between two head poses, 0..180 degrees: acos((tr(R^T S) - 1) / 2), the geodesic distance on SO(3).

    Unlike differences of yaw, pitch and roll it does not depend on their order, and has no gimbal lock. Cannot see which axis is
    wrong, nor a head that is moved or scaled. Poses from five or 51 points and a generic head are 7 to 10 degrees off on actors,
    before anybody swapped anything. Raises ValueError for a matrix that is not a rotation.
    """
    for name, matrix in (("rotation", rotation), ("truth", truth)):
        if not np.allclose(finite(name, matrix) @ matrix.T, np.eye(3), atol=1e-4) or np.linalg.det(matrix) < 0:
            raise ValueError(f"{name} must be a rotation matrix: orthogonal, with determinant 1")
    between = rotation.astype(np.float64).T @ truth
    # The sine too: the cosine alone can't tell angles below a hundredth of a degree.
    axis = np.array([between[2, 1] - between[1, 2], between[0, 2] - between[2, 0], between[1, 0] - between[0, 1]])
    return float(np.degrees(np.arctan2(np.linalg.norm(axis), np.trace(between) - 1)))


def expression_error(actions: Float[np.ndarray, "n a"], truth: Float[np.ndarray, "n a"]) -> float:
    """Mean absolute difference of n pictures' facial actions, each 0..1; 0 is best.

    Most actions are near 0 most of the time, so a neutral face for everybody scores well: report `expression_correlation` beside
    it, and what the estimator scores on the truth. Cannot see gaze apart from the eight actions that turn the eyes: `gaze_error`.
    """
    same_shape("actions", actions, truth)
    return float(np.abs(actions - truth).mean())


def expression_correlation(actions: Float[np.ndarray, "n a"], truth: Float[np.ndarray, "n a"]) -> Float[np.ndarray, " a"]:
    """Pearson's correlation over n pictures for each action, -1..1; nan where the truth never moves.

    0 where only the estimate never moves. 1 says that they move together, not that they are equal: a gain or offset is forgiven.
    Mean it with nan left out, and say over how many actions. Raises ValueError for fewer than 3 pictures.
    """
    same_shape("actions", actions, truth)
    if len(actions) < 3:
        raise ValueError(f"a correlation needs at least 3 pictures, got {len(actions)}")
    x, y = (values - values.mean(axis=0) for values in (actions.astype(np.float64), truth.astype(np.float64)))
    lengths = [np.where(np.ptp(values, axis=0) > 0, np.linalg.norm(values, axis=0), 0) for values in (x, y)]
    product = lengths[0] * lengths[1]
    found = np.divide((x * y).sum(axis=0), product, out=np.zeros_like(product), where=product > 0)
    return np.where(lengths[1] > 0, found, np.nan)


def gaze_error(directions: Float[np.ndarray, "n 3"], truth: Float[np.ndarray, "n 3"]) -> float:
    """Mean angle between n pairs of gaze directions of any length, 0..180 degrees.

    Both eyes of a picture are two rows, in the same frame (the head's or the camera's) as the truth's. Measured alone, since losses
    and scores over a whole face hardly notice two irises (Wilson et al. 2023). Cannot see where the eyes converge.
    Raises ValueError for a direction of no length.
    """
    same_shape("directions", directions, truth)
    if not (np.linalg.norm(directions, axis=1) > 0).all() or not (np.linalg.norm(truth, axis=1) > 0).all():
        raise ValueError("a gaze direction must have a length above zero")
    across = np.linalg.norm(np.cross(directions, truth), axis=1)
    return float(np.degrees(np.arctan2(across, (directions * truth).sum(axis=1))).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Apertures:
    """How far mouth and eyes (the subject's) are open: height over width of the inner lips and of the lids; 0 is shut."""

    mouth: float
    right_eye: float
    left_eye: float


def apertures(landmarks: Points68) -> Apertures:
    """Apertures from iBUG's 68 points, each the mean of its vertical gaps over its width.

    A ratio within the face, so size and roll of the head don't matter; yaw narrows the width, and with it the figure grows.
    Raises ValueError where two corners coincide.
    """
    finite("landmarks", landmarks)

    def open_by(corners: tuple[int, int], gaps: tuple[tuple[int, int], ...]) -> float:
        width = float(np.linalg.norm(landmarks[corners[0]] - landmarks[corners[1]]))
        if not width > 0:
            raise ValueError(f"the corners {corners[0]} and {corners[1]} of the landmarks coincide")
        return float(np.mean([np.linalg.norm(landmarks[above] - landmarks[below]) for above, below in gaps]) / width)

    return Apertures(
        mouth=open_by((60, 64), ((61, 67), (62, 66), (63, 65))),
        right_eye=open_by((36, 39), ((37, 41), (38, 40))),
        left_eye=open_by((42, 45), ((43, 47), (44, 46))),
    )


def aperture_error(landmarks: Points68, truth: Points68) -> Apertures:
    """Absolute differences of the apertures, 0 is best: expression where it shows most, from points alone.

    The truth's points must come from the same estimator on the truth's picture. Cannot see smiles, brows or lip shape.
    """
    here, there = apertures(landmarks), apertures(truth)
    return Apertures(
        mouth=abs(here.mouth - there.mouth),
        right_eye=abs(here.right_eye - there.right_eye),
        left_eye=abs(here.left_eye - there.left_eye),
    )
