"""Work on some of many samples: by their row numbers on the CPU, by a mask elsewhere.

How many samples a mask selects is known only when it has been computed. On the CPU that costs nothing, and gathering the samples
saves the work on the others. On a GPU the host would wait for the number, which costs more than the work: there everything is
computed for all samples, and the mask decides what is kept.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import fetch
from faceswap_lab.actors.gfx.vectors import pick


@dataclass(frozen=True, slots=True, eq=False)
class Selected:
    """The samples of a mask. `rows` are their numbers on the CPU, None elsewhere: there all samples are worked on.

    The mask may be shorter than the tables it is used on: it is about their first rows.
    """

    mask: Bool[Tensor, " n"]
    rows: Int[Tensor, " m"] | None

    @classmethod
    def where(cls, mask: Bool[Tensor, " n"]) -> "Selected":
        """The samples where the mask is true."""
        return cls(mask, mask.nonzero()[:, 0] if mask.device.type == "cpu" else None)

    def narrowed(self, inner: "Selected") -> "Selected":
        """Those of the samples that `inner`, a selection of what `pick` returns, selects."""
        if self.rows is None or inner.rows is None:
            return Selected(self.mask & inner.mask, None)
        return Selected(self.mask, pick(self.rows, inner.rows))

    def pick(self, table: Tensor) -> Tensor:
        """The samples' rows of a table; elsewhere than on the CPU, those of all samples."""
        return table[: len(self.mask)] if self.rows is None else pick(table, self.rows)

    def put(self, table: Tensor, values: Tensor | float) -> None:
        """Writes the samples' values, in the order of `pick`, into the table in place."""
        if self.rows is not None:
            table[self.rows] = values
        else:
            part = table[: len(self.mask)]
            part.copy_(torch.where(self._over(part), values, part))

    def add(self, table: Tensor, values: Tensor, *, alpha: float = 1) -> None:
        """Adds `alpha` times the samples' values, in the order of `pick`, to the table in place."""
        if self.rows is not None:
            table.index_add_(0, self.rows, values, alpha=alpha)
        else:
            part = table[: len(self.mask)]
            part.copy_(torch.where(self._over(part), torch.add(part, values, alpha=alpha), part))

    def _over(self, table: Tensor) -> Tensor:
        return self.mask.view(-1, *(1 for _ in table.shape[1:]))


def rows_where(*masks: Bool[Tensor, " _"]) -> list[Int[Tensor, " _"]]:
    """The row numbers where each mask is true, in order. Elsewhere than on the CPU, one wait for the numbers of all masks."""
    if not masks or masks[0].device.type == "cpu":
        return [mask.nonzero()[:, 0] for mask in masks]
    (counts,) = fetch(torch.stack([mask.sum() for mask in masks]))
    return [_compacted(mask, int(count)) for mask, count in zip(masks, counts, strict=True)]


def _compacted(mask: Bool[Tensor, " n"], count: int) -> Int[Tensor, " count"]:
    """`mask.nonzero()` of a known length: every true row is written to its place, all others to a place behind the last."""
    place = torch.where(mask, mask.cumsum(0) - 1, count)
    rows = torch.zeros(count + 1, dtype=torch.long, device=mask.device)
    return rows.scatter_(0, place, torch.arange(len(mask), device=mask.device))[:count]
