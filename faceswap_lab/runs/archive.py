"""Exporting a run as a small archive to share: its record and results, without pixels, weights or names."""

import json
import re
import zipfile
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.files import canonical, encodable, put_in_place, sha256_file
from faceswap_lab.runs.run import Run
from faceswap_lab.runs.sharing.allowed import PLAIN_NAME, Share
from faceswap_lab.runs.sharing.descent import Descent
from faceswap_lab.runs.sharing.outgoing import outgoing
from faceswap_lab.runs.sharing.standing import admitted_files, require_standing
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import utc_today

TEXTS = frozenset({".json", ".jsonl", ".csv", ".txt", ".md", ".toml"})
MAX_TEXT = 1 << 20
"""Size limit of an artifact in an archive, in bytes."""

_ARCHIVE = b"faceswap-lab run"
_EPOCH = (1980, 1, 1, 0, 0, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """What `export` wrote: its members, and the omitted artifacts with the reason."""

    path: Path
    sha256: str
    members: tuple[str, ...]
    left_out: dict[str, str]


def export(run: Run, path: Path, *, today: date | None = None) -> Archive:
    """Write a run's record, recipe, events and small text artifacts as `.zip`; never pixels, never weights or training states.

    If the run's inputs depict anybody but actors, their entries must be in force, and only what is known to tell nothing about them
    is written: settings, figures, digests of results, the environment. The same run gives the same bytes. An older archive of that
    name is replaced. Raises ValueError for another suffix, MediaError if the name is another file's, ConsentError if an entry is
    missing or no longer in force.
    """
    if path.suffix.lower() != ".zip":
        raise ValueError(f"a run must be exported as .zip, got {path.name!r}")
    texts, left_out = _texts(run, _share(run, today or utc_today()))
    with outgoing(path, "an older archive of a run", _is_archive) as temporary:
        with zipfile.ZipFile(temporary, "w") as archive:
            archive.comment = _ARCHIVE
            for name, text in texts.items():
                member = zipfile.ZipInfo(f"{run.id}/{name}", _EPOCH)
                member.external_attr = 0o644 << 16
                archive.writestr(member, text, compress_type=zipfile.ZIP_DEFLATED)
        digest = sha256_file(temporary)
        where = {"file": path.name, "to": str(path.resolve())}
        event = {"action": "run exported", "run": run.id, **where, "sha256": digest, "bytes": temporary.stat().st_size}
        audit.append(run.root, event)
        put_in_place(temporary, path)
    return Archive(path=path, sha256=digest, members=tuple(texts), left_out=left_out)


def _share(run: Run, today: date) -> Share:
    """ConsentError if an entry of somebody depicted is not in force."""
    seen = Run.survey(run.root)
    descent, steps = Descent.of(seen.runs), {event.get("run") for event in run.events("pipeline_step")}
    users = [run, *(other for other in seen.runs if other.id in steps)]
    files = [digest for user in users for digest in admitted_files(user, descent, seen)] + _admitted_by(users, descent)
    require_standing(run.root, files, today)
    return Share(people=bool(files), root=str(run.root))


def _admitted_by(runs: list[Run], descent: Descent) -> list[str]:
    """SHA-256 of the files that the notebooks of these runs, and of those that they were made from, admitted, by the audit log."""
    notebooks = {other.id for run in runs for other in descent.ancestors(run)}
    lines, _ = audit.walk(runs[0].root)
    admitted = (line.event for line in lines if line.event.get("action") == "admitted")
    return [str(event["sha256"]) for event in admitted if audit.notebook_run(event) in notebooks]


def _texts(run: Run, share: Share) -> tuple[dict[str, str], dict[str, str]]:
    """Members by name, and omitted artifacts with the reason."""
    texts = {
        "run.json": _spelled(share.of_record(run.record)),
        "recipe.json": _spelled(share.of(run.record.recipe, "recipe")),
        "events.jsonl": "".join(canonical(share.of(event)) + "\n" for event in run.events()),
    }
    left_out = {}
    for name, path in run.artifacts().items():
        # Names of crops hold what file they are from.
        shown = name if not share.people or PLAIN_NAME.fullmatch(name) else "others"
        text, reason = _text_of(path, share)
        if reason or shown != name:
            left_out[shown] = reason or "names of its own"
        else:
            texts[f"artifacts/{name}"] = text
    texts["left_out.json"] = _spelled(left_out)
    return texts, left_out


def _text_of(path: Path, share: Share) -> tuple[str, str]:
    """An artifact's text, as far as it may leave, or why none of it must be exported."""
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
        return (text, "") if not share.people else ("", "free text of a run that depicts a person")
    try:
        return canonical(share.of(json.loads(text), "scores" if path.name == "scores.json" else "")), ""
    except ValueError as error:
        return "", f"not JSON: {error}"


def _spelled(value: Any) -> str:
    return encodable(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)) + "\n"


def _is_archive(path: Path) -> bool:
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as archive:
        return archive.comment == _ARCHIVE
