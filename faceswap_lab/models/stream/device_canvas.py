"""A batch of frames on a GPU: crops are cut and pasted there, for all faces at once; only the results are copied to the host.

The arithmetic is that of `align.warp` and `blend.paste_into`, in torch: the same samples, filters and rounding, so that both back
ends agree within a level except on noise (OpenCV quantises sample positions). It runs on any device, including the CPU.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor
from torch.nn import functional

from faceswap_lab.actors.gfx.transfer import Download, send
from faceswap_lab.faces import align
from faceswap_lab.faces.blend import SHRINKS
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.faces.patches.patch import Region, Touched
from faceswap_lab.models.protocols import Crops, Swapped
from faceswap_lab.models.stream import colour_match as colours
from faceswap_lab.models.stream.colour_match import Colour
from faceswap_lab.models.stream.host_canvas import border_window

# Margin around a region for the support of a cubic filter.
_MARGIN = 3
_PIXELS_AT_ONCE = 1 << 22
"""About 200 MB on the device: coordinates, a patch and its mask take some 40 bytes a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Rows and columns of a frame."""

    top: int
    left: int
    height: int
    width: int


class DeviceCanvas:
    """Frames of one size on `device`. Methods as in `HostCanvas`; the caller's frames are never changed.

    With `cut_after_paste` the frames are kept a second time, so that crops are of the frames as given also after a paste.
    Only `frames` waits for the device, once for all frames, so NaN in a swapper's pixels is detected only there (ValueError).
    """

    def __init__(self, frames: Sequence[Frame], device: torch.device, *, cut_after_paste: bool = False) -> None:
        self._given = list(frames)
        self._place = {frame.index: place for place, frame in enumerate(self._given)}
        self._device = device
        self._pixels = self._sent(np.stack([frame.image for frame in self._given]))
        self._unpasted = self._pixels.clone() if cut_after_paste else self._pixels
        self._changed: dict[int, list[Box]] = {}
        self._download: Download | None = None
        self._is_bad = torch.zeros((), dtype=torch.bool, device=device)

    def cut(self, faces: Faces, *, template: str, size: int) -> Crops:
        """One crop per face, in the order of `faces`, on the device; matrices, indices and landmarks stay on the host."""
        matrices = np.zeros((len(faces), 2, 3), np.float64)
        for row in range(len(faces)):
            matrices[row] = align.frame_to_crop(faces.keypoints[row], template=template, size=size)
        pixels = torch.zeros(len(faces), 3, size, size, device=self._device)
        samples = np.array([max(1, round(1 / align.scale_of(matrix))) for matrix in matrices], np.int64)
        boxes = [self._box(align.invert(matrix), size) for matrix in matrices]
        for number in np.unique(samples).tolist():
            for rows in groups_by_size(boxes, np.flatnonzero(samples == number).tolist(), margin=2 * _MARGIN):
                places = [self._place[int(faces.frame_index[row])] for row in rows]
                cut = self._crops(places, [boxes[row] for row in rows], matrices[rows], size, number)
                pixels[self._sent(np.array(rows, np.int64))] = cut
        landmarks = None
        if faces.landmarks is not None:
            landmarks = np.stack([align.transform_points(m, p) for m, p in zip(matrices, faces.landmarks, strict=True)])
        return Crops(
            pixels=pixels,
            frame_to_crop=matrices,
            frame_index=faces.frame_index.astype(np.int64),
            template=template,
            landmarks=landmarks,
        )

    def match(self, crops: Crops, swapped: Swapped, colour: Colour) -> Swapped:
        """The same output, colour-matched to its input crops; NaN is preserved."""
        if colour == "none" or not len(crops):
            return swapped
        masks, part = self._masks(swapped), colours.seen_part(crops, swapped)
        pixels, targets = (tensor.detach().float().clamp(0, 1) for tensor in (swapped.pixels, crops.pixels))
        if part is None:
            return replace(swapped, pixels=colours.match(pixels, targets, masks, colour))
        alpha = self._sent(part)
        matched = colours.match(pixels, targets, masks * alpha, colour)
        return replace(swapped, pixels=pixels + alpha * (matched - pixels))

    def paste(self, crops: Crops, swapped: Swapped) -> None:
        """Blends each swapped crop into its frame by its mask, feathered at the crop's border."""
        pixels = swapped.pixels.detach().float().clamp(0, 1)
        self._is_bad |= torch.isnan(pixels.sum())
        levels = pixels.mul(255).round()
        size, masks = levels.shape[-1], self._masks(swapped)
        back = [align.invert(matrix) for matrix in crops.frame_to_crop]
        boxes = [self._box(matrix, size) for matrix in back]
        laid: dict[int, tuple[Box, Tensor, Tensor]] = {}
        samples = np.array([_samples(matrix) for matrix in back])
        for number in np.unique(samples).tolist():
            rows = [row for row in np.flatnonzero(samples == number).tolist() if self._reaches(back[row], size)]
            for alike in groups_by_size(boxes, rows, times=max(number, 1)):
                parts = self._overlays(levels, masks, back, boxes, alike, number)
                laid.update(zip(alike, parts, strict=True))
        for row, item in sorted(laid.items()):
            self._composite(self._place[int(crops.frame_index[row])], *item)

    def begin_download(self) -> None:
        """Begins to copy the changed frames to the host, all in one copy; the device goes on, and `frames` waits for it."""
        if self._download is None:
            self._download = Download(self._is_bad, *(self._pixels[place] for place in sorted(self._changed)))

    def frames(self) -> Iterator[Frame]:
        """The current frames, in order."""
        self.begin_download()
        assert self._download is not None
        is_bad, *images = self._download.arrays()
        if is_bad:
            raise ValueError("the swapper's pixels contain NaN")
        changed = dict(zip(sorted(self._changed), images, strict=True))
        for place, frame in enumerate(self._given):
            yield replace(frame, image=changed[place].copy()) if place in changed else frame

    def regions(self) -> Iterator[tuple[Region, ...]]:
        """For each frame the regions outside which it is as it was given."""
        for place, frame in enumerate(self._given):
            touched = Touched()
            for box in self._changed.get(place, ()):
                touched.add(frame.image, slice(box.top, box.top + box.height), slice(box.left, box.left + box.width))
            yield touched.regions()

    # --- cutting --------------------------------------------------------------------------------------------------------------

    def _crops(
        self, places: Sequence[int], boxes: Sequence[Box], matrices: Float64[np.ndarray, "n 2 3"], size: int, samples: int
    ) -> Float[Tensor, "n 3 s s"]:
        """Crops whose pixels are each the mean of `samples` x `samples` samples of the frame."""
        height, width = (max(getattr(box, name) for box in boxes) + 2 * _MARGIN for name in ("height", "width"))
        regions, to_region = [], np.zeros((len(boxes), 2, 3), np.float64)
        for row, (place, box, matrix) in enumerate(zip(places, boxes, matrices, strict=True)):
            part = self._unpasted[place, box.top : box.top + box.height, box.left : box.left + box.width].permute(2, 0, 1).float()
            after = (width - box.width - _MARGIN, height - box.height - _MARGIN)
            # The frame's edge is replicated; padding at an edge inside the frame is not sampled.
            regions.append(functional.pad(part[None], (_MARGIN, after[0], _MARGIN, after[1]), mode="replicate"))
            fine = matrix * samples
            fine[:, 2] += (samples - 1) / 2
            to_region[row] = align.invert(fine)
            to_region[row, :, 2] += _MARGIN - np.array([box.left, box.top])
        limits = np.array([[box.width, box.height] for box in boxes], np.float32) + _MARGIN - 1
        points = self._points(to_region, size * samples, size * samples)
        points = torch.minimum(points, self._sent(limits)[:, None, None] + 1).clamp(min=_MARGIN - 1)
        mode = "bicubic" if samples == 1 else "bilinear"
        read = _read(torch.cat(regions), points, mode, "border")
        return _levels(read, samples).clamp(0, 255) / 255

    # --- pasting --------------------------------------------------------------------------------------------------------------

    def _overlays(
        self,
        levels: Float[Tensor, "n 3 s s"],
        masks: Float[Tensor, "n 1 s s"],
        back: Sequence[Float64[np.ndarray, "2 3"]],
        all_boxes: Sequence[Box],
        rows: Sequence[int],
        samples: int,
    ) -> Iterator[tuple[Box, Tensor, Tensor]]:
        """For each row its box in the frame, the patch there and its alpha; `samples` as returned by `_samples`."""
        chosen = self._sent(np.array(rows, np.int64))
        boxes = [all_boxes[row] for row in rows]
        height, width = (max(getattr(box, name) for box in boxes) for name in ("height", "width"))
        most = max(samples, 1)
        to_crop = np.zeros((len(rows), 2, 3), np.float64)
        for number, (row, box) in enumerate(zip(rows, boxes, strict=True)):
            to_crop[number] = align.invert(back[row])
            to_crop[number, :, 2] += to_crop[number, :, :2] @ [box.left, box.top]
            # `most` evenly spaced samples per pixel and axis.
            to_crop[number, :, 2] -= to_crop[number, :, :2] @ np.full(2, (most - 1) / 2 / most)
            to_crop[number, :, :2] /= most
        points = self._points(to_crop, height * most, width * most)
        alpha = _read(masks[chosen], points, "bilinear", "zeros")
        patch = levels[chosen]
        if not samples:
            around = functional.pad(patch, (1, 1, 1, 1), mode="replicate")
            patch = functional.interpolate(around, scale_factor=3, mode="bicubic", align_corners=False).round().clamp(0, 255)
            points = 3 * points + 4
        foreground = _read(patch, points, "bilinear", "border")
        if most > 1:
            alpha = functional.avg_pool2d(alpha, most)
        foreground = _levels(foreground, most)
        for number, box in enumerate(boxes):
            yield box, foreground[number, :, : box.height, : box.width], alpha[number, :, : box.height, : box.width]

    def _masks(self, swapped: Swapped) -> Float[Tensor, "n 1 s s"]:
        """The blend mask of each crop: the swapper's, feathered at the border."""
        number, size = len(swapped.pixels), swapped.pixels.shape[-1]
        border = self._sent(border_window(size).copy())[None, None].expand(number, 1, size, size)
        return border if swapped.mask is None else border * swapped.mask.detach().float().clamp(0, 1)

    def _composite(self, place: int, box: Box, foreground: Float[Tensor, "3 h w"], alpha: Float[Tensor, "1 h w"]) -> None:
        part = self._pixels[place, box.top : box.top + box.height, box.left : box.left + box.width]
        under = part.permute(2, 0, 1).float()
        part.copy_((under + alpha * (foreground - under)).round().to(torch.uint8).permute(1, 2, 0))
        self._changed.setdefault(place, []).append(box)
        self._download = None

    # --- places ---------------------------------------------------------------------------------------------------------------

    def _box(self, crop_to_frame: Float64[np.ndarray, "2 3"], size: int) -> Box:
        """The part of the frame covered by a crop of `size`, plus the filter support; at least one pixel."""
        corners = np.array([(-1.0, -1.0), (size, -1), (-1, size), (size, size)])
        points = align.transform_points(crop_to_frame, corners)
        low, high = np.floor(points.min(0)).astype(int) - _MARGIN, np.ceil(points.max(0)).astype(int) + 1 + _MARGIN
        limit = np.array(self._pixels.shape[2:0:-1])
        low = np.clip(low, 0, limit - 1)
        high = np.clip(high, low + 1, limit)
        return Box(top=int(low[1]), left=int(low[0]), height=int(high[1] - low[1]), width=int(high[0] - low[0]))

    def _reaches(self, crop_to_frame: Float64[np.ndarray, "2 3"], size: int) -> bool:
        points = align.transform_points(crop_to_frame, np.array([(-1.0, -1.0), (size, -1), (-1, size), (size, size)]))
        limit = np.array(self._pixels.shape[2:0:-1])
        return bool((points.max(0) > -1).all() and (points.min(0) < limit).all())

    def _points(self, matrices: Float64[np.ndarray, "n 2 3"], height: int, width: int) -> Float[Tensor, "n h w 2"]:
        """Maps the pixel grid of n pictures of one size. Coordinates are small, so single precision is accurate to 1/1000 pixel."""
        on_device = self._sent(matrices.astype(np.float32))
        x = torch.arange(width, device=self._device, dtype=torch.float32)
        y = torch.arange(height, device=self._device, dtype=torch.float32)
        across = x[None, None, :, None] * on_device[:, None, None, :, 0]
        down = y[None, :, None, None] * on_device[:, None, None, :, 1]
        return across + down + on_device[:, None, None, :, 2]

    def _sent(self, array: np.ndarray) -> Tensor:
        return send(self._device, torch.from_numpy(np.ascontiguousarray(array)))[0]


def groups_by_size(boxes: Sequence[Box], rows: Sequence[int], *, margin: int = 0, times: int = 1) -> list[list[int]]:
    """`rows` of `boxes` in groups to be padded to the largest height and width in each.

    Padding at most doubles the pixels of a group, and no group has more than `_PIXELS_AT_ONCE` unless it is a single box: padded
    together, 63 small faces beside one of 2,000 pixels would take 10 GB. `margin` and `times` say how a box grows: rows and columns
    added to it, samples per pixel and axis.
    """
    groups: list[list[int]] = []
    height = width = own = 0
    sizes = {row: ((boxes[row].height + margin) * times, (boxes[row].width + margin) * times) for row in rows}
    for row in sorted(rows, key=lambda row: sizes[row][0] * sizes[row][1]):
        tall, wide = sizes[row]
        padded = max(height, tall) * max(width, wide) * (len(groups[-1]) + 1 if groups else 1)
        if not groups or padded > min(_PIXELS_AT_ONCE, 2 * (own + tall * wide)):
            groups.append([])
            height = width = own = 0
        groups[-1].append(row)
        height, width, own = max(height, tall), max(width, wide), own + tall * wide
    return groups


def _levels(read: Float[Tensor, "n c h w"], samples: int) -> Float[Tensor, "n c hh ww"]:
    """Integer levels, the mean of `samples` x `samples` samples each, rounded like OpenCV: halves upwards for 2 x 2 samples, else
    to even."""
    if samples == 1:
        return read.round()
    mean = functional.avg_pool2d(read.round(), samples)
    return (mean + 0.5).floor() if samples == 2 else mean.round()


def _samples(crop_to_frame: Float64[np.ndarray, "2 3"]) -> int:
    """Samples of the crop per frame pixel and axis; 0 if the crop is magnified."""
    scale = align.scale_of(crop_to_frame)
    return max(1, round(1 / scale)) if scale < SHRINKS else 0


def _read(
    pictures: Float[Tensor, "n c h w"], points: Float[Tensor, "n hh ww 2"], mode: str, padding: str
) -> Float[Tensor, "n c hh ww"]:
    """`pictures` sampled at `points` (x, y), pixel centres at integers."""
    height, width = pictures.shape[-2:]
    grid = torch.stack([points[..., 0] * (2 / (width - 1)) - 1, points[..., 1] * (2 / (height - 1)) - 1], dim=-1)
    return functional.grid_sample(pictures, grid, mode=mode, padding_mode=padding, align_corners=True)
