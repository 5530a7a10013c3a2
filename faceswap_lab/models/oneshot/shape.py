"""Where a source's face would lie in a target's performance: the mesh's points as a true swap has them.

`warp` puts the source's skin onto the target's own mesh, so the face keeps the target's shape. Here a small network, trained on the
points of true swaps, moves the target's 468 points to where the source's face would have them: the source's proportions with the
target's pose and expression. Points are in pixels; inside, they are relative to a mean head seen by the fitted camera.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from faceswap_lab.models.swappers import mesh468

POINTS = 468


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeNetConfig:
    """Principal components of a face's points, and the widths of the source's code and of the hidden layers."""

    components: int = 64
    code: int = 128
    width: int = 320


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posed:
    """Faces' points as offsets from the mean head seen by the fitted camera: offsets and `camera` in head units, `scale` in pixels."""

    offsets: Float[Tensor, "b 468 2"]
    camera: Float[Tensor, "b 2 3"]
    scale: Float[Tensor, " b"]


def posed(points: Float[Tensor, "b 468 2"]) -> Posed:
    """Fits a scaled orthographic camera to each face: least squares from the mean head, rows orthogonalised, roll included."""
    head = torch.tensor(mesh468.topology().shape).to(points)
    centred = points - points.mean(1, keepdim=True)
    fit = (torch.linalg.pinv(head) @ centred).transpose(1, 2)
    u, spread, v = torch.linalg.svd(fit, full_matrices=False)
    scale = spread.mean(1)
    camera = u @ v
    return Posed(offsets=centred / scale[:, None, None] - head @ camera.transpose(1, 2), camera=camera, scale=scale)


class ShapeNet(nn.Module):
    """Moves a target's points to where a source's face would have them.

    Principal components and their spread are buffers, set by `fit_components` before training.
    """

    offset_mean: Tensor
    offset_basis: Tensor
    offset_spread: Tensor
    move_mean: Tensor
    move_basis: Tensor
    move_spread: Tensor

    def __init__(self, config: ShapeNetConfig) -> None:
        super().__init__()
        self.config = config
        k, size = config.components, 2 * POINTS
        for name in ("offset", "move"):
            self.register_buffer(f"{name}_mean", torch.zeros(size))
            self.register_buffer(f"{name}_basis", torch.zeros(k, size))
            self.register_buffer(f"{name}_spread", torch.ones(k))
        self.look = nn.Sequential(
            nn.Linear(k + 6, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.code),
        )
        self.move = nn.Sequential(
            nn.Linear(config.code + k + 6, config.width),
            nn.SiLU(),
            nn.Linear(config.width, config.width),
            nn.SiLU(),
            nn.Linear(config.width, k),
        )

    def fit_components(self, offsets: Float[Tensor, "n 468 2"], moves: Float[Tensor, "n 468 2"]) -> None:
        """Sets the principal components from examples."""
        for name, examples in (("offset", offsets), ("move", moves)):
            flat = examples.flatten(1)
            mean = flat.mean(0)
            _, spread, basis = torch.linalg.svd(flat - mean, full_matrices=False)
            k = self.config.components
            getattr(self, f"{name}_mean").copy_(mean)
            getattr(self, f"{name}_basis").copy_(basis[:k])
            getattr(self, f"{name}_spread").copy_((spread[:k] / len(flat) ** 0.5).clamp(min=1e-6))

    def features(self, face: Posed) -> Float[Tensor, "b f"]:
        """What the layers see of a face: its components over their spread, and its camera."""
        parts = (face.offsets.flatten(1) - self.offset_mean) @ self.offset_basis.T / self.offset_spread
        return torch.cat([parts, face.camera.flatten(1)], 1)

    def encode(self, source: Float[Tensor, "b 468 2"]) -> Float[Tensor, "b c"]:
        """The code of a person's shape, from each picture; the mean over pictures is a better one."""
        return self.look(self.features(posed(source)))  # type: ignore[no-any-return]

    def forward(self, code: Float[Tensor, "b c"], target: Float[Tensor, "b 468 2"]) -> Float[Tensor, "b 468 2"]:
        """The target's points, moved."""
        face = posed(target)
        parts = self.move(torch.cat([code, self.features(face)], 1))
        moved = (parts * self.move_spread) @ self.move_basis + self.move_mean
        return target + moved.view(-1, POINTS, 2) * face.scale[:, None, None]


def moves_of(target: Float[Tensor, "b 468 2"], truth: Float[Tensor, "b 468 2"]) -> Float[Tensor, "b 468 2"]:
    """What `ShapeNet` learns: how far the points of a true swap are from the target's, in units of the target's scale."""
    return (truth - target) / posed(target).scale[:, None, None]


def eye_distance(points: Float[np.ndarray, "*n 468 2"]) -> Float[np.ndarray, "*n"]:
    """Distance between the eyes' outer corners in pixels."""
    return np.asarray(np.linalg.norm(points[..., 263, :] - points[..., 33, :], axis=-1))
