"""What all widgets share: their files in the browser, and the still picture for those who read a notebook without a kernel."""

from pathlib import Path
from typing import Any

import anywidget

from faceswap_lab.faces.frame import Image
from faceswap_lab.views import images

PICTURE_BUDGET = 500_000
"""Bytes of one picture that goes to the browser or into the notebook's file."""

_STATIC = Path(__file__).parent / "static"


class Widget(anywidget.AnyWidget):
    """A widget that also shows itself as a still picture, `picture()`, to papermill, nbconvert and GitHub."""

    def picture(self) -> Image:
        """A still picture of what the widget shows."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        shown = super()._repr_mimebundle_(**kwargs)
        data, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
        still = images.png(self.picture(), budget=PICTURE_BUDGET)
        return {**data, "image/png": images.base64_text(still), "text/plain": repr(self)}, metadata


def script(name: str) -> str:
    """The ES module of a widget: one common beginning, then its own file."""
    return _joined(name, ".js")


def style(name: str) -> str:
    """The style sheet of a widget, whose outermost node has the classes `fl-widget` and `fl-<name>`."""
    return _joined(name, ".css")


def _joined(name: str, suffix: str) -> str:
    return "".join((_STATIC / f"{each}{suffix}").read_text(encoding="utf-8") for each in ("widget", name))
