"""Frames in, swapped frames out: canvases, overlapped stages, the swap of a clip."""
