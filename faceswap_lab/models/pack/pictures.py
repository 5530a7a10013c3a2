"""The training pictures of the pack of actors: one face each, with ground truth.

A face's box encloses the 106 points and two points at the hairline, above the eyes: `boxes_of`. It is derived from the points, so
a cropped or rotated picture needs no stored box.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from faceswap_lab.actors.splits import Split, split_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSets:
    """The pictures for training the pack: `num_train` actors from seed `first_train` and `num_val` from `first_val`.

    `num_views` of each, `size` pixels square; `per_part` actors are stored per file.

    The default seeds are far from the actors in notebooks and examples, so that the pack has seen none of those.
    """

    first_train: int = 100_000
    num_train: int = 540
    first_val: int = 1_100_000
    num_val: int = 60
    num_views: int = 8
    size: int = 224
    per_part: int = 20

    def __post_init__(self) -> None:
        for name in ("num_train", "num_val", "num_views", "per_part"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for split in ("train", "val"):
            first, last = self.seeds(split)[0], self.seeds(split)[-1]
            if split_of(first) != split or split_of(last) != split:
                raise ValueError(f"actors {first}..{last} are not all of the split {split}")

    def seeds(self, split: str) -> range:
        """The actors of "train" or "val"."""
        first, number = (self.first_train, self.num_train) if split == "train" else (self.first_val, self.num_val)
        return range(first, first + number)

    def parts(self) -> dict[str, range]:
        """Names of the files with the pictures, and the actors in each."""
        found = {}
        for split in ("val", "train"):
            seeds = self.seeds(split)
            for number, start in enumerate(range(0, len(seeds), self.per_part)):
                found[f"pictures/{split}-{number:04d}.safetensors"] = seeds[start : start + self.per_part]
        return found


_HAIRLINE = 0.8
"""Assumed height of the hairline above the eyes, as a fraction of the distance from the mouth to the eyes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackPictures:
    """Pictures of actors of one split, one face each; arrays may be memory-mapped.

    `images` are RGB; `masks` are 255 for the actor and 0 for the background; `identity` is the actor's seed; points and `boxes`
    (x1 y1 x2 y2, by `boxes_of`) are in picture pixels; `poses` are yaw, pitch and roll in radians; `occluded` marks glasses, a hat
    or something held in front.
    """

    images: UInt8[np.ndarray, "n h w 3"]
    masks: UInt8[np.ndarray, "n h w"]
    identity: Int[np.ndarray, " n"]
    points106: Float[np.ndarray, "n 106 2"]
    keypoints5: Float[np.ndarray, "n 5 2"]
    boxes: Float[np.ndarray, "n 4"]
    poses: Float[np.ndarray, "n 3"]
    occluded: Bool[np.ndarray, " n"]
    split: Split

    def __len__(self) -> int:
        return len(self.identity)

    def __getitem__(self, rows: slice | Sequence[int] | Int[np.ndarray, " m"]) -> "PackPictures":
        """The pictures of these rows."""
        return PackPictures(
            images=self.images[rows],
            masks=self.masks[rows],
            identity=self.identity[rows],
            points106=self.points106[rows],
            keypoints5=self.keypoints5[rows],
            boxes=self.boxes[rows],
            poses=self.poses[rows],
            occluded=self.occluded[rows],
            split=self.split,
        )


def boxes_of(points106: Float[np.ndarray, "n 106 2"], keypoints5: Float[np.ndarray, "n 5 2"]) -> Float[np.ndarray, "n 4"]:
    """x1 y1 x2 y2 of each face: the bounds of its 106 points and of two at the hairline above the eyes."""
    eyes, mouth = keypoints5[:, :2], keypoints5[:, 3:]
    up = eyes.mean(1, keepdims=True) - mouth.mean(1, keepdims=True)
    points = np.concatenate([points106, eyes + _HAIRLINE * up], axis=1)
    return np.concatenate([points.min(1), points.max(1)], axis=1).astype(np.float32)
