"""Who an actor is: every number that makes a person, drawn from a seed. Adults only."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from faceswap_lab.actors.headpack import load_headpack

MAX_SEED = 2**31
YOUNG_ADULT, OLDEST = 0.70, 0.93
"""Bounds of anny's age axis here. Its own anchors are child 1/3, young adult 2/3 and old 1."""

HairStyle = Literal["cropped", "buzz", "bald", "tied", "afro", "bob"]
Colour = tuple[float, float, float]

_HAIR_COLOURS: tuple[Colour, ...] = (
    (0.010, 0.008, 0.0065),
    (0.022, 0.013, 0.008),
    (0.055, 0.030, 0.016),
    (0.120, 0.068, 0.034),
    (0.240, 0.160, 0.080),
    (0.130, 0.045, 0.018),
    (0.330, 0.320, 0.310),
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
_NEVER_ALONE = ("head-trans", "neck-trans", "mouth-trans-out", "nose-trans-out", "head-angle", "head-age", "neck-double")
_RESTRAINED = (
    "mouth-trans",
    "nose-trans",
    "eye-trans",
    "eye-push",
    "neck",
    "measure",
    "head-scale",
    "head-fat",
    "forehead-nubian",
    "chin-prognathism",
    "chin-jaw-drop",
    "ear-wing",
    "ear-shape",
    "nose-flaring",
    "eye-epicanthus",
    "eye-bag",
    "nose-compression",
)
_USUAL: Mapping[bool, Mapping[str, float]] = {
    True: {"chin-bones-incr": 0.15, "chin-width-incr": 0.1, "eyebrows-trans-up": -0.1},
    False: {
        "eye-scale-incr": 0.28,
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
"""What men and women differ in beyond anny's own gender axis, as means of the local changes."""


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
    """Everything that makes one person. Colours are linear RGB reflectances; shares are 0..1; anny's axes as anny has them."""

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
    hair_style: HairStyle
    hair_thickness_m: float
    hair_bottom_z: float
    hair_wave: float
    hairline_m: float
    widow_peak_m: float
    brows: Brows
    beard: float
    stubble: float
    lip_redness: float
    freckles: float
    moles: tuple[tuple[float, float, float], ...]


def check_seed(seed: int, name: str = "seed") -> None:
    """Raises ValueError unless 0 <= seed < 2**31, TypeError unless it is an int."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"{name} must be an int, got {type(seed).__name__}")
    if not 0 <= seed < MAX_SEED:
        raise ValueError(f"{name} must be at least 0 and below 2**31, got {seed}")


@lru_cache(maxsize=256)
def sample_traits(seed: int) -> Traits:
    """The person of a seed. The same on every machine with the same anny."""
    check_seed(seed)
    draw = np.random.default_rng([11, seed])
    is_male = bool(draw.random() < 0.5)
    ancestry = draw.dirichlet((0.45, 0.45, 0.45))
    age = float(YOUNG_ADULT + (OLDEST - YOUNG_ADULT) * draw.beta(1.0, 1.7))
    shape = {
        "gender": float(draw.uniform(0.0, 0.12) if is_male else draw.uniform(0.88, 1.0)),
        "muscle": float(draw.uniform(0.35, 0.7)),
        "weight": float(draw.uniform(0.32, 0.78)),
        "proportions": float(draw.uniform(0.3, 0.85)),
    }
    local_changes = _sample_local_changes(np.random.default_rng([12, seed]), is_male)
    melanin = float(
        np.clip(0.06 + 0.84 * ancestry[0] + 0.26 * ancestry[1] * draw.uniform(0.3, 1) + draw.normal(0, 0.06), 0.02, 0.95)
    )
    hair = _sample_hair_colour(draw, melanin, age)
    style, thickness = _sample_hair_style(draw, is_male, melanin, age)
    iris_odds = np.array([6, 2, 0.2, 0, 0]) if melanin > 0.35 else np.array([3, 2.5, 1.8, 2.2, 1.3])
    iris = np.array(_IRIS_COLOURS[draw.choice(5, p=iris_odds / iris_odds.sum())]) * draw.uniform(0.8, 1.25)
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
        iris=_colour(iris),
        shirt=_colour(np.array(_SHIRTS[draw.integers(len(_SHIRTS))]) * draw.uniform(0.7, 1.3)),
        hair_style=style,
        hair_thickness_m=thickness,
        hair_bottom_z=float(draw.uniform(0.585, 0.635)),
        hair_wave=float(draw.uniform(0.1, 1.0)),
        hairline_m=_sample_hairline(draw, is_male, style, age),
        widow_peak_m=float(draw.uniform(-0.001, 0.006)),
        brows=Brows(
            thickness=float(draw.uniform(0.85, 1.2) * (1.05 if is_male else 0.74)),
            density=float(draw.uniform(0.55, 0.9)),
            arch_m=float(draw.uniform(-0.0005, 0.0025) + (0.0 if is_male else 0.0008)),
            height_m=float(draw.uniform(-0.0015, 0.0015)),
            gap_m=float(draw.uniform(-0.002, 0.002)),
        ),
        beard=float(draw.uniform(0.45, 0.95)) if bearded else 0.0,
        stubble=float(draw.uniform(0.1, 0.6)) if is_male else 0.0,
        lip_redness=float(draw.uniform(0.05, 0.4) if is_male else draw.uniform(0.3, 0.9)),
        freckles=float(max(0.0, draw.uniform(-1.2, 0.8)) * (1 - melanin)),
        moles=tuple(_sample_mole(draw) for _ in range(draw.integers(0, 5))),
        **shape,
    )


def _colour(values: np.ndarray) -> Colour:
    return float(values[0]), float(values[1]), float(values[2])


def _sample_mole(draw: np.random.Generator) -> tuple[float, float, float]:
    """(x, z, radius) in metres."""
    return float(draw.uniform(-0.055, 0.055)), float(draw.uniform(0.63, 0.78)), float(draw.uniform(0.0005, 0.0011))


def _sample_local_changes(draw: np.random.Generator, is_male: bool) -> dict[str, float]:
    """Bounded changes, the same on both sides up to a slight asymmetry."""
    changes: dict[str, float] = {}
    usual = _USUAL[is_male]
    for name in (str(name) for name in load_headpack().local_names):
        if name.startswith("r-") or any(part in name for part in _NEVER_ALONE):
            continue
        spread = 0.16 if any(part in name for part in _RESTRAINED) else 0.32
        value = usual.get(name.removeprefix("l-"), 0.0) + float(np.clip(draw.normal(0, spread), -2 * spread, 2 * spread))
        changes[name] = value
        if name.startswith("l-"):
            changes["r-" + name[2:]] = float(np.clip(value + draw.normal(0, 0.04), -0.7, 0.7))
    return changes


def _sample_hairline(draw: np.random.Generator, is_male: bool, style: HairStyle, age: float) -> float:
    """Metres above the usual hairline: it recedes with men's age; a third of the bobs has a fringe."""
    line = draw.uniform(-0.006, 0.006) + (0.025 * max(0.0, age - 0.75) if is_male else 0.0)
    return float(line - 0.016) if style == "bob" and draw.random() < 0.35 else float(line)


def _sample_skin(draw: np.random.Generator, melanin: float) -> Colour:
    """Light and dark skin mixed in log reflectance by melanin, then a little more or less blood."""
    base = _LIGHT_SKIN ** (1 - melanin) * _DARK_SKIN**melanin
    blood = draw.uniform(-0.5, 0.6)
    return _colour(np.clip(base * np.array([1 + 0.06 * blood, 1 - 0.07 * blood, 1 - 0.08 * blood]), 0.01, 0.9))


def _sample_hair_colour(draw: np.random.Generator, melanin: float, age: float) -> Colour:
    grey = 4.0 * max(0.0, age - 0.78)
    odds = np.array([8, 2, 0.3, 0, 0, 0, grey * 5]) if melanin > 0.35 else np.array([3, 3.5, 3, 2, 1.6, 0.9, grey * 8])
    colour = np.array(_HAIR_COLOURS[draw.choice(7, p=odds / odds.sum())]) * draw.uniform(0.85, 1.2)
    salt = float(np.clip(draw.uniform(-0.4, 1.0) * grey, 0, 0.5))
    return _colour(colour * (1 - salt) + np.array(_HAIR_COLOURS[6]) * salt)


def _sample_hair_style(draw: np.random.Generator, is_male: bool, melanin: float, age: float) -> tuple[HairStyle, float]:
    """Style and how far the hair stands off the scalp, in metres."""
    if is_male:
        styles: tuple[HairStyle, ...] = ("cropped", "buzz", "bald", "afro")
        odds = np.array([4.0, 1.6, 0.3 + 2.5 * max(0.0, age - 0.72), 1.5 if melanin > 0.5 else 0.0])
    else:
        styles = ("bob", "tied", "cropped", "afro")
        odds = np.array([4.0, 2.6, 0.5, 1.5 if melanin > 0.5 else 0.0])
    style = styles[draw.choice(4, p=odds / odds.sum())]
    low, high = {"cropped": (0.010, 0.020), "buzz": (0.002, 0.003), "bald": (0.0, 0.0), "tied": (0.006, 0.010)}.get(
        style, (0.012, 0.020)
    )
    if style == "afro":
        low, high = 0.022, 0.040
    return style, float(draw.uniform(low, high))
