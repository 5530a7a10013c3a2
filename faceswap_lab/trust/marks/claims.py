"""What a file that wants in says of its own making, and whether that goes with what is declared of it.

Bytes are searched, nothing is decoded: `admit` opens no picture before leave is found. IPTC's digital source type stands as plain
text in XMP, in C2PA's records and in this lab's own mark, in stills and clips alike. A mark in compressed text is not seen, and
one that somebody took out is gone.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ConsentError, storing
from faceswap_lab.trust.marks.metadata import TOOL

SYNTHETIC = {
    "algorithmicMedia": "made by a program",
    "trainedAlgorithmicMedia": "made by a trained model",
    "compositeSynthetic": "a composite with synthetic parts",
    "compositeWithTrainedAlgorithmicMedia": "a composite with parts that a trained model made",
}
"""IPTC's digital source types of what no camera took, and what they mean."""

_TERMS = b"|".join(term.encode() for term in SYNTHETIC)
_SPELLINGS = (b"digitalsourcetype/", b"DigitalSourceType")
_SAID = re.compile(rb"digitalsourcetype/(%b)(?![A-Za-z])|DigitalSourceType\s*(?:=\s*[\"']|>)\s*(%b)(?![A-Za-z])" % (_TERMS, _TERMS))
_CHUNK = 1 << 20
_LONGEST = 256
# Our own mark is canonical JSON, in which this key is the first; in a JPEG that text is quoted once more.
_OURS = re.compile(rb'\{\\?"digital_source_type\\?":\\?"[^"]*$')
_MAX_MARK = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A file's own word that no camera took it: IPTC's term, and the details of this lab's mark (empty for others')."""

    term: str
    mark: dict[str, Any]

    @property
    def real_source(self) -> str:
        """Who gives the face in a file that a lab like this one made, if that is a real person."""
        source = self.mark.get("source")
        subject = str(source.get("subject", "")) if isinstance(source, dict) else ""
        return "" if subject.split(":")[0] in ("actor", "synthetic") else subject


def read_claim(path: Path) -> Claim | None:
    """The first such word in the file's bytes; None if it says nothing, or that a camera took it. Reads in pieces."""
    with storing(path), path.open("rb") as file:
        start, tail = 0, b""
        while piece := file.read(_CHUNK):
            chunk = tail + piece
            if any(spelling in chunk for spelling in _SPELLINGS) and (found := _SAID.search(chunk)):
                term = (found[1] or found[2]).decode()
                file.seek(max(0, start - len(tail) + found.start() - _LONGEST))
                return Claim(term=term, mark=_mark(file.read(_LONGEST + _MAX_MARK), term))
            start, tail = start + len(piece), chunk[-_LONGEST:]
    return None


def require_honest(path: Path, who: str, *, synthetic: bool) -> None:
    """Raise `ConsentError` if the file's own word goes against what is declared of it.

    What says that it is synthetic is nobody's camera original; and what a lab like this made of a real person's face is not
    nobody's either.
    """
    claim = read_claim(path)
    if claim is None:
        return
    told = f"{path.name}, which says of itself that it is {SYNTHETIC[claim.term]} (digital source type {claim.term})"
    if run := claim.mark.get("run"):
        told += f" in run {run} of {TOOL}"
    if claim.real_source:
        raise ConsentError(
            expected="a camera original, or a synthetic file in which nobody real gives the face",
            got=f"{told} with the face of {claim.real_source}",
            remedy="where it was made use the run itself, whose consents go along: Run.open(…).footage()",
        )
    if not synthetic:
        raise ConsentError(
            expected=f"a photograph or recording of {who}",
            got=told,
            remedy='declare it as what it is (who "synthetic:NAME", basis "synthetic: made by WHAT"), or give the camera original',
        )


def _mark(around: bytes, term: str) -> dict[str, Any]:
    """The details of our own mark in these bytes, of which `term` is the first value; empty if they are another program's."""
    place = around.find(term.encode())
    begin = _OURS.search(around[:place])
    if begin is None:
        return {}
    text = around[begin.start() :].decode("utf-8", "replace")
    if text.startswith('{\\"'):
        text = re.sub(r'\\(["\\])', r"\1", text)
    try:
        details, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return {}
    return details if isinstance(details, dict) and details.get("tool") == TOOL else {}
