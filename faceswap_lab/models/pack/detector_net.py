"""A small SCRFD-style face detector: for strides 8, 16 and 32 with two anchors per cell, a score, a box and five points.

Boxes are four distances and points five offsets from the anchor, in strides; the anchor of cell (row, column) is at pixel
(stride * column, stride * row), as insightface decodes them. All layers are separable convolutions.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from faceswap_lab.models.pack.layers import convolution

STRIDES = (8, 16, 32)
ANCHOR_SIZES = ((16.0, 32.0), (64.0, 128.0), (256.0, 512.0))
"""Face sizes (side in pixels) of each stride's two anchors."""

_REACH, _MAX_CELLS, _OCTAVES = 0.22, 1.5, 0.75
_PRIOR = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorConfig:
    """Channels: of the first layer, of the feature maps with strides 4, 8, 16 and 32, and of the feature pyramid."""

    stem: int = 16
    widths: tuple[int, int, int, int] = (32, 64, 160, 224)
    pyramid: int = 64


def _separable(channels_in: int, channels_out: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    depth = convolution(channels_in, channels_in, stride, kernel, groups=channels_in)
    return nn.Sequential(depth, convolution(channels_in, channels_out, kernel=1))


class Head(nn.Module):
    """One stride's outputs: maps of 2 scores, 8 distances, 20 offsets."""

    def __init__(self, channels: int, sizes: tuple[float, float], stride: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(_separable(channels, channels), _separable(channels, channels, kernel=5))
        self.score, self.box, self.points = (nn.Conv2d(channels, 2 * values, 1) for values in (1, 4, 10))
        for layer, bias in ((self.score, -math.log(1 / _PRIOR - 1)), (self.box, 0.0), (self.points, 0.0)):
            nn.init.normal_(layer.weight, std=0.01)
            assert layer.bias is not None
            nn.init.constant_(layer.bias, bias)
        self.box_unit: Tensor
        self.point_unit: Tensor
        halves = torch.tensor(sizes) / 2 / stride
        self.register_buffer("box_unit", halves.repeat_interleave(4).view(1, 8, 1, 1))
        self.register_buffer("point_unit", halves.repeat_interleave(10).view(1, 20, 1, 1))

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Maps of logits, distances and offsets."""
        x = self.inner(x_BCHW)
        # A distance is the anchor's half side times a factor: never negative, and scale-invariant.
        boxes = self.box(x).clamp(-3.0, 3.0).exp() * self.box_unit
        return self.score(x), boxes, self.points(x) * self.point_unit


class Detector(nn.Module):
    """`net(pictures)` returns logits, boxes and points of all anchors, boxes and points in strides.

    Both sides must be multiples of 32. Anchors are ordered by stride, row, column and size.
    """

    def __init__(self, config: DetectorConfig) -> None:
        super().__init__()
        self.config = config
        first, *widths = config.stem, *config.widths
        self.stem = convolution(3, first, 2)
        stages = []
        for number, (before, after) in enumerate(zip([first, *widths[:-1]], widths, strict=True)):
            blocks = [_separable(before, after, 2), *(_separable(after, after) for _ in range(1 if number == 0 else 2))]
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)
        self.lateral = nn.ModuleList(convolution(width, config.pyramid, kernel=1) for width in widths[1:])
        self.smooth = nn.ModuleList(_separable(config.pyramid, config.pyramid) for _ in widths[1:-1])
        self.heads = nn.ModuleList(Head(config.pyramid, sizes, stride) for sizes, stride in zip(ANCHOR_SIZES, STRIDES, strict=True))

    def maps(self, x_BCHW: Float[Tensor, "b 3 h w"]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Each stride's maps of logits, boxes and points. Pixels are RGB, (value - 127.5) / 128."""
        x = self.stem(x_BCHW)
        found = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number:
                found.append(self.lateral[number - 1](x))
        for level in (1, 0):
            above = functional.interpolate(found[level + 1], scale_factor=2.0, mode="nearest")
            found[level] = self.smooth[level](found[level] + above)
        return [head(each) for head, each in zip(self.heads, found, strict=True)]

    def forward(
        self, x_BCHW: Float[Tensor, "b 3 h w"]
    ) -> tuple[Float[Tensor, "b a"], Float[Tensor, "b a 4"], Float[Tensor, "b a 10"]]:
        """Logits, boxes and points of every anchor."""
        parts = self.maps(x_BCHW)
        joined = [torch.cat([rows(part[k], values) for part in parts], 1) for k, values in ((0, 1), (1, 4), (2, 10))]
        return joined[0][..., 0], joined[1], joined[2]


def rows(maps_BCHW: Tensor, values: int) -> Float[Tensor, "b a v"]:
    """Flattens maps of two anchors to rows, in insightface's order: by row, column and anchor."""
    return maps_BCHW.permute(0, 2, 3, 1).reshape(len(maps_BCHW), -1, values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Anchors:
    """All anchors for one picture size: position (pixels), stride, and face size (side)."""

    place: Float[Tensor, "a 2"]
    stride: Float[Tensor, " a"]
    side: Float[Tensor, " a"]


def anchors_of(height: int, width: int) -> Anchors:
    """The anchors of a picture in the order of the network's outputs."""
    places, strides, sides = [], [], []
    for stride, sizes in zip(STRIDES, ANCHOR_SIZES, strict=True):
        y, x = torch.meshgrid(torch.arange(height // stride), torch.arange(width // stride), indexing="ij")
        place = torch.stack([x, y], -1).reshape(-1, 2).float() * stride
        places.append(place.repeat_interleave(2, 0))
        strides.append(torch.full((2 * len(place),), float(stride)))
        sides.append(torch.tensor(sizes).repeat(len(place)))
    return Anchors(place=torch.cat(places), stride=torch.cat(strides), side=torch.cat(sides))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Truth:
    """The faces of a batch, padded to equal length: boxes and points in pixels; masks of real faces and of faces to ignore."""

    boxes: Float[Tensor, "b k 4"]
    points: Float[Tensor, "b k 10"]
    there: Bool[Tensor, "b k"]
    ignored: Bool[Tensor, "b k"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Assigned:
    """The training target of each anchor: `face` is the row of its face, or -1; `quiet` anchors are excluded from the loss."""

    face: Tensor
    quiet: Bool[Tensor, "b a"]


def assign(truth: Truth, anchors: Anchors) -> Assigned:
    """Assigns each face to the anchors of its size near its centre; of several faces an anchor takes the smallest.

    The face size must be within three quarters of an octave of the anchor's, and the anchor within a fifth of the face's side, or a
    cell and a half if less, of its centre; the nearest anchor always is. Anchors around these, and all in ignored faces, are quiet.
    """
    low, high = truth.boxes[..., :2], truth.boxes[..., 2:]
    middle, side = (low + high) / 2, (high - low).clamp_min(1).prod(-1).sqrt()
    clamped = side.clamp(ANCHOR_SIZES[0][0], ANCHOR_SIZES[-1][-1])
    off = (anchors.place[None, :, None] - middle[:, None]).abs().amax(-1)
    octaves = (clamped[:, None] / anchors.side[None, :, None]).log2().abs()
    reach = torch.minimum(_REACH * side[:, None], _MAX_CELLS * anchors.stride[None, :, None])
    reach = torch.maximum(reach, 0.6 * anchors.stride[None, :, None])
    real = (truth.there & ~truth.ignored)[:, None]
    taken = (off <= reach) & (octaves <= _OCTAVES) & real
    size = torch.where(taken, side[:, None], torch.inf)
    smallest, face = size.min(-1)
    none = smallest.isinf()
    around = ((off <= 1.6 * reach) & (octaves <= 2 * _OCTAVES) & real).any(-1)
    place = anchors.place[None, :, None]
    inside = ((place >= low[:, None]) & (place <= high[:, None])).all(-1) & (truth.there & truth.ignored)[:, None]
    return Assigned(face=torch.where(none, -1, face), quiet=none & (around | inside.any(-1)))


def boxes_at(anchors: Anchors, distances: Float[Tensor, "*b a 4"]) -> Float[Tensor, "*b a 4"]:
    """x1 y1 x2 y2 in pixels from distances in strides."""
    far = distances * anchors.stride[:, None]
    return torch.cat([anchors.place - far[..., :2], anchors.place + far[..., 2:]], -1)


def losses(
    answer: tuple[Float[Tensor, "b a"], Float[Tensor, "b a 4"], Float[Tensor, "b a 10"]], truth: Truth, anchors: Anchors
) -> dict[str, Tensor]:
    """Mean losses: "score" (quality focal), "box" (1 - DIoU), "points" (smooth L1 relative to the face's side).

    The target score of a face is (1 + IoU) / 2 of the predicted box, so that at 0.5 a face is as likely as not.
    """
    logits, distances, offsets = answer
    assigned = assign(truth, anchors)
    picture, anchor = (assigned.face >= 0).nonzero(as_tuple=True)
    face = assigned.face[picture, anchor]
    boxes = boxes_at(anchors, distances)[picture, anchor]
    wanted = truth.boxes[picture, face]
    overlap, distance = _iou_and_distance(boxes, wanted)
    target = torch.zeros_like(logits)
    target[picture, anchor] = ((1 + overlap.detach()) / 2).to(target.dtype)
    focal = (target - logits.sigmoid()).square() * functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    count = max(1, len(picture))
    side = (wanted[:, 2:] - wanted[:, :2]).prod(-1).sqrt()[:, None]
    place = anchors.place[anchor].repeat(1, 5)
    given = place + offsets[picture, anchor] * anchors.stride[anchor][:, None]
    off = functional.smooth_l1_loss(given / side, truth.points[picture, face] / side, beta=0.03, reduction="none")
    return {
        "score": (focal * ~assigned.quiet).sum() / count,
        "box": (1 - overlap + distance).sum() / count,
        "points": off.sum() / count / 10,
    }


def _iou_and_distance(one: Float[Tensor, "n 4"], other: Float[Tensor, "n 4"]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """IoU, and the squared distance of the centres over the squared diagonal of the enclosing box (Zheng et al. 2020)."""
    low, high = torch.maximum(one[:, :2], other[:, :2]), torch.minimum(one[:, 2:], other[:, 2:])
    both = (high - low).clamp_min(0).prod(1)
    union = (one[:, 2:] - one[:, :2]).prod(1) + (other[:, 2:] - other[:, :2]).prod(1) - both
    around = torch.maximum(one[:, 2:], other[:, 2:]) - torch.minimum(one[:, :2], other[:, :2])
    apart = ((one[:, :2] + one[:, 2:]) - (other[:, :2] + other[:, 2:])) / 2
    return both / union.clamp_min(1e-6), apart.square().sum(1) / around.square().sum(1).clamp_min(1e-6)
