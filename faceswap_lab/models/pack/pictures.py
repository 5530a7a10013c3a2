"""The pictures that the pack of actors learns from: one face each, with everything that is true of it.

A face's box holds the 106 points and two places at the hairline, above the eyes: `boxes_of`. It follows every shift, scale and turn
of the points, so that a cut or turned picture needs no box of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from faceswap_lab.actors.splits import Split, split_of


@dataclass(frozen=True, slots=True, kw_only=True)
class PackSets:
    """Which pictures the pack learns from: `num_train` actors from seed `first_train` and `num_val` from `first_val`.

    There are `num_views` of each, `size` pixels square; `per_part` actors are stored in one file.

    The first seeds lie far from the actors that notebooks and examples use, so that none of those is known to the pack.
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
        """Names of the files that hold the pictures, and the actors in each."""
        found = {}
        for split in ("val", "train"):
            seeds = self.seeds(split)
            for number, start in enumerate(range(0, len(seeds), self.per_part)):
                found[f"pictures/{split}-{number:04d}.safetensors"] = seeds[start : start + self.per_part]
        return found


_HAIRLINE = 0.8
"""How far above the eyes the hairline is taken to be, as a share of the way from the mouth to the eyes."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PackPictures:
    """Pictures of actors of one split, one face each; arrays may be read from disk as they are asked for.

    `images` are RGB; `masks` are 255 where the actor is and 0 where the background is; `identity` is the actor's seed; points,
    `boxes` (x1 y1 x2 y2, as `boxes_of` has them) are pixels of the picture; `poses` are yaw, pitch and roll in radians;
    `occluded` tells glasses, a hat or something held in front.
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
