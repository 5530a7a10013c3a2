"""The one-shot network: it heals a draped face, or, as the design it is compared with, draws one from a code of the source.

Geometry has moved the source's skin to its place (`drape`); what is left is light, tone, what the source never showed, and the
border. Fine detail stays the source's own pixels: coarse grids of gains and offsets relight the draped source and the target's own
face, a fine map mixes the two, and a residual is added.
"""

from dataclasses import dataclass, fields
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_HEAD = 0.1
"""Factor of what the heads answer. A head sums over a thousand inputs, so that one step of Adam moves it by about one: without this
factor gains of whole faces jump in a single step, and stay where tanh is flat."""

_FOLLOWED = 0.6
"""Share of the target's light over the draped source's that the source's face takes without any training: all of it would be right
if both had one skin tone."""

_DARK = 0.02
_POOL = 8
"""Pixels of a side of the coarse grids' cells."""

_GAIN = 1.5
"""Largest logarithm of a gain: light and skin tone together differ by up to a factor of about four."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OneshotNetConfig:
    """`size` is the crop's side in pixels, a multiple of 32; the network works at half of it and below, with `widths` channels.

    `code` is the length of the code of the source's picture. `draped` false is the design for comparison: the network sees only the
    target and that code, and draws everything itself.
    """

    size: int = 192
    widths: tuple[int, int, int, int] = (40, 80, 144, 208)
    code: int = 128
    draped: bool = True

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 32:
            raise ValueError(f"size must be a multiple of 32 of at least 32, got {self.size}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draped:
    """What the network sees, 0..1: the target's crop, its face moved to the new shape, the source draped over it, how well the
    source shows each pixel, the place on the head (-1..1), and the source's own crop at half the size. `keeps_tone` is 1 where the
    face shall have the target's skin tone, 0 where the source's."""

    target: Float[Tensor, "b 3 s s"]
    moved: Float[Tensor, "b 3 s s"]
    source: Float[Tensor, "b 3 s s"]
    shown: Float[Tensor, "b 1 s s"]
    place: Float[Tensor, "b 3 s s"]
    portrait: Float[Tensor, "b 3 t t"]
    keeps_tone: Float[Tensor, " b"]

    def __len__(self) -> int:
        return len(self.keeps_tone)

    def __getitem__(self, rows: slice) -> "Draped":
        return Draped(**{each.name: getattr(self, each.name)[rows] for each in fields(self)})


def _conv(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)


class _Block(nn.Module):
    """Two convolutions with a shortcut; the code scales and shifts what is between them."""

    def __init__(self, channels: int, code: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)
        self.style = nn.Linear(code, 2 * channels)
        for parameter in self.style.parameters():
            nn.init.zeros_(parameter)

    def forward(self, x_BCHW: Tensor, code_BD: Tensor) -> Tensor:
        gain, shift = self.style(code_BD)[:, :, None, None].chunk(2, 1)
        inner = functional.leaky_relu(self.first(x_BCHW) * (1 + gain) + shift, 0.2)
        return functional.leaky_relu(x_BCHW + self.second(inner), 0.2)


class _Portrait(nn.Module):
    """The code of the source's picture, with the wish for a skin tone."""

    def __init__(self, config: OneshotNetConfig) -> None:
        super().__init__()
        widths = (3, 24, 48, 96, 160)
        self.steps = nn.ModuleList(_conv(before, after, 3, 2) for before, after in pairwise(widths))
        self.out = nn.Linear(2 * widths[-1] + 1, config.code)

    def forward(self, portrait_BCHW: Tensor, keeps_tone_B: Tensor) -> Tensor:
        x = portrait_BCHW
        for step in self.steps:
            x = functional.leaky_relu(step(x), 0.2)
        seen = torch.cat([x.mean((2, 3)), x.amax((2, 3)), keeps_tone_B[:, None].to(x)], 1)
        return functional.leaky_relu(self.out(seen), 0.2)


def _light_ratio(seen: Draped) -> Float[Tensor, "b 3 v u"]:
    """Logarithm of the target's own colours over the draped source's, a cell of the coarse grid each; 0 where little is shown."""
    parts = torch.cat([seen.moved * seen.shown, seen.source * seen.shown, seen.shown], 1)
    parts = functional.avg_pool2d(functional.avg_pool2d(parts, _POOL), 3, 1, 1)
    own, source, shown = parts[:, :3], parts[:, 3:6], parts[:, 6:]
    ratio = torch.log((own + _DARK * shown + 1e-4) / (source + _DARK * shown + 1e-4))
    return ratio.clamp(-_GAIN, _GAIN) * shown / (shown + 0.05)


def _mean_colours(seen: Draped) -> Float[Tensor, "b 6"]:
    """Logarithms of the mean colours of the target's own face and of the draped source, where that is shown."""
    weight = seen.shown / (seen.shown.sum((2, 3), keepdim=True) + 1e-3)
    means = [(picture * weight).sum((2, 3)) for picture in (seen.moved, seen.source)]
    return torch.log(torch.cat(means, 1) + _DARK) + 1


class OneshotNet(nn.Module):
    """`net(draped)` gives RGB and the mask of where it replaces the target, both 0..1."""

    def __init__(self, config: OneshotNetConfig) -> None:
        super().__init__()
        self.config = config
        one, two, three, four = config.widths
        self.portrait = _Portrait(config)
        self.stem = _conv(4 * (13 if config.draped else 3), one)
        self.down = nn.ModuleList([_conv(one, two, 3, 2), _conv(two, three, 3, 2), _conv(three, four, 3, 2)])
        self.inward = nn.ModuleList(_Block(width, config.code) for width in (one, two, three, four, four))
        self.up = nn.ModuleList([_conv(four, three, 1), _conv(three, two, 1), _conv(two, one, 1)])
        self.outward = nn.ModuleList(_Block(width, config.code) for width in (three, two, one))
        self.grid = _conv(three + (3 if config.draped else 0), 15)
        self.fine = _conv(one, 4 * 5)
        tone = nn.Linear(64, 6)
        self.tone = nn.Sequential(nn.Linear(four + config.code + 6, 64), nn.LeakyReLU(0.2), tone)
        for head in (self.grid, self.fine, tone):
            nn.init.normal_(head.weight, std=1e-3)
            assert head.bias is not None
            nn.init.zeros_(head.bias)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it

    def forward(self, seen: Draped) -> Float[Tensor, "b 4 s s"]:
        """RGB and mask. Heads are computed in single precision."""
        code = self.portrait(seen.portrait, seen.keeps_tone)
        parts = [seen.target]
        if self.config.draped:
            parts += [seen.moved, seen.source, seen.shown, seen.place]
        x = functional.pixel_unshuffle(torch.cat(parts, 1), 2).contiguous(memory_format=torch.channels_last)
        x = functional.leaky_relu(self.stem(x), 0.2)
        maps = []
        for level in range(4):
            x = self.inward[level](x, code)
            if level < 3:
                maps.append(x)
                x = functional.leaky_relu(self.down[level](x), 0.2)
        x = self.inward[4](x, code)
        tone = self.tone(torch.cat([x.mean((2, 3)).float(), code.float(), _mean_colours(seen)], 1))[:, :, None, None]
        coarse, ratio = x, x
        for level, (up, mix) in enumerate(zip(self.up, self.outward, strict=True)):
            x = functional.interpolate(up(x), scale_factor=2, mode="nearest") + maps[-1 - level]
            x = mix(x, code)
            if level == 0:
                ratio = _light_ratio(seen) if self.config.draped else x[:, :0]
                coarse = _HEAD * self.grid(torch.cat([x, ratio.to(x)], 1)).float()
        coarse = torch.cat([coarse[:, :6] + tone, coarse[:, 6:]], 1)
        return self._compose(seen, ratio, coarse, functional.pixel_shuffle(_HEAD * self.fine(x).float(), 2))

    def _compose(self, seen: Draped, ratio: Tensor, coarse: Tensor, fine: Tensor) -> Tensor:
        residual, mix, mask = fine[:, :3], fine[:, 3:4], fine[:, 4:5]
        if not self.config.draped:
            return torch.cat([torch.sigmoid(residual + torch.logit(seen.target, 1e-2)), torch.sigmoid(mask)], 1)
        followed = (_FOLLOWED + coarse[:, 12:]) * ratio + coarse[:, :3]
        wide = functional.interpolate(
            torch.cat([followed, coarse[:, 3:12]], 1), seen.target.shape[-2:], mode="bilinear", align_corners=False
        )
        gain, gain_own = (_GAIN * torch.tanh(part / _GAIN) for part in (wide[:, :3], wide[:, 3:6]))
        # Bounded: without that a few steps of training now and then send the colours, and the loss, far out of range.
        relit = seen.source * gain.exp() + torch.tanh(wide[:, 6:9])
        own = seen.moved * gain_own.exp() + torch.tanh(wide[:, 9:12])
        # Without any training: the source where it is shown, the target's own elsewhere.
        share = torch.sigmoid(mix + 4 * seen.shown - 2)
        drawn = torch.lerp(own, relit, share) + torch.tanh(residual)
        return torch.cat([drawn.clamp(0, 1) if not self.training else drawn, torch.sigmoid(mask)], 1)
