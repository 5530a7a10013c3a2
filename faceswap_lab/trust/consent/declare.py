"""Adding a person's file to the manifests, when somebody entitled to do so declares who is depicted and on what basis."""

import re
import unicodedata
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pydantic import ValidationError

from faceswap_lab.errors import ConsentError
from faceswap_lab.files import locked, sha256_text, write_whole
from faceswap_lab.names import folded, same_name
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.basis import Basis, Terms, terms_of
from faceswap_lab.trust.consent.manifest import (
    CONSENT_ONLY,
    PICTURE_ONLY,
    USES,
    Consent,
    Entry,
    Manifest,
    find_entries,
    readable_manifests,
    uri_problem,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file to be declared. An empty `uri` is derived from the path; `split` is "train", "val", "test" or empty."""

    path: Path
    sha256: str
    uri: str = ""
    split: str = ""


def declare(
    root: Path, *, path: Path, sha256: str, who: str, basis: str | Basis, uses: Iterable[str], source: str, today: date
) -> Entry:
    """Write a manifest entry for a file, log it, and return it. Nothing is written unless the whole declaration is valid.

    The row is added to the manifest of the same person with the same text, or else to a new one named after the person.
    """
    files = [File(path=path, sha256=sha256)]
    return declare_all(root, files, who=who, basis=basis, uses=uses, source=source, today=today)[sha256]


def declare_all(
    root: Path, files: Iterable[File], *, who: str, basis: str | Basis, uses: Iterable[str], source: str, today: date
) -> dict[str, Entry]:
    """`declare` for many files of one person: one manifest, a row each; digest to entry. Existing entries are kept."""
    by_digest = {file.sha256: file for file in files}
    manifest = _manifest(who, basis, frozenset(uses), source or "declared when it was let in", today)
    # The lock file is under `runs/` because git ignores that folder.
    with locked(root / "runs" / ".admission.lock"):
        known = find_entries(root, by_digest)
        fresh = [file for digest, file in by_digest.items() if digest not in known]
        if not fresh:
            return known
        _refuse_withdrawn(root, manifest.subject)
        name = _name(root, manifest)
        toml = root / "data_manifests" / f"{name}.toml"
        if not toml.exists():
            write_whole(toml, _toml(manifest), private=True)
        event = {"action": "admission declared", "manifest": name, "subject": who, **_declaration(manifest.consent)}
        audit.append_all(root, [{**event, "sha256": file.sha256} for file in fresh])
        # The rows are written last: they are what the gate accepts, and by now the declaration is in the log.
        _add_rows(root, toml.with_suffix(".csv"), fresh)
    entries = find_entries(root, by_digest)
    assert len(entries) == len(by_digest), "the rows were just written"
    return entries


def _declaration(consent: Consent) -> dict[str, object]:
    """What is logged about a consent."""
    said: dict[str, object] = {"basis": consent.text, "uses": sorted(consent.uses)}
    if consent.expires:
        said["expires"] = consent.expires.isoformat()
    if consent.partners:
        said["partners"] = sorted(consent.partners)
    return said


def _add_rows(root: Path, rows: Path, files: Iterable[File]) -> None:
    """Add all rows in one write. The column `split` is added if it is missing and a file has one."""
    files = list(files)
    text = _closed(rows.read_text(encoding="utf-8")) if rows.exists() else "uri,sha256\n"
    head, _, body = text.partition("\n")
    with_split = head.rstrip("\r").endswith(",split")
    if not with_split and any(file.split for file in files):
        text = f"{head.rstrip()},split\n" + "".join(f"{line.rstrip()},\n" for line in body.splitlines() if line.strip())
        with_split = True
    taken = {line.partition(",")[0].strip('"') for line in text.splitlines()}
    for file in files:
        uri = file.uri or _uri(root, file.path, file.sha256, taken)
        taken.add(uri)
        text += f"{_quoted(uri)},{file.sha256}{f',{file.split}' if with_split else ''}\n"
    write_whole(rows, text, private=True)


def _manifest(who: str, basis: str | Basis, uses: frozenset[str], source: str, today: date) -> Manifest:
    terms = terms_of(str(basis))
    kind, text = terms.kind, terms.words
    subject = " ".join(who.split())
    if not subject or folded(subject).startswith("actor:"):
        raise ConsentError(expected="the name of the person depicted, or 'synthetic'", got=repr(who), remedy="say who it is")
    if unknown := uses - set(USES):
        raise ConsentError(expected=f"uses among {', '.join(USES)}", got=", ".join(sorted(unknown)), remedy="name the uses allowed")
    if not uses:
        raise ConsentError(expected=f"uses among {', '.join(USES)}", got="none", remedy="name the uses allowed")
    if kind in PICTURE_ONLY and (personal := uses & CONSENT_ONLY):
        raise ConsentError(
            expected="the person's own consent",
            got=f"{kind} for {', '.join(sorted(personal))}",
            remedy="ask the person, or use an actor",
        )
    if (kind == "synthetic") != (subject.split(":")[0] == "synthetic"):
        raise ConsentError(
            expected="'synthetic' (or 'synthetic:<name>') as who if and only if the basis is synthetic",
            got=f"{subject!r} with {text!r}",
            remedy="say who is depicted, or that nobody real is",
        )
    _require_standing(terms, today)
    try:
        given = {"kind": kind, "text": text, "date": today, "uses": sorted(uses), "partners": list(terms.partners)}
        consent = Consent.model_validate(given | {"expires": terms.expires})
        return Manifest(version=1, subject=subject, source=" ".join(source.split()), licence=text, consent=consent)
    except ValidationError as error:
        first = error.errors()[0]
        got = f"{'.'.join(map(str, first['loc']))}: {first['msg'].lower()}"
        raise ConsentError(expected="a declaration that is valid in a manifest", got=got, remedy="rephrase it") from error


def _require_standing(terms: Terms, today: date) -> None:
    if terms.expires and terms.expires < today:
        raise ConsentError(
            expected=f"a {terms.kind} that is valid today, {today}",
            got=f"one that expired on {terms.expires}",
            remedy="ask them again, or use an actor",
        )


def _refuse_withdrawn(root: Path, subject: str) -> None:
    for name, manifest in readable_manifests(root):
        if manifest is not None and manifest.consent.withdrawn and same_name(manifest.subject, subject):
            raise ConsentError(
                expected=f"the agreement of {subject}",
                got=f"manifest {name}: withdrawn on {manifest.consent.withdrawn}",
                remedy="ask again, and remove the withdrawal from that manifest only if they agree",
            )


def _name(root: Path, manifest: Manifest) -> str:
    """The name of an existing manifest with the same content, else an unused name."""
    known = dict(readable_manifests(root))
    for name, other in known.items():
        if other is None:
            continue
        same_words = other.model_copy(update={"consent": other.consent.model_copy(update={"date": manifest.consent.date})})
        # A manifest shipped with an installed package is never added to.
        if same_words == manifest and (root / "data_manifests" / f"{name}.toml").exists():
            return name
    plain = unicodedata.normalize("NFKD", manifest.subject).encode("ascii", "ignore").decode().lower()
    stem = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:40] or f"person-{sha256_text(manifest.subject)[:8]}"
    number = 1
    while (name := stem if number == 1 else f"{stem}-{number}") in known:
        number += 1
    return name


def _uri(root: Path, path: Path, sha256: str, taken: Container[str]) -> str:
    """The path relative to the root; for files elsewhere only the name (folder names may reveal more than a manifest should)."""
    place, home = path.resolve(), root.resolve()
    uri = place.relative_to(home).as_posix() if place.is_relative_to(home) else place.name
    if uri_problem(uri) or uri in taken or '"' in uri:
        suffix = place.suffix.lower() if re.fullmatch(r"\.\w+", place.suffix) else ""
        return f"{sha256[:12]}{suffix}"
    return uri


def _toml(manifest: Manifest) -> str:
    consent = manifest.consent
    return "\n".join(
        [
            "version = 1",
            f"subject = {toml_string(manifest.subject)}",
            f"source = {toml_string(manifest.source)}",
            f"licence = {toml_string(manifest.licence)}",
            "",
            "[consent]",
            f"kind = {toml_string(consent.kind)}",
            f"text = {toml_string(consent.text)}",
            f"date = {consent.date.isoformat()}",
            f"uses = {_toml_list(consent.uses)}",
            *([f"partners = {_toml_list(consent.partners)}"] if consent.partners else []),
            *([f"expires = {consent.expires.isoformat()}"] if consent.expires else []),
            "",
        ]
    )


def _toml_list(names: Iterable[str]) -> str:
    return f"[{', '.join(map(toml_string, sorted(names)))}]"


def toml_string(text: str) -> str:
    """A TOML basic string."""
    escaped = (
        f"\\u{ord(char):04x}" if ord(char) < 32 or ord(char) == 127 else char
        for char in text.replace("\\", "\\\\").replace('"', '\\"')
    )
    return f'"{"".join(escaped)}"'


def _quoted(field: str) -> str:
    return f'"{field}"' if "," in field else field


def _closed(text: str) -> str:
    return text if text.endswith("\n") else text + "\n"
