"""Excerpts: frames are bit-identical to those of the full clip, and the audio is the matching range."""

import pickle
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.errors import ConsentError, RunError
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.video import encode
from faceswap_lab.verbs import people
from faceswap_lab.verbs.people import record_of, reopened, subject_of
from tests.media import number_of, open_clip, sound_packets, write_video
from tests.test_video import first_picture_s

PACKET_S = 1024 / 44_100
VARIABLE = [0, 40, 47, 120, 121, 300, 301, 302, 700, 741, 780, 900, 1000, 1100, 1101, 1500, 1510, 1700, 1900, 1950]
KINDS = {
    "b-frames.mp4": {"num_frames": 60, "sound_s": 2.4},
    "long-gop.mkv": {"num_frames": 60, "sound_s": 2.4, "options": {"g": "250", "x264-params": "scenecut=0:keyint=250:bframes=3"}},
    "open-gop.mp4": {"num_frames": 60, "sound_s": 2.4, "options": {"x264-params": "open-gop=1:keyint=15:min-keyint=15:bframes=3"}},
    "ntsc.mp4": {"num_frames": 60, "sound_s": 2.5, "rate": Fraction(24000, 1001)},
    "variable.mp4": {"num_frames": 20, "sound_s": 2.0, "pts": VARIABLE},
    "variable.mkv": {"num_frames": 20, "sound_s": 2.0, "pts": VARIABLE},
    "stream.ts": {"num_frames": 60, "sound_s": 2.4},
}


@pytest.fixture(params=sorted(KINDS), scope="module")
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Clip:
    path = tmp_path_factory.mktemp("excerpt") / request.param
    write_video(path, **KINDS[request.param])
    return open_clip(path)


@pytest.mark.slow
@pytest.mark.parametrize(("start", "stop"), [(0, 3), (7, 12), (13, 20), (5, 6)])
def test_frames_are_those_of_the_full_clip(clip: Clip, start: int, stop: int) -> None:
    full = list(clip.frames())[start:stop]
    part = clip.cut(start, stop)
    assert isinstance(part, Footage)
    assert len(part) == stop - start
    for number, (expected, frame) in enumerate(zip(full, part.frames(), strict=True)):
        np.testing.assert_array_equal(frame.image, expected.image)
        np.testing.assert_array_equal(part[number].image, expected.image)
        assert number_of(frame.image) == start + number
        assert (frame.index, frame.origin) == (number, f"{clip.origin}#{start}-{stop}")
        assert frame.time_s == pytest.approx(expected.time_s - full[0].time_s, abs=1e-9)
    assert part.start_s == full[0].time_s
    np.testing.assert_array_equal(part[-1].image, full[-1].image)


def test_seconds_are_those_of_the_file(clip: Clip) -> None:
    times = clip.times_s
    part = clip.cut_seconds(times[4], times[11])
    assert (part.start, part.stop) == (4, 11)
    between = clip.cut_seconds(times[4] + 0.0005, times[11] - 0.0005)
    assert (between.start, between.stop) == (5, 11)
    assert clip.cut_seconds(times[6]).stop == len(clip)


@pytest.mark.parametrize(("start", "stop"), [(4, 15), (12, 20)])
def test_audio_is_the_range_of_the_frames(clip: Clip, start: int, stop: int, tmp_path: Path) -> None:
    part = clip.cut(start, stop)
    out = encode(tmp_path / "part.mp4", part.frames(), fps=part.fps, audio_from=part.path, audio_at_s=part.start_s)
    before, after = sound_packets(clip.path), sound_packets(out)
    if clip.path.suffix == ".ts":
        before = [(when, content[7:]) for when, content in before]
    time_of = {content: when for when, content in before}
    origin = first_picture_s(clip.path) + part.start_s - clip.start_s
    times = part.times_s
    length = times[-1] - times[0] + 1 / part.fps
    for when, content in after:
        assert float(when) == pytest.approx(float(time_of[content]) - origin, abs=0.0015), "copied, shifted with the frames"
    assert float(after[0][0]) < PACKET_S
    assert float(after[-1][0]) == pytest.approx(min(length, float(before[-1][0]) - origin), abs=2 * PACKET_S)
    np.testing.assert_allclose(open_clip(out).times_s, np.array(times) - times[0], atol=0.001)


def test_an_excerpt_of_an_excerpt_counts_from_its_own_start(clip: Clip) -> None:
    part = clip.cut(3, 15).cut(2, 7)
    assert (part.start, part.stop) == (5, 10)
    assert number_of(part[0].image) == 5
    with pytest.raises(ValueError, match="0 to 5"):
        part.cut(0, 6)


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (5, 5), (6, 5), (0, 999), (999, None)])
def test_ranges_without_frames_are_refused(clip: Clip, start: int, stop: int | None) -> None:
    with pytest.raises(ValueError, match=r"at least one of its frames 0 to \d+"):
        clip.cut(start, stop)
    for wrong in (-0.1, float("nan")):
        with pytest.raises(ValueError, match="seconds count"):
            clip.cut_seconds(wrong)


def test_it_pickles_as_its_grant_and_two_numbers(clip: Clip) -> None:
    part = clip.cut(4, 9)
    text = pickle.dumps(part)
    assert len(text) < 2000
    copy = pickle.loads(text)
    assert isinstance(copy, Excerpt)
    assert copy.grant == clip.grant
    assert (copy.origin, len(copy)) == (part.origin, 5)
    np.testing.assert_array_equal(copy[2].image, part[2].image)
    assert "4 to 9" in repr(copy)
    assert "frames 4 to 9" in copy._repr_html_()


def test_an_altered_file_is_refused_through_an_excerpt_too(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=10)
    part = open_clip(path).cut(2, 5)
    write_video(path, num_frames=12)
    with pytest.raises(ConsentError):
        part[0]


def test_single_frame_excerpts(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mp4", num_frames=10)
    one = open_clip(tmp_path / "a.mp4").cut(4, 5)
    assert (len(one), one.fps) == (1, 25.0)
    with pytest.raises(IndexError):
        one[1]
    with pytest.raises(ValueError, match="from 0"):
        one.frames(-1)


def test_gate_and_record_support_excerpts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "lab"))
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=10)
    clip = people.admit(path, who="synthetic:nobody", basis="synthetic: numbers filmed here", uses=["anonymise"])
    part = clip.cut(4, 9)
    assert subject_of(part) == subject_of(clip)
    assert subject_of(part).grant == clip.grant
    again = reopened(record_of(part))
    assert isinstance(again, Excerpt)
    assert again.origin == part.origin
    assert record_of(clip) != record_of(part) != record_of(clip.cut(4, 8))
    records = [record_of(clip), record_of(part)]
    other = tmp_path / "b.mp4"
    write_video(other, num_frames=12)
    people.admit(other, who="synthetic:other", basis="synthetic: numbers filmed here", uses=["anonymise"])
    other.replace(path)
    for record in records:
        with pytest.raises(RunError, match="another file"):
            reopened(record)
