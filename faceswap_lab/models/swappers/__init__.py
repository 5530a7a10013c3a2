"""Swappers: the trained pair, the warp, and ONNX files of INSwapper's type."""
