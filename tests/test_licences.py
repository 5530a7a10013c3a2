"""Restricted weights: shown, refused, accepted by name, logged, fetched whole or not at all. The server is a folder made here."""

import hashlib
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from faceswap_lab.__main__ import main
from faceswap_lab.errors import LicenceError, WeightsError
from faceswap_lab.maintenance import weights
from faceswap_lab.models import registry
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.weights import catalogue, restricted
from faceswap_lab.trust import audit

FILES = {"a.onnx": b"first network", "b.onnx": b"second network"}
LICENCE = "Research only"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "lab"))
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(tmp_path / "weights"))
    (tmp_path / "lab").mkdir()
    return tmp_path / "lab"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    archive = tmp_path / "server" / "tiny.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as members:
        for name, content in FILES.items():
            members.writestr(f"tiny/{name}", content)
        members.writestr("../outside.onnx", b"climbs")
        members.writestr("readme.txt", b"not asked for")
    return archive


@pytest.fixture
def pack(lab: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> restricted.Pack:
    """A zoo of one restricted pack, served from a folder."""
    content = archive.read_bytes()
    pack = restricted.Pack(
        card=Card(name="tiny", task="detect", licence=LICENCE, source="this test", sha256=_sha256(content)),
        terms="Not to be used on Sundays.",
        files={name: _sha256(content) for name, content in FILES.items()},
        instead="the engine `offline`",
        url=archive.as_uri(),
        num_bytes=len(content),
    )
    monkeypatch.setattr(restricted, "PACKS", {"tiny": pack})
    return pack


def _actions(lab: Path) -> list[str]:
    return [entry.event["action"] for entry in audit.read(lab)]


def test_every_restricted_card_is_pinned_says_its_terms_and_names_what_to_use_instead() -> None:
    assert "buffalo_l" in restricted.PACKS
    for name, pack in restricted.PACKS.items():
        assert name == pack.card.name
        assert name not in catalogue.MODELS
        assert "non-commercial" in pack.card.licence
        assert pack.terms
        assert pack.instead
        assert pack.files
        assert all(len(bytes.fromhex(digest)) == 32 for digest in (pack.card.sha256, *pack.files.values()))
        assert (pack.url.startswith("https://") and pack.num_bytes > 0) or not pack.url


@pytest.mark.parametrize("said", [None, "", "MIT", "research", "yes"])
def test_without_the_licences_name_nothing_is_fetched_and_the_terms_are_shown(
    pack: restricted.Pack, lab: Path, said: str | None
) -> None:
    with pytest.raises(LicenceError) as refused:
        weights.fetch(["tiny"], accept_licence=said, progress=list)
    for part in (
        LICENCE,
        "Not to be used on Sundays",
        "models fetch tiny --accept-licence 'Research only'",
        "the engine `offline`",
    ):
        assert part in str(refused.value)
    assert not catalogue.weights_folder().exists()
    assert not audit.path_of(lab).exists()


def test_an_acceptance_is_recorded_logged_and_the_pack_comes_whole(pack: restricted.Pack, lab: Path) -> None:
    lines: list[str] = []
    rows = weights.fetch(["tiny"], accept_licence=" research ONLY ", progress=lines.append)
    assert "Not to be used on Sundays" in lines[0]
    folder = restricted.folder_of("tiny")
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == FILES
    assert sorted(path.name for path in folder.parent.iterdir()) == ["tiny"]
    kept = json.loads((catalogue.weights_folder() / "accepted" / "tiny.json").read_text())
    assert (kept["licence"], kept["sha256"], kept["name"]) == (LICENCE, pack.card.sha256, "tiny")
    assert kept["who"]
    assert kept["when"].startswith("20")
    accepted, fetched = (entry.event for entry in audit.read(lab))
    assert (accepted["action"], accepted["licence"], accepted["sha256"]) == ("licence accepted", LICENCE, pack.card.sha256)
    assert (fetched["action"], fetched["weights"]) == ("weights fetched", "tiny")
    row = next(row for row in rows if row["name"] == "tiny")
    assert row["state"] == "ok"
    assert "accepted by" in row["licence"]
    assert restricted.path("tiny") == folder


def test_a_second_fetch_asks_and_loads_nothing(pack: restricted.Pack, lab: Path, archive: Path) -> None:
    weights.fetch(["tiny"], accept_licence=LICENCE, progress=list)
    archive.unlink()
    lines: list[str] = []
    weights.fetch(["tiny"], progress=lines.append)
    assert "already there" in lines[-1]
    assert _actions(lab) == ["licence accepted", "weights fetched"]


@pytest.mark.parametrize("change", ["licence", "sha256"])
def test_an_acceptance_holds_for_that_licence_and_those_weights_only(
    pack: restricted.Pack, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights.fetch(["tiny"], accept_licence=LICENCE, progress=list)
    other = "Research on weekdays" if change == "licence" else "0" * 64
    monkeypatch.setattr(restricted, "PACKS", {"tiny": replace(pack, card=replace(pack.card, **{change: other}))})
    for use in (lambda: restricted.path("tiny"), lambda: restricted.require_accepted([_sha256(FILES["a.onnx"])])):
        with pytest.raises(LicenceError):
            use()


@pytest.mark.parametrize("spoil", ["altered", "longer", "shorter", "gone"])
def test_an_archive_that_is_not_the_pinned_one_leaves_nothing_behind(
    pack: restricted.Pack, archive: Path, lab: Path, spoil: str
) -> None:
    content = archive.read_bytes()
    archive.write_bytes({"altered": b"x" + content[1:], "longer": content + bytes(9), "shorter": content[:-9]}.get(spoil, b""))
    if spoil == "gone":
        archive.unlink()
    with pytest.raises(WeightsError, match="to answer" if spoil == "gone" else "bytes with sha256"):
        weights.fetch(["tiny"], accept_licence=LICENCE, progress=list)
    assert list((catalogue.weights_folder() / "packs").iterdir()) == []
    assert _actions(lab) == ["licence accepted"]
    assert restricted.state("tiny") == "missing"


def test_a_file_with_another_digest_in_the_right_archive_is_refused(pack: restricted.Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    for files in ({"a.onnx": "0" * 64}, {"c.onnx": "0" * 64}):
        monkeypatch.setattr(restricted, "PACKS", {"tiny": replace(pack, files=files)})
        with pytest.raises(WeightsError, match=r"a\.onnx"):
            weights.fetch(["tiny"], accept_licence=LICENCE, progress=list)
        assert not restricted.folder_of("tiny").exists()


def test_an_altered_pack_is_told_and_fetched_anew(pack: restricted.Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    weights.fetch(["tiny"], accept_licence=LICENCE, progress=list)
    (restricted.folder_of("tiny") / "a.onnx").write_bytes(b"else")
    assert restricted.state("tiny") == "altered"
    monkeypatch.setattr(catalogue, "MODELS", {})
    with pytest.raises(WeightsError, match="the pack tiny as it was fetched"):
        weights.verify()
    weights.fetch(["tiny"], progress=list)
    assert restricted.state("tiny") == "ok"
    weights.verify()


@pytest.mark.parametrize("change", [None, {"until": "2030-01-01"}, {"who": 1}])
def test_a_torn_or_edited_acceptance_is_an_error_and_no_acceptance(pack: restricted.Pack, change: dict[str, object] | None) -> None:
    weights.fetch(["tiny"], accept_licence=LICENCE, progress=list)
    place = catalogue.weights_folder() / "accepted" / "tiny.json"
    place.write_text("{" if change is None else json.dumps(json.loads(place.read_text()) | change))
    with pytest.raises(WeightsError, match="a readable acceptance"):
        restricted.path("tiny")


def test_a_pack_by_name_is_an_engine_once_it_was_fetched(pack: restricted.Pack) -> None:
    import torch

    with pytest.raises(LicenceError):
        registry.open_engine("insight:tiny", torch.device("cpu"))
    restricted.accept(restricted.Acceptance(name="tiny", licence=LICENCE, sha256=pack.card.sha256, who="me", when="2026-01-01"))
    with pytest.raises(WeightsError, match="run `faceswap-lab models fetch tiny`"):
        registry.open_engine("insight:tiny", torch.device("cpu"))


def test_weights_that_nobody_offers_can_only_be_accepted(pack: restricted.Pack, lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restricted, "PACKS", {"tiny": replace(pack, url="")})
    lines: list[str] = []
    weights.fetch(["tiny"], accept_licence=LICENCE, progress=lines.append)
    assert "provide your own file" in lines[-1]
    assert _actions(lab) == ["licence accepted"]
    restricted.require_accepted(pack.files.values())


def test_a_licence_is_not_accepted_for_weights_that_have_none_to_accept(pack: restricted.Pack) -> None:
    with pytest.raises(ValueError, match="none of these weights has a licence to accept"):
        weights.fetch([], accept_licence=LICENCE, progress=list)
    with pytest.raises(ValueError, match=r"no model is called 'huge'; there are .*tiny"):
        weights.fetch(["huge"], progress=list)


def test_the_command_line_refuses_with_3_and_fetches_with_0(
    pack: restricted.Pack, lab: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main(["models", "fetch", "tiny"]) == 3
    assert "Not to be used on Sundays" in capsys.readouterr().err
    assert main(["models", "fetch", "tiny", "--accept-licence", LICENCE, "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["tiny"]["state"] == "ok"
    assert main(["models", "fetch", "buffalo"]) == 2
    assert main(["audit", "verify"]) == 0
