"""Who judges identity in the benchmark: recognisers that no method was trained with or selected by; and each person's gallery."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.tracks import GALLERY_SEED, TrackPair
from faceswap_lab.errors import FaceError
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models.judges import judges
from faceswap_lab.models.protocols import Card, Engine
from faceswap_lab.models.weights import catalogue

Panel = Literal["independent", "engine"]


@runtime_checkable
class Judge(Protocol):
    """A recogniser: an image and five points in, a unit vector out."""

    @property
    def card(self) -> Card:
        """Its name, digest and licence."""
        ...

    def embed(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Float32[np.ndarray, " d"]:
        """The unit vector of the face with these five points, in pixels. FaceError if there is no such face."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EngineJudge:
    """The recogniser of an engine as a judge. It selects what is trained, so its verdict is partial: for trying things out."""

    engine: Engine

    @property
    def card(self) -> Card:
        """The card of the engine's recogniser, by its name."""
        known = [model.card for model in catalogue.MODELS.values() if model.card.name == self.engine.embedder]
        if known:
            return known[0]
        return Card(name=self.engine.embedder, task="embed", licence="as the engine's", source="the engine of the benchmark")

    def embed(self, image: Image, keypoints5: Float[np.ndarray, "5 2"]) -> Float32[np.ndarray, " d"]:
        """See `Judge`."""
        points = np.asarray(keypoints5, np.float32)
        box = np.concatenate([points.min(0), points.max(0)])
        face = Faces(frame_index=np.zeros(1, np.int64), boxes=box[None], keypoints=points[None], scores=np.ones(1, np.float32))
        vectors = self.engine.embed(Frame(image=image, origin="benchmark", index=0, time_s=0.0), face).embeddings
        assert vectors is not None
        return np.asarray(vectors[0], np.float32)


def panel(which: Panel, engine: Engine) -> tuple[Judge, ...]:
    """The judges in a fixed order. Raises WeightsError if their files were not fetched."""
    return (EngineJudge(engine=engine),) if which == "engine" else tuple(judges())


Galleries = Mapping[str, Mapping[int, np.ndarray]]
"""Judge's name to actor's seed to unit vectors, (n, d)."""


def galleries_of(pairs: Sequence[TrackPair], judges: Sequence[Judge], size: int) -> Galleries:
    """The galleries of everybody in these pairs: `size` pictures each, of a performance that is neither scored nor shown."""
    found: dict[str, dict[int, np.ndarray]] = {judge.card.name: {} for judge in judges}
    for seed in sorted({seed for pair in pairs for seed in (pair.source, pair.target)}):
        take = Actor(seed).perform("range", seconds=size / 25, fps=25, seed=GALLERY_SEED, size=pairs[0].size, wears="none")
        views = [take.rendered(index) for index in range(len(take))]
        for judge in judges:
            found[judge.card.name][seed] = np.stack([judge.embed(view.image, view.keypoints5) for view in views])
    return found


def vectors_of(
    images: Sequence[Image], points: Sequence[Float[np.ndarray, "5 2"]], judge: Judge
) -> list[Float32[np.ndarray, " d"] | None]:
    """The judge's vector of each picture, at the truth's own points; None where it sees no face."""
    found: list[np.ndarray | None] = []
    for image, keypoints in zip(images, points, strict=True):
        try:
            found.append(judge.embed(image, keypoints))
        except FaceError:  # a black or flat face has no direction: its identity scores are missing, and counted as such
            found.append(None)
    return found
