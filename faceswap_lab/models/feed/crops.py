"""Aligned crops with their truth from the samples of shards, decoded once and then mapped from the cache.

A shard of renders in tar is decoded into one file of stacks (`training.samples`), by whichever process asks first; another call,
rank or training on this machine maps the same file. Crops are aligned by the true keypoints, where those of `train` are aligned by
detected ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from faceswap_lab.actors.shards import Sample
from faceswap_lab.errors import MediaError
from faceswap_lab.faces import align
from faceswap_lab.files import canonical, sha256_text
from faceswap_lab.models.feed.shard_source import ShardReader, ShardSource
from faceswap_lab.models.swappers.pair import TEMPLATE
from faceswap_lab.models.training.samples import Shapes, map_stacks, new_stacks, num_bytes_of
from faceswap_lab.storage.cache import StoreCache

KIND = "crops of shards"
VERSION = 1
"""Of how crops are made: another one is decoded anew."""

_MOST_MAPPED = 200  # each takes one of the process's open files

# Right eye, left eye and mouth in iBUG's 68 points.
_FOCUS = (tuple(range(36, 42)), tuple(range(42, 48)), tuple(range(48, 60)))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CropShards:
    """The crops of a data set, `size` pixels square, shard by shard.

    Stacks by name, a row for each sample: `images` (3, s, s) RGB and `masks` (2, s, s), the face, and eyes and mouth; `truths` and
    `truth_masks` of the true swap in the same place; `actor`, and `source`, whose face the truth has, or -1 without truth.
    """

    source: ShardSource
    size: int
    cache: StoreCache
    _mapped: dict[int, dict[str, np.ndarray]] = field(default_factory=dict, init=False, repr=False)

    def __reduce__(self) -> tuple[object, ...]:
        """Without what is mapped: another process maps for itself."""
        return partial(CropShards, source=self.source, size=self.size, cache=self.cache), ()

    def stacks(self, shard: int) -> Mapping[str, np.ndarray]:
        """The stacks of a shard, mapped; decoded now if the cache doesn't have them.

        MediaError for shards of clips or without maps; StorageError as of `ShardSource.open`.
        """
        found = self._mapped.pop(shard, None) or self._open(shard)
        while len(self._mapped) >= _MOST_MAPPED:
            self._mapped.pop(next(iter(self._mapped)), None)
        self._mapped[shard] = found
        return found

    def decode(self, shard: int) -> int:
        """Decode a shard into the cache, for a worker to do ahead of training. The number of its crops."""
        return len(self._open(shard)["actor"])

    def rows(self, actor: int, source: int | None = None) -> np.ndarray:
        """(shard, row) of the crops of an actor; with `source` only those whose truth has that actor's face."""
        found = []
        for shard in range(len(self.source.shards)):
            stacks = self.stacks(shard)
            shown = (stacks["actor"] == actor) & (True if source is None else stacks["source"] == source)
            found += [(shard, int(row)) for row in np.flatnonzero(shown)]
        return np.array(found, np.int64).reshape(-1, 2)

    def _open(self, shard: int) -> dict[str, np.ndarray]:
        listed = self.source.shards[shard]
        shapes = _shapes(listed.count, self.size)
        name = sha256_text(canonical([KIND, VERSION, TEMPLATE, self.size, listed.sha256]))
        file = self.cache.kept(name)
        if file is None:
            with ShardReader(self.source, self.cache, most=1) as reader:
                reader.load(shard)

                def fill(part: Path) -> None:
                    with new_stacks(part, KIND, shapes) as stacks:
                        for row in range(listed.count):
                            for key, value in crop_of(reader.sample(shard, row), self.size).items():
                                stacks[key][row] = value

                file = self.cache.open(name, num_bytes_of(KIND, shapes), fill)
        with file:
            return map_stacks(file, KIND, shapes.keys())[0]


def _shapes(count: int, size: int) -> Shapes:
    pictures = dict.fromkeys(("images", "truths"), ("uint8", (count, 3, size, size)))
    masks = dict.fromkeys(("masks", "truth_masks"), ("uint8", (count, 2, size, size)))
    return pictures | masks | dict.fromkeys(("actor", "source"), ("int64", (count,)))


def crop_of(sample: Sample, size: int) -> dict[str, np.ndarray | int]:
    """One row of the stacks. MediaError for a sample that is no still, or has no maps."""
    missing = [name for name in ("png", "json", "npz") if name not in sample.members]
    if missing:
        raise MediaError(
            expected="stills with maps", got=f"a sample without {', '.join(missing)}", remedy="render with form='stills', maps=True"
        )
    facts = sample.facts
    keypoints = np.array(facts["points"]["5"]["xy"], np.float32)
    matrix = align.frame_to_crop(keypoints, template=TEMPLATE, size=size)
    found: dict[str, np.ndarray | int] = {"actor": int(facts["actor"]), "source": -1, "truths": 0, "truth_masks": 0}
    found["images"], found["masks"] = _cut(sample, facts, matrix, size)
    if "truth.png" in sample.members:
        truth = Sample(key=sample.key, members={name: sample.members[f"truth.{name}"] for name in ("png", "json", "npz")})
        found["truths"], found["truth_masks"] = _cut(truth, truth.facts, matrix, size)
        found["source"] = int(truth.facts["as"])
    return found


def _cut(sample: Sample, facts: dict[str, object], matrix: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    coded = np.frombuffer(sample.members["png"], np.uint8)
    read = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    if read is None:
        raise MediaError(expected=f"a picture in sample {sample.key}", got="none that can be decoded", remedy="render it again")
    image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
    points: dict[str, dict[str, list[list[float]]]] = facts["points"]  # type: ignore[assignment]
    mask = face_masks(sample.arrays["face_mask"], np.array(points["68"]["xy"], np.float64), matrix, size)
    return align.crop(image, matrix, size).transpose(2, 0, 1), np.round(mask * 255).astype(np.uint8)


def face_masks(
    face_mask: UInt8[np.ndarray, "h w"], points68: Float[np.ndarray, "68 2"], matrix: Float[np.ndarray, "2 3"], size: int
) -> Float[np.ndarray, "2 s s"]:
    """The region to paste, and eyes and mouth in it, 0..1, of a frame's face mask and points in frame pixels.

    The region covers everything that the truth changes, so that the mask fades outside it rather than inside.
    """
    levels = face_mask.astype(np.float32) / 255
    cut = align.warp(levels, matrix, (size, size), interpolation=cv2.INTER_LINEAR, border=cv2.BORDER_CONSTANT)
    whole = np.clip(3 * cut, 0, 1).astype(np.float32)
    return np.stack([whole, whole * _features(align.transform_points(matrix, points68), size)])


def _features(points: Float[np.ndarray, "68 2"], size: int) -> Float[np.ndarray, "s s"]:
    """1 on the convex hulls of eyes and mouth, grown a little and feathered."""
    mask = np.zeros((size, size), np.uint8)
    for group in _FOCUS:
        cv2.fillConvexPoly(mask, cv2.convexHull(points[list(group)].round().astype(np.int32)), 255)
    reach = max(1, round(0.03 * size))
    grown = cv2.dilate(mask, np.ones((2 * reach + 1, 2 * reach + 1), np.uint8))
    return cv2.GaussianBlur(grown, (0, 0), reach / 2).astype(np.float32) / 255
