"""Recipes: the settings of a verb, as frozen trees of small configs that hash and round-trip through JSON."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from faceswap_lab.actors.tracks import TRACKS, check_track
from faceswap_lab.faces.align import template_points
from faceswap_lab.faces.quality import NEAR_DUPLICATE_MAX
from faceswap_lab.models.clusters import REAL_PEOPLE
from faceswap_lab.models.eyes.casting import EyesSets
from faceswap_lab.models.oneshot.casting import TROUPE, OneshotSets
from faceswap_lab.models.oneshot.net import OneshotNetConfig
from faceswap_lab.models.oneshot.shape import ShapeConfig
from faceswap_lab.models.pack.detector import DetectorTraining
from faceswap_lab.models.pack.pictures import PackSets
from faceswap_lab.models.registry import ToneWish
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.models.swappers.pair_net import PairNetConfig
from faceswap_lab.models.training.config import TrainConfig
from faceswap_lab.models.training.oneshot import OneshotTraining
from faceswap_lab.models.training.pair import PairTraining
from faceswap_lab.runs.call import engine_kind
from faceswap_lab.runs.fields import Recipe

Layout = Literal["auto", "folder", "frames", "deepfacelab", "faceswap"]
"""Layouts supported by `find`. FaceForensics++ is only listed, by `find_ffpp`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CropData:
    """Where training crops come from: `num_views` frames of each person, spread evenly over footage or rendered for actors.

    Actors are rendered at `render_size` pixels. A fraction `speech_share` of their frames is speech, ten frames from each of many
    takes, since light and camera are constant within a take; the rest ("range") covers pose, expression, light and camera.
    Performance seeds start at `seed`, far from those used for scoring.
    """

    num_views: int = 160
    render_size: int = 160
    speech_share: float = 0.5
    seed: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class PairRecipe(Recipe):
    """Train a pair swapper. `supervision` "truth" needs two actors, "none" works for anybody, "auto" uses truth if available.

    The truth has the skin tone of `tone`.
    Without truth the network is trained with `net.skips` off and `net.normalise` on, regardless of `net` (see PairNetConfig).
    A checkpoint is saved every `checkpoint_every` steps; resuming from it gives the same result as an uninterrupted run.
    """

    SCHEMA: ClassVar[int] = 2

    supervision: Literal["auto", "truth", "none"] = "auto"
    tone: Literal["source", "target"] = "source"
    data: CropData = field(default_factory=CropData)
    net: PairNetConfig = field(default_factory=PairNetConfig)
    train: PairTraining = field(default_factory=PairTraining)
    checkpoint_every: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class PackScores:
    """How a pack is scored: on `num_actors` of the split "test" from seed `first`, `num_views` pictures each.

    The first `num_degraded` of these are also degraded by noise, blur and so on; `num_empty` pictures have no face.
    """

    first: int = 2_100_000
    num_actors: int = 100
    num_views: int = 5
    num_degraded: int = 2
    num_empty: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class PackRecipe(Recipe):
    """Train a pack of three networks in insightface's layout on actors, called `name`. Pictures are `sets`; each network has its
    own training settings.

    Recognition is trained on all of `sets`; detection and landmarks need fewer people: the first `num_for_places`.
    Checkpoints are saved every `checkpoint_every` steps.
    """

    SCHEMA: ClassVar[int] = 2

    name: str = "actors_s"
    sets: PackSets = field(default_factory=PackSets)
    num_for_places: int = 300
    detector: DetectorTraining = field(default_factory=DetectorTraining)
    points: TrainConfig = field(default_factory=lambda: TrainConfig(steps=5800, precision="bf16"))
    embedder: TrainConfig = field(default_factory=lambda: TrainConfig(steps=2800, precision="bf16"))
    scores: PackScores = field(default_factory=PackScores)
    checkpoint_every: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class EyesRecipe(Recipe):
    """Train the two networks of `models.eyes` on actors: `shape` finds points and labels, `expression` actions, gaze and pose.

    Pictures are `sets`; those of its test actors are rendered for the scores alone, after the training.
    Checkpoints are saved every `checkpoint_every` steps.
    """

    SCHEMA: ClassVar[int] = 1

    name: str = "eyes"
    sets: EyesSets = field(default_factory=EyesSets)
    shape: TrainConfig = field(default_factory=lambda: TrainConfig(steps=12_000, batch=32, precision="fp32"))
    expression: TrainConfig = field(default_factory=lambda: TrainConfig(steps=16_000, batch=32, precision="fp32"))
    checkpoint_every: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OneshotRecipe(Recipe):
    """Train a one-shot swapper, for any source and any target, on actors and their true swaps. Pictures are `sets`.

    `shape` is the regression that moves the target's points to where the source's face would have them, `net` and `train` the
    network that draws. Checkpoints are saved every `checkpoint_every` steps.
    """

    SCHEMA: ClassVar[int] = 1

    sets: OneshotSets = field(default_factory=OneshotSets)
    shape: ShapeConfig = field(default_factory=ShapeConfig)
    net: OneshotNetConfig = field(default_factory=OneshotNetConfig)
    train: OneshotTraining = field(default_factory=OneshotTraining)
    checkpoint_every: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SwapRecipe(Recipe):
    """Put a source's face on footage. `num_source_frames` frames are used to represent the source.

    `engine` detects and recognises faces: "offline", or "insight:" and a pack's folder or name. `preview` swaps only that many
    frames from the start; 0 swaps all.
    """

    SCHEMA: ClassVar[int] = 1

    stream: StreamConfig = field(default_factory=StreamConfig)
    engine: str = "offline"
    num_source_frames: int = 5
    preview: int = 0
    tone: ToneWish = "auto"

    def __post_init__(self) -> None:
        if self.preview < 0:
            raise ValueError(f"preview must be at least 1 frame (0: no preview), got {self.preview}")

    def keyed(self) -> "SwapRecipe":
        """The recipe as it enters a run's key: the engine's pack is identified by its digest among the inputs, not its path."""
        return replace(self, engine=engine_kind(self.engine))


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateRecipe(Recipe):
    """Score a swap. `gallery_size` pictures each of source and target form the galleries that identity is compared with.

    `engine` is the judge, "offline" or "insight:" and a pack; a recogniser that the swapper was trained with favours it.
    An actor's gallery is the performance of seed `gallery_seed`, far from those that are swapped.
    """

    SCHEMA: ClassVar[int] = 1

    engine: str = "offline"
    gallery_size: int = 16
    gallery_seed: int = 2000

    def keyed(self) -> "EvaluateRecipe":
        """Like `SwapRecipe.keyed`."""
        return replace(self, engine=engine_kind(self.engine))


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchRecipe(Recipe):
    """Score methods on the actor benchmark. `plan` is how much of it: "smoke", "quick" (minutes) or "full" (hours).

    `tracks` are those of `actors.tracks`, `methods` copy, truth, warp, oneshot, pair-supervised and pair-unsupervised (fitted to
    each pair in `fit_steps` steps), pair:RUN (trained before), or a swapper's name. `num_pairs` limits the pairs of each track; 0
    is all of the plan. `engine` finds the faces. `judges` of identity are "independent", or "engine": the engine's own recogniser,
    which also chooses what is trained.
    """

    SCHEMA: ClassVar[int] = 1

    plan: Literal["smoke", "quick", "full"] = "quick"
    tracks: tuple[str, ...] = TRACKS
    methods: tuple[str, ...] = ("copy", "warp", "oneshot", "truth")
    num_pairs: int = 0
    fit_steps: int = 900
    engine: str = "offline"
    judges: Literal["independent", "engine"] = "independent"

    def __post_init__(self) -> None:
        """ValueError for an unknown track, or for one or a method that is named twice."""
        for track in self.tracks:
            check_track(track)
        for what, named in (("tracks", self.tracks), ("methods", self.methods)):
            if len(set(named)) < len(named):
                raise ValueError(f"{what} must be named once each, got {', '.join(named)}")
        if not self.tracks or self.num_pairs < 0 or self.fit_steps < 1:
            raise ValueError(
                f"give at least one track, num_pairs of 0 or more and fit_steps of at least 1; "
                f"got {self.tracks}, {self.num_pairs} and {self.fit_steps}"
            )

    def keyed(self) -> "BenchRecipe":
        """Like `SwapRecipe.keyed`."""
        return replace(self, engine=engine_kind(self.engine))


@dataclass(frozen=True, slots=True, kw_only=True)
class FacesetRecipe(Recipe):
    """Gather faces under `name` from files and clips, sampling clips every `every_s` seconds.

    `layout` is the folder layout; "frames" are numbered stills of a clip, "auto" detects it.
    `identities` "one": the faces are the person named in the files' manifest, taken to be the largest group of one identity (the
    `which`-th largest, counted from 1); everybody else is dropped. "many": every group is kept and can be named. `same_person` is
    the mean cosine from which two groups are one person: SFace's own figure for real people; synthetic actors look more alike and
    need `models.clusters.ACTORS`.
    Crops of `size` pixels are cut by `template`. Dropped are faces smaller than `min_side` (pixels of the frame that the template
    "face" spans, about three times the interocular distance); those less sharp than `min_sharpness` (see `faces.quality`); those
    with a yaw above `max_yaw_deg` (None: any); those with more than a fraction `max_outside` of their points outside the frame;
    and those that differ from a better one by at most `near_duplicate_max`.
    `shares` are the fractions of train, val and test, split by whole files, long clips by stretches of `stretch_s` seconds; where
    two splits meet within a clip, `gap_s` seconds on either side are dropped. `seed` randomises the assignment.
    """

    SCHEMA: ClassVar[int] = 2

    name: str
    layout: Layout = "auto"
    identities: Literal["one", "many"] = "one"
    which: int = 1
    same_person: float = REAL_PEOPLE
    every_s: float = 0.2
    size: int = 256
    template: str = "whole-face"
    min_side: float = 64.0
    min_sharpness: float = 0.5
    max_yaw_deg: float | None = None
    max_outside: float = 0.02
    near_duplicate_max: float = NEAR_DUPLICATE_MAX
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1)
    stretch_s: float = 10.0
    gap_s: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """ValueError for invalid settings."""
        if not self.name.strip() or len(self.name) > 100 or any(ord(char) < 32 for char in self.name):
            raise ValueError(f"a faceset's name must have 1 to 100 printable characters, got {self.name!r}")
        if min(self.shares) < 0 or abs(sum(self.shares) - 1) > 1e-6 or not self.shares[0]:
            raise ValueError(f"shares of train, val and test must add up to 1, with the first above 0; got {self.shares}")
        for name in ("every_s", "stretch_s", "same_person"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.which < 1 or self.size < 32 or self.gap_s < 0:
            raise ValueError(
                f"which must be at least 1, size at least 32, gap_s not negative; got {self.which}, {self.size}, {self.gap_s}"
            )
        template_points(self.template, self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderRecipe(Recipe):
    """Render actors with their ground truth, from seed `first` on, all of one split. There are `num_actors` of them.

    Each actor gets `num_views` samples. Performances alternate between `kinds`; `seed` is that of the first. A sample is a square
    picture of `size` pixels; `form` "clips" makes lossless clips instead. A clip is `seconds` long, at `fps` frames per second.
    `light` is a name in `actors.performance.lights`, or "auto"; `capture` is sensor and codec: plain, clean, phone, webcam, …
    `prop` is held before the face: none, hand, microphone, cup. With `recast` a sample also holds the true swap with the face of
    another of these actors, drawn by the seed; `tone` says whose skin tone that has. `maps` adds labels, depth, normals and albedo.
    Each shard has `shard_size` samples. Sample n shows actor `first + n // num_views` in the performance of seed `seed + n`.
    """

    SCHEMA: ClassVar[int] = 1

    first: int = 0
    num_actors: int = 10
    num_views: int = 10
    kinds: tuple[str, ...] = ("range",)
    size: int = 256
    light: str = "auto"
    capture: str = "plain"
    prop: str = "none"
    form: Literal["stills", "clips"] = "stills"
    seconds: float = 1.0
    fps: float = 25.0
    recast: bool = False
    tone: Literal["source", "target"] = "source"
    maps: bool = True
    shard_size: int = 100
    seed: int = 0

    @property
    def num_samples(self) -> int:
        """Total number of samples."""
        return self.num_actors * self.num_views

    @property
    def num_shards(self) -> int:
        """Number of shards, the last of which may have fewer samples."""
        return -(-self.num_samples // self.shard_size)


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
    """A recipe that checks in seconds that everything runs; its results are useless."""
    base = pair(6, size=32, num_views=6)
    return replace(
        base, train=replace(base.train, batch=4, report_every=2), checkpoint_every=3, data=replace(base.data, render_size=128)
    )


def oneshot(size: str = "small") -> OneshotRecipe:
    """The recipe of the one-shot swapper that comes with the package. "smoke" checks that everything runs, and learns nothing."""
    if size == "small":
        return OneshotRecipe()
    if size != "smoke":
        raise ValueError(f"size must be small or smoke, got {size!r}")
    return OneshotRecipe(
        sets=OneshotSets(num_train=2 * TROUPE, num_val=TROUPE, num_views=2, num_sources=1, size=96),
        shape=ShapeConfig(components=8, products=4, moves=8),
        net=OneshotNetConfig(size=32, widths=(8, 8, 16, 16), code=8),
        train=OneshotTraining(steps=4, batch=2, warmup=1, precision="fp32", report_every=2),
        checkpoint_every=2,
    )


def pack(size: str = "small") -> PackRecipe:
    """The recipe of the pack shipped as `insight:actors_s`. "smoke" checks that everything runs, and learns nothing."""
    if size == "small":
        return PackRecipe()
    if size != "smoke":
        raise ValueError(f"size must be small or smoke, got {size!r}")
    few = TrainConfig(steps=4, batch=4, warmup=1, report_every=2, precision="fp32")
    return PackRecipe(
        name="smoke",
        sets=PackSets(num_train=2, num_val=1, num_views=2, size=128, per_part=1),
        num_for_places=1,
        detector=DetectorTraining(fit=replace(few, steps=6), size=128),
        points=few,
        embedder=few,
        scores=PackScores(num_actors=2, num_views=2, num_degraded=1, num_empty=2),
        checkpoint_every=2,
    )


def eyes(size: str = "small") -> EyesRecipe:
    """The recipe of our own eyes. "smoke" checks that everything runs, and learns nothing."""
    if size == "small":
        return EyesRecipe()
    if size != "smoke":
        raise ValueError(f"size must be small or smoke, got {size!r}")
    few = TrainConfig(steps=4, batch=4, warmup=1, report_every=2, precision="fp32")
    sets = EyesSets(num_train=2, num_test=2, num_views=2, size=128, per_part=1)
    return EyesRecipe(name="smoke", sets=sets, shape=few, expression=few, checkpoint_every=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The settings of the quickstart notebook: the training recipe, and duration and size of its clips."""

    pair: PairRecipe
    seconds: float
    size: int


def plan(name: str) -> Plan:
    """`"quickstart"`: about seven minutes on two cores. `"smoke"`: everything runs, nothing is learned."""
    plans = {"quickstart": Plan(pair=pair(1600), seconds=4, size=256), "smoke": Plan(pair=smoke(), seconds=0.24, size=160)}
    if name not in plans:
        raise ValueError(f"recipe must be one of {', '.join(plans)}, got {name!r}")
    return plans[name]
