import weakref
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.errors import MediaError, StorageError
from faceswap_lab.faces.frame import ColourTags, Frame, write_still
from faceswap_lab.faces.sound.tracks import check_sound
from faceswap_lab.faces.video import encode, read_metadata
from tests.media import number_of, numbered, open_clip, sound_packets, tags_of, write_tracks, write_video


def footage(count=10, *, fps=25.0, height=48, width=64, start_s=0.0):
    return [
        Frame(image=numbered(n, height, width), origin="actor:7/speech", index=n, time_s=start_s + n / fps) for n in range(count)
    ]


def noise(count, height, width):
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]


@pytest.mark.parametrize("size", [(48, 64), (33, 47), (1, 1)])
@pytest.mark.parametrize("fps", [25, Fraction(24000, 1001), 30000 / 1001, 12.5, 240])
def test_lossless_preserves_every_pixel_and_time(tmp_path, size, fps):
    images = noise(7, *size)
    frames = [Frame(image=image, origin="x", index=n, time_s=n / float(fps)) for n, image in enumerate(images)]
    assert encode(tmp_path / "a.mkv", frames, fps=fps, lossless=True) == tmp_path / "a.mkv"
    clip = open_clip(tmp_path / "a.mkv")
    for frame, image in zip(clip.frames(), images, strict=True):
        np.testing.assert_array_equal(frame.image, image)
    np.testing.assert_allclose([f.time_s for f in clip.frames()], [f.time_s for f in frames], atol=1e-9)
    assert clip.fps == pytest.approx(float(fps), rel=1e-9)


@pytest.mark.parametrize("fps", [25, 24, 23.976023976023978, Fraction(24000, 1001), 29.97002997002997, 60, 12.5])
def test_lossy_keeps_order_times_and_rate(tmp_path, fps):
    encode(tmp_path / "a.mp4", footage(40, fps=float(fps)), fps=fps)
    clip = open_clip(tmp_path / "a.mp4")
    frames = list(clip.frames())
    assert [number_of(frame.image) for frame in frames] == list(range(40))
    np.testing.assert_allclose([frame.time_s for frame in frames], np.arange(40) / float(fps), atol=1e-9)
    assert clip.fps == pytest.approx(float(fps), rel=1e-9)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert float(container.streams.video[0].duration * container.streams.video[0].time_base) == pytest.approx(
            40 / float(fps), abs=1e-4
        )


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 700), min_size=1, max_size=12), st.sampled_from([25, 30000 / 1001, 7.3]))
def test_variable_frame_rates_are_preserved_to_the_millisecond(tmp_path_factory, gaps, fps):
    times = np.cumsum([0, *gaps]) / 1000
    path = tmp_path_factory.mktemp("vfr") / "a.mp4"
    encode(path, [Frame(image=numbered(n), origin="x", index=n, time_s=float(t)) for n, t in enumerate(times)], fps=fps)
    clip = open_clip(path)
    np.testing.assert_allclose([frame.time_s for frame in clip.frames()], times, atol=1e-9)
    assert [number_of(frame.image) for frame in clip.frames()] == list(range(len(times)))


def test_times_count_from_the_first_frame(tmp_path):
    encode(tmp_path / "a.mp4", footage(5, start_s=12.4), fps=25)
    np.testing.assert_allclose([frame.time_s for frame in open_clip(tmp_path / "a.mp4").frames()], np.arange(5) / 25, atol=1e-9)


@pytest.mark.parametrize(
    "colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (200, 120, 90), (90, 60, 45), (255, 255, 255), (0, 0, 0)]
)
def test_lossy_colours_are_bt709_as_tagged(tmp_path, colour):
    image = np.full((64, 64, 3), colour, np.uint8)
    encode(tmp_path / "a.mp4", [Frame(image=image, origin="x", index=n, time_s=n / 25) for n in range(3)], fps=25)
    with av.open(str(tmp_path / "a.mp4")) as container:
        decoded = next(container.decode(video=0))
        planes = decoded.to_ndarray()
    y, cb, cr = planes[:64].mean(), planes[64:80].mean(), planes[80:].mean()
    r, g, b = np.array(colour) / 255
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    assert (y, cb, cr) == pytest.approx(
        (16 + 219 * luma, 128 + 224 * (b - luma) / 1.8556, 128 + 224 * (r - luma) / 1.5748), abs=1.01
    )
    frame = open_clip(tmp_path / "a.mp4")[1]
    assert np.abs(frame.image.astype(int) - colour).max() <= 2
    tags = frame.colour
    assert (tags.primaries, tags.transfer, tags.matrix, tags.range) == ("bt709", "bt709", "bt709", "tv")


def test_lossy_is_close(tmp_path):
    frames = footage(10, height=96, width=128)
    encode(tmp_path / "a.mp4", frames, fps=25)
    for before, after in zip(frames, open_clip(tmp_path / "a.mp4").frames(), strict=True):
        error = before.image.astype(float) - after.image
        assert 10 * np.log10(255**2 / (error**2).mean()) > 35


def test_odd_sizes_are_padded_by_one_repeated_pixel(tmp_path):
    encode(tmp_path / "a.mp4", footage(3, height=49, width=67), fps=25)
    clip = open_clip(tmp_path / "a.mp4")
    assert clip.size == (50, 68)
    picture = clip[2].image.astype(int)
    assert np.abs(picture[-1] - picture[-2]).mean() < 4
    assert np.abs(picture[:49, :67] - numbered(2, 49, 67)).mean() < 4


def test_playback_can_start_before_the_file_is_complete(tmp_path):
    encode(tmp_path / "a.mp4", footage(), fps=25)
    content = (tmp_path / "a.mp4").read_bytes()
    assert 0 < content.find(b"moov") < content.find(b"mdat")


@pytest.mark.parametrize("fps", [5, 25])
def test_there_is_a_keyframe_every_second(tmp_path, fps):
    encode(tmp_path / "a.mp4", footage(60, fps=fps), fps=fps)
    with av.open(str(tmp_path / "a.mp4")) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.size and p.is_keyframe]
    assert np.diff(keys).max() <= 1 + 1e-6


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_metadata_round_trips_and_is_readable_by_other_programs(tmp_path, name):
    metadata = {"made": "synthetic", "Subject": "actor:7 – ä", "run.id": "swap-3f9a"}
    encode(tmp_path / name, footage(), fps=25, metadata=metadata, lossless=name.endswith("mkv"))
    assert read_metadata(tmp_path / name) == metadata
    with av.open(str(tmp_path / name)) as container:
        seen = {key.lower(): value for key, value in container.metadata.items()}
    assert seen["made"] == "synthetic"
    assert "swap-3f9a" in seen["comment"]
    encode(tmp_path / name, footage(), fps=25, lossless=name.endswith("mkv"))
    assert read_metadata(tmp_path / name) == {}


def test_metadata_of_stills_is_read_by_the_same_function(tmp_path):
    write_still(tmp_path / "a.png", numbered(1), metadata={"made": "synthetic"})
    assert read_metadata(tmp_path / "a.png") == {"made": "synthetic"}


@pytest.mark.parametrize("kind", ["a.mp4", "a.mkv", "a.ts"])
def test_sound_is_copied_packet_by_packet(tmp_path, kind):
    source = tmp_path / kind
    write_video(source, num_frames=50, sound_s=2.0)
    clip = open_clip(source)
    encode(tmp_path / "out.mp4", clip.frames(), fps=clip.fps, audio_from=source)
    before, after = sound_packets(source), sound_packets(tmp_path / "out.mp4")
    if kind == "a.ts":
        # A transport stream repeats a 7-byte ADTS header before each packet, which .mp4 stores once.
        before = [(when, content[7:]) for when, content in before]
    copied = [content for _, content in after]
    start = 0 if copied[0] == before[0][1] else 1
    assert copied == [content for _, content in before][start : start + len(copied)]
    assert len(before) - len(after) <= 2
    times = np.array([float(when) for when, _ in after])
    expected = np.array([float(when) for when, _ in before[start : start + len(copied)]]) - first_picture_s(source)
    np.testing.assert_allclose(times - first_picture_s(tmp_path / "out.mp4"), expected, atol=0.001)
    result = open_clip(tmp_path / "out.mp4")
    assert result.has_audio
    np.testing.assert_allclose([frame.time_s for frame in result.frames()], np.arange(50) / 25, atol=1e-9)


def first_picture_s(path):
    with av.open(str(path)) as container:
        return min(float(packet.pts * packet.time_base) for packet in container.demux(video=0) if packet.size)


def waveform(path, start_s, seconds):
    """Mono samples from `start_s` of the presentation onwards, as a player outputs them."""
    with av.open(str(path)) as container:
        blocks = [(f.time, f.to_ndarray()[0]) for f in container.decode(audio=0)]
    out = np.zeros(round(seconds * 44_100), np.float32)
    for when, block in blocks:
        at = round((when - start_s) * 44_100)
        low, high = max(at, 0), min(at + len(block), len(out))
        if low < high:
            out[low:high] = block[low - at : high - at]
    return out


def test_audio_of_a_range_stays_in_sync(tmp_path):
    write_video(tmp_path / "a.mp4", num_frames=75, sound_s=3.0)
    clip = open_clip(tmp_path / "a.mp4")
    encode(tmp_path / "part.mp4", clip.frames(25, 50), fps=25, audio_from=clip.path)
    whole, part = waveform(tmp_path / "a.mp4", 1.0, 0.9), waveform(tmp_path / "part.mp4", 0.0, 0.9)
    # The tone's amplitude rises, so that a shift by a period is detected too.
    later = slice(2048, None)
    assert np.abs(whole[later]).max() > 0.1
    assert np.abs(whole[later] - part[later]).max() < 0.01
    content = [c for _, c in sound_packets(tmp_path / "part.mp4")]
    assert set(content) <= {c for _, c in sound_packets(tmp_path / "a.mp4")}
    np.testing.assert_allclose([frame.time_s for frame in open_clip(tmp_path / "part.mp4").frames()], np.arange(25) / 25, atol=1e-9)
    assert sum(t >= 1.1 for t, _ in sound_packets(tmp_path / "part.mp4")) == 0


def test_audio_is_copied_to_lossless_files_as_well(tmp_path):
    write_video(tmp_path / "a.mkv", num_frames=25, sound_s=1.0, sound_codec="pcm_s16le")
    frames = list(open_clip(tmp_path / "a.mkv").frames())
    encode(tmp_path / "b.mkv", frames, fps=25, audio_from=tmp_path / "a.mkv", lossless=True)
    assert [c for _, c in sound_packets(tmp_path / "b.mkv")] == [c for _, c in sound_packets(tmp_path / "a.mkv")]
    np.testing.assert_allclose([f.time_s for f in open_clip(tmp_path / "b.mkv").frames()], np.arange(25) / 25, atol=1e-9)


@pytest.mark.parametrize("kind", ["a.mkv", "a.mp4"])
def test_every_sound_track_is_copied_in_order_with_its_language(tmp_path, kind):
    write_video(tmp_path / "one.mp4", num_frames=50, sound_s=2.0)
    write_video(tmp_path / "two.mp4", num_frames=5, sound_s=2.0, sound_codec="ac3")
    write_video(tmp_path / "three.mp4", num_frames=5, sound_s=0.7, sound_codec="aac")
    tracks = [("three.mp4", "fra", "Commentaire"), ("one.mp4", "deu", "Ton"), ("two.mp4", "jpn", "Oto")]
    source = tmp_path / kind
    given = [(tmp_path / name, {"language": language, "title": title}) for name, language, title in tracks]
    write_tracks(source, tmp_path / "one.mp4", given)
    clip = open_clip(source)
    encode(tmp_path / "out.mp4", clip.frames(), fps=25, audio_from=source, audio_at_s=clip.start_s)
    titled = [(codec, *tags) for codec, (_, *tags) in zip(["aac", "aac", "ac3"], tracks, strict=True)]
    assert tags_of(source) == titled
    expected = [(codec, language, None) for codec, language, _ in titled]
    assert tags_of(tmp_path / "out.mp4") == expected, "a title may name who is not to be named"
    for track in range(3):
        before, after = sound_packets(source, track), sound_packets(tmp_path / "out.mp4", track)
        assert len(before) - len(after) <= 2
        assert [content for _, content in after] == [content for _, content in before][-len(after) :][: len(after)]
    part = clip.cut(25, 50)
    encode(tmp_path / "part.mp4", part.frames(), fps=25, audio_from=source, audio_at_s=part.start_s)
    assert tags_of(tmp_path / "part.mp4") == expected[1:], "the first track ends before the range"
    assert len(sound_packets(tmp_path / "part.mp4", 0)) < len(sound_packets(source, 1)) / 1.7
    quiet = clip.cut(49)
    encode(tmp_path / "quiet.mp4", quiet.frames(), fps=25, audio_from=source, audio_at_s=60.0)
    assert tags_of(tmp_path / "quiet.mp4") == []


def test_a_track_that_mp4_cannot_hold_is_refused_by_number(tmp_path):
    write_video(tmp_path / "one.mkv", num_frames=5, sound_s=0.2)
    write_video(tmp_path / "two.mkv", num_frames=5, sound_s=0.2, sound_codec="pcm_s16le")
    write_tracks(tmp_path / "a.mkv", tmp_path / "one.mkv", [(tmp_path / "one.mkv", {}), (tmp_path / "two.mkv", {})])
    with pytest.raises(MediaError, match=r"pcm_s16le in sound track 2 of 2.*-map 0:a"):
        encode(tmp_path / "b.mp4", footage(), fps=25, audio_from=tmp_path / "a.mkv")
    assert not (tmp_path / "b.mp4").exists()


@pytest.mark.parametrize("sound", ["copy", "encode"])
@pytest.mark.parametrize("lossless", [False, True])
def test_no_text_of_the_sound_travels(tmp_path, sound, lossless):
    """Title, comment, a language that is none: .mkv takes any text. The tags of the container stay behind as well."""
    write_video(tmp_path / "one.mkv", num_frames=25, sound_s=1.0)
    named = {"title": "Jane Doe lavalier", "comment": "Jane Doe at home", "language": "Jane Doe", "artist": "Jane Doe"}
    write_tracks(tmp_path / "named.mkv", tmp_path / "one.mkv", [(tmp_path / "one.mkv", named)])
    assert b"Jane Doe lavalier" in (tmp_path / "named.mkv").read_bytes()
    out = tmp_path / ("out.mkv" if lossless else "out.mp4")
    encode(out, list(footage()), fps=25, audio_from=tmp_path / "named.mkv", sound=sound, lossless=lossless)
    assert sound_packets(out)
    assert b"Jane" not in out.read_bytes()


def samples_of(path, track=0):
    """(samples of the first channel, their rate), as a player plays them: from the time 0 on."""
    with av.open(str(path)) as container:
        frames = list(container.decode(container.streams.audio[track]))
    rate = frames[0].sample_rate
    played = np.zeros(round(max(frame.pts * frame.time_base for frame in frames) * rate) + 8192, np.float32)
    for frame in frames:
        start = round(frame.pts * frame.time_base * rate)
        block = frame.to_ndarray()[0].astype(np.float32)
        played[max(start, 0) : start + len(block)] = block[max(-start, 0) :]
    return played, rate


@pytest.mark.parametrize(("start", "at_s"), [(0, 0.0), (25, 1.0)])
def test_encoded_sound_stays_with_its_pictures(tmp_path, start, at_s):
    """A click at 1.5 s of a PCM track, which .mp4 cannot hold, is heard at that time of the pictures, also from a cut on."""
    source = tmp_path / "click.mkv"
    write_video(tmp_path / "pictures.mp4", num_frames=75)
    with av.open(str(tmp_path / "click.wav"), "w") as output:
        stream = output.add_stream("pcm_s16le", rate=44_100, layout="mono")
        click = np.zeros((1, 3 * 44_100), np.int16)
        click[0, 66_150 : 66_150 + 441] = 20_000
        sound = av.AudioFrame.from_ndarray(click, format="s16", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = 44_100, 0, Fraction(1, 44_100)
        output.mux(stream.encode(sound))
        output.mux(stream.encode())
    write_tracks(source, tmp_path / "pictures.mp4", [(tmp_path / "click.wav", {"language": "deu"})])
    part = open_clip(source).cut(start, 60)
    encode(tmp_path / "out.mp4", part.frames(), fps=25, audio_from=source, audio_at_s=part.start_s, sound="encode")
    assert tags_of(tmp_path / "out.mp4") == [("aac", "deu", None)]
    played, rate = samples_of(tmp_path / "out.mp4")
    heard = np.flatnonzero(np.abs(played) > 0.2)
    assert heard[0] / rate == pytest.approx(1.5 - at_s, abs=0.003)
    assert heard[-1] / rate == pytest.approx(1.51 - at_s, abs=0.003)
    end_s = float(max(when for when, _ in sound_packets(tmp_path / "out.mp4")))
    assert end_s == pytest.approx(60 / 25 - at_s, abs=0.05), "it ends with the pictures"


def test_sound_can_be_left_out(tmp_path):
    write_video(tmp_path / "a.mkv", num_frames=5, sound_s=0.2, sound_codec="pcm_s16le")
    encode(tmp_path / "out.mp4", footage(), fps=25, audio_from=tmp_path / "a.mkv", sound="none")
    assert tags_of(tmp_path / "out.mp4") == []


@pytest.mark.parametrize(("codec", "refused"), [("aac", False), ("ac3", False), ("flac", False), ("pcm_s16le", True)])
def test_what_a_container_holds_is_known_before(tmp_path, codec, refused):
    write_video(tmp_path / "a b.mkv", num_frames=5, sound_s=0.3, sound_codec=codec)
    if refused:
        with pytest.raises(MediaError, match=r'a b\.mkv with .*sound="encode"'):
            check_sound(tmp_path / "a b.mkv", "copy")
        check_sound(tmp_path / "a b.mkv", "copy", lossless=True)
    else:
        check_sound(tmp_path / "a b.mkv", "copy")
    check_sound(tmp_path / "a b.mkv", "encode")


def test_the_container_itself_is_asked(tmp_path, monkeypatch):
    """A codec that is listed may still not fit: the muxer refuses it before the first picture."""
    monkeypatch.setattr("faceswap_lab.faces.sound.tracks._IN_MP4", frozenset({"pcm_u8"}))
    write_video(tmp_path / "a.avi", num_frames=5, sound_s=0.3, sound_codec="pcm_u8")
    with pytest.raises(MediaError, match=r"a\.avi with pcm_u8 \(.*does not support"):
        check_sound(tmp_path / "a.avi", "copy")


TAGS = [
    ColourTags(primaries="bt709", transfer="bt709", matrix="bt709", range="tv"),
    ColourTags(primaries="smpte170m", transfer="smpte170m", matrix="smpte170m", range="tv"),
    ColourTags(primaries="bt470bg", transfer="smpte170m", matrix="bt470bg", range="pc"),
    ColourTags(primaries="bt709", transfer="bt709", matrix="bt709", range="pc"),
    ColourTags(primaries="bt2020", transfer="bt2020-10", matrix="bt2020nc", range="tv"),
]
WEIGHTS = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt470bg": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}


@pytest.mark.parametrize("tags", TAGS, ids=lambda tags: f"{tags.matrix}-{tags.range}")
def test_lossy_colours_are_coded_as_the_tags_say(tmp_path, tags):
    """The planes follow the definition of Y'CbCr, and the file is tagged accordingly."""
    colour = (200, 120, 90)
    image = np.full((64, 64, 3), colour, np.uint8)
    encode(tmp_path / "a.mp4", [Frame(image=image, origin="x", index=n, time_s=n / 25) for n in range(3)], fps=25, colour=tags)
    with av.open(str(tmp_path / "a.mp4")) as container:
        planes = next(container.decode(video=0)).to_ndarray()
    red, blue = WEIGHTS[tags.matrix]
    r, g, b = np.array(colour) / 255
    luma = red * r + (1 - red - blue) * g + blue * b
    pb, pr = (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red)
    black, steps, chroma = (0, 255, 255) if tags.range == "pc" else (16, 219, 224)
    expected = (black + steps * luma, 128 + chroma * pb, 128 + chroma * pr)
    assert (planes[:64].mean(), planes[64:80].mean(), planes[80:].mean()) == pytest.approx(expected, abs=1.01)
    frame = open_clip(tmp_path / "a.mp4")[1]
    assert frame.colour == tags
    assert np.abs(frame.image.astype(int) - colour).max() <= 2


def test_untagged_colours_default_to_bt709_limited_range(tmp_path):
    for number, tags in enumerate([None, ColourTags(), ColourTags(matrix="gbr", transfer="iec61966-2-1", primaries="bt709")]):
        encode(tmp_path / f"{number}.mp4", footage(3), fps=25, colour=tags)
        found = open_clip(tmp_path / f"{number}.mp4")[0].colour
        assert (found.matrix, found.range, found.primaries) == ("bt709", "tv", "bt709")


def file_names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_sound_that_mp4_cannot_hold_is_refused_with_a_command(tmp_path):
    write_video(tmp_path / "a.mkv", num_frames=5, sound_s=0.2, sound_codec="pcm_s16le")
    with pytest.raises(MediaError, match=r"pcm_s16le.*ffmpeg -i \S*a\.mkv"):
        encode(tmp_path / "b.mp4", footage(), fps=25, audio_from=tmp_path / "a.mkv")
    write_video(tmp_path / "silent.mp4", num_frames=5)
    with pytest.raises(MediaError, match="sound track"):
        encode(tmp_path / "b.mp4", footage(), fps=25, audio_from=tmp_path / "silent.mp4")
    assert file_names(tmp_path) == ["a.mkv", "silent.mp4"]


def broken():
    yield from footage(3)
    raise RuntimeError("the swapper failed")


@pytest.mark.parametrize(
    ("frames", "error"),
    [
        (broken, RuntimeError),
        (list, MediaError),
        (lambda: [*footage(3), *footage(1, height=50)], ValueError),
        (lambda: [*footage(3), *footage(3)], ValueError),
    ],
)
@pytest.mark.parametrize("lossless", [False, True])
def test_a_failed_encode_leaves_the_old_file_and_nothing_else(tmp_path, frames, error, lossless):
    path = tmp_path / ("a.mkv" if lossless else "a.mp4")
    path.write_bytes(b"the old one")
    with pytest.raises(error):
        encode(path, frames(), fps=25, lossless=lossless)
    assert path.read_bytes() == b"the old one"
    assert file_names(tmp_path) == [path.name]


def test_wrong_arguments_are_refused(tmp_path):
    for fps in (0, -1, float("nan")):
        with pytest.raises(ValueError, match="above 0"):
            encode(tmp_path / "a.mp4", footage(), fps=fps)
    for name, lossless in (("a.mkv", False), ("a.mp4", True), ("a", False)):
        with pytest.raises(MediaError, match="name ending in"):
            encode(tmp_path / name, footage(), fps=25, lossless=lossless)
    with pytest.raises(ValueError, match="metadata key"):
        encode(tmp_path / "a.mp4", footage(), fps=25, metadata={"a=b": "c"})
    with pytest.raises(StorageError, match=r"absent.*No such file"):
        encode(tmp_path / "absent" / "a.mp4", footage(), fps=25)
    assert file_names(tmp_path) == []


def test_few_frames_are_in_memory_at_a_time(tmp_path):
    alive, most = set(), 0

    def counted():
        nonlocal most
        for number in range(60):
            image = numbered(number)
            alive.add(number)
            weakref.finalize(image, alive.discard, number)
            most = max(most, len(alive))
            yield Frame(image=image, origin="x", index=number, time_s=number / 25)

    encode(tmp_path / "a.mp4", counted(), fps=25)
    assert most <= 5
