"""Rotations of heads and crops, in the camera's frame: x right, y down, z forward."""

import numpy as np
from jaxtyping import Float

from faceswap_lab.actors.render.truth_maps import HeadPose

_CAMERA_TO_WORLD = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def in_plane(matrix: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation or reflection of a transform between pictures, as one of directions in the camera's frame."""
    linear = matrix[:, :2].astype(np.float64)
    full = np.eye(3)
    full[:2, :2] = linear / np.sqrt(abs(np.linalg.det(linear)))
    return full


def orthonormal(columns: Float[np.ndarray, "2 3"]) -> Float[np.ndarray, "3 3"]:
    """The rotation whose first two columns these nearly are (Gram-Schmidt; Zhou et al., CVPR 2019)."""
    first = columns[0].astype(np.float64) / max(float(np.linalg.norm(columns[0])), 1e-9)
    second = columns[1] - first * (first @ columns[1])
    second = second / max(float(np.linalg.norm(second)), 1e-9)
    return np.stack([first, second, np.cross(first, second)], 1)


def head_pose(turn: Float[np.ndarray, "3 3"]) -> HeadPose:
    """Yaw, pitch and roll of a rotation from the head's axes at rest to the camera's frame: the inverse of `scene.rotation`."""
    world = _CAMERA_TO_WORLD @ turn
    return HeadPose(
        yaw=float(np.arctan2(-world[0, 1], world[1, 1])),
        pitch=float(np.arcsin(np.clip(world[2, 1], -1, 1))),
        roll=float(np.arctan2(-world[2, 0], world[2, 2])),
    )
