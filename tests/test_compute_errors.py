"""What goes wrong in a training on several ranks is said in words that help, and what was saved stays."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.compute.cluster import Cluster, cluster
from faceswap_lab.errors import DeviceError, RunError
from faceswap_lab.models.training.checkpoint import read_checkpoint
from faceswap_lab.models.training.team import Parallel
from faceswap_lab.runs.recipe import to_json
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.train import crops, ranks
from faceswap_lab.verbs.train.ranks import _share_in_words
from faceswap_lab.verbs.train.result import TrainRun
from faceswap_lab.verbs.train.train import CHECKPOINT, CROPS, train
from tests.test_train import people

SMOKE = recipes.smoke()
RECIPE = replace(SMOKE, train=replace(SMOKE.train, precision="fp32", steps=8, report_every=1), checkpoint_every=2)


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with cluster("local", workers=2) as made:
        yield made


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab in which nobody has to render crops."""
    (tmp_path / "data_manifests").mkdir()
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    monkeypatch.setattr(crops, "gather", lambda *_: people())
    return tmp_path


def training(two: Cluster) -> TrainRun:
    return train(RECIPE, source=Actor(7), target=Actor(32), compute=two, parallel=Parallel(ranks=2))


def failing(monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
    monkeypatch.setattr(ranks, "ENTRY", f"tests.failing_ranks:{entry}")


@pytest.mark.parametrize(
    ("size", "accumulate", "told", "helps"),
    [
        (2, 1, r"4 of a batch of 8 \(2 ranks, accumulate=1\)", r"Parallel\(accumulate=2\)"),
        (1, 2, r"4 of a batch of 8 \(1 ranks, accumulate=2\)", r"Parallel\(accumulate=4\)"),
        (8, 1, r"1 of a batch of 8 \(8 ranks", "^use more ranks"),
    ],
)
def test_what_needs_less_memory_is_a_number_that_may_be_asked_for(size: int, accumulate: int, told: str, helps: str) -> None:
    share, remedy = _share_in_words(8, size, Parallel(accumulate=accumulate))
    assert re.search(told, share)
    found = re.search(helps, remedy)
    assert found
    if found.group().startswith("Parallel"):
        parts = int(found.group().partition("=")[2][:-1])
        assert size in Parallel(ranks=size, accumulate=parts).sizes(8, size)


@pytest.mark.slow
@pytest.mark.weights
class TestRanks:
    def test_out_of_memory_names_the_batch_and_what_helps(
        self, two: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        failing(monkeypatch, "out_of_memory")
        with pytest.raises(DeviceError, match=r"of a batch of \d+ \(2 ranks, accumulate=1\); got CUDA out of memory") as caught:
            training(two)
        assert "Parallel(accumulate=2), the result is the same" in caught.value.remedy
        assert "keeps its state at step 2" in capsys.readouterr().err
        monkeypatch.undo()
        monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
        assert training(two).events("resumed")[0]["step"] == 2, "it goes on once there is memory"

    @pytest.mark.parametrize("entry", ["without_crops", "crops_gone_before"])
    def test_crops_that_vanish_are_named(self, two: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, entry: str) -> None:
        failing(monkeypatch, entry)
        with pytest.raises(RunError, match=r"crops\.safetensors"):
            training(two)
        [run] = Run.find()
        kept = run.has(CHECKPOINT)
        assert kept == (entry == "without_crops")
        monkeypatch.setattr(ranks, "ENTRY", f"{ranks.__name__}:train_rank")
        again = training(two)
        assert again.id == run.id
        assert [event["step"] for event in again.events("resumed")][:1] == ([2] if kept else [8])

    @pytest.mark.parametrize(
        ("entry", "words"), [("torn_checkpoint", "a training state in"), ("checkpoint_of_another", "one of another recipe")]
    )
    def test_a_checkpoint_that_a_rank_cannot_use_ends_the_gang_and_stays(
        self, two: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, entry: str, words: str
    ) -> None:
        failing(monkeypatch, "out_of_memory")
        with pytest.raises(DeviceError):
            training(two)
        [run] = Run.find()
        before = run.artifact(CHECKPOINT).read_bytes()
        failing(monkeypatch, entry)
        with pytest.raises(RunError, match=words):
            training(two)
        assert run.artifact(CHECKPOINT).read_bytes() == before

    @pytest.mark.parametrize("content", ["torn", "another's"])
    def test_a_checkpoint_that_was_changed_is_refused_before_any_rank_starts(
        self, two: Cluster, root: Path, monkeypatch: pytest.MonkeyPatch, content: str
    ) -> None:
        failing(monkeypatch, "out_of_memory")
        with pytest.raises(DeviceError):
            training(two)
        [run] = Run.find()
        whole = run.artifact(CHECKPOINT).read_bytes()
        place = run.artifact(CHECKPOINT)
        place.write_bytes(whole[:-100] if content == "torn" else whole[:-1] + b"x")
        monkeypatch.setattr(ranks, "ENTRY", "nothing:at_all")
        with pytest.raises(RunError, match="as it was written"):
            training(two)
        place.write_bytes(whole)
        monkeypatch.setattr(ranks, "ENTRY", f"{ranks.__name__}:train_rank")
        assert training(two).id == run.id


CLIENT = """
import sys
from dataclasses import replace
from pathlib import Path
from faceswap_lab.__main__ import main
from faceswap_lab.verbs.train import crops
from faceswap_lab.verbs.train.ranks import GangTraining
from tests.test_train import people

crops.gather = lambda *_: people()
real = GangTraining._hear

def telling(self, told):
    if told["kind"] == "step":
        print(told["step"], flush=True, file=sys.__stdout__)
    real(self, told)

GangTraining._hear = telling
if __name__ == "__main__":  # local workers import this file
    sys.exit(main(sys.argv[1:]))
"""


def of_session(session: int) -> list[int]:
    """The processes of a session."""
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdecimal():
            try:
                state = (each / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(state[3]) == session and state[0] != "Z":
                found.append(int(each.name))
    return found


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_ctrl_c_ends_all_ranks_and_saves_the_run(root: Path, tmp_path: Path) -> None:
    script, file = tmp_path / "client.py", tmp_path / "recipe.json"
    script.write_text(CLIENT)
    file.write_text(to_json(replace(RECIPE, train=replace(RECIPE.train, steps=10**5), checkpoint_every=10**5)))
    words = ["train", "--source", "actor:7", "--target", "actor:32", "--recipe", str(file), "--compute", "local:2", "--ranks", "2"]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with (tmp_path / "err").open("wb") as err:
        client = subprocess.Popen(
            [sys.executable, str(script), *words], env=environment, stdout=subprocess.PIPE, stderr=err, start_new_session=True
        )
    assert client.stdout is not None
    said = [int(client.stdout.readline() or -1) for _ in range(3)]
    assert said == [1, 2, 3], (tmp_path / "err").read_text()
    pids = ranks_of(root)
    os.killpg(client.pid, signal.SIGINT)
    client.stdout.read()
    client.stdout.close()
    assert client.wait() == 130, (tmp_path / "err").read_text()
    assert len(pids) == 2
    while of_session(client.pid) or any(Path(f"/proc/{pid}").exists() for pid in pids):
        time.sleep(0.05)
    [run] = Run.find(finished=False)
    last = [event["step"] for event in run.events("step")][-1]
    kept = read_checkpoint(run.artifact(CHECKPOINT), key=run.key, owner=run.id).state["step"]
    assert kept == last == run.events("interrupted")[-1]["step"] >= 3
    assert f"is saved at step {last}" in (tmp_path / "err").read_text()
    assert {f"logs/rank-{rank}.log" for rank in (0, 1)} <= run.artifacts().keys()
    assert run.has(CROPS)


def ranks_of(root: Path) -> list[int]:
    """The ranks of this lab's training."""
    found = []
    for each in Path("/proc").iterdir():
        try:
            words, own = (each / "cmdline").read_bytes(), (each / "environ").read_bytes()
        except OSError:
            continue
        if b"faceswap_lab.compute.rank" in words and f"FACESWAP_LAB_ROOT={root}\0".encode() in own:
            found.append(int(each.name))
    return found
