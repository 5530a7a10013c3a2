"""Pictures to bytes, figures, and the two widgets' state, without a browser."""

import base64
import io
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow

from faceswap_lab.errors import MediaError
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame
from faceswap_lab.views import figures, images
from faceswap_lab.views.align import AlignView, align
from faceswap_lab.views.compare import CompareView, compare


@dataclass
class Painted:
    """Footage of flat frames whose red tells the frame and whose green tells the footage; it counts what is read."""

    origin: str = "actor:1/test"
    green: int = 0
    count: int = 10
    size: tuple[int, int] = (48, 64)
    subject: str = "actor:1"
    fps: float = 25.0
    torn: frozenset[int] = frozenset()
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame:
        if not 0 <= index < self.count or index in self.torn:
            raise MediaError(expected="a whole frame", got="a torn one", remedy="copy the file again")
        self.reads.append(index)
        image = np.zeros((*self.size, 3), np.uint8)
        image[..., 0], image[..., 1] = 20 * index % 256, self.green
        return Frame(image=image, origin=self.origin, index=index, time_s=index / self.fps)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[Frame]:
        return (self[index] for index in range(start, self.count if stop is None else stop))


POINTS = np.array([[20, 16], [40, 16], [30, 24], [22, 34], [38, 34]], np.float32)


def found(index: int, count: int = 1) -> Faces:
    return Faces(
        frame_index=np.full(count, index),
        boxes=np.tile(np.array([[10, 6, 50, 44]], np.float32), (count, 1)),
        keypoints=np.stack([POINTS + shift for shift in range(count)]),
        scores=np.linspace(0.9, 0.5, count, dtype=np.float32),
    )


class Detector:
    def __init__(self, blind: frozenset[int] = frozenset()) -> None:
        self.calls: list[int] = []
        self.blind = blind

    def detect(self, frame: Frame) -> Faces:
        self.calls.append(frame.index)
        return Faces.none() if frame.index in self.blind else found(frame.index, 2)


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB"))


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


# --- images ---------------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 9))
def test_png_is_exact_and_rgb(height: int, width: int, seed: int) -> None:
    image = noise(height, width, seed)
    np.testing.assert_array_equal(decoded(images.png(image)), image)


def test_jpeg_keeps_red_red() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    assert np.abs(decoded(images.jpeg(image)).astype(int) - image).max() <= 4


@pytest.mark.parametrize("encode", [images.jpeg, images.png])
@pytest.mark.parametrize("budget", [40_000, 12_000, 5_000])
def test_a_budget_holds_even_for_noise(encode, budget: int) -> None:
    data = encode(noise(400, 300), budget=budget)
    assert len(data) <= budget
    height, width = decoded(data).shape[:2]
    assert height / width == pytest.approx(4 / 3, abs=0.05)


def test_an_impossible_budget_says_so() -> None:
    with pytest.raises(ValueError, match="no picture fits in 100 bytes"):
        images.jpeg(noise(400, 300), budget=100)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(8, 200))
def test_fit_side_never_enlarges_and_keeps_the_aspect(height: int, width: int, side: int) -> None:
    small = images.fit_side(np.zeros((height, width, 3), np.uint8), side)
    assert max(small.shape[:2]) == min(side, max(height, width))
    longer, shorter = max(height, width), min(height, width)
    assert abs(min(small.shape[:2]) - shorter * max(small.shape[:2]) / longer) <= 1


def test_data_uri_decodes_to_the_same_bytes() -> None:
    data = images.png(noise(8, 8))
    head, text = images.data_uri(data, "image/png").split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(text) == data


# --- figures --------------------------------------------------------------------------------------------------------------


def test_figures_need_neither_pyplot_nor_a_display() -> None:
    before = dict(mpl.rcParams)
    figure = figures.comparison({"a": [noise(20, 30)], "b": [noise(20, 30, 1)]}, difference_of=("a", "b"))
    assert figures.png(figure)[:4] == b"\x89PNG"
    assert dict(mpl.rcParams) == before, "a figure leaves the user's own settings alone"


def test_difference_is_the_mean_over_channels_and_symmetric() -> None:
    first, second = np.zeros((2, 2, 3), np.uint8), np.zeros((2, 2, 3), np.uint8)
    second[0, 0] = (30, 0, 0)
    second[1, 1] = (255, 255, 255)
    expected = np.array([[10, 0], [0, 255]], np.float32)
    np.testing.assert_array_equal(figures.difference(first, second), expected)
    np.testing.assert_array_equal(figures.difference(second, first), expected)
    with pytest.raises(ValueError, match="cannot be compared"):
        figures.difference(first, np.zeros((3, 2, 3), np.uint8))


def test_heat_uses_one_scale_whatever_the_maximum() -> None:
    small = figures.heat(np.array([[0.0, 8.0]], np.float32))
    large = figures.heat(np.array([[0.0, 8.0, 64.0, 200.0]], np.float32))
    np.testing.assert_array_equal(small[0], large[0, :2])
    np.testing.assert_array_equal(large[0, 2], large[0, 3])
    luma = large.astype(int).sum(axis=2)[0]
    assert luma[0] < luma[1] < luma[2]


def test_comparison_shows_the_pixels_it_is_given() -> None:
    """The colour in the middle of each cell is that of its picture: rows and columns are not mixed up."""
    colours = {"left": [(200, 0, 0), (0, 200, 0)], "right": [(0, 0, 200), (200, 200, 0)]}
    columns = {name: [np.full((40, 40, 3), colour, np.uint8) for colour in row] for name, row in colours.items()}
    figure = figures.comparison(columns, labels=["one", "two"])
    drawn = figures.pixels(figure)
    for axis, colour in zip(figure.axes, [colours[n][r] for r in range(2) for n in colours], strict=True):
        box = axis.get_position()
        row, column = int((1 - (box.y0 + box.y1) / 2) * drawn.shape[0]), int((box.x0 + box.x1) / 2 * drawn.shape[1])
        assert tuple(drawn[row, column]) == colour


@pytest.mark.parametrize("columns", [{}, {"a": []}, {"a": [noise(4, 4)], "b": []}])
def test_comparison_refuses_ragged_columns(columns: dict) -> None:
    with pytest.raises(ValueError, match="same number of pictures"):
        figures.comparison(columns)


def test_strip_labels_every_frame() -> None:
    figure = figures.strip(list(Painted(count=4).frames()))
    assert [axis.get_xlabel() for axis in figure.axes] == ["0 · 0.00 s", "1 · 0.04 s", "2 · 0.08 s", "3 · 0.12 s"]


@dataclass
class Step:
    number: int
    losses: dict[str, float]


def test_curve_names_each_line_with_its_last_value_without_overlap() -> None:
    steps = [Step(n, {"a": 1 / (n + 1), "b": 1.01 / (n + 1), "c": 2 / (n + 1)}) for n in range(0, 100, 10)]
    figure = figures.curve(steps)
    axis = figure.axes[0]
    assert axis.get_yscale() == "log"
    figures.pixels(figure)
    boxes = [text.get_window_extent() for text in axis.texts]
    assert [text.get_text().split()[0] for text in axis.texts] == ["a", "b", "c"]
    assert all(below.y1 <= above.y0 + 1 for below, above in pairwise(boxes))
    for name, line in zip("abc", axis.lines, strict=True):
        np.testing.assert_allclose(line.get_ydata(), [step.losses[name] for step in steps])


def test_curve_takes_one_step_gaps_and_negative_values() -> None:
    figures.png(figures.curve([Step(1, {"a": 0.5})]))
    figure = figures.curve([Step(1, {"a": 0.5}), Step(2, {"a": 0.1, "b": -3.0})])
    assert np.isnan(figure.axes[0].lines[1].get_ydata()[0])
    assert figure.axes[0].get_yscale() == "linear"
    figures.png(figure)


def test_svg_follows_the_page_and_asks_for_nothing() -> None:
    text = figures.svg(figures.curve([Step(n, {"a": 1.0 + n}) for n in range(3)]))
    assert text.startswith("<svg")
    assert "var(--series-0)" in text
    assert "var(--line)" in text
    assert figures.SERIES[0] not in text
    assert "<style" not in text, "its rules would reach the whole page"
    assert text == figures.svg(figures.curve([Step(n, {"a": 1.0 + n}) for n in range(3)])), "same data, same text"


# --- compare --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def clips() -> dict[str, Painted]:
    return {"target": Painted(green=0), "swap": Painted(green=100), "truth": Painted(green=200)}


def test_compare_starts_between_swap_and_truth_and_reads_nothing(clips: dict[str, Painted]) -> None:
    view = compare(**clips, scores={"PSNR": 27.41, "SSIM": 0.83})
    assert isinstance(view, CompareView)
    assert (view.left, view.right, view.num_frames, view.mode) == ("swap", "truth", 10, "wipe")
    assert view.caption == "PSNR 27.41  ·  SSIM 0.83"
    assert all(isinstance(clip, Footage) and clip.reads == [] for clip in clips.values())


def test_compare_sends_the_asked_picture_once_rendered(clips: dict[str, Painted]) -> None:
    view = compare(**clips)
    sent: list[tuple[dict, list[bytes]]] = []
    view.send = lambda content, buffers: sent.append((content, buffers))
    for _ in range(2):
        view._handle_custom_msg({"want": ["truth", 4]}, [])
    assert [content for content, _ in sent] == [{"picture": ["truth", 4]}] * 2
    assert np.abs(decoded(sent[0][1][0])[10, 10].astype(int) - [80, 200, 0]).max() <= 4
    assert clips["truth"].reads == [4], "the second came from the cache"
    view._handle_custom_msg({"want": ["nobody", 0]}, [])
    view._handle_custom_msg({"want": ["truth", 99]}, [])
    assert len(sent) == 2


def test_a_frame_that_cannot_be_read_is_said_to_the_browser_and_raised(clips: dict[str, Painted]) -> None:
    view = compare(**clips)
    sent: list[dict] = []
    view.send = lambda content, buffers=None: sent.append(content)
    clips["swap"].torn = frozenset({3})
    with pytest.raises(MediaError):
        view._answer(view, {"want": ["swap", 3]}, [])
    assert sent == [{"failed": ["swap", 3], "why": "expected a whole frame; got a torn one; copy the file again"}]


def test_the_cache_stays_small() -> None:
    clips = {"a": Painted(count=200), "b": Painted(count=200)}
    view = compare(**clips)
    for index in range(200):
        view.jpeg("a", index)
    assert len(view._pictures) <= 64
    view.jpeg("a", 199)
    assert clips["a"].reads == list(range(200))


@pytest.mark.parametrize(
    ("trait", "value"), [("frame", 10), ("frame", -1), ("left", "nobody"), ("mode", "dissolve"), ("position", 1.5)]
)
def test_traits_refuse_what_does_not_exist(clips: dict[str, Painted], trait: str, value: object) -> None:
    view = compare(**clips)
    before = getattr(view, trait)
    with pytest.raises(traitlets.TraitError):
        setattr(view, trait, value)
    assert getattr(view, trait) == before


def test_a_still_is_held_and_unequal_clips_end_with_the_shortest() -> None:
    view = compare(photo=Painted(count=1, green=7), long=Painted(count=9), short=Painted(count=4))
    assert view.num_frames == 4
    assert decoded(view.jpeg("photo", 3))[0, 0, 0] <= 2
    assert compare(a=Painted(count=1), b=Painted(count=1)).num_frames == 1


@dataclass
class Finished:
    film: Footage

    def footage(self) -> Footage:
        return self.film


@dataclass
class Judged:
    scores: dict[str, dict]


def test_an_evaluation_is_told_with_its_floors() -> None:
    psnr = {"value": 27.41, "floor": 15.0, "ceiling": None, "unit": "dB", "higher_is_better": True}
    judged = Judged(scores={"psnr": psnr, "face_found": {"value": 1.0, "floor": None, "unit": ""}})
    view = compare(target=Painted(), swap=Painted(), scores=judged)
    assert view.caption == "psnr 27.4 dB (floor 15)  ·  face_found 1"


def test_compare_takes_what_has_footage_and_refuses_the_rest() -> None:
    view = compare(target=Painted(), swap=Finished(film=Painted(green=9)))
    assert view.names == ["target", "swap"]
    with pytest.raises(ValueError, match="two footages"):
        compare(target=Painted())
    with pytest.raises(TypeError, match="swap is not footage"):
        CompareView({"target": Painted(), "swap": Finished(film=3)})
    with pytest.raises(ValueError, match="has no frame"):
        compare(a=Painted(), b=Painted(count=0))


def test_headless_output_holds_a_picture_beside_the_widget(clips: dict[str, Painted]) -> None:
    bundle, _ = compare(**clips)._repr_mimebundle_()
    assert set(bundle) == {"application/vnd.jupyter.widget-view+json", "image/png", "text/plain"}
    assert bundle["text/plain"] == "CompareView(target, swap, truth; 10 frames)"
    drawn = decoded(base64.b64decode(bundle["image/png"]))
    found_greens = {int(green) for green in np.unique(drawn[..., 1])}
    assert {0, 100, 200} <= found_greens, "all three footages are in it"
    assert len(base64.b64decode(bundle["image/png"])) <= 500_000


def test_the_picture_spreads_over_the_clip(clips: dict[str, Painted]) -> None:
    compare(**clips).picture(rows=3)
    assert sorted(set(clips["target"].reads)) == [1, 4, 8]


def test_two_threads_never_read_at_once() -> None:
    """ipykernel answers the browser on another thread while a cell runs; decoders take one reader at a time."""
    inside = threading.Semaphore(1)
    collisions: list[int] = []

    class OneReader(Painted):
        def __getitem__(self, index: int) -> Frame:
            if not inside.acquire(blocking=False):
                collisions.append(index)
                return super().__getitem__(index)
            try:
                threading.Event().wait(0.002)
                return super().__getitem__(index)
            finally:
                inside.release()

    view = compare(a=OneReader(count=40), b=OneReader(count=40))
    work = [threading.Thread(target=lambda name=name: [view.jpeg(name, i) for i in range(40)]) for name in ("a", "b")]
    for thread in work:
        thread.start()
    for thread in work:
        thread.join()
    assert collisions == []


def test_the_scripts_fetch_nothing() -> None:
    for view in (CompareView, AlignView):
        for text in (str(view._esm), str(view._css)):
            assert "//" not in "".join(line.split("//")[0] for line in text.splitlines())
            for word in ("http:", "https:", "import(", "fetch(", "url(", "@import", "XMLHttpRequest", "eval("):
                assert word not in text.replace("http://www.w3.org/2000/svg", "")


# --- align ----------------------------------------------------------------------------------------------------------------


def message(view: AlignView, content: Mapping[str, object]) -> list[tuple]:
    sent: list[tuple] = []
    view.send = lambda content, buffers=None: sent.append((content, buffers))
    view._handle_custom_msg(dict(content), [])
    return sent


def shown(view: AlignView) -> AlignView:
    view._repr_mimebundle_()
    return view


def test_align_detects_only_when_it_is_shown() -> None:
    detector = Detector()
    view = align(Painted(), engine=detector)
    assert detector.calls == []
    shown(view)
    assert view.points == POINTS.tolist()
    view.frame = 3
    view.frame = 0
    view.frame = 3
    assert detector.calls.count(3) <= 1
    assert detector.calls.count(0) == 1


def test_a_drag_from_the_browser_becomes_a_correction() -> None:
    footage = Painted()
    view = shown(align(footage, engine=Detector()))
    message(view, {"move": [0, 2, 33.5, 20.25]})
    expected = POINTS.astype(float).tolist()
    expected[2] = [33.5, 20.25]
    assert view.points == expected
    assert view.corrected == [0]
    kept = view.corrections.points(footage.origin, 0)
    assert kept is not None
    np.testing.assert_array_equal(kept, expected)
    faces = view.faces()
    np.testing.assert_array_equal(faces.keypoints[0], np.array(expected, np.float32))
    np.testing.assert_array_equal(faces.keypoints[1], POINTS + 1), "the other face stays"


def test_a_drag_lands_in_the_frame_it_was_made_in() -> None:
    """The message may come after the scrubber has moved on."""
    footage = Painted()
    view = shown(align(footage, engine=Detector()))
    view.frame = 5
    message(view, {"move": [2, 0, 1.0, 2.0]})
    assert view.corrected == [2]
    assert view.points == POINTS.tolist()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 4), st.floats(-1e4, 1e4), st.floats(-1e4, 1e4))
def test_points_stay_inside_the_frame(point: int, x: float, y: float) -> None:
    view = align(Painted(), engine=Detector())
    view.move(point, x, y)
    assert view.points[point] == [min(max(x, 0.0), 63.0), min(max(y, 0.0), 47.0)]


def test_undo_goes_back_through_frames_and_reset_leaves_one_to_the_detector() -> None:
    view = align(Painted(), engine=Detector())
    stages = [view.corrections]
    for index in (0, 4, 0):
        view.move(1, 10.0 + index, 10.0, index=index)
        stages.append(view.corrections)
    for stage in reversed(stages):
        assert view.corrections == stage
        view.undo()
    assert (view.corrections, view.undoable) == (Corrections(), False)
    view.move(0, 5.0, 5.0)
    view.reset()
    assert view.corrections == Corrections()
    assert view.points == POINTS.tolist()


def test_points_can_be_placed_where_no_face_was_found() -> None:
    view = shown(align(Painted(), engine=Detector(blind=frozenset({0, 1}))))
    assert view.points == []
    with pytest.raises(ValueError, match="no face was found in frame 0"):
        view.move(0, 1.0, 1.0)
    message(view, {"place": 0})
    assert view.points == POINTS.tolist(), "those of the nearest frame that has some"
    assert len(view.faces(0)) == 1
    alone = align(Painted(count=1), engine=Detector(blind=frozenset({0})))
    alone.place()
    eyes = np.array(alone.points)[:2]
    assert eyes[0, 0] < eyes[1, 0], "the subject's right eye is on the picture's left"
    assert (np.array(alone.points) >= 0).all()
    assert (np.array(alone.points) <= [63, 47]).all()


def test_earlier_corrections_can_be_continued() -> None:
    footage = Painted()
    first = align(footage, engine=Detector())
    first.move(0, 9.0, 9.0, index=2)
    again = shown(align(footage, engine=Detector(), corrections=first.corrections))
    assert again.corrected == [2]
    again.frame = 2
    assert again.points[0] == [9.0, 9.0]


def test_align_answers_with_the_frame_and_shows_a_picture_headless() -> None:
    view = align(Painted(), engine=Detector(blind=frozenset({8})))
    ((content, buffers),) = message(view, {"want": 6})
    assert content == {"picture": 6}
    assert np.abs(decoded(buffers[0])[0, 0].astype(int) - [120, 0, 0]).max() <= 4
    bundle, _ = view._repr_mimebundle_()
    assert {"application/vnd.jupyter.widget-view+json", "image/png"} <= set(bundle)
    labels = [axis.get_xlabel() for axis in view.figure().axes]
    assert labels == ["frame 0", "frame 1", "frame 4", "frame 8 · no face"]
    view.move(0, 3.0, 3.0, index=6)
    assert [axis.get_xlabel() for axis in view.figure(columns=2).axes] == ["frame 0", "frame 6 · corrected"]


# --- unattended -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.notebook
def test_an_executed_notebook_shows_the_picture_without_a_kernel(tmp_path: Path) -> None:
    """papermill has no browser: what it saves must be readable as it stands, and hold no frame besides the picture."""
    import nbformat
    import papermill

    source = """
import numpy as np
from faceswap_lab.faces.frame import Frame
from faceswap_lab.views.compare import compare

class Flat:
    origin, subject, fps, size = "actor:1/test", "actor:1", 25.0, (48, 64)
    def __len__(self): return 6
    def __getitem__(self, index): return Frame(image=np.full((48, 64, 3), 10 * index, np.uint8), origin=self.origin, index=index)
    def frames(self, start=0, stop=None): return (self[i] for i in range(start, stop or 6))

compare(target=Flat(), swap=Flat())
"""
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)], metadata=kernel)
    nbformat.write(notebook, tmp_path / "in.ipynb")
    papermill.execute_notebook(str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb"), progress_bar=False, cwd=str(tmp_path))
    executed = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    (output,) = [cell for cell in executed.cells[-1].outputs if cell.output_type == "execute_result"]
    drawn = decoded(base64.b64decode(output.data["image/png"]))
    assert drawn.shape[0] > 200
    state = executed.metadata.get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    models = [model for model in state.values() if model.get("model_module") == "anywidget"]
    assert models, "the widget itself is saved too"
    assert all(not model.get("buffers") for model in models), "no frame travels in the saved state"
