"""The door of data sets: a folder of shards leaves whole, every picture in it marked and the export logged, or not at all."""

import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image as Pillow

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors import shards
from faceswap_lab.errors import ConsentError, LabError, MediaError, ProvenanceError, RunError, StorageError
from faceswap_lab.files import sha256_file
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust import export_dataset as datasets
from faceswap_lab.trust.export_dataset import MANIFEST, export_dataset
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs.render import render as rendering
from faceswap_lab.verbs.render.dataset import ShardRun
from faceswap_lab.verbs.render.render import RenderRecipe, render, shard_name

pytestmark = pytest.mark.slow

SMALL = RenderRecipe(first=7, num_actors=2, num_views=1, size=48, shard_size=1, kinds=("still",), recast=True, maps=False)
PAIRS = {("actor:7", "actor:7"), ("actor:8", "actor:8"), ("actor:8", "actor:7"), ("actor:7", "actor:8")}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("lab")
        patch.setenv("FACESWAP_LAB_ROOT", str(root))
        render(SMALL)
        yield root


@pytest.fixture
def run(rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A finished render run in a lab of this test's own."""
    root = tmp_path / "lab"
    shutil.copytree(rendered, root)
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    (found,) = ShardRun.find(root)
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def actions(run: Run) -> list[str]:
    return [line.event["action"] for line in audit.read(run.root)]


def retold(run: Run, change: Callable[[str, bytes], tuple[str, bytes]]) -> Path:
    """A folder as the run's, with members changed and a manifest that fits them: as a faulty renderer would have made it."""
    folder = run.root / "retold"
    shutil.copytree(run.path / "artifacts", folder)
    manifest = json.loads((folder / MANIFEST).read_text())
    for row in manifest["shards"]:
        whole = folder / row["name"]
        samples = list(shards.read_shard(whole))
        with shards.writing(whole) as shard:
            for sample in samples:
                shard.add(int(sample.key), dict(change(*member) for member in sample.members.items()))
        row["sha256"] = sha256_file(whole)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_what_leaves_is_what_the_run_made_marked_and_logged(run: Run, tmp_path: Path) -> None:
    out = run.export(f"{tmp_path}/out/shards/")
    assert out == tmp_path / "out" / "shards"
    assert files(out) == files(run.path / "artifacts")
    assert [path.name for path in out.parent.iterdir()] == ["shards"], "nothing is left beside it"
    manifest = json.loads((out / MANIFEST).read_text())
    assert (manifest["run"], manifest["synthetic"], manifest["tool"]) == (run.id, True, "faceswap_lab")
    seen = set()
    for row in manifest["shards"]:
        for sample in shards.read_shard(out / row["name"]):
            for ending in ("png", "truth.png"):
                path = tmp_path / "one.png"
                path.write_bytes(sample.members[ending])
                (mark,) = read_mark(path) or []
                assert mark["digital_source_type"] == manifest["digital_source_type"]
                seen.add((mark["source"]["subject"], mark["target"]["subject"]))
    assert seen == PAIRS
    line = audit.read(run.root)[-1].event
    assert (line["action"], line["file"], line["sha256"]) == ("exported", "shards", sha256_file(out / MANIFEST))
    assert line["files"] == {name: sha256_file(out / name) for name in files(out)}
    assert line["depicts"] == [{"run": run.id, "subjects": ["actor:7", "actor:8"]}]
    assert actions(run).count("exported") == 1


def without_mark(ending: str, content: bytes) -> tuple[str, bytes]:
    if ending != "truth.png":
        return ending, content
    plain = io.BytesIO()
    Pillow.open(io.BytesIO(content)).save(plain, "PNG")
    return ending, plain.getvalue()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_mark, r"000000\.truth\.png.*no mark"),
        (lambda ending, content: (ending, content.replace(b'"synthetic":true', b'"synthetic":false')), "does not say synthetic"),
        (lambda ending, content: (ending.replace("truth.png", "truth.jpg"), content), "carries no mark"),
    ],
)
def test_a_shard_with_an_unmarked_member_does_not_leave(
    run: Run, change: Callable[[str, bytes], tuple[str, bytes]], said: str, tmp_path: Path
) -> None:
    folder, before = retold(run, change), actions(run)
    with pytest.raises(ProvenanceError, match=said):
        export_dataset(folder, tmp_path / "out" / "shards", run=run.id, pairs=PAIRS, root=run.root)
    assert not list((tmp_path / "out").iterdir())
    assert actions(run) == before
    shutil.rmtree(folder)
    retold(run, lambda ending, content: (ending, content))
    assert export_dataset(folder, tmp_path / "out" / "shards", run=run.id, pairs=PAIRS, root=run.root).path.is_dir()


def test_a_run_whose_pictures_were_never_marked_does_not_leave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    monkeypatch.setattr(rendering, "_mark", lambda *_: {})
    unmarked = render(replace(SMALL, num_actors=1, recast=False))
    with pytest.raises(ProvenanceError, match="no mark"):
        unmarked.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_mark_of_another_run_or_of_others_does_not_leave(run: Run, tmp_path: Path) -> None:
    folder = run.path / "artifacts"
    with pytest.raises(ProvenanceError, match=f"the mark of {run.id}"):
        export_dataset(folder, tmp_path / "out", run="render-00000000", pairs=PAIRS, root=run.root)
    with pytest.raises(ProvenanceError, match=r"actor:8 on actor:7|actor:7 on actor:8"):
        export_dataset(folder, tmp_path / "out", run=run.id, pairs={("actor:7", "actor:7"), ("actor:8", "actor:8")}, root=run.root)
    assert not (tmp_path / "out").exists()


def test_the_gate_refuses_anybody_but_actors(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="Ann"):
        export_dataset(run.path / "artifacts", tmp_path / "out", run=run.id, pairs={("actor:7", "Ann")}, root=run.root)
    assert audit.read(run.root)[-1].event["action"] == "export refused"
    with pytest.raises(ValueError, match="names"):
        export_dataset(run.path / "artifacts", tmp_path / "out", run=run.id, pairs=set(), root=run.root)
    assert not (tmp_path / "out").exists()


def test_an_altered_shard_or_manifest_does_not_leave(run: Run, tmp_path: Path) -> None:
    shard, manifest = run.path / "artifacts" / shard_name(1), run.path / "artifacts" / MANIFEST
    content = shard.read_bytes()
    shard.write_bytes(content[:-1] + b"x")
    with pytest.raises(ProvenanceError, match="SHA-256"):
        run.export(tmp_path / "out")
    shard.write_bytes(content)
    manifest.write_text(manifest.read_text() + "\n")
    with pytest.raises(RunError, match="SHA-256"):
        run.export(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_a_line_in_the_log_nothing_appears(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(audit, "append", full)
    with pytest.raises(StorageError, match="no space"):
        run.export(tmp_path / "out" / "shards")
    assert not list((tmp_path / "out").iterdir())


def test_only_an_empty_folder_or_an_older_export_is_replaced(run: Run, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    run.export(out)
    (out / shard_name(0)).write_bytes(b"an older one")
    run.export(out)
    assert files(out) == files(run.path / "artifacts")
    (out / "notes.txt").write_text("mine")
    with pytest.raises(MediaError, match="contains other files"):
        run.export(out)
    assert (out / "notes.txt").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(MediaError, match="another file"):
        run.export(tmp_path / "file")
    (tmp_path / "link").symlink_to(out)
    with pytest.raises(MediaError, match="contains other files"):
        run.export(tmp_path / "link")
    with pytest.raises(ValueError, match="as a folder"):
        run.export(tmp_path / "shards.tar")


def test_a_killed_export_leaves_the_older_one_and_is_cleared(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = run.export(tmp_path / "out")
    out.rename(datasets._older(out))  # killed between the two renames
    (left,) = [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    monkeypatch.setattr(datasets, "_check_marks", lambda *_: pytest.fail("stop here"))
    with pytest.raises(pytest.fail.Exception):
        run.export(out)
    assert files(out) == files(run.path / "artifacts"), "the older one is back"
    monkeypatch.undo()
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(run.root))
    (tmp_path / ".mine").mkdir()
    datasets._older(out).mkdir()
    run.export(out)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", "lab", "out"]
    assert not left.exists()


def test_clips_leave_the_same_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    run = render(replace(SMALL, num_actors=1, recast=False, form="clips", seconds=0.08))
    out = run.export(tmp_path / "out")
    (sample,) = shards.read_shard(out / shard_name(0))
    path = tmp_path / "clip.mkv"
    path.write_bytes(sample.members["mkv"])
    (mark,) = read_mark(path) or []
    assert mark["target"]["subject"] == "actor:7"


def test_other_runs_are_no_data_sets(tmp_path: Path) -> None:
    train = Run.start(tmp_path, "train", '{"steps": 3}', {})
    with pytest.raises(RunError, match="a run of render"):
        ShardRun.open(train.id, tmp_path)
    unfinished = Run.start(tmp_path, "render", '{"first": 7}', {})
    with pytest.raises(LabError, match="unfinished"):
        unfinished.export(tmp_path / "out")


def test_the_log_names_a_crowd_in_short() -> None:
    crowd = {(f"actor:{seed}", f"actor:{seed}") for seed in range(1_000)}
    assert datasets._subjects(crowd) == ["actor:0", "998 more", "actor:999"]


def test_the_command_lets_a_finished_run_out(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["render", "--actors", "7:9", "--views", "1", "--size", "48", "--kind", "still", "--shard-size", "1"]
    words += ["--recast", "--no-maps", "--json"]
    assert command_line.main(words) == 0
    assert "output" not in json.loads(capsys.readouterr().out)
    assert command_line.main([*words, "-o", str(tmp_path / "out")]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["run"], answer["output"]) == (run.id, str(tmp_path / "out"))
    assert files(tmp_path / "out") == files(run.path / "artifacts")
