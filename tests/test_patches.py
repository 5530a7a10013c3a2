"""Patches: what a paste changed, kept without the rest of the picture; laid on the target they are the pasted picture."""

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.errors import ConsentError, MediaError
from faceswap_lab.faces import video
from faceswap_lab.faces.decode import Reader
from faceswap_lab.faces.footage import Clip, Excerpt, Under
from faceswap_lab.faces.frame import Frame, Image, write_still
from faceswap_lab.faces.patches.packing import packed, unpacked
from faceswap_lab.faces.patches.patch import Patch, Region, Touched, lay, patches_of
from faceswap_lab.faces.patches.store import PatchFile, checksum, join_patches, write_patches
from faceswap_lab.files import canonical
from faceswap_lab.trust.admit import admit
from faceswap_lab.trust.grants import issue
from faceswap_lab.trust.marks.claims import read_claim
from faceswap_lab.trust.marks.metadata import SOURCE_TYPES, read_mark
from tests.media import granted, numbered, open_clip, write_video

SIDE = st.integers(1, 40)


def noise(seed: int, height: int, width: int) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@st.composite
def pastes(draw: st.DrawFn) -> tuple[Image, list[tuple[slice, slice, int]]]:
    """A picture, and rectangles of it that are written one after the other, by their seeds."""
    height, width = draw(SIDE), draw(SIDE)
    rectangles = []
    for seed in range(draw(st.integers(0, 5))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
        rectangles.append((slice(top, bottom), slice(left, right), seed))
    return noise(99, height, width), rectangles


def pasted(before: Image, rectangles: Sequence[tuple[slice, slice, int]]) -> tuple[Image, tuple[Region, ...]]:
    """A third of each rectangle's pixels become others, some of them what they were before all."""
    after, touched = before.copy(), Touched()
    for rows, columns, seed in rectangles:
        touched.add(after, rows, columns)
        part = after[rows, columns]
        chosen = np.random.default_rng(seed).integers(0, 3, part.shape[:2])
        part[chosen == 0] = noise(seed, 1, 1)[0, 0]
        part[chosen == 1] = before[rows, columns][chosen == 1]
    return after, touched.regions()


@given(pastes())
def test_patches_on_the_picture_before_are_the_picture_after(given: tuple[Image, list[tuple[slice, slice, int]]]) -> None:
    before, rectangles = given
    after, regions = pasted(before, rectangles)
    for number, one in enumerate(regions):
        np.testing.assert_array_equal(one.before, one.within(before), "as it was before the first paste")
        for other in regions[number + 1 :]:
            assert one.bottom <= other.top or other.bottom <= one.top or one.right <= other.left or other.right <= one.left
    patches = list(patches_of(after, regions))
    composed, where = before.copy(), np.zeros(before.shape[:2], bool)
    for patch in unpacked(b"".join(map(packed, patches))):
        lay(composed, patch)
        height, width = patch.changed.shape
        where[patch.top : patch.top + height, patch.left : patch.left + width] |= patch.changed > 0
        assert not patch.pixels[patch.changed == 0].any(), "no pixel of the target is kept"
        assert all(patch.changed[edge].any() for edge in (0, -1, (slice(None), 0), (slice(None), -1))), "no larger than it must be"
    np.testing.assert_array_equal(composed, after)
    np.testing.assert_array_equal(where, (before != after).any(axis=2))


def test_a_patch_that_lies_outside_is_refused() -> None:
    patch = Patch(top=3, left=0, changed=np.full((2, 2), 255, np.uint8), pixels=noise(0, 2, 2))
    for top, left in ((3, 0), (0, 3), (-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="not within"):
            lay(noise(1, 4, 4), replace(patch, top=top, left=left))


@settings(max_examples=200)
@given(data=st.data())
def test_damaged_patches_are_an_error_and_nothing_else(data: st.DataObject) -> None:
    whole = packed(Patch(top=1, left=2, changed=np.full((9, 7), 255, np.uint8), pixels=noise(0, 9, 7)))
    place = data.draw(st.integers(0, len(whole) - 1))
    cut = data.draw(st.booleans())
    broken = whole[:place] if cut else whole[:place] + bytes([whole[place] ^ data.draw(st.integers(1, 255))]) + whole[place + 1 :]
    try:
        found = unpacked(broken)
    except MediaError:
        return
    # Other numbers or levels may be read: that is what a run's digest of the file is for.
    assert not cut or not place, "nothing is no patch"
    assert all(each.pixels.shape[:2] == each.changed.shape for each in found)


# --- the file -----------------------------------------------------------------------------------------------------------------


DETAILS = {"digital_source_type": f"{SOURCE_TYPES}compositeSynthetic", "tool": "faceswap_lab"}
MARK = {"description": "Synthetic: a test", "faceswap_lab": canonical(DETAILS)}


def made_of(frames: Iterator[Frame] | Sequence[Frame]) -> Iterator[tuple[Frame, tuple[Region, ...]]]:
    """Frames with a rectangle of noise on two of three, as a stream gives them."""
    for frame in frames:
        rectangles = [(slice(4, 30), slice(10, 33), frame.index), (slice(20, 40), slice(30, 60), 7)] if frame.index % 3 else []
        after, regions = pasted(frame.image, rectangles)
        yield replace(frame, image=after), regions


def kept(path: Path, clip: Clip | Excerpt, start: int = 0, stop: int | None = None) -> Path:
    return write_patches(path, made_of(clip.frames(start, stop)), fps=clip.fps or 1.0, size=clip.size, metadata=MARK)


def composed(path: Path, clip: Clip | Excerpt) -> Clip:
    under = Under(grant=clip.grant) if isinstance(clip, Clip) else Under(grant=clip.grant, start=clip.start, stop=clip.stop)
    return Clip(granted(path, under=under))


@pytest.fixture
def film(tmp_path: Path) -> Clip:
    write_video(tmp_path / "film.mp4", num_frames=12)
    return open_clip(tmp_path / "film.mp4")


def another_film(path: Path) -> Path:
    frames = [Frame(image=numbered(50 + n), origin="x", index=n, time_s=n / 25) for n in range(12)]
    return video.encode(path, frames, fps=25)


def test_parts_are_joined_to_the_byte(film: Clip, tmp_path: Path) -> None:
    whole = kept(tmp_path / "whole.patches", film)
    cuts = [(0, 5), (5, 6), (6, 12)]
    parts = [kept(tmp_path / f"{a}.patches", film, a, b) for a, b in cuts]
    joined = join_patches(tmp_path / "joined.patches", parts, metadata=MARK)
    assert joined.read_bytes() == whole.read_bytes()
    longer = join_patches(tmp_path / "marked.patches", parts, metadata=MARK | {"more": "x" * 200})
    shorter = join_patches(tmp_path / "bare.patches", parts)
    for path in (longer, shorter):
        for one, other in zip(composed(path, film).frames(), composed(whole, film).frames(), strict=True):
            np.testing.assert_array_equal(one.image, other.image)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_file_says_what_it_is(film: Clip, tmp_path: Path) -> None:
    path = kept(tmp_path / "swap.patches", film)
    assert video.read_metadata(path) == MARK
    mark = read_mark(path)
    assert mark is not None
    assert mark[0]["tool"] == "faceswap_lab"
    claim = read_claim(path)
    assert claim is not None
    assert claim.is_ours
    with pytest.raises(ConsentError, match="whose metadata says that it is a composite"):
        admit(path, root=tmp_path, who="Ann Onymous", basis="consent: a form", uses=["anonymise"])


def test_no_pixel_of_the_target_is_in_the_file(film: Clip, tmp_path: Path) -> None:
    """Of frames without a face nothing is, of others what was pasted: another film gives the same bytes but for checksums."""
    other = open_clip(another_film(tmp_path / "other.mp4"))

    def opaque(frames: Iterator[Frame]) -> Iterator[tuple[Frame, tuple[Region, ...]]]:
        for frame in frames:
            after, touched = frame.image.copy(), Touched()
            touched.add(after, slice(2, 9), slice(3, 12))
            after[2:9, 3:12] = noise(frame.index, 7, 9) | 1
            after[2:9, 3:12][(after[2:9, 3:12] == frame.image[2:9, 3:12]).all(axis=2)] ^= 2
            yield replace(frame, image=after), touched.regions()

    files = [write_patches(tmp_path / f"{n}.patches", opaque(c.frames()), fps=25, size=c.size) for n, c in enumerate((film, other))]
    one, two = (PatchFile(path) for path in files)
    assert one.path.read_bytes()[one.begin : one.end] == two.path.read_bytes()[two.begin : two.end]
    assert list(one.table["check"]) != list(two.table["check"])


@pytest.mark.parametrize("cut", [1, 12, 60, -1, -30])
def test_a_truncated_file_is_refused(cut: int, film: Clip, tmp_path: Path) -> None:
    path = kept(tmp_path / "swap.patches", film)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(MediaError, match="intact"):
        PatchFile(path)


def test_frames_that_fit_no_file_are_refused(tmp_path: Path) -> None:
    frame = Frame(image=noise(0, 4, 4), origin="x")
    with pytest.raises(MediaError, match="at least one frame"):
        write_patches(tmp_path / "a.patches", [], fps=25, size=(4, 4))
    for second in (frame, replace(frame, image=noise(0, 4, 5), time_s=1.0)):
        with pytest.raises(ValueError, match="frame 0 is"):
            write_patches(tmp_path / "a.patches", [(frame, ()), (second, ())], fps=25, size=(4, 4))
    with pytest.raises(MediaError, match="one part"):
        join_patches(tmp_path / "a.patches", [])
    assert not list(tmp_path.iterdir())


# --- composed footage ---------------------------------------------------------------------------------------------------------


def test_composed_frames_are_what_was_made_to_the_bit(film: Clip, tmp_path: Path) -> None:
    for target in (film, film.cut(3, 11)):
        shown = composed(kept(tmp_path / "swap.patches", target), target)
        made = [frame for frame, _ in made_of(target.frames())]
        assert (len(shown), shown.size, shown.has_audio, shown.subject) == (len(target), target.size, False, "actor:7")
        assert shown.fps == pytest.approx(target.fps)
        for one, other in zip(shown.frames(), made, strict=True):
            np.testing.assert_array_equal(one.image, other.image)
            assert one.time_s == pytest.approx(other.time_s - made[0].time_s)
            assert (one.index, one.origin, one.colour) == (other.index, shown.origin, other.colour)
        for number in (5, 0, -1):
            np.testing.assert_array_equal(shown[number].image, made[number].image, "found by seeking too")
        np.testing.assert_array_equal([frame.image for frame in shown.cut(2, 5).frames()], [frame.image for frame in made[2:5]])
        again = pickle.loads(pickle.dumps(shown))
        np.testing.assert_array_equal(again[4].image, made[4].image)
        shown.close()


def test_a_still_is_composed_and_stays_what_it_was(tmp_path: Path) -> None:
    write_still(tmp_path / "a.png", noise(3, 48, 64))
    still = open_clip(tmp_path / "a.png")
    (made,) = (pasted(still[0].image, [(slice(4, 30), slice(10, 33), 1)]),)
    write_patches(tmp_path / "a.patches", [(replace(still[0], image=made[0]), made[1])], fps=1.0, size=(48, 64))
    shown = composed(tmp_path / "a.patches", still)
    assert (shown.fps, len(shown)) == (1.0, 1)
    for image in (shown[0].image, shown[0].image, next(shown.frames()).image):
        np.testing.assert_array_equal(image, made[0])
    np.testing.assert_array_equal(open_clip(tmp_path / "a.png")[0].image, noise(3, 48, 64))


def test_a_swap_of_a_swap_is_composed_of_all(film: Clip, tmp_path: Path) -> None:
    once = composed(kept(tmp_path / "once.patches", film), film)
    part = once.cut(2, 9)
    twice = composed(kept(tmp_path / "twice.patches", part), part)
    for one, (other, _) in zip(twice.frames(), made_of(part.frames()), strict=True):
        np.testing.assert_array_equal(one.image, other.image)


def shifted(read: Callable[[Reader, int], Frame]) -> Callable[[Reader, int], Frame]:
    """A decoder of another version: one level more in one pixel of sixty-four."""

    def other(self: Reader, number: int) -> Frame:
        frame = read(self, number)
        frame.image[::8, ::8] += 1
        return frame

    return other


def test_a_target_that_decodes_to_other_pixels_is_an_error(film: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = kept(tmp_path / "swap.patches", film)
    monkeypatch.setattr(Reader, "read", shifted(Reader.read))
    shown = composed(path, film)
    for read in (lambda: shown[1], lambda: shown[0], lambda: list(shown.frames())):
        with pytest.raises(MediaError, match=r"as it was decoded when .* was made; got other pixels"):
            read()


def test_every_block_of_a_codec_is_in_the_checksum() -> None:
    image = noise(0, 64, 80)
    for top in range(0, 64, 8):
        for left in range(0, 80, 8):
            other = image.copy()
            other[top : top + 8, left : left + 8] ^= 1
            assert checksum(other) != checksum(image)


def test_a_target_that_is_gone_altered_or_too_short_is_an_error(film: Clip, tmp_path: Path) -> None:
    path = kept(tmp_path / "swap.patches", film)
    with pytest.raises(MediaError, match=r"the 12 frames of .*'s target; got 8 in film"):
        len(composed(path, film.cut(0, 8)))
    film.path.rename(tmp_path / "away.mp4")
    with pytest.raises(MediaError, match="put it back"):
        len(composed(path, film))
    another_film(film.path)
    with pytest.raises(ConsentError, match="the file that was admitted"):
        next(composed(path, film).frames())


def test_patches_open_only_on_what_the_lab_said_that_they_are_of(film: Clip, tmp_path: Path) -> None:
    path = kept(tmp_path / "swap.patches", film)
    with pytest.raises(MediaError, match="without its target"):
        len(open_clip(path))
    write_still(tmp_path / "other.png", numbered(3))
    for under in (None, Under(grant=film.grant, start=1), Under(grant=granted(tmp_path / "other.png"))):
        with pytest.raises(ConsentError, match="without that lab's seal"):
            len(Clip(replace(composed(path, film).grant, under=under)))
    forged = replace(film.grant, subject="actor:9")
    with pytest.raises(ConsentError, match="without that lab's seal"):
        len(Clip(issue(tmp_path, replace(granted(path), under=Under(grant=forged)))))
