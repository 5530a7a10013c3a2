"""The demo without its looks, from upload to marked file: many visitors at once, some who leave, and what stays of them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from faceswap_lab.errors import ConsentError, FaceError, LabError, MediaError
from faceswap_lab.serve import desk as module
from faceswap_lab.serve.desk import Desk, Step
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.orders import Declaration, Order, Outcome, Sample
from faceswap_lab.serve.refusals import QueueFullError, StoppedError
from faceswap_lab.trust import audit
from faceswap_lab.trust.marks.metadata import read_mark
from tests.waiting import eventually

AGREED = Declaration(reason="to see how it looks", agreed=True)


def last_of(steps: Iterator[Step | Outcome]) -> Outcome:
    step: Step | Outcome | None = None
    for step in steps:
        assert isinstance(step, Step | Outcome)
    assert isinstance(step, Outcome)
    return step


def begun(steps: Iterator[Step | Outcome]) -> Step:
    """The first step that says how much is done."""
    for step in steps:
        if isinstance(step, Step) and step.share:
            return step
    raise AssertionError("it ended before that")


def uploaded(desk: Desk, level: int = 0, name: str = "a.png") -> Path:
    path = desk.arrivals / f"{level}-{name}"
    Pillow.fromarray(np.full((32, 32, 3), level, np.uint8)).save(path)
    return path


def visits_of(desk: Desk) -> list[Path]:
    return sorted((desk.root / "visits").iterdir())


# --- with a worker that only pretends ---------------------------------------------------------------------------------------


class Pretender:
    """In place of the process that does the work: gives each upload back as its own result, once it is let."""

    def __init__(self, warm: object = ()) -> None:
        self.let = threading.Event()
        self.let.set()
        self.at_once = self.most = 0
        self.error: Exception | None = None

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass

    def do(self, order: Order, *, told: Callable[[str, int, int], None], gone: Callable[[], bool], max_s: float) -> Outcome:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        told("swapping", 3, 10)
        try:
            while not self.let.wait(0.01):
                if gone():
                    raise StoppedError(expected="a visitor", got="nobody", remedy="begin again")
            if self.error is not None:
                raise self.error
            assert not isinstance(order.target, Sample)
            with Pillow.open(order.target.path) as opened:
                image = np.array(opened)
            return Outcome(
                kind="picture", before=image, after=order.target.path, scores=(), run="", num_frames=1, seconds=0.0, overhead_s=0.0
            )
        finally:
            self.at_once -= 1


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(module, "Worker", Pretender)
    with Desk(tmp_path / "demo", limits=Limits(max_waiting=4, unattended_s=600)) as made:
        yield made


def worker_of(desk: Desk) -> Any:
    return desk._worker


def test_twenty_visitors_at_once_each_get_their_own_picture_or_are_told_that_the_queue_is_full(desk: Desk) -> None:
    worker_of(desk).let.clear()
    found: dict[int, int | str] = {}
    ready = threading.Barrier(20)

    def visit(number: int) -> None:
        path = uploaded(desk, number)
        ready.wait()
        try:
            outcome = last_of(desk.swap(f"session {number}", path, source="actor:7", declaration=AGREED))
            assert isinstance(outcome.before, np.ndarray)
            found[number] = int(outcome.before[0, 0, 0])
        except QueueFullError:
            found[number] = "full"

    threads = [threading.Thread(target=visit, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(found) >= 15)  # four wait, one runs
    worker_of(desk).let.set()
    for thread in threads:
        thread.join()
    served = {number: level for number, level in found.items() if level != "full"}
    assert len(found) == 20
    assert len(served) == 5
    assert all(number == level for number, level in served.items())
    assert worker_of(desk).most == 1
    # Of those who were turned away, nothing is kept.
    assert len(visits_of(desk)) == 5
    assert audit.verify(desk.root).whole


def test_steps_say_how_many_come_before_and_how_much_is_done(desk: Desk) -> None:
    worker_of(desk).let.clear()
    first = desk.swap("first", uploaded(desk, 1), source="actor:7", declaration=AGREED)
    step = begun(first)
    assert step == Step(words="swapping: 3 of 10", share=0.3)
    second = desk.swap("second", uploaded(desk, 2), source="actor:7", declaration=AGREED)
    assert next(second) == Step(words="waiting: 1 before you", before=1)
    worker_of(desk).let.set()
    assert (last_of(first).kind, last_of(second).kind) == ("picture", "picture")


@pytest.mark.parametrize("runs", [True, False])
def test_a_session_that_leaves_takes_everything_with_it(desk: Desk, runs: bool) -> None:
    worker_of(desk).let.clear()
    if not runs:
        other = desk.swap("other", uploaded(desk, 9), source="actor:7", declaration=AGREED)
        begun(other)
    before = visits_of(desk)
    leaving = desk.swap("leaving", uploaded(desk, 1), source="actor:7", declaration=AGREED)
    eventually(lambda: next(leaving).words.startswith("swapping" if runs else "waiting"))  # type: ignore[union-attr]
    assert len(visits_of(desk)) == len(before) + 1
    leaving.close()  # type: ignore[attr-defined]
    eventually(lambda: visits_of(desk) == before)
    worker_of(desk).let.set()
    assert last_of(desk.swap("leaving", uploaded(desk, 3), source="actor:7", declaration=AGREED)).num_frames == 1


def test_what_is_refused_leaves_no_file_and_a_line_in_the_log(desk: Desk) -> None:
    bad = desk.arrivals / "a.png"
    bad.write_bytes(b"<svg onload=alert(1)>")
    outside = desk.root / "visits" / "a.png"
    refusals: list[tuple[type[LabError], dict[str, Any]]] = [
        (MediaError, {"path": bad}),
        (MediaError, {"path": "http://example.org/a.png"}),
        (MediaError, {"path": outside}),
        (ConsentError, {"declaration": Declaration(reason="to see", agreed=False)}),
        (ConsentError, {"declaration": Declaration(reason="", agreed=True)}),
        (ConsentError, {"source": "actor:2000000"}),
        (ConsentError, {"source": "Jane Doe"}),
    ]
    for kind, changed in refusals:
        asked: dict[str, Any] = {"path": uploaded(desk), "source": "actor:7", "declaration": AGREED} | changed
        with pytest.raises(kind):
            desk.swap("me", asked.pop("path"), **asked)
    assert visits_of(desk) == []
    told = [line.event["action"] for line in audit.read(desk.root)]
    assert told.count("upload refused") == 3
    assert told.count("demo refused") == 4


def test_an_error_speaks_of_the_visitors_file_and_never_of_places_here(desk: Desk) -> None:
    def error_about(order: Order) -> MediaError:
        assert not isinstance(order.target, Sample)
        return MediaError(
            expected=f"a face in {order.target.path}", got=f"none in {order.target.path.name}", remedy=f"see {order.visit.root}"
        )

    real = worker_of(desk).do
    worker_of(desk).do = lambda order, **rest: (setattr(worker_of(desk), "error", error_about(order)), real(order, **rest))[1]
    with pytest.raises(MediaError) as found:
        last_of(desk.swap("me", uploaded(desk), source="actor:7", declaration=AGREED, name="../<b>me</b>.png"))
    assert str(desk.root) not in str(found.value)
    assert (found.value.got, found.value.remedy) == ("none in b_.png", "see the demo")
    assert visits_of(desk) == []


def test_closing_the_demo_ends_what_runs_and_refuses_what_waits(desk: Desk) -> None:
    worker_of(desk).let.clear()
    jobs = [desk.swap(f"session {number}", uploaded(desk, number), source="actor:7", declaration=AGREED) for number in range(3)]
    desk.close()
    for job in jobs:
        with pytest.raises(StoppedError):
            last_of(job)
    with pytest.raises(StoppedError):
        desk.swap("late", uploaded(desk), source="actor:7", declaration=AGREED)
    assert visits_of(desk) == []


# --- with the process that does the work ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    from faceswap_lab.actors.cast import Actor

    return Actor(33).portrait(256)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Desk(tmp_path_factory.mktemp("lab") / "demo", actors=(7, 21), warm=1) as made:
        yield made


def shown_to(desk: Desk, image: np.ndarray, name: str) -> Path:
    """A photograph as a phone makes it: with a place, a device and an orientation in its metadata."""
    exif = Pillow.Exif()
    exif[0x010F], exif[0x0112] = "Phone of Jane Doe", 1
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 36.0)}
    Pillow.fromarray(image).save(desk.arrivals / name, quality=95, exif=exif)
    return desk.arrivals / name


def clip_of(desk: Desk, image: np.ndarray, num_frames: int) -> Path:
    path = desk.arrivals / "clip.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = *image.shape[:2], "yuv420p"
        for _ in range(num_frames):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode())
    return path


@pytest.mark.slow
def test_an_upload_becomes_a_marked_file_with_scores_and_without_the_photographs_metadata(real: Desk, portrait: np.ndarray) -> None:
    outcome = last_of(real.swap("me", shown_to(real, portrait, "me.jpg"), source="actor:7", declaration=AGREED))
    assert isinstance(outcome.before, np.ndarray)
    assert (outcome.kind, outcome.after.suffix) == ("picture", ".jpg")
    # The person in it is an actor, so alike to the hero that a rule for photographs takes both for one: the page says so.
    assert outcome.note.startswith("This is not anonymous: dlib-resnet-v1 still takes it for the person before")
    with Pillow.open(outcome.after) as opened:
        after, exif = np.array(opened), opened.getexif()
    assert after.shape == outcome.before.shape
    assert np.abs(after.astype(int) - outcome.before).mean() > 1
    scores = {row.name: row for row in outcome.scores}
    assert scores["id_similarity"].value > scores["id_similarity"].floor
    assert scores["id_leak"].value < scores["id_leak"].floor == 1.0
    assert scores["face_found"].value == 1.0
    assert np.isfinite(scores["seam"].value)
    (mark,) = read_mark(outcome.after) or []
    assert (mark["source"]["subject"], mark["target"]["subject"]) == ("actor:7", "withheld")
    for private in (b"Jane Doe", b"GPS"):
        assert private not in outcome.after.read_bytes()
    assert 0x8825 not in exif
    assert "exported" in [line.event["action"] for line in audit.read(real.root)]
    assert audit.verify(real.root).whole


@pytest.mark.slow
def test_a_performance_has_the_scores_that_need_the_truth(real: Desk) -> None:
    outcome = last_of(real.sample("me", Sample(seed=21, size=128), source="actor:7"))
    scores = {row.name: row for row in outcome.scores}
    assert {"psnr_face", "ssim_face", "id_similarity", "landmark_error"} <= scores.keys()
    assert scores["ssim_face"].floor < scores["ssim_face"].value < scores["ssim_face"].ceiling


@pytest.mark.slow
def test_a_visitor_who_leaves_in_the_middle_of_a_clip_and_a_process_that_dies_stop_nobody_else(
    real: Desk, portrait: np.ndarray
) -> None:
    before = visits_of(real)
    leaving = real.swap("leaving", clip_of(real, portrait, 300), source="actor:7", declaration=AGREED)
    assert begun(leaving).words.startswith("swapping: ")
    process = real._worker._process.pid
    leaving.close()  # type: ignore[attr-defined]
    eventually(lambda: visits_of(real) == before)
    assert real._worker._process.pid == process, "it stopped in good order"
    dying = real.swap("dying", clip_of(real, portrait, 300), source="actor:7", declaration=AGREED)
    begun(dying)
    os.kill(process, signal.SIGKILL)
    with pytest.raises(StoppedError, match="died of it"):
        last_of(dying)
    assert visits_of(real) == before
    outcome = last_of(real.swap("next", clip_of(real, portrait, 8), source="actor:7", declaration=AGREED))
    assert (outcome.kind, outcome.num_frames, outcome.after.suffix) == ("clip", 8, ".mp4")
    assert read_mark(outcome.after)
    assert audit.verify(real.root).whole
    told = [line.event["action"] for line in audit.read(real.root)]
    assert told.count("visit opened") - told.count("visit erased") == len(visits_of(real))


@pytest.mark.slow
def test_a_picture_without_a_face_is_refused_and_not_kept(real: Desk) -> None:
    before = visits_of(real)
    with pytest.raises(LabError, match="face"):
        last_of(real.swap("me", uploaded(real, 7), source="actor:7", declaration=AGREED))
    assert visits_of(real) == before


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_ended(tmp_path: Path, portrait: np.ndarray) -> None:
    with Desk(tmp_path / "demo", actors=(7,), warm=0, limits=Limits(max_job_s=0.5)) as desk:
        with pytest.raises(StoppedError, match="at most"):
            last_of(desk.swap("me", clip_of(desk, portrait, 400), source="actor:7", declaration=AGREED))
        assert visits_of(desk) == []


def test_a_swapper_that_a_visit_could_not_use_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="warp"):
        Desk(tmp_path / "demo", swapper="train-12345678")
    assert not (tmp_path / "demo").exists()


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (FaceError(expected="a face", got="none", remedy="lab.align"), "upright picture"),
        (ConsentError(expected="x", got="3 frames", remedy="export with accept_frames=3, accept_faces=0"), "accept these numbers"),
        (ConsentError(expected="x", got="y", remedy="write uses = [] in data_manifests/visitor.toml"), "another file"),
    ],
)
def test_a_visitor_is_told_what_a_visitor_can_do(desk: Desk, error: LabError, remedy: str) -> None:
    worker_of(desk).error = error
    with pytest.raises(type(error), match=remedy) as found:
        last_of(desk.swap("me", uploaded(desk), source="actor:7", declaration=AGREED))
    assert found.value.got == error.got
