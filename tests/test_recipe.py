"""Recipes: the round trip loses nothing, and nothing unknown gets in."""

import json
from dataclasses import dataclass, field, replace
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.errors import RunError
from faceswap_lab.runs.recipe import digest, from_json, to_json


@dataclass(frozen=True, slots=True, kw_only=True)
class Net:
    width: int = 32
    kind: Literal["small", "large"] = "small"
    rates: tuple[float, ...] = (0.1, 0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    steps: int
    scale: float = 1.0
    name: str | None = None
    net: Net = field(default_factory=Net)
    stages: tuple[Net, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)


nets = st.builds(
    Net,
    width=st.integers(-(2**53), 2**53),
    kind=st.sampled_from(["small", "large"]),
    rates=st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3).map(tuple),
)
wholes = st.builds(
    Whole,
    steps=st.integers(0, 10**9),
    scale=st.floats(allow_nan=False, allow_infinity=False),
    name=st.none() | st.text(st.characters(codec="utf-8")),
    net=nets,
    stages=st.lists(nets, max_size=3).map(tuple),
    weights=st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), st.floats(0, 1)),
)


@given(wholes)
def test_round_trip(recipe: Whole) -> None:
    again = from_json(Whole, to_json(recipe))
    assert again == recipe
    assert digest(again) == digest(recipe)


@given(wholes, wholes)
def test_digests_are_equal_exactly_when_recipes_are(one: Whole, other: Whole) -> None:
    # repr tells 0.0 from -0.0, which are equal and two values.
    assert (digest(one) == digest(other)) == (repr(one) == repr(other))


def test_an_int_where_a_float_belongs_is_that_float() -> None:
    assert to_json(Whole(steps=1, scale=2)) == to_json(Whole(steps=1, scale=2.0))


def test_defaults_are_written_out() -> None:
    """A digest must change when a default does, so defaults stand in the text."""
    assert json.loads(to_json(Whole(steps=1)))["net"] == {"width": 32, "kind": "small", "rates": [0.1, 0.2]}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('{"steps": 1, "scal": 2}', "'scal'; did you mean scale"),
        ('{"steps": 1, "net": {"widht": 3}}', "'net.widht'; did you mean width"),
        ('{"steps": 1, "stages": [{}, {"rate": []}]}', "'stages.1.rate'; did you mean rates"),
        ('{"steps": 1, "qqq": 2}', "did you mean name, net, scale, stages, steps, weights"),
        ('{"step": 1}', "steps: field required; add it; did you write 'step'"),
        ('{"steps": "1"}', "steps: input should be a valid integer"),
        ('{"steps": 1.5}', "steps: input should be"),
        ('{"steps": 1, "net": {"kind": "huge"}}', "net.kind: input should be 'small' or 'large'"),
        ('{"steps": 1, "net": 3}', "net: "),
        ("{", "the whole text: invalid json"),
        ("[]", "the whole text: "),
    ],
)
def test_what_does_not_fit_is_named(text: str, named: str) -> None:
    with pytest.raises(RunError) as caught:
        from_json(Whole, text)
    assert named in str(caught.value)


def test_a_value_of_another_type_is_not_written() -> None:
    with pytest.raises(RunError, match="steps"):
        to_json(replace(Whole(steps=1), steps="many"))  # type: ignore[arg-type]


def test_the_shipped_recipes_round_trip() -> None:
    from faceswap_lab.verbs import recipes

    for recipe in (recipes.pair(), recipes.smoke(), recipes.SwapRecipe(), recipes.EvaluateRecipe()):
        assert from_json(type(recipe), to_json(recipe)) == recipe
    assert digest(recipes.pair(900)) != digest(recipes.pair(901))
