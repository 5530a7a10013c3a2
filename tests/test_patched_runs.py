"""The run of a clip keeps what was changed of its frames, and is resumed, measured, exported and withdrawn like any other."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, MediaError, RunError
from faceswap_lab.faces import video
from faceswap_lab.faces.decode import Reader
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.frame import Frame, Image, write_still
from faceswap_lab.faces.patches.store import PatchFile
from faceswap_lab.maintenance import erase
from faceswap_lab.models.stream.swap_frames import StreamConfig
from faceswap_lab.runs import archive
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.people import admit
from faceswap_lab.verbs.recipes import EvaluateRecipe, SwapRecipe
from faceswap_lab.verbs.swap import one as one_swap
from faceswap_lab.verbs.swap import parts
from faceswap_lab.verbs.swap import swap as swapping
from faceswap_lab.verbs.swap.parts import Form
from faceswap_lab.verbs.swap.result import PATCHES, RESULT, SwapRun

pytestmark = [pytest.mark.slow, pytest.mark.weights]

HERO = Actor(7)
RECIPE = SwapRecipe(stream=StreamConfig(batch=2), num_source_frames=1)


@pytest.fixture(scope="module")
def acted() -> list[Frame]:
    """Two people beside each other, in a meadow."""
    one, two = (list(Actor(seed).perform("speech", seconds=0.28, size=160, seed=2).frames()) for seed in (21, 32))
    frames = []
    for index, (left, right) in enumerate(zip(one, two, strict=True)):
        image = np.full((200, 400, 3), (90, 120, 60), np.uint8)
        image[20:180, 10:170], image[20:180, 220:380] = left.image, right.image
        frames.append(Frame(image=image, origin="x", index=index, time_s=index / 25))
    return frames


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    monkeypatch.setattr(one_swap, "PART_FRAMES", 4)
    return tmp_path


@pytest.fixture
def clip(root: Path, acted: list[Frame]) -> Clip:
    video.encode(root / "jo.mp4", acted, fps=25)
    return admit(root / "jo.mp4", who="Jo Doe", basis="consent: rendered here", uses=["anonymise", "evaluate"])


def swap(target: Footage, recipe: SwapRecipe = RECIPE, **options: Any) -> SwapRun:
    return swapping.swap(target, source=HERO, recipe=recipe, device="cpu", **options)


def whole(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Runs keep whole frames, as they did."""
    form = Form.of.__func__  # type: ignore[attr-defined]

    def of(cls: type[Form], target: Footage, mark: Any) -> Form:
        given = form(cls, target, mark)
        return Form(result=RESULT, fps=given.fps, size=given.size, mark=given.mark)

    monkeypatch.setattr(Form, "of", classmethod(of))
    return monkeypatch


def images(footage: Footage) -> list[Image]:
    return [frame.image for frame in footage.frames()]


CASES: dict[str, SwapRecipe] = {
    "one": RECIPE,
    "all": RECIPE.with_(stream__select="all"),
    "tracked, matched": RECIPE.with_(stream__every=2, stream__colour="mean"),
}


@pytest.mark.parametrize("name", CASES)
def test_composed_frames_are_the_whole_frames(name: str, clip: Clip, monkeypatch: pytest.MonkeyPatch) -> None:
    for target in (clip, clip.cut(1, 6)):
        run = swap(target, CASES[name])
        assert list(run.artifacts()) == [PATCHES]
        with monkeypatch.context() as patch:
            same = swap_whole(target, CASES[name], patch)
        for one, other in zip(images(run.footage()), images(same.footage()), strict=True):
            np.testing.assert_array_equal(one, other)
        assert [f.time_s for f in run.footage().frames()] == pytest.approx([f.time_s for f in same.footage().frames()])
        assert run.footage().fps == pytest.approx(same.footage().fps)
        assert any((a != b).any() for a, b in zip(images(run.footage()), images(target), strict=True)), "something was swapped"
        told = ("num_faces", "num_faces_left", "num_frames", "num_frames_without_face")
        assert [run.summary[key] for key in told] == [same.summary[key] for key in told]


def swap_whole(target: Footage, recipe: SwapRecipe, patch: pytest.MonkeyPatch) -> SwapRun:
    whole(patch)
    run = swap(target, recipe, force=True)
    assert list(run.artifacts()) == [RESULT], "as an older version made it: it still opens"
    return run


def test_a_stopped_swap_goes_on_to_the_same_bytes(clip: Clip, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unbroken = swap(clip)
    frames = Clip.frames

    def stopping(self: Clip, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        for frame in frames(self, start, stop):
            if frame.index == 5 and stop == len(self):
                raise KeyboardInterrupt
            yield frame

    with monkeypatch.context() as patch:
        patch.setattr(Clip, "frames", stopping)
        with pytest.raises(KeyboardInterrupt):
            swap(clip, force=True)
    (broken,) = Run.find(root, verb="swap", finished=False)
    assert [(part.name, part.stop) for part in parts.kept(broken)] == [("parts/0000000.patches", 4)]
    with monkeypatch.context() as patch:
        patch.setattr(Run, "start", classmethod(lambda *_, **__: Run.open(broken.id)))
        resumed = swap(clip)
    one, other = (PatchFile(run.artifact(PATCHES)) for run in (unbroken, resumed))
    assert one.path.read_bytes()[one.begin : one.end] == other.path.read_bytes()[other.begin : other.end]
    assert one.table["check"].tolist() == other.table["check"].tolist()


def test_it_is_measured_exported_and_swapped_again(clip: Clip, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = SwapRun.open(swap(clip).id)
    scores = evaluate(run, recipe=EvaluateRecipe(gallery_size=2))
    assert scores.summary["num_frames"] == len(clip)
    assert scores.record.data["result"] == run.record.artifacts[PATCHES]
    accept = {"accept_frames": run.summary["num_frames_without_face"], "accept_faces": run.summary["num_faces_left"]}
    accept |= {"accept_recognisable": True}  # actors look alike to rules for photographs
    out = run.export(root / "out.mp4", **accept)
    assert read_mark(out)
    with monkeypatch.context() as patch:
        same = swap_whole(clip, RECIPE, patch)
    same.export(root / "same.mp4", **accept)
    pairs = zip(decoded(root / "out.mp4"), decoded(root / "same.mp4"), strict=True)
    assert all(np.array_equal(one, other) for one, other in pairs), "the same film, whatever the run kept"
    twice = swap(run.footage().cut(1, 5))
    _, target = SwapRun.open(twice.id).people()
    assert isinstance(target, Excerpt)
    assert target.origin.startswith(f"sha256:{run.record.artifacts[PATCHES]}")
    assert twice.footage().grant.parents == ("actor:7", "actor:7", clip.origin)
    assert len(images(twice.footage())) == 4
    made = archive.export(twice, root / "twice.zip")
    assert PATCHES in made.left_out


def decoded(path: Path) -> Iterator[Image]:
    import av

    with av.open(str(path)) as container:
        yield from (frame.to_ndarray(format="rgb24") for frame in container.decode(video=0))


def test_a_still_is_kept_as_its_patch(root: Path, acted: list[Frame]) -> None:
    write_still(root / "jo.png", acted[0].image)
    still = admit(root / "jo.png", who="Jo Doe", basis="consent: rendered here", uses=["anonymise"])
    run = swap(still, RECIPE.with_(stream__select="all"))
    assert list(run.artifacts()) == [PATCHES]
    after = run.footage()[0].image
    changed = (after != acted[0].image).any(axis=2)
    assert 0.01 < changed.mean() < 0.5
    run.export(root / "out.png", accept_recognisable=True)
    assert (root / "out.png").exists()


def test_the_files_are_marked_and_no_originals(clip: Clip, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_swap, "remove_parts", lambda run: None)
    run = swap(clip)
    files = [path for path in run.artifacts().values() if path.suffix == ".patches"]
    assert len(files) == 3
    for path in files:
        mark = read_mark(path)
        assert mark is not None
        assert mark[0]["run"] == run.id
        assert "Jo Doe" not in str(mark)
        with pytest.raises(ConsentError, match=f"an artifact of the run {run.id}"):
            admit(path, who="Jo Doe", basis="consent: rendered here", uses=["anonymise"])
        copy = root / f"copy-{path.name}"
        copy.write_bytes(path.read_bytes() + b" ")
        with pytest.raises(ConsentError, match="whose metadata says that it is"):
            admit(copy, who="Jo Doe", basis="consent: rendered here", uses=["anonymise"])
    assert audit.verify(root, heads=Run.heads(root)).whole


def test_a_target_that_moved_is_found_and_one_that_is_gone_is_told(clip: Clip, root: Path) -> None:
    run = swap(clip)
    before = images(run.footage())
    (root / "elsewhere").mkdir()
    moved = clip.path.rename(root / "elsewhere" / "jo.mp4")
    for one, other in zip(images(run.footage()), before, strict=True):
        np.testing.assert_array_equal(one, other)
    moved.unlink()
    for read in (run.footage, lambda: run.export(root / "out.mp4")):
        with pytest.raises(RunError, match=r"the file sha256:.* that the run was given"):
            read()


def test_another_decoder_is_noticed_in_the_run(clip: Clip, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, read = swap(clip), Reader.read

    def other(self: Reader, number: int) -> Frame:
        frame = read(self, number)
        np.minimum(frame.image, 250, out=frame.image)
        frame.image[0, 0] ^= 1
        return frame

    monkeypatch.setattr(Reader, "read", other)
    with pytest.raises(MediaError, match="as it was decoded"):
        run.export(root / "out.mp4", accept_faces=run.summary["num_faces_left"])
    assert not (root / "out.mp4").exists()


def test_who_withdraws_takes_the_patches_along(clip: Clip, root: Path) -> None:
    run = swap(clip)
    assert run.id in {each.id for each in erase.plan(root, "Jo Doe").runs}
    erase.purge(root, "Jo Doe")
    assert not list(root.rglob("*.patches"))


def test_a_take_keeps_whole_frames(root: Path) -> None:
    """To compose it would be to render it again; and it shows nobody."""
    run = swap(Actor(21).perform("speech", seconds=0.08, size=128, seed=3))
    assert list(run.artifacts()) == [RESULT]
    assert run.footage().grant.under is None
