"""What is scored: methods by name. Each turns a pair into pictures, or says why it can't."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int64

from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.tracks import TrackPair
from faceswap_lab.errors import FaceError
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces, largest
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models.protocols import AnySwapper, Card, Crops, Engine, Needs, Source, Swapped
from faceswap_lab.models.registry import check_points
from faceswap_lab.models.stream.swap_frames import StreamConfig, swap_frames


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """A method's pictures of a pair, one for each of its frames; `missed` had no face that the method found, and are the target's.

    `seconds` is what they took, without rendering and without what is done once for a source.
    """

    images: Sequence[Image]
    missed: int = 0
    seconds: float = 0.0


@runtime_checkable
class Method(Protocol):
    """Something that swaps faces. `swap` may raise whatever it likes: the pair is then counted as failed, with the reason."""

    @property
    def name(self) -> str:
        """What it is called in the tables."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What identifies it: weights, licence, settings."""
        ...

    def swap(self, pair: TrackPair) -> Outcome:
        """The pictures of a pair."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Copy:
    """Changes nothing: the floor, as a method."""

    name: str = "copy"
    facts: Mapping[str, str] = field(default_factory=lambda: {"is": "the target, unchanged: the floor"})

    def swap(self, pair: TrackPair) -> Outcome:
        """See `Method`."""
        take = pair.take()
        return Outcome(images=[take.rendered(index).image for index in pair.frames])


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """The correct result: the ceiling, as a method."""

    name: str = "truth"
    facts: Mapping[str, str] = field(default_factory=lambda: {"is": "the rendered true swap: the ceiling"})

    def swap(self, pair: TrackPair) -> Outcome:
        """See `Method`."""
        truth = pair.truth()
        return Outcome(images=[truth.rendered(index).image for index in pair.frames])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Swapping:
    """A swapper of the lab, run as in `lab.swap`: found by the engine, cut, drawn, pasted."""

    name: str
    swapper: AnySwapper
    engine: Engine
    device: torch.device
    more: Mapping[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, str]:
        """The swapper's card."""
        return told(self.swapper.card) | dict(self.more)

    def swap(self, pair: TrackPair) -> Outcome:
        """See `Method`. FaceError if it knows other people only, or draws what is not a number."""
        check_points(self.engine, self.swapper)
        known = self.swapper.card.subjects
        if known and {Actor(pair.source).subject, Actor(pair.target).subject} != set(known):
            raise FaceError(
                expected=f"a pair of {' and '.join(known)}, whom {self.swapper.card.name} was trained on",
                got=pair.name,
                remedy="let the benchmark fit a pair (pair-supervised), or score a method for any face",
            )
        finite = Finite(inner=self.swapper)
        codes = finite.encode([source_of(pair, self.engine, self.swapper.needs)])
        images: list[Image] = []
        missed, spent = 0, dict[str, float]()
        for first, stop in runs_of(pair.frames):
            stream = swap_frames(
                pair.take(),
                engine=self.engine,
                swapper=finite,
                codes=codes,
                config=StreamConfig(batch=1),
                device=self.device,
                corrections=Corrections(),
                start=first,
                stop=stop,
                spent=spent,
            )
            for made in stream:
                images.append(made.frame.image)
                missed += not len(made.faces)
        return Outcome(images=images, missed=missed, seconds=sum(s for name, s in spent.items() if name != "read"))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Finite:
    """A swapper whose answers are checked: pixels or a mask that are no numbers would be pasted as black or noise."""

    inner: AnySwapper

    @property
    def card(self) -> Card:
        """The inner one's."""
        return self.inner.card

    @property
    def needs(self) -> Needs:
        """The inner one's."""
        return self.inner.needs

    def providers(self) -> dict[str, str]:
        """The inner one's."""
        return self.inner.providers()

    def encode(self, sources: Sequence[Source]) -> Any:
        """The inner one's."""
        return self.inner.encode(sources)

    def __call__(self, crops: Crops, codes: Any, which: Int64[np.ndarray, " n"]) -> Swapped:
        """The inner one's answer. FaceError if it is not finite."""
        answer = self.inner(crops, codes, which)
        for what, values in (("pixels", answer.pixels), ("mask", answer.mask)):
            if values is not None and not bool(torch.isfinite(values).all()):
                raise FaceError(
                    expected=f"{what} that are numbers",
                    got=f"NaN or infinity from {self.card.name}",
                    remedy="look for a division by zero or an overflow in the method",
                )
        return answer


def source_of(pair: TrackPair, engine: Engine, needs: Needs) -> Source:
    """What a method is shown of the source: the pair's pictures of them in which a face is found."""
    frames: list[Frame] = []
    faces: list[Faces] = []
    for take, index in pair.shown():
        frame = take[index]
        face = largest(engine.detect(frame))
        if not len(face):
            continue
        face = engine.landmarks(frame, face) if needs.point_set is not None else face
        frames.append(frame)
        faces.append(engine.embed(frame, face) if needs.source == "embedding" else face)
    if not frames:
        raise FaceError(
            expected=f"a face in a picture of actor:{pair.source}",
            got=f"none in {len(pair.shown())} pictures",
            remedy="choose an engine that finds rendered faces",
        )
    return Source(subject=Actor(pair.source).subject, frames=frames, faces=faces)


def runs_of(frames: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending frame numbers as stretches (first, stop)."""
    stretches = groupby(enumerate(frames), key=lambda each: each[1] - each[0])
    found = [[index for _, index in stretch] for _, stretch in stretches]
    return [(each[0], each[-1] + 1) for each in found]


def told(card: Card) -> dict[str, str]:
    """A card's facts, without what it doesn't say."""
    facts = {"weights": card.name, "sha256": card.sha256, "licence": card.licence, "source": card.source, "notes": card.notes}
    return {name: value for name, value in facts.items() if value}
