"""Recipes: what a verb is to do, as frozen trees of small configs that hash and round-trip through JSON."""

from dataclasses import dataclass, field, replace
from typing import Literal

from faceswap_lab.models.nets import PairNetConfig
from faceswap_lab.models.stream import StreamConfig
from faceswap_lab.models.train import TrainConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class CropData:
    """Where training crops come from: `num_views` frames of each person, spread evenly over footage or rendered for actors.

    Actors are rendered at `render_size` pixels. A share `speech_share` of their frames is speech, ten frames from each of many
    takes, for light and camera stay the same within a take; the rest ("range") covers pose, expression, light and camera.
    Performance seeds start at `seed`, far from those that scores are taken on.
    """

    num_views: int = 160
    render_size: int = 160
    speech_share: float = 0.5
    seed: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecipe:
    """Train a pair swapper. `supervision` "truth" needs two actors, "none" takes anybody, "auto" takes truth where it exists.

    Without truth the network is trained with `net.skips` off and `net.normalise` on, whatever `net` says (see PairNetConfig).
    A checkpoint is kept every `checkpoint_every` steps; resuming from it gives what an unbroken run gives.
    """

    supervision: Literal["auto", "truth", "none"] = "auto"
    tone: Literal["source", "target"] = "source"
    data: CropData = field(default_factory=CropData)
    net: PairNetConfig = field(default_factory=PairNetConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint_every: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapRecipe:
    """Put a source's face on footage. `num_source_frames` are looked at to know the source.

    `engine` finds and names faces: "offline", or "insight:" and a pack's folder or name. `preview` swaps so many first frames only,
    for a quick look; 0 is all.
    """

    stream: StreamConfig = field(default_factory=StreamConfig)
    engine: str = "offline"
    num_source_frames: int = 5
    preview: int = 0

    def __post_init__(self) -> None:
        if self.preview < 0:
            raise ValueError(f"a preview has at least 1 frame (0: no preview), got {self.preview}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRecipe:
    """Score a swap. `gallery_size` pictures of source and target each make the galleries that identity is read against.

    `engine` is the judge, as in `SwapRecipe`; one whose recogniser the swapper was trained with flatters it.
    """

    engine: str = "offline"

    gallery_size: int = 16
    gallery_seed: int = 2000


def pair(
    steps: int = 900, *, size: int = 96, num_views: int = 160, supervision: Literal["auto", "truth", "none"] = "auto"
) -> PairRecipe:
    """The pair swapper's recipe: `steps` of training on `num_views` views of each person at `size` pixels."""
    base = PairRecipe(supervision=supervision)
    return replace(
        base,
        net=replace(base.net, size=size),
        data=replace(base.data, num_views=num_views),
        train=replace(base.train, steps=steps, report_every=max(1, min(20, steps // 10))),
    )


def smoke() -> PairRecipe:
    """A recipe that shows that everything runs, in seconds: its pictures are mush."""
    base = pair(6, size=32, num_views=6)
    return replace(
        base, train=replace(base.train, batch=4, report_every=2), checkpoint_every=3, data=replace(base.data, render_size=128)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the quickstart notebook does: the training recipe, and how long and large its clips are."""

    pair: PairRecipe
    seconds: float
    size: int


def plan(name: str) -> Plan:
    """`"quickstart"`: about six minutes on two cores. `"smoke"`: everything runs, nothing is learned."""
    plans = {"quickstart": Plan(pair=pair(1600), seconds=4, size=256), "smoke": Plan(pair=smoke(), seconds=0.24, size=160)}
    if name not in plans:
        raise ValueError(f"recipe must be one of {', '.join(plans)}, got {name!r}")
    return plans[name]
