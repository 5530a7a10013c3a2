"""The handle of a train run: the swapper that it made."""

from typing import TYPE_CHECKING, ClassVar

from faceswap_lab.errors import WeightsError
from faceswap_lab.runs.run import Run

if TYPE_CHECKING:
    import torch

    from faceswap_lab.models.swappers.pair import PairSwapper

WEIGHTS = "pair.safetensors"


class TrainRun(Run):
    """What `lab.train` returns."""

    VERB: ClassVar[str | None] = "train"
    RESULT_VERSION: ClassVar[int] = 1

    def swapper(self, where: "torch.device") -> "PairSwapper":
        """The trained swapper on a device. RunError if the training is not finished, WeightsError for another run's weights."""
        from faceswap_lab.models.swappers.pair import PairSwapper

        self.require_finished()
        swapper = PairSwapper.load(self.artifact(WEIGHTS), where)
        if swapper.card.name != self.id:
            raise WeightsError(
                expected=f"the weights that {self.id} trained",
                got=f"those of {swapper.card.name}, by their card",
                remedy=f"name {swapper.card.name} itself as the swapper, or train again",
            )
        return swapper
