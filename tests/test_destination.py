"""What would stop the export is found before the swap: the command does no work that it could not let out."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from faceswap_lab import __main__ as command_line
from tests.media import write_video


class WorkedError(Exception):
    """The swap was begun."""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A lab with a clip with PCM sound, in which a swap that begins is seen."""

    def begin(*_: object, **__: object) -> None:
        raise WorkedError

    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    monkeypatch.setattr("faceswap_lab.verbs.swap.swap.swap", begin)
    write_video(tmp_path / "her clip.mkv", num_frames=5, sound_s=0.2, sound_codec="pcm_s16le")
    return tmp_path


def words(lab: Path, *more: str, who: str = "synthetic:two") -> list[str]:
    basis = "synthetic: made here" if who.startswith("synthetic") else "consent: by letter"
    return ["swap", "--source", "actor:7", "--target", str(lab / "her clip.mkv"), "--who", who, "--basis", basis, *more]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-o", "x.mov"], "call it x.mp4"),
        (["-o", "q.webp"], "call it q.mp4"),
        (["-o", "x.png"], "5 frames"),
        ([], "her clip.mkv with pcm_s16le"),
        (["--sound", "copy"], "--sound encode"),
        (["-o", "x.mp4", "--sound", "copy", "--preview", "2"], "--sound encode"),
    ],
)
def test_what_cannot_leave_is_refused_before_the_work(
    lab: Path, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.main(words(lab, *more)) not in (0, None)
    assert said in capsys.readouterr().err
    assert not list(lab.glob("runs/swap-*"))


@pytest.mark.parametrize("more", [["--sound", "encode"], ["--sound", "none", "-o", "x.mp4"], ["-o", "x.png", "--preview", "1"]])
def test_what_can_leave_is_begun(lab: Path, more: list[str]) -> None:
    with pytest.raises(WorkedError):
        command_line.main(words(lab, *more))


def test_an_anonymised_clip_needs_no_sound_that_fits(lab: Path) -> None:
    """By default it has none."""
    with pytest.raises(WorkedError):
        command_line.main(words(lab, who="Jane Doe"))
