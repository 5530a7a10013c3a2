"""The head pack against anny itself, its cache, and the subdivision against its invariants."""

import logging
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.actors.head import headpack
from faceswap_lab.actors.head.subdivide import catmull_clark
from faceswap_lab.actors.person.shape import hats, phenotype_shape
from faceswap_lab.files import cache_folder


def test_hats_sum_to_one_and_meet_their_anchors() -> None:
    anchors = (0.0, 0.5, 1.0)
    assert hats(0.5, anchors).tolist() == [0, 1, 0]
    assert hats(0.25, anchors).tolist() == [0.5, 0.5, 0]
    assert hats(-3, anchors).tolist() == [1, 0, 0]
    assert hats(9, anchors).tolist() == [0, 0, 1]


def test_subdividing_a_cube_gives_the_known_points() -> None:
    """A cube of side 2: face points at 1, edge points at 3/4, corners at 5/9 of their original coordinates."""
    corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], float)
    quads = np.array([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    fine = catmull_clark(quads, 8, np.zeros((6, 4, 2)))
    points = np.add.reduceat(fine.weights[:, None] * corners[fine.columns], fine.offsets, axis=0)
    assert len(points) == 8 + 12 + 6
    assert np.allclose(points[:8], corners * 5 / 9)
    assert np.allclose(np.sort(np.abs(points[8:20]), axis=1), [0, 0.75, 0.75])
    assert np.allclose(np.sort(np.abs(points[20:]), axis=1), [0, 0, 1])


def test_subdividing_a_flat_sheet_keeps_it_flat_and_its_boundary_straight() -> None:
    grid = np.array([[x, y, 0.0] for y in range(4) for x in range(4)])
    quads = np.array([[y * 4 + x, y * 4 + x + 1, y * 4 + x + 5, y * 4 + x + 4] for y in range(3) for x in range(3)])
    fine = catmull_clark(quads, 16, grid[quads][..., :2])
    points = np.add.reduceat(fine.weights[:, None] * grid[fine.columns], fine.offsets, axis=0)
    assert np.allclose(points[:, 2], 0)
    assert points[:, :2].min() > -1e-12
    assert points[:, :2].max() < 3 + 1e-12
    assert np.allclose(points[5], grid[5])
    side = points[(points[:, 1] < 1e-9)]
    assert len(side) == 5, "all of that side except its two corners, which are rounded off"


def test_refining_a_constant_is_that_constant() -> None:
    pack = headpack.load_headpack()
    assert np.allclose(pack.refine(np.ones_like(pack.vertices)), 1, atol=1e-6)


def test_all_arkit_actions_exist() -> None:
    names = [str(name) for name in headpack.load_headpack().action_names]
    assert len(names) == 52
    assert {"jawOpen", "eyeBlinkLeft", "eyeLookOutRight", "mouthSmileLeft", "tongueOut"} <= set(names)


def test_the_cache_folder_follows_the_environment_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("FACESWAP_LAB_CACHE", "~/own")
    assert cache_folder() == Path.home() / "own"
    monkeypatch.delenv("FACESWAP_LAB_CACHE")
    assert cache_folder() == tmp_path / "shared" / "faceswap_lab"


def test_without_variables_the_cache_that_is_there_goes_on_being_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("FACESWAP_LAB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name, **_: tmp_path / "Library" / "Caches" / name)
    assert cache_folder() == tmp_path / "Library" / "Caches" / "faceswap_lab"
    (tmp_path / ".cache" / "faceswap_lab").mkdir(parents=True)
    assert cache_folder() == tmp_path / ".cache" / "faceswap_lab"


@pytest.mark.slow
def test_a_damaged_cache_is_baked_again_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = headpack.load_headpack()
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path))
    load = headpack.load_headpack.__wrapped__
    first = load()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:100_000])
    with caplog.at_level(logging.WARNING):
        again = load()
    assert "damaged" in caplog.text
    assert np.array_equal(first.figure_shapes, again.figure_shapes)
    assert np.array_equal(good.quads, again.quads)
    assert [p.suffix for p in tmp_path.iterdir()] == [".npz"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_shapes_equal_those_of_annys_model() -> None:
    """Heads of random adults against `anny.Anny` at height 0.5, within a tenth of a millimetre."""
    import anny
    import torch

    pack = headpack.load_headpack()
    model = anny.Anny(topology="anny-quads-full", rig="anny", phenotypes="all", phenotype_blendshapes="original")
    draw = np.random.default_rng(0)
    above_neck = pack.vertices[:, 2] > pack.neck[2]
    for _ in range(4):
        axes = {name: float(draw.uniform(0, 1)) for name in ("gender", "muscle", "weight", "proportions")}
        age, ancestry = float(draw.uniform(2 / 3, 1)), draw.dirichlet((1, 1, 1))
        ancestries = dict(zip(("african", "asian", "caucasian"), ancestry.tolist(), strict=True))
        weights = model.get_phenotype_blendshape_coefficients(age=age, height=0.5, **axes, **ancestries)
        offsets = torch.einsum("bk,kvd->bvd", weights, model.blendshapes[: weights.shape[1]])[0]
        theirs = (model.template_vertices + offsets)[torch.from_numpy(pack.source_rows.astype(np.int64))].numpy()
        ours = phenotype_shape(pack, age=age, ancestry=tuple(ancestry.tolist()), **axes)
        assert np.abs(ours - theirs)[above_neck].max() < 1e-4
