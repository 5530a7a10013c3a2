"""What the demo offers to choose from: the desk's sources, and performances of its actors, each with a picture."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.files import VERSION
from faceswap_lab.serve.orders import Sample
from faceswap_lab.serve.sources import Source
from faceswap_lab.trust.export import export_portrait, export_take

_PORTRAIT_SIDE = 192


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A face or a performance to choose: `make` writes its picture, marked and logged, to a path that ends in `file`."""

    key: str
    caption: str
    about: str
    file: str
    make: Callable[[Path], object]


TAKES: tuple[tuple[str, Sample], ...] = (
    ("facing", Sample(seed=33, performance="still")),
    ("talking", Sample(seed=48, performance="speech")),
    ("turning", Sample(seed=21, performance="turn")),
    ("a clip", Sample(seed=60, performance="speech", num_frames=12, size=256)),
)
"""Performances with their captions."""


def take_of(sample: Sample) -> Take:
    """The footage of a sample, as the desk renders it."""
    return Actor(sample.seed).perform(sample.performance, seconds=sample.num_frames / 25, fps=25, size=sample.size)


def samples() -> dict[str, Sample]:
    """The performances by their keys."""
    return {f"actor:{sample.seed}/{sample.performance}": sample for _, sample in TAKES}


def offered_sources(sources: Sequence[Source], root: Path) -> list[Offer]:
    """The faces to choose from. Of an operator's file no picture is shown: whoever is in it agreed to a swap, not to a gallery."""
    found = []
    for source in sources:
        if source.seed is None:
            found.append(
                Offer(key=source.name, caption=source.name, about=f"{source.name}, by consent", file="card.png", make=_card)
            )
            continue
        actor = Actor(source.seed)
        about = f"{actor.subject}, a {'man' if actor.traits.is_male else 'woman'} made by software"
        make = _portrait(actor, root)
        file = f"portrait-{VERSION}-{source.seed}-{_PORTRAIT_SIDE}.png"
        found.append(Offer(key=source.name, caption=source.name, about=about, file=file, make=make))
    return found


def offered_takes(sources: Collection[str], root: Path) -> list[Offer]:
    """The performances to choose from: those of the actors among the sources, for the desk offers no others."""
    captions = dict(zip(samples(), (caption for caption, _ in TAKES), strict=True))
    return [
        Offer(key=key, caption=captions[key], about=key, file=f"{name_of(key, sample)}.png", make=_still(sample, root))
        for key, sample in samples().items()
        if f"actor:{sample.seed}" in sources
    ]


def name_of(key: str, sample: Sample) -> str:
    """A file's stem for a performance: another one for another rendering."""
    return f"{key.replace(':', '-').replace('/', '-')}-{VERSION}-{sample.num_frames}x{sample.size}"


def _portrait(actor: Actor, root: Path) -> Callable[[Path], object]:
    return lambda path: export_portrait(actor, path, root=root, size=_PORTRAIT_SIDE)


def _still(sample: Sample, root: Path) -> Callable[[Path], object]:
    return lambda path: export_take(take_of(sample), path, root=root, index=0)


def _card(path: Path) -> None:
    """A plain card in place of a portrait."""
    from PIL import Image

    Image.new("RGB", (_PORTRAIT_SIDE, _PORTRAIT_SIDE), (100, 107, 120)).save(path)
