"""Tracks faces between frames by optical flow, where detection on every frame would cost more.

The head is assumed rigid: each face moves by one similarity, fitted to the flow of a grid of points on it. So keypoints stay fixed
to the head, and an opening mouth does not shift the crop.
"""

from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from jaxtyping import Bool, Float32, Float64

from faceswap_lab.faces.align import scale_of, similarity, transform_points
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Image

_GRID = 9
_MARGIN = 0.35
_SIDE = 160
_MIN_POINTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class FollowConfig:
    """Thresholds beyond which a face counts as lost and must be detected again.

    `max_flow_error` bounds a point's forward-backward flow error, as a fraction of the face's side; at least `min_inliers` of the
    grid points must satisfy it. `max_residual` bounds the mean residual of the similarity at those points, as a fraction of the
    side; `max_scale_change` the change of scale between two frames.
    """

    max_flow_error: float = 0.01
    min_inliers: float = 0.5
    max_residual: float = 0.015
    max_scale_change: float = 1.15


def follow(
    before: Image, after: Image, faces: Faces, *, index: int, config: FollowConfig | None = None
) -> tuple[Faces, Bool[np.ndarray, " n"]]:
    """Tracks the `faces` of `before` into `after` (frame number `index`), and marks which results are reliable.

    Boxes, keypoints and scores are carried over; landmarks and embeddings, which belong to one frame, are dropped. A lost face
    (occluded, turned away, at a cut, out of frame) keeps its old position and is marked False.
    """
    config = config or FollowConfig()
    boxes, keypoints = faces.boxes.copy(), faces.keypoints.copy()
    reliable = np.zeros(len(faces), bool)
    for row in range(len(faces)):
        moved = _motion(before, after, faces.boxes[row].astype(np.float64), config)
        if moved is None:
            continue
        points = transform_points(moved, faces.keypoints[row])
        height, width = after.shape[:2]
        if not ((points > -0.5) & (points < (width - 0.5, height - 0.5))).all():
            continue
        x1, y1, x2, y2 = faces.boxes[row]
        centre = transform_points(moved, np.array([[(x1 + x2) / 2, (y1 + y2) / 2]]))[0]
        half = np.array([x2 - x1, y2 - y1]) / 2 * scale_of(moved)
        boxes[row], keypoints[row], reliable[row] = np.concatenate([centre - half, centre + half]), points, True
    return (
        replace(
            faces,
            frame_index=np.full(len(faces), index, np.int64),
            boxes=boxes,
            keypoints=keypoints,
            landmarks=None,
            visible=None,
            point_set=None,
            embeddings=None,
            embedder=None,
        ),
        reliable,
    )


def _motion(before: Image, after: Image, box: Float64[np.ndarray, " 4"], config: FollowConfig) -> Float64[np.ndarray, "2 3"] | None:
    """The similarity that moves the face in `box` from one frame to the other, or None if the flow is inconsistent."""
    side = float((box[2:] - box[:2]).max())
    if not np.isfinite(box).all() or side < 8:
        return None
    region = _region(box, side, before.shape[:2])
    if region is None or before.shape != after.shape:
        return None
    rows, columns = region
    scale = min(1.0, _SIDE / side)
    pictures = [_small_grey(image[rows, columns], scale) for image in (before, after)]
    factor = np.array([pictures[0].shape[1] / (columns.stop - columns.start), pictures[0].shape[0] / (rows.stop - rows.start)])
    start = ((_grid(box) - (columns.start, rows.start) + 0.5) * factor - 0.5).astype(np.float32)
    inside = ((start >= 0) & (start <= np.array(pictures[0].shape[::-1]) - 1)).all(1)
    start = start[inside]
    if len(start) < _MIN_POINTS:
        return None
    end, back, found = _flow(pictures[0], pictures[1], start)
    small_side = side * float(factor.mean())
    good = found & (np.linalg.norm(back - start, axis=1) < config.max_flow_error * small_side)
    if good.sum() < max(_MIN_POINTS, config.min_inliers * len(start)):
        return None
    points_from, points_to = ((points[good] + 0.5) / factor - 0.5 + (columns.start, rows.start) for points in (start, end))
    return _fit(points_from.astype(np.float64), points_to.astype(np.float64), side, config)


def _fit(
    points_from: Float64[np.ndarray, "n 2"], points_to: Float64[np.ndarray, "n 2"], side: float, config: FollowConfig
) -> Float64[np.ndarray, "2 3"] | None:
    """Trimmed least squares: refits without the worst third of the points, such as lips and eyelids."""
    matrix = similarity(points_from, points_to)
    residual = np.linalg.norm(transform_points(matrix, points_from) - points_to, axis=1)
    kept = residual <= np.quantile(residual, 2 / 3)
    matrix = similarity(points_from[kept], points_to[kept])
    residual = np.linalg.norm(transform_points(matrix, points_from[kept]) - points_to[kept], axis=1)
    grown = scale_of(matrix)
    agrees = residual.mean() <= config.max_residual * side and 1 / config.max_scale_change <= grown <= config.max_scale_change
    return matrix if agrees else None


def _flow(
    before: np.ndarray, after: np.ndarray, start: Float32[np.ndarray, "n 2"]
) -> tuple[Float32[np.ndarray, "n 2"], Float32[np.ndarray, "n 2"], Bool[np.ndarray, " n"]]:
    """Forward and backward Lucas-Kanade flow (Kalal et al., "Forward-backward error", ICPR 2010)."""
    options: dict[str, Any] = {
        "winSize": (15, 15),
        "maxLevel": 3,
        "criteria": (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.01),
    }
    end, ahead, _ = cv2.calcOpticalFlowPyrLK(before, after, start, np.empty_like(start), **options)
    back, behind, _ = cv2.calcOpticalFlowPyrLK(after, before, end, np.empty_like(start), **options)
    return end, back, (ahead.ravel() == 1) & (behind.ravel() == 1)


def _grid(box: Float64[np.ndarray, " 4"]) -> Float64[np.ndarray, "n 2"]:
    """Grid points on the central face: near its outline, half of them would be on the background."""
    shares = np.linspace(0.15, 0.85, _GRID)
    x, y = np.meshgrid(box[0] + shares * (box[2] - box[0]), box[1] + shares * (box[3] - box[1]))
    return np.column_stack([x.ravel(), y.ravel()])


def _region(box: Float64[np.ndarray, " 4"], side: float, shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    low, high = np.floor(box[:2] - _MARGIN * side).astype(int), np.ceil(box[2:] + _MARGIN * side).astype(int)
    rows, columns = slice(max(low[1], 0), min(high[1], shape[0])), slice(max(low[0], 0), min(high[0], shape[1]))
    return (rows, columns) if rows.stop - rows.start >= 16 and columns.stop - columns.start >= 16 else None


def _small_grey(image: Image, scale: float) -> np.ndarray:
    height, width = (max(16, round(side * scale)) for side in image.shape[:2])
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA) if scale < 1 else image
    grey: np.ndarray = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
    return grey
