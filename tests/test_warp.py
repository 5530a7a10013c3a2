"""The warp along the mesh: exact where geometry knows the answer, and visible only where it should be."""

from collections import Counter

import cv2
import numpy as np
import pytest
import skimage.data
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import FaceError
from faceswap_lab.faces import align, blend
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.models import metrics
from faceswap_lab.models.engines.offline import OfflineEngine
from faceswap_lab.models.protocols import Crops, Source
from faceswap_lab.models.swappers import mesh468
from faceswap_lab.models.swappers.warp import WarpSwapper, backward_map

SIZE = 256
MOUTH_TOP, MOUTH_BOTTOM, NOSE_TIP, FOREHEAD, CHIN = 13, 14, 1, 10, 152


def head(*, yaw: float = 0.0, scale: float = 1250.0, centre: tuple[float, float] = (128, 128), open_by: float = 0.0) -> np.ndarray:
    """The mean head's 468 points seen by an orthographic camera, turned by `yaw` degrees, its lips `open_by` pixels apart."""
    cos, sin = np.cos(np.radians(yaw)), np.sin(np.radians(yaw))
    turned = mesh468.topology().shape @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    points = turned[:, :2] * scale + centre
    lips = mesh468.topology().inner_lips
    above = points[lips, 1] < points[lips, 1].mean()
    points[lips, 1] += np.where(above, -open_by / 2, open_by / 2)
    return points


def picture(seed: int = 0, *, level: float = 130.0) -> Image:
    """Smooth random colours around `level`."""
    coarse = np.random.default_rng(seed).normal(0, 25, (12, 12, 3))
    fine = torch.nn.functional.interpolate(torch.from_numpy(coarse).permute(2, 0, 1)[None], size=(SIZE, SIZE), mode="bicubic")
    return (fine[0].permute(1, 2, 0).numpy() + level).clip(0, 255).astype(np.uint8)


def source(image: Image, *landmarks: np.ndarray) -> Source:
    faces = [
        Faces(
            frame_index=np.zeros(1, np.int64),
            boxes=np.zeros((1, 4)),
            keypoints=np.zeros((1, 5, 2)),
            scores=np.ones(1),
            landmarks=points[None],
            point_set=468,
        )
        for points in landmarks
    ]
    return Source(subject="actor:1", frames=[Frame(image=image, origin="test")] * len(faces), faces=faces)


def crops(*rows: tuple[Image, np.ndarray]) -> Crops:
    return Crops(
        pixels=torch.from_numpy(np.stack([image for image, _ in rows])).permute(0, 3, 1, 2).float() / 255,
        frame_to_crop=np.tile(np.eye(2, 3), (len(rows), 1, 1)),
        frame_index=np.arange(len(rows)),
        template="face",
        landmarks=np.stack([points for _, points in rows]),
    )


def swap(target: tuple[Image, np.ndarray], *sources: Source, which: int = 0) -> tuple[np.ndarray, np.ndarray]:
    swapper = WarpSwapper()
    swapped = swapper(crops(target), swapper.encode(sources), np.array([which]))
    assert swapped.mask is not None
    return swapped.pixels[0].permute(1, 2, 0).numpy() * 255, swapped.mask[0, 0].numpy()


def test_the_mesh_is_one_disc_bounded_by_the_face_oval() -> None:
    topology = mesh468.topology()
    edges = Counter(frozenset(map(int, pair)) for row in topology.triangles for pair in zip(row, np.roll(row, -1), strict=True))
    assert set(topology.triangles.ravel().tolist()) == set(range(468))
    assert 468 - len(edges) + len(topology.triangles) == 1  # Euler's number of a disc
    assert max(edges.values()) == 2
    (rim,) = mesh468.boundary_rings(topology.triangles)
    assert set(rim) == set(topology.oval.tolist())
    assert len(rim) == 36
    assert {MOUTH_TOP, MOUTH_BOTTOM} < set(topology.inner_lips.tolist())


def test_seen_from_the_front_the_triangles_face_the_camera() -> None:
    assert (mesh468.area(head()[mesh468.topology().triangles]) > 0).mean() > 0.97  # closed lips may fold


@pytest.mark.parametrize("yaw", [-50.0, -20.0, 0.0, 35.0])
def test_line_of_sight_tells_the_turn_whatever_the_scale_and_place(yaw: float) -> None:
    expected = [-np.sin(np.radians(yaw)), 0, np.cos(np.radians(yaw))]  # the turned head's own z, in the head's axes
    for scale, centre in ((1250.0, (128.0, 128.0)), (300.0, (40.0, 900.0))):
        np.testing.assert_allclose(mesh468.line_of_sight(head(yaw=yaw, scale=scale, centre=centre)), expected, atol=1e-6)


@settings(deadline=None, max_examples=25)
@given(st.floats(-0.5, 0.5), st.floats(0.5, 1.5), st.floats(-0.4, 0.4), st.floats(-30, 30))
def test_an_affine_source_gives_that_affine_map(turn: float, scale: float, shear: float, shift: float) -> None:
    matrix = np.array([[scale, shear + turn, shift], [-turn, scale, -shift]])
    points = head(yaw=15)
    where, covered = backward_map(points, align.transform_points(matrix, points), SIZE)
    assert covered.sum() > 15_000
    rows, columns = np.nonzero(covered)
    expected = align.transform_points(matrix, np.column_stack([columns, rows]).astype(np.float64))
    np.testing.assert_allclose(where[covered], expected, atol=0.05)


def test_a_point_of_the_target_comes_from_the_same_point_of_the_source() -> None:
    points = np.round(head())
    there = head(yaw=20, open_by=6)
    where, covered = backward_map(points, there, SIZE)
    columns, rows = points.astype(int).T
    alone = np.array([covered[y, x] and (points == [x, y]).all(axis=1).sum() == 1 for x, y in zip(columns, rows, strict=True)])
    alone[mesh468.topology().inner_lips] = False  # rounding folds closed lips
    assert alone.sum() > 400
    off = np.linalg.norm(where[rows[alone], columns[alone]] - there[alone], axis=1)
    assert np.mean(off < 1) > 0.98  # the rest lies on the outline, where another triangle may own the pixel


def test_what_is_nearer_hides_what_is_behind_it() -> None:
    """The source's x is each point's depth, so the map shows the depth drawn; an exhaustive search finds the least there is."""
    points = head(yaw=55)
    depth = mesh468.depth(points) * 1250
    drawn, covered = backward_map(points, np.column_stack([depth, depth]), SIZE)
    triangles = mesh468.topology().triangles
    corners = points[triangles]
    facing = mesh468.area(corners) > 0.05
    system = np.linalg.inv(np.concatenate([corners, np.ones((len(corners), 3, 1))], axis=2)[facing])
    excess, hidden = [], 0
    for y, x in np.argwhere(covered)[::7]:
        weights = np.array([x, y, 1.0]) @ system
        inside = (weights > 1e-6).all(axis=1)
        if inside.any():
            depths = (weights[inside] * depth[triangles[facing][inside]]).sum(axis=1)
            hidden += len(depths) > 1
            excess.append(drawn[y, x, 0] - depths.min())
    assert hidden > 10  # the nose really covers something
    assert np.mean(np.array(excess) < 1.5) > 0.99


def test_a_face_onto_itself_changes_nothing() -> None:
    image, points = picture(), head()
    pixels, mask = swap((image, points), source(image, points))
    assert mask.max() == 1
    assert np.abs(pixels - image)[mask > 0].max() < 3


def test_outside_the_face_and_on_the_border_the_mask_is_zero() -> None:
    points = head(scale=2400, centre=(60, 128))  # larger than the crop on two sides
    _, mask = swap((picture(), points), source(picture(1), head()))
    for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]):
        assert not edge.any()
    small = head(scale=700)
    _, mask = swap((picture(), small), source(picture(1), head()))
    low, high = small.min(axis=0), small.max(axis=0)
    rows, columns = np.nonzero(mask)
    assert columns.min() > low[0]
    assert columns.max() < high[0]
    assert rows.min() > low[1]
    assert rows.max() < high[1]
    assert mask[128, 128] == 1


def test_the_mask_is_soft_everywhere() -> None:
    _, mask = swap((picture(), head()), source(picture(1), head()))
    assert max(np.abs(np.diff(mask, axis=0)).max(), np.abs(np.diff(mask, axis=1)).max()) < 0.12


def test_a_face_turned_away_is_covered_only_where_it_is_seen() -> None:
    points = head(yaw=60)
    _, covered = backward_map(points, head(), SIZE)
    _, frontal = backward_map(head(), head(), SIZE)
    assert 0.3 < covered.sum() / frontal.sum() < 0.9


@pytest.mark.parametrize("level", [60.0, 190.0])
def test_the_face_takes_the_light_of_the_target(level: float) -> None:
    target = picture(2, level=level)
    ramp = np.linspace(0.7, 1.3, SIZE)[None, :, None]
    target = (target * ramp).clip(0, 255).astype(np.uint8)
    pixels, mask = swap((target, head()), source(picture(1, level=130), head()))
    for side in (slice(60, 125), slice(131, 196)):
        inside = mask[:, side] > 0.9
        assert pixels[:, side][inside].mean() == pytest.approx(target[:, side][inside].mean(), rel=0.06)


def test_the_targets_own_mouth_stays_when_it_is_open_and_the_sources_is_not() -> None:
    open_mouth, closed = head(open_by=24), head()
    middle = tuple(np.round(open_mouth[[MOUTH_TOP, MOUTH_BOTTOM]].mean(axis=0)).astype(int)[::-1])
    cheek = tuple(np.round(open_mouth[205]).astype(int)[::-1])
    _, kept = swap((picture(), open_mouth), source(picture(1), closed))
    assert kept[middle] < 1e-6
    assert kept[cheek] == 1
    _, replaced = swap((picture(), open_mouth), source(picture(1), open_mouth))
    assert replaced[middle] == 1


def test_the_view_nearest_in_pose_is_taken() -> None:
    swapper = WarpSwapper()
    for yaw, expected in ((-35.0, 0), (4.0, 1), (30.0, 2)):
        dark, middle, light = (np.full((SIZE, SIZE, 3), level, np.uint8) for level in (40, 120, 200))
        views = [source(dark, head(yaw=-30)), source(middle, head()), source(light, head(yaw=30))]
        together = Source(
            subject="actor:1",
            frames=[frame for view in views for frame in view.frames],
            faces=[f for view in views for f in view.faces],
        )
        codes = swapper.encode([together])
        target = np.full((SIZE, SIZE, 3), 100, np.uint8)
        alone = swapper.encode([views[expected]])
        one = swapper(crops((target, head(yaw=yaw))), codes, np.array([0]))
        two = swapper(crops((target, head(yaw=yaw))), alone, np.array([0]))
        torch.testing.assert_close(one.pixels, two.pixels, rtol=0, atol=0)
    assert [float(view.patch.mean()) for view in codes[0]] == pytest.approx([40, 120, 200])


def test_a_batch_equals_the_loop_and_takes_the_source_each_row_names() -> None:
    swapper = WarpSwapper()
    codes = swapper.encode([source(picture(1), head()), source(picture(2), head(yaw=10))])
    rows = [(picture(seed), head(yaw=yaw)) for seed, yaw in ((3, -20.0), (4, 0.0), (5, 25.0))]
    which = np.array([1, 0, 1])
    together = swapper(crops(*rows), codes, which)
    assert together.pixels.shape == (3, 3, SIZE, SIZE)
    assert together.pixels.dtype == torch.float32
    assert 0 <= float(together.pixels.min()) <= float(together.pixels.max()) <= 1
    assert together.mask is not None
    for row in range(3):
        alone = swapper(crops(rows[row]), codes, which[row : row + 1])
        assert alone.mask is not None
        torch.testing.assert_close(alone.pixels[0], together.pixels[row], rtol=0, atol=0)
        torch.testing.assert_close(alone.mask[0], together.mask[row], rtol=0, atol=0)
    other = swapper(crops(rows[0]), codes, np.array([0]))
    assert not torch.equal(other.pixels[0], together.pixels[0])


def test_without_the_points_it_says_so() -> None:
    swapper = WarpSwapper()
    bare = Faces(frame_index=np.zeros(1, np.int64), boxes=np.zeros((1, 4)), keypoints=np.zeros((1, 5, 2)), scores=np.ones(1))
    with pytest.raises(FaceError, match="actor:1 with 468 points"):
        swapper.encode([Source(subject="actor:1", frames=[Frame(image=picture(), origin="test")], faces=[bare])])
    codes = swapper.encode([source(picture(), head())])
    blind = Crops(
        pixels=torch.zeros(1, 3, SIZE, SIZE), frame_to_crop=np.eye(2, 3)[None], frame_index=np.zeros(1, np.int64), template="face"
    )
    with pytest.raises(FaceError, match=r"Engine\.landmarks"):
        swapper(blind, codes, np.array([0]))


@pytest.mark.weights
@pytest.mark.slow
def test_an_actor_on_a_photograph_is_recognised_and_shows_no_seam() -> None:
    """The one real photograph allowed here: NASA's astronaut, public domain, with the face of somebody who does not exist."""
    engine, swapper, actor = OfflineEngine(), WarpSwapper(), Actor(7)
    photo = Frame(image=np.ascontiguousarray(skimage.data.astronaut()[:320, 64:384]), origin="sha256:0")
    faces = engine.embed(photo, engine.landmarks(photo, engine.detect(photo)))
    portrait = Frame(image=actor.portrait(256), origin="actor:7")
    found = engine.landmarks(portrait, engine.detect(portrait))
    take = actor.perform("speech", seconds=1, fps=3)
    gallery = np.concatenate([_embedding(engine, frame) for frame in take.frames()])

    matrix = align.frame_to_crop(faces.keypoints[0], template=swapper.needs.template, size=SIZE)
    assert faces.landmarks is not None
    target = crops((align.crop(photo.image, matrix, SIZE), align.transform_points(matrix, faces.landmarks[0])))
    codes = swapper.encode([Source(subject=actor.subject, frames=[portrait], faces=[found[0]])])
    swapped = swapper(target, codes, np.array([0]))
    assert swapped.mask is not None
    mask = swapped.mask[0, 0].numpy()
    result = blend.paste(photo.image, swapped.pixels[0].permute(1, 2, 0).numpy() * 255, mask, matrix)

    assert faces.embeddings is not None
    before = metrics.identity_similarity(faces.embeddings[0], gallery)
    after = metrics.identity_similarity(_embedding(engine, Frame(image=result, origin="test"))[0], gallery)
    assert after > before + 0.3
    outline = align.warp(mask, align.invert(matrix), result.shape[:2]) > 0.5
    whole = cv2.morphologyEx(outline.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((25, 25), np.uint8)) > 0  # without the mouth's hole
    assert metrics.seam(result, whole) < 0.5
    darker = np.where(whole[..., None], photo.image // 2, photo.image)
    assert metrics.seam(darker, whole) > 2  # so a seam would have been seen


def _embedding(engine: OfflineEngine, frame: Frame) -> np.ndarray:
    embeddings = engine.embed(frame, engine.detect(frame)).embeddings
    assert embeddings is not None
    assert len(embeddings) == 1
    return embeddings
