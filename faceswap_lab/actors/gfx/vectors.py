"""Operations on long arrays of 3-vectors, in the forms that torch executes fast on a CPU.

A frame has some hundred thousand samples with several 3-vectors each. Indexing rows with brackets and summing over a last axis of
three take several times longer than these functions, and together took a third of a frame's time.
"""

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor


def pick(table: Shaped[Tensor, " n *rest"], rows: Int[Tensor, "*shape"]) -> Shaped[Tensor, "..."]:
    """`table[rows]`, for an index of any shape."""
    if rows.dim() == 1:
        return table.index_select(0, rows)
    return table.index_select(0, rows.reshape(-1)).view(*rows.shape, *table.shape[1:])


def dot(a: Float[Tensor, "n 3"], b: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
    """Row-wise dot products."""
    return torch.addcmul(torch.addcmul(a[:, 0] * b[:, 0], a[:, 1], b[:, 1]), a[:, 2], b[:, 2])


def unit(vectors: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Rows normalised to unit length; a zero row stays zero."""
    return vectors * dot(vectors, vectors).clamp_min(1e-24).rsqrt()[:, None]
