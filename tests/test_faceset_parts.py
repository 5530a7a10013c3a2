"""What a faceset is put together from, each by itself: layouts, sharpness, doubles, clusters, splits, many admissions at once."""

import io
import json
import os
import pickle
import struct
import zlib
from collections import Counter
from datetime import date
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, ManifestError, MediaError
from faceswap_lab.faces import align, quality
from faceswap_lab.faces.face import largest
from faceswap_lab.faces.faceset import Row, in_ranges, row_ranges
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.files import sha256_file
from faceswap_lab.models import clusters
from faceswap_lab.models.clusters import cluster
from faceswap_lab.models.engines.offline import OfflineEngine, refined_keypoints
from faceswap_lab.runs.recipe import from_json, to_json
from faceswap_lab.trust import admit
from faceswap_lab.trust.consent import manifest
from faceswap_lab.trust.consent.declare import File
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.gather import layouts
from faceswap_lab.verbs.gather.gather import enlist
from faceswap_lab.verbs.gather.selection import When, find_doubles, identify, split
from faceswap_lab.verbs.gather.sightings import Sightings
from faceswap_lab.verbs.recipes import FacesetRecipe

DAY = date(2026, 6, 1)

# --- layouts --------------------------------------------------------------------------------------------------------------


def png(path: Path, *chunks: bytes) -> Path:
    """A small PNG with these chunks before its pixels."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (8, 8), (path.stem.__hash__() % 200, 9, 9)).save(buffer, "PNG")
    data = buffer.getvalue()
    pixels = data.index(b"IDAT") - 4
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[:pixels] + b"".join(chunks) + data[pixels:])
    return path


def itxt(text: bytes, length: int | None = None) -> bytes:
    data = b"faceswap" + b"\0" * 5 + text
    body = b"iTXt" + data
    return struct.pack(">I", len(data) if length is None else length) + body + struct.pack(">I", zlib.crc32(body))


def faceswap_text(source: str) -> bytes:
    """As faceswap writes it: the text of a Python dict."""
    meta = {
        "alignments": {"x": 1, "y": 2, "w": 3, "h": 4, "landmarks_xy": [[0.5, 1.5]]},
        "source": {"alignments_version": 2.3, "original_filename": "x_0.png", "face_index": 0, "source_filename": source},
    }
    return str(meta).encode()


class Bomb:
    """Whoever unpickles this leaves a trace."""

    def __reduce__(self) -> tuple:
        return os.system, ("touch pickle-was-executed",)


def dfl(path: Path, payload: bytes) -> Path:
    """A JPEG with DeepFaceLab's segment APP15."""
    buffer = io.BytesIO()
    Pillow.new("RGB", (8, 8), (len(path.stem), 9, 9)).save(buffer, "JPEG")
    data = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data[:2] + b"\xff\xef" + struct.pack(">H", len(payload) + 2) + payload + data[2:])
    return path


def test_deepfacelab_gives_frames_by_their_names_and_its_pickle_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("00012_0", "00013_0", "00013_1"):
        dfl(tmp_path / "data_src" / "aligned" / f"{name}.jpg", pickle.dumps(Bomb()))
    found = layouts.find([tmp_path / "data_src"])
    assert found.layout == "deepfacelab"
    assert [(each.sequence, each.time_s) for each in found.material] == [
        ("aligned", 12 / 25),
        ("aligned", 13 / 25),
        ("aligned", 13 / 25),
    ]
    assert not (tmp_path / "pickle-was-executed").exists()
    pickle.loads(pickle.dumps(Bomb()))
    assert (tmp_path / "pickle-was-executed").exists(), "the bomb would have gone off"


def test_faceswap_gives_the_frame_that_its_header_names(tmp_path: Path) -> None:
    png(tmp_path / "faces" / "a_0.png", itxt(faceswap_text("my clip_000123.png")))
    png(tmp_path / "faces" / "b_0.png", itxt(faceswap_text("portrait.jpg")))
    found = layouts.find([tmp_path])
    assert found.layout == "faceswap"
    assert [(each.sequence, each.time_s) for each in found.material] == [("faces/my clip_", 123 / 25), ("", 0.0)]


@pytest.mark.parametrize(
    "text",
    [
        b"__import__('os').system('touch eval-was-executed')",
        b"{" * 200_000,
        b"{'source': {'source_filename': '" + b"x" * 5_000 + b"'}}",
        b"\xff\xfe\x00",
        b"",
        b"x" * (2 << 20),
    ],
)
def test_hostile_headers_are_read_as_text_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = png(tmp_path / "faces" / "00001_0.png", itxt(text))
    assert layouts.faceswap_source(path) in (path.name, "")
    assert layouts.find([tmp_path / "faces"], "faceswap").material[0].path == path
    assert not (tmp_path / "eval-was-executed").exists()


@pytest.mark.parametrize("length", [0, 2**31, 2**32 - 1])
def test_a_length_that_lies_ends_the_reading(tmp_path: Path, length: int) -> None:
    assert layouts.faceswap_source(png(tmp_path / "x.png", itxt(b"{}", length))) in ("", "x.png")


def test_a_folder_is_walked_without_hidden_files_and_links(tmp_path: Path) -> None:
    inside, outside = tmp_path / "fotos ü 写真", tmp_path / "elsewhere"
    for path in (inside / "a.PNG", inside / "deep" / "er" / "b.png", inside / ".hidden" / "c.png", outside / "d.png"):
        png(path)
    (inside / "clip.MP4").write_bytes(b"")
    (inside / "notes.txt").write_text("")
    (inside / "link").symlink_to(outside, target_is_directory=True)
    found = layouts.find([inside, inside / "a.PNG"])
    assert [each.path.name for each in found.material] == ["a.PNG", "clip.MP4", "b.png"]
    assert [(path.name, "no picture or clip" in why) for path, why in found.passed_over] == [("notes.txt", True)]
    assert found.layout == "folder"


def test_numbered_stills_are_frames_only_when_it_is_said(tmp_path: Path) -> None:
    for number in (7, 32):
        png(tmp_path / "shot" / f"take2_{number:04d}.png")
    assert {each.sequence for each in layouts.find([tmp_path]).material} == {""}
    told = layouts.find([tmp_path], "frames").material
    assert [(each.sequence, each.time_s) for each in told] == [("shot/take2_", 7 / 25), ("shot/take2_", 32 / 25)]


# --- FaceForensics++ ------------------------------------------------------------------------------------------------------


@pytest.fixture
def ffpp(tmp_path: Path) -> Path:
    folder = tmp_path / "FaceForensics++"
    names = (
        "original_sequences/youtube/c23/videos/000.mp4",
        "original_sequences/youtube/c23/videos/003.mp4",
        "original_sequences/youtube/raw/videos/000.mp4",
        "original_sequences/actors/c23/videos/01__exit_phone_room.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4",
        "manipulated_sequences/Deepfakes/c23/videos/003_007.mp4",
        "manipulated_sequences/Deepfakes/c23/images/000_003/0000.mp4",
    )
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "splits").mkdir()
    (folder / "splits" / "train.json").write_text('[["000", "003"]]')
    (folder / "splits" / "test.json").write_text('[["007", "008"]]')
    return folder


def test_faceforensics_becomes_manifest_rows_with_its_splits_and_nothing_is_opened(
    ffpp: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    (tmp_path / "data_manifests").mkdir()
    with pytest.raises(ConsentError, match="no who or basis"):
        enlist(ffpp, who=None, basis=None)
    made = enlist(ffpp, who="people of FaceForensics++", basis="licence: its terms of use, signed by me")
    assert made["files"] == 6
    assert made["splits"] == {"train": 4, "none": 2}
    rows = {entry.uri: entry for entry in manifest.read_manifest(tmp_path / "data_manifests" / f"{made['manifests'][0]}.toml")[1]}
    fake = rows["ffpp://manipulated_sequences/Deepfakes/c23/videos/000_003.mp4"]
    assert fake.sha256 == sha256_file(ffpp / "manipulated_sequences/Deepfakes/c23/videos/000_003.mp4")
    assert fake.split == "train"
    assert rows["ffpp://manipulated_sequences/Deepfakes/c23/videos/003_007.mp4"].split == "", "its two people are in two splits"
    assert rows["ffpp://original_sequences/actors/c23/videos/01__exit_phone_room.mp4"].split == ""
    assert admit.admit(ffpp / "original_sequences/youtube/c23/videos/000.mp4", root=tmp_path).subject == "people of FaceForensics++"


@pytest.mark.parametrize("text", ["{", '{"a": 1}', "[1, 2]", "[" * 100_000])
def test_a_broken_list_of_splits_is_told(ffpp: Path, text: str) -> None:
    (ffpp / "splits" / "val.json").write_text(text)
    if text == '{"a": 1}':
        assert layouts.find_ffpp(ffpp), "names of one letter are nobody's"
        return
    with pytest.raises(MediaError, match=r"val\.json"):
        layouts.find_ffpp(ffpp)


def test_another_folder_is_no_faceforensics(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="original_sequences"):
        layouts.find_ffpp(tmp_path)


# --- quality --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def views() -> list[tuple[Image, np.ndarray, float]]:
    """Pictures of actors, 384 pixels, with keypoints and yaw."""
    engine, made = OfflineEngine(), []
    for seed in (7, 21, 32):
        take = Actor(seed).perform("range", seconds=0.12, fps=25, seed=200 + seed, size=384)
        for number in range(len(take)):
            frame = take[number]
            face = engine.landmarks(frame, largest(engine.detect(frame)))
            if len(face) and face.visible is not None and face.visible.any():
                made.append((frame.image, refined_keypoints(face).keypoints[0], float(np.degrees(take.view(number).yaw))))
    assert len(made) >= 7
    return made


def blurred(image: Image, sigma: float) -> Image:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def moved(image: Image, length: int, angle: float) -> Image:
    kernel = np.zeros((length, length), np.float32)
    middle = length // 2
    dx, dy = np.cos(angle) * middle, np.sin(angle) * middle
    cv2.line(kernel, (round(middle - dx), round(middle - dy)), (round(middle + dx), round(middle + dy)), 1)
    return cv2.filter2D(image, -1, kernel / kernel.sum())


@pytest.mark.slow
@pytest.mark.weights
def test_sharpness_tells_blur_whatever_the_size_and_the_contrast(views: list) -> None:
    bound = FacesetRecipe(name="x").min_sharpness
    for image, points, _ in views:
        side = quality.side_of(points)
        sharp = quality.sharpness(image, points)
        assert sharp > bound
        assert quality.sharpness(blurred(image, 0.005 * side), points) > bound
        assert quality.sharpness(blurred(image, 0.025 * side), points) < bound
        for angle in (0.0, 0.8, np.pi / 2):
            assert quality.sharpness(moved(image, round(0.1 * side) | 1, angle), points) < bound
        pale = np.clip(128 + 0.5 * (image.astype(np.float32) - 128), 0, 255).astype(np.uint8)
        assert quality.sharpness(pale, points) == pytest.approx(sharp, rel=0.1)
        half = cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        assert quality.sharpness(half, (points + 0.5) / 2 - 0.5) == pytest.approx(sharp, rel=0.1)
    assert quality.sharpness(np.full((300, 300, 3), 90, np.uint8), views[0][1]) == 0


@pytest.mark.slow
@pytest.mark.weights
def test_yaw_is_known_within_some_degrees(views: list) -> None:
    off = [quality.yaw_deg(points) - yaw for _, points, yaw in views]
    assert np.abs(off).mean() < 6
    assert quality.yaw_deg(views[0][1]) == pytest.approx(quality.yaw_deg(views[0][1] * 3 + 5), abs=1e-3)


@pytest.mark.slow
@pytest.mark.weights
def test_the_same_frame_again_is_a_double_and_another_expression_is_not(views: list) -> None:
    engine = OfflineEngine()

    def seen(image: Image) -> quality.FaceThumbnail:
        frame = Frame(image=image, origin="x")
        points = refined_keypoints(engine.landmarks(frame, largest(engine.detect(frame)))).keypoints[0]
        return quality.face_thumbnail(align.cut(image, points, template="whole-face", size=256).image, template="whole-face")

    take = Actor(7).perform("speech", seconds=4, fps=5, seed=3, size=256)
    opened = [view.get("jawOpen", 0.0) for view in (take.view(number).actions for number in range(len(take)))]
    shut, wide = int(np.argmin(opened)), int(np.argmax(opened))
    assert opened[wide] - opened[shut] > 0.15
    frame = take[shut].image
    for other in (0.5, 0.75, 1.5):
        resized = cv2.resize(frame, None, fx=other, fy=other, interpolation=cv2.INTER_AREA)
        assert quality.difference(seen(frame), seen(resized)) <= quality.NEAR_DUPLICATE_MAX
    for level in (90, 60, 40):
        buffer = io.BytesIO()
        Pillow.fromarray(frame).save(buffer, "JPEG", quality=level)
        assert quality.difference(seen(frame), seen(np.array(Pillow.open(buffer)))) <= quality.NEAR_DUPLICATE_MAX
    assert quality.difference(seen(frame), seen(take[wide].image)) > 3 * quality.NEAR_DUPLICATE_MAX
    assert quality.difference(seen(frame), seen(views[-1][0])) > 3 * quality.NEAR_DUPLICATE_MAX


def texture(seed: int) -> quality.FaceThumbnail:
    return cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8), (0, 0), 2)


def test_the_best_of_doubles_stays_and_people_are_not_mixed() -> None:
    one, two = texture(1), texture(2)
    noisy = np.clip(one.astype(int) + np.random.default_rng(0).integers(-1, 2, one.shape), 0, 255).astype(np.uint8)
    prints = [noisy, one, two, one]
    found = find_doubles(prints, [1.0, 5.0, 1.0, 9.0], ["a", "a", "a", "b"], near_duplicate_max=0.1)
    assert {number: better for number, (better, _) in found.items()} == {0: 1}
    assert find_doubles(prints, [1.0, 5.0, 1.0, 9.0], ["a"] * 4, near_duplicate_max=0.1).keys() == {0, 1}
    assert find_doubles([], [], [], near_duplicate_max=0.1) == {}
    many = [texture(seed) for seed in range(150)]
    assert find_doubles([*many, *many], [1.0] * 300, ["a"] * 300, near_duplicate_max=0.1) == {
        150 + number: (number, pytest.approx(0, abs=1e-3)) for number in range(150)
    }


def test_flat_pictures_are_alike_only_if_equal() -> None:
    flat = np.full((64, 64), 40, np.uint8)
    assert quality.difference(flat, flat) == 0
    assert quality.difference(flat, texture(1)) == float("inf")


# --- identities -----------------------------------------------------------------------------------------------------------


def crowd(sizes: list[int], *, spread: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around as many random directions, and whose each is, shuffled."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(len(sizes), 128))
    who = np.repeat(np.arange(len(sizes)), sizes)
    random.shuffle(who)
    vectors = centres[who] / np.linalg.norm(centres[who], axis=1, keepdims=True) + spread * random.normal(size=(len(who), 128)) / 11
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), who


def test_clusters_are_the_people_the_largest_first() -> None:
    vectors, who = crowd([30, 12, 5], spread=0.6)
    found = cluster(vectors, ["a"] * len(who), same_person=0.363)
    assert found.sizes.tolist() == [30, 12, 5]
    assert (found.labels == who).all()
    first = vectors[who == 0] @ vectors[who == 0].T
    assert found.within[0] == pytest.approx(first[~np.eye(30, dtype=bool)].mean(), abs=1e-6)
    assert found.between[0, 1] == pytest.approx((vectors[who == 0] @ vectors[who == 1].T).mean(), abs=1e-6)


def test_parts_give_what_one_piece_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, who = crowd([90, 60, 30, 3], spread=0.6)
    files = [f"file {number % 40}" for number in range(len(who))]
    monkeypatch.setattr(clusters, "MAX_LINKED", 20)
    assert (cluster(vectors, files, same_person=0.363).labels == who).all()


def test_no_face_and_one_face_are_clusters_too() -> None:
    assert cluster(np.zeros((0, 128), np.float32), [], same_person=0.4).sizes.tolist() == []
    assert cluster(crowd([1], spread=0)[0], ["a"], same_person=0.4).sizes.tolist() == [1]
    with pytest.raises(ValueError, match="as many files"):
        cluster(np.zeros((2, 128), np.float32), ["a"], same_person=0.4)


def sightings_of(vectors: np.ndarray, sources: list[str]) -> Sightings:
    count = len(vectors)
    zeros = np.zeros(count, np.float32)
    return Sightings(
        source=np.array(sources, dtype="U64"), frame=np.arange(count), time_s=np.zeros(count), box=np.zeros((count, 4), np.float32),
        keypoints=np.zeros((count, 5, 2), np.float32), side=zeros, sharpness=zeros, yaw_deg=zeros, embedding=vectors,
        reason=np.array([""] * count, dtype="U40"), detail=np.array([""] * count, dtype="U500"),
    )  # fmt: skip


def test_the_largest_group_is_the_person_and_a_rival_is_a_doubt() -> None:
    vectors, who = crowd([10, 7, 2], spread=0.6)
    seen = sightings_of(vectors, ["f"] * len(who))
    found = identify(seen, {"f": "Ann"}, FacesetRecipe(name="x"))
    assert [person == "Ann" for person in found.person] == (who == 0).tolist()
    assert {reason for reason, label in zip(found.reason, who, strict=True) if label} == {"another person"}
    assert "10 faces, another 7" in found.doubts[0]
    assert "which=2" in found.doubts[0]
    second = identify(seen, {"f": "Ann"}, FacesetRecipe(name="x", which=2))
    assert [person == "Ann" for person in second.person] == (who == 1).tolist()
    none = identify(seen, {"f": "Ann"}, FacesetRecipe(name="x", which=9))
    assert not any(none.person)
    assert "none number 9" in none.doubts[0]
    alone, _ = crowd([10, 2], spread=0.6)
    assert identify(sightings_of(alone, ["f"] * 12), {"f": "Ann"}, FacesetRecipe(name="x")).doubts == ()


def test_each_manifests_person_is_looked_for_in_their_own_files() -> None:
    vectors, who = crowd([12, 6], spread=0.6)
    sources = ["a" if label == 0 or number % 3 == 0 else "b" for number, label in enumerate(who)]
    found = identify(sightings_of(vectors, sources), {"a": "Ann", "b": "Bob"}, FacesetRecipe(name="x"))
    for person, source, label in zip(found.person, sources, who, strict=True):
        assert person == ({"a": "Ann", "b": "Bob"}[source] if (source == "a") == (label == 0) else "")
    assert [identity.person for identity in found.identities] == ["Ann", "Bob"]


# --- splits ---------------------------------------------------------------------------------------------------------------


def test_shares_are_kept_by_whole_files_in_any_order() -> None:
    moments = [When(sequence=f"file {number // 5}", time_s=0.0) for number in range(1000)]
    recipe = FacesetRecipe(name="x")
    parts = split(moments, recipe)
    assert Counter(parts) == {"train": 800, "val": 100, "test": 100}
    assert len({(moment.sequence, part) for moment, part in zip(moments, parts, strict=True)}) == 200
    turned = split(moments[::-1], recipe)
    assert turned[::-1] == parts
    assert split(moments, FacesetRecipe(name="x", seed=1)) != parts


@given(
    lengths=st.lists(st.floats(0, 90), min_size=1, max_size=6),
    shares=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.34, 0.33, 0.33)]),
    seed=st.integers(0, 99),
)
def test_neighbours_are_never_in_two_splits(lengths: list[float], shares: tuple[float, float, float], seed: int) -> None:
    recipe = FacesetRecipe(name="x", shares=shares, seed=seed, stretch_s=8.0, gap_s=1.0)
    moments = [
        When(sequence=f"clip {number}", time_s=float(time_s))
        for number, length in enumerate(lengths)
        for time_s in np.arange(0, length + 0.1, 0.5)
    ]
    parts = split(moments, recipe)
    for (a, one), (b, other) in zip(zip(moments, parts, strict=True), list(zip(moments, parts, strict=True))[1:], strict=False):
        if a.sequence == b.sequence and one and other:
            assert one == other or b.time_s - a.time_s >= 2 * recipe.gap_s
    # A clip's last frames make no stretch of their own if all of them lie within the gap to the one before.
    ends = {moment.sequence: moment.time_s for moment in moments}
    units = {
        unit
        for unit in {moment.unit(recipe.stretch_s) for moment in moments}
        if unit[1] == 0 or ends[unit[0]] - unit[1] * recipe.stretch_s >= recipe.gap_s
    }
    wanted = {name for name, share in zip(("train", "val", "test"), shares, strict=True) if share}
    if len(units) >= len(wanted):
        assert {part for part in parts if part} == wanted
    assert {part for part in parts if part} <= wanted


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": " "},
        {"name": "a\nb"},
        {"shares": (0.5, 0.1, 0.1)},
        {"shares": (0.0, 0.5, 0.5)},
        {"every_s": 0.0},
        {"which": 0},
        {"template": "x"},
    ],
)
def test_a_recipe_that_makes_no_set_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        FacesetRecipe(**({"name": "x"} | wrong))


def test_the_recipe_goes_through_json() -> None:
    recipe = recipes.FacesetRecipe(name="ü", max_yaw_deg=30, shares=(0.6, 0.2, 0.2))
    assert from_json(FacesetRecipe, to_json(recipe)) == recipe


@given(st.sets(st.integers(0, 60)))
def test_rows_in_short_and_back(numbers: set[int]) -> None:
    rows = [row(number) for number in numbers]
    assert in_ranges(row_ranges(rows)) == numbers


def row(number: int) -> Row:
    return Row(
        number=number, person="a", subject="a", source="0", uri="", licence="", entry="", frame=0, time_s=0.0, box=(), keypoints=(),
        frame_to_crop=(), side=1.0, sharpness=1.0, yaw_deg=0.0, split="train", crop="", sha256="",
    )  # fmt: skip


# --- many files at the door -----------------------------------------------------------------------------------------------


def files(folder: Path, count: int) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        (folder / f"{number}.png").write_bytes(f"{folder.name} {number}".encode())
    return sorted(folder.iterdir())


def test_many_files_are_one_manifest_read_a_few_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data_manifests").mkdir()
    read = manifest.read_manifest
    calls = []
    monkeypatch.setattr(manifest, "read_manifest", lambda path: calls.append(path) or read(path))
    clips, refused = admit.admit_all(
        files(tmp_path / "a", 120), root=tmp_path, who="Ann", basis="consent: form of May", uses=["train"], today=DAY
    )
    assert len(clips) == 120
    assert not refused
    assert [path.name for path in (tmp_path / "data_manifests").glob("*.toml")] == ["ann.toml"]
    assert len(calls) < 20, "the time does not grow with the square of the files"
    again, _ = admit.admit_all([clip.path for clip in clips], root=tmp_path, today=DAY)
    assert [clip.grant for clip in again] == [clip.grant for clip in clips]
    one = admit.admit(clips[7].path, root=tmp_path, today=DAY)
    assert one.grant == clips[7].grant


def test_the_same_bytes_come_in_once_and_missing_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "data_manifests").mkdir()
    paths = files(tmp_path / "a", 2)
    paths[1].write_bytes(paths[0].read_bytes())
    clips, refused = admit.admit_all(
        [*paths, tmp_path / "missing.png"], root=tmp_path, who="Ann", basis="consent: form of May", uses=["train"], today=DAY
    )
    assert [clip.path for clip in clips] == [paths[0].resolve()]
    assert [(each.path.name, type(each.error)) for each in refused] == [("missing.png", MediaError)]


def test_an_entry_of_another_person_refuses_that_file_alone(tmp_path: Path) -> None:
    (tmp_path / "data_manifests").mkdir()
    theirs, *mine = files(tmp_path / "a", 3)
    admit.admit(theirs, root=tmp_path, who="Bob", basis="consent: form of June", uses=["train"], today=DAY)
    clips, refused = admit.admit_all(
        [theirs, *mine], root=tmp_path, who="Ann", basis="consent: form of May", uses=["train"], today=DAY
    )
    assert [clip.path.name for clip in clips] == ["1.png", "2.png"]
    assert [each.path.name for each in refused] == ["0.png"]
    assert "Bob" in str(refused[0].error)


def test_two_manifests_that_list_a_file_stop_everything(tmp_path: Path) -> None:
    (tmp_path / "data_manifests").mkdir()
    paths = files(tmp_path / "a", 2)
    admit.admit(paths[0], root=tmp_path, who="Bob", basis="consent: form of June", uses=["train"], today=DAY)
    for suffix in ("toml", "csv"):
        copy = tmp_path / "data_manifests" / f"copy.{suffix}"
        copy.write_bytes((tmp_path / "data_manifests" / f"bob.{suffix}").read_bytes())
    with pytest.raises(ManifestError, match="one manifest entry"):
        admit.admit_all(paths, root=tmp_path, today=DAY)


def test_a_split_is_added_to_a_list_that_had_none(tmp_path: Path) -> None:
    (tmp_path / "data_manifests").mkdir()
    first, second, third = files(tmp_path / "a, b", 3)
    declared = {"who": "Ann", "basis": "consent: form of May", "uses": ["train"]}
    admit.admit_all([first], root=tmp_path, source="here", today=DAY, **declared)
    listed = [File(path=second, sha256=sha256_file(second), split="val"), File(path=third, sha256=sha256_file(third))]
    admit.enlist(listed, root=tmp_path, source="here", today=DAY, **declared)
    (_, _, entries) = next(each for each in manifest.read_manifests(tmp_path) if each[0] == "ann")
    assert [entry.split for entry in entries] == ["", "val", ""]
    assert len(json.dumps([entry.uri for entry in entries])) > 10
