"""What a file says of its own making goes before what is declared of it."""

import io
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import PngImagePlugin

from faceswap_lab.errors import ConsentError
from faceswap_lab.faces import decode, footage, frame
from faceswap_lab.files import sha256_file
from faceswap_lab.trust import audit
from faceswap_lab.trust.admit import admit, admit_all
from faceswap_lab.trust.consent.gate import Subject
from faceswap_lab.trust.consent.manifest import find_entry
from faceswap_lab.trust.marks.claims import COMPOSITE, SYNTHETIC, read_claim
from tests.subjects import ACTOR, OTHER_ACTOR, exported

DAY = date(2026, 6, 1)
PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
AS_ANN = {"who": "Ann", "basis": "consent: a form", "uses": ("train", "swap-source", "swap-target", "anonymise")}
AS_NOBODY = {"who": "synthetic:nobody", "basis": "synthetic: made by a tool", "uses": ("train",)}
PLACE = "http://cv.iptc.org/newscodes/digitalsourcetype/"


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever opens a picture or clip fails the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a picture was opened")

    for module, name in (
        (frame.Pillow, "open"),
        (frame.cv2, "imdecode"),
        (decode.av, "open"),
        (footage, "read_still"),
        (footage, "read_index"),
    ):
        monkeypatch.setattr(module, name, refuse)


def made(root: Path, name: str, source: Subject = ACTOR, target: Subject = OTHER_ACTOR) -> Path:
    num_frames = 3 if name.endswith(("4", "v")) else 1
    more = {"source": source, "target": target, "num_frames": num_frames}
    return exported(root, root / "made" / name, lossless=name.endswith("v"), **more).path


def xmp(body: str) -> bytes:
    space = 'xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description {space} {body}</rdf:RDF></x:xmpmeta>'.encode()


def as_attribute(term: str) -> bytes:
    return xmp(f'Iptc4xmpExt:DigitalSourceType="{term}"/>')


def as_element(term: str) -> bytes:
    return xmp(f"><Iptc4xmpExt:DigitalSourceType>{term}</Iptc4xmpExt:DigitalSourceType></rdf:Description>")


def strangers_picture(path: Path, packet: bytes) -> Path:
    picture, file = Pillow.fromarray(PICTURE), io.BytesIO()
    if path.suffix == ".png":
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt("XML:com.adobe.xmp", packet.decode())
        picture.save(file, "PNG", pnginfo=chunks)
    else:
        picture.save(file, {".jpg": "JPEG", ".webp": "WEBP"}[path.suffix], xmp=packet)
    path.write_bytes(file.getvalue())
    return path


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.mp4", "out.mkv"])
def test_our_own_export_is_nobodys_photograph(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    path = made(tmp_path, name)
    request.getfixturevalue("blind")
    with pytest.raises(ConsentError, match="a photograph or recording of Ann") as refused:
        admit(path, root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]
    assert "trainedAlgorithmicMedia" in refused.value.got
    assert "swap-12345678 of faceswap_lab" in refused.value.got
    assert 'who "synthetic:NAME"' in refused.value.remedy
    assert not (tmp_path / "data_manifests").exists(), "nothing was declared"
    assert audit.read(tmp_path)[-1].event["action"] == "admission refused"
    assert admit(path, root=tmp_path, today=DAY, **AS_NOBODY).subject == "synthetic:nobody"  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["out.png", "out.jpg", "out.mp4"])
def test_a_real_face_is_not_laundered_into_nobodys(tmp_path: Path, name: str, request: pytest.FixtureRequest) -> None:
    photo = tmp_path / "ann.png"
    frame.write_still(photo, PICTURE)
    ann = admit(photo, root=tmp_path, today=DAY, **(AS_ANN | {"who": 'Ann "Z" é'}))  # type: ignore[arg-type]
    path = made(tmp_path, name, source=Subject(grant=ann.grant))
    request.getfixturevalue("blind")
    for declared in (AS_NOBODY, AS_ANN):
        with pytest.raises(ConsentError, match="with the face of Ann") as refused:
            admit(path, root=tmp_path, today=DAY, **declared)  # type: ignore[arg-type]
        assert 'Ann "Z" é' in refused.value.got
        assert "footage()" in refused.value.remedy


def test_an_anonymised_picture_shows_an_actors_face(tmp_path: Path) -> None:
    photo = tmp_path / "ann.png"
    frame.write_still(photo, PICTURE)
    ann = admit(photo, root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]
    path = made(tmp_path, "out.png", target=Subject(grant=ann.grant))
    with pytest.raises(ConsentError, match="compositeWithTrainedAlgorithmicMedia") as refused:
        admit(path, root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]
    assert "synthetic:" not in refused.value.remedy, "Ann is in it"
    admit(path, root=tmp_path, today=DAY, **AS_NOBODY)  # type: ignore[arg-type]


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("spelt", [as_attribute, as_element])
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_other_programs_marks_are_read(tmp_path: Path, suffix: str, spelt: object) -> None:
    assert callable(spelt)
    for number, term in enumerate(SYNTHETIC):
        for place in ("", PLACE, PLACE.replace("http:", "https:")):
            path = strangers_picture(tmp_path / f"{number}{suffix}", spelt(place + term))
            claim = read_claim(path)
            assert claim is not None
            assert (claim.term, claim.mark) == (term, {})
            if claim.term in COMPOSITE:
                continue
            with pytest.raises(ConsentError, match=term) as refused:
                admit(path, root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]
            assert refused.value.remedy.startswith("if Ann is really shown, give the picture")


@pytest.mark.usefixtures("blind")
@pytest.mark.parametrize("spelt", [as_attribute, as_element])
@pytest.mark.parametrize("term", sorted(COMPOSITE))
def test_a_retouched_photograph_shows_a_real_person(tmp_path: Path, spelt: object, term: str) -> None:
    """A portrait whose background a model filled in: it is still hers, with the uses that she agreed to and no others."""
    assert callable(spelt)
    path = strangers_picture(tmp_path / "portrait.jpg", spelt(PLACE + term))
    clip = admit(path, root=tmp_path, today=DAY, **(AS_ANN | {"uses": ("anonymise",)}))  # type: ignore[arg-type]
    assert (clip.subject, clip.grant.uses) == ("Ann", frozenset({"anonymise"}))
    assert admit(path, root=tmp_path, today=DAY).subject == "Ann", "and again, by its entry"
    (again,), refused = admit_all([path], root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]
    assert (again.subject, refused) == ("Ann", [])


@pytest.mark.parametrize("first", [True, False])
def test_the_strictest_of_several_claims_counts(tmp_path: Path, first: bool) -> None:
    """A composite's claim put beside ours, or beside that of a wholly generated picture, makes no photograph of it."""
    composite = as_attribute(PLACE + "compositeWithTrainedAlgorithmicMedia")
    for name, content in (
        ("ours.bin", made(tmp_path, "out.png").read_bytes()),
        ("generated.bin", as_attribute(PLACE + "trainedAlgorithmicMedia")),
        ("broken.bin", f'{{"digital_source_type":"{PLACE}compositeSynthetic'.encode()),
    ):
        path, filler = tmp_path / name, b"\0" * (3 << 19)
        path.write_bytes(composite + filler + content if first else content + filler + composite)
        with pytest.raises(ConsentError, match="a photograph or recording of Ann"):
            admit(path, root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]


@pytest.mark.parametrize("term", ["digitalCapture", "computationalCapture", "humanEdits", "negativeFilm", "algorithmicMediaX"])
def test_what_a_camera_took_comes_in(tmp_path: Path, term: str) -> None:
    for spelt in (as_attribute, as_element):
        path = strangers_picture(tmp_path / "photo.jpg", spelt(PLACE + term))
        assert read_claim(path) is None
    plain = strangers_picture(tmp_path / "other.jpg", xmp('dc:title="not trainedAlgorithmicMedia"/>'))
    admit(plain, root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]


@pytest.mark.parametrize("offset", [0, 1, 255, 256, 257])
def test_a_word_across_two_pieces_is_found(tmp_path: Path, offset: int) -> None:
    path, word = tmp_path / "file.bin", f"{PLACE}compositeSynthetic".encode()
    for shift in range(0, len(word) + 1, 7):
        path.write_bytes(b"\0" * ((1 << 20) - offset - shift) + word + b"\0" * 5)
        assert (claim := read_claim(path)) is not None
        assert claim.term == "compositeSynthetic"
    path.write_bytes(b"")
    assert read_claim(path) is None


def test_a_broken_mark_of_ours_is_still_a_claim(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    for text in (
        '{"digital_source_type":"%sTERM',
        '{"digital_source_type":"%sTERM","tool":"x"}',
        '{\\"digital_source_type\\":\\"%sTERM',
    ):
        path.write_text(text.replace("%s", PLACE).replace("TERM", "algorithmicMedia"))
        assert (claim := read_claim(path)) is not None
        assert (claim.term, claim.mark, claim.real_source) == ("algorithmicMedia", {}, "")


def test_a_listed_file_is_asked_too(tmp_path: Path) -> None:
    """A manifest that was written before, or by hand, does not make a photograph of it."""
    path = made(tmp_path, "out.png")
    admit(path, root=tmp_path, today=DAY, **AS_NOBODY)  # type: ignore[arg-type]
    for name in ("toml", "csv"):
        listed = tmp_path / "data_manifests" / f"synthetic-nobody.{name}"
        text = listed.read_text().replace('"synthetic:nobody"', '"Ann"').replace('kind = "synthetic"', 'kind = "consent"')
        listed.write_text(text)
    assert (entry := find_entry(tmp_path, sha256_file(path))) is not None
    assert (entry.subject, entry.synthetic) == ("Ann", False)
    with pytest.raises(ConsentError, match="whose metadata says"):
        admit(path, root=tmp_path, today=DAY)
    (refused,) = admit_all([path], root=tmp_path, today=DAY)[1]
    assert "whose metadata says" in str(refused.error)


def test_among_many_files_only_the_synthetic_one_stays_out(tmp_path: Path) -> None:
    path, photo = made(tmp_path, "out.png"), tmp_path / "photo.png"
    frame.write_still(photo, PICTURE)
    allowed, refused = admit_all([path, photo], root=tmp_path, today=DAY, **AS_ANN)  # type: ignore[arg-type]
    assert [clip.path for clip in allowed] == [photo]
    assert [each.path for each in refused] == [path]
    assert "declare it as synthetic" in refused[0].error.remedy
    assert find_entry(tmp_path, refused[0].sha256) is None
    (only,) = admit_all([path], root=tmp_path, today=DAY, **AS_ANN)[1]  # type: ignore[arg-type]
    assert "whose metadata says" in str(only.error)
    as_it_is, none = admit_all([path], root=tmp_path, today=DAY, **AS_NOBODY)  # type: ignore[arg-type]
    assert [clip.path for clip in as_it_is] == [path]
    assert not none
