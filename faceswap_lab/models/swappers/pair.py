"""The swapper trained on two people: it draws either one in the other's performance, and refuses anyone else."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from faceswap_lab.actors.gfx.transfer import send
from faceswap_lab.errors import ConsentError, WeightsError
from faceswap_lab.models.protocols import Card, Crops, Needs, Source, Swapped
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig

TEMPLATE = "whole-face"
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
        about = {"card": json.dumps(asdict(self.card)), "net": json.dumps(asdict(self._net.config))}
        tensors = {name: tensor.contiguous().cpu() for name, tensor in self._net.state_dict().items()}
        _require_finite(path, tensors)
        # As bytes, since safetensors' own writer does not raise OSError on a full disk.
        path.write_bytes(_with_sorted_header(save(tensors, metadata=about)))

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "PairSwapper":
        """Reads the output of `save`. Raises WeightsError for any other file, and for weights that are not finite."""
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            if missing := {"net", "card"} - about.keys():
                raise ValueError(f"no {' and no '.join(sorted(missing))} in its metadata")
            net = PairNet(PairNetConfig(**json.loads(about["net"])))
            net.load_state_dict(tensors)
            fields = json.loads(about["card"])
            card = Card(**{**fields, "subjects": tuple(fields["subjects"])})
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise WeightsError(
                expected="a pair swapper's safetensors file with its card",
                got=f"{path}: {' '.join(str(error).split())[:200]}",
                remedy="train the pair again",
            ) from error
        _require_finite(path, tensors)
        return cls(net.to(device), card)


def _with_sorted_header(data: bytes) -> bytes:
    """The safetensors file with its JSON header sorted: the library writes metadata keys in unspecified order, and a file's digest
    counts in the keys of the runs that use it."""
    length = int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    padded = header + b" " * (-len(header) % 8)
    return len(padded).to_bytes(8, "little") + padded + data[8 + length :]


def _require_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    wrong = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if wrong:
        raise WeightsError(
            expected=f"finite weights in {path}",
            got=f"NaN or infinity in {len(wrong)} of {len(tensors)} tensors, {wrong[0]} among them",
            remedy="train the pair again, at a lower learning rate (recipe.train.learning_rate) if they came from training",
        )
