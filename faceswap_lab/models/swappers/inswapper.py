"""INSwapper-type swappers from an ONNX file: from a crop and the source's embedding to the swapped crop.

Needs only onnxruntime. Crop size, batch size and the map from embeddings to the network's latent space are read from the file.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64
from torch import Tensor

from faceswap_lab.errors import FaceError, WeightsError
from faceswap_lab.models import device as devices
from faceswap_lab.models.onnx_runtime import onnxruntime
from faceswap_lab.models.protocols import Card, Crops, Needs, Source, Swapped
from faceswap_lab.models.weights import onnx_inspect, restricted
from faceswap_lab.models.weights.onnx_inspect import Graph

_TYPES = {"float32": torch.float32, "float16": torch.float16}


class Inswapper:
    """Implements `protocols.Swapper`; codes are (number of sources, d) unit vectors in the network's latent space.

    `embedder` names the recogniser whose embeddings the file was trained with; the file itself does not record it. The network
    predicts no mask: the whole crop is pasted, feathered at its border.
    """

    def __init__(self, graph: Graph, session: onnxruntime.InferenceSession, embedder: str) -> None:
        self._graph, self._session = graph, session
        self._to_latent = _identity_map(graph)
        picture = graph.inputs[0]
        size = picture.shape[2]
        assert size is not None
        self.card = Card(
            name=graph.path.stem,
            task="swap",
            licence=restricted.licence_of(graph.sha256),
            source="an ONNX file of INSwapper's shape",
            sha256=graph.sha256,
        )
        # Inputs or outputs may fix the batch size; a file that fixes it above one could not process the last, smaller batch.
        fixed = [port for port in (*graph.inputs, *graph.outputs) if port.shape[:1] not in ((), (None,))]
        template = "arcface" if size % 112 == 0 else "arcface-128"
        self.needs = Needs(template=template, size=size, source="embedding", embedder=embedder, max_batch=1 if fixed else None)

    @classmethod
    def open(cls, path: Path, device: torch.device, *, embedder: str) -> "Inswapper":
        """Reads, checks and loads a file. Raises WeightsError for any other file, LicenceError if its licence was not accepted."""
        graph = check(onnx_inspect.inspect(path))
        restricted.require_accepted([graph.sha256])
        return cls(graph, devices.onnx_session(path, device), embedder)

    def providers(self) -> dict[str, str]:
        """The network's provider as reported by onnxruntime."""
        return devices.providers(swap=self._session)

    def encode(self, sources: Sequence[Source]) -> Float32[np.ndarray, "n d"]:
        """Each source's mean embedding direction, mapped by the file's matrix. FaceError for a source without embeddings."""
        codes = np.zeros((len(sources), self._to_latent.shape[0]), np.float32)
        for row, source in enumerate(sources):
            vectors = [faces.embeddings[0] for faces in source.faces if len(faces) and faces.embeddings is not None]
            if not vectors:
                raise FaceError(
                    expected=f"a face of {source.subject} with an embedding",
                    got=f"none in {len(source.frames)} frames",
                    remedy="pass the faces through Engine.embed, and choose pictures that show the face",
                )
            self._check_embedder(source, len(vectors[0]))
            mean = np.mean(vectors, axis=0)
            latent = mean / np.linalg.norm(mean) @ self._to_latent
            codes[row] = latent / np.linalg.norm(latent)
        return codes

    def __call__(self, crops: Crops, codes: Float32[np.ndarray, "m d"], which: Int64[np.ndarray, " n"]) -> Swapped:
        """Each crop redrawn as the person of its code, on the device of the crops' pixels; no mask."""
        step = self.needs.max_batch or max(1, len(crops))
        drawn = [
            self._draw(crops.pixels[start : start + step], codes[which[start : start + step]])
            for start in range(0, len(crops), step)
        ]
        pixels = torch.cat(drawn) if drawn else torch.zeros_like(crops.pixels)
        return Swapped(pixels=pixels.clamp(0, 1))

    def _draw(self, pixels: Float[Tensor, "n 3 s s"], latents: Float32[np.ndarray, "n d"]) -> Float[Tensor, "n 3 s s"]:
        """One inference run. Tensors are bound in place, so that pixels on a GPU stay there."""
        picture, code = self._graph.inputs
        there = pixels if pixels.device.type in ("cpu", "cuda") else pixels.cpu()
        given = there.to(_TYPES[picture.dtype]).contiguous()
        answer = torch.empty_like(given, dtype=_TYPES[self._graph.outputs[0].dtype])
        binding = self._session.io_binding()
        place = given.device.type, given.device.index or 0
        binding.bind_input(picture.name, *place, np.dtype(picture.dtype), tuple(given.shape), given.data_ptr())
        binding.bind_cpu_input(code.name, np.ascontiguousarray(latents, dtype=code.dtype))
        output = self._graph.outputs[0]
        binding.bind_output(output.name, *place, np.dtype(output.dtype), tuple(answer.shape), answer.data_ptr())
        if given.is_cuda:
            torch.cuda.current_stream(given.device).synchronize()  # onnxruntime uses its own stream
        with devices.running(f"{self.card.name} to return crops of {self.needs.size} pixels"):
            self._session.run_with_iobinding(binding)
            binding.synchronize_outputs()
        return answer.to(device=pixels.device, dtype=pixels.dtype)

    def _check_embedder(self, source: Source, width: int) -> None:
        names = {faces.embedder for faces in source.faces if len(faces)}
        if names != {self.needs.embedder} or width != self._to_latent.shape[0]:
            wanted = f"{self._to_latent.shape[0]} values of {self.needs.embedder}"
            raise WeightsError(
                expected=f"embeddings that {self.card.name} was trained with, {wanted}",
                got=f"{width} values of {', '.join(map(str, names))}",
                remedy="choose the engine with the recogniser that this swapper was trained with",
            )


def check(graph: Graph) -> Graph:
    """Returns the graph if it is of INSwapper's type. Raises WeightsError with the mismatch, before anything is run."""
    if len(graph.inputs) != 2 or len(graph.outputs) != 1:
        raise onnx_inspect.refusal(graph.path, "a swapper: two inputs, one output", f"{len(graph.inputs)} and {len(graph.outputs)}")
    (picture, code), (answer,) = graph.inputs, graph.outputs
    if any(port.dtype not in _TYPES for port in (picture, code, answer)):
        raise onnx_inspect.refusal(
            graph.path, "inputs and output of 32- or 16-bit floats", f"{picture.dtype}, {code.dtype}, {answer.dtype}"
        )
    size = picture.shape[2] if len(picture.shape) == 4 else None
    if size is None or not picture.fits(None, 3, size, size) or (size % 112 and size % 128):
        raise onnx_inspect.refusal(
            graph.path, "square crops, a multiple of 112 or 128 a side", f"{picture.name} {list(picture.shape)}"
        )
    if not answer.fits(None, 3, size, size):
        raise onnx_inspect.refusal(
            graph.path, f"outputs as large as the crops, {size} pixels a side", f"{answer.name} {list(answer.shape)}"
        )
    for port in (picture, code, answer):
        if port.shape[:1] not in ((), (None,), (1,)):
            raise onnx_inspect.refusal(graph.path, "a batch of one, or of any number", f"one of {port.shape[0]} in {port.name}")
    width = len(_identity_map(graph))
    if not code.fits(None, width):
        raise onnx_inspect.refusal(graph.path, f"codes of {width} values, as its map returns", f"{code.name} {list(code.shape)}")
    return graph


def _identity_map(graph: Graph) -> Float32[np.ndarray, "d d"]:
    """The matrix from embeddings to codes: by INSwapper's convention the last initializer, square."""
    last = graph.last
    if last is None or last.ndim != 2 or last.shape[0] != last.shape[1] or last.dtype.kind != "f" or not np.isfinite(last).all():
        got = "none" if last is None else f"{last.dtype}{list(last.shape)}"
        raise onnx_inspect.refusal(graph.path, "a square map of finite floats as the last initializer", got)
    return last.astype(np.float32)
