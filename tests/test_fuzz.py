"""Readers under mutation: of whatever bytes a manifest, a picture, a clip or a run has, a named error or a whole thing comes.

The corpus is the same at each run. FACESWAP_LAB_FUZZ=20 makes it twenty times as large, and random.
"""

import json
import os
import shutil
import sys
import types
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from faceswap_lab.errors import LabError, ManifestError, MediaError, RunError
from faceswap_lab.faces import decode, video
from faceswap_lab.faces.frame import read_still, write_still
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.admit import admit
from faceswap_lab.trust.consent.manifest import find_entry, locate, read_manifest
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.swap import result
from tests.media import open_clip, write_video

MORE = int(os.environ.get("FACESWAP_LAB_FUZZ", "0"))
SHA, OTHER_SHA = "ab" * 32, "cd" * 32
TOML = b"""\
version = 1
subject = "Jane Doe"
source = "a studio"
licence = "granted"

[consent]
kind = "consent"
text = "consent: a form"
date = 2026-05-03
expires = 2026-07-01
uses = ["anonymise", "train"]
partners = ["John Roe"]
"""
ROWS = f"uri,sha256,split\nclips/a.mp4,{SHA},train\npackage://json/b.png,{OTHER_SHA},\n".encode()


def corpus(count: int) -> settings:
    return settings(
        max_examples=count * max(1, MORE),
        derandomize=not MORE,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def mutations(draw: st.DrawFn) -> list[tuple[str, float, float, bytes]]:
    """One to four edits: what, where (as a share of the whole), how much, and bytes to put there."""
    edit = st.tuples(
        st.sampled_from(["flip", "cut", "duplicate", "drop", "insert", "overwrite"]),
        st.floats(0, 1, exclude_max=True),
        st.floats(0, 1),
        st.binary(min_size=1, max_size=8)
        | st.sampled_from([b"\0", b"[", b"{", b'"', b"=", b"\n", b"\xff\xff\xff\xff", b"[" * 9_999]),
    )
    return draw(st.lists(edit, min_size=1, max_size=4))


def mutated(whole: bytes, edits: list[tuple[str, float, float, bytes]]) -> bytes:
    data = bytearray(whole)
    for kind, where, how_much, given_bytes in edits:
        place = int(where * len(data))
        length = max(1, int(how_much**4 * len(data)))
        if kind == "flip" and data:
            data[place] ^= given_bytes[0] or 1
        elif kind == "cut":
            del data[place:]
        elif kind == "duplicate":
            data[place:place] = data[place : place + length]
        elif kind == "drop":
            del data[place : place + length]
        elif kind == "insert":
            data[place:place] = given_bytes
        elif kind == "overwrite":
            data[place : place + len(given_bytes)] = given_bytes
    return bytes(data)


# --- manifests --------------------------------------------------------------------------------------------------------------


def read_all(folder: Path, toml: bytes, rows: bytes) -> None:
    """As `admit` reads: only ManifestError, and what comes out says what the file's digest says."""
    place = folder / "data_manifests"
    place.mkdir(exist_ok=True)
    (place / "jane.toml").write_bytes(toml)
    (place / "jane.csv").write_bytes(rows)
    for sha256 in (SHA, OTHER_SHA):
        try:
            entry = find_entry(folder, sha256)
        except ManifestError:
            continue
        if entry is not None:
            assert entry.sha256 == sha256
            entry.standing(date(2026, 6, 1))
    try:
        _, entries = read_manifest(place / "jane.toml")
    except ManifestError:
        return
    for entry in entries:
        try:
            locate(folder, entry.uri)
        except ManifestError:
            continue


@pytest.mark.slow
@corpus(300)
@given(edits=mutations(), of_rows=st.booleans())
def test_mutated_manifests(tmp_path: Path, edits: list[tuple[str, float, float, bytes]], of_rows: bool) -> None:
    read_all(tmp_path, TOML if of_rows else mutated(TOML, edits), mutated(ROWS, edits) if of_rows else ROWS)


@corpus(150)
@given(toml=st.binary(max_size=200) | st.text(max_size=200).map(str.encode), rows=st.binary(max_size=200))
def test_manifests_of_arbitrary_bytes(tmp_path: Path, toml: bytes, rows: bytes) -> None:
    read_all(tmp_path, toml, SHA.encode() + rows)
    read_all(tmp_path, TOML, b"uri,sha256\n" + rows)


VALUES = st.recursive(
    st.sampled_from(
        ['"train"', '"synthetic"', "2026-05-03", "2026-05-03T10:00:00Z", "10:00:00", "nan", "1e999", "9" * 5_000, "true"]
    )
    | st.text(st.characters(codec="ascii", exclude_characters="\\\"'"), max_size=10).map(json.dumps),
    lambda inner: st.lists(inner, max_size=3).map(lambda v: f"[{', '.join(v)}]") | inner.map(lambda v: f"{{a = {v}}}"),
    max_leaves=4,
)


@pytest.mark.slow
@corpus(200)
@given(key=st.sampled_from([line.split(b" =")[0].decode() for line in TOML.splitlines() if b"=" in line]), value=VALUES)
def test_manifests_with_values_of_any_type(tmp_path: Path, key: str, value: str) -> None:
    lines = [f"{key} = {value}" if line.startswith(f"{key} =") else line for line in TOML.decode().splitlines()]
    read_all(tmp_path, "\n".join(lines).encode(), ROWS)


@corpus(200)
@given(
    uri=st.text(st.sampled_from("ab./:[]%@#?\x00é\u2100 "), max_size=12)
    | st.builds("{}://{}/x".format, st.sampled_from(["package", "s3", "http"]), st.text(st.sampled_from("ab_.[]:@9"), max_size=8))
    | st.sampled_from(["package://__main__/x", "package://sys/x", "package://os/path", "a/" * 3_000 + "b", "x" * 5_000])
)
def test_manifests_with_any_uri(tmp_path: Path, uri: str) -> None:
    read_all(tmp_path, TOML, f"uri,sha256\n{uri},{SHA}\n".encode())


def test_a_manifest_nested_without_end(tmp_path: Path) -> None:
    for toml in (b"x = " + b"[" * 50_000, b"x = " + b"{a=" * 50_000, b"a." * 50_000 + b"b = 1"):
        with pytest.raises(ManifestError):
            read_manifest_of(tmp_path, toml)


def read_manifest_of(folder: Path, toml: bytes) -> None:
    (folder / "x.toml").write_bytes(toml)
    read_manifest(folder / "x.toml")


def test_lists_in_lists(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="list of names"):
        read_manifest_of(tmp_path, TOML.replace(b'"train"', b'["train"]'))


def test_places_that_are_no_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "made_in_memory", types.ModuleType("made_in_memory"))
    for name in ("made_in_memory", "sys", "not_installed"):
        with pytest.raises(ManifestError, match=name):
            locate(tmp_path, f"package://{name}/x.png")


def test_texts_nested_without_end_are_no_mark(tmp_path: Path) -> None:
    for name in ("a.png", "a.jpg"):
        write_still(tmp_path / name, PICTURE, metadata={"faceswap_lab": "[" * 20_000})
        assert read_mark(tmp_path / name) is None
    Pillow.fromarray(PICTURE).save(tmp_path / "b.jpg", comment=b"[" * 20_000)
    assert read_mark(tmp_path / "b.jpg") is None
    (tmp_path / "a.html").write_text(f'<meta name="faceswap_lab" content="{"[" * 100_000}">')
    assert read_mark(tmp_path / "a.html") is None


def test_names_that_no_system_takes(tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "link.png")
    for name in ("x" * 5_000 + ".png", "a\0b.png", "", ".", "link.png"):
        with pytest.raises(LabError):
            admit(tmp_path / name, root=tmp_path)
    folder = tmp_path / "folder.png"
    folder.mkdir()
    with pytest.raises(MediaError):
        admit(folder, root=tmp_path)


# --- pictures and clips -----------------------------------------------------------------------------------------------------

PICTURE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("stills")
    write_still(folder / "a.png", PICTURE, metadata={"faceswap_lab": "{}"})
    write_still(folder / "a.jpg", PICTURE, metadata={"faceswap_lab": "{}"})
    Pillow.fromarray(PICTURE).save(folder / "a.webp", lossless=True)
    Pillow.fromarray(PICTURE).save(folder / "a.bmp")
    Pillow.fromarray(PICTURE).quantize(16).save(folder / "palette.png")
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(PICTURE).save(folder / "turned.jpg", exif=exif, progressive=True)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "palette.png", "turned.jpg"])
@corpus(120)
@given(edits=mutations())
def test_mutated_stills(tmp_path: Path, stills: dict[str, bytes], name: str, edits: list[tuple[str, float, float, bytes]]) -> None:
    path = tmp_path / name
    path.write_bytes(mutated(stills[name], edits))
    read_mark(path)
    try:
        image = read_still(path)
    except MediaError:
        return
    assert image.dtype == np.uint8
    assert image.ndim == 3
    if name == "a.png":
        np.testing.assert_array_equal(image, PICTURE, "a PNG has checksums: what reads is what was written")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp"])
def test_stills_cut_anywhere(tmp_path: Path, stills: dict[str, bytes], name: str) -> None:
    path = tmp_path / name
    whole = stills[name]
    path.write_bytes(whole)
    expected = read_still(path)
    for length in [*range(64), *range(64, len(whole), 37), *range(len(whole) - 24, len(whole))]:
        path.write_bytes(whole[:length])
        try:
            image = read_still(path)
        except MediaError:
            continue
        np.testing.assert_array_equal(image, expected, f"{length} of {len(whole)} bytes")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("clips")
    write_video(folder / "a.mp4", num_frames=8, sound_s=0.2)
    write_video(folder / "a.mkv", num_frames=4, codec="ffv1", pix_fmt="bgr0", options={"slicecrc": "1", "level": "3", "g": "1"})
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def read_clip(path: Path) -> int | None:
    """How many frames came out, each of one size; None if the clip was refused."""
    read_mark(path)
    try:
        clip = open_clip(path)
        frames = list(clip.frames())
        assert len(frames) == len(clip)
        assert {frame.size for frame in frames} == {clip.size}
        assert clip[len(clip) - 1].index == len(clip) - 1
    except MediaError:
        return None
    times = [frame.time_s for frame in frames]
    assert times == sorted(set(times))
    return len(frames)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
@corpus(120)
@given(edits=mutations())
def test_mutated_clips(tmp_path: Path, clips: dict[str, bytes], name: str, edits: list[tuple[str, float, float, bytes]]) -> None:
    path = tmp_path / name
    path.write_bytes(mutated(clips[name], edits))
    read_clip(path)


@pytest.mark.parametrize(("name", "count"), [("a.mp4", 8), ("a.mkv", 4)])
@corpus(60)
@given(share=st.floats(0, 1, exclude_max=True))
def test_clips_cut_anywhere(tmp_path: Path, clips: dict[str, bytes], name: str, count: int, share: float) -> None:
    path = tmp_path / name
    path.write_bytes(clips[name][: int(share * len(clips[name]))])
    assert read_clip(path) in (None, count), "a clip that breaks off is not taken for whole"


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_titles_of_another_encoding_do_not_shut_a_clip(tmp_path: Path, clips: dict[str, bytes], name: str) -> None:
    assert b"Lavf" in clips[name], "the encoder's name stands for any title"
    (tmp_path / name).write_bytes(clips[name].replace(b"Lavf", b"L\xe4vf"))
    assert read_clip(tmp_path / name) == {"a.mp4": 8, "a.mkv": 4}[name]


def test_a_clip_that_claims_huge_frames(tmp_path: Path, clips: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "MAX_PIXELS", 64 * 48 - 1)
    (tmp_path / "a.mp4").write_bytes(clips["a.mp4"])
    with pytest.raises(MediaError, match="claims more"):
        len(open_clip(tmp_path / "a.mp4"))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".mp4", ".mkv", ".mov", ".gif", ""])
def test_wrong_suffixes_and_nothing(tmp_path: Path, stills: dict[str, bytes], clips: dict[str, bytes], suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    for data in [b"", b"\0" * 5_000, *stills.values(), *clips.values()]:
        path.write_bytes(data)
        read_clip(path)
    path.write_bytes(b"")
    with pytest.raises(MediaError):
        len(open_clip(path))


# --- runs -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab with one finished swap run, whose frames nobody needs."""
    root = tmp_path_factory.mktemp("lab")
    people = {"source": '{"actor": 7}', "target": '{"actor": 21}', "swapper": "warp", "corrections": ""}
    run = Run.start(root, "swap", '{"num_source_frames": 5}', people)
    with run:
        run.emit("frame", index=0)
        with run.write(result.RESULT) as path:
            video.encode(path, open_clip(still_in(root)).frames(), fps=25, lossless=True)
        run.finish(num_frames=1)
    return root


def still_in(root: Path) -> Path:
    path = root / "still.png"
    write_still(path, PICTURE)
    return path


def read_run(root: Path) -> None:
    """Everything that a reader asks a run."""
    for question in (
        lambda: Run.find(root),
        lambda: Run.heads(root),
        lambda: [run.events() for run in Run.find(root)],
        lambda: [run.events("frame", unique="index") for run in Run.find(root)],
        lambda: audit.verify(root, heads=Run.heads(root)),
        lambda: [run.artifact(name) for run in Run.find(root) for name in run.artifacts()],
        lambda: [run._repr_html_() for run in Run.find(root)],
        lambda: [run.people() for run in result.SwapRun.find(root)],
        lambda: [run.scores for run in ScoreRun.find(root)],
    ):
        try:
            question()
        except RunError:
            continue


@pytest.mark.slow
@corpus(150)
@given(edits=mutations(), name=st.sampled_from(["run.json", "events/000001.jsonl", "events/000002.jsonl"]))
def test_mutated_runs(tmp_path: Path, lab: Path, edits: list[tuple[str, float, float, bytes]], name: str) -> None:
    root = tmp_path / "copy"
    if root.exists():
        shutil.rmtree(root)
    shutil.copytree(lab, root)
    (run,) = Run.find(root)
    path = run.path / name
    path.write_bytes(mutated(path.read_bytes(), edits))
    read_run(root)


def test_events_keep_any_text_and_miss_none(tmp_path: Path) -> None:
    run = Run.start(tmp_path, "train", "{}", {})
    texts = ["a\u2028b", "c\x85d", "e\rf\ng", "\x0c\x1c"]
    with run:
        for text in texts:
            run.emit("said", text=text)
            run.flush()
    assert [event["text"] for event in run.events("said")] == texts
    (run.path / "events" / "000003.jsonl").unlink()
    with pytest.raises(RunError, match="event 2"):
        run.events()


def test_scores_that_are_none_are_not_shown(tmp_path: Path) -> None:
    run = Run.start(tmp_path, "evaluate", "{}", {})
    with run:
        run.finish(scores={"psnr": 3, "ssim": {"value": 0.5}})
    assert "ssim" in run._repr_html_()


@pytest.mark.slow
@corpus(150)
@given(
    key=st.sampled_from(["format", "id", "verb", "recipe", "inputs", "status", "summary", "audit_count", "created"]),
    value=st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False)
        | st.text(max_size=5)
        | st.just('{"take": {"fps": 0}}'),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["source", "target", "swapper", "scores", "x"]), inner, max_size=3)
        ),
        max_leaves=6,
    ),
)
def test_runs_with_values_of_any_type(tmp_path: Path, lab: Path, key: str, value: object) -> None:
    root = tmp_path / "copy"
    if root.exists():
        shutil.rmtree(root)
    shutil.copytree(lab, root)
    (run,) = Run.find(root)
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps(record | {key: value}))
    read_run(root)
