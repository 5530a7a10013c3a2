"""Admission, the only way for real files into the lab: who is depicted, and on what basis, before any pixel is read."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from faceswap_lab.errors import ConsentError, LabError, MediaError
from faceswap_lab.faces.footage import Clip, Grant
from faceswap_lab.faces.footage import digest as digest_of
from faceswap_lab.names import same_name
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.basis import FORMS, Basis, parse_basis
from faceswap_lab.trust.consent.declare import File, declare, declare_all
from faceswap_lab.trust.consent.gate import to_allow
from faceswap_lab.trust.consent.manifest import Entry, find_entries, find_entry, utc_today
from faceswap_lab.trust.grants import issue
from faceswap_lab.trust.marks.claims import require_honest

Maker = Callable[[str], str]
"""SHA-256 of a file to the id of the run that recorded it among its artifacts; empty if none did."""


def admit(
    path: Path,
    *,
    root: Path,
    who: str | None = None,
    basis: str | Basis | None = None,
    uses: Iterable[str] = (),
    source: str = "",
    made_by: Maker = lambda digest: "",
    today: date | None = None,
) -> Clip:
    """Admit a real picture or clip. Its bytes are hashed; nothing is decoded before a permission is found.

    A file listed in a manifest is admitted under its entry. Any other needs `who`, `basis` and `uses`, which are written to a
    manifest and logged. Raises `MediaError` if there is no such file, `ConsentError` (and logs the refusal) if no permission
    covers it, if its metadata says that it is synthetic but it is declared as a real person's, or if `made_by` knows it as the
    artifact of a run, which keeps the consents of the people it was made from.
    """
    if not _is_file(path):
        raise MediaError(expected="a picture or clip", got=f"no file {path}", remedy="check the path")
    wanted = frozenset(uses)
    digest = digest_of(path)
    try:
        _require_no_artifact(path, digest, made_by)
        entry = find_entry(root, digest)
        if entry is None:
            entry = _declared(root, path, digest, who, basis, wanted, source, today or utc_today())
        else:
            require_honest(path, entry.subject, synthetic=entry.synthetic)
        _agrees(entry, who, wanted, today or utc_today())
    except ConsentError as error:
        audit.append(root, _refusal(digest, error), people=(who,))
        raise
    audit.append(root, _admission(entry))
    return _clip(root, path, entry)


def reopen(path: Path, *, root: Path, today: date | None = None) -> Clip:
    """The Clip of a file that was admitted before and that a run's record names: checked again, but only a refusal is logged, so
    that looking at results needs no writable log. Errors as for `admit`; ConsentError if its entry is gone."""
    digest = digest_of(path)
    try:
        entry = find_entry(root, digest)
        if entry is None:
            raise ConsentError(
                expected=f"the manifest entry under which {path.name} was admitted",
                got="none any more",
                remedy="restore the manifest, or admit the file again, saying who is depicted and on what basis",
            )
        require_honest(path, entry.subject, synthetic=entry.synthetic)
        _agrees(entry, None, frozenset(), today or utc_today())
    except ConsentError as error:
        audit.append(root, _refusal(digest, error))
        raise
    return _clip(root, path, entry)


def _require_no_artifact(path: Path, digest: str, made_by: Maker) -> None:
    if run := made_by(digest):
        raise ConsentError(
            expected="a camera original or another file from outside the lab",
            got=f"{path.name}, an artifact of the run {run}",
            remedy="use the run itself, which keeps its consents: Run.open(…).footage() for a swap, lab.faceset(…) for faces",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A file that was not admitted, and why. `sha256` is empty if its bytes could not be read."""

    path: Path
    sha256: str
    error: LabError


def admit_all(
    paths: Iterable[Path],
    *,
    root: Path,
    who: str | None = None,
    basis: str | Basis | None = None,
    uses: Iterable[str] = (),
    source: str = "",
    made_by: Maker = lambda digest: "",
    today: date | None = None,
) -> tuple[list[Clip], list[Refused]]:
    """`admit` for many files: those with an entry are admitted under it, the others are declared together in one manifest.

    A missing, unreadable or refused file does not stop the others: it is returned among the refused, with its error. Of identical
    files the first is admitted. `uses` are those declared for files without an entry.
    """
    day = today or utc_today()
    digests, refused = _digests(paths, made_by)
    entries = find_entries(root, digests)
    strangers = {digest: path for digest, path in digests.items() if digest not in entries}
    declared, errors = _declared_together(root, strangers, who, basis, frozenset(uses), source, day)
    entries |= declared
    allowed = []
    for digest, path in digests.items():
        try:
            if digest in errors:
                raise errors[digest]
            if digest not in strangers:
                require_honest(path, entries[digest].subject, synthetic=entries[digest].synthetic)
            _agrees(entries[digest], who, frozenset(), day)
        except ConsentError as error:
            refused.append(Refused(path=path, sha256=digest, error=error))
        else:
            allowed.append((path, entries[digest]))
    # All lines are logged before the first Clip is returned, so that nothing is used off the record.
    lines = [_refusal(each.sha256, each.error) for each in refused if each.sha256] + [_admission(entry) for _, entry in allowed]
    audit.append_all(root, lines, people=(who,))
    return [_clip(root, path, entry) for path, entry in allowed], refused


def _digests(paths: Iterable[Path], made_by: Maker) -> tuple[dict[str, Path], list[Refused]]:
    """Digest to the first file that has it; and the unreadable files, and those that a run made."""
    digests: dict[str, Path] = {}
    refused = []
    for path in paths:
        digest = ""
        try:
            digest = digest_of(path)
            _require_no_artifact(path, digest, made_by)
            digests.setdefault(digest, path)
        except (MediaError, ConsentError) as error:
            refused.append(Refused(path=path, sha256=digest, error=error))
    return digests, refused


def _declared_together(
    root: Path,
    files: Mapping[str, Path],
    who: str | None,
    basis: str | Basis | None,
    uses: frozenset[str],
    source: str,
    today: date,
) -> tuple[dict[str, Entry], dict[str, ConsentError]]:
    """Entries of these files, written to one manifest, and the errors of the others by digest."""
    if not files:
        return {}, {}
    try:
        _require_declared(next(iter(files.values())), who, basis, uses)
        errors = _dishonest(files, who or "", str(basis or ""))
        rows = [File(path=path, sha256=digest) for digest, path in files.items() if digest not in errors]
        return declare_all(root, rows, who=who or "", basis=basis or "", uses=uses, source=source, today=today), errors
    except ConsentError as error:
        return {}, dict.fromkeys(files, error)


def enlist(
    files: Iterable[File],
    *,
    root: Path,
    who: str | None,
    basis: str | Basis | None,
    uses: Iterable[str],
    source: str = "",
    today: date | None = None,
) -> dict[str, Entry]:
    """Write manifest rows for files of a data set without admitting them: digest to entry. ConsentError as in `admit`."""
    listed, wanted = list(files), frozenset(uses)
    if listed:
        _require_declared(listed[0].path, who, basis, wanted)
    return declare_all(root, listed, who=who or "", basis=basis or "", uses=wanted, source=source, today=today or utc_today())


def _refusal(digest: str, error: LabError) -> dict[str, str]:
    return {"action": "admission refused", "sha256": digest, "reason": str(error)[:2000]}


def _admission(entry: Entry) -> dict[str, str]:
    return {"action": "admitted", "sha256": entry.sha256, "entry": entry.label, "subject": entry.subject}


def _clip(root: Path, path: Path, entry: Entry) -> Clip:
    consent = entry.manifest.consent
    grant = Grant(
        path=path.resolve(),
        sha256=entry.sha256,
        subject=entry.subject,
        basis=consent.kind,
        basis_text=consent.text,
        uses=frozenset(consent.uses),
        entry=entry.label,
    )
    return Clip(issue(root, grant))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # e.g. a name too long for this system
        return False


def _declared(
    root: Path, path: Path, digest: str, who: str | None, basis: str | Basis | None, uses: frozenset[str], source: str, today: date
) -> Entry:
    _require_declared(path, who, basis, uses)
    assert who is not None
    assert basis is not None
    require_honest(path, who, synthetic=parse_basis(str(basis))[0] == "synthetic")
    return declare(root, path=path, sha256=digest, who=who, basis=basis, uses=uses, source=source, today=today)


def _dishonest(files: Mapping[str, Path], who: str, basis: str) -> dict[str, ConsentError]:
    """Errors, by digest, of files whose metadata contradicts what is declared."""
    synthetic = parse_basis(basis)[0] == "synthetic"
    errors = {}
    for digest, path in files.items():
        try:
            require_honest(path, who, synthetic=synthetic)
        except ConsentError as error:
            errors[digest] = error
    return errors


def _require_declared(path: Path, who: str | None, basis: str | Basis | None, uses: frozenset[str]) -> None:
    given = {"who": who, "basis": basis, "uses": uses}
    if missing := [name for name, value in given.items() if not value]:
        raise ConsentError(
            expected=f"a manifest entry for {path.name}, or who is depicted, the basis and the uses",
            got=f"no entry, and no {' or '.join(missing)}",
            remedy=f"declare them if you are entitled to; a basis has one of these forms: {FORMS}",
        )


def _agrees(entry: Entry, who: str | None, uses: frozenset[str], today: date) -> None:
    """Raise `ConsentError` unless the entry is in force and covers what the caller states."""
    if problem := entry.standing(today):
        raise ConsentError(
            expected=f"a consent in force for {entry.subject}",
            got=f"{entry.label}: {problem}",
            remedy="ask them again, or use an actor",
        )
    if who is not None and not same_name(" ".join(who.split()), entry.subject):
        raise ConsentError(
            expected=f"{entry.subject}, the subject of this file according to {entry.label}",
            got=repr(who),
            remedy="correct the name, or the manifest",
        )
    if beyond := uses - entry.manifest.consent.uses:
        raise ConsentError(
            expected=f"uses allowed by {entry.label}: {', '.join(sorted(entry.manifest.consent.uses)) or 'none'}",
            got=", ".join(sorted(beyond)),
            remedy=to_allow(entry, beyond),
        )
