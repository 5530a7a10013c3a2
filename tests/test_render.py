"""The verb render: whole shards or none, the same bytes however they were made, and every picture marked."""

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors import shards
from faceswap_lab.actors.cast import Actor
from faceswap_lab.actors.render.truth_maps import LABELS
from faceswap_lab.errors import DeviceError, MediaError, RunError
from faceswap_lab.faces import frame as stills
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.export_dataset import MANIFEST
from faceswap_lab.trust.marks.metadata import DETAILS, SENTENCE, read_mark
from faceswap_lab.verbs.render.dataset import ShardRun
from faceswap_lab.verbs.render.render import RenderRecipe, render, shard_name, source_of, take_of

SMALL = RenderRecipe(first=7, num_actors=2, num_views=2, size=48, shard_size=3, kinds=("range", "speech"), recast=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


def digests(run: Run) -> list[str]:
    return [row["sha256"] for row in json.loads(run.artifact(MANIFEST).read_text())["shards"]]


def picture(content: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(content)))


@pytest.mark.slow
def test_a_data_set_holds_pictures_truth_and_facts(root: Path) -> None:
    run = render(SMALL)
    manifest = json.loads(run.artifact(MANIFEST).read_text())
    assert [(row["first"], row["count"]) for row in manifest["shards"]] == [(0, 3), (3, 1)]
    assert (manifest["actors"], manifest["split"], manifest["performance_seeds"]) == ([7, 8], "train", [0, 3])
    assert manifest["code"] == run.record.code
    samples = list(run.samples())
    assert [sample.key for sample in samples] == ["000000", "000001", "000002", "000003"]
    for number, sample in enumerate(samples):
        take, row = take_of(SMALL, number)
        assert set(sample.members) == {"png", "json", "npz", "truth.png", "truth.json", "truth.npz"}
        assert np.array_equal(picture(sample.members["png"]), take.rendered(row).image)
        truth = take.recast(source_of(SMALL, number))
        assert np.array_equal(picture(sample.members["truth.png"]), truth.rendered(row).image)
        assert (sample.facts["take"], sample.facts["frame"], sample.facts["synthetic"]) == (take.origin, row, True)
        assert np.abs(np.array(sample.facts["points"]["68"]["xy"]) - take.rendered(row).landmarks68).max() < 1e-3
        assert np.array_equal(sample.arrays["labels"], take.rendered(row).maps.labels)
        assert sample.facts["labels"] == list(LABELS)
        assert source_of(SMALL, number) != take.actor
    assert {sample.facts["actor"] for sample in samples} == {7, 8}
    assert render(SMALL).id == run.id, "the same finished call returns its run"


@pytest.mark.slow
def test_every_picture_carries_its_mark_without_a_time(root: Path) -> None:
    run = render(replace(SMALL, num_views=1, maps=False))
    for sample in run.samples():
        assert set(sample.members) == {"png", "json", "truth.png", "truth.json"}
        for name in ("png", "truth.png"):
            path = root / "one.png"
            path.write_bytes(sample.members[name])
            found = read_mark(path)
            assert found is not None
            assert found[0]["run"] == run.id
            assert "time" not in found[0]
            text = stills.read_metadata(path)
            assert text[SENTENCE].startswith("Synthetic:")
            assert json.loads(text[DETAILS])["target"]["subject"] == f"actor:{sample.facts['actor']}"


JOB = """
import time
from pathlib import Path
from faceswap_lab.verbs.recipes import RenderRecipe
from faceswap_lab.verbs.render import render as verb
real = verb.Shard
class Held(real):
    def __call__(self, stop):
        made = real.__call__(self, stop)
        while self.number > 0 and Path({hold!r}).exists():
            time.sleep(0.02)
        return made
if __name__ == "__main__":
    verb.Shard = Held
    verb.render({recipe!r}, workers=2)
"""
"""Keeps back every shard but the first while there is the file `hold`: it can't end before it is killed."""


@pytest.mark.slow
def test_two_workers_killed_and_resumed_give_the_bytes_of_an_unbroken_run(
    root: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(SMALL, num_views=6, shard_size=2, recast=False, maps=False)
    path, hold = root / "job.py", root / "hold"
    path.write_text(JOB.format(hold=str(hold), recipe=recipe))
    hold.touch()
    job = subprocess.Popen([sys.executable, str(path)], stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        while not list(root.glob("runs/render-*/artifacts/shards/*.tar")) and job.poll() is None:
            time.sleep(0.02)
        assert job.poll() is None, "it was to be killed at work"
    finally:
        os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    [broken] = ShardRun.find()
    assert not broken.finished
    kept = len(list(root.glob("runs/render-*/artifacts/shards/*.tar")))
    assert 1 <= kept < recipe.num_shards
    hold.unlink()
    subprocess.run([sys.executable, str(path)], check=True, stderr=subprocess.DEVNULL)
    resumed = render(recipe)
    assert (resumed.id, resumed.finished) == (broken.id, True)
    assert not (resumed.path / "parts").exists()
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path_factory.mktemp("other")))
    unbroken = render(recipe)
    assert unbroken.path != resumed.path
    assert digests(unbroken) == digests(resumed)
    assert [each.members for each in unbroken.samples()] == [each.members for each in resumed.samples()]


@pytest.mark.slow
def test_an_interrupt_keeps_finished_shards_and_the_rest_follows(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceswap_lab.verbs.render import render as verb

    real, made = verb.Shard.__call__, []

    def stop_at_the_second(shard: verb.Shard, stop: Callable[[], bool]) -> tuple[int, str]:
        if made:
            raise KeyboardInterrupt
        made.append(shard.number)
        return real(shard, stop)

    monkeypatch.setattr(verb.Shard, "__call__", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        render(SMALL)
    [run] = ShardRun.find()
    assert list(run.artifacts()) == [shard_name(0)]
    assert not (run.path / "parts").exists()
    before = run.artifact(shard_name(0)).stat().st_mtime_ns
    again: list[int] = []
    monkeypatch.setattr(verb.Shard, "__call__", lambda shard, stop: (again.append(shard.number), real(shard, stop))[1])
    finished = render(SMALL)
    assert finished.id == run.id
    assert again == [1]
    assert finished.artifact(shard_name(0)).stat().st_mtime_ns == before
    with pytest.raises(RunError, match="finished render run"):
        list(run.samples())


@pytest.mark.slow
def test_an_altered_shard_is_not_read(root: Path) -> None:
    run = render(replace(SMALL, num_views=1, recast=False, maps=False))
    path = run.path / "artifacts" / shard_name(0)
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="SHA-256"):
        list(run.samples())


def test_a_shard_of_another_version_a_torn_one_and_a_strange_tar_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "shard.tar"
    with shards.writing(path) as shard:
        shard.add(5, {"json": b'{"a": 1}', "png": b"12345" * 400})
    [sample] = shards.read_shard(path)
    assert (sample.key, sample.facts, sorted(sample.members)) == ("000005", {"a": 1}, ["json", "png"])
    torn = tmp_path / "torn.tar"
    torn.write_bytes(path.read_bytes()[:2800])
    with pytest.raises(MediaError, match="whole shard"):
        list(shards.read_shard(torn))
    monkeypatch.setattr(shards, "FORMAT", 2)
    with pytest.raises(MediaError, match=r"format 2.*format 1"):
        list(shards.read_shard(path))
    strange = tmp_path / "strange.tar"
    with tarfile.open(strange, "w") as tar:
        tar.add(path, "x.json")
    with pytest.raises(MediaError, match="another program"):
        list(shards.read_shard(strange))
    (tmp_path / "no.tar").write_bytes(b"no tar at all")
    with pytest.raises(MediaError, match="whole shard"):
        list(shards.read_shard(tmp_path / "no.tar"))


@pytest.mark.slow
def test_clips_hold_every_frame_and_its_facts(root: Path) -> None:
    recipe = RenderRecipe(first=7, num_actors=1, num_views=2, size=48, form="clips", seconds=0.12, kinds=("acted", "turn"))
    run = render(recipe)
    for number, sample in enumerate(run.samples()):
        take, _ = take_of(recipe, number)
        path = root / "clip.mkv"
        path.write_bytes(sample.members["mkv"])
        assert read_mark(path) is not None
        import av

        with av.open(str(path)) as stored:
            frames = [each.to_ndarray(format="rgb24") for each in stored.decode(video=0)]
        assert np.array_equal(frames, [frame.image for frame in take.frames()])
        assert len(sample.facts["frames"]) == len(frames) == 3
        assert sample.arrays["labels"].shape == (3, 48, 48)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"num_views": 0}, "num_views"),
        ({"kinds": ()}, "at least one kind"),
        ({"kinds": ("dance",)}, "speech, range, still"),
        ({"light": "disco"}, "studio"),
        ({"capture": "vhs"}, "webcam"),
        ({"prop": "sword"}, "microphone"),
        ({"size": 8}, "32"),
        ({"first": -1}, "first actor"),
        ({"first": 2**31 - 1}, "last actor"),
        ({"seed": 2**31 - 3}, "last performance seed"),
        ({"first": 999_999}, "two splits"),
        ({"num_actors": 1}, "at least 2"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(wrong: dict[str, object], said: str, root: Path) -> None:
    with pytest.raises(ValueError, match=said):
        render(replace(SMALL, **wrong))  # type: ignore[arg-type]
    assert not (root / "runs").exists()


def test_a_size_that_does_not_fit_into_memory_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceswap_lab.actors.render import render as renderer

    monkeypatch.setattr(renderer, "_memory_bytes", lambda: 2.0**20)
    with pytest.raises(DeviceError, match="render smaller"):
        render(SMALL)
    assert not (root / "runs").exists()


@pytest.mark.slow
def test_the_command_renders_and_lists(root: Path, capsys: pytest.CaptureFixture) -> None:
    command = [
        "render",
        "--actors",
        "7:9",
        "--views",
        "1",
        "--size",
        "48",
        "--no-maps",
        "--kind",
        "still",
        "--kind",
        "turn",
        "--json",
    ]
    assert command_line.main(command) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["num_samples"], answer["num_shards"]) == (2, 1)
    assert len(list(ShardRun.open(answer["run"]).samples())) == 2
    assert command_line.main(["render", "--actors", "seven"]) == 2
    assert command_line.main(["render", "--actors", "9:7"]) == 2
    capsys.readouterr()
    assert command_line.main(["actors", "list", "--split", "val", "--count", "3", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [row["actor"] for row in listed] == ["actor:1000000", "actor:1000001", "actor:1000002"]
    assert {row["who"] for row in listed} <= {"man", "woman"}
    assert all((row["who"] == "man") == Actor(int(row["actor"][6:])).traits.is_male for row in listed)
