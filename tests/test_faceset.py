"""Facesets end to end on actors: each reason to drop, identities, doubles, splits, resuming, the gate, names and marks."""

import io
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from pydantic import ValidationError

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, FaceError, MediaError, RunError
from faceswap_lab.faces import video
from faceswap_lab.faces.faceset import Faceset
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Image, read_still
from faceswap_lab.models.clusters import ACTORS
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.gate import check_train
from faceswap_lab.verbs import library, people, recipes
from faceswap_lab.verbs.gather import sightings
from faceswap_lab.verbs.gather.gather import gather
from faceswap_lab.verbs.recipes import FacesetRecipe
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train.train import train
from faceswap_lab.views.faceset import browse

pytestmark = [pytest.mark.weights, pytest.mark.slow]

HERO, OTHER = Actor(7), Actor(21)
WHO, BASIS = "synthetic:hero", "synthetic: actors filmed for a test"
RECIPE = FacesetRecipe(name="hero", same_person=ACTORS, stretch_s=0.5, gap_s=0.1)


def still(path: Path, image: Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(image).save(path, **options)
    return path


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with spaces and letters of other alphabets: a clip and stills of one actor, stills of another, and what must go."""
    folder = tmp_path_factory.mktemp("material") / "Fotos von früher 写真"
    takes = HERO.perform("range", seconds=0.2, fps=25, seed=77, size=320)
    views = [takes[number].image for number in range(5)]
    for number, view in enumerate(views):
        still(folder / "photos" / f"photo {number}.png", view)
    take = HERO.perform("speech", seconds=1.6, fps=5, seed=3, size=256)
    video.encode(folder / "Gespräch 1.mp4", take.frames(), fps=5)
    strangers = OTHER.perform("range", seconds=0.08, fps=25, seed=8, size=320)
    for number in range(2):
        still(folder / f"stranger {number}.png", strangers[number].image)
    still(folder / "blurred.png", cv2.GaussianBlur(views[0], (0, 0), 6))
    still(folder / "tiny.png", cv2.resize(views[1], (72, 72), interpolation=cv2.INTER_AREA))
    still(folder / "again.jpg", cv2.resize(views[2], None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA), quality=80)
    still(folder / "cut.png", np.ascontiguousarray(views[3][:, :150]))
    still(folder / "meadow.png", np.full((200, 200, 3), (90, 130, 70), np.uint8))
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff and no more")
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(b"")
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lab")
    (folder / "data_manifests").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESWAP_LAB_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def made(root: Path, shots: Path) -> Run:
    return gather(RECIPE, shots, who=WHO, basis=BASIS)


def dropped(run: Run) -> list[dict]:
    return json.loads(run.artifact(library.DROPPED).read_text())


# --- what comes of it -----------------------------------------------------------------------------------------------------


def test_every_face_is_kept_or_dropped_with_its_reason(made: Run) -> None:
    reasons: dict[str, set[str]] = {}
    for each in dropped(made):
        reasons.setdefault(each["reason"], set()).add(each["file"])
    assert reasons["blurred"] == {"blurred.png"}
    assert reasons["too small"] == {"tiny.png"}
    assert reasons["cut by the border"] == {"cut.png"}
    assert reasons["no face"] == {"meadow.png"}
    assert reasons["unreadable"] == {"broken.jpg"}
    assert reasons["not looked at"] == {"notes.txt"}
    assert reasons["another person"] == {"stranger 0.png", "stranger 1.png"}
    assert "again.jpg" in reasons["duplicate"] or "photo 2.png" in reasons["duplicate"]
    assert all(each["detail"] for each in dropped(made) if each["reason"] not in ("no face",))
    shown = library.faceset("hero")
    frames = sum(1 for each in dropped(made) if each["file"] == "Gespräch 1.mp4")
    clip = next(json.loads(record)["file"] for record in made.inputs.values() if "Gespr" in json.loads(record)["path"])
    assert frames + sum(f"sha256:{row.source}" == clip for row in shown.rows) == 8, (
        "every frame that was looked at is accounted for"
    )


def test_crops_show_the_face_of_their_row_and_its_points(made: Run) -> None:
    engine = OfflineEngine()
    shown = library.faceset(made)
    assert isinstance(shown, Footage)
    for number, row in enumerate(shown.rows):
        frame = shown[number]
        assert frame.size == (256, 256)
        found = engine.detect(frame)
        assert len(found), row.crop
        matrix, points = np.array(row.frame_to_crop), np.array(row.keypoints)
        expected = points @ matrix[:, :2].T + matrix[:, 2]
        assert np.abs(found.keypoints[0] - expected).max() < 0.25 * np.linalg.norm(expected[1] - expected[0])


def test_a_rows_source_is_its_file_and_its_manifest_row(made: Run, root: Path) -> None:
    listed = (root / "data_manifests" / "synthetic-hero.csv").read_text()
    files = {json.loads(record)["file"].removeprefix("sha256:") for record in made.inputs.values()}
    assert len(files) == 14
    for row in library.faceset(made).rows:
        assert row.source in files
        assert row.source in listed
        assert row.subject == row.person == WHO
        assert row.licence == BASIS
    assert len(list((root / "data_manifests").glob("*.toml"))) == 1, "many files are one manifest"


def test_the_same_call_returns_its_run_and_leaves_no_numbers_of_strangers(made: Run, shots: Path) -> None:
    assert gather(RECIPE, shots, who=WHO, basis=BASIS) == made
    assert not (made.path / "work").exists()
    assert all("stranger" not in json.dumps(row) for row in json.loads(made.artifact(library.FACES).read_text()))


def test_no_stretch_of_a_clip_is_in_two_splits(made: Run) -> None:
    by_unit: dict[tuple[str, int], set[str]] = {}
    moments: dict[str, list[tuple[float, str]]] = {}
    for row in library.faceset(made).rows:
        by_unit.setdefault((row.source, int(row.time_s // RECIPE.stretch_s)), set()).add(row.split)
        moments.setdefault(row.source, []).append((row.time_s, row.split))
    assert all(len(splits) == 1 for splits in by_unit.values())
    for seen in moments.values():
        for time_s, split in seen:
            assert all(split == other or abs(time_s - when) >= 2 * RECIPE.gap_s for when, other in seen)
    assert all(made.summary["splits"].values())


def test_it_shows_itself_in_little_and_knows_its_parts(made: Run) -> None:
    shown = library.faceset(made)
    page = shown._repr_html_()
    assert len(page) < 100_000
    assert "data:image/jpeg" in page
    assert len(shown["train"]) + len(shown["val"]) + len(shown["test"]) == len(shown)
    assert shown["train"].digest != shown.digest
    assert shown.of(WHO.upper()).digest == shown.digest
    with pytest.raises(ValueError, match="split"):
        shown["dev"]
    with pytest.raises(FaceError, match="nobody-else"):
        shown.of("nobody-else")


# --- going on, and going wrong --------------------------------------------------------------------------------------------


def test_a_stopped_search_goes_on_to_the_same_set(made: Run, shots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = sightings._judged
    calls = 0

    def stopping(*args: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 9:  # one more than the clip has: whichever file comes first is saved by then
            raise KeyboardInterrupt
        return judged(*args)  # type: ignore[arg-type]

    recipe = replace(RECIPE, name="stopped")
    with monkeypatch.context() as patch:
        patch.setattr(sightings, "_judged", stopping)
        with pytest.raises(KeyboardInterrupt):
            gather(recipe, shots, who=WHO, basis=BASIS)
    (unfinished,) = Run.find(verb="faceset", finished=False)
    saved = len(list((unfinished.path / "work").glob("*.npz")))
    assert saved
    looked = []
    monkeypatch.setattr(sightings, "_judged", lambda *args: looked.append(1) or judged(*args))
    again = gather(recipe, shots, who=WHO, basis=BASIS)
    assert again.id == unfinished.id
    whole = library.faceset(made)
    assert library.faceset(again).digest == whole.digest
    assert len(looked) < len(whole.rows) + len(dropped(made)), "what was looked at before is not looked at again"


def test_a_stop_between_the_crops_goes_on_to_the_same_set(made: Run, shots: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceswap_lab.verbs.gather import work as module

    placed = module.put_in_place

    def stopping(temporary: Path, place: Path) -> None:
        if len(list(place.parent.glob("*.png"))) == 3:
            raise KeyboardInterrupt
        placed(temporary, place)

    recipe = replace(RECIPE, name="stopped later")
    with monkeypatch.context() as patch:
        patch.setattr(module, "put_in_place", stopping)
        with pytest.raises(KeyboardInterrupt):
            gather(recipe, shots, who=WHO, basis=BASIS)
    again = gather(recipe, shots, who=WHO, basis=BASIS)
    assert library.faceset(again).digest == library.faceset(made).digest
    assert library.check(again) == []


def test_no_face_at_all_says_what_was_seen(root: Path, shots: Path, tmp_path: Path) -> None:
    shutil.copy(shots / "meadow.png", tmp_path)
    shutil.copy(shots / "blurred.png", tmp_path)
    with pytest.raises(FaceError, match="1 blurred") as told:
        gather(replace(RECIPE, name="nothing"), tmp_path, who=WHO, basis=BASIS)
    assert "1 no face" in told.value.got


def test_an_empty_folder_and_a_missing_one_are_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(MediaError, match="none among 0 files"):
        gather(RECIPE, tmp_path / "empty", who=WHO, basis=BASIS)
    with pytest.raises(MediaError, match="nothing at"):
        gather(RECIPE, tmp_path / "missing", who=WHO, basis=BASIS)


# --- consent --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def own_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "a lab"
    (folder / "data_manifests").mkdir(parents=True)
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(folder))
    return folder


@pytest.mark.parametrize(
    ("declared", "told"),
    [
        ({}, "no who or basis"),
        ({"who": WHO, "basis": "trust me"}, "basis of one of these forms"),
        ({"who": WHO, "basis": BASIS, "uses": ["anonymise"]}, "evaluate"),
        ({"who": WHO, "basis": BASIS, "uses": ["evaluate"]}, "train"),
    ],
)
def test_nothing_is_decoded_without_leave(
    own_root: Path, shots: Path, monkeypatch: pytest.MonkeyPatch, declared: dict, told: str
) -> None:
    monkeypatch.setattr("faceswap_lab.faces.footage.read_still", lambda *_: pytest.fail("a pixel was read"))
    monkeypatch.setattr("faceswap_lab.faces.footage.read_index", lambda *_: pytest.fail("a clip was opened"))
    with pytest.raises(ConsentError, match="14 refused") as refused:
        gather(RECIPE, shots, **declared)
    assert told in refused.value.got
    assert not Run.find(verb="faceset")


def test_a_refused_file_does_not_keep_the_others_out(own_root: Path, shots: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(shots / "photos", folder)
    withdrawn = folder / "photo 4.png"
    people.admit(withdrawn, who="synthetic:gone", basis="synthetic: someone else", uses=["train", "evaluate"])
    manifest = own_root / "data_manifests" / "synthetic-gone.toml"
    manifest.write_text(manifest.read_text() + f"withdrawn = {date.today()}\n")
    run = gather(RECIPE, folder, who=WHO, basis=BASIS)
    (refused,) = [each for each in dropped(run) if each["reason"] == "refused"]
    assert refused["file"] == "photo 4.png"
    assert "withdrawn" in refused["detail"]
    assert run.summary["num_refused"] == 1
    assert all(refused["source"] not in record for record in run.inputs.values())


def test_after_a_withdrawal_the_set_is_without_and_the_gate_refuses(
    own_root: Path, shots: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for number, folder in enumerate((first, first, first, second, second)):
        folder.mkdir(exist_ok=True)
        shutil.copy(shots / "photos" / f"photo {number}.png", folder)
    people.admit(second / "photo 3.png", who=WHO, basis="synthetic: another day", uses=["train", "evaluate"])
    run = gather(RECIPE, first, second, who=WHO, basis=BASIS)
    before = library.faceset(run)
    check_train(people.subject_of(before), root=own_root)
    record = people.record_of(before)
    assert people.reopened(record).digest == before.digest
    manifest = own_root / "data_manifests" / "synthetic-hero-2.toml"
    other = own_root / "data_manifests" / "synthetic-hero.toml"
    gone = manifest if "another day" in manifest.read_text() else other
    gone.write_text(gone.read_text() + f"withdrawn = {date.today()}\n")
    with pytest.raises(ConsentError, match="withdrawn"):
        check_train(people.subject_of(before), root=own_root)
    with pytest.raises(ConsentError, match="withdrawn"):
        check_train(people.subject_of(people.reopened(record)), root=own_root)
    after = library.faceset(run)
    assert 0 < len(after) < len(before)
    assert "withdrawn" in capsys.readouterr().out
    check_train(people.subject_of(after), root=own_root)
    assert any("withdrawn" in each["found"] for each in library.check(run))


def test_a_faceset_trains_on_its_train_split_and_is_a_source(made: Run) -> None:
    shown = library.faceset(made)
    run = train(replace(recipes.smoke(), supervision="none"), source=shown, target=OTHER, device="cpu")
    assert json.loads(run.inputs["source"])["digest"] == shown["train"].digest
    assert made.id in run.inputs["source"]
    with pytest.raises(ConsentError, match="swap-source"):
        swap(OTHER.perform("still", seconds=0.04, size=160), source=shown, swapper="warp", device="cpu")


def test_a_declared_source_can_be_swapped_and_its_result_named(own_root: Path, shots: Path, tmp_path: Path) -> None:
    uses = ["train", "evaluate", "swap-source"]
    run = gather(RECIPE, shots / "photos", who=WHO, basis=BASIS, uses=uses)
    made = swap(OTHER.perform("still", seconds=0.04, size=160), source=library.faceset(run), swapper="warp", device="cpu")
    assert made.summary["source"] == WHO
    assert made.export(tmp_path / "swap.png").is_file()
    assert audit.verify(own_root, heads=Run.heads()).whole


# --- several people -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cast(root: Path, shots: Path) -> Run:
    recipe = replace(RECIPE, name="cast", identities="many")
    return gather(recipe, shots / "photos", shots / "stranger 0.png", shots / "stranger 1.png", who=WHO, basis=BASIS)


def test_people_are_told_apart_and_named(cast: Run, root: Path) -> None:
    shown = library.faceset(cast)
    assert shown.identities == {"person-1": 5, "person-2": 2}
    with pytest.raises(FaceError, match=r"person-1 \(5\), person-2 \(2\)"):
        people.subject_of(shown)
    assert library.name_person(cast, "person-2", " Jane  Doe ") == {"person-2": "Jane Doe"}
    assert json.loads((cast.path / "names.json").read_text()) == {"person-2": "Jane Doe"}
    named = library.faceset("cast").of("jane doe")
    assert (named.subject, len(named)) == ("Jane Doe", 2)
    assert people.subject_of(named).name == "Jane Doe"
    assert audit.read(root)[-1].event["action"] == "faceset annotated"
    with pytest.raises(ValueError, match="another person"):
        library.name_person(cast, "person-1", "jane doe")
    with pytest.raises(RunError, match="person-9"):
        library.name_person(cast, "person-9", "Nobody")
    assert library.name_person(cast, "person-2", "") == {}


def test_faces_marked_by_hand_are_left_out_and_come_back(cast: Run) -> None:
    shown = library.faceset(cast)
    crop = shown.rows[0].crop
    library.leave_out(cast, [crop])
    assert crop not in {row.crop for row in library.faceset(cast).rows}
    assert len(library.faceset(cast)) == len(shown) - 1
    with pytest.raises(RunError, match="nonsense"):
        library.leave_out(cast, ["nonsense.png"])
    library.leave_out(cast, [crop], restore=True)
    assert library.faceset(cast).digest == shown.digest


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("names.json", "{"),
        ("names.json", '["person-1"]'),
        ("names.json", '{"person-1": 1}'),
        ("left_out.json", "{}"),
        ("left_out.json", "[1]"),
    ],
)
def test_an_annotation_of_another_form_is_refused(cast: Run, name: str, text: str) -> None:
    before = (cast.path / name).read_text() if (cast.path / name).exists() else None
    (cast.path / name).write_text(text)
    try:
        with pytest.raises(RunError, match="a readable"):
            library.faceset(cast)
    finally:
        (cast.path / name).unlink() if before is None else (cast.path / name).write_text(before)


def test_a_row_with_a_key_that_nobody_knows_is_refused(cast: Run) -> None:
    rows = json.loads(cast.artifact(library.FACES).read_text())
    assert len(library._ROWS.validate_json(json.dumps(rows))) == len(rows)
    with pytest.raises(ValidationError, match="colour"):
        library._ROWS.validate_json(json.dumps([rows[0] | {"colour": "red"}]))


def test_the_view_shows_names_and_marks(cast: Run) -> None:
    view = browse("cast")
    assert view.person == "person-1"
    assert len(view.tiles) == 5
    assert view.namable
    notes = [float(tile["note"].split("sharpness ")[1].split()[0]) for tile in view.tiles]
    assert notes == sorted(notes)
    crop = view.tiles[0]["crop"]
    view._answer(None, {"mark": [crop, True]}, [])
    assert [tile["out"] for tile in view.tiles] == [True, False, False, False, False]
    assert len(view.faceset) == 6
    view._answer(None, {"mark": [crop, False]}, [])
    view._answer(None, {"name": ["person-2", "Joan"]}, [])
    assert ["person-2", "Joan", 2] in view.identities
    view._answer(None, {"name": ["person-1", "Joan"]}, [])
    assert "another person" in view.problem
    view.person = "person-2"
    assert len(view.tiles) == 2
    picture = view.sprite(view._shown())
    assert read(picture).shape == (96, 960, 3)
    assert {"image/png", "text/plain"} <= set(view._repr_mimebundle_()[0])
    view.name("person-2", "")


def read(data: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(data)))


def test_altered_crops_and_moved_sources_are_found(own_root: Path, shots: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    shutil.copytree(shots / "photos", folder)
    run = gather(RECIPE, folder, who=WHO, basis=BASIS)
    assert library.check(run) == []
    shown = library.faceset(run)
    first, second = (run.path / "artifacts" / row.crop for row in shown.rows[:2])
    still(first, np.ascontiguousarray(read_still(first)[:, ::-1]))
    second.unlink()
    (folder / "photo 0.png").unlink()
    found = {each["what"]: each for each in library.check(run)}
    assert found[shown.rows[0].crop]["found"] == "altered"
    assert found[shown.rows[1].crop]["found"] == "gone"
    assert found[str(folder / "photo 0.png")]["state"] == "warning"
    for number in (0, 1):
        with pytest.raises(RunError, match="as it was written"):
            shown[number]


# --- the command line -----------------------------------------------------------------------------------------------------


def test_the_commands(own_root: Path, shots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*arguments: str, code: int = 0) -> dict:
        assert command_line.main(["facesets", *arguments, "--json"]) == code
        return json.loads(capsys.readouterr().out)

    declared = ("--who", WHO, "--basis", BASIS, "--same-person", "0.66", "--identities", "many")
    made = said("add", "mein satz", str(shots / "photos"), *declared)
    assert made["num_faces"] == 5
    assert [row["name"] for row in said("list")] == ["mein satz"]
    shown = said("show", "mein satz")
    assert shown["identities"][0]["faces"] == 5
    assert Path(shown["sheet"]).is_file()
    assert said("name", "mein satz", "person-1", "Zoë")["names"] == {"person-1": "Zoë"}
    assert said("check", "mein satz")["ok"]
    (own_root / "data_manifests" / "synthetic-hero.csv").write_text("uri,sha256\n")
    assert not said("check", "mein satz", code=1)["ok"]
    assert command_line.main(["facesets", "add", "x", str(shots), "--json"]) == 3
    assert command_line.main(["facesets", "show", "nobody"]) == 1


def test_a_set_of_nobody_is_no_party() -> None:
    nothing = Faceset(name="x", run="faceset-0", folder=Path(), template="whole-face", crop_size=256, rows=())
    with pytest.raises(FaceError, match="no face"):
        people.subject_of(nothing)
