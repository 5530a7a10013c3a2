"""The class of train runs, with the trained swapper."""

from typing import TYPE_CHECKING, ClassVar

from faceswap_lab.errors import WeightsError
from faceswap_lab.runs.run import Run

if TYPE_CHECKING:
    import torch

    from faceswap_lab.models.swappers.oneshot import OneshotSwapper
    from faceswap_lab.models.swappers.pair import PairSwapper
    from faceswap_lab.trust.consent.gate import Subject

WEIGHTS, ONESHOT = "pair.safetensors", "oneshot.safetensors"


class TrainRun(Run):
    """A train run, as returned by `lab.train`."""

    VERB: ClassVar[str | None] = "train"
    RESULT_VERSION: ClassVar[int] = 2

    @property
    def weights(self) -> str:
        """The name of the artifact with the swapper's weights."""
        return ONESHOT if self.has(ONESHOT) else WEIGHTS

    def swapper(self, where: "torch.device") -> "PairSwapper | OneshotSwapper":
        """The trained swapper on a device. RunError if the training is not finished, WeightsError for another run's weights."""
        from faceswap_lab.models.swappers.oneshot import OneshotSwapper
        from faceswap_lab.models.swappers.pair import PairSwapper

        self.require_finished()
        kind = OneshotSwapper if self.weights == ONESHOT else PairSwapper
        swapper = kind.load(self.artifact(self.weights), where)
        if swapper.card.name != self.id:
            raise WeightsError(
                expected=f"the weights trained by {self.id}",
                got=f"those of {swapper.card.name}, according to their card",
                remedy=f"name {swapper.card.name} itself as the swapper, or train again",
            )
        return swapper

    def subjects(self) -> "tuple[Subject, ...]":
        """The people that it was trained on, reopened, so that the gate can be asked about them; none for a pack (actors only)."""
        from faceswap_lab.verbs.people import reopened, subject_of

        sides = (self.inputs[side] for side in ("source", "target") if side in self.inputs)
        return tuple(subject_of(reopened(record, self)) for record in sides)
