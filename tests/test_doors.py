"""The doors: nobody's face gets in or out without leave, a mark and a line in the log."""

import json
import pickle
import re
from collections.abc import Iterator
from datetime import date
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceswap_lab.errors import ConsentError, MediaError, ProvenanceError, StorageError
from faceswap_lab.faces import decode, footage, frame, video
from faceswap_lab.faces.footage import Grant
from faceswap_lab.faces.frame import Frame, write_still
from faceswap_lab.files import sha256_file
from faceswap_lab.trust import audit
from faceswap_lab.trust import export as export_module
from faceswap_lab.trust.admit import admit
from faceswap_lab.trust.consent.gate import Subject, check_evaluate, check_swap, check_train
from faceswap_lab.trust.consent.manifest import USES
from faceswap_lab.trust.export import export, export_file, export_portrait
from faceswap_lab.trust.marks.metadata import Lineage, read_mark

DAY = date(2026, 6, 1)
ACTOR, OTHER_ACTOR = Subject(name="actor:7"), Subject(name="actor:21")
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


class Film:
    """Footage of noise: no face at all is needed to test the doors."""

    def __init__(self, num_frames: int = 3) -> None:
        self.origin, self.subject, self.fps, self.size = "actor:7/noise", "actor:7", 25.0, (24, 32)
        self.num_frames = num_frames

    def __len__(self) -> int:
        return self.num_frames

    def __getitem__(self, index: int) -> Frame:
        return Frame(image=np.roll(PICTURE, index, axis=1), origin=self.origin, index=index, time_s=index / 25)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        for index in range(start, self.num_frames if stop is None else stop):
            yield self[index]


def entry(
    root: Path, name: str, who: str, uses: list[str], *, kind: str = "consent", partners: tuple[str, ...] = (), more: str = ""
) -> Subject:
    """A person with a manifest entry for a file that nobody will open."""
    sha256 = f"{abs(hash(name)):064x}"[-64:]
    folder = root / "data_manifests"
    folder.mkdir(exist_ok=True)
    listed = f"partners = {json.dumps(list(partners))}\n" if partners else ""
    (folder / f"{name}.toml").write_text(
        f'version = 1\nsubject = "{who}"\nsource = "test"\nlicence = "test"\n\n[consent]\nkind = "{kind}"\ntext = "{kind}: test"\n'
        f"date = 2026-01-01\nuses = {json.dumps(uses)}\n{listed}{more}"
    )
    (folder / f"{name}.csv").write_text(f"uri,sha256\n{name}.png,{sha256}\n")
    return Subject(name=who, grant=Grant(path=root / name, sha256=sha256, subject=who, basis="consent", uses=frozenset(USES)))


def allowed(source: Subject, target: Subject, root: Path) -> bool:
    try:
        check_swap(source, target, root=root, today=DAY)
    except ConsentError:
        return False
    return True


def subsets() -> list[list[str]]:
    uses = ["anonymise", "swap-source", "swap-target"]
    return [[use for use, taken in zip(uses, bits, strict=True) if taken] for bits in product((False, True), repeat=3)]


# --- the gate's table, exhaustively ------------------------------------------------------------------------------------------

PEOPLE = {"actor": ("", ""), "synthetic": ("synthetic:gan", "synthetic"), "Ann": ("Ann", "consent"), "Bob": ("Bob", "consent")}


def the_table(source: str, target: str, source_uses: list[str], target_uses: list[str], named: bool) -> bool:
    """The README's table, written down a second time."""
    needs_source = [] if source == "actor" else ["swap-source"]
    needs_target = {
        ("actor", "actor"): [],
        ("actor", "synthetic"): ["anonymise"],
        ("actor", "Ann"): ["anonymise"],
        ("actor", "Bob"): ["anonymise"],
        ("synthetic", "actor"): [],
        ("synthetic", "synthetic"): ["anonymise"],
        ("synthetic", "Ann"): ["anonymise"],
        ("synthetic", "Bob"): ["anonymise"],
        ("Ann", "actor"): [],
        ("Ann", "synthetic"): ["swap-target"],
        ("Ann", "Ann"): ["swap-target"],
        ("Ann", "Bob"): ["swap-target"],
    }[source, target]
    covered = set(needs_source) <= set(source_uses) and set(needs_target) <= set(target_uses)
    return covered and (named or (source, target) != ("Ann", "Bob"))


@pytest.mark.parametrize("target", PEOPLE)
@pytest.mark.parametrize("source", ["actor", "synthetic", "Ann"])
def test_the_table_of_uses(tmp_path: Path, source: str, target: str) -> None:
    checked = 0
    for source_uses, target_uses, named in product(subsets(), subsets(), (False, True)):
        parties = []
        for side, who, uses in (("s", source, source_uses), ("t", target, target_uses)):
            subject, kind = PEOPLE[who]
            partners = ("Ann", "Bob") if named and kind == "consent" else ()
            parties.append(ACTOR if who == "actor" else entry(tmp_path, side, subject, uses, kind=kind, partners=partners))
        assert allowed(*parties, tmp_path) == the_table(source, target, source_uses, target_uses, named), (
            source_uses,
            target_uses,
            named,
        )
        checked += 1
    assert checked == 128


@pytest.mark.parametrize("giver", [("Bob",), ("bob",), ("Eve",), ()])
@pytest.mark.parametrize("taker", [("Ann",), ("Eve",), ()])
def test_one_real_person_onto_another_needs_both_to_name_each_other(
    tmp_path: Path, giver: tuple[str, ...], taker: tuple[str, ...]
) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["swap-source"], partners=giver)
    bob = entry(tmp_path, "bob", "Bob", ["swap-target"], partners=taker)
    assert allowed(ann, bob, tmp_path) == (giver in (("Bob",), ("bob",)) and taker == ("Ann",))


@pytest.mark.parametrize("kind", ["public domain", "licence"])
def test_a_free_picture_may_be_anonymised_and_nothing_else(tmp_path: Path, kind: str) -> None:
    free = entry(tmp_path, "free", "Ann", ["anonymise", "train", "evaluate"], kind=kind)
    ann = entry(tmp_path, "ann", "Ann", ["swap-source", "swap-target"])
    assert allowed(ACTOR, free, tmp_path)
    assert not allowed(free, ACTOR, tmp_path)
    assert not allowed(ann, free, tmp_path)
    assert not allowed(free, ann, tmp_path)


def test_a_grant_is_no_leave_by_itself(tmp_path: Path) -> None:
    """The entry on the disk decides, not what a Grant (which anybody can make) says of its uses."""
    forged = Subject(name="Ann", grant=Grant(path=tmp_path, sha256="ab" * 32, subject="Ann", basis="consent", uses=frozenset(USES)))
    assert not allowed(ACTOR, forged, tmp_path)
    as_actor = Subject(name="actor:7", grant=forged.grant)
    assert not allowed(as_actor, OTHER_ACTOR, tmp_path)
    assert not allowed(Subject(name="Ann"), OTHER_ACTOR, tmp_path)


@pytest.mark.parametrize("more", ["withdrawn = 2026-05-01\n", "expires = 2026-05-31\n"])
def test_withdrawn_or_expired_refuses_at_once(tmp_path: Path, more: str) -> None:
    ann = entry(tmp_path, "ann", "Ann", list(USES))
    assert allowed(ACTOR, ann, tmp_path)
    check_train(ann, root=tmp_path, today=DAY)
    entry(tmp_path, "ann", "Ann", list(USES), more=more)
    assert not allowed(ACTOR, ann, tmp_path)
    assert not allowed(ann, ACTOR, tmp_path)
    with pytest.raises(ConsentError, match=r"expired|withdrawn"):
        check_train(ann, root=tmp_path, today=DAY)


@pytest.mark.parametrize("use", USES)
def test_training_and_evaluation_ask_for_their_own_use(tmp_path: Path, use: str) -> None:
    ann = entry(tmp_path, "ann", "Ann", [use])
    for check, needed in ((check_train, "train"), (check_evaluate, "evaluate")):
        check(ACTOR, OTHER_ACTOR, root=tmp_path)
        if use == needed:
            check(ACTOR, ann, root=tmp_path, today=DAY)
        else:
            with pytest.raises(ConsentError, match=needed):
                check(ACTOR, ann, root=tmp_path, today=DAY)


def test_the_remedy_of_a_missing_use_says_the_very_line(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["evaluate", "train"])
    with pytest.raises(ConsentError, match="swap-source") as refused:
        check_swap(ann, ACTOR, root=tmp_path, today=DAY)
    line = 'uses = ["evaluate", "swap-source", "train"]'
    assert refused.value.remedy == f"if they agree, write {line} in data_manifests/ann.toml; or use an actor"
    toml = tmp_path / "data_manifests" / "ann.toml"
    toml.write_text(re.sub(r"(?m)^uses = .*$", line, toml.read_text()))
    check_swap(ann, ACTOR, root=tmp_path, today=DAY)

    freed = entry(tmp_path, "bob", "Bob", ["train"], kind="public domain")
    with pytest.raises(ConsentError, match='frees the picture only; if Bob agrees, write kind = "consent"'):
        check_swap(freed, ACTOR, root=tmp_path, today=DAY)


def test_what_a_run_made_asks_its_parents(tmp_path: Path) -> None:
    def derived(*parents: str) -> Subject:
        return Subject(
            name="x on y", grant=Grant(path=tmp_path, sha256="cd" * 32, subject="x on y", basis="derived", parents=parents)
        )

    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    assert allowed(ACTOR, derived("actor:7", "actor:21/speech:3"), tmp_path)
    assert allowed(derived("actor:7", "actor:21/speech:3"), ACTOR, tmp_path)
    assert allowed(ACTOR, derived("actor:7", ann.origin), tmp_path)
    assert not allowed(derived("actor:7", ann.origin), ACTOR, tmp_path)
    assert not allowed(ACTOR, derived("actor:7", "sha256:" + "ef" * 32), tmp_path)
    assert not allowed(ACTOR, derived(), tmp_path)
    entry(tmp_path, "ann", "Ann", [])
    assert not allowed(ACTOR, derived("actor:7", ann.origin), tmp_path)


# --- in ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "photo.png"
    path.parent.mkdir()
    write_still(path, PICTURE)
    return path


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever decodes anything fails the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a pixel was read")

    monkeypatch.setattr(frame.Pillow, "open", refuse)
    monkeypatch.setattr(frame.cv2, "imread", refuse)
    monkeypatch.setattr(frame.cv2, "imdecode", refuse)
    monkeypatch.setattr(decode.av, "open", refuse)
    monkeypatch.setattr(footage, "read_still", refuse)
    monkeypatch.setattr(footage, "read_index", refuse)


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize(
    "declared",
    [
        {},
        {"who": "Ann", "basis": "consent: a form"},
        {"who": "Ann", "uses": ("train",)},
        {"basis": "consent: a form", "uses": ("train",)},
        {"who": "Ann", "basis": "because", "uses": ("train",)},
        {"who": "Ann", "basis": "public domain (NASA)", "uses": ("swap-source",)},
        {"who": "actor:7", "basis": "consent: a form", "uses": ("train",)},
        {"who": "", "basis": "consent: a form", "uses": ("train",)},
    ],
)
def test_refused_before_any_pixel_is_read(tmp_path: Path, photo: Path, declared: dict[str, object]) -> None:
    with pytest.raises(ConsentError):
        admit(photo, root=tmp_path, today=DAY, **declared)  # type: ignore[arg-type]
    assert not (tmp_path / "data_manifests").exists()
    (line,) = audit.read(tmp_path)
    assert line.event["action"] == "admission refused"
    assert line.event["sha256"] == sha256_file(photo)


def test_the_blindfold_works(photo: Path, request: pytest.FixtureRequest) -> None:
    clip = footage.Clip(Grant(path=photo, sha256=sha256_file(photo), subject="x", basis="synthetic"))
    request.getfixturevalue("blind")
    with pytest.raises(pytest.fail.Exception, match="a pixel was read"):
        clip[0]


@pytest.mark.usefixtures("blind")
def test_admission_itself_reads_no_pixel(tmp_path: Path, photo: Path) -> None:
    clip = admit(photo, root=tmp_path, who="Ann", basis="consent: a form", uses=["anonymise"], today=DAY)
    assert clip.grant.entry == "ann:2"


def test_declared_once_admitted_ever_after(tmp_path: Path, photo: Path) -> None:
    first = admit(photo, root=tmp_path, who="Ann", basis="consent: a form", uses=["anonymise"], today=DAY)
    again = admit(photo, root=tmp_path, today=DAY)
    assert first.grant == again.grant
    assert again.grant.uses == {"anonymise"}
    assert (again.subject, again.grant.basis, again.grant.basis_text) == ("Ann", "consent", "consent: a form")
    assert (again[0].image == PICTURE).all()
    assert pickle.loads(pickle.dumps(again)).grant == again.grant
    assert [line.event["action"] for line in audit.read(tmp_path)] == ["admission declared", "admitted", "admitted"]


def test_a_declaration_may_not_go_beyond_the_entry(tmp_path: Path, photo: Path) -> None:
    declared = {"root": tmp_path, "basis": "consent: a form", "today": DAY}
    admit(photo, who="Ann", uses=["anonymise"], **declared)  # type: ignore[arg-type]
    admit(photo, who=" ann ", uses=["anonymise"], **declared)  # type: ignore[arg-type]
    with pytest.raises(ConsentError, match="whom ann:2 names"):
        admit(photo, who="Bob", uses=["anonymise"], **declared)  # type: ignore[arg-type]
    with pytest.raises(ConsentError, match="train"):
        admit(photo, who="Ann", uses=["anonymise", "train"], **declared)  # type: ignore[arg-type]


def test_an_expired_entry_admits_nobody(tmp_path: Path, photo: Path) -> None:
    admit(photo, root=tmp_path, who="Ann", basis="consent: a form", uses=["anonymise"], today=DAY)
    toml = tmp_path / "data_manifests" / "ann.toml"
    toml.write_text(toml.read_text() + "expires = 2026-06-30\n")
    admit(photo, root=tmp_path, today=date(2026, 6, 30))
    with pytest.raises(ConsentError, match="expired"):
        admit(photo, root=tmp_path, today=date(2026, 7, 1))


def test_no_file_is_no_refusal(tmp_path: Path) -> None:
    with pytest.raises(MediaError):
        admit(tmp_path / "none.png", root=tmp_path)
    with pytest.raises(MediaError):
        admit(tmp_path, root=tmp_path)


# --- out ---------------------------------------------------------------------------------------------------------------------


def lineage(source: Subject = ACTOR, target: Subject = OTHER_ACTOR, trained: bool = True) -> Lineage:
    return Lineage(run="swap-12345678", source=source, target=target, trained=trained, inputs={"weights": "ab" * 32})


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.mp4", "out.mkv"])
def test_what_leaves_is_marked_and_logged(tmp_path: Path, name: str) -> None:
    made = Film(3 if name.endswith(("4", "v")) else 1)
    out = export(made, tmp_path / "shown" / name, lineage=lineage(), root=tmp_path, lossless=name.endswith("v"))
    assert out.sha256 == sha256_file(out.path)
    metadata = video.read_metadata(out.path) if len(made) > 1 else frame.read_metadata(out.path)
    assert metadata["description"].startswith("Synthetic: AI-generated by faceswap_lab")
    (mark,) = read_mark(out.path) or []
    assert mark["run"] == "swap-12345678"
    assert mark["source"] == {"subject": "actor:7", "origin": "actor:7"}
    assert mark["digital_source_type"].endswith("/trainedAlgorithmicMedia")
    (line,) = audit.read(tmp_path)
    assert (line.event["action"], line.event["sha256"], line.event["file"]) == ("exported", out.sha256, name)
    assert line.event["depicts"][0]["inputs"] == {"weights": "ab" * 32}
    assert [path.name for path in out.path.parent.iterdir()] == [name]


@pytest.mark.parametrize(
    ("real", "trained", "kind"),
    [
        (False, False, "algorithmicMedia"),
        (False, True, "trainedAlgorithmicMedia"),
        (True, False, "compositeSynthetic"),
        (True, True, "compositeWithTrainedAlgorithmicMedia"),
    ],
)
def test_digital_source_types(tmp_path: Path, real: bool, trained: bool, kind: str) -> None:
    target = entry(tmp_path, "ann", "Ann", ["anonymise"]) if real else OTHER_ACTOR
    out = export(Film(1), tmp_path / "out.png", lineage=lineage(target=target, trained=trained), root=tmp_path)
    (mark,) = read_mark(out.path) or []
    assert mark["digital_source_type"].rsplit("/", 1)[1] == kind


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.html"])
def test_an_anonymous_picture_does_not_name_whom_it_hides(tmp_path: Path, name: str) -> None:
    ann = entry(tmp_path, "secret", "Ann Onymous", ["anonymise"])
    assert ann.grant is not None
    path = tmp_path / name
    if name.endswith("html"):
        export_file("<html><head></head></html>", path, lineages=[lineage(target=ann)], root=tmp_path)
    else:
        export(Film(1), path, lineage=lineage(target=ann), root=tmp_path)
    content = path.read_bytes()
    assert b"Onymous" not in content
    assert ann.grant.sha256.encode() not in content
    (line,) = audit.read(tmp_path)
    assert line.event["depicts"][0]["target"] == {"subject": "Ann Onymous", "origin": ann.origin, "entries": ["secret:2"]}


def test_two_people_who_agreed_are_named(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["swap-source", "swap-target"])
    out = export(Film(1), tmp_path / "out.png", lineage=lineage(ann, ann), root=tmp_path)
    (mark,) = read_mark(out.path) or []
    assert mark["target"] == {"subject": "Ann", "origin": ann.origin}
    assert "Ann" in frame.read_metadata(out.path)["description"]


def test_the_gate_is_asked_again_on_the_way_out(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    check_swap(ACTOR, ann, root=tmp_path, today=DAY)
    entry(tmp_path, "ann", "Ann", ["anonymise"], more="withdrawn = 2026-05-01\n")
    with pytest.raises(ConsentError, match="withdrawn"):
        export(Film(1), tmp_path / "out.png", lineage=lineage(target=ann), root=tmp_path)
    with pytest.raises(ConsentError, match="withdrawn"):
        export_file("<head></head>", tmp_path / "out.html", lineages=[lineage(), lineage(target=ann)], root=tmp_path)
    assert not list(tmp_path.glob("*out*"))
    assert [line.event["action"] for line in audit.read(tmp_path)] == ["export refused"] * 2


def test_a_file_without_a_mark_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceswap_lab.trust.export.metadata_of", lambda *_: {})
    with pytest.raises(ProvenanceError, match="mark"):
        export(Film(1), tmp_path / "out.png", lineage=lineage(), root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"], "the lock of exports, and nothing else"


def test_a_file_without_a_log_line_does_not_appear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(audit, "append", full)
    with pytest.raises(StorageError, match="no space"):
        export(Film(1), tmp_path / "out.png", lineage=lineage(), root=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["runs"], "the lock of exports, and nothing else"


def test_only_an_older_export_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "out.png"
    first = export(Film(1), path, lineage=lineage(), root=tmp_path)
    second = export(Film(1), path, lineage=lineage(trained=False), root=tmp_path)
    assert sha256_file(path) == second.sha256 != first.sha256
    write_still(path, PICTURE)
    before = path.read_bytes()
    with pytest.raises(MediaError, match="another file"):
        export(Film(1), path, lineage=lineage(), root=tmp_path)
    text = tmp_path / "notes.html"
    text.write_text("<head></head>mine")
    with pytest.raises(MediaError, match="another file"):
        export_file("<head></head>", text, lineages=[lineage()], root=tmp_path)
    assert path.read_bytes() == before


def test_a_still_is_one_frame(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="one frame"):
        export(Film(2), tmp_path / "out.png", lineage=lineage(), root=tmp_path)
    with pytest.raises(MediaError, match="still"):
        export(Film(1)[0], tmp_path / "out.mp4", lineage=lineage(), root=tmp_path)


def test_a_page_carries_all_its_marks(tmp_path: Path) -> None:
    page = '<!doctype html><html><HEAD lang="en"><title>x</title></HEAD><body>"&</body></html>'
    lineages = [lineage(), lineage(ACTOR, Subject(name="actor:<3>\"'"))]
    out = export_file(page, tmp_path / "report.html", lineages=lineages, root=tmp_path)
    marks = read_mark(out.path) or []
    assert [mark["target"]["subject"] for mark in marks] == ["actor:21", "actor:<3>\"'"]
    text = out.path.read_text()
    assert text.count("<3>") == 0
    assert '<title>x</title></HEAD><body>"&</body></html>' in text
    for faulty, given in (("<html></html>", lineages), ("<head></head>", [])):
        with pytest.raises(ValueError, match=r"head|lineages"):
            export_file(faulty, tmp_path / "other.html", lineages=given, root=tmp_path)
    assert not (tmp_path / "other.html").exists()


def test_portraits_are_of_actors_only(tmp_path: Path) -> None:
    out = export_portrait(PICTURE, tmp_path / "actor.png", root=tmp_path, subject="actor:7")
    assert "computer-made person" in frame.read_metadata(out.path)["description"]
    with pytest.raises(ConsentError):
        export_portrait(PICTURE, tmp_path / "ann.png", root=tmp_path, subject="Ann")
    assert not (tmp_path / "ann.png").exists()


def test_an_export_clears_what_a_killed_one_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    let_out, hidden = export_module._let_out, []

    def seen(temporary: Path, *rest: Any) -> export_module.Exported:
        hidden.append(temporary)
        return let_out(temporary, *rest)

    monkeypatch.setattr(export_module, "_let_out", seen)
    export_portrait(PICTURE, tmp_path / "actor.png", root=tmp_path, subject="actor:7")
    left = [hidden[0], hidden[0].with_name(f".{hidden[0].stem}.0123abcd.png")]
    others = [tmp_path / name for name in (".mine.png", ".actor.0123abcd.png", "actor-2.png")]
    for path in left + others:
        path.write_bytes(b"half")
    export_portrait(PICTURE, tmp_path / "actor.png", root=tmp_path, subject="actor:7")
    assert hidden[1] == hidden[0], "the name is known, so that the next export finds it"
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in others)
    assert read_mark(tmp_path / "actor.png")
