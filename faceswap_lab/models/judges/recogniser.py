"""A recogniser as a judge: an image and five points in, a unit vector out, the same to the last digit on one machine."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32

from faceswap_lab.errors import FaceError
from faceswap_lab.faces import align
from faceswap_lab.faces.frame import Image
from faceswap_lab.models.protocols import Card


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Recogniser:
    """One judge. `template` is where its own alignment puts the five points, `size` the side of its crop in pixels.

    `network` takes pixels 0..255 of that crop, RGB, to the recogniser's own vector, which need not be of unit length.
    """

    card: Card
    template: align.Template
    size: int
    network: Callable[[Float[np.ndarray, "3 s s"]], Float[np.ndarray, " d"]]

    @property
    def name(self) -> str:
        """The name on its card."""
        return self.card.name

    def crop(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Image:
        """What the network looks at."""
        matrix = align.similarity(keypoints5, self.template.at(self.size))
        return align.crop(image, matrix, self.size)

    def describe(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Float32[np.ndarray, " d"]:
        """The recogniser's own vector of the face with these five points (right eye, left eye, nose tip, mouth corners), in pixels.

        Raises FaceError for points that are not finite or coincide.
        """
        pixels = self.crop(image, keypoints5).transpose(2, 0, 1).astype(np.float32)
        return np.asarray(self.network(pixels), np.float32)

    def embed(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Float32[np.ndarray, " d"]:
        """The same as a unit vector, for cosines. Raises FaceError as `describe`, and where the vector has no direction."""
        vector = self.describe(image, keypoints5)
        length = float(np.linalg.norm(vector))
        if not np.isfinite(length) or length == 0:
            raise FaceError(
                expected=f"a face that {self.name} can describe",
                got=f"a vector of length {length}",
                remedy="choose another picture",
            )
        return np.asarray(vector / length, np.float32)
