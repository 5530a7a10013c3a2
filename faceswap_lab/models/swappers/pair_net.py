"""The pair network: an encoder shared by both people, one decoder for each."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class PairNetConfig:
    """`size` is the crop's side in pixels, a multiple of 16; `width` is the number of channels of the widest feature map.
    `code` is the length of the bottleneck.

    `skips` adds skip connections from the encoder to the decoders. With supervision by truth they preserve pose, light and edges
    sharply; without truth the network would only learn to copy its input.
    `normalise` normalises mean and contrast of each input picture. Without truth this keeps skin tone out of the code: else the
    encoder stores it and the other decoder renders it as light.
    """

    size: int = 96
    width: int = 32
    code: int = 256
    skips: bool = True
    normalise: bool = False

    def __post_init__(self) -> None:
        if self.size < 32 or self.size % 16:
            raise ValueError(f"size must be a multiple of 16 of at least 32, got {self.size}")


def _conv(channels_in: int, channels_out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first, self.second = _conv(channels, channels), _conv(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        inner = self.second(functional.leaky_relu(self.first(x_BCHW), 0.2))
        return functional.leaky_relu(x_BCHW + inner, 0.2)


class Encoder(nn.Module):
    """From a picture to feature maps of 1/2, 1/4, 1/8 and 1/16 of its side, the last through a dense bottleneck."""

    def __init__(self, config: PairNetConfig) -> None:
        super().__init__()
        self.side = config.size // 16
        widths = [3, *_widths(config)]
        self.down = nn.ModuleList(_conv(before, after, 5 if before == 3 else 3, 2) for before, after in pairwise(widths))
        self.channels = widths[-1]
        flat = self.channels * self.side**2
        self.to_code, self.from_code = nn.Linear(flat, config.code), nn.Linear(config.code, flat)
        self.normalise = config.normalise

    def forward(self, x_BCHW: Float[Tensor, "b 3 s s"]) -> list[Tensor]:
        """From pixels 0..1 to feature maps, finest first; the last has passed the bottleneck, which discards spatial layout."""
        x = normalised(x_BCHW) if self.normalise else x_BCHW
        maps = [x]
        for step in self.down:
            maps.append(functional.leaky_relu(step(maps[-1]), 0.1))
        code_BD = self.to_code(maps[-1].flatten(1))
        maps[-1] = functional.leaky_relu(self.from_code(code_BD), 0.1).view(-1, self.channels, self.side, self.side)
        return maps


class Decoder(nn.Module):
    """From feature maps to a picture and the mask of where it replaces the target, both 0..1."""

    def __init__(self, config: PairNetConfig) -> None:
        super().__init__()
        widths = [*reversed(_widths(config)), config.width // 2]
        self.up = nn.ModuleList(_conv(before, after * 4) for before, after in pairwise(widths))
        self.mix = nn.ModuleList(_Residual(after) for after in widths[1:])
        arriving = [*reversed(_widths(config)[:-1]), 3]
        self.join = nn.ModuleList(
            _conv(skip, after, 3 if skip == 3 else 1) for skip, after in zip(arriving, widths[1:], strict=True) if config.skips
        )
        self.out = _conv(config.width // 2, 4)

    def forward(self, maps: list[Tensor]) -> Float[Tensor, "b 4 s s"]:
        """From feature maps, finest first, to RGB and mask, 0..1."""
        x = maps[-1]
        for level, (up, mix) in enumerate(zip(self.up, self.mix, strict=True)):
            x = functional.pixel_shuffle(up(x), 2)
            if len(self.join):
                x = x + self.join[level](maps[-2 - level])
            x = mix(functional.leaky_relu(x, 0.1))
        return torch.sigmoid(self.out(x))


class PairNet(nn.Module):
    """`net(x, person)` draws the person (0 or 1) in the pose, expression and light of x: channels 0-2 RGB, channel 3 the mask."""

    def __init__(self, config: PairNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoders = nn.ModuleList([Decoder(config), Decoder(config)])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it

    def forward(self, x_BCHW: Float[Tensor, "b 3 s s"], person: int) -> Float[Tensor, "b 4 s s"]:
        """x with `person`'s face, 0..1."""
        drawn: Tensor = self.decoders[person](self.encoder(x_BCHW.contiguous(memory_format=torch.channels_last)))
        return drawn


def _widths(config: PairNetConfig) -> list[int]:
    """Channels of the encoder's feature maps, finest first."""
    return [factor * config.width for factor in (1, 2, 4, 6)]


def normalised(x_BCHW: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
    """Each picture normalised to mean 0.5 and standard deviation 0.2 over all its pixels and channels."""
    mean = x_BCHW.mean((1, 2, 3), keepdim=True)
    return (x_BCHW - mean) / (x_BCHW.std((1, 2, 3), keepdim=True) + 1e-4) * 0.2 + 0.5
