"""Comparison of several footages: wipe, blink or side by side, frame by frame, with the scores below.

All state is in Python traits; the browser only requests the pictures of the frame that it shows. Without a browser (papermill,
nbconvert) the same object shows a still picture of a few frames.
"""

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import traitlets

from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import Image
from faceswap_lab.views import figures, images
from faceswap_lab.views.widget import PICTURE_BUDGET, Widget, script, style

MODES = ("wipe", "blink", "side-by-side")
_KEPT_PICTURES = 64
_JOINED = "  ·  "


@runtime_checkable
class Filmed(Protocol):
    """An object that provides footage, such as a finished swap."""

    def footage(self) -> Footage:
        """The footage to show."""
        ...


@runtime_checkable
class Scored(Protocol):
    """An object that provides scores, such as a finished evaluation: by name `{"value": ..., "floor": ..., "unit": ...}`."""

    @property
    def scores(self) -> dict[str, dict[str, Any]]:
        """Scores by name."""
        ...


class CompareView(Widget):
    """Comparison of footages with equal timing.

    Traits: `frame` (0 .. num_frames - 1), `mode` ("wipe", "blink", "side-by-side"), `left` and `right` (names of the footages),
    `position` (0..1, the wipe's divider), `caption`. Keys in the browser: left and right arrow step by a frame, Home and End jump;
    on the divider the arrows move it.

    A still among clips is repeated; clips of unequal length are compared over the shortest. Raises ValueError for fewer than two.
    """

    _esm = script("compare")
    _css = style("compare")

    frame = traitlets.Int(0).tag(sync=True)
    mode = traitlets.Enum(MODES, default_value="wipe").tag(sync=True)
    left = traitlets.Unicode().tag(sync=True)
    right = traitlets.Unicode().tag(sync=True)
    position = traitlets.Float(0.5, min=0.0, max=1.0).tag(sync=True)
    caption = traitlets.Unicode().tag(sync=True)
    names = traitlets.List(traitlets.Unicode()).tag(sync=True)
    num_frames = traitlets.Int(1).tag(sync=True)
    fps = traitlets.Float(0.0).tag(sync=True)
    size = traitlets.Tuple(traitlets.Int(), traitlets.Int()).tag(sync=True)

    def __init__(
        self, footages: Mapping[str, Footage | Filmed], *, caption: str = "", left: str | None = None, right: str | None = None
    ) -> None:
        if len(footages) < 2:
            raise ValueError(f"a comparison needs at least two footages, got {list(footages)}")
        self._footages: dict[str, Footage] = {name: _footage(name, value) for name, value in footages.items()}
        self._pictures: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        # Messages from the browser arrive on another thread while a cell runs; decoders and the cache are not thread-safe.
        self._reading = threading.RLock()
        names = list(self._footages)
        clips = [len(footage) for footage in self._footages.values() if len(footage) > 1]
        first = self._footages[names[0]]
        super().__init__(
            names=names,
            num_frames=min(clips, default=1),
            fps=max(footage.fps for footage in self._footages.values()),
            size=first.size,
            caption=caption,
            left=left or names[0],
            right=right or names[1],
        )
        self.on_msg(self._answer)

    @traitlets.validate("frame")
    def _frame_exists(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < self.num_frames:
            raise traitlets.TraitError(f"frame {proposal['value']} is not among 0..{self.num_frames - 1}")
        return int(proposal["value"])

    @traitlets.validate("left", "right")
    def _name_exists(self, proposal: Any) -> str:
        if proposal["value"] not in self.names:
            raise traitlets.TraitError(f"no footage is called {proposal['value']!r}; there are {', '.join(self.names)}")
        return str(proposal["value"])

    def jpeg(self, name: str, index: int) -> bytes:
        """Frame `index` of footage `name` as JPEG bytes, from a small cache where possible. Safe from any thread."""
        with self._reading:
            key = (name, index)
            if key not in self._pictures:
                self._pictures[key] = images.jpeg(self._image(name, index), budget=PICTURE_BUDGET, side=1600)
                while len(self._pictures) > _KEPT_PICTURES:
                    self._pictures.popitem(last=False)
            self._pictures.move_to_end(key)
            return self._pictures[key]

    def picture(self, *, rows: int = 3) -> Image:
        """A still picture: `rows` frames spread over the clip, footages side by side, and a difference map if sizes agree."""
        with self._reading:
            return figures.pixels(self.figure(rows=rows))

    def figure(self, *, rows: int = 3) -> figures.SelfShowing:
        """`picture` as a matplotlib Figure. The map compares "swap" with "truth" if given, else left with right footage."""
        rows = min(rows, self.num_frames)
        indices = [round((row + 0.5) * self.num_frames / rows - 0.5) for row in range(rows)]
        columns = {name: [self._image(name, index) for index in indices] for name in self.names}
        pair = ("swap", "truth") if {"swap", "truth"} <= set(self.names) else (self.left, self.right)
        alike = len({self._footages[name].size for name in pair}) == 1 and pair[0] != pair[1]
        labels = [f"frame {index}" + (f"\n{index / self.fps:.2f} s" if self.fps else "") for index in indices]
        return figures.comparison(columns, labels=labels if self.num_frames > 1 else (), difference_of=pair if alike else None)

    def _image(self, name: str, index: int) -> Image:
        with self._reading:
            footage = self._footages[name]
            return footage[min(index, len(footage) - 1)].image

    def _answer(self, _: object, content: Mapping[str, Any], buffers: object) -> None:
        """Answers the browser's `{"want": [name, index]}` with the picture as a buffer, or with the error."""
        name, index = str(content["want"][0]), int(content["want"][1])
        if name not in self._footages or not 0 <= index < self.num_frames:
            return
        try:
            picture = self.jpeg(name, index)
        except Exception as error:
            self.send({"failed": [name, index], "why": str(error)})
            raise
        self.send({"picture": [name, index]}, [picture])

    def __repr__(self) -> str:
        return f"CompareView({', '.join(self.names)}; {self.num_frames} frame{'s' if self.num_frames != 1 else ''})"


def compare(*, scores: Scored | Mapping[str, float] | str | None = None, **footages: Footage | Filmed) -> CompareView:
    """Compares footages interactively: `compare(target=take, swap=result, truth=truth, scores=scores)`.

    The wipe initially shows the last two arguments: the swap and its truth, if there is one. `scores` are shown below: those of a
    finished evaluation with their floors, or numbers by name, or any line of text.
    """
    names = list(footages)
    left, right = (names[-2], names[-1]) if len(names) > 1 else (None, None)
    return CompareView(footages, caption=_caption(scores), left=left, right=right)


def _caption(scores: Scored | Mapping[str, float] | str | None) -> str:
    if scores is None or isinstance(scores, str):
        return scores or ""
    if isinstance(scores, Mapping):
        return _JOINED.join(f"{name} {value:.4g}" for name, value in scores.items())
    return _JOINED.join(_score(name, score) for name, score in scores.scores.items())


def _score(name: str, score: Mapping[str, Any]) -> str:
    unit = f" {score['unit']}" if score.get("unit") else ""
    floor = "" if score.get("floor") is None else f" (floor {score['floor']:.3g})"
    value = "not measured" if score["value"] is None else f"{score['value']:.3g}{unit}"
    return f"{name} {value}{floor}"


def _footage(name: str, value: object) -> Footage:
    found = value if isinstance(value, Footage) else value.footage() if isinstance(value, Filmed) else None
    if not isinstance(found, Footage):
        raise TypeError(f"{name} is not footage: {type(value).__name__}")
    if not len(found):
        raise ValueError(f"{name} has no frames")
    return found
