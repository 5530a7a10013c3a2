"""The swapper trained on two people: it draws either one in the other's performance, and refuses anyone else."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64

from faceswap_lab.actors.gfx.transfer import send
from faceswap_lab.errors import ConsentError
from faceswap_lab.models.protocols import Card, Crops, Needs, Source, Swapped
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.weights.tensor_file import read_tensors, unreadable, write_tensors

TEMPLATE = "whole-face"
_TRAIN_LOWER = "train the pair again, at a lower learning rate (recipe.train.learning_rate) if they came from training"
_REDUCED = torch.float16
"""Precision of products on CUDA. A test holds its pictures to within a level of those in single precision."""


class PairSwapper:
    """A trained PairNet. `card.subjects` are the two people, the first drawn by decoder 0."""

    def __init__(self, net: PairNet, card: Card) -> None:
        self._net = net.eval()
        self.card = card
        self.needs = Needs(template=TEMPLATE, size=net.config.size, source="trained")

    @property
    def device(self) -> torch.device:
        """The device of its weights, on which it computes."""
        return next(self._net.parameters()).device

    def providers(self) -> dict[str, str]:
        """None: it runs in torch."""
        return {}

    def encode(self, sources: Sequence[Source]) -> list[int]:
        """The decoder of each source. Raises ConsentError for anyone the weights were not trained on."""
        for source in sources:
            if source.subject not in self.card.subjects:
                raise ConsentError(
                    expected=f"a source these weights were trained on ({', '.join(self.card.subjects)})",
                    got=source.subject,
                    remedy="train on this pair first, or use swapper='warp'",
                )
        return [self.card.subjects.index(source.subject) for source in sources]

    def __call__(self, crops: Crops, codes: list[int], which: Int64[np.ndarray, " n"]) -> Swapped:
        """Each crop redrawn as the person of its code, on the device of the crops' pixels."""
        people, device = np.array([codes[row] for row in which], dtype=np.int64), crops.pixels.device
        with torch.inference_mode(), torch.autocast(device.type, _REDUCED, enabled=device.type == "cuda"):
            if len(set(people)) == 1:  # as in every swap by the lab
                drawn = self._net(crops.pixels, int(people[0])).float()
            else:
                drawn = torch.zeros(len(crops), 4, self.needs.size, self.needs.size, device=device)
                for person in np.unique(people):
                    (rows,) = send(device, torch.from_numpy(np.flatnonzero(people == person)))
                    drawn[rows] = self._net(crops.pixels[rows], int(person)).float()
        return Swapped(pixels=drawn[:, :3], mask=drawn[:, 3:])

    def save(self, path: Path) -> None:
        """Writes weights, network config and card as one safetensors file. WeightsError if a weight is not finite."""
        write_tensors(path, self._net.state_dict(), {"card": asdict(self.card), "net": asdict(self._net.config)}, _TRAIN_LOWER)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "PairSwapper":
        """Reads the output of `save`. Raises WeightsError for any other file, and for weights that are not finite."""
        expected, remedy = "a pair swapper's safetensors file with its card", "train the pair again"
        tensors, about = read_tensors(path, {"card", "net"}, expected=expected, remedy=remedy, not_finite=_TRAIN_LOWER)
        try:
            net = PairNet(PairNetConfig(**about["net"]))
            net.load_state_dict(tensors)
            card = Card(**{**about["card"], "subjects": tuple(about["card"]["subjects"])})
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise unreadable(path, error, expected=expected, remedy=remedy) from error
        return cls(net.to(device), card)
