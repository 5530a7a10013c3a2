"""Trainings in processes of their own that a signal stops: saved at the last Step, exit code 130, resumed to the same bytes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from faceswap_lab.actors.cast import Actor
from faceswap_lab.models.pack import render
from faceswap_lab.models.pack.pictures import PackPictures
from faceswap_lab.models.training.checkpoint import read_checkpoint
from faceswap_lab.models.training.samples import write_stacks
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.stopping import Stop
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.pack import stages
from faceswap_lab.verbs.train import crops
from faceswap_lab.verbs.train import train as train_module
from faceswap_lab.verbs.train.train import train
from tests.test_pack_nets import drawn_pictures
from tests.test_train import people

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform == "win32", reason="signals between processes")]

SIGNALS = [signal.SIGINT, signal.SIGTERM]

START = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with SIGINT ignored

def slowly(training):
    def steps(*given):
        for step in training(*given):
            print(step.number, flush=True, file=sys.__stdout__)  # a command's own prints go to stderr
            time.sleep(1)
            yield step
    return steps
"""


def child(script: str, *arguments: str, root: Path) -> subprocess.Popen[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "FACESWAP_LAB_ROOT": str(root)}
    return subprocess.Popen(
        [sys.executable, "-c", START + script, *arguments],
        env=environment,
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def stopped_at(process: subprocess.Popen[str], step: int, number: int) -> tuple[int, str, str]:
    """Exit code and output of a child that gets the signal when it has said that so many steps are done."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == str(step):
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=200)
    return process.returncode, out, err


# --- the pair ---------------------------------------------------------------------------------------------------------------

PAIR = replace(
    recipes.smoke(), train=replace(recipes.smoke().train, steps=60, report_every=3, precision="fp32"), checkpoint_every=1000
)


@pytest.fixture
def made_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Crops that nobody rendered, taken by the trainings here and in a child."""
    path = tmp_path / "crops.safetensors"
    crops.save(path, people())
    monkeypatch.setattr(crops, "gather", lambda *_: crops.load(path))
    return path


TRAIN_PAIR = """
from pathlib import Path
from faceswap_lab.__main__ import main
from faceswap_lab.verbs.train import crops, material
crops.gather = lambda *_: crops.load(Path(sys.argv[1]))
material.train_pair = slowly(material.train_pair)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_pair_is_saved_at_the_last_step_and_ends_with_130(
    number: int, tmp_path: Path, made_crops: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.json").write_text(to_json(PAIR))
    words = ["train", "--source", "actor:7", "--target", "actor:21", "--recipe", str(tmp_path / "recipe.json"), "--device", "cpu"]
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "stopped"))
    code, _, err = stopped_at(child(TRAIN_PAIR, str(made_crops), *words, root=tmp_path / "stopped"), 6, number)
    assert code == 130, err
    assert "Traceback" not in err
    (run,) = Run.find(finished=False)
    steps = [event["step"] for event in run.events("step")]
    state = torch.load(run.artifact(train_module.CHECKPOINT), weights_only=True)["state"]
    assert 6 <= steps[-1] < 60, "no step was made in vain"
    assert run.events("interrupted")[-1]["step"] == state["step"] == steps[-1]
    assert f"is saved at step {steps[-1]}" in err
    resumed = train(PAIR, source=Actor(7), target=Actor(21), device="cpu")
    assert resumed.id == run.id
    assert resumed.events("resumed")[-1]["step"] == steps[-1]
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "unbroken"))
    unbroken = train(PAIR, source=Actor(7), target=Actor(21), device="cpu")
    one, other = (each.swapper(torch.device("cpu"))._net.state_dict() for each in (resumed, unbroken))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


# --- the pack ---------------------------------------------------------------------------------------------------------------

FEW = replace(recipes.pack("smoke").points, steps=12, report_every=3)
PACK = replace(
    recipes.pack("smoke"),
    detector=replace(recipes.pack("smoke").detector, fit=FEW),
    points=FEW,
    embedder=FEW,
    checkpoint_every=1000,
)

TRAIN_NETWORK = """
from pathlib import Path
from faceswap_lab.runs.recipe import from_json
from faceswap_lab.verbs.pack import stages
from faceswap_lab.verbs.recipes import PackRecipe
task, folder = sys.argv[1], Path(sys.argv[2])
setattr(stages, f"train_{task}", slowly(getattr(stages, f"train_{task}")))
recipe = from_json(PackRecipe, (folder / "recipe.json").read_text())
with stages.one_thread():
    stages.train_network(task, recipe, [folder / "part"], folder / "work", key="k")
"""


def write_part(path: Path, pictures: PackPictures) -> None:
    coded = [render._encode(image) for image in pictures.images]
    stacks = {name: getattr(pictures, name) for name in ("identity", "points106", "keypoints5", "poses", "occluded")}
    stacks |= {"jpeg": np.concatenate(coded), "lengths": np.array([len(each) for each in coded])}
    stacks["masks"] = np.stack([np.packbits(mask.reshape(-1) > 0) for mask in pictures.masks])
    write_stacks(path, render.KIND, stacks, {"size": pictures.images.shape[1]})


@pytest.mark.parametrize(
    ("task", "number"), [("detector", signal.SIGTERM), ("points", signal.SIGINT), ("embedder", signal.SIGTERM)]
)
def test_a_network_of_the_pack_is_saved_at_the_last_step(task: str, number: int, tmp_path: Path) -> None:
    write_part(tmp_path / "part", drawn_pictures())
    (tmp_path / "recipe.json").write_text(to_json(PACK))
    (tmp_path / "work").mkdir()
    code, _, err = stopped_at(child(TRAIN_NETWORK, task, str(tmp_path), root=tmp_path), 6, number)
    assert code != 0
    assert "KeyboardInterrupt" in err
    kept = read_checkpoint(tmp_path / "work" / f"{task}.pt", key="k", owner="it")
    last = kept.notes["events"][-1]["step"]
    assert kept.state["step"] == last
    assert 6 <= last < 12
    assert not (tmp_path / "work" / stages.FILES[task]).exists()
    with stages.one_thread():
        resumed = stages.train_network(task, PACK, [tmp_path / "part"], tmp_path / "work", key="k")
        unbroken = stages.train_network(task, PACK, [tmp_path / "part"], tmp_path / "whole", key="k")
    assert resumed.path.read_bytes() == unbroken.path.read_bytes()
    assert {event["step"] for event in resumed.events} >= {3, 6, 9, 12}
    assert resumed.seconds > kept.notes["seconds"]


TRAIN_PACK = """
from faceswap_lab.__main__ import main
from faceswap_lab.verbs.pack import pack
pack.check_judges = lambda: None
sys.exit(main(sys.argv[1:]))
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endless:
    """A task that says when it begins and when it was stopped."""

    folder: Path
    number: int

    def __call__(self, stop: Stop) -> None:
        (self.folder / f"begun-{self.number}").touch()
        while not stop():
            time.sleep(0.01)
        (self.folder / f"stopped-{self.number}").touch()
        raise KeyboardInterrupt


RUN_TASKS = """
from pathlib import Path
from faceswap_lab.compute.cluster import cluster
from faceswap_lab.verbs.networks import as_they_come
from tests.test_interrupts import Endless
if __name__ == "__main__":
    try:
        with cluster("local", workers=2) as two:
            list(as_they_come([Endless(folder=Path(sys.argv[1]), number=number) for number in range(6)], two))
    except KeyboardInterrupt:
        sys.exit(130)
"""


def wait_for(found: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    while process.poll() is None and not found():
        time.sleep(0.05)


def gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.parametrize(("number", "to_all"), [(signal.SIGTERM, False), (signal.SIGINT, True)])
def test_a_signal_stops_the_workers_too(number: int, to_all: bool, tmp_path: Path) -> None:
    """SIGTERM as a scheduler sends it, to the process it knows; Ctrl-C as a terminal sends it, to all of them."""
    process = child(RUN_TASKS, str(tmp_path), root=tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("begun-*"))) == 2, process)
    os.killpg(process.pid, number) if to_all else process.send_signal(number)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    begun, stopped = (sorted(path.name[-1] for path in tmp_path.glob(f"{word}-*")) for word in ("begun", "stopped"))
    assert begun == stopped, "each ended by itself"
    while not gone(process.pid):  # multiprocessing's own tracker ends last
        time.sleep(0.05)


def test_a_pack_that_is_stopped_keeps_the_state_of_each_network_and_ends_with_130(tmp_path: Path) -> None:
    endless = replace(FEW, steps=10**6)
    recipe = replace(PACK, detector=replace(PACK.detector, fit=endless), points=endless, embedder=endless, checkpoint_every=3)
    (tmp_path / "recipe.json").write_text(to_json(recipe))
    process = child(TRAIN_PACK, "train", "--recipe", str(tmp_path / "recipe.json"), "--workers", "2", root=tmp_path)
    wait_for(lambda: len(list(tmp_path.glob("runs/*/parts/*.pt"))) == 2, process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=200)
    assert process.returncode == 130, err
    assert "keeps its pictures and checkpoints" in err
    (run,) = Run.find(tmp_path)
    assert not run.finished
    for path in (run.path / "parts").glob("*.pt"):
        kept = read_checkpoint(path, key=run.key, owner=run.id)
        assert kept.state["step"] == kept.notes["events"][-1]["step"] > 0
    assert not (run.path / "parts" / "embedder.pt").exists(), "what had not begun was not begun"
