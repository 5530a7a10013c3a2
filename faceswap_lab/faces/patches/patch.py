"""Patches: the pixels that a paste changed, and where. Laid on the picture as it was before, they give the picture after it.

A patch holds changed pixels only, and no blending: laying one is a copy, so what is composed is the pasted picture to the bit.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import UInt8

from faceswap_lab.faces.frame import Image


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Region:
    """A rectangle of a picture from row `top` and column `left` on, with its pixels `before` anything was pasted there."""

    top: int
    left: int
    before: Image

    @property
    def bottom(self) -> int:
        """The row after the region."""
        return self.top + int(self.before.shape[0])

    @property
    def right(self) -> int:
        """The column after the region."""
        return self.left + int(self.before.shape[1])

    def within(self, image: Image) -> UInt8[np.ndarray, "rows columns 3"]:
        """The region of `image`, as a view."""
        return image[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patch:
    """`pixels` at row `top`, column `left` of a picture; only where `changed` is not 0, elsewhere they are 0 too."""

    top: int
    left: int
    changed: UInt8[np.ndarray, "h w"]
    pixels: Image


class Touched:
    """The regions of one picture that something is pasted into: disjoint, with the pixels from before the first paste."""

    def __init__(self) -> None:
        self._regions: list[Region] = []

    def add(self, image: Image, rows: slice, columns: slice) -> None:
        """Call it before the paste: `image` has what was pasted so far. Regions that overlap become one."""
        top, bottom, left, right = rows.start, rows.stop, columns.start, columns.stop
        merged: list[Region] = []
        while found := [each for each in self._regions if _overlaps(each, top, bottom, left, right)]:
            self._regions = [each for each in self._regions if each not in found]
            merged += found
            top, left = min(top, *(each.top for each in found)), min(left, *(each.left for each in found))
            bottom, right = max(bottom, *(each.bottom for each in found)), max(right, *(each.right for each in found))
        before = image[top:bottom, left:right].copy()
        for each in merged:
            before[each.top - top : each.bottom - top, each.left - left : each.right - left] = each.before
        self._regions.append(Region(top=top, left=left, before=before))

    def regions(self) -> tuple[Region, ...]:
        """All of them, from the top left on."""
        return tuple(sorted(self._regions, key=lambda each: (each.top, each.left)))


def _overlaps(region: Region, top: int, bottom: int, left: int, right: int) -> bool:
    return region.top < bottom and top < region.bottom and region.left < right and left < region.right


def patches_of(image: Image, regions: Iterable[Region]) -> Iterator[Patch]:
    """What was changed within the regions of a picture, `image` being the picture after; none for a region without a change."""
    for region in regions:
        after = region.within(image)
        apart = np.asarray(cv2.absdiff(after, region.before), np.uint8)
        changed = apart[..., 0] | apart[..., 1] | apart[..., 2]
        x, y, width, height = cv2.boundingRect(changed)
        if width:
            rows, columns = slice(y, y + height), slice(x, x + width)
            where = cv2.threshold(changed[rows, columns], 0, 255, cv2.THRESH_BINARY)[1].astype(np.uint8, copy=False)
            pixels = cv2.bitwise_and(np.ascontiguousarray(after[rows, columns]), cv2.merge([where, where, where]))
            yield Patch(top=region.top + y, left=region.left + x, changed=where, pixels=pixels.astype(np.uint8, copy=False))


def lay(image: Image, patch: Patch) -> None:
    """Put a patch on the picture, in place. ValueError if it does not lie within it."""
    height, width = patch.changed.shape
    if patch.top < 0 or patch.left < 0 or patch.top + height > image.shape[0] or patch.left + width > image.shape[1]:
        raise ValueError(
            f"a patch of {patch.changed.shape} at {patch.top, patch.left} is not within a picture of {image.shape[:2]}"
        )
    part = image[patch.top : patch.top + height, patch.left : patch.left + width]
    np.copyto(part, patch.pixels, where=patch.changed[..., None] > 0)
