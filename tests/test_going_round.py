"""Ways round the gate, each as somebody would try it without meaning harm: all are refused, and all refusals are logged."""

import json
import pickle
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.performance.performance import Performance
from faceswap_lab.errors import ConsentError, LicenceError, RunError
from faceswap_lab.faces import video
from faceswap_lab.faces.faceset import Faceset, Row
from faceswap_lab.faces.footage import Clip, Grant
from faceswap_lab.faces.frame import Frame, read_metadata, write_still
from faceswap_lab.files import sha256_file
from faceswap_lab.models.weights import restricted
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.gate import Subject, check_swap, permission_for
from faceswap_lab.trust.consent.withdraw import withdraw
from faceswap_lab.trust.marks.metadata import kept_metadata
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.gather import gather
from faceswap_lab.verbs.library import FACES, FacesetRun, exactly
from faceswap_lab.verbs.people import admit, record_of, subject_of
from faceswap_lab.verbs.recipes import FacesetRecipe, SwapRecipe
from faceswap_lab.verbs.swap.result import RESULT, SwapRun
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.train.train import train
from faceswap_lab.views.report.runs import report
from tests.subjects import PICTURE, noise

HERO = Actor(7)
EVERYTHING = ("anonymise", "evaluate", "swap-source", "swap-target", "train")


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "lab"
    (root / "data_manifests").mkdir(parents=True)
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    return root


def ann(lab: Path, name: str = "ann.png", shift: int = 0, uses: tuple[str, ...] = EVERYTHING) -> Clip:
    write_still(lab / name, np.roll(PICTURE, shift, axis=0))
    return admit(lab / name, who="Ann Onymous", basis="consent: a form of May", uses=uses)


def actions(lab: Path) -> list[str]:
    return [str(line.event["action"]) for line in audit.read(lab)]


def swapped(lab: Path, target: Clip, *, swapper: str = "warp", frames: int = 0, faces: int = 0) -> SwapRun:
    """A finished swap of noise: the gate, the record and the way out are what they are after a real one.

    Judges find no face in it to compare, so that what is anonymised leaves only with `accept_recognisable`.
    """
    inputs = {"source": record_of(HERO), "target": record_of(target), "swapper": swapper, "engine": "offline", "corrections": ""}
    run = SwapRun.start(lab, "swap", SwapRecipe(), inputs)
    with run:
        with run.write(RESULT) as path:
            video.encode(path, noise(1), fps=25, lossless=True)
        left = {"num_faces_left": faces, "num_frames_without_face": frames, "frames_without_face": list(range(frames))}
        run.finish(num_frames=1, num_faces=1, source=HERO.subject, target=target.subject, **left)
    return SwapRun.open(run.id, lab)


def trained(lab: Path, person: Clip) -> Run:
    """A finished training of that person, as far as its record goes."""
    inputs = {"source": record_of(HERO), "target": record_of(person)}
    run = Run.start(lab, "train", recipes.smoke(), inputs)
    with run:
        run.emit("step", step=1, losses={"picture_0": 0.5, "picture_1": 0.5})
        run.finish(supervision="none", steps=1, num_pictures=[1, 1], device="cpu", seconds={"train": 1.0})
    return Run.open(run.id, lab)


class Disguised:
    """Ten lines over somebody's pictures."""

    origin, subject, fps, size = "actor:7/speech:0", "actor:7", 25.0, (24, 32)

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Frame:
        return Frame(image=PICTURE, origin=self.origin, index=index, time_s=0.0)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        yield self[0]


def test_footage_that_calls_itself_an_actor_is_nobodys(lab: Path) -> None:
    disguised, take = Disguised(), Actor(32).perform("still", size=64)
    tries = [
        lambda: swap(disguised, source=HERO),
        lambda: swap(take, source=disguised),
        lambda: train(recipes.smoke(), source=disguised, target=Actor(32)),
        lambda: train(recipes.smoke(), source=HERO, target=disguised),
    ]
    for attempt in tries:
        with pytest.raises(ConsentError, match="Disguised that calls itself 'actor:7'"):
            attempt()
    assert actions(lab) == ["footage refused"] * 4
    assert not Run.find(lab)


def test_a_subclass_of_the_labs_own_types_speaks_for_nobody(lab: Path) -> None:
    class Painted(Clip):
        pass

    class Posing(Actor):
        pass

    clip = ann(lab)
    for person in (Painted(clip.grant), Posing(7)):
        with pytest.raises(ConsentError, match="that calls itself"):
            subject_of(person)


def test_a_clip_of_a_grant_made_by_hand_reads_nothing(lab: Path, tmp_path: Path) -> None:
    photo = tmp_path / "somebody.png"
    write_still(photo, PICTURE)
    real = ann(lab)
    for grant in (
        Grant(path=photo, sha256=sha256_file(photo), subject="actor:7", basis="derived", parents=("actor:7",)),
        Grant(path=photo, sha256=sha256_file(photo), subject="Ann Onymous", basis="consent", uses=frozenset(EVERYTHING), lab=lab),
        replace(real.grant, path=photo, sha256=sha256_file(photo)),
        replace(real.grant, lab=tmp_path),
    ):
        for read in (lambda clip: clip[0], len, lambda clip: list(clip.frames()), lambda clip: clip.size):
            with pytest.raises(ConsentError, match="seal"):
                read(Clip(grant))
        if grant.text == real.grant.text:
            continue  # the lab at the gate knows its own, whichever place the grant names
        with pytest.raises(ConsentError, match="seal"):
            check_swap(subject_of(HERO), Subject(grant=grant), root=lab)
    assert real[0].image.shape == PICTURE.shape


def test_a_grant_that_was_issued_goes_to_another_process_and_back(lab: Path) -> None:
    clip = ann(lab)
    again = pickle.loads(pickle.dumps(clip))
    np.testing.assert_array_equal(again[0].image, clip[0].image)


def faceset_run(lab: Path, clip: Clip) -> FacesetRun:
    run = FacesetRun.start(lab, "faceset", FacesetRecipe(name="cast"), {"a": record_of(clip)})
    with run:
        with run.write("crops/a.png") as path:
            write_still(path, PICTURE)
            digest = sha256_file(path)
        row = Row(
            number=0,
            person="Ann Onymous",
            subject="Ann Onymous",
            source=clip.grant.sha256,
            uri="ann.png",
            licence="",
            entry=clip.grant.entry,
            frame=0,
            time_s=0.0,
            box=(0.0, 0.0, 1.0, 1.0),
            keypoints=((0.0, 0.0),) * 5,
            frame_to_crop=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
            side=64.0,
            sharpness=1.0,
            yaw_deg=0.0,
            split="train",
            crop="crops/a.png",
            sha256=digest,
        )
        with run.write(FACES) as path:
            path.write_text(json.dumps([asdict(row)]))
        run.finish(num_faces=1, name="cast")
    return FacesetRun.open(run.id, lab)


def test_a_faceset_is_what_its_run_has_whatever_its_rows_say(lab: Path, tmp_path: Path) -> None:
    clip = ann(lab)
    genuine = faceset_run(lab, clip).faceset()
    assert subject_of(genuine).origins == (clip.origin,)
    other = tmp_path / "others"
    (other / "crops").mkdir(parents=True)
    write_still(other / "crops" / "a.png", PICTURE[::-1].copy())
    forged_row = replace(genuine.rows[0], sha256=sha256_file(other / "crops" / "a.png"))
    forged = replace(genuine, folder=other, rows=(forged_row,))
    take = Actor(32).perform("still", size=64)
    for faces in (forged, replace(genuine, rows=(replace(genuine.rows[0], source="ab" * 32),))):
        with pytest.raises(ConsentError, match="rows that it has not"):
            swap(take, source=faces)
    assert isinstance(forged, Faceset)
    assert actions(lab)[-2:] == ["faceset refused"] * 2


def test_what_a_run_made_is_no_camera_original(lab: Path) -> None:
    clip = ann(lab)
    run = swapped(lab, clip)
    result = run.artifact(RESULT)
    declared = {"who": "Ann Onymous", "basis": "consent: a form of May", "uses": EVERYTHING}
    with pytest.raises(ConsentError, match=f"an artifact of the run {run.id}"):
        admit(result, **declared)  # type: ignore[arg-type]
    copy = lab / "holiday.mkv"
    copy.write_bytes(result.read_bytes())
    with pytest.raises(ConsentError, match=f"an artifact of the run {run.id}"):
        admit(copy, **declared)  # type: ignore[arg-type]
    with pytest.raises(ConsentError, match=f"an artifact of the run {run.id}"):
        gather.gather(FacesetRecipe(name="cast"), copy, **declared)
    assert actions(lab)[-3:] == ["admission refused"] * 3
    assert len(list((lab / "data_manifests").glob("*.toml"))) == 1, "nothing was declared about it"


def test_the_mark_in_a_result_outlives_its_run(lab: Path, tmp_path: Path) -> None:
    """As `swap` writes it: with the time left out, and nothing said of somebody who was anonymised."""
    clip = ann(lab)
    lineage = swapped(lab, clip).lineage()
    permission = permission_for(lineage.source, lineage.target, root=lab)
    mark = kept_metadata(lineage, permission)
    assert mark == kept_metadata(lineage, permission)
    assert "Onymous" not in json.dumps(mark)
    path = video.encode(tmp_path / "result.mkv", noise(2), fps=25, lossless=True, metadata=mark)
    with pytest.raises(ConsentError, match="whose metadata says that it is"):
        admit(path, who="Ann Onymous", basis="consent: a form of May", uses=EVERYTHING)


@pytest.mark.slow
@pytest.mark.weights
def test_parts_and_result_of_a_swap_are_marked_when_they_are_written(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceswap_lab.verbs.swap import one

    monkeypatch.setattr(one, "PART_FRAMES", 2)
    monkeypatch.setattr(one, "remove_parts", lambda run: None)
    take = Actor(32).perform("speech", seconds=0.16, size=128)
    run = swap(take, source=HERO, recipe=SwapRecipe(num_source_frames=1).with_(stream__batch=2), device="cpu")
    files = [path for name, path in run.artifacts().items() if name.endswith(".mkv")]
    assert len(files) == 3
    for path in files:
        told = video.read_metadata(path)
        assert told["description"].startswith("Synthetic: AI-generated")
        assert json.loads(told["faceswap_lab"])["run"] == run.id
    again = swap(take, source=HERO, recipe=SwapRecipe(num_source_frames=1).with_(stream__batch=2), device="cpu", force=True)
    assert again.id != run.id
    np.testing.assert_array_equal(again.footage()[3].image, run.footage()[3].image)


def test_a_real_face_is_not_put_on_bystanders(lab: Path) -> None:
    clip, other = ann(lab), ann(lab, "second.png", 3)
    for recipe, select in ((None, "all"), (SwapRecipe().with_(stream__select="all"), None)):
        with pytest.raises(ConsentError, match="everybody in the picture"):
            swap(other, source=clip, recipe=recipe, select=select)
    assert actions(lab)[-2:] == ["swap refused"] * 2
    assert not Run.find(lab, verb="swap")


def test_weights_of_somebody_who_withdrew_serve_nobody(lab: Path, tmp_path: Path) -> None:
    learned = trained(lab, ann(lab))
    write_still(tmp_path / "bob.png", PICTURE[::-1].copy())
    bob = admit(tmp_path / "bob.png", who="Bob", basis="consent: a form", uses=["anonymise", "evaluate"])
    made = swapped(lab, bob, swapper=learned.id)
    assert made.export(tmp_path / "before.png", accept_recognisable=True).exists()
    withdraw(lab, "Ann Onymous", today=date(2026, 1, 1))
    take = Actor(32).perform("still", size=64)
    with pytest.raises(ConsentError, match="withdrawn"):
        swap(take, source=HERO, swapper=learned.id)
    with pytest.raises(ConsentError, match="withdrawn"):
        made.export(tmp_path / "after.png", accept_recognisable=True)
    with pytest.raises(ConsentError, match="withdrawn"):
        evaluate(made)
    assert not (tmp_path / "after.png").exists()


def test_an_anonymised_result_that_left_faces_leaves_only_by_their_number(lab: Path, tmp_path: Path) -> None:
    run = swapped(lab, ann(lab), frames=1, faces=2)
    for accepted in ({}, {"accept_frames": 1}, {"accept_faces": 2}, {"accept_frames": 2, "accept_faces": 2}):
        with pytest.raises(ConsentError, match="1 frames in which no face was found and 2 faces"):
            run.export(tmp_path / "out.png", **accepted)
        with pytest.raises(ConsentError, match="1 frames in which no face was found and 2 faces"):
            report(run, path=tmp_path / "out.html", **accepted)
    assert not list(tmp_path.glob("out*"))
    with pytest.raises(ConsentError, match="no replaced face to compare"):
        run.export(tmp_path / "out.png", accept_frames=1, accept_faces=2)
    run.export(tmp_path / "out.png", accept_frames=1, accept_faces=2, accept_recognisable=True)
    assert "1 frames without a found face and 2 other faces" in read_metadata(tmp_path / "out.png")["description"]


def test_a_report_that_hides_somebody_tells_of_no_file_in_any_run(lab: Path, tmp_path: Path) -> None:
    clip = ann(lab, "ann at the sea.png")
    run, learned = swapped(lab, clip), trained(lab, clip)
    page = report(run, learned, path=tmp_path / "out.html", accept_recognisable=True).read_text()
    for secret in ("Onymous", clip.grant.sha256, "at the sea"):
        assert secret not in page
    assert "withheld" in page


def test_a_report_that_is_not_allowed_any_more_is_refused_and_logged(lab: Path, tmp_path: Path) -> None:
    run = swapped(lab, ann(lab))
    (manifest,) = (lab / "data_manifests").glob("*.toml")
    manifest.write_text(manifest.read_text().replace('"anonymise", ', ""))
    with pytest.raises(ConsentError, match="'anonymise'"):
        report(run, path=tmp_path / "out.html")
    assert actions(lab)[-1] == "export refused"
    assert not (tmp_path / "out.html").exists()


def test_looking_writes_nothing(lab: Path, tmp_path: Path) -> None:
    run = swapped(lab, ann(lab))
    before = audit.path_of(lab).read_bytes()
    run.footage()[0]
    run.people()
    run.lineage()
    assert audit.path_of(lab).read_bytes() == before
    report(run, path=tmp_path / "out.html", accept_recognisable=True)
    assert actions(lab)[-1] == "exported"
    assert len(audit.path_of(lab).read_bytes().splitlines()) == len(before.splitlines()) + 1, "the export itself"


def test_a_withdrawal_is_noticed_when_a_result_is_looked_at(lab: Path) -> None:
    run = swapped(lab, ann(lab))
    withdraw(lab, "Ann Onymous", today=date(2026, 1, 1))
    with pytest.raises(ConsentError, match="withdrawn"):
        run.people()
    assert actions(lab)[-1] == "admission refused"


def test_each_pack_is_asked_for_its_licence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path))
    packs = list(restricted.PACKS.values())
    assert len(packs) > 1
    for pack in packs:
        with pytest.raises(LicenceError, match=pack.card.name):
            restricted.require_accepted(digest for digest in pack.files.values())


def test_only_an_exact_name_is_deleted(lab: Path) -> None:
    run = faceset_run(lab, ann(lab))
    assert exactly("cast") == exactly(run.id) == run
    for near in ("cas", run.id[:-1], "faceset", "c"):
        with pytest.raises(RunError):
            exactly(near)
    again = faceset_run(lab, ann(lab, "another.png", 5))
    with pytest.raises(RunError, match="2 of the name 'cast'") as refused:
        exactly("cast")
    assert run.id in refused.value.remedy
    assert exactly(again.id) == again


def test_performances_are_the_labs_own(lab: Path) -> None:
    """A take may be put together by hand: whatever its settings, it is the lab that renders it."""
    take = Take(actor=HERO, performance=Performance(kind="still", seed=0), num_frames=1, fps=25.0, side=64)
    assert subject_of(take).name == "actor:7"
