import pickle
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from faceswap_lab.errors import ConsentError, MediaError
from faceswap_lab.faces import decode, footage
from faceswap_lab.faces.footage import Clip, Footage, digest
from tests.media import granted, number_of, numbered, open_clip, write_video

OPEN_GOP = {"x264-params": "open-gop=1:keyint=15:min-keyint=15:scenecut=0:bframes=3:b-adapt=0"}
KINDS = {
    "long.mp4": {},
    "open.mp4": {"options": OPEN_GOP},
    "long.mkv": {},
    "ntsc.mkv": {"rate": Fraction(24000, 1001)},
    "stream.ts": {},
    "old.avi": {"codec": "mpeg4", "options": {"g": "12"}},
    "intra.mov": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "ffv1.mkv": {"codec": "ffv1", "pix_fmt": "bgr0"},
    "sound.mp4": {"sound_s": 2.4},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("clips")


@pytest.fixture(params=sorted(KINDS))
def path(request, folder):
    path = folder / request.param
    if not path.exists():
        write_video(path, **KINDS[request.param])
    return path


def test_frames_come_in_order_with_their_index_and_time(path):
    clip = open_clip(path)
    rate = KINDS[path.name].get("rate", 25)
    frames = list(clip.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(60))
    assert [frame.index for frame in frames] == list(range(60)) == list(range(len(clip)))
    np.testing.assert_allclose([frame.time_s for frame in frames], [n / float(rate) for n in range(60)], atol=1e-9)
    assert clip.fps == pytest.approx(float(rate), rel=1e-9)
    assert clip.size == (48, 64)
    assert {frame.origin for frame in frames} == {clip.origin} == {f"sha256:{digest(path)}"}
    assert isinstance(clip, Footage)
    assert clip.has_audio == (path.name == "sound.mp4")


@pytest.mark.slow
def test_random_access_equals_sequential_decoding(path):
    sequential = [frame.image for frame in open_clip(path).frames()]
    clip = open_clip(path)
    order = np.random.default_rng(0).permutation(60).tolist()
    for number in [*order, 59, 58, 0, 14, 15, 16, 39, 40, 41]:
        np.testing.assert_array_equal(clip[number].image, sequential[number])
        assert clip[number].index == number
    np.testing.assert_array_equal(clip[-1].image, sequential[-1])


@pytest.mark.parametrize(("start", "stop"), [(0, 3), (38, 43), (17, None), (59, 90), (30, 30), (60, None)])
def test_ranges_are_slices_of_the_clip(path, start, stop):
    frames = list(open_clip(path).frames(start, stop))
    assert [frame.index for frame in frames] == list(range(60))[start:stop]
    assert [number_of(frame.image) for frame in frames] == list(range(60))[start:stop]


def test_concurrent_iterations_and_single_reads_are_independent(folder):
    write_video(folder / "busy.mp4")
    clip = open_clip(folder / "busy.mp4")
    for first, second in zip(clip.frames(), clip.frames(20), strict=False):
        assert (number_of(first.image), number_of(second.image)) == (first.index, first.index + 20)
        assert number_of(clip[50].image) == 50


def test_random_access_starts_at_the_preceding_keyframe(folder, monkeypatch):
    write_video(folder / "keys.mp4")
    clip = open_clip(folder / "keys.mp4")
    len(clip)
    decoded = []
    original = decode.Reader._advance

    def counting(self, number):
        self._decoded = (decoded.append(frame.pts) or frame for frame in self._decoded)
        return original(self, number)

    monkeypatch.setattr(decode.Reader, "_advance", counting)
    assert number_of(clip[45].image) == 45
    assert len(decoded) == 6
    assert number_of(clip[47].image) == 47
    assert len(decoded) <= 6 + 2 * 2


def test_indices_behave_like_a_sequence(folder):
    write_video(folder / "short.mp4", num_frames=3)
    clip = open_clip(folder / "short.mp4")
    for index in (3, -4):
        with pytest.raises(IndexError):
            clip[index]
    with pytest.raises(ValueError, match="from 0"):
        clip.frames(-1)


def test_variable_rates_keep_their_times(tmp_path):
    pts = [0, 40, 47, 120, 121, 300, 301, 302, 1000, 1041]
    for name in ("a.mp4", "a.mkv"):
        write_video(tmp_path / name, num_frames=10, pts=pts)
        clip = open_clip(tmp_path / name)
        np.testing.assert_allclose([frame.time_s for frame in clip.frames()], np.array(pts) / 1000, atol=1e-9)
        assert clip.fps == pytest.approx(9 / 1.041)
        assert clip[4].time_s == pytest.approx(0.121)


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_rotated_clips_come_upright(tmp_path, rotation):
    write_video(tmp_path / "a.mp4", num_frames=2)
    write_video(tmp_path / "b.mp4", num_frames=2, rotation=rotation)
    plain, turned = open_clip(tmp_path / "a.mp4"), open_clip(tmp_path / "b.mp4")
    np.testing.assert_array_equal(turned[1].image, np.rot90(plain[1].image, rotation // 90))
    assert turned.size == turned[0].size


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ""])
def test_a_still_has_one_frame(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Pillow.fromarray(numbered(5)).save(path, (suffix or ".png")[1:].replace("jpg", "jpeg"))
    clip = open_clip(path)
    assert (len(clip), clip.fps, clip.size, clip.has_audio) == (1, 0.0, (48, 64), False)
    assert number_of(clip[0].image) == number_of(clip[-1].image) == 5
    assert [frame.time_s for frame in clip.frames()] == [0.0]
    assert list(clip.frames(1)) == []
    with pytest.raises(IndexError):
        clip[1]


def test_digest_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(MediaError, match="No such file"):
        digest(tmp_path / "absent")


@pytest.mark.parametrize("name", ["a.mp4", "a.png"])
def test_an_altered_file_is_refused_before_anything_in_it_is_read(tmp_path, name, monkeypatch):
    path = tmp_path / name
    if name == "a.mp4":
        write_video(path, num_frames=3)
    else:
        Pillow.fromarray(numbered(1)).save(path)
    grant = granted(path)
    path.write_bytes(path.read_bytes() + b"\0")

    def forbidden(*arguments, **options):
        raise AssertionError("an unverified file was opened")

    monkeypatch.setattr(av, "open", forbidden)
    monkeypatch.setattr(Pillow, "open", forbidden)
    for read in (len, lambda clip: clip[0], lambda clip: clip.fps, lambda clip: clip.size, lambda clip: list(clip.frames())):
        with pytest.raises(ConsentError, match="admitted"):
            read(Clip(grant))


def test_a_file_altered_after_opening_is_detected(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, num_frames=3)
    clip = open_clip(path)
    assert number_of(clip[2].image) == 2
    write_video(path, num_frames=5)
    with pytest.raises(ConsentError):
        clip[1]
    with pytest.raises(ConsentError):
        list(clip.frames())
    path.unlink()
    with pytest.raises(MediaError, match=r"a\.mp4"):
        clip[1]


def test_an_unchanged_file_is_hashed_once(tmp_path, monkeypatch):
    write_video(tmp_path / "a.mp4", num_frames=3)
    clip = open_clip(tmp_path / "a.mp4")
    hashed = []
    monkeypatch.setattr(footage, "digest", lambda path: hashed.append(path) or digest(path))
    for _ in range(3):
        list(clip.frames())
        clip[1]
    assert len(hashed) == 1


def test_a_clip_pickles_as_its_grant(tmp_path):
    write_video(tmp_path / "a.mp4", num_frames=3)
    clip = open_clip(tmp_path / "a.mp4")
    clip[1]
    arrived = pickle.loads(pickle.dumps(clip))
    assert arrived.grant == clip.grant
    np.testing.assert_array_equal(arrived[2].image, clip[2].image)
    clip.close()
    assert number_of(clip[0].image) == 0


def refused(path, *words):
    with pytest.raises(MediaError) as caught:
        list(open_clip(path).frames())
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "fast.mp4"])
@pytest.mark.parametrize("fraction", [0.02, 0.3, 0.6, 0.9])
def test_truncated_clips_are_refused_by_name(tmp_path, name, fraction):
    path = tmp_path / name
    write_video(path, num_frames=100)
    if name == "fast.mp4":
        faststart(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * fraction)])
    refused(path, name)


def faststart(path):
    """Moves the index (moov) to the front, so that a truncated file can still be opened."""
    with av.open(str(path)) as source, av.open(str(path.with_name("moved.mp4")), "w", options={"movflags": "faststart"}) as output:
        stream = output.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                output.mux(packet)
    path.with_name("moved.mp4").replace(path)


def test_files_without_video_are_refused(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"")
    refused(tmp_path / "a.mp4", "a.mp4")
    (tmp_path / "b.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    refused(tmp_path / "b.mp4", "b.mp4")
    with av.open(str(tmp_path / "c.mp4"), "w") as output:
        stream = output.add_stream("aac", rate=44_100)
        sound = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        sound.sample_rate = 44_100
        output.mux(stream.encode(sound))
        output.mux(stream.encode())
    refused(tmp_path / "c.mp4", "without a video stream")


def test_a_playlist_cannot_lead_to_other_files(tmp_path):
    write_video(tmp_path / "secret.ts", num_frames=5)
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.2,\nsecret.ts\n#EXT-X-ENDLIST\n")
    refused(tmp_path / "list.mp4", "list.mp4")
    (tmp_path / "concat.mp4").write_text("ffconcat version 1.0\nfile secret.ts\n")
    refused(tmp_path / "concat.mp4", "concat.mp4")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pix_fmt": "yuv420p10le"}, ("8 bits", "yuv420p10le", "ffmpeg")),
        ({"tags": {"color_trc": 16, "color_primaries": 9, "colorspace": 9}}, ("dynamic range", "tonemap")),
        ({"sample_aspect": Fraction(4, 3)}, ("square pixels", "setsar=1")),
        ({"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}}, ("interlaced", "bwdif")),
    ],
)
def test_what_8_bit_rgb_cannot_represent_is_refused_with_a_command(tmp_path, options, words):
    write_video(tmp_path / "a.mp4", num_frames=3, **options)
    refused(tmp_path / "a.mp4", *words)


def test_colours_follow_the_tags(tmp_path):
    """Equal bytes give different colours under different matrices; the oracle is the definition of Y'CbCr."""
    weights = {1: (0.2126, 0.0722), 6: (0.299, 0.114)}
    names = {1: "bt709", 6: "smpte170m"}
    for matrix, (red, blue) in weights.items():
        path = tmp_path / f"{matrix}.mkv"
        y, cb, cr = 120, 100, 160
        with av.open(str(path), "w") as output:
            stream = output.add_stream("ffv1", rate=25)
            stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
            stream.codec_context.colorspace, stream.codec_context.color_range = matrix, 1
            planes = np.concatenate([np.full(32 * 32, y), np.full(16 * 16, cb), np.full(16 * 16, cr)]).astype(np.uint8)
            picture = av.VideoFrame.from_ndarray(planes.reshape(48, 32), format="yuv420p")
            picture.colorspace, picture.color_range = matrix, 1
            output.mux(stream.encode(picture))
            output.mux(stream.encode())
        frame = open_clip(path)[0]
        luma, pb, pr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
        r, b = luma + 2 * (1 - red) * pr, luma + 2 * (1 - blue) * pb
        g = (luma - red * r - blue * b) / (1 - red - blue)
        assert np.abs(frame.image.reshape(-1, 3) - np.array([r, g, b]) * 255).max() <= 1
        assert (frame.colour.matrix, frame.colour.range) == (names[matrix], "tv")


def test_the_html_representation_does_not_open_the_file(tmp_path):
    write_video(tmp_path / "a&b.mp4", num_frames=3)
    clip = open_clip(tmp_path / "a&b.mp4")
    assert "not opened yet" in clip._repr_html_()
    assert clip._index is None
    len(clip)
    assert "3 frames" in clip._repr_html_()
    assert "a&amp;b.mp4" in clip._repr_html_()
    assert "actor:7" in repr(clip)


def test_a_codec_that_nobody_knows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "odd.mp4"
    write_video(path, num_frames=4)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"avc1")] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(MediaError, match=r"odd\.mp4 of a codec that is unknown"):
        len(open_clip(path))
