"""Where an estimator of pose, expression and gaze comes in: its protocol, and the one that there is, if any."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from faceswap_lab.actors.render.render import Rendered
from faceswap_lab.faces.frame import Image
from faceswap_lab.files import canonical, sha256_text
from faceswap_lab.models.eyes.look import Eyes
from faceswap_lab.models.eyes.weights import bundled, card_of, verified
from faceswap_lab.models.protocols import Card

ABSENT = "no estimator of pose, expression and gaze is part of this version: these scores are not given"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Estimate:
    """What an estimator sees of a face: the head's rotation to the camera, the 52 actions in the rig's order (0..1), and unit
    vectors of gaze of the right and the left eye in the camera's frame."""

    rotation: Float[np.ndarray, "3 3"]
    actions: Float[np.ndarray, " a"]
    gaze: Float[np.ndarray, "2 3"]


@runtime_checkable
class Estimator(Protocol):
    """Estimates a face's parameters from its picture and five keypoints."""

    @property
    def card(self) -> Card:
        """Its name, digest and licence."""
        ...

    def estimate(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Estimate:
        """The face with these points, in pixels. FaceError if there is none."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OwnEyes:
    """The two networks of `models.eyes`, trained on actors of another split than those that are scored."""

    eyes: Eyes
    card: Card

    def estimate(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Estimate:
        """See `Estimator`."""
        seen = self.eyes.look(image, keypoints5)
        return Estimate(
            rotation=np.asarray(seen.rotation, np.float64),
            actions=np.array(list(seen.actions.values()), np.float64),
            gaze=np.asarray(seen.gaze, np.float64),
        )


def estimator(folder: Path | None = None) -> Estimator | None:
    """The estimator with the weights in `folder`, by default those that come with the package; None if there are none (`ABSENT`
    says so in words). Raises WeightsError for files that don't match their card."""
    place = folder or bundled()
    if not place.is_dir():
        return None
    about = card_of(verified(place))
    digest = sha256_text(canonical({name: each["sha256"] for name, each in about["files"].items()}))
    card = Card(name=about["name"], task="landmarks", licence=about["licence"], source=about["source"], sha256=digest)
    return OwnEyes(eyes=Eyes(place), card=card)


def true_parameters(rendered: Rendered) -> Estimate:
    """The parameters that the picture was rendered with."""
    return Estimate(
        rotation=np.asarray(rendered.head_to_camera[:3, :3], np.float64),
        actions=np.array(list(rendered.actions.values()), np.float64),
        gaze=np.asarray(rendered.gaze, np.float64),
    )
