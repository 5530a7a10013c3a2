"""The light of a view as the tensors that shading needs, computed on the host."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from faceswap_lab.actors.gfx.shadow import light_axes, soft_taps
from faceswap_lab.actors.performance.view import Light


@dataclass(frozen=True, slots=True, eq=False)
class Lamp:
    """`key` is the unit direction towards the key light, `axes` the window of its shadow map, `taps` where that is read; `slope`
    is, per channel, how ambient light changes with the normal."""

    key: Float[Tensor, " 3"]
    axes: Float[Tensor, "3 3"]
    slope: Float[Tensor, "3 3"]
    taps: Float[Tensor, "k 2"]

    @classmethod
    def from_light(cls, light: Light) -> "Lamp":
        """The light's tensors in host memory."""
        key = F.normalize(torch.tensor(light.key_direction), dim=0)
        rises = [0.5 * (high - low) for high, low in zip(light.ambient_high, light.ambient_low, strict=True)]
        slope = torch.tensor([[light.ambient_right[k], -light.ambient_front[k], rise] for k, rise in enumerate(rises)])
        return cls(key, light_axes(key), slope, torch.tensor(soft_taps(light.softness)))

    def tensors(self) -> tuple[Tensor, ...]:
        """All tensors, to be sent to a device together with others."""
        return self.key, self.axes, self.slope, self.taps

    def of(self, sent: Sequence[Tensor]) -> "Lamp":
        """The same lamp of the first of the tensors that were sent."""
        return Lamp(*sent[: len(self.tensors())])
