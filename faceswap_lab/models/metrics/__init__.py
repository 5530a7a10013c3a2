"""Swap quality metrics."""

from faceswap_lab.models.metrics.pictures import Score as Score
