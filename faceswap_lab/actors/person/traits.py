"""Traits: all parameters of a person, sampled from a seed. Adults only."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from faceswap_lab.actors.head.headpack import load_headpack
from faceswap_lab.actors.person.haircuts import Cut, sample_cut
from faceswap_lab.actors.splits import check_seed

YOUNG_ADULT, OLDEST = 0.74, 0.93
"""The range used of anny's age axis, whose anchors are child 1/3, young adult 2/3 and old 1."""

BeardStyle = Literal["full", "goatee", "moustache"]
Colour = tuple[float, float, float]

_BEARDS: tuple[BeardStyle, ...] = get_args(BeardStyle)

_HAIR_COLOURS: tuple[Colour, ...] = (
    (0.010, 0.008, 0.0065),
    (0.022, 0.013, 0.008),
    (0.055, 0.030, 0.016),
    (0.120, 0.068, 0.034),
    (0.240, 0.160, 0.080),
    (0.160, 0.052, 0.018),
)
_IRIS_COLOURS: tuple[Colour, ...] = (
    (0.055, 0.026, 0.012),
    (0.110, 0.055, 0.022),
    (0.115, 0.095, 0.042),
    (0.080, 0.135, 0.175),
    (0.100, 0.125, 0.095),
)
_LIGHT_SKIN, _DARK_SKIN = np.array([0.71, 0.465, 0.355]), np.array([0.090, 0.046, 0.029])
_SHIRTS: tuple[Colour, ...] = (
    (0.035, 0.045, 0.075),
    (0.300, 0.300, 0.290),
    (0.060, 0.075, 0.060),
    (0.180, 0.040, 0.040),
    (0.040, 0.040, 0.042),
    (0.110, 0.160, 0.220),
    (0.340, 0.280, 0.190),
    (0.050, 0.140, 0.130),
    (0.230, 0.120, 0.060),
    (0.150, 0.110, 0.190),
)
_EXCLUDED = ("head-trans", "neck-trans", "mouth-trans-out", "nose-trans-out", "head-angle", "head-age", "neck-double")
_RESTRAINED = (
    "mouth-trans",
    "nose-trans",
    "nose-point-up",
    "eye-push",
    "eye-bag",
    "neck",
    "measure",
    "head-scale",
    "forehead-nubian",
    "chin-prognathism",
    "chin-jaw-drop",
    "ear-",
    "nose-flaring",
    "nose-compression",
)
_FACTORS: tuple[Mapping[str, float], ...] = (
    {
        "nose-scale-horiz-incr": 1.0,
        "nose-width1-incr": 0.6,
        "nose-width2-incr": 0.8,
        "nose-width3-incr": 0.9,
        "nose-nostrils-width-incr": 0.7,
        "nose-point-width-incr": 0.6,
        "nose-volume-incr": 0.4,
    },
    {"nose-scale-vert-incr": 1.0, "nose-trans-up": -0.6, "nose-point-up": -0.5, "nose-scale-depth-incr": 0.5},
    {"nose-hump-incr": 1.0, "nose-curve-convex": 0.7, "nose-greek-incr": 0.6, "nose-base-up": -0.4},
    {"mouth-scale-horiz-incr": 1.0, "mouth-upperlip-width-incr": 0.6, "mouth-lowerlip-width-incr": 0.6},
    {
        "mouth-upperlip-height-incr": 1.0,
        "mouth-lowerlip-height-incr": 1.0,
        "mouth-upperlip-volume-incr": 0.8,
        "mouth-lowerlip-volume-incr": 0.8,
        "mouth-scale-vert-incr": 0.6,
    },
    {"eye-scale-incr": 1.0, "eye-height1-incr": 0.6, "eye-height2-incr": 0.8, "eye-height3-incr": 0.6},
    {"eye-corner2-up": 1.0, "eye-corner1-up": -0.5, "eye-height3-incr": 0.3, "eyebrows-angle-up": 0.5},
    {"eye-trans-out": 1.0, "nose-width1-incr": 0.5},
    {"eyebrows-trans-up": 1.0, "eye-eyefold-up": 0.7, "eyebrows-trans-forward": -0.7},
    {"head-scale-vert-incr": 1.0, "head-scale-horiz-incr": -0.8, "forehead-scale-vert-incr": 0.6, "chin-height-incr": 0.7},
    {"chin-width-incr": 1.0, "chin-bones-incr": 1.0, "head-fat-incr": 0.5, "chin-prominent-incr": 0.4},
    {"cheek-volume-incr": 1.0, "head-fat-incr": 0.8, "cheek-inner-incr": 0.6, "cheek-bones-incr": -0.5},
    {"cheek-bones-incr": 1.0, "cheek-trans-up": 0.8, "forehead-temple-incr": -0.6},
)
"""Correlated shape changes: each row is one latent factor with its loadings."""

_EYE_OPENING, _MIN_EYE_OPENING = ("eye-height", "eye-eyefold-up", "eye-scale"), -0.35
"""Changes that could close an eye, and their lower bound."""

_CHILDLIKE, _MAX_CHILDLIKE = ("eye-scale", "eye-height2", "head-fat", "cheek-volume", "forehead-scale-vert"), 0.3
"""Changes that make a head look childlike, and their upper bound: actors must look adult."""

_SPREAD_M = 0.0034
_MEAN_CHANGES: Mapping[bool, Mapping[str, float]] = {
    True: {"chin-bones-incr": 0.15, "chin-width-incr": 0.1, "eyebrows-trans-up": -0.1},
    False: {
        "eye-scale-incr": 0.12,
        "eye-height2-incr": 0.15,
        "chin-bones-incr": -0.35,
        "chin-width-incr": -0.30,
        "chin-jaw-drop-incr": -0.2,
        "nose-scale-horiz-incr": -0.2,
        "nose-volume-incr": -0.2,
        "eyebrows-trans-up": 0.3,
        "eyebrows-angle-up": 0.1,
        "cheek-volume-incr": 0.15,
        "forehead-nubian-incr": -0.15,
        "neck-scale-horiz-incr": -0.35,
    },
}
"""Means of the local changes for men (True) and women, in addition to anny's own gender axis."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Brows:
    """Painted brows: thickness and density as factors, arch, height and gap in metres."""

    thickness: float
    density: float
    arch_m: float
    height_m: float
    gap_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Traits:
    """All parameters of one person. Colours are linear RGB reflectances, fractions 0..1; shape axes are anny's."""

    seed: int
    is_male: bool
    gender: float
    age: float
    muscle: float
    weight: float
    proportions: float
    ancestry: tuple[float, float, float]
    local_changes: Mapping[str, float]
    melanin: float
    skin: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    cut: Cut
    grey: float
    balding: float
    hairline_m: float
    widow_peak_m: float
    brows: Brows
    beard: float
    beard_m: float
    beard_style: BeardStyle
    lashes: float
    stubble: float
    lip_redness: float
    freckles: float
    oil: float
    moles: tuple[tuple[float, float, float], ...]


@lru_cache(maxsize=256)
def sample_traits(seed: int) -> Traits:
    """The person of a seed. The same on every machine with the same anny."""
    check_seed(seed)
    draw = np.random.default_rng([11, seed])
    is_male = bool(draw.random() < 0.5)
    ancestry = draw.dirichlet((0.35, 0.35, 0.35))
    age = float(YOUNG_ADULT + (OLDEST - YOUNG_ADULT) * draw.beta(1.0, 1.7))
    shape = _sample_shape(draw, is_male)
    local_changes = _sample_local_changes(np.random.default_rng([12, seed]), is_male)
    melanin = float(
        np.clip(0.06 + 0.84 * ancestry[0] + 0.26 * ancestry[1] * draw.uniform(0.3, 1) + draw.normal(0, 0.06), 0.02, 0.95)
    )
    old = (age - YOUNG_ADULT) / (OLDEST - YOUNG_ADULT)
    hair, grey = _sample_hair_colour(draw, melanin, old)
    cut = sample_cut(np.random.default_rng([13, seed]), is_male=is_male, curl=_sample_curl(draw, ancestry), age=old)
    iris = _sample_iris(draw, melanin)
    bearded = is_male and draw.random() < 0.4
    return Traits(
        seed=seed,
        is_male=is_male,
        age=age,
        ancestry=_colour(ancestry),
        local_changes=local_changes,
        melanin=melanin,
        skin=_sample_skin(draw, melanin),
        hair=hair,
        iris=iris,
        shirt=_colour(np.array(_SHIRTS[draw.integers(len(_SHIRTS))]) * draw.uniform(0.7, 1.3)),
        cut=cut,
        grey=grey,
        balding=float(np.clip(draw.uniform(-1.2, 0.4) + 1.0 * old, 0, 1)) if is_male else 0.0,
        hairline_m=float(draw.uniform(-0.012, 0.004) + (0.014 * old * draw.random() if is_male else 0.0)),
        widow_peak_m=float(draw.uniform(-0.001, 0.006)),
        brows=_sample_brows(draw, is_male),
        beard=float(draw.uniform(0.45, 0.95)) if bearded else 0.0,
        beard_m=float(draw.uniform(0.003, 0.014)),
        beard_style=_BEARDS[draw.choice(3, p=(0.6, 0.22, 0.18))],
        lashes=float(draw.uniform(0.8, 1.0) if is_male else draw.uniform(0.95, 1.3)),
        stubble=float(draw.uniform(0.1, 0.6)) if is_male else 0.0,
        lip_redness=float(draw.uniform(0.05, 0.4) if is_male else draw.uniform(0.3, 0.9)),
        freckles=float(max(0.0, draw.uniform(-1.2, 0.8)) * (1 - melanin)),
        oil=float(draw.uniform(0.55, 1.25)),
        moles=tuple(_sample_mole(draw) for _ in range(draw.integers(0, 5))),
        **shape,
    )


# Each of these consumes the next numbers of `draw`: their order determines the person of a seed.


def _sample_shape(draw: np.random.Generator, is_male: bool) -> dict[str, float]:
    return {
        "gender": float(draw.uniform(0.0, 0.12) if is_male else draw.uniform(0.88, 1.0)),
        "muscle": float(draw.uniform(0.25, 0.8)),
        "weight": float(draw.uniform(0.2, 0.92)),
        "proportions": float(draw.uniform(0.2, 0.95)),
    }


def _sample_iris(draw: np.random.Generator, melanin: float) -> Colour:
    odds = np.array([6, 2, 0.2, 0, 0]) if melanin > 0.35 else np.array([3, 2.5, 1.8, 2.2, 1.3])
    return _colour(np.array(_IRIS_COLOURS[draw.choice(5, p=odds / odds.sum())]) * draw.uniform(0.8, 1.25))


def _sample_brows(draw: np.random.Generator, is_male: bool) -> Brows:
    return Brows(
        thickness=float(draw.uniform(0.85, 1.2) * (1.05 if is_male else 0.74)),
        density=float(draw.uniform(0.55, 0.9)),
        arch_m=float(draw.uniform(-0.0005, 0.0025) + (0.0 if is_male else 0.0008)),
        height_m=float(draw.uniform(-0.0015, 0.0015)),
        gap_m=float(draw.uniform(-0.002, 0.002)),
    )


def _colour(values: np.ndarray) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])


def _sample_mole(draw: np.random.Generator) -> tuple[float, float, float]:
    """(x, z, radius) in metres."""
    return float(draw.uniform(-0.055, 0.055)), float(draw.uniform(0.63, 0.78)), float(draw.uniform(0.0005, 0.0011))


def _sample_local_changes(draw: np.random.Generator, is_male: bool) -> dict[str, float]:
    """Bounded local changes, symmetric up to a slight asymmetry.

    Spreads are scaled by each change's largest vertex offset, so that each moves the face by a few millimetres.
    """
    pack, changes = load_headpack(), dict[str, float]()
    means = _MEAN_CHANGES[is_male]
    factors = [(row, float(np.clip(draw.normal(), -1.7, 1.7))) for row in _FACTORS]
    for row, name in enumerate(str(name) for name in pack.local_names):
        if name.startswith("r-") or any(part in name for part in _EXCLUDED):
            continue
        plain = name.removeprefix("l-")
        reach_m = float(np.abs(pack.local_changes[row].astype(np.float64)).max())
        spread = float(np.clip(_SPREAD_M / reach_m, 0.06, 0.50)) * (0.6 if any(part in name for part in _RESTRAINED) else 1.0)
        shared = sum(weights.get(plain, 0.0) * value for weights, value in factors)
        own = float(np.clip(draw.normal(), -1.8, 1.8))
        bound = max(0.3, 2.0 * spread)
        value = float(np.clip(means.get(plain, 0.0) + spread * (0.8 * shared + 0.7 * own), -bound - 0.1, bound + 0.1))
        value = max(value, _MIN_EYE_OPENING) if any(part in plain for part in _EYE_OPENING) else value
        value = min(value, _MAX_CHILDLIKE) if any(part in plain for part in _CHILDLIKE) else value
        changes[name] = float(np.clip(value, -1, 1))
        if name.startswith("l-"):
            changes["r-" + plain] = float(np.clip(value + draw.normal(0, 0.15 * spread), -1, 1))
    return changes


def _sample_curl(draw: np.random.Generator, ancestry: np.ndarray) -> float:
    """Curliness, 0 straight .. 1 tight, by ancestry with individual variation."""
    return float(np.clip(0.95 * ancestry[0] + 0.08 * ancestry[1] + 0.30 * ancestry[2] + draw.normal(0, 0.16), 0, 1))


def _sample_skin(draw: np.random.Generator, melanin: float) -> Colour:
    """Interpolates light and dark skin in log reflectance by melanin, then varies the blood content."""
    base = _LIGHT_SKIN ** (1 - melanin) * _DARK_SKIN**melanin
    blood = draw.uniform(-0.5, 0.6)
    return _colour(np.clip(base * np.array([1 + 0.06 * blood, 1 - 0.07 * blood, 1 - 0.08 * blood]), 0.01, 0.9))


def _sample_hair_colour(draw: np.random.Generator, melanin: float, old: float) -> tuple[Colour, float]:
    """The hair's original colour and its fraction of grey hairs; `old` is 0 (young adult) .. 1."""
    odds = np.array([8, 2, 0.3, 0, 0, 0]) if melanin > 0.35 else np.array([2, 3.5, 3, 2.4, 1.8, 1.2])
    colour = np.array(_HAIR_COLOURS[draw.choice(6, p=odds / odds.sum())]) * draw.uniform(0.8, 1.25)
    grey = float(np.clip(1.6 * (old - 0.42) * draw.uniform(0.3, 1.5), 0, 0.97))
    return _colour(colour), grey
