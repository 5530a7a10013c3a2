"""Withdrawing a person's consent: from then on every gate refuses their files."""

import csv
import io
import re
import tomllib
from collections.abc import Collection
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from faceswap_lab.errors import ManifestError
from faceswap_lab.files import locked, sha256_text, write_whole
from faceswap_lab.names import folded, same_name
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.declare import toml_string
from faceswap_lab.trust.consent.manifest import Entry, Manifest, manifest_files, read_manifest, read_manifests, read_text


def entries_of(root: Path, subject: str, *, digests: Collection[str] = ()) -> list[Entry]:
    """All entries of manifests about `subject` (compared by `names.same_name`), and those of the files with these digests.

    Raises `ManifestError` if any manifest cannot be read, since it might be about this person.
    """
    return [
        entry
        for _, manifest, entries in read_manifests(root)
        for entry in entries
        if same_name(manifest.subject, subject) or entry.sha256 in digests
    ]


def withdraw(root: Path, subject: str, *, digests: Collection[str] = (), today: date) -> list[str]:
    """Mark the manifests about `subject` as withdrawn, and log it; the names of all manifests changed or created.

    Files with these `digests` depict the person but are listed under others: their rows move to a withdrawn manifest of their own.
    Existing withdrawals keep their date, so an interrupted call can be repeated.
    """
    changed = []
    with locked(root / "runs" / ".admission.lock"):
        for name, manifest, _ in read_manifests(root):
            if same_name(manifest.subject, subject) and manifest.consent.withdrawn is None:
                _mark(root, name, manifest_files(root)[name], today)
                changed.append(name)
        others = [entry for entry in entries_of(root, subject, digests=digests) if entry.manifest.consent.withdrawn is None]
        for name in dict.fromkeys(entry.name for entry in others):
            changed += [name, _move(root, name, subject, [entry for entry in others if entry.name == name], today)]
        if changed:
            audit.append(root, {"action": "consent withdrawn", "subject": subject, "manifests": changed})
    return changed


def _mark(root: Path, name: str, path: Path, today: date) -> None:
    """Write `withdrawn` into a manifest. For one shipped with a package, a copy in the lab is marked, which takes precedence."""
    place = root / "data_manifests" / f"{name}.toml"
    text = read_text(path)
    marked = _with_withdrawal(path, text, today)
    rows = path.with_suffix(".csv")
    if place != path and rows.exists():
        write_whole(place.with_suffix(".csv"), read_text(rows), private=True)
    write_whole(place, marked, private=True)


def _with_withdrawal(path: Path, text: str, today: date) -> str:
    marked = re.sub(r"(?m)^(\s*\[\s*consent\s*\][^\n]*)$", rf"\1\nwithdrawn = {today.isoformat()}", text, count=1)
    try:
        if Manifest.model_validate(tomllib.loads(marked)).consent.withdrawn == today:
            return marked
    except (ValueError, ValidationError):
        pass  # reported below: the file was valid before, so the inserted line does not fit its layout
    raise ManifestError(
        expected=f"a [consent] table of its own in {path}",
        got="another layout",
        remedy=f"add `withdrawn = {today.isoformat()}` to its consent manually, then repeat the call",
    )


def _move(root: Path, name: str, subject: str, entries: list[Entry], today: date) -> str:
    """Move rows of a manifest to a withdrawn one; its name. Meanwhile a digest may be in both, and is then refused."""
    path = manifest_files(root)[name]
    made = f"{name}-withdrawn-{sha256_text(folded(subject))[:8]}"
    place = root / "data_manifests" / f"{made}.toml"
    toml, known = _withdrawn_text(path, subject, today), []
    if place.exists():
        toml, known = place.read_text(encoding="utf-8"), [[entry.uri, entry.sha256] for entry in read_manifest(place)[1]]
    # The rows are written first: a csv without its toml allows nothing, a toml without rows covers no file.
    moved = [[entry.uri, entry.sha256] for entry in entries if [entry.uri, entry.sha256] not in known]
    write_whole(place.with_suffix(".csv"), _rows_text([["uri", "sha256"], *known, *moved]), private=True)
    write_whole(place, toml, private=True)
    gone = {entry.sha256 for entry in entries}
    kept = list(csv.reader(io.StringIO(read_text(path.with_suffix(".csv")), newline=""), strict=True))
    home = root / "data_manifests" / path.name
    write_whole(home.with_suffix(".csv"), _rows_text([row for row in kept if row and row[1].lower() not in gone]), private=True)
    if home != path:
        write_whole(home, read_text(path), private=True)
    return made


def _withdrawn_text(path: Path, subject: str, today: date) -> str:
    """The manifest's text for one of its people, marked as withdrawn."""
    marked = _with_withdrawal(path, read_text(path), today)
    synthetic = Manifest.model_validate(tomllib.loads(marked)).consent.kind == "synthetic"
    who = f"synthetic:{subject}" if synthetic and not subject.startswith("synthetic") else subject
    named = re.sub(r"(?m)^\s*subject\s*=.*$", lambda _: f"subject = {toml_string(who)}", marked, count=1)
    if Manifest.model_validate(tomllib.loads(named)).subject != who:
        raise ManifestError(
            expected=f"subject on one line in {path}", got="another layout", remedy="put subject on one line, then repeat the call"
        )
    return named


def _rows_text(rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
