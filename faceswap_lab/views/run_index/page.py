"""The index as one self-contained page: data as JSON, one script, one style sheet, and a policy that forbids every request."""

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from faceswap_lab.files import encodable
from faceswap_lab.views.html import templates_in

GENERATOR = "faceswap_lab run index"
"""In `<meta name="generator">`: by this an older index is known."""

_HERE = Path(__file__).parents[1]
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render(contents: Mapping[str, Any], *, title: str) -> str:
    """The page as text.

    The policy names script and style by their digests, so that nothing else is run or applied, whatever the data contain. Without
    scripts, a plain table of the runs is shown.
    """
    script, style = _static("run_index.js"), _static("report.css") + _static("run_index.css")
    return (
        templates_in(_HERE / "templates")
        .get_template("run_index.html")
        .render(
            title=encodable(title),
            generator=GENERATOR,
            policy=policy(script, style),
            script=script,
            style=style,
            data=embedded(contents),
            runs=_rows(contents["runs"]),
        )
    )


def policy(script: str, style: str) -> str:
    """The content policy of a page with this script and this style sheet, and nothing else."""
    return (
        f"default-src 'none'; script-src 'sha256-{_hashed(script)}'; style-src 'sha256-{_hashed(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )


def embedded(value: Any) -> str:
    """JSON for a `<script type="application/json">`: no character in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return encodable(text).translate(_ESCAPES)


def _hashed(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _static(name: str) -> str:
    return (_HERE / "static" / name).read_text(encoding="utf-8")


def _rows(runs: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The plain table, for readers without scripts."""
    names = ("id", "verb", "status", "created", "device", "code", "why")
    return [[str(run.get(name) or "") for name in names] for run in runs]
