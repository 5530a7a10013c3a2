"""A swap whose target is the result of another: opened again, exported, scored and reported like any other. And previews."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, SplitError
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import Frame
from faceswap_lab.maintenance import erase
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.people import admit, check_learnable
from faceswap_lab.verbs.recipes import EvaluateRecipe, SwapRecipe
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.views.report import blocks, swaps
from faceswap_lab.views.report.blocks import Paragraph, Video
from faceswap_lab.views.report.runs import report
from tests.media import granted, sound_packets, write_video

RECIPE = SwapRecipe(num_source_frames=1)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FACESWAP_LAB_ROOT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def filmed(root: Path) -> Clip:
    """Five frames of a person, with sound."""
    frames = Actor(21).perform("speech", seconds=0.2, size=96).frames()
    write_video(root / "sound.mp4", num_frames=10, sound_s=0.4)
    video.encode(root / "jo.mp4", frames, fps=25, audio_from=root / "sound.mp4", audio_at_s=0.0)
    return admit(root / "jo.mp4", who="Jo Doe", basis="consent: rendered here", uses=["anonymise", "evaluate"])


@pytest.fixture(scope="module")
def once(filmed: Clip) -> SwapRun:
    return swap(filmed, source=Actor(7), recipe=RECIPE, device="cpu")


@pytest.mark.slow
@pytest.mark.weights
def test_a_swap_of_a_swap_is_a_run_like_any_other(once: SwapRun, filmed: Clip, tmp_path: Path) -> None:
    twice = swap(once.footage().cut(1, 4), source=Actor(5), recipe=RECIPE, device="cpu")
    thrice = swap(twice.footage(), source=Actor(7), recipe=RECIPE, device="cpu")
    direct = swap(filmed.cut(1, 4), source=Actor(7), recipe=RECIPE, device="cpu")
    # To rules for photographs actors are much alike.
    direct.export(tmp_path / "direct.mp4", sound="copy", accept_recognisable=True)
    for run, sources in ((twice, ["actor:5", "actor:7"]), (thrice, ["actor:7", "actor:5", "actor:7"])):
        again = SwapRun.open(run.id)
        _, target = again.people()
        assert target.origin.startswith("sha256:")
        assert again.footage().grant.parents == (*sources, filmed.origin)
        out = again.export(tmp_path / f"{run.id}.mp4", sound="copy", accept_recognisable=True)
        assert sound_packets(out) == sound_packets(tmp_path / "direct.mp4"), "the sound of the same three frames"
        scores = evaluate(again, recipe=EvaluateRecipe(gallery_size=2))
        assert scores.summary["num_frames"] == 3
        assert "Jo Doe" not in report(again, scores, path=tmp_path / "report.html", accept_recognisable=True).read_text()
    found = {each.id for each in erase.plan(once.root, "Jo Doe").runs}
    assert {once.id, twice.id, thrice.id, direct.id} <= found


@pytest.mark.slow
@pytest.mark.weights
def test_what_is_made_of_a_withdrawn_swap_is_refused(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filmed: Clip
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    (tmp_path / "jo.mp4").write_bytes(filmed.path.read_bytes())
    clip = admit(tmp_path / "jo.mp4", who="Jo Doe", basis="consent: rendered here", uses=["anonymise"])
    twice = swap(swap(clip, source=Actor(7), recipe=RECIPE, device="cpu").footage(), source=Actor(5), recipe=RECIPE, device="cpu")
    (manifest,) = (tmp_path / "data_manifests").glob("*.toml")
    manifest.write_text(manifest.read_text().replace('uses = ["anonymise"]', "uses = []"))
    with pytest.raises(ConsentError, match="anonymise"):
        twice.export(tmp_path / "out.mp4")


@pytest.mark.parametrize(
    "parents",
    [("actor:2000000",), ("actor:2000000/speech:3@96x96,25fps",), ("actor:21/still:0@96x96,25fps/as:2000000,tone=source",)],
)
def test_training_recognises_a_test_person_in_what_a_swap_was_made_of(parents: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write_video(path, num_frames=2)
    for changes in ({"subject": "somebody", "parents": parents}, {"subject": "actor:7 on actor:2000000"}):
        with pytest.raises(SplitError, match="2000000"):
            check_learnable(Clip(granted(path, **changes)))
    check_learnable(Clip(granted(path, subject="factor:2000000")))


# --- reports ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.weights
@pytest.mark.parametrize("preview", [1, 3])
def test_a_preview_is_reported(root: Path, tmp_path: Path, preview: int) -> None:
    take = Actor(21).perform("speech", seconds=0.2, size=96)
    run = swap(take, source=Actor(7), recipe=RECIPE, preview=preview, device="cpu")
    scores = evaluate(run, recipe=EvaluateRecipe(gallery_size=2))
    page = report(run, scores, path=tmp_path / "report.html").read_text()
    assert f"the first {preview} of the target" in page
    assert ("<video" in page) == (preview > 1)


@dataclass(frozen=True)
class Noise:
    """Noise, which no codec makes small."""

    count: int = 20
    origin: str = "noise"
    subject: str = "actor:21"
    fps: float = 25.0
    size: tuple[int, int] = (144, 192)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame:
        image = np.random.default_rng(index).integers(0, 256, (*self.size, 3)).astype(np.uint8)
        return Frame(image=image, origin=self.origin, index=index, time_s=index / self.fps)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        yield from (self[index] for index in range(len(self))[start:stop])


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[SwapRun, swaps.Shown]:
    """A swap whose frames are noise."""
    monkeypatch.setattr(swaps, "metadata_of", lambda *_: {"synthetic": "yes"})
    monkeypatch.setattr(swaps, "_permission", lambda _: None)
    monkeypatch.setattr(SwapRun, "lineage", lambda _: None)
    footage = swaps.Shown(target=Noise(), swap=Noise(), truth=None, anonymised=False, renders=swaps.Renders())
    return SwapRun.start(tmp_path, "swap", "{}", {}), footage


def limit_to(num_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (blocks, swaps):
        monkeypatch.setattr(module, "LARGEST_CLIP", num_bytes)


def test_a_noisy_clip_is_embedded_within_the_limit(shown: tuple[SwapRun, swaps.Shown], monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    for limit in (1_000_000, 25_000):
        limit_to(limit, monkeypatch)
        block = swaps._clip(*shown)
        assert isinstance(block, Video)
        sizes.append(len(block.data))
        assert sizes[-1] <= limit
    assert sizes[0] > 2 * 25_000, "the limit of the bit rate is what keeps the second one small"


def test_a_clip_that_is_too_large_is_shown_smaller_or_left_out(
    shown: tuple[SwapRun, swaps.Shown], monkeypatch: pytest.MonkeyPatch
) -> None:
    limit_to(400, monkeypatch)
    left_out = swaps._clip(*shown)
    assert isinstance(left_out, Paragraph)
    assert "too long to be embedded" in left_out.text

    def encoded(path: Path, _: str, __: object, ___: object, scale: float) -> Path:
        path.write_bytes(b"x" * round(600 * scale))
        return path

    monkeypatch.setattr(swaps, "_encoded", encoded)
    smaller = swaps._clip(*shown)
    assert isinstance(smaller, Video)
    assert "Shown at 50% of its size" in smaller.caption
    assert len(smaller.data) == 300


@pytest.mark.slow
@pytest.mark.weights
def test_a_sound_that_is_left_out_is_said(once: SwapRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for sound, is_said in ((None, True), ("none", False), ("copy", False)):
        once.export(tmp_path / "out.mp4", sound=sound, accept_recognisable=True)  # type: ignore[arg-type]
        assert ("--sound copy" in capsys.readouterr().err) == is_said
