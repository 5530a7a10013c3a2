"""Where an estimator of pose, expression and gaze comes in: its protocol, and the one that there is, if any."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from faceswap_lab.actors.render.render import Rendered
from faceswap_lab.faces.frame import Image
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


def estimator() -> Estimator | None:
    """The estimator of this version; None if there is none (`ABSENT` says so in words)."""
    return None


def true_parameters(rendered: Rendered) -> Estimate:
    """The parameters that the picture was rendered with."""
    return Estimate(
        rotation=np.asarray(rendered.head_to_camera[:3, :3], np.float64),
        actions=np.array(list(rendered.actions.values()), np.float64),
        gaze=np.asarray(rendered.gaze, np.float64),
    )
