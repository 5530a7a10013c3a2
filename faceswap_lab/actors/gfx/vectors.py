"""Operations on long tables of short vectors, in the forms that torch does fast on a CPU.

A frame is some hundred thousand samples with three numbers here and three there. Picking rows by brackets and summing over a last
axis of three take several times longer than what stands here, and together they were a third of a frame.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def pick(table: Shaped[Tensor, "n *rest"], rows: Int[Tensor, "*shape"]) -> Shaped[Tensor, "..."]:
    """`table[rows]` for rows of any shape."""
    if rows.dim() == 1:
        return table.index_select(0, rows)
    return table.index_select(0, rows.reshape(-1)).view(*rows.shape, *table.shape[1:])


def dot(a: Float[Tensor, "n 3"], b: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Scalar products, row by row."""
    return torch.addcmul(torch.addcmul(a[:, 0] * b[:, 0], a[:, 1], b[:, 1]), a[:, 2], b[:, 2])


def unit(vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """The rows at length one; a row of zeros stays one."""
    return vectors * dot(vectors, vectors).clamp_min(1e-24).rsqrt()[:, None]
