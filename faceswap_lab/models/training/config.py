"""Training hyperparameters common to all recipes, and the learning rate schedule."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]
Schedule = Literal["cosine", "constant"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """`steps` of `batch` samples each, with AdamW.

    The learning rate increases linearly over `warmup` steps to `learning_rate`. With the `schedule` "cosine" it then decays along
    half a cosine to `final_share` of that; "constant" keeps it. Gradients are clipped to the norm `clip`.
    `weight_decay` applies to matrices and kernels, with `decay_vectors` also to biases and norm gains; `beta2` is AdamW's.
    `ema` is the decay of the moving average of the weights, which is the final result.
    `precision` "auto" multiplies in bfloat16 if the device supports it natively, else in float32; weights and losses are float32.
    `seed` is that of all random numbers. Losses are reported every `report_every` steps.
    """

    steps: int
    batch: int = 64
    learning_rate: float = 2e-3
    warmup: int = 100
    schedule: Schedule = "cosine"
    final_share: float = 0.01
    weight_decay: float = 0.02
    decay_vectors: bool = False
    beta2: float = 0.999
    clip: float = 5.0
    ema: float = 0.998
    precision: Precision = "auto"
    seed: int = 0
    report_every: int = 50

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "report_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.warmup < 0:
            raise ValueError(f"warmup must not be negative, got {self.warmup}")
        for name in ("final_share", "ema"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0..1, got {getattr(self, name)}")

    @property
    def samples_per_step(self) -> int:
        """Samples processed per step."""
        return self.batch

    def learning_rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup:
            return self.learning_rate * (step + 1) / self.warmup
        if self.schedule == "constant":
            return self.learning_rate
        done = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.learning_rate * (self.final_share + (1 - self.final_share) * 0.5 * (1 + math.cos(math.pi * done)))


def precision_on(device: torch.device, config: TrainConfig) -> str:
    """Resolves the config's precision for `device`. A CPU without bfloat16 arithmetic would emulate it, far more slowly."""
    if config.precision != "auto":
        return config.precision
    if device.type == "cpu":
        native = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()  # there is no public API
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return "bf16" if native else "fp32"
