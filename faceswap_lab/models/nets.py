"""The pair network: one encoder that both people share, one decoder for each."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class PairNetConfig:
    """`size` is the crop's side in pixels, a multiple of 16; `width` the channels of the widest feature map; `code` the bottleneck.

    `normalise` brings each input picture to one mean and contrast before the encoder. Without truth to learn from this is what
    keeps skin tone out of the code: else the encoder stores it and the other decoder renders it as light.
    """

    size: int = 64
    width: int = 32
    code: int = 256
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
    """A picture to a small feature map, through a dense bottleneck that forgets where pixels were."""

    def __init__(self, config: PairNetConfig) -> None:
        super().__init__()
        c, self.side = config.width, config.size // 16
        widths = [3, c, 2 * c, 4 * c, 6 * c]
        steps: list[nn.Module] = []
        for i, (before, after) in enumerate(pairwise(widths)):
            steps += [_conv(before, after, 5 if i == 0 else 3, 2), nn.LeakyReLU(0.1)]
        self.down = nn.Sequential(*steps)
        self.channels = widths[-1]
        flat = self.channels * self.side**2
        self.to_code, self.from_code = nn.Linear(flat, config.code), nn.Linear(config.code, flat)
        self.normalise = config.normalise

    def forward(self, x_BCHW: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b c t t"]:
        """Pixels 0..1 to features 16 times smaller."""
        if self.normalise:
            x_BCHW = normalised(x_BCHW)
        code_BD = self.to_code(self.down(x_BCHW).flatten(1))
        return functional.leaky_relu(self.from_code(code_BD), 0.1).view(-1, self.channels, self.side, self.side)


class Decoder(nn.Module):
    """A feature map to a picture and the mask of where it replaces the target, both 0..1."""

    def __init__(self, config: PairNetConfig) -> None:
        super().__init__()
        c = config.width
        widths = [6 * c, 4 * c, 2 * c, c, c]
        steps: list[nn.Module] = []
        for before, after in pairwise(widths):
            steps += [_conv(before, after * 4), nn.PixelShuffle(2), nn.LeakyReLU(0.1), _Residual(after)]
        self.up, self.out = nn.Sequential(*steps), _conv(c, 4)

    def forward(self, x_BCHW: Float[Tensor, "b c t t"]) -> Float[Tensor, "b 4 s s"]:
        """Features to RGB and mask, 0..1."""
        return torch.sigmoid(self.out(self.up(x_BCHW)))


class PairNet(nn.Module):
    """`net(x, person)` draws the person (0 or 1) in the pose, expression and light of x: channels 0-2 RGB, channel 3 the mask."""

    def __init__(self, config: PairNetConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoders = nn.ModuleList([Decoder(config), Decoder(config)])
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs lack it

    def forward(self, x_BCHW: Float[Tensor, "b 3 s s"], person: int) -> Float[Tensor, "b 4 s s"]:
        """`person` as x's face, 0..1."""
        drawn: Tensor = self.decoders[person](self.encoder(x_BCHW.contiguous(memory_format=torch.channels_last)))
        return drawn


def normalised(x_BCHW: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b 3 s s"]:
    """Each picture brought to mean 0.5 and standard deviation 0.2 over all its pixels and channels."""
    mean = x_BCHW.mean((1, 2, 3), keepdim=True)
    return (x_BCHW - mean) / (x_BCHW.std((1, 2, 3), keepdim=True) + 1e-4) * 0.2 + 0.5
