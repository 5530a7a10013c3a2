"""What a page may say: no paths and no addresses, and nobody's name."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from faceswap_lab.names import folded
from faceswap_lab.runs.call import fields_of
from faceswap_lab.trust import subjects
from faceswap_lab.trust.consent.manifest import readable_manifests
from faceswap_lab.trust.spelling import Finder

SOMEBODY = "a real person"
_SUFFIXES = (
    "png|jpe?g|webp|gif|bmp|tiff?|mp4|mov|mkv|webm|avi|json|jsonl|toml|csv|html?|zip|tar|ipynb|py|txt|log|npz|onnx|safetensors|pt"
)
_HEAD = r"(?:~?/|[A-Za-z]:[\\/]|\\\\)(?=[\w.~-])"
_START = rf"(?<![\w:/.@<~-]){_HEAD}"
_PATHS = re.compile(
    rf"""\b[a-z][a-z0-9+.-]*://[^\s'"<>)]+"""
    rf"""|(?<=['"]){_HEAD}[^'"\n]+(?=['"])"""
    rf"""|{_START}[^'"\n]{{0,240}}?\.(?:{_SUFFIXES})\b"""
    rf"""|{_START}[^\s'"<>|,;()\[\]{{}}]+"""
)
"""An address, a quoted path, a path with a known suffix (it may hold blanks), and any other path, in this order."""

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Telling:
    """Replaces what a page must not say: `finder` knows real people's names, `places` are folders whose names may hold blanks."""

    finder: Finder
    places: tuple[str, ...] = ()

    def text(self, text: str) -> str:
        """The text without paths, addresses and names; of a path to a Python file the name remains, as tracebacks need it."""
        plain = _ANSI.sub("", text)
        for place in self.places:
            plain = plain.replace(place, "/place")
        return self.finder.replaced(_PATHS.sub(_path, plain), lambda *_: SOMEBODY)

    def of(self, value: Any) -> Any:
        """A block, section or any other plain value, with each text in it replaced; pictures and figures stay as they are."""
        told = value
        if isinstance(value, str):
            told = self.text(value)
        elif isinstance(value, Mapping):
            told = {self.text(str(name)): self.of(inner) for name, inner in value.items()}
        elif isinstance(value, list | tuple):
            told = type(value)(self.of(inner) for inner in value)
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            told = dataclasses.replace(
                value, **{each.name: self.of(getattr(value, each.name)) for each in dataclasses.fields(value)}
            )
        return told


def telling(root: Path) -> Telling:
    """For a lab: the real people that its manifests and its table of names know, in any spelling, and their manifests' names."""
    known = [(name, manifest) for name, manifest in readable_manifests(root) if manifest is not None]
    real = [(name, manifest) for name, manifest in known if manifest.consent.kind != "synthetic"]
    names = [person for _, manifest in real for person in (manifest.subject, *manifest.consent.partners)]
    names += [spelling for row in subjects.read(root).people.values() for spelling in (row.name, *row.others)]
    people = {folded(name): name for name in names if name.strip()}
    places = {str(place) for place in (root, root.resolve(), Path.cwd(), Path.home()) if len(place.parts) > 1}
    finder = Finder(tuple(name for name, _ in real), tuple(people.values()))
    return Telling(finder=finder, places=tuple(sorted(places, key=len, reverse=True)))


def told_input(value: str, *, hides: bool) -> str:
    """An input as the page tells it: never a path, as a file's name may be a person's; if the page hides somebody, nothing of any
    file, as it may be theirs in whichever run."""
    fields = fields_of(value)
    if not fields or "actor" in fields or "take" in fields:
        return _acted(fields) or value
    if hides:
        return "withheld"
    frames = f", frames {fields['frames'][0]} to {fields['frames'][1]}" if "frames" in fields else ""
    return f"{fields.get('file') or fields.get('faceset') or 'footage'}{frames}"


def _acted(fields: Mapping[str, Any]) -> str:
    """An actor, or a take, in the notation of the command line; empty for anything else."""
    if "actor" in fields:
        return f"actor:{fields['actor']}"
    take = fields.get("take")
    if not isinstance(take, dict):
        return ""
    number = f":{take['seed']}" if take.get("seed") else ""
    facts = f"{take.get('num_frames')} frames of {take.get('size')} px"
    face = "" if take.get("as") is None else f" with the face of actor:{take['as']}"
    return f"actor:{take.get('actor')}/{take.get('kind')}{number}{face}, {facts}"


def shortened(values: Sequence[str], most: int) -> str:
    """The first `most` of some texts, and how many more there are."""
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(values[:most]) + more


def _path(found: re.Match[str]) -> str:
    name = PurePath(found[0].replace("\\", "/")).name
    return f"…/{name}" if name.endswith(".py") else "…"
