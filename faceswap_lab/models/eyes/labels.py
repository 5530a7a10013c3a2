"""The labels that the eyes tell apart: fewer than the renderer's, by what a swap has to know."""

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np
from jaxtyping import UInt8

from faceswap_lab.actors.render.truth_maps import LABELS as RENDERED

LABELS = ("background", "skin", "brows", "eyes", "lips", "mouth", "hair", "glasses", "hat", "occluder")
"""Names of a label map's values. Skin includes nose, ears and neck; mouth is its interior with teeth and tongue.

Clothes are background. Eyes behind clear lenses are eyes, behind dark ones glasses.
"""

COVERS = ("hair", "glasses", "hat", "occluder")
"""What may lie over a face, and stays the target's in a swap."""

_SAME: Mapping[str, str] = MappingProxyType(
    {"nose": "skin", "ears": "skin", "neck": "skin", "inner mouth": "mouth", "teeth": "mouth", "clothes": "background"}
)
_ROWS = np.array([LABELS.index(_SAME.get(name, name)) for name in RENDERED], np.uint8)


def from_rendered(labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """The renderer's label map (`actors.render.truth_maps`) in these labels."""
    return np.asarray(_ROWS[labels], np.uint8)
