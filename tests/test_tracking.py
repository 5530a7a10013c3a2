"""Runs in trackers: each library's own reader finds what was written, nothing but numbers leaves, no connection is asked for, and a
tracker that fails never fails the run."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab.__main__ import main
from faceswap_lab.errors import LabError, RunError
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.tracking import choice, follow, to_mlflow, to_tensorboard
from faceswap_lab.runs.tracking.scalars import Scalars
from faceswap_lab.runs.tracking.tracker import Facts, Point

ROOT = Path(__file__).parents[1]
NAME, PATH = "Jane Doe", "/home/jane/portrait.png"
RECIPE = {
    "name": "jane",
    "train": {"steps": 40, "batch": 8, "learning_rate": 0.002, "schedule": "cosine", "jane": 3},
    "net": {"size": 96, "skips": True},
    "people": {"steps": 7},
}
STEPS = {10: 0.9, 20: 0.5, 30: 0.3}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    monkeypatch.delenv(choice.VARIABLE, raising=False)
    return tmp_path


def begun(root: Path, verb: str = "train") -> Run:
    """A run whose recipe, inputs, events and summary name a person everywhere that one can be named."""
    return Run.start(root, verb, json.dumps(RECIPE), {"source": NAME, "target": f"file:{PATH}"})


def work(run: Run, *, finish: bool = True) -> None:
    with run:
        run.emit("followed", text=NAME, frame=3)
        run.emit("crops", seconds=1.5, name=NAME)
        for number, loss in STEPS.items():
            fields: dict[str, Any] = {"learning_rate": 1e-3, "samples_per_s": 80.0, "path": PATH, NAME: 5, "age": 334433}
            run.emit("step", step=number, losses={"loss": loss, "mask": loss / 2, NAME: 1.0}, **fields)
        if finish:
            run.finish(
                loss=0.3,
                name=NAME,
                device="cpu",
                seconds={"train": 2.5, NAME: 4},
                faces_per_identity={"jane": 7},
                path=PATH,
                age=334433,
            )


class Memory:
    """A tracker that keeps what it is told, and fails where it is asked to."""

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.calls: list[tuple[str, Any]] = []

    def _told(self, what: str, value: Any) -> None:
        self.calls.append((what, value))
        if what == self.failing:
            raise OSError(f"no room in {PATH}")

    def start(self, facts: Facts, *, fresh: bool) -> None:
        self._told("start", (facts, fresh))

    def log(self, point: Point) -> None:
        self._told("log", point)

    def finish(self, point: Point) -> None:
        self._told("finish", point)

    def close(self, *, stopped: bool) -> None:
        self._told("close", stopped)


@pytest.fixture
def memory(lab: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Memory]:
    """Stands in for TensorBoard."""
    tracker = Memory()
    monkeypatch.setattr(to_tensorboard, "open_tracker", lambda place: tracker)
    return tracker


# --- what leaves ----------------------------------------------------------------------------------------------------------------


def test_a_tracker_is_told_the_losses_the_rate_the_speed_and_the_progress(lab: Path, memory: Memory) -> None:
    with choice.track("tensorboard"):
        work(begun(lab))
    assert [what for what, _ in memory.calls] == ["start", "log", "log", "log", "log", "finish", "close"]
    points = [value for what, value in memory.calls if what in ("log", "finish")]
    assert dict(points[0].values) == {"seconds/crops": 1.5}
    assert dict(points[2].values) == {
        "loss/loss": 0.5,
        "loss/mask": 0.25,
        "learning_rate": 1e-3,
        "samples_per_s": 80.0,
        "progress": 0.5,
    }
    assert [point.step for point in points] == [0, 10, 20, 30, 30]
    assert dict(points[-1].values) == {"summary/loss": 0.3, "summary/seconds/train": 2.5}
    facts, fresh = memory.calls[0][1]
    assert facts.numbers == {"train.steps": 40, "train.batch": 8, "train.learning_rate": 0.002, "net.size": 96}
    assert not fresh
    assert memory.calls[-1] == ("close", False)


def test_no_name_path_or_unlisted_number_leaves(lab: Path, memory: Memory) -> None:
    with choice.track("tensorboard"):
        work(begun(lab))
    told = repr(memory.calls).lower()
    assert not [word for word in ("jane", "doe", "portrait", "home", "age", "334433", "cpu", "cosine") if word in told]


def test_swaps_packs_and_scores_are_reduced_to_numbers_too(lab: Path) -> None:
    swap = Scalars(begun(lab, "swap").record)
    part = {"name": "part-0", "first": 25, "times_s": [0.0, 0.04], "num_faces": [1, 2], "num_left": [0, 1]}
    point = swap.point("part", part, 7.0)
    assert point == Point(step=27, time_s=7.0, values={"frames": 27.0, "num_faces": 3.0, "num_left": 1.0})
    spent = swap.point("swapped", {"seconds": 2.0, "stages": {"find": 0.5}}, 8.0)
    assert spent == Point(step=27, time_s=8.0, values={"seconds/swapped": 2.0, "seconds/find": 0.5})
    pack = Scalars(begun(lab).record).point("step", {"network": "detector", "step": 5, "losses": {"loss": 1.0}}, 9.0)
    assert pack == Point(step=5, time_s=9.0, values={"detector/loss/loss": 1.0})
    scores = {"scores": {"psnr_face": {"value": 30.0, "floor": None, "unit": "dB", "higher_is_better": True}, NAME: {"value": 1.0}}}
    assert swap.point("finished", scores, 9.0) == Point(step=27, time_s=9.0, values={"summary/scores/psnr_face/value": 30.0})


@pytest.mark.parametrize("event", [{}, {"step": "3"}, {"step": 1, "losses": 3}, {"step": 1, "losses": {"loss": None}}])
def test_an_event_of_another_form_says_nothing(lab: Path, event: dict[str, Any]) -> None:
    scalars = Scalars(begun(lab, "swap").record)
    assert scalars.point("step", event, 0.0) is None
    assert scalars.point("part", event, 0.0) is None


# --- choosing -------------------------------------------------------------------------------------------------------------------


def test_the_variable_and_the_block_choose(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choice.wanted() == ()
    monkeypatch.setenv(choice.VARIABLE, " trackio, TensorBoard,")
    with choice.track("mlflow", "trackio"):
        assert choice.wanted() == ("trackio", "tensorboard", "mlflow")
    assert choice.wanted() == ("trackio", "tensorboard")


def test_an_unknown_tracker_stops_before_any_work(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begun(lab)
    monkeypatch.setenv(choice.VARIABLE, "tensorbord")
    with pytest.raises(LabError, match="did you mean tensorboard"):
        work(run)
    assert run.events() == []
    monkeypatch.delenv(choice.VARIABLE)
    work(run)
    assert run.finished, "the lock was let go"
    with pytest.raises(LabError, match="wandb"), choice.track("wandb"):
        raise AssertionError


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard"), ("mlflow", "mlflow"), ("trackio", "trackio.sqlite_storage")]
)
def test_a_missing_library_names_its_extra(lab: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setenv("TRACKIO_DIR", "")
    run = begun(lab)
    with pytest.raises(LabError, match=rf"faceswap-lab\[{name}\]"), choice.track(name):
        work(run)
    work(run)
    assert run.finished


# --- failing --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("failing", ["start", "log", "finish", "close"])
def test_a_tracker_that_fails_is_announced_once_and_dropped(lab: Path, memory: Memory, failing: str) -> None:
    memory.failing = failing
    run = begun(lab)
    with choice.track("tensorboard"):
        work(run)
    assert run.finished
    (warning,) = run.events("warning")
    assert warning["text"].startswith("tensorboard no longer follows this run (OSError)")
    assert PATH not in warning["text"]
    assert [what for what, _ in memory.calls].count(failing) == 1
    assert memory.calls[-1][0] == failing, "it is not called again"
    assert Run(run.path).finished
    Run(run.path).require_genuine()


def test_a_run_without_trackers_has_the_events_it_always_had(lab: Path) -> None:
    run = begun(lab)
    work(run)
    assert [event["kind"] for event in run.events()] == ["opened", "followed", "crops", "step", "step", "step", "finished"]
    assert not (lab / "runs" / choice.FOLDER).exists()


def test_a_stopped_run_says_so_and_is_taken_up_again(lab: Path, memory: Memory) -> None:
    run = begun(lab)
    with choice.track("tensorboard"):
        work(run, finish=False)
        assert memory.calls[-1] == ("close", True)
        work(run)
    assert memory.calls[-1] == ("close", False)


# --- replaying ------------------------------------------------------------------------------------------------------------------


def test_a_replay_is_what_following_was_without_repeated_steps(lab: Path, memory: Memory) -> None:
    run = begun(lab)
    with choice.track("tensorboard"):
        work(run)
    live = [value for what, value in memory.calls if what in ("log", "finish")]
    memory.calls.clear()
    assert follow.replay(run, ["tensorboard"]) == len(STEPS)
    again = [value for what, value in memory.calls if what in ("log", "finish")]
    assert [(each.step, each.values) for each in again] == [(each.step, each.values) for each in live]
    assert [each.time_s for each in again] == pytest.approx([each.time_s for each in live], abs=1.0)
    assert memory.calls[0][1][1], "it starts afresh"


def test_a_resumed_run_is_replayed_with_each_step_once(lab: Path, memory: Memory) -> None:
    run = begun(lab)
    work(run, finish=False)
    work(run, finish=False)
    assert follow.replay(run, ["tensorboard"]) == len(STEPS)
    assert memory.calls[-1] == ("close", False), "it may still be running"


def test_a_failing_replay_is_an_error(lab: Path, memory: Memory) -> None:
    run = begun(lab)
    work(run)
    memory.failing = "log"
    with pytest.raises(RunError, match="OSError"):
        follow.replay(run, ["tensorboard"])
    with pytest.raises(ValueError, match="at least one"):
        follow.replay(run, [])


# --- the real libraries -----------------------------------------------------------------------------------------------------------


def board(root: Path, run: Run) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard's own reader finds."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    reader = EventAccumulator(str(choice.place_of(root, "tensorboard") / run.id))
    reader.Reload()
    assert reader.Tags()["images"] == reader.Tags()["tensors"] == []
    return {name: [(each.step, each.value) for each in reader.Scalars(name)] for name in reader.Tags()["scalars"]}


@pytest.mark.slow
def test_tensorboard_reads_back_what_was_followed_and_replayed(lab: Path) -> None:
    run = begun(lab)
    with choice.track("tensorboard"):
        work(run, finish=False)
        work(run)
    found = board(lab, run)
    assert [step for step, _ in found["loss/loss"]] == [10, 20, 30, 10, 20, 30]
    assert follow.replay(run, ["tensorboard"]) == len(STEPS)
    found = board(lab, run)
    assert found["loss/loss"] == [(step, pytest.approx(loss)) for step, loss in STEPS.items()]
    assert found["summary/loss"] == [(30, pytest.approx(0.3))]
    assert found["recipe/train.batch"] == [(0, 8.0)]
    assert NAME.encode() not in b"".join(path.read_bytes() for path in (lab / "runs" / choice.FOLDER).rglob("*") if path.is_file())


@pytest.mark.slow
def test_mlflow_reads_back_what_was_followed_and_replayed(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(to_mlflow._ALLOW_FILES, "")
    from mlflow.tracking import MlflowClient

    run = begun(lab)
    with choice.track("mlflow"):
        work(run, finish=False)
    client = MlflowClient(tracking_uri=choice.place_of(lab, "mlflow").as_uri())
    experiment = client.get_experiment_by_name(to_mlflow.EXPERIMENT).experiment_id
    (kept,) = client.search_runs([experiment])
    assert kept.info.status == "KILLED"
    with choice.track("mlflow"):
        work(run)
    (kept,) = client.search_runs([experiment])
    assert (kept.info.run_name, kept.info.status) == (run.id, "FINISHED")
    assert kept.data.params == {"train.steps": "40", "train.batch": "8", "train.learning_rate": "0.002", "net.size": "96"}
    assert kept.data.metrics["summary/loss"] == 0.3
    assert len(client.get_metric_history(kept.info.run_id, "loss/loss")) == 2 * len(STEPS)
    follow.replay(run, ["mlflow"])
    (kept,) = client.search_runs([experiment])
    history = client.get_metric_history(kept.info.run_id, "loss/loss")
    assert {each.step: each.value for each in history} == STEPS
    assert len(history) == len(STEPS)
    assert not [path for path in (lab / "runs" / choice.FOLDER).rglob("*") if path.is_file() and NAME in path.read_text()]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlflow", "tensorboard"])
def test_a_real_library_whose_folder_cannot_be_used_does_not_stop_the_run(lab: Path, name: str) -> None:
    """A file lies where the library wants a folder."""
    run = begun(lab)
    place = choice.place_of(lab, name)
    place.mkdir(parents=True)
    for inside in (run.id, "0", ".trash"):
        (place / inside).write_text("in the way")
    with choice.track(name):
        work(run)
    assert run.finished
    (warning,) = run.events("warning")
    assert warning["text"].startswith(f"{name} no longer follows this run")


TRACKIO = """
import json, sys
from pathlib import Path
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.tracking import choice, follow
from tests.test_tracking import begun, work
root = Path(sys.argv[1])
run = begun(root)
with choice.track("trackio"):
    work(run, finish=False)
    work(run)
from trackio.sqlite_storage import SQLiteStorage as storage
live = storage.get_logs("faceswap_lab", run.id, run_id=run.id)
follow.replay(run, ["trackio"])
again = storage.get_logs("faceswap_lab", run.id, run_id=run.id)
print(json.dumps({"runs": storage.get_runs("faceswap_lab"), "live": live, "again": again,
                  "config": storage.get_run_config("faceswap_lab", run.id), "id": run.id}))
"""


def environment_of(home: Path, **variables: str) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH") if name in os.environ}
    return {**kept, "HOME": str(home), "PYTHONPATH": str(ROOT), **variables}


@pytest.mark.slow
def test_trackio_reads_back_what_was_followed_and_replayed(tmp_path: Path) -> None:
    """In a process of its own: trackio takes its folder once, when it is imported. The token and the Space must not be used."""
    for name in ("home", "lab"):
        (tmp_path / name).mkdir()
    variables = {"HF_TOKEN": "hf_none", "TRACKIO_SPACE_ID": "somebody/space", "TRACKIO_DIR": str(tmp_path / "elsewhere")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", TRACKIO, str(tmp_path / "lab")],
        env=environment_of(tmp_path / "home", **variables),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["runs"] == [told["id"]]
    assert [row["loss/loss"] for row in told["live"] if "loss/loss" in row] == [*STEPS.values(), *STEPS.values()]
    assert {row["step"]: row["loss/loss"] for row in told["again"] if "loss/loss" in row} == STEPS
    assert len([row for row in told["again"] if "loss/loss" in row]) == len(STEPS)
    assert told["again"][-1]["summary/loss"] == 0.3
    assert told["config"]["train.batch"] == 8
    assert not (tmp_path / "elsewhere").exists()
    kept = tmp_path / "lab" / "runs" / choice.FOLDER / "trackio"
    assert [path.name for path in kept.glob("*.db")] == ["faceswap_lab.db"]
    assert NAME.encode() not in b"".join(path.read_bytes() for path in kept.rglob("*") if path.is_file())


CALLING = """
import sys
from pathlib import Path
from faceswap_lab.runs.tracking import choice, follow
from tests.test_tracking import begun, work
root = Path(sys.argv[1])
run = begun(root)
with choice.track(*sys.argv[2:]):
    work(run)
follow.replay(run, sys.argv[2:])
print(len(run.events("warning")))
"""


class Watched:
    """Listens where HTTP clients look for a proxy, and counts who calls."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        self.asked: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.server.accept()
            except OSError:
                return
            with client:
                self.asked.append(client.recv(200))

    @property
    def variables(self) -> dict[str, str]:
        address = f"http://127.0.0.1:{self.server.getsockname()[1]}"
        return {name: address for both in ("http_proxy", "https_proxy") for name in (both, both.upper())}


SITE = """
import socket, sys
plain = socket.socket.connect
def told(self, address):
    if self.family != socket.AF_UNIX:
        print("CONNECTS", address, file=sys.stderr, flush=True)
    return plain(self, address)
socket.socket.connect = told
looked_up = socket.getaddrinfo
def asks(host, *rest, **more):
    print("LOOKS UP", host, file=sys.stderr, flush=True)
    return looked_up(host, *rest, **more)
socket.getaddrinfo = asks
"""


@pytest.mark.slow
@pytest.mark.parametrize("names", [["tensorboard"], ["mlflow"], ["trackio"], ["trackio", "tensorboard", "mlflow"]])
def test_no_tracker_asks_for_a_connection(tmp_path: Path, names: list[str]) -> None:
    """Neither through a proxy nor by itself, with a token at hand that would invite it."""
    for name in ("home", "lab", "site"):
        (tmp_path / name).mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITE)
    proxy = Watched()
    variables = {"HF_TOKEN": "hf_none", "MLFLOW_TRACKING_URI": "http://127.0.0.1:9", **proxy.variables}
    environment = environment_of(tmp_path / "home", **variables)
    environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    command = [sys.executable, "-c", CALLING, str(tmp_path / "lab"), *names]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "0", "none of them failed"
    assert "CONNECTS" not in done.stderr
    assert "LOOKS UP" not in done.stderr
    assert proxy.asked == []
    written = [path for name in ("home", "lab") for path in (tmp_path / name).rglob("*") if path.is_file()]
    outside = [path for path in written if "lab" not in path.relative_to(tmp_path).parts[:1]]
    assert outside == [], "nothing in the home folder"


def test_a_connection_would_be_noticed(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(SITE)
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    environment = environment_of(tmp_path) | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert "CONNECTS" in done.stderr
    assert "LOOKS UP" in done.stderr


# --- the command ----------------------------------------------------------------------------------------------------------------


def test_the_command_copies_a_run_and_says_how_to_look(lab: Path, memory: Memory, capsys: pytest.CaptureFixture[str]) -> None:
    run = begun(lab)
    work(run, finish=False)
    assert main(["runs", "track", run.id, "--to", "tensorboard", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["run"], told["points"]) == (run.id, len(STEPS))
    assert str(choice.place_of(lab, "tensorboard")) in told["to"][0]["show"]
    assert main(["runs", "track", run.id, "--to", "wandb", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["error"]["got"] == "wandb"
    shutil.rmtree(lab / "runs" / choice.FOLDER)
    assert Run(run.path).events("step"), "what trackers have is a copy"
