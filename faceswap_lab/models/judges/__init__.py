"""Judges: face recognisers that nothing here is trained with or selected by, so that they can say whose face a picture shows."""

from faceswap_lab.models.judges.panel import NAMES, judges
from faceswap_lab.models.judges.recogniser import Recogniser

__all__ = ["NAMES", "Recogniser", "judges"]
