"""The library onnxruntime, for the modules that run networks with it: if it is missing or broken, they say how to install it."""

from faceswap_lab.errors import WeightsError

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as failures
except ImportError as error:
    raise WeightsError(
        expected="the library onnxruntime, which runs the networks that find and recognise faces",
        got=str(error),
        remedy="run `make setup`, or `pip install onnxruntime` (`onnxruntime-gpu` for an NVIDIA GPU; never both)",
    ) from error

__all__ = ["failures", "onnxruntime"]
