"""Exporting a run as a small archive to share: its record and results, without pixels, weights or names."""

import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from faceswap_lab.errors import ConsentError, MediaError, storing
from faceswap_lab.faces.frame import hidden_beside
from faceswap_lab.files import canonical, put_in_place, sha256_file
from faceswap_lab.runs.call import digest_in, fields_of, places_of
from faceswap_lab.runs.prune import made_from
from faceswap_lab.runs.run import Run, Survey
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import Entry, find_entry, utc_today

TEXTS = frozenset({".json", ".jsonl", ".csv", ".txt", ".md", ".toml"})
MAX_TEXT = 1 << 20
"""Size limit of an artifact in an archive, in bytes."""

_ARCHIVE = b"faceswap-lab run"
_EPOCH = (1980, 1, 1, 0, 0, 0)
# Swaps keep face points for their reports; those of a real person are biometric data.
_BIOMETRIC = frozenset({"keypoints", "landmarks", "embeddings"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What `export` wrote: its members, and the omitted artifacts with the reason."""

    path: Path
    sha256: str
    members: tuple[str, ...]
    left_out: dict[str, str]


def export(run: Run, path: Path, *, today: date | None = None) -> Archive:
    """Write a run's record, recipe, events and small text artifacts as `.zip`; never pixels, never weights or training states.

    If the run's inputs depict anybody but actors, their entries must be in force, and names, file paths, face points and free text
    are left out. The same run gives the same bytes. An older archive of that name is replaced. Raises ValueError for another
    suffix, MediaError if the name is another file's, ConsentError if an entry is missing or no longer in force.
    """
    if path.suffix.lower() != ".zip":
        raise ValueError(f"a run must be exported as .zip, got {path.name!r}")
    veil = _veil(run, today or utc_today())
    texts, left_out = _texts(run, veil)
    with _outgoing(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.comment = _ARCHIVE
            for name, text in texts.items():
                member = zipfile.ZipInfo(f"{run.id}/{name}", _EPOCH)
                member.external_attr = 0o644 << 16
                archive.writestr(member, text, compress_type=zipfile.ZIP_DEFLATED)
        digest = sha256_file(temporary)
        event = {"action": "run exported", "run": run.id, "file": path.name, "to": str(path.resolve()), "sha256": digest}
        audit.append(run.root, event)
        put_in_place(temporary, path)
    return Archive(path=path, sha256=digest, members=tuple(texts), left_out=left_out)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Veil:
    """What must not be exported, and its replacement. `people` says whether anybody but actors is depicted."""

    words: dict[str, str]
    people: bool

    def over(self, value: Any) -> Any:
        """A JSON value, redacted."""
        if isinstance(value, dict):
            return {self.over(name): self.over(inner) for name, inner in value.items() if not (self.people and name in _BIOMETRIC)}
        if isinstance(value, list):
            return [self.over(inner) for inner in value]
        return self.over_text(value) if isinstance(value, str) else value

    def over_text(self, text: str) -> str:
        """A text, redacted: longest words first, so that none is split by another; whole words only, as names may be short."""
        for word in sorted(self.words, key=len, reverse=True):
            # Verbatim, and as escaped by JSON inside JSON.
            for spelling in {word, json.dumps(word)[1:-1], json.dumps(word, ensure_ascii=False)[1:-1]}:
                text = re.sub(rf"(?<!\w){re.escape(spelling)}(?!\w)", self.words[word], text, flags=re.IGNORECASE)
        return text


def _veil(run: Run, today: date) -> _Veil:
    words = {str(run.root): "LAB"}
    files = list(_files(run, Run.survey(run.root)))
    for digest, place in files:
        entry = _standing(run.root, digest, today)
        if not entry.synthetic:
            words[entry.subject] = f"person {digest[:12]}"
        if place:
            words |= dict.fromkeys((place, Path(place).name), f"file {digest[:12]}")
    return _Veil(words=words, people=bool(files))


def _files(run: Run, seen: Survey) -> Iterator[tuple[str, str]]:
    """(sha256, path) of every admitted file among the inputs of the run and of the runs that it was made from.

    Raises the error of an unreadable run among those, since its subjects are unknown.
    """
    runs = seen.runs
    made = {digest for other in runs for digest in other.record.artifacts.values()}
    waiting, asked = [run], {run.id}
    while waiting:
        user = waiting.pop()
        for each in seen.unreadable:
            if any(each.id in value for value in user.inputs.values()):
                raise each.error
        moved = places_of(user.path, user.record)
        for value in user.inputs.values():
            digest = digest_in(value)
            # Results of other runs have no entry of their own; the files of those runs are checked instead.
            if digest and digest not in made:
                yield from ((digest, place) for place in {str(fields_of(value).get("path", "")), str(moved.get(digest, ""))})
        parents = [other for other in runs if other.id not in asked and made_from(user, other)]
        asked |= {other.id for other in parents}
        waiting += parents


def _standing(root: Path, digest: str, today: date) -> Entry:
    entry = find_entry(root, digest)
    problem = "no entry" if entry is None else entry.standing(today)
    if entry is None or problem:
        raise ConsentError(
            expected=f"a manifest entry in force for the file {digest[:12]}… that the run was made from",
            got=problem,
            remedy="export only runs of people whose consent is in force",
        )
    return entry


def _texts(run: Run, veil: _Veil) -> tuple[dict[str, str], dict[str, str]]:
    """Members by name, and omitted artifacts with the reason."""
    texts = {
        "run.json": _spelled(veil.over(run.record.model_dump(mode="json"))),
        "recipe.json": _spelled(veil.over(run.record.recipe)),
        "events.jsonl": "".join(canonical(veil.over(event)) + "\n" for event in run.events()),
    }
    left_out = {}
    for name, path in run.artifacts().items():
        text, reason = _text_of(path, veil)
        if reason:
            left_out[name] = reason
        else:
            texts[f"artifacts/{name}"] = text
    texts["left_out.json"] = _spelled(left_out)
    return texts, left_out


def _text_of(path: Path, veil: _Veil) -> tuple[str, str]:
    """An artifact's text, redacted, or why it must not be exported."""
    if path.suffix.lower() not in TEXTS:
        return "", "not plain text: pixels, weights and pages with pictures are never exported"
    if path.stat().st_size > MAX_TEXT:
        return "", f"more than {MAX_TEXT} bytes"
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return "", "not UTF-8"
    if re.search(r"data:image/|image/(png|jpe?g|webp|gif)|;base64,", text):
        return "", "contains a picture"
    if path.suffix.lower() != ".json":
        return (text, "") if not veil.people else ("", "free text of a run that depicts a person")
    try:
        return canonical(veil.over(json.loads(text))), ""
    except ValueError as error:
        return "", f"not JSON: {error}"


def _spelled(value: Any) -> str:
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


@contextmanager
def _outgoing(path: Path) -> Iterator[Path]:
    """A hidden temporary path beside the destination; removed unless it was moved into place."""
    if path.exists() and not _is_archive(path):
        raise MediaError(
            expected="a new name, or an older archive of a run to replace",
            got=f"{path.name}, which is another file",
            remedy="choose another name",
        )
    temporary = hidden_beside(path, uuid4().hex[:8])
    with storing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _is_archive(path: Path) -> bool:
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as archive:
        return archive.comment == _ARCHIVE
