"""Where a source's face would lie in a target's performance: the mesh's points as a true swap has them.

`warp` puts the source's skin onto the target's own mesh, so the face keeps the target's shape. Here a regression, fitted to the
points of true swaps, moves the target's 468 points to where the source's face would have them: the source's proportions with the
target's pose and expression. Points are in pixels; inside, they are offsets from a mean head seen by the fitted camera.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor, nn

from faceswap_lab.models.swappers import mesh468

POINTS = 468
_CAMERA = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeConfig:
    """Principal components of a face's offsets and of the moves; how many of the former are multiplied with the cameras; and the
    ridge, as a share of the features' variance.

    Measured on 40 people of the split "val", with 576 people to learn from: the points are 6.0 % of the eyes' distance off without
    a move, 3.9 with all pictures of the source, 4.3 with one. With 32 products instead, 576 people gave 4.1 and 4.3, 256 people
    4.0 and 4.4. A network of three layers in place of the regression came to 4.5 with 200 people.
    """

    components: int = 64
    products: int = 64
    moves: int = 48
    ridge: float = 0.5


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Posed:
    """Faces' points as offsets from the mean head seen by the fitted camera; both in head units, `scale` in pixels."""

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


class Shape(nn.Module):
    """A fitted regression; all of it are buffers, so that it is stored with the weights of the network that draws."""

    offset_mean: Tensor
    offset_basis: Tensor
    move_mean: Tensor
    move_basis: Tensor
    feature_mean: Tensor
    feature_spread: Tensor
    weights: Tensor

    def __init__(self, config: ShapeConfig) -> None:
        super().__init__()
        self.config = config
        size, features = 2 * POINTS, _num_of_features(config)
        shapes: dict[str, tuple[int, ...]] = {
            "offset_mean": (size,),
            "offset_basis": (config.components, size),
            "move_mean": (size,),
            "move_basis": (config.moves, size),
            "feature_mean": (features,),
            "feature_spread": (features,),
            "weights": (features, config.moves),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))

    def encode(self, points: Float[Tensor, "b 468 2"]) -> Float[Tensor, "b c"]:
        """The code of the shape in each picture; the mean over a person's pictures is a better one."""
        return self._code(posed(points))

    def _code(self, face: Posed) -> Float[Tensor, "b c"]:
        parts, camera = (face.offsets.flatten(1) - self.offset_mean) @ self.offset_basis.T, face.camera.flatten(1)
        return torch.cat([parts, camera, _products(parts[:, : self.config.products], camera)], 1)

    def _features(self, code: Float[Tensor, "b c"], target: Posed) -> Float[Tensor, "b f"]:
        own, camera = self._code(target), target.camera.flatten(1)
        return torch.cat([code, own, _products(code[:, : self.config.products], camera)], 1)

    def forward(self, code: Float[Tensor, "b c"], target: Float[Tensor, "b 468 2"]) -> Float[Tensor, "b 468 2"]:
        """The target's points, moved to where the face of that code would have them."""
        face = posed(target)
        features = (self._features(code, face) - self.feature_mean) / self.feature_spread
        moved = (features @ self.weights) @ self.move_basis + self.move_mean
        return target + moved.view(-1, POINTS, 2) * face.scale[:, None, None]


def _num_of_code(config: ShapeConfig) -> int:
    return config.components + _CAMERA + config.products * _CAMERA


def _num_of_features(config: ShapeConfig) -> int:
    return 2 * _num_of_code(config) + config.products * _CAMERA


def _products(parts: Float[Tensor, "b p"], camera: Float[Tensor, "b c"]) -> Float[Tensor, "b q"]:
    return (parts[:, :, None] * camera[:, None, :]).flatten(1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ShapeExamples:
    """Points of every picture in its crop; rows of (target's view, true swap), and for each row the pictures of the source."""

    points: Float32[np.ndarray, "n 468 2"]
    rows: Int64[np.ndarray, "m 2"]
    sources: Sequence[Sequence[int]]


def fit_shape(examples: ShapeExamples, config: ShapeConfig) -> Shape:
    """The regression of these examples, each once with all pictures of the source and once with one of them.

    Closed form, in double precision. ValueError with fewer examples than principal components.
    """
    if len(examples.rows) < max(config.components, config.moves):
        raise ValueError(f"{len(examples.rows)} true swaps are too few for {config.components} components")
    shape = Shape(config).double()
    points = torch.from_numpy(examples.points).double()
    target, truth = (points[torch.from_numpy(examples.rows[:, column])] for column in (0, 1))
    face = posed(target)
    used = np.unique(np.concatenate([examples.rows.ravel(), *(np.array(each) for each in examples.sources)]))
    shape.offset_mean, shape.offset_basis, _ = _components(posed(points[torch.from_numpy(used)]).offsets, config.components)
    shape.move_mean, shape.move_basis, moves = _components((truth - target) / face.scale[:, None, None], config.moves)
    codes = shape.encode(points)
    features, wanted = [], []
    for pick in (_all_pictures, _one_picture):
        code = torch.stack([codes[pick(row, each)].mean(0) for row, each in enumerate(examples.sources)])
        features.append(shape._features(code, face))
        wanted.append(moves)
    x, y = torch.cat(features), torch.cat(wanted)
    shape.feature_mean, shape.feature_spread = x.mean(0), x.std(0).clamp(min=1e-6)
    x = (x - shape.feature_mean) / shape.feature_spread
    system = x.T @ x + config.ridge * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    shape.weights = torch.linalg.solve(system, x.T @ y)
    return shape.float().eval()


def _all_pictures(row: int, pictures: Sequence[int]) -> list[int]:
    return list(pictures)


def _one_picture(row: int, pictures: Sequence[int]) -> list[int]:
    return [pictures[row % len(pictures)]]


def _components(examples: Float[Tensor, "n 468 2"], number: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, principal components, and each example's coordinates in them."""
    flat = examples.flatten(1)
    mean = flat.mean(0)
    _, _, basis = torch.linalg.svd(flat - mean, full_matrices=False)
    return mean, basis[:number], (flat - mean) @ basis[:number].T


def eye_distance(points: Float[np.ndarray, "*n 468 2"]) -> Float[np.ndarray, "*n"]:
    """Distance between the eyes' outer corners in pixels."""
    return np.asarray(np.linalg.norm(points[..., 263, :] - points[..., 33, :], axis=-1))
