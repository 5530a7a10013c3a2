"""faceswap_lab: an interactive face-swap research workbench that measures every swap against the true answer."""

__version__ = "0.1.0"
