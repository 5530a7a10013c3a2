"""Base of all widgets: loading their browser files, and a still picture for viewing a notebook without a kernel."""

from pathlib import Path
from typing import Any

import anywidget

from faceswap_lab.faces.frame import Image
from faceswap_lab.views import images

PICTURE_BUDGET = 500_000
"""Maximum bytes of a picture sent to the browser or stored in the notebook."""

_STATIC = Path(__file__).parent / "static"


class Widget(anywidget.AnyWidget):
    """A widget with a still picture, `picture()`, for papermill, nbconvert and GitHub."""

    def picture(self) -> Image:
        """A still picture of the widget's contents."""
        raise NotImplementedError

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        shown = super()._repr_mimebundle_(**kwargs)
        data, metadata = shown if isinstance(shown, tuple) else (shown or {}, {})
        still = images.png(self.picture(), budget=PICTURE_BUDGET)
        return {**data, "image/png": images.base64_text(still), "text/plain": repr(self)}, metadata


def script(name: str) -> str:
    """The ES module of a widget: the common file, then its own."""
    return _joined(name, ".js")


def style(name: str) -> str:
    """The style sheet of a widget, whose root element has the classes `fl-widget` and `fl-<name>`."""
    return _joined(name, ".css")


def _joined(name: str, suffix: str) -> str:
    return "".join((_STATIC / f"{each}{suffix}").read_text(encoding="utf-8") for each in ("widget", name))
