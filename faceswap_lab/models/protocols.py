"""Protocols of face engines and swappers, and the batches they exchange."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
from jaxtyping import Float, Int64
from torch import Tensor

from faceswap_lab.faces.face import Faces, PointSet
from faceswap_lab.faces.frame import Frame, Image


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Metadata of a set of weights. `subjects` is (source, target) for weights fitted to two people, empty for any face."""

    name: str
    task: Literal["detect", "embed", "landmarks", "swap"]
    licence: str
    source: str
    sha256: str = ""
    subjects: tuple[str, ...] = ()
    notes: str = ""


@runtime_checkable
class Engine(Protocol):
    """Detection, landmarks and recognition on full RGB frames.

    Engines inherit from this class; its concrete methods are defaults for engines without that capability.
    """

    @property
    @abstractmethod
    def embedder(self) -> str:
        """Name of the recogniser used by `embed`."""

    @property
    @abstractmethod
    def point_set(self) -> PointSet | None:
        """The dense landmarks that `landmarks` returns; None if unsupported."""

    @property
    def record(self) -> str:
        """The engine's identity for a run's key: the digests of its files, or empty if the package pins them itself."""
        return ""

    def providers(self) -> dict[str, str]:
        """Network to its onnxruntime provider; only networks that are not limited to the CPU. Loads them."""
        return {}

    @abstractmethod
    def detect(self, frame: Frame) -> Faces:
        """All faces with boxes, five keypoints and scores, sorted by descending score."""

    def detect_all(self, frames: Sequence[Frame]) -> list[Faces]:
        """The results of `detect` for each frame; an engine may batch them."""
        return [self.detect(frame) for frame in frames]

    def upright_probability(self, frame: Frame, faces: Faces) -> Float[np.ndarray, " n"]:
        """Probability (0..1) that each face is upright; 1 from an engine that can't tell."""
        return np.ones(len(faces), np.float32)

    @abstractmethod
    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with dense landmarks. Raises WeightsError if `point_set` is None."""

    @abstractmethod
    def embed(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with unit embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crops:
    """n aligned crops as network input: RGB pixels 0..1 on any device, matrices and indices on the host.

    `frame_to_crop` maps frame pixels to crop pixels (pixel centres at integers); `landmarks`, if present, are in crop pixels.
    """

    pixels: Float[Tensor, "n 3 s s"]
    frame_to_crop: Float[np.ndarray, "n 2 3"]
    frame_index: Int64[np.ndarray, " n"]
    template: str
    landmarks: Float[np.ndarray, "n k 2"] | None = None

    def __len__(self) -> int:
        return len(self.frame_index)

    def __getitem__(self, rows: slice) -> "Crops":
        return Crops(
            pixels=self.pixels[rows],
            frame_to_crop=self.frame_to_crop[rows],
            frame_index=self.frame_index[rows],
            template=self.template,
            landmarks=None if self.landmarks is None else self.landmarks[rows],
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swapped:
    """A swapper's output: pixels like the crops', and a mask 0..1 of where they replace the target (None: the whole face)."""

    pixels: Float[Tensor, "n 3 s s"]
    mask: Float[Tensor, "n 1 s s"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A source person: name, and frames with one face each (with landmarks and embeddings as required by the swapper's Needs)."""

    subject: str
    frames: Sequence[Frame]
    faces: Sequence[Faces]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """A swapper's input requirements, read before anything is computed.

    `on_host`: it computes in host memory, so crops are cut and pasted there too, whatever the device: no need to go down and up.
    """

    template: str
    size: int
    source: Literal["trained", "embedding", "crop"]
    embedder: str | None = None
    point_set: PointSet | None = None
    max_batch: int | None = None
    on_host: bool = False


C = TypeVar("C")


@runtime_checkable
class Swapper(Protocol[C]):
    """Draws sources' faces into crops. `encode` is called once per job, never per frame; C is opaque to the caller."""

    @property
    def card(self) -> Card:
        """Origin of the weights and the people they are for."""
        ...

    @property
    def needs(self) -> Needs:
        """Requirements on crops and sources."""
        ...

    def providers(self) -> dict[str, str]:
        """As `Engine.providers`."""
        ...

    def encode(self, sources: Sequence[Source]) -> C:
        """Encodes whatever `__call__` needs of each source; row i of a batch uses `sources[which[i]]`."""
        ...

    def __call__(self, crops: Crops, codes: C, which: Int64[np.ndarray, " n"]) -> Swapped:
        """Row i of `crops` with the face of source `which[i]`."""
        ...


AnySwapper = Swapper[Any]
__all__ = [
    "AnySwapper",
    "Card",
    "Crops",
    "Engine",
    "Image",
    "Needs",
    "Source",
    "Swapped",
    "Swapper",
]
