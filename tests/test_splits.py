"""Splits: fixed by seed, and no training entry point opens a test person."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.splits import SPLITS, check_trainable, seeds_of, split_of
from faceswap_lab.errors import SplitError
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import write_still
from faceswap_lab.models.protocols import Engine
from faceswap_lab.progress import Progress
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.people import Person, check_learnable
from faceswap_lab.verbs.train import crops
from faceswap_lab.verbs.train.train import train
from tests.media import granted

TEST_SEED = 2_000_000


@given(seed=st.integers(0, 2**31 - 1))
def test_each_seed_is_in_exactly_its_split(seed: int) -> None:
    assert [split for split in SPLITS if seed in seeds_of(split)] == [split_of(seed)]


def test_the_bounds_are_fixed_and_the_documented_actors_are_for_training() -> None:
    assert {split: (seeds_of(split).start, seeds_of(split).stop) for split in SPLITS} == {
        "train": (0, 1_000_000),
        "val": (1_000_000, 2_000_000),
        "test": (2_000_000, 2**31),
    }
    assert {split_of(seed) for seed in (7, 21, 32)} == {"train"}
    with pytest.raises(ValueError, match="train, val, test"):
        seeds_of("tset")


@pytest.mark.parametrize("seed", [0, 999_999, 1_000_000, 1_999_999])
def test_training_and_validation_actors_may_be_trained_on(seed: int) -> None:
    check_trainable(seed)


def clip_of(path: Path, *parents: str) -> Clip:
    """A clip that a run derived from `parents`."""
    still = path / "still.png"
    write_still(still, np.zeros((32, 32, 3), np.uint8))
    return Clip(granted(still, subject="actor:7 on somebody", entry="runs/swap-1", parents=parents))


def people() -> dict[str, Person]:
    double = Actor(21).perform("speech", seconds=0.2, size=64)
    return {
        "the actor": Actor(TEST_SEED),
        "a take": Actor(TEST_SEED).perform("speech", seconds=0.2, size=64),
        "the face in a recast": double.recast(Actor(TEST_SEED)),
        "the target of a recast": replace(double, actor=Actor(2**31 - 1)).recast(Actor(7)),
    }


@pytest.mark.parametrize("who", sorted(people()))
@pytest.mark.parametrize("side", ["source", "target"])
def test_training_refuses_a_test_person(who: str, side: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    sides: dict[str, Person] = {"source": Actor(7), "target": Actor(21)} | {side: people()[who]}
    with pytest.raises(SplitError, match="test person"):
        train(recipes.smoke(), device="cpu", **sides)  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists(), "refused before anything was written"


def test_gathering_crops_refuses_a_test_person() -> None:
    class Untouched:
        def __getattr__(self, name: str) -> None:
            raise AssertionError(f"the engine's {name} was used")

    engine: Engine = Untouched()  # type: ignore[assignment]
    line = Progress("crops", 1, unit="views")
    gather = getattr(crops.gather, "__wrapped__", crops.gather)
    with pytest.raises(SplitError, match="actor:2000000"):
        gather(recipes.smoke(), Actor(7), Actor(TEST_SEED), engine, line)


def test_a_clip_derived_from_a_test_person_is_refused(tmp_path: Path) -> None:
    check_learnable(clip_of(tmp_path, "actor:7", "sha256:00"))
    with pytest.raises(SplitError, match="actor:2000005"):
        check_learnable(clip_of(tmp_path, "actor:7", "actor:2000005"))


def test_the_command_line_exits_with_the_refusal_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    assert command_line.main(["train", "--source", f"actor:{TEST_SEED}", "--target", "actor:7"]) == 3
    assert "test person" in capsys.readouterr().err
