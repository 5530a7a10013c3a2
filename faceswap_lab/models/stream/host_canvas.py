"""A batch of frames in host memory, cut and pasted with OpenCV, within each face's region only."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import cv2
import numpy as np
import torch
from jaxtyping import Float32, UInt8

from faceswap_lab.faces import align, blend
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.faces.patches.patch import Region, Touched
from faceswap_lab.faces.scratch import read_only
from faceswap_lab.models.protocols import Crops, Swapped
from faceswap_lab.models.stream.colour_match import EMPTY, Colour, seen_part

_NAN = "the swapper's pixels contain NaN"


class HostCanvas:
    """Frames in host memory. `cut` extracts aligned faces, `paste` blends them back, `frames` returns the result.

    Frames are copied before the first paste, unless the caller passes ownership with `owned`. Crops are always of the frames as
    given, also after a paste, but not of `owned` ones: those must be cut before.
    """

    def __init__(self, frames: Sequence[Frame], *, owned: bool = False) -> None:
        self._given, self._frames = list(frames), list(frames)
        self._place = {frame.index: place for place, frame in enumerate(self._frames)}
        self._touched = [Touched() for _ in self._frames]
        self._owned = {place for place, frame in enumerate(self._frames) if owned and frame.image.flags.writeable}

    def cut(self, faces: Faces, *, template: str, size: int) -> Crops:
        """One crop per face, in the order of `faces`; `faces.frame_index` holds the `index` of the frames."""
        matrices = np.zeros((len(faces), 2, 3), np.float64)
        pixels = np.zeros((len(faces), size, size, 3), np.uint8)
        for i in range(len(faces)):
            matrices[i] = align.frame_to_crop(faces.keypoints[i], template=template, size=size)
            given = self._given[self._place[int(faces.frame_index[i])]]
            pixels[i] = align.crop(given.image, matrices[i], size)
        landmarks = None
        if faces.landmarks is not None:
            landmarks = np.stack([align.transform_points(m, p) for m, p in zip(matrices, faces.landmarks, strict=True)])
        return Crops(
            # In numpy: torch would wake its thread pool for a millisecond of work, and wait for it on a busy machine.
            pixels=torch.from_numpy(np.divide(pixels, 255, dtype=np.float32)).permute(0, 3, 1, 2),
            frame_to_crop=matrices,
            frame_index=faces.frame_index.astype(np.int64),
            template=template,
            landmarks=landmarks,
        )

    def match(self, crops: Crops, swapped: Swapped, colour: Colour) -> Swapped:
        """The same output, colour-matched to its input crops, which are as returned by `cut`. ValueError for NaN.

        Crops with an empty mask are unchanged, and so are the surroundings of the face if the swapper has no mask.
        """
        if colour == "none":
            return swapped
        pixels, targets = (tensor.detach().float().cpu().numpy().clip(0, 1) for tensor in (swapped.pixels, crops.pixels))
        if np.isnan(pixels.sum()):
            raise ValueError(_NAN)
        out, part = np.ascontiguousarray(pixels), seen_part(crops, swapped)
        for i, mask in enumerate(_masks(swapped, pixels.shape[-1])):
            seen = mask if part is None else mask * part
            if seen.sum(dtype=np.float64) > EMPTY:
                patch, target = (255 * np.ascontiguousarray(each[i].transpose(1, 2, 0)) for each in (pixels, targets))
                matched = blend.match_colour(patch, target, seen, spread=colour == "reinhard")
                matched = matched if part is None else patch + part[..., None] * (matched - patch)
                out[i] = matched.transpose(2, 0, 1) / 255
        return replace(swapped, pixels=torch.from_numpy(out))

    def paste(self, crops: Crops, swapped: Swapped) -> None:
        """Blends each swapped crop into its frame by its mask, feathered at the crop's border. ValueError for NaN."""
        levels = _levels(swapped)
        for i, mask in enumerate(_masks(swapped, levels.shape[1])):
            index = int(crops.frame_index[i])
            image, matrix = self._own_image(index), crops.frame_to_crop[i]
            if (region := blend.region_of(image.shape[:2], mask, matrix)) is not None:
                self._touched[self._place[index]].add(image, *region)
                blend.paste_into(image, levels[i], mask, matrix)

    def _own_image(self, index: int) -> Image:
        place = self._place[index]
        if place not in self._owned:
            frame = self._frames[place]
            self._frames[place] = replace(frame, image=frame.image.copy())
            self._owned.add(place)
        return self._frames[place].image

    def frames(self) -> Iterator[Frame]:
        """The current frames, in order."""
        yield from self._frames

    def regions(self) -> Iterator[tuple[Region, ...]]:
        """For each frame the regions outside which it is as it was given."""
        return (touched.regions() for touched in self._touched)


def _masks(swapped: Swapped, size: int) -> Iterator[Float32[np.ndarray, "s s"]]:
    """The blend mask of each crop: the swapper's, feathered at the border."""
    border = border_window(size)
    if swapped.mask is None:
        yield from (border for _ in range(len(swapped.pixels)))
        return
    for mask in swapped.mask.detach().float().cpu().numpy()[:, 0].clip(0, 1):
        yield border * mask


def _levels(swapped: Swapped) -> UInt8[np.ndarray, "n s s 3"]:
    """A swapper's pixels as levels. They are rounded before the transfer from another device, one byte per value."""
    pixels = swapped.pixels.detach()
    if pixels.device.type != "cpu":
        pixels = pixels.float().clamp(0, 1)
        if torch.isnan(pixels.sum()):
            raise ValueError(_NAN)
        return np.ascontiguousarray(pixels.mul(255).round_().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy())
    values = pixels.float().numpy()
    total = values.sum()
    if np.isnan(total):
        raise ValueError(_NAN)
    if not np.isfinite(total):
        values = values.clip(0, 1)
    levels = np.empty((len(values), *values.shape[2:], 3), np.uint8)
    for picture, planes in zip(levels, values, strict=True):
        # OpenCV rounds half to even and saturates at 0 and 255, like rint and clip, in one pass.
        contiguous = [np.ascontiguousarray(plane) for plane in planes]
        cv2.merge([cv2.multiply(plane, 255.0, dtype=cv2.CV_8U) for plane in contiguous], dst=picture)  # type: ignore[call-overload]
    return levels


@lru_cache(maxsize=8)
def border_window(side: int) -> Float32[np.ndarray, "side side"]:
    """(side, side) float32: 0 on the outermost pixels, 1 from 6 % of the side inwards, so that a crop never ends in an edge."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
    ramp = np.clip(distance / max(1.0, 0.06 * side), 0, 1).astype(np.float32)
    return read_only(np.minimum.outer(ramp, ramp))
