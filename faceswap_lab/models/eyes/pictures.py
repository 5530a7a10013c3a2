"""The pictures that the eyes learn from: one face each, with its ground truth and what the detector saw."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from faceswap_lab.actors.splits import Split, check_trainable


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EyesPictures:
    """Pictures of actors of one split; `images` and `labels` may be memory-mapped.

    `images` are RGB, `labels` indices into `labels.LABELS`, `identity` the actors' seeds. Points are in picture pixels; `visible`
    marks those of the 106 that nothing hides. `detected5` are the offline engine's keypoints, meaningless where `found` is false.
    `actions` (0..1) are in the rig's order, `gaze` of right and left eye in the camera's frame (x right, y down, z forward);
    `turn` takes the head's axes at rest (x to the subject's left, y backwards, z up) to that frame. `yaw` is in radians;
    `interocular` is the distance between the eyes in pixels, measured in space; `held` marks a prop before the face.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    labels: UInt8[np.ndarray, "n h w"]
    identity: Int[np.ndarray, " n"]
    points106: Float[np.ndarray, "n 106 2"]
    visible: Bool[np.ndarray, "n 106"]
    keypoints5: Float[np.ndarray, "n 5 2"]
    detected5: Float[np.ndarray, "n 5 2"]
    found: Bool[np.ndarray, " n"]
    actions: Float[np.ndarray, "n 52"]
    gaze: Float[np.ndarray, "n 2 3"]
    turn: Float[np.ndarray, "n 3 3"]
    yaw: Float[np.ndarray, " n"]
    interocular: Float[np.ndarray, " n"]
    held: Bool[np.ndarray, " n"]
    split: Split

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, rows: slice | Sequence[int] | Int[np.ndarray, " m"]) -> "EyesPictures":
        """The pictures of these rows."""
        chosen = {each.name: getattr(self, each.name)[rows] for each in fields(self) if each.name != "split"}
        return replace(self, **chosen)


def require_trainable(pictures: EyesPictures) -> None:
    """Raises SplitError if the pictures include a person of the test split."""
    for seed in set(pictures.identity.tolist()):
        check_trainable(seed)
