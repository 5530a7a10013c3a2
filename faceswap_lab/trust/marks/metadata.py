"""The mark in an exported file: one sentence for people, and one JSON text for programs.

It names the source and the target, except a person whose face was removed: a mark with their name, or their picture's digest, would
undo the anonymisation. The lab's own audit log has both, under the exported file's digest.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape, unescape
from pathlib import Path
from typing import Any

from faceswap_lab.errors import MediaError
from faceswap_lab.faces import frame as stills
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Grant
from faceswap_lab.files import VERSION, canonical
from faceswap_lab.trust.consent.gate import Permission, Subject
from faceswap_lab.trust.likeness import Likeness

TOOL = "faceswap_lab"

SENTENCE, DETAILS = "description", TOOL
"""Metadata keys, and names of a page's `<meta>` tags."""

SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
"""IPTC's vocabulary of digital source types, which C2PA uses too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """What a swap left as it was: frames in which no face was found, and faces that were found but not chosen."""

    frames: int = 0
    faces: int = 0

    def __add__(self, other: "Unchanged") -> "Unchanged":
        return Unchanged(frames=self.frames + other.frames, faces=self.faces + other.faces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lineage:
    """Where a result comes from: the run, the source, the target, and whether a trained model made the pixels.

    `result` is the grant that the run issued for its result, `trained_on` whom the model learned from, `unchanged` what the swap
    left as it was, `likeness` how much an anonymised person is still recognised (None where that was not measured: nothing leaves
    so). `inputs` (name to digest or origin) goes into the audit log only. `seal` shows that the lab issued it for that
    result (`trust.grants`): one that was put together or changed by hand has none, and nothing leaves under it.
    """

    run: str
    source: Subject
    target: Subject
    trained: bool
    result: Grant | None = None
    trained_on: tuple[Subject, ...] = ()
    unchanged: Unchanged = Unchanged()
    likeness: Likeness | None = None
    inputs: Mapping[str, str] = field(default_factory=dict)
    seal: str = ""

    @property
    def text(self) -> str:
        """What the seal covers: all that the gate and the mark go by, as canonical JSON."""
        people = {"source": self.source, "target": self.target}
        told = {side: [subject.name, *subject.origins] for side, subject in people.items()}
        result = "" if self.result is None else self.result.seal
        learned = [[subject.name, *subject.origins] for subject in self.trained_on]
        left = [self.unchanged.frames, self.unchanged.faces]
        alike = {} if self.likeness is None else {"likeness": self.likeness.record()}
        parts = {"run": self.run, "trained": self.trained, "result": result, "trained_on": learned, "unchanged": left}
        return canonical({**told, **parts, **alike})


def metadata_of(lineage: Lineage, permission: Permission) -> dict[str, str]:
    """The two metadata values of one result."""
    return {SENTENCE: sentence(lineage, permission), DETAILS: canonical(details(lineage, permission))}


def kept_metadata(lineage: Lineage, permission: Permission) -> dict[str, str]:
    """The same for what stays in a run: without the time, so that equal results are equal bytes."""
    told = {name: value for name, value in details(lineage, permission).items() if name != "time"}
    return {SENTENCE: sentence(lineage, permission), DETAILS: canonical(told)}


def sentence(lineage: Lineage, permission: Permission) -> str:
    """The sentence for people."""
    by = f"by {TOOL} {VERSION}"
    if lineage.source == lineage.target and lineage.source.is_actor:
        return f"Synthetic: generated {by}. It shows {lineage.source.name}, a computer-made person; nobody real is shown."
    if not permission.real_target and not permission.real_source:
        return f"Synthetic: AI-generated {by}. The face of {lineage.source.name} on {lineage.target.name}; nobody real is shown."
    whom = f"a real person {_how_hidden(lineage)}" if permission.anonymises else lineage.target.name
    return f"Synthetic: AI-altered {by}. The face of {lineage.source.name} was put on {whom}; this is not a true recording."


def _how_hidden(lineage: Lineage) -> str:
    """What may be claimed about an anonymised person, given what the swap left as it was, and who still recognises them."""
    left, alike = lineage.unchanged, lineage.likeness
    still = ", whom face recognisers still recognise" if alike is not None and alike.recognisable else ""
    if left == Unchanged():
        return f"whose own face was replaced wherever a face was found{still}"
    return f"but {left.frames} frames without a found face and {left.faces} other faces are unchanged{still}"


def details(lineage: Lineage, permission: Permission) -> dict[str, Any]:
    """The details for programs: JSON values only, written as one text because metadata readers mangle arrays."""
    hidden = {"subject": "withheld", "origin": "withheld"}
    left = lineage.unchanged
    hiding: dict[str, Any] = {"unchanged": {"frames": left.frames, "faces": left.faces}} if permission.anonymises else {}
    if permission.anonymises and lineage.likeness is not None:
        hiding["recognisable"] = lineage.likeness.recognisable
    target = {"subject": lineage.target.name, "origin": lineage.target.origin}
    return {
        "tool": TOOL,
        "version": VERSION,
        "run": lineage.run,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "digital_source_type": SOURCE_TYPES + _source_type(lineage, permission),
        "source": {"subject": lineage.source.name, "origin": lineage.source.origin},
        "target": hidden if permission.anonymises else target,
    } | hiding


def marked_html(html: str, shown: Sequence[tuple[Lineage, Permission]], runs: Sequence[str] = ()) -> str:
    """The page with both texts in its head: all sentences, and a JSON list with one item per result and per other run."""
    if not shown and not runs:
        raise ValueError("a page with results needs their lineages, or the ids of its runs")
    head = re.search(r"<head(\s[^>]*)?>", html, flags=re.IGNORECASE)
    if head is None:
        raise ValueError("the page has no <head> for the mark")
    sentences = dict.fromkeys(sentence(*each) for each in shown) or {_told_of(runs): None}
    items = [details(*each) for each in shown] + [_run_details(run) for run in runs]
    values = {SENTENCE: " ".join(sentences), DETAILS: canonical(items)}
    tags = "".join(f'\n<meta name="{name}" content="{escape(value)}">' for name, value in values.items())
    return html[: head.end()] + tags + html[head.end() :]


def _told_of(runs: Sequence[str]) -> str:
    """The sentence for people on a page without a swap."""
    by = f"Synthetic: a report by {TOOL} {VERSION} of {', '.join(runs)}."
    return f"{by} Faces in its pictures are computer-made; nobody real is shown."


def _run_details(run: str) -> dict[str, Any]:
    """The details of a run that is no swap: what its pictures show was computed."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return {"tool": TOOL, "version": VERSION, "run": run, "time": time, "digital_source_type": SOURCE_TYPES + "algorithmicMedia"}


def read_mark(path: Path) -> list[dict[str, Any]] | None:
    """The details in a file exported by this tool, one item per result; None if it has no such mark."""
    if path.suffix.lower() in (".html", ".htm"):
        found = re.search(rf'<meta name="{DETAILS}" content="([^"]*)">', path.read_text(encoding="utf-8", errors="replace"))
        text = unescape(found[1]) if found else ""
    else:
        text = _metadata(path).get(DETAILS, "")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    items = value if isinstance(value, list) else [value]
    ours = bool(items) and all(isinstance(item, dict) and item.get("tool") == TOOL for item in items)
    return items if ours else None


def _metadata(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        head = file.read(32)
    try:
        return stills.read_metadata(path) if stills.still_format(head) else video.read_metadata(path)
    except MediaError:
        # A file that is not a picture or clip has no mark; the caller decides what that means.
        return {}


def _source_type(lineage: Lineage, permission: Permission) -> str:
    if permission.real_target or permission.real_source:
        return "compositeWithTrainedAlgorithmicMedia" if lineage.trained else "compositeSynthetic"
    return "trainedAlgorithmicMedia" if lineage.trained else "algorithmicMedia"
