"""Training of the one-shot's network, on draped examples: their batches, their variation and the losses."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional

from faceswap_lab.models.oneshot.examples import Examples
from faceswap_lab.models.oneshot.net import Draped, OneshotNet, OneshotNetConfig
from faceswap_lab.models.training.config import Precision, TrainConfig
from faceswap_lab.models.training.loop import Step, StepContext, train
from faceswap_lab.models.training.losses import ssim_map
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.stopping import Stop, never


@dataclass(frozen=True, slots=True, kw_only=True)
class OneshotTraining(TrainConfig):
    """`gradient_weight`, `ssim_weight`, `mask_weight` and `pasted_weight` are those of the losses beside L1 (3.0).

    `texture_weight` is that of how much detail there is, in the steps at full size: where a detail's place is uncertain, the other
    losses are least if it is blurred away.

    `colour_noise` is the standard deviation of the logarithmic gain by which whole examples vary in colour; the source alone varies
    by half of it.

    The first `small_share` of the steps see crops of `small_size` pixels (a multiple of 32), the others crops of the network's own
    size: more than twice the examples in the same time, and the detail at the end. Single precision, since bfloat16 was slower on
    processors without AMX (9.6 instead of 13.1 examples/s on two cores of a Xeon).
    """

    steps: int = 7200
    batch: int = 12
    learning_rate: float = 8e-4
    warmup: int = 200
    final_share: float = 0.02
    weight_decay: float = 1e-3
    beta2: float = 0.99
    clip: float = 1.0
    ema: float = 0.998
    gradient_weight: float = 3.0
    ssim_weight: float = 0.5
    mask_weight: float = 0.5
    pasted_weight: float = 1.0
    texture_weight: float = 8.0
    colour_noise: float = 0.06
    small_size: int = 128
    small_share: float = 0.75
    precision: Precision = "fp32"

    def __post_init__(self) -> None:
        TrainConfig.__post_init__(self)
        if self.small_size < 32 or self.small_size % 32:
            raise ValueError(f"small_size must be a multiple of 32 of at least 32, got {self.small_size}")
        if not 0 <= self.small_share <= 1:
            raise ValueError(f"small_share is a share, 0 to 1, got {self.small_share}")


def fresh_oneshot(net: OneshotNetConfig, config: TrainConfig, device: torch.device) -> TrainState[OneshotNet]:
    """An untrained OneshotNet."""
    return TrainState.fresh(partial(OneshotNet, net), config, device)


def train_oneshot(state: TrainState[OneshotNet], examples: Examples, config: OneshotTraining, stop: Stop = never) -> Iterator[Step]:
    """Trains a OneshotNet on draped examples: see `loop.train`."""

    def losses(net: OneshotNet, context: StepContext) -> dict[str, Tensor]:
        random = context.numpy_generator()
        numbers = random.integers(len(examples), size=config.batch)
        seen, truth, mask = batch_of(examples, np.asarray(numbers, np.int64), context.device)
        is_small = context.progress < config.small_share and config.small_size < truth.shape[-1]
        if is_small:
            seen, truth, mask = resized(seen, truth, mask, config.small_size)
        seen, truth, mask = varied(seen, truth, mask, config.colour_noise, random)
        with context.autocast():
            drawn = net(seen)
        return losses_of(drawn.float(), seen.target, truth, mask, config, texture=not is_small)

    return train(state, losses, config, stop)


def batch_of(examples: Examples, numbers: Int64[np.ndarray, " b"], device: torch.device) -> tuple[Draped, Tensor, Tensor]:
    """These examples as tensors: what the network sees, the true picture and where it replaces the target, 0..1."""
    taken = {name: torch.from_numpy(stack).to(device).float() / 255 for name, stack in examples.take(numbers).items()}
    pictures = {name: taken[name].permute(0, 3, 1, 2) for name in ("targets", "truths", "moved", "draped", "places", "portraits")}
    seen = Draped(
        target=pictures["targets"],
        moved=pictures["moved"],
        source=pictures["draped"],
        shown=taken["shown"][:, None],
        place=2 * pictures["places"] - 1,
        portrait=pictures["portraits"],
        keeps_tone=taken["keeps_tone"],
    )
    return seen, pictures["truths"], taken["masks"][:, None]


def resized(seen: Draped, truth: Tensor, mask: Tensor, size: int) -> tuple[Draped, Tensor, Tensor]:
    """The batch at a smaller size, by the mean of the area; the source's portrait at half of it."""

    def small(x_BCHW: Tensor, side: int = size) -> Tensor:
        return functional.interpolate(x_BCHW, (side, side), mode="area")

    made = Draped(
        target=small(seen.target),
        moved=small(seen.moved),
        source=small(seen.source),
        shown=small(seen.shown),
        place=small(seen.place),
        portrait=small(seen.portrait, size // 2),
        keeps_tone=seen.keeps_tone,
    )
    return made, small(truth), small(mask)


def varied(
    seen: Draped, truth: Tensor, mask: Tensor, colour_noise: float, random: np.random.Generator
) -> tuple[Draped, Tensor, Tensor]:
    """The batch mirrored or not, with other colours: all pictures alike, and the source's once more by half of that.

    A mirrored swap is the true swap of two mirrored people, so here, unlike in a pair's training, mirroring is allowed.
    """
    b = len(truth)
    both, alone = (
        torch.from_numpy(np.exp(random.normal(0, spread, (b, 3, 1, 1)))).to(truth) for spread in (colour_noise, colour_noise / 2)
    )
    parts = [
        seen.target * both,
        seen.moved * both,
        seen.source * both * alone,
        seen.shown,
        seen.place,
        seen.portrait * both * alone,
    ]
    parts += [truth * both, mask]
    if random.random() < 0.5:
        parts = [part.flip(-1) for part in parts]
        parts[4] = parts[4] * torch.tensor([-1.0, 1.0, 1.0], device=truth.device)[:, None, None]
    target, moved, source, shown, place, portrait, truth, mask = parts
    made = Draped(
        target=target, moved=moved, source=source, shown=shown, place=place, portrait=portrait, keeps_tone=seen.keeps_tone
    )
    return made, truth, mask


def losses_of(
    drawn: Float[Tensor, "b 4 s s"],
    target: Float[Tensor, "b 3 s s"],
    truth: Float[Tensor, "b 3 s s"],
    mask: Float[Tensor, "b 1 s s"],
    config: OneshotTraining,
    *,
    texture: bool = True,
) -> dict[str, Tensor]:
    """L1, structure, gradients and `texture` where the face is replaced and near it; the mask; and L1 of the pasted picture."""
    picture, shown = drawn[:, :3], drawn[:, 3:]
    weight = 0.1 + 0.9 * functional.max_pool2d(mask, 5, 1, 2)
    pasted = shown * picture.detach() + (1 - shown) * target
    parts = {
        "l1": 3 * ((picture - truth).abs() * weight).mean(),
        "structure": config.ssim_weight * ((1 - ssim_map(picture, truth)) * weight).mean(),
        "gradient": config.gradient_weight * ((slopes(picture) - slopes(truth)).abs() * weight[:, :, 1:, 1:]).mean(),
        "mask": config.mask_weight * (shown - mask).abs().mean(),
        "pasted": config.pasted_weight * (pasted - truth).abs().mean(),
    }
    if texture and config.texture_weight:
        difference = detail(picture) - detail(truth)
        parts["texture"] = config.texture_weight * (difference.abs() * functional.avg_pool2d(weight, 8, 4)).mean()
    return {"loss": torch.stack(list(parts.values())).sum(), **parts}


def detail(x_BCHW: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 v u"]:
    """The mean length of the grey picture's gradient in squares of eight pixels, every four pixels: how much detail, wherever."""
    grey = x_BCHW.mean(1, keepdim=True)
    length = (slopes(grey).square().sum(1, keepdim=True) + 1e-6).sqrt()
    return functional.avg_pool2d(functional.pad(length, (1, 0, 1, 0)), 8, 4)


def slopes(x_BCHW: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d v u"]:
    """Differences to the left and upper neighbours, of all pixels that have both."""
    right = x_BCHW[:, :, 1:, 1:] - x_BCHW[:, :, 1:, :-1]
    down = x_BCHW[:, :, 1:, 1:] - x_BCHW[:, :, :-1, 1:]
    return torch.cat([right, down], 1)
