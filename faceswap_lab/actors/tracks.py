"""The pairs of the actor benchmark as data: whose face goes onto which instants of whose performance, in seven tracks.

A pure function of the version, a track and a number. Nobody picked a pair: people are consecutive seeds of the split "test", and
which instants of a performance count follows from rules on its views. A pair of a published version is never changed; other pairs
get another version. Performances are kept apart by their seeds: those that are scored, those that show the source to a method,
those on which a method may be fitted, and those that judges compare with.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.performance.lights import LightKind
from faceswap_lab.actors.performance.performance import Kind, Performance, View
from faceswap_lab.actors.performance.props import PropKind
from faceswap_lab.actors.person.recast import Tone
from faceswap_lab.actors.person.traits import sample_traits
from faceswap_lab.actors.person.wear import Wears
from faceswap_lab.actors.splits import FITS_FROM, seeds_of

VERSION = "actors-1"
"""Of the pairs. It is in every score: figures of two versions don't compare."""

Track = Literal["frontal", "profile", "expression", "light", "occlusion", "skin_tone_gap", "video"]
TRACKS: tuple[Track, ...] = get_args(Track)

SIZE = 256
TONE: Tone = "source"
"""Whose skin tone the truth has."""

MOST_PAIRS = 24
"""Pairs of a track at most; a smaller plan has the first of them."""

GALLERY_SEED = 3_900_000
"""The performance, of kind "range", whose pictures judges compare with."""

_PEOPLE_FROM = seeds_of("test").start + 300_000
_CROWD = 8
_SCORED_FROM, _SHOWN_FROM, _BLOCK = 3_000_000, 3_500_000, 1_000
_INSTANTS, _FPS, _VIDEO_FPS = 12, 2.0, 25.0
_LIGHTS: tuple[LightKind, ...] = ("hard", "side", "back", "coloured", "moving", "dim")
_COVERS: tuple[tuple[PropKind, Wears], ...] = (
    ("hand", "none"),
    ("none", "glasses"),
    ("microphone", "none"),
    ("none", "sunglasses"),
    ("cup", "none"),
    ("none", "hat"),
)
_KINDS: Mapping[Track, Kind] = {"profile": "turn", "expression": "acted"}
_VIDEO_KINDS: tuple[Kind, ...] = ("speech", "acted", "turn")
_PROFILE, _HALF_TURN = math.radians(65), math.radians(35)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPlan:
    """How much of the benchmark is scored: pairs of a track of pictures and of the video track, frames of a video, side in pixels,
    and pictures in each person's gallery."""

    num_pairs: int
    num_videos: int
    num_video_frames: int
    size: int = SIZE
    gallery_size: int = 8


PLANS: Mapping[str, TrackPlan] = {
    "smoke": TrackPlan(num_pairs=1, num_videos=1, num_video_frames=3, size=128, gallery_size=2),
    "quick": TrackPlan(num_pairs=4, num_videos=2, num_video_frames=8, gallery_size=4),
    "full": TrackPlan(num_pairs=MOST_PAIRS, num_videos=8, num_video_frames=25),
}
"""Name to plan. "smoke" shows that everything runs and means nothing; "quick" takes minutes on two cores. Never changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackPair:
    """The face of actor `source` on the frames `frames` of a performance of actor `target`, filmed at `fps`.

    `seed` is the performance's. `shown_seed` is that of the performances that show the source to a method, `fit_seed` the first of
    those on which the benchmark may fit one to these two.
    """

    track: Track
    number: int
    source: int
    target: int
    kind: Kind
    seed: int
    frames: tuple[int, ...]
    fps: float
    light: LightKind
    wears: Wears
    prop: PropKind
    shown_seed: int
    fit_seed: int
    size: int = SIZE

    @property
    def name(self) -> str:
        """`frontal-00`: also the beginning of its files' names."""
        return f"{self.track}-{self.number:02d}"

    @property
    def pictures(self) -> tuple[str, ...]:
        """A name for each frame: that of the pair, and for a video with the frame's number."""
        return (self.name,) if len(self.frames) == 1 else tuple(f"{self.name}-{index:03d}" for index in self.frames)

    def take(self) -> Take:
        """The performance to swap; only `frames` of it count."""
        return Actor(self.target).perform(
            self.kind,
            seconds=(max(self.frames) + 1) / self.fps,
            fps=self.fps,
            seed=self.seed,
            size=self.size,
            light=self.light,
            prop=self.prop,
            wears=self.wears,
        )

    def truth(self) -> Take:
        """The correct result."""
        return self.take().recast(Actor(self.source), tone=TONE)

    def shown(self) -> tuple[tuple[Take, int], ...]:
        """Pictures that show the source to a method, as takes and frames of them: a portrait, and a turn at half left, front and
        half right, in another light than the target's."""
        source = Actor(self.source)
        portrait = source.perform("still", seconds=1, fps=1, seed=self.shown_seed, size=self.size, wears="none")
        turn = source.perform(
            "turn", seconds=_INSTANTS / _FPS, fps=_FPS, seed=self.shown_seed, size=self.size, light="soft", wears="none"
        )
        views = _views("turn", self.shown_seed)
        return ((portrait, 0), *((turn, _nearest_yaw(views, yaw)) for yaw in (-_HALF_TURN, 0.0, _HALF_TURN)))


def plan_of(name: str) -> TrackPlan:
    """The plan `name`. ValueError if there is none."""
    if name not in PLANS:
        raise ValueError(f"no plan {name!r}; choose from {', '.join(PLANS)}")
    return PLANS[name]


def check_track(name: str) -> Track:
    """The track `name`. ValueError if there is none."""
    for track in TRACKS:
        if track == name:
            return track
    raise ValueError(f"no track {name!r}; choose from {', '.join(TRACKS)}")


def pairs_of(track: str, plan: TrackPlan) -> Iterator[TrackPair]:
    """The pairs of a track that a plan scores, easy and hard alike. ValueError for an unknown track."""
    known = check_track(track)
    count = plan.num_videos if known == "video" else plan.num_pairs
    yield from (_pair(known, number, plan) for number in range(count))


def _pair(track: Track, number: int, plan: TrackPlan) -> TrackPair:
    place = TRACKS.index(track) * _BLOCK + number
    source, target = _people(track, number)
    kind = _VIDEO_KINDS[number % 3] if track == "video" else _KINDS.get(track, "speech")
    seed = _SCORED_FROM + place
    prop, wears = _COVERS[number % len(_COVERS)] if track == "occlusion" else ("none", "none")
    return TrackPair(
        track=track,
        number=number,
        source=source,
        target=target,
        kind=kind,
        seed=seed,
        frames=tuple(range(plan.num_video_frames)) if track == "video" else (_instant(track, number, _views(kind, seed)),),
        fps=_VIDEO_FPS if track == "video" else _FPS,
        light=_LIGHTS[number % len(_LIGHTS)] if track == "light" else "auto",
        wears=wears,
        prop=prop,
        shown_seed=_SHOWN_FROM + place,
        fit_seed=FITS_FROM + place * _BLOCK,
        size=plan.size,
    )


def _people(track: Track, number: int) -> tuple[int, int]:
    """Source and target: two consecutive seeds; for the gap of skin tones the darkest and the lightest of eight consecutive seeds,
    of whom the darkest is the source in pairs of an even number and the target in the others. Nobody is in two pairs."""
    first = _PEOPLE_FROM + TRACKS.index(track) * _BLOCK
    if track != "skin_tone_gap":
        return first + 2 * number, first + 2 * number + 1
    crowd = sorted(range(first + _CROWD * number, first + _CROWD * (number + 1)), key=lambda seed: sample_traits(seed).melanin)
    return (crowd[-1], crowd[0]) if number % 2 == 0 else (crowd[0], crowd[-1])


def _instant(track: Track, number: int, views: tuple[View, ...]) -> int:
    """Which of twelve instants, half a second apart, counts: for profile the one nearest to a yaw of 65 degrees, to the left and
    right by turns; for expression the one with the strongest actions, gaze and lids left out; else the most frontal one."""
    if track == "profile":
        return _nearest_yaw(views, _PROFILE if number % 2 == 0 else -_PROFILE)
    if track == "expression":
        return int(np.argmax([_strength(view) for view in views]))
    return int(np.argmin([abs(view.yaw) + abs(view.pitch) for view in views]))


def _nearest_yaw(views: tuple[View, ...], yaw: float) -> int:
    return int(np.argmin([abs(view.yaw - yaw) for view in views]))


def _strength(view: View) -> float:
    return sum(value for name, value in view.actions.items() if not name.startswith(("eyeLook", "eyeBlink")))


@lru_cache(maxsize=512)
def _views(kind: Kind, seed: int) -> tuple[View, ...]:
    performance = Performance(kind=kind, seed=seed)
    return tuple(performance.view(index, index / _FPS) for index in range(_INSTANTS))
