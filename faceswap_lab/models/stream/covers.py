"""What covers a face stays the target's: hair, glasses, hats and what is held before it, as our own eyes see them.

Off by default. What it changes was measured on actors with known truth (`docs/eyes.md`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.eyes.look import Eyes, shipped
from faceswap_lab.models.protocols import Crops, Swapped

Covers = Literal["swapped", "kept"]
"""What becomes of things that cover a face: drawn over as far as the swapper's own mask goes, or kept as they are in the target."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CoverKeeper:
    """Takes what covers a face out of a swapper's masks."""

    eyes: Eyes

    @classmethod
    def of(cls, covers: Covers) -> "CoverKeeper | None":
        """The keeper with the eyes that come with the package; None if nothing is kept."""
        return None if covers == "swapped" else cls(eyes=shipped())

    def kept(self, frames: Sequence[Frame], faces: Faces, crops: Crops, swapped: Swapped) -> Swapped:
        """The same output with masks that spare what covers each of `faces`, of which `crops` were cut from these frames.

        Raises WeightsError without the files of the eyes.
        """
        if not len(faces):
            return swapped
        images = {frame.index: frame.image for frame in frames}
        size = swapped.pixels.shape[-1]
        bare = np.zeros((len(faces), 1, size, size), np.float32)
        for row in range(len(faces)):
            outline = self.eyes.outline(images[int(faces.frame_index[row])], faces.keypoints[row])
            bare[row, 0] = 1 - outline.covered(crops.frame_to_crop[row], size)
        free = torch.from_numpy(bare).to(swapped.pixels.device)
        return replace(swapped, mask=free if swapped.mask is None else swapped.mask * free)
