"""Haircuts: the parameters from which `hair` grows the strands of a style."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

HairStyle = Literal[
    "bald", "buzz", "cropped", "textured", "side-part", "slick", "curly", "afro", "pixie", "bob", "long", "tied", "bun"
]
Flow = Literal["crown", "part", "back", "forward", "knot"]
HANGING: frozenset[HairStyle] = frozenset({"bob", "long"})
"""Styles that cover the ears and hang free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """One person's haircut. Lengths in metres, on top of the head and at its sides; unitless values are about 0..1.

    `volume_m` is the thickness of the hair layer; `lift` how upright it leaves the scalp; `curl_m` and `curls_per_m` the radius
    and density of curls; `clump` how far tips gather into locks; `frizz` how far single hairs stray; `part_x_m` the parting;
    `hang_z` the height on the template at which hanging hair ends; `fringe` whether front hair falls over the forehead.
    """

    style: HairStyle
    flow: Flow
    top_m: float
    side_m: float
    volume_m: float
    side_volume_m: float
    lift: float
    curl_m: float
    curls_per_m: float
    clump: float
    frizz: float
    part_x_m: float
    hang_z: float
    fringe: bool
    density: float


def sample_cut(draw: np.random.Generator, *, is_male: bool, curl: float, age: float) -> Cut:
    """A haircut for a person whose hair curls by `curl` (0 straight .. 1 tight) and whose `age` is 0 (young adult) .. 1 (old)."""
    style = _sample_style(draw, is_male, curl, age)
    unit = draw.uniform(size=8)

    def between(low: float, high: float, number: int) -> float:
        return float(low + (high - low) * unit[number])

    wavy = curl * between(0.6, 1.0, 0)
    flow, top, side, volume, side_volume, lift = _form(style, between)
    tight = {"afro": 1.0, "curly": max(0.55, wavy), "tied": 0.15 * wavy, "bun": 0.15 * wavy}.get(style, 0.55 * wavy)
    return Cut(
        style=style,
        flow=flow,
        top_m=top,
        side_m=side,
        volume_m=volume,
        side_volume_m=side_volume,
        lift=lift,
        curl_m=0.0045 * tight if style != "afro" else 0.0028,
        curls_per_m=18 + 90 * tight,
        clump={"afro": 0.25, "tied": 0.15, "bun": 0.15}.get(style, between(0.35, 0.8, 5)),
        frizz=between(0.2, 0.6, 6) + 0.4 * tight,
        part_x_m=float((0.006 if draw.random() < 0.4 else draw.choice((-0.030, 0.030))) + draw.uniform(-0.006, 0.006)),
        hang_z=float(draw.uniform(0.612, 0.655) if style == "bob" else draw.uniform(0.50, 0.575)),
        fringe=bool(not is_male and style in ("bob", "long", "pixie") and draw.random() < 0.35),
        density=between(0.75, 1.0, 7) - 0.25 * age * is_male,
    )


def _form(style: HairStyle, between: Callable[[float, float, int], float]) -> tuple[Flow, float, float, float, float, float]:
    forms: dict[HairStyle, tuple[Flow, float, float, float, float, float]] = {
        # flow, length on top, at the sides, volume on top, at the sides, lift
        "bald": ("crown", 0.0, 0.004, 0.0, 0.001, 0.2),
        "buzz": ("crown", between(0.005, 0.010, 1), between(0.004, 0.006, 2), 0.002, 0.0015, 0.35),
        "cropped": ("crown", between(0.018, 0.035, 1), between(0.008, 0.015, 2), between(0.006, 0.011, 3), 0.005, 0.35),
        "textured": ("forward", between(0.026, 0.045, 1), between(0.006, 0.014, 2), between(0.012, 0.020, 3), 0.005, 1.0),
        "side-part": ("part", between(0.055, 0.085, 1), between(0.012, 0.025, 2), between(0.010, 0.018, 3), 0.007, 0.55),
        "slick": ("back", between(0.070, 0.110, 1), between(0.015, 0.040, 2), between(0.009, 0.016, 3), 0.006, 0.35),
        "curly": ("crown", between(0.045, 0.085, 1), between(0.020, 0.045, 2), between(0.018, 0.030, 3), 0.012, 0.7),
        "afro": (
            "crown",
            between(0.028, 0.058, 1),
            between(0.022, 0.045, 1),
            between(0.020, 0.038, 1),
            between(0.014, 0.028, 1),
            1.0,
        ),
        "pixie": ("part", between(0.055, 0.080, 1), between(0.030, 0.045, 2), between(0.010, 0.016, 3), 0.008, 0.45),
        "bob": ("part", 0.26, 0.20, between(0.009, 0.015, 3), between(0.009, 0.014, 4), 0.3),
        "long": ("part", 0.36, 0.30, between(0.010, 0.016, 3), between(0.010, 0.016, 4), 0.3),
        "tied": ("knot", 0.22, 0.16, between(0.004, 0.008, 3), 0.005, 0.12),
        "bun": ("knot", 0.20, 0.15, between(0.004, 0.008, 3), 0.005, 0.12),
    }
    return forms[style]


def _sample_style(draw: np.random.Generator, is_male: bool, curl: float, age: float) -> HairStyle:
    tight = curl > 0.75
    odds: dict[HairStyle, float]
    if is_male:
        odds = {
            "cropped": 2.4,
            "textured": 0.4 if tight else 2.2 * (1 - 0.7 * age),
            "side-part": 0.2 if tight else 2.2,
            "slick": 0.0 if tight else 1.2,
            "buzz": 1.8,
            "bald": 0.5 + 2.0 * age,
            "curly": 3.0 * curl,
            "afro": 1.6 if tight else 0.0,
            "long": 0.0 if tight else 0.45 * (1 - age),
            "tied": 0.25,
        }
    else:
        odds = {
            "bob": 1.0 if tight else 2.6,
            "long": 0.8 if tight else 3.2 * (1 - 0.6 * age),
            "tied": 1.6,
            "bun": 1.4,
            "pixie": 0.3 if tight else 0.8 + 1.4 * age,
            "curly": 2.4 * curl,
            "afro": 1.8 if tight else 0.0,
            "cropped": 0.35,
        }
    weights = np.array(list(odds.values()))
    return list(odds)[int(draw.choice(len(weights), p=weights / weights.sum()))]
