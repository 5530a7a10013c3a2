"""Streaming swap: canvases, overlapped stages, and the swap of a clip."""
