"""Weights and training states that are damaged, diverged or somebody else's: each is named, and the last good one stays."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import LabError, RunError, WeightsError
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.swappers.pair import PairSwapper
from faceswap_lab.models.swappers.pair_net import PairNet, PairNetConfig
from faceswap_lab.models.training.loop import Step
from faceswap_lab.models.training.pair import PairTraining, fresh_pair
from faceswap_lab.models.training.state import TrainState
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.recipes import PairRecipe
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train import material
from faceswap_lab.verbs.train import train as train_module
from faceswap_lab.verbs.train.result import TrainRun
from faceswap_lab.verbs.train.train import CHECKPOINT, WEIGHTS, train

CPU = torch.device("cpu")
NET = PairNetConfig(size=32, width=8, code=32)
CARD = Card(name="train-1", task="swap", licence="Apache-2.0", source="a test", subjects=("actor:7", "actor:21"))
NAN, INFINITE = float("nan"), float("inf")


def in_three_parts(error: LabError, *words: str) -> None:
    assert error.expected
    assert error.got
    assert error.remedy
    for word in words:
        assert word in str(error)


# --- weights ----------------------------------------------------------------------------------------------------------------


def written(path: Path) -> Path:
    PairSwapper(PairNet(NET), CARD).save(path)
    return path


def poisoned(tensors: dict[str, torch.Tensor], value: float) -> dict[str, torch.Tensor]:
    name = next(name for name, tensor in tensors.items() if tensor.is_floating_point())
    tensors[name][(0,) * tensors[name].ndim] = value
    return tensors


ABOUT = {"card": json.dumps(asdict(CARD)), "net": json.dumps(asdict(NET))}


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda path: save_file(poisoned(load_file(path), NAN), path, ABOUT), ("finite weights", "1 of")),
        (lambda path: save_file(poisoned(load_file(path), INFINITE), path, ABOUT), ("finite weights",)),
        (lambda path: save_file(load_file(path), path), ("no card and no net in its metadata",)),
        (lambda path: save_file(load_file(path), path, {"card": ABOUT["card"]}), ("no net in its metadata",)),
        (lambda path: save_file(load_file(path), path, ABOUT | {"net": json.dumps(asdict(replace(NET, size=64)))}), ("size",)),
        (lambda path: save_file(load_file(path), path, ABOUT | {"net": "[]"}), ("safetensors",)),
        (lambda path: save_file(load_file(path), path, ABOUT | {"card": '{"name": 3}'}), ("safetensors",)),
        (lambda path: save_file(dict(list(load_file(path).items())[:-1]), path, ABOUT), ("Missing key",)),
        (lambda path: path.write_bytes(path.read_bytes()[:-1000]), ("safetensors",)),
        (lambda path: path.write_bytes(path.read_bytes()[:20]), ("safetensors",)),
        (lambda path: path.write_bytes(b""), ("safetensors",)),
        (lambda path: path.write_bytes(b"\xff" * 5000), ("safetensors",)),
        (Path.unlink, ("safetensors",)),
    ],
)
def test_damaged_weights_are_named(tmp_path: Path, damage: Callable[[Path], object], words: tuple[str, ...]) -> None:
    path = written(tmp_path / "pair.safetensors")
    PairSwapper.load(path, CPU)
    damage(path)
    with pytest.raises(WeightsError) as caught:
        PairSwapper.load(path, CPU)
    in_three_parts(caught.value, "train the pair again", *words)


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    net = PairNet(NET)
    with torch.no_grad():
        next(net.parameters())[0] = NAN
    with pytest.raises(WeightsError, match="NaN or infinity"):
        PairSwapper(net, CARD).save(tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


# --- training states --------------------------------------------------------------------------------------------------------


def state_of(net: PairNetConfig = NET) -> TrainState[PairNet]:
    state = fresh_pair(net, PairTraining(), CPU)
    for parameter in state.net.parameters():
        parameter.grad = torch.ones_like(parameter)
    state.optimiser.step()
    return state


def degrade(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    saved = state_of().state_dict()
    change(saved)
    return saved


@pytest.mark.parametrize(
    ("saved", "words"),
    [
        (lambda: degrade(lambda saved: poisoned(saved["net"], NAN)), ("finite", "net.")),
        (lambda: degrade(lambda saved: poisoned(saved["average"], INFINITE)), ("finite", "average.")),
        (lambda: degrade(lambda saved: saved["optimiser"]["state"][0]["exp_avg"].fill_(NAN)), ("finite", "optimiser.0.exp_avg")),
        (lambda: degrade(lambda saved: saved.pop("random")), ("random",)),
        (lambda: degrade(lambda saved: saved.pop("optimiser")), ("optimiser",)),
        (lambda: degrade(lambda saved: saved.update(random="none")), ("checkpoint of this recipe",)),
        (lambda: degrade(lambda saved: saved.update(step="many")), ("checkpoint of this recipe",)),
        (lambda: state_of(replace(NET, size=64)).state_dict(), ("size mismatch",)),
        (lambda: state_of(replace(NET, skips=False)).state_dict(), ("checkpoint of this recipe",)),
    ],
)
def test_damaged_training_states_are_named(saved: Callable[[], dict[str, Any]], words: tuple[str, ...]) -> None:
    with pytest.raises(RunError) as caught:
        state_of().load_state_dict(saved())
    in_three_parts(caught.value, *words)


def begun(root: Path, recipe: PairRecipe) -> Run:
    return Run.start(root, "train", to_json(recipe), {"source": "actor:7", "target": "actor:21"})


def kept(run: Run, content: bytes) -> Run:
    """The run with this checkpoint, on record as its own."""
    with run, run.write(CHECKPOINT) as path:
        path.write_bytes(content)
    return run


def pickled(value: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: pickled({"key": "x", "state": state_of().state_dict()})[:-3000], ("training state",)),
        (lambda: b"", ("training state",)),
        (lambda: b"no checkpoint", ("training state",)),
        (lambda: pickled([1, 2]), ("training state",)),
        (lambda: pickled(state_of().state_dict()), ("training state", "key")),
        (lambda: pickled({"key": Path("x"), "state": {}}), ("training state",)),
        (lambda: pickled({"key": "0" * 64, "state": state_of().state_dict()}), ("another recipe", "00000000")),
    ],
)
def test_damaged_checkpoints_are_named(tmp_path: Path, content: Callable[[], bytes], words: tuple[str, ...]) -> None:
    run = kept(begun(tmp_path, recipes.smoke()), content())
    with pytest.raises(RunError) as caught:
        train_module._kept(run, CPU)
    in_three_parts(caught.value, "force=True", *words)


@pytest.mark.parametrize("other", [recipes.pair(7, size=32), replace(recipes.smoke(), train=PairTraining(steps=6, batch=2))])
def test_a_checkpoint_of_another_recipe_is_named(tmp_path: Path, other: PairRecipe) -> None:
    run, donor = begun(tmp_path, recipes.smoke()), begun(tmp_path, other)
    kept(donor, pickled({"key": donor.key, "state": state_of().state_dict()}))
    train_module._kept(donor, CPU)
    (run.path / "artifacts").mkdir(exist_ok=True)
    shutil.copy(donor.artifact(CHECKPOINT), run.path / "artifacts" / CHECKPOINT)
    with pytest.raises(RunError, match="another SHA-256"):
        train_module._kept(run, CPU)
    kept(run, donor.artifact(CHECKPOINT).read_bytes())
    with pytest.raises(RunError, match="another recipe") as caught:
        train_module._kept(run, CPU)
    in_three_parts(caught.value, donor.key[:8])


# --- the verbs --------------------------------------------------------------------------------------------------------------


@pytest.mark.weights
@pytest.mark.slow
def test_a_training_that_diverges_keeps_its_last_good_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    hero, double = Actor(7), Actor(21)
    wild = replace(recipes.smoke(), train=replace(recipes.smoke().train, learning_rate=1e30))
    with pytest.raises(RunError, match="finite") as caught:
        train(wild, source=hero, target=double, device="cpu")
    in_three_parts(caught.value, "recipe.train.learning_rate")
    (unfinished,) = Run.find()
    assert not unfinished.finished
    assert not unfinished.has(CHECKPOINT)
    recipe = replace(recipes.smoke(), checkpoint_every=2)
    steps = material.train_pair

    def poisoning(state: TrainState[PairNet], *inputs: Any) -> Iterator[Step]:
        for step in steps(state, *inputs):
            if step.number == 4:
                with torch.no_grad():
                    next(state.net.parameters())[0] = NAN
            yield step

    with monkeypatch.context() as patch:
        patch.setattr(material, "train_pair", poisoning)
        with pytest.raises(RunError, match="finite numbers in the training state at step 4"):
            train(recipe, source=hero, target=double, device="cpu")
    assert "keeps its state at step 2" in capsys.readouterr().err
    resumed = train(recipe, source=hero, target=double, device="cpu")
    assert resumed.events("resumed")[-1]["step"] == 2
    assert resumed.finished
    _weights_of_another_run(resumed, hero, double)


def _weights_of_another_run(run: Run, hero: Actor, double: Actor) -> None:
    other = train(recipes.smoke(), source=hero, target=double, device="cpu")
    take = double.perform("still", seconds=0.04, size=160)
    mine, theirs = run.path / "artifacts" / WEIGHTS, other.artifact(WEIGHTS)
    whole = mine.read_bytes()
    for content in (theirs.read_bytes(), whole[:-100]):
        mine.write_bytes(content)
        with pytest.raises(RunError, match="another SHA-256") as caught:
            swap(take, source=hero, swapper=run, device="cpu")
        in_three_parts(caught.value, run.id)
    mine.write_bytes(theirs.read_bytes())
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(record | {"status": "unfinished"}))
    with Run(run.path) as again:
        with again.write(WEIGHTS) as path:
            path.write_bytes(theirs.read_bytes())
        again.finish(**record["summary"])  # so that the log has them too, and only their card tells
    with pytest.raises(WeightsError, match=other.id) as refused:
        swap(take, source=hero, swapper=TrainRun(run.path), device="cpu")
    in_three_parts(refused.value, "according to their card")
