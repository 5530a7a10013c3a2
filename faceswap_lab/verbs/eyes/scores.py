"""Scores of the eyes on test actors, with crops as in use: aligned on what the offline engine's detector finds.

Evaluation only: it reads pictures of the split "test" and trains nothing. The names of the figures are explained in `docs/eyes.md`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines.offline import OfflineEngine, refined_keypoints
from faceswap_lab.models.eyes.casting import is_profile
from faceswap_lab.models.eyes.expression_training import eyes_shown
from faceswap_lab.models.eyes.labels import LABELS
from faceswap_lab.models.eyes.layers import SIZE
from faceswap_lab.models.eyes.look import Eyes, Seen, action_names
from faceswap_lab.models.eyes.pictures import EyesPictures
from faceswap_lab.models.eyes.rotations import head_pose
from faceswap_lab.progress import Progress

_CONTOUR = 33
_LEAST = 0.05
"""From this value on an action counts as occurring in a picture."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Looked:
    """What was seen in the pictures where the detector found the actor, whose rows in the set are `rows`."""

    pictures: EyesPictures
    rows: list[int]
    seen: list[Seen]
    mesh: list[Float[np.ndarray, "5 2"]]
    overlap: Float[np.ndarray, "l 2"]


def score_eyes(folder: Path, pictures: EyesPictures, engine: OfflineEngine) -> dict[str, Any]:
    """Scores of the eyes in a folder on pictures of test actors. ValueError for pictures of any other split."""
    if pictures.split != "test":
        raise ValueError(f"the eyes must be scored on test actors, got the split {pictures.split!r}")
    looked = _look(pictures, _Checked(folder), engine)
    if not looked.rows:
        return {"pictures": len(pictures), "found": 0}
    yaw = np.abs(pictures.yaw[looked.rows])
    profile = np.array([is_profile(float(value)) for value in yaw])
    return {
        "pictures": len(pictures),
        "actors": len(set(pictures.identity.tolist())),
        "first": int(pictures.identity.min()),
        "found": len(looked.rows),
        "found_in_profile": int(profile.sum()),
        "points": _points(looked, profile),
        "iou": _iou(looked.overlap),
        "actions": _actions(looked),
        "gaze": _gaze(looked, profile),
        "pose_deg": _pose(looked),
    }


class _Checked(Eyes):
    """The eyes of a folder whose card is yet to be written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.__dict__["_verified"] = folder


def _look(pictures: EyesPictures, eyes: Eyes, engine: OfflineEngine) -> _Looked:
    line = Progress("scores", len(pictures), unit="pictures")
    rows, seen, mesh, overlap = [], [], [], np.zeros((len(LABELS), 2))
    for row in range(len(pictures)):
        off = np.abs(pictures.detected5[row] - pictures.keypoints5[row]).max()
        if pictures.found[row] and off < 1.5 * pictures.interocular[row]:
            image = np.asarray(pictures.images[row])
            found = eyes.look(image, pictures.detected5[row])
            rows.append(row)
            seen.append(found)
            mesh.append(_by_mesh(image, pictures.detected5[row], pictures.points106[row], engine))
            overlap += _overlap(found, pictures, row)
        line.update(row + 1)
    line.close()
    return _Looked(pictures=pictures, rows=rows, seen=seen, mesh=mesh, overlap=overlap)


def _by_mesh(image: np.ndarray, detected5: np.ndarray, points106: np.ndarray, engine: OfflineEngine) -> Float[np.ndarray, "5 2"]:
    """The five keypoints that MediaPipe's mesh gives, for comparison; it begins with the true box."""
    box = np.concatenate([points106.min(0), points106.max(0)])[None].astype(np.float32)
    index, score = np.zeros(1, np.int64), np.ones(1, np.float32)
    faces = Faces(frame_index=index, boxes=box, keypoints=detected5[None], scores=score)
    marked = engine.landmarks(Frame(image=image, origin="scores of the eyes", index=0), faces)
    return np.asarray(refined_keypoints(marked).keypoints[0])


# --- points and labels ------------------------------------------------------------------------------------------------------


def _points(looked: _Looked, profile: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Errors as shares of the distance between the eyes, measured in space: of the median face, of all and of parts."""
    pictures, rows = looked.pictures, looked.rows
    scale = pictures.interocular[rows]
    found = np.stack([seen.outline.points106 for seen in looked.seen])
    errors = np.linalg.norm(found - pictures.points106[rows], axis=2) / scale[:, None]
    visible = pictures.visible[rows]
    by_eye = np.stack([seen.outline.visible for seen in looked.seen]) > 0.5
    free = ~pictures.held[rows]
    faces = errors.mean(1)
    five = {"detector": pictures.detected5[rows], "mesh": np.stack(looked.mesh)}
    five["eyes"] = np.stack([seen.outline.keypoints5 for seen in looked.seen])
    off = {name: np.linalg.norm(points - pictures.keypoints5[rows], axis=2).mean(1) / scale for name, points in five.items()}
    return {
        "median": _share(faces, np.median),
        "median_frontal": _share(faces[~profile], np.median),
        "median_profile": _share(faces[profile], np.median),
        "median_nothing_held": _share(faces[free], np.median),
        "mean": _share(faces, np.mean),
        "inner_median": _share(errors[:, _CONTOUR:].mean(1), np.median),
        "visible_mean": _share(errors[visible], np.mean),
        "hidden_mean": _share(errors[~visible], np.mean),
        "visibility_right": _share((by_eye == visible).reshape(-1), np.mean),
        "visible_found": _share(by_eye[visible], np.mean),
        "hidden_found": _share(~by_eye[~visible], np.mean),
        "five_points_median": {name: _share(values, np.median) for name, values in off.items()},
    }


def _overlap(seen: Seen, pictures: EyesPictures, row: int) -> Float[np.ndarray, "l 2"]:
    """Pixels of each label in both and in either of found and true map, within the crop."""
    size = pictures.labels.shape[1:3]
    place = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), 2).astype(np.float64)
    matrix = seen.outline.frame_to_crop
    at = place @ matrix[:, :2].T + matrix[:, 2]
    inside = ((at > -0.5) & (at < SIZE - 0.5)).all(2)
    found, true = seen.outline.labels_in(size), np.asarray(pictures.labels[row])
    both = [((found == k) & (true == k) & inside).sum() for k in range(len(LABELS))]
    either = [(((found == k) | (true == k)) & inside).sum() for k in range(len(LABELS))]
    return np.stack([both, either], 1).astype(np.float64)


def _iou(overlap: Float[np.ndarray, "l 2"]) -> dict[str, float | None]:
    """Intersection over union of each label, over all pictures together; None for one that occurs nowhere."""
    return {name: round(float(both / either), 4) if either else None for name, (both, either) in zip(LABELS, overlap, strict=True)}


# --- actions, gaze, pose ----------------------------------------------------------------------------------------------------


def _actions(looked: _Looked) -> dict[str, Any]:
    """Pearson's correlation of each action over all pictures; None for one that never varies."""
    true = looked.pictures.actions[looked.rows].astype(np.float64)
    found = np.array([list(seen.actions.values()) for seen in looked.seen])
    each = {name: correlation(found[:, k], true[:, k]) for k, name in enumerate(action_names())}
    known = [value for value in each.values() if value is not None]
    return {
        "occurring": int(((true > _LEAST).sum(0) > 0).sum()),
        "fewest_pictures": int((true > _LEAST).sum(0).min()),
        "mean_correlation": _share(np.array(known), np.mean),
        "mean_error": _share(np.abs(found - true), np.mean),
        "correlation": each,
    }


def _gaze(looked: _Looked, profile: Bool[np.ndarray, " n"]) -> dict[str, Any]:
    """Angles in degrees between found and true gaze, and correlations across and down; of eyes that show it, and of all."""
    true = looked.pictures.gaze[looked.rows].astype(np.float64)
    found = np.stack([seen.gaze for seen in looked.seen]).astype(np.float64)
    angle = np.degrees(np.arccos(np.clip((true * found).sum(2), -1, 1)))
    shown = np.array([eyes_shown(looked.pictures, row) for row in looked.rows]) == 1
    frontal = shown & ~profile[:, None]
    across, down = (correlation(found[shown][:, k], true[shown][:, k]) for k in (0, 1))
    return {
        "eyes": int(shown.sum()),
        "mean_deg": _share(angle[shown], np.mean),
        "median_deg": _share(angle[shown], np.median),
        "mean_deg_frontal": _share(angle[frontal], np.mean),
        "mean_deg_all": _share(angle, np.mean),
        "correlation_across": across,
        "correlation_down": down,
    }


def _pose(looked: _Looked) -> dict[str, Any]:
    """Mean absolute errors of yaw, pitch and roll in degrees, and their correlations."""
    true = [head_pose(looked.pictures.turn[row].astype(np.float64)) for row in looked.rows]
    found: dict[str, Any] = {}
    for name in ("yaw", "pitch", "roll"):
        one, other = (np.array([getattr(pose, name) for pose in poses]) for poses in ([seen.pose for seen in looked.seen], true))
        off = np.degrees(np.abs((one - other + np.pi) % (2 * np.pi) - np.pi))
        found[name] = {"mean_error": _share(off, np.mean), "correlation": correlation(one, other)}
    return found


def correlation(one: Float[np.ndarray, " n"], other: Float[np.ndarray, " n"]) -> float | None:
    """Pearson's correlation; None where it is undefined, since one of the two does not vary."""
    if len(one) < 2 or one.std() < 1e-9 or other.std() < 1e-9:
        return None
    return round(float(np.corrcoef(one, other)[0, 1]), 4)


def _share(values: np.ndarray | Sequence[float], how: Callable[[np.ndarray], Any]) -> float | None:
    found = np.asarray(values, np.float64)
    return round(float(how(found)), 4) if found.size else None
