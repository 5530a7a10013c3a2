"""What a widget is in the browser: one common beginning, then its own file, as one module and one style sheet."""

from pathlib import Path

_STATIC = Path(__file__).parent / "static"


def script(name: str) -> str:
    """The ES module of a widget."""
    return _joined(name, ".js")


def style(name: str) -> str:
    """The style sheet of a widget, whose outermost node has the classes `fl-widget` and `fl-<name>`."""
    return _joined(name, ".css")


def _joined(name: str, suffix: str) -> str:
    return "".join((_STATIC / f"{each}{suffix}").read_text(encoding="utf-8") for each in ("widget", name))
