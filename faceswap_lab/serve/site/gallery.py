"""What the demo offers to choose from: the desk's sources, and performances of its actors, each with a picture."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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


_TAKES: tuple[tuple[str, int, Literal["still", "speech", "turn"], int, int], ...] = (
    ("facing", 3, "still", 1, 512),
    ("talking", 4, "speech", 1, 512),
    ("turning", 0, "turn", 1, 512),
    ("a clip", 6, "speech", 12, 256),
)
"""The performances: a caption, which of the offered actors after the first, what they do, how many frames, of what size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """A performance to choose: the desk's sample, by its key and with a caption."""

    key: str
    caption: str
    sample: Sample


def take_of(sample: Sample) -> Take:
    """The footage of a sample, as the desk renders it."""
    return Actor(sample.seed).perform(sample.performance, seconds=sample.num_frames / 25, fps=25, size=sample.size)


def performances(sources: Iterable[Source]) -> list[Performance]:
    """The performances of the actors among the sources, for the desk offers no others'. ValueError if there is no actor."""
    seeds = [source.seed for source in sources if source.seed is not None]
    if not seeds:
        raise ValueError("a demo offers at least one actor")
    found = {}
    for caption, place, kind, num_frames, size in _TAKES:
        # Not the first's, whose face is chosen when the page opens: on themselves nothing would change.
        seed = seeds[1 + place % (len(seeds) - 1)] if len(seeds) > 1 else seeds[0]
        sample = Sample(seed=seed, performance=kind, num_frames=num_frames, size=size)
        key = f"actor:{sample.seed}/{kind}{'' if num_frames == 1 else f':{num_frames}'}"
        found[key] = Performance(key=key, caption=caption, sample=sample)
    return list(found.values())


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


def offered_takes(takes: Iterable[Performance], root: Path) -> list[Offer]:
    """The performances to choose from, each with its first frame as a picture."""
    return [
        Offer(key=take.key, caption=take.caption, about=take.key, file=f"{name_of(take)}.png", make=_still(take.sample, root))
        for take in takes
    ]


def name_of(take: Performance) -> str:
    """A file's stem for a performance: another one for another rendering."""
    return f"{take.key.replace(':', '-').replace('/', '-')}-{VERSION}-{take.sample.num_frames}x{take.sample.size}"


def _portrait(actor: Actor, root: Path) -> Callable[[Path], object]:
    return lambda path: export_portrait(actor, path, root=root, size=_PORTRAIT_SIDE)


def _still(sample: Sample, root: Path) -> Callable[[Path], object]:
    return lambda path: export_take(take_of(sample), path, root=root, index=0)


def _card(path: Path) -> None:
    """A plain card in place of a portrait."""
    from PIL import Image

    Image.new("RGB", (_PORTRAIT_SIDE, _PORTRAIT_SIDE), (100, 107, 120)).save(path)
