"""Admission: nobody's face gets in without an entry that says who they are and what they agreed to."""

import pickle
from datetime import date
from pathlib import Path

import pytest

from faceswap_lab.errors import ConsentError, MediaError
from faceswap_lab.faces import decode, footage, frame
from faceswap_lab.faces.frame import write_still
from faceswap_lab.files import sha256_file
from faceswap_lab.trust import audit
from faceswap_lab.trust.admit import admit
from tests.media import open_clip
from tests.subjects import DAY, PICTURE


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
    clip = open_clip(photo)
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
    with pytest.raises(ConsentError, match="according to ann:2"):
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
