"""A batch of frames where their pixels live. Here: on the host, with OpenCV, inside each face's region only."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from faceswap_lab.faces import align, blend
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.protocols import Crops, Swapped


class HostCanvas:
    """Frames in host memory. `cut` takes aligned faces out, `paste` puts them back, `frames` hands the result on."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = list(frames)
        self._place = {frame.index: place for place, frame in enumerate(self._frames)}
        self._owned: set[int] = set()  # places whose pixels are our own copy: the caller's frames are never changed

    def cut(self, faces: Faces, *, template: str, size: int) -> Crops:
        """One crop a face, in the order of `faces`; `faces.frame_index` holds the frames' own numbers."""
        matrices = np.zeros((len(faces), 2, 3), np.float64)
        pixels = np.zeros((len(faces), size, size, 3), np.uint8)
        for i in range(len(faces)):
            matrices[i] = align.frame_to_crop(faces.keypoints[i], template=template, size=size)
            pixels[i] = align.crop(self._frame_of(int(faces.frame_index[i])).image, matrices[i], size)
        landmarks = None
        if faces.landmarks is not None:
            landmarks = np.stack([align.transform_points(m, p) for m, p in zip(matrices, faces.landmarks, strict=True)])
        return Crops(
            pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255),
            frame_to_crop=matrices,
            frame_index=faces.frame_index.astype(np.int64),
            template=template,
            landmarks=landmarks,
        )

    def paste(self, crops: Crops, swapped: Swapped) -> None:
        """Lay each swapped crop over its frame through its mask, faded out towards the crop's border."""
        pixels = swapped.pixels.detach().float().clamp(0, 1).mul(255).permute(0, 2, 3, 1).cpu().numpy()
        side = pixels.shape[1]
        border = border_window(side)
        masks = None if swapped.mask is None else swapped.mask.detach().float().clamp(0, 1)[:, 0].cpu().numpy()
        for i in range(len(crops)):
            place = self._place[int(crops.frame_index[i])]
            frame = self._frames[place]
            if place not in self._owned:
                frame = replace(frame, image=frame.image.copy())
                self._frames[place] = frame
                self._owned.add(place)
            mask = border if masks is None else border * masks[i]
            blend.paste_into(frame.image, pixels[i], mask.astype(np.float32), crops.frame_to_crop[i])

    def frames(self) -> Iterator[Frame]:
        """The frames as they now are, in order."""
        yield from self._frames

    def _frame_of(self, index: int) -> Frame:
        return self._frames[self._place[index]]


def border_window(side: int) -> np.ndarray:
    """(side, side) float32: 0 on the outermost pixels, 1 from 6 % of the side inwards: a crop never ends in an edge."""
    distance = np.minimum(np.arange(side), np.arange(side)[::-1]).astype(np.float32)
    ramp = np.clip(distance / max(1.0, 0.06 * side), 0, 1)
    window: np.ndarray = np.minimum.outer(ramp, ramp)
    return window
