"""What a face engine and a swapper are, and the batches that flow between them."""

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
    """What is known of a set of weights. `subjects` is (source, target) for weights fitted to two people, empty for any face."""

    name: str
    task: Literal["detect", "embed", "landmarks", "swap"]
    licence: str
    source: str
    sha256: str = ""
    subjects: tuple[str, ...] = ()
    notes: str = ""


@runtime_checkable
class Engine(Protocol):
    """Finds, marks and names faces on full RGB frames.

    An engine inherits this class; what is not abstract here is what one without that ability answers.
    """

    @property
    @abstractmethod
    def embedder(self) -> str:
        """Name of the recogniser whose vectors `embed` gives."""

    @property
    @abstractmethod
    def point_set(self) -> PointSet | None:
        """Which dense landmarks `landmarks` gives; None: it gives none."""

    @property
    def record(self) -> str:
        """What the engine is, for a run's key: the digests of its files, or nothing where the package pins them itself."""
        return ""

    def providers(self) -> dict[str, str]:
        """Network to what onnxruntime runs it on; only networks that can run elsewhere than on the CPU. Loads them."""
        return {}

    @abstractmethod
    def detect(self, frame: Frame) -> Faces:
        """All faces with boxes, five keypoints and scores, sorted by descending score."""

    def detect_all(self, frames: Sequence[Frame]) -> list[Faces]:
        """What `detect` finds in each frame; an engine may look at several at once."""
        return [self.detect(frame) for frame in frames]

    def upright_probability(self, frame: Frame, faces: Faces) -> Float[np.ndarray, " n"]:
        """0..1, how surely each face stands upright; 1 from an engine that can't tell."""
        return np.ones(len(faces), np.float32)

    @abstractmethod
    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with dense landmarks. Raises WeightsError where `point_set` is None."""

    @abstractmethod
    def embed(self, frame: Frame, faces: Faces) -> Faces:
        """The same faces with unit embeddings."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Crops:
    """n aligned patches for networks: pixels 0..1 RGB on any device, matrices and indices on the host.

    `frame_to_crop` maps frame pixels to crop pixels (pixel centres at integers); `landmarks`, where present, are in crop pixels.
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
    """A swapper's answer: pixels like the crops', and a mask 0..1 of where they replace the target (None: the whole face)."""

    pixels: Float[Tensor, "n 3 s s"]
    mask: Float[Tensor, "n 1 s s"] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """One person to take a face from: who, and frames with one face each (landmarks and embeddings as the swapper's Needs say)."""

    subject: str
    frames: Sequence[Frame]
    faces: Sequence[Faces]


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a swapper wants, read before anything is computed."""

    template: str
    size: int
    source: Literal["trained", "embedding", "crop"]
    embedder: str | None = None
    point_set: PointSet | None = None
    max_batch: int | None = None


C = TypeVar("C")


@runtime_checkable
class Swapper(Protocol[C]):
    """Puts sources' faces into crops. `encode` once per job, never per frame; C is opaque to the caller."""

    @property
    def card(self) -> Card:
        """Where the weights come from and whom they are for."""
        ...

    @property
    def needs(self) -> Needs:
        """How crops and sources must be prepared."""
        ...

    def providers(self) -> dict[str, str]:
        """As `Engine.providers`."""
        ...

    def encode(self, sources: Sequence[Source]) -> C:
        """Whatever `__call__` needs to know of each source; row i of a batch takes `sources[which[i]]`."""
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
