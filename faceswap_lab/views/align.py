"""Widget for correcting the five detected points of footage by dragging; the changes are in `view.corrections`.

Python holds the state: a drag sends one message on pointer-up, and the points drawn are always those of the traits.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import traitlets
from jaxtyping import Float

from faceswap_lab.faces.corrections import Corrected, Corrections, selected
from faceswap_lab.faces.face import Faces
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Frame, Image
from faceswap_lab.views import figures, images
from faceswap_lab.views.widget import PICTURE_BUDGET, Widget, script, style

POINT_NAMES = ("right eye", "left eye", "nose tip", "right mouth corner", "left mouth corner")
_MIDDLE = np.array([[-0.1, -0.1], [0.1, -0.1], [0.0, 0.02], [-0.08, 0.13], [0.08, 0.13]])
"""Five points of a frontal face, relative to the frame's centre, as fractions of its shorter side."""
_KEPT_FRAMES = 64


@runtime_checkable
class Detector(Protocol):
    """Any face detector, such as `models.engines.offline.OfflineEngine`."""

    def detect(self, frame: Frame) -> Faces:
        """All faces of a frame, sorted by descending score."""
        ...


class AlignView(Widget):
    """The five points of one face of each frame, in frame pixels (x, y), pixel centres at integers.

    That is the corrected one, else the most prominent (`faces.corrections.selected`). A swap takes the same in footage of one
    person, and in a corrected frame; among several it follows whoever is taken in the first frame.

    Traits: `frame` (0 .. num_frames - 1), `points` (five [x, y] of the shown frame, empty if no face was found), `corrected`
    (the manually corrected frames), `zoomed`. `corrections` holds the result. In the browser: drag a point, or focus it and
    nudge it with the arrow keys (1 pixel; with Shift 5, with Alt 0.2).
    """

    _esm = script("align")
    _css = style("align")

    frame = traitlets.Int(0).tag(sync=True)
    points = traitlets.List(traitlets.List(traitlets.Float(), minlen=2, maxlen=2)).tag(sync=True)
    corrected = traitlets.List(traitlets.Int()).tag(sync=True)
    undoable = traitlets.Bool(False).tag(sync=True)
    zoomed = traitlets.Bool(True).tag(sync=True)
    num_frames = traitlets.Int(1).tag(sync=True)
    fps = traitlets.Float(0.0).tag(sync=True)
    size = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)
    point_names = traitlets.List(traitlets.Unicode(), list(POINT_NAMES)).tag(sync=True)

    def __init__(self, footage: Footage, detect: Callable[[Frame], Faces], *, corrections: Corrections | None = None) -> None:
        if not len(footage):
            raise ValueError("this footage has no frames")
        self._footage, self._detect = footage, detect
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self._found: dict[int, Faces] = {}
        self._history = [Corrections() if corrections is None else corrections]
        # Messages from the browser arrive on another thread while a cell runs: one change at a time.
        self._changing = threading.RLock()
        super().__init__(num_frames=len(footage), fps=footage.fps, size=footage.size)
        self.on_msg(self._answer)
        self.observe(self._show, "frame")

    @property
    def corrections(self) -> Corrections:
        """The manual corrections so far, for `swap(..., corrections=...)`."""
        return self._history[-1]

    def faces(self, index: int | None = None) -> Faces:
        """The faces of a frame (the shown one by default) with the corrections applied. Detects on first use."""
        with self._changing:
            return self._corrected_faces(self.frame if index is None else index).faces

    def move(self, point: int, x: float, y: float, *, index: int | None = None) -> None:
        """Moves one of the five points to (x, y), in frame pixels. Raises ValueError if the frame has no points."""
        with self._changing:
            index = self.frame if index is None else index
            points = self._points(index)
            if not len(points):
                raise ValueError(f"no face was found in frame {index}, so there is no point to move; place() adds five")
            height, width = self.size
            points[point] = min(max(float(x), 0.0), width - 1.0), min(max(float(y), 0.0), height - 1.0)
            self._change(self.corrections.with_points(self._footage.origin, index, points))

    def place(self, *, index: int | None = None) -> None:
        """Adds five points to a frame without a detected face: those of the nearest frame with points, else default ones."""
        with self._changing:
            index = self.frame if index is None else index
            known = [other for other in {*self._found, *self._corrected()} if len(self._points(other))]
            nearest = min(known, key=lambda other: abs(other - index), default=None)
            height, width = self.size
            points = (
                _MIDDLE * min(height, width) + ((width - 1) / 2, (height - 1) / 2) if nearest is None else self._points(nearest)
            )
            self._change(self.corrections.with_points(self._footage.origin, index, points))

    def reset(self, *, index: int | None = None) -> None:
        """Restores the detected points of a frame (by default the shown one)."""
        with self._changing:
            self._change(self.corrections.without(self._footage.origin, self.frame if index is None else index))

    def undo(self) -> None:
        """Undoes the last change, in any frame; does nothing if there is none."""
        with self._changing:
            if len(self._history) > 1:
                self._history.pop()
            self._show()

    def picture(self, *, columns: int = 4) -> Image:
        """A still picture: the shown frame and others spread over the footage, cropped to the face, with the points drawn."""
        return figures.pixels(self.figure(columns=columns))

    def figure(self, *, columns: int = 4) -> figures.SelfShowing:
        """`picture` as a matplotlib Figure."""
        with self._changing:
            fixed = list(dict.fromkeys([self.frame, *self._corrected()]))[:columns]
            free = columns - len(fixed)
            spread = [round((place + 0.5) * self.num_frames / free - 0.5) for place in range(free)]
            chosen = sorted({*fixed, *spread})
            points = [self._points(index) for index in chosen]
            labels = [self._label(index) for index in chosen]
            return figures.marked([self._read(index) for index in chosen], points, labels=labels)

    @traitlets.validate("frame")
    def _frame_exists(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < self.num_frames:
            raise traitlets.TraitError(f"frame {proposal['value']} is not among 0..{self.num_frames - 1}")
        return int(proposal["value"])

    def _read(self, index: int) -> Frame:
        if index not in self._frames:
            self._frames[index] = self._footage[index]
            while len(self._frames) > _KEPT_FRAMES:
                self._frames.popitem(last=False)
        self._frames.move_to_end(index)
        return self._frames[index]

    def _points(self, index: int) -> Float[np.ndarray, "_ 2"]:
        by_hand = self.corrections.points(self._footage.origin, index)
        if by_hand is not None:
            return by_hand
        faces = selected(self._corrected_faces(index)).faces
        return np.array(faces.keypoints[0], dtype=np.float64) if len(faces) else np.zeros((0, 2))

    def _corrected_faces(self, index: int) -> Corrected:
        if index not in self._found:
            self._found[index] = self._detect(self._read(index))
        return self.corrections.of_frame(self._footage.origin, index, self._found[index])

    def _corrected(self) -> list[int]:
        return list(self.corrections.indices(self._footage.origin))

    def _label(self, index: int) -> str:
        state = "corrected" if index in self._corrected() else "" if len(self._points(index)) else "no face"
        return f"frame {index}" + (f" · {state}" if state else "")

    def _change(self, corrections: Corrections) -> None:
        self._history.append(corrections)
        self._show()

    def _show(self, _: object = None) -> None:
        with self._changing:
            self.undoable = len(self._history) > 1
            self.corrected = self._corrected()
            self.points = [[float(x), float(y)] for x, y in self._points(self.frame)]
            # The browser has drawn the dragged point already; if the move is rejected, the unchanged trait would not be sent again.
            self.send_state("points")

    def _answer(self, _: object, content: Mapping[str, Any], buffers: object) -> None:
        """Handles browser messages: `{"want": index}`, `{"move": [index, point, x, y]}`, `{"place": index}`, `{"undo": true}`."""
        with self._changing:
            if "want" in content and 0 <= content["want"] < self.num_frames:
                picture = images.jpeg(self._read(content["want"]).image, budget=PICTURE_BUDGET)
                self.send({"picture": content["want"]}, [picture])
            elif "move" in content:
                index, point, x, y = content["move"]
                self.move(int(point), x, y, index=int(index))
            elif "place" in content:
                self.place(index=int(content["place"]))
            elif "undo" in content:
                self.undo()

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        self._show()
        return super()._repr_mimebundle_(**kwargs)

    def __repr__(self) -> str:
        return f"AlignView({self._footage.origin}; {self.num_frames} frames, {len(self.corrected)} corrected)"


def align(footage: Footage, *, engine: Detector | None = None, corrections: Corrections | None = None) -> AlignView:
    """Shows the detected points of `footage` for correction by dragging; pass `view.corrections` to `swap`.

    `engine` detects the faces, by default the offline engine (YuNet, on the CPU), whose weights load on first use. `corrections`
    from an earlier session can be continued.
    """
    if not isinstance(footage, Footage):
        raise TypeError(f"align shows footage, such as a take or an admitted clip, got {type(footage).__name__}")
    if engine is None:
        from faceswap_lab.models.engines.offline import OfflineEngine

        engine = OfflineEngine()
    return AlignView(footage, engine.detect, corrections=corrections)
