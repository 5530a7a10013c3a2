"""Whose face is swapped: one person through a clip, whatever the sizes of faces do; and how closely a frame is searched."""

import inspect
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from faceswap_lab.faces.face import Faces, PointSet
from faceswap_lab.faces.frame import Frame
from faceswap_lab.models.engines import search
from faceswap_lab.models.protocols import Engine
from faceswap_lab.models.stream.followed import Followed, Selection
from faceswap_lab.models.stream.probes import source_of
from faceswap_lab.models.stream.swap_frames import StreamConfig

SIDE = 64
LEFT, RIGHT = 40, 160


def faces_of(frame: int, *people: tuple[int, float, float]) -> Faces:
    """One face per (person, x of the centre, side); a face's person is kept in its nose tip, for `Knowing` alone."""
    x, side = (np.array([each[i] for each in people], np.float32).reshape(-1) for i in (1, 2))
    keypoints = np.zeros((len(people), 5, 2), np.float32)
    keypoints[:, 2, 0] = [person for person, _, _ in people]
    return Faces(
        frame_index=np.full(len(people), frame, np.int64),
        boxes=np.stack([x - side / 2, 50 - side / 2, x + side / 2, 50 + side / 2], axis=1).astype(np.float32),
        keypoints=keypoints,
        scores=np.full(len(people), 0.9, np.float32),
    )


def who(chosen: Sequence[Faces]) -> list[list[int]]:
    return [[int(person) for person in faces.keypoints[:, 2, 0]] for faces in chosen]


class Knowing(Engine):
    """Recognises persons by number: each has a direction of its own, and none is quite the same twice."""

    embedder = "knowing"
    point_set: PointSet | None = None

    def __init__(self, alike: float = 0.4, found: Sequence[Faces] = ()) -> None:
        self.alike, self.found, self.num_embedded = alike, list(found), 0

    def detect(self, frame: Frame) -> Faces:
        return self.found[frame.index]

    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        raise AssertionError("not needed")

    def embed(self, frame: Frame, faces: Faces) -> Faces:
        self.num_embedded += len(faces)
        vectors = np.zeros((len(faces), 16), np.float32)
        vectors[:, 15] = np.sqrt(self.alike)
        vectors[np.arange(len(faces)), faces.keypoints[:, 2, 0].astype(int)] = np.sqrt(1 - self.alike)
        vectors[:, 10 + frame.index % 3] += 0.3
        return replace(faces, embeddings=vectors / np.linalg.norm(vectors, axis=1, keepdims=True), embedder=self.embedder)


def frames_of(count: int, cuts: Sequence[int] = ()) -> list[Frame]:
    """Plain pictures, another shade from each cut on."""
    shades = [60 * sum(cut <= index for cut in cuts) for index in range(count)]
    return [
        Frame(image=np.full((100, 200, 3), shade, np.uint8), origin="x", index=index, time_s=index / 25)
        for index, shade in enumerate(shades)
    ]


def swaying(count: int) -> list[Faces]:
    """Two people whose sizes sway by 4 %: the largest is now the one, now the other."""
    return [faces_of(i, (1, LEFT, SIDE * (1 + 0.04 * np.sin(i - 0.5))), (2, RIGHT, SIDE)) for i in range(count)]


def chosen(selection: Selection, found: list[Faces], batch: int, cuts: Sequence[int] = ()) -> list[list[int]]:
    frames = frames_of(len(found), cuts)
    parts = [selection.choose(frames[i : i + batch], found[i : i + batch]) for i in range(0, len(found), batch)]
    return who([faces for part in parts for faces in part])


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_one_person_is_followed_though_sizes_sway(batch: int) -> None:
    found = swaying(30)
    largest = [int(np.argmax(faces.boxes[:, 2] - faces.boxes[:, 0])) for faces in found]
    assert len(set(largest)) == 2, "the largest face changes"
    selection = Selection(engine=Knowing(), select="largest")
    assert chosen(selection, found, batch) == [[2]] * 30
    assert selection.followed == Followed(frame=0, number=2, num_faces=2)
    assert str(selection.followed) == "face 2 of 2 from the left in frame 0"


@pytest.mark.parametrize("batch", [1, 4])
def test_people_who_change_places_at_a_cut_or_leave_are_told_apart(batch: int) -> None:
    found = [faces_of(0), faces_of(1, (1, LEFT, 70), (2, RIGHT, 60)), faces_of(2, (2, LEFT, 90), (1, RIGHT, 50))]
    found += [faces_of(3, (2, LEFT, 90)), faces_of(4, (2, LEFT, 90)), faces_of(5), faces_of(6, (1, LEFT, 20), (3, RIGHT, 90))]
    assert chosen(Selection(engine=Knowing(), select="largest"), found, batch, cuts=[2, 6]) == [[], [1], [1], [], [], [], [1]]


def test_a_stranger_who_comes_alone_is_left_and_a_lookalike_is_not() -> None:
    found = [faces_of(0, (1, LEFT, 70)), faces_of(1, (2, LEFT, 70))]
    assert chosen(Selection(engine=Knowing(alike=0.0), select="largest"), found, 1) == [[1], []]
    assert chosen(Selection(engine=Knowing(alike=0.5), select="largest"), found, 1) == [[1], [2]], "as the docs say"


def test_a_person_alone_costs_one_recognition_a_batch() -> None:
    engine = Knowing()
    chosen(Selection(engine=engine, select="largest"), [faces_of(i, (1, LEFT, 70)) for i in range(24)], 8)
    assert engine.num_embedded <= 3 + 3


@pytest.mark.parametrize("start", [0, 2, 4])
def test_a_selection_that_starts_later_decides_as_the_first_frames_did(start: int) -> None:
    """A resumed swap shows the first frames to its selection again: batches alone decide nothing anew."""
    found = [faces_of(0), faces_of(1), *swaying(6)]
    found = [replace(faces, frame_index=np.full(len(faces), i, np.int64)) for i, faces in enumerate(found)]
    whole = chosen(Selection(engine=Knowing(), select="largest"), found, 2)
    again = Selection(engine=Knowing(), select="largest")
    for at in range(0, start, 2):
        again.choose(frames_of(8)[at : at + 2], found[at : at + 2])
    parts = [again.choose(frames_of(8)[at : at + 2], found[at : at + 2]) for at in range(start, 8, 2)]
    assert who([faces for part in parts for faces in part]) == whole[start:]


def test_everybody_and_a_single_picture_need_no_recogniser() -> None:
    engine, found = Knowing(), swaying(4)
    assert chosen(Selection(engine=engine, select="all"), found, 2) == [[1, 2]] * 4
    assert chosen(Selection(engine=engine, select="largest", apart=False), found, 2) == [[2], [1], [1], [1]]
    assert engine.num_embedded == 0


class Shown:
    """Footage of plain pictures; `Knowing` knows what is in them."""

    origin, subject, fps, size = "x", "Ann", 25.0, (100, 200)

    def __init__(self, count: int) -> None:
        self._frames = frames_of(count)

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> Frame:
        return self._frames[index]

    def frames(self, start: int = 0, stop: int | None = None) -> "Sequence[Frame]":
        return self._frames[start:stop]


def test_a_source_is_one_person_too() -> None:
    source = source_of(Shown(30), Knowing(found=swaying(30)), num_frames=10, dense=False)
    assert who(source.faces) == [[2]] * 10


# --- how closely a frame is searched ----------------------------------------------------------------------------------------


class Squares(Engine):
    """Finds white squares of 12 to 300 pixels in a picture shrunk to 640, as a detector finds faces."""

    embedder = "squares"
    point_set: PointSet | None = None

    def __init__(self) -> None:
        self.largest_picture = 0

    def detect(self, frame: Frame) -> Faces:
        import cv2

        self.largest_picture = max(self.largest_picture, *frame.size)
        scale = min(1.0, search.OWN_SIDE / max(frame.size))
        small = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else frame.image
        _, _, stats, _ = cv2.connectedComponentsWithStats((small[..., 0] > 127).astype(np.uint8))
        rows = [(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:] if min(w, h) >= 12 and max(w, h) <= 300]
        boxes = (np.array(rows, np.float32).reshape(-1, 4) + 0.5) / scale - 0.5
        return Faces(
            frame_index=np.full(len(boxes), frame.index, np.int64),
            boxes=boxes,
            keypoints=np.zeros((len(boxes), 5, 2), np.float32) + boxes[:, None, :2],
            scores=np.full(len(boxes), 0.9, np.float32),
        )

    def landmarks(self, frame: Frame, faces: Faces) -> Faces:
        raise AssertionError("not needed")

    def embed(self, frame: Frame, faces: Faces) -> Faces:
        raise AssertionError("not needed")


def squares(size: tuple[int, int], *places: tuple[int, int, int]) -> Frame:
    image = np.zeros((*size, 3), np.uint8)
    for x, y, side in places:
        image[y : y + side, x : x + side] = 255
    return Frame(image=image, origin="x", index=3)


GROUP = [(500, 300, 900), *((2200 + 400 * i, 2000, 78) for i in range(9)), (5900, 3880, 78), (0, 3000, 80)]


@pytest.mark.parametrize(
    ("size", "places", "side", "expected"),
    [
        ((1080, 1920), [(900, 500, 33)], 0, 1),
        ((1080, 1920), [(900, 500, 33)], 640, 0),
        ((1080, 1920), [(900, 500, 14)], 0, 0),
        ((1080, 1920), [(900, 500, 14)], 1920, 1),
        ((4000, 6000), GROUP, 0, 12),
        ((4000, 6000), GROUP, 640, 1),
        ((4000, 6000), GROUP, 6000, 12),
        ((480, 640), [(100, 100, 40)], 0, 1),
    ],
)
def test_faces_are_found_as_small_as_the_search_says(
    size: tuple[int, int], places: list[tuple[int, int, int]], side: int, expected: int
) -> None:
    """Each once, where it is, whatever tiles it lies in; and no tile is larger than what an engine takes."""
    engine, frame = Squares(), squares(size, *places)
    (found,) = search.detect_all(engine, [frame], side, everybody=True)
    assert len(found) == expected
    for box in found.boxes:
        x, y, across = min(places, key=lambda place: abs(place[0] - box[0]) + abs(place[1] - box[1]))
        np.testing.assert_allclose(box, (x, y, x + across, y + across), atol=1.5 * max(size) / (side or 3000) + 2 + across * 0.02)
    assert (found.frame_index == 3).all()
    np.testing.assert_allclose(found.keypoints[:, 0], found.boxes[:, :2], atol=0.01)
    if side == 6000:
        assert engine.largest_picture <= search.OWN_SIDE
    smallest = min(across for _, _, across in places)
    said = StreamConfig(select="all", search=side).found_from(size)
    assert (said <= smallest) == (expected == len(places)), "the summary says from which size on faces were found"


def test_a_part_of_a_face_is_not_another_face() -> None:
    boxes = np.array([[0, 0, 400, 400], [100, 100, 140, 140], [5, 5, 395, 410], [390, 390, 460, 460]], np.float32)
    faces = Faces(
        frame_index=np.zeros(4, np.int64),
        boxes=boxes,
        keypoints=np.zeros((4, 5, 2), np.float32),
        scores=np.array([0.8, 0.9, 0.9, 0.7], np.float32),
    )
    kept = search._merged(faces)
    assert kept.boxes.tolist() == [boxes[1].tolist(), boxes[3].tolist()] or kept.boxes.tolist() == [
        boxes[2].tolist(),
        boxes[3].tolist(),
    ]


def test_small_frames_and_the_largest_face_are_searched_as_before() -> None:
    engine = Squares()
    frame = squares((1080, 1920), (100, 100, 300))
    (found,) = search.detect_all(engine, [frame], 0, everybody=False)
    np.testing.assert_array_equal(found.boxes, engine.detect(frame).boxes)
    assert StreamConfig().found_from((1080, 1920)) == 36
    assert StreamConfig().found_from((480, 640)) == search.SMALLEST
    with pytest.raises(ValueError, match="search must be 0 or at least"):
        StreamConfig(search=100)
    assert "search" in inspect.signature(StreamConfig).parameters
