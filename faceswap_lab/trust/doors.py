"""The two doors: `admit` is the only way in, `export` the only way out.

Nothing is decoded before the gate has said yes, and nothing appears outside that is not marked and logged.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ConsentError, LabError, MediaError, ProvenanceError, storing
from faceswap_lab.faces import frame as stills
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Clip, Footage, Grant
from faceswap_lab.faces.footage import digest as digest_of
from faceswap_lab.faces.frame import ColourTags, Frame, Image
from faceswap_lab.files import locked, put_in_place, sha256_file, sha256_text
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.declare import FORMS, File, declare, declare_all, parse_basis
from faceswap_lab.trust.consent.gate import Leave, Party, check_evaluate, check_swap, check_train, target_uses, to_allow
from faceswap_lab.trust.consent.manifest import Entry, find_entries, find_entry, same_subject
from faceswap_lab.trust.marks.claims import insist_honest
from faceswap_lab.trust.marks.metadata import Lineage, marked_html, metadata_of, read_mark

__all__ = [
    "Exported",
    "File",
    "Lineage",
    "Party",
    "Refused",
    "admit",
    "admit_all",
    "check_evaluate",
    "check_swap",
    "check_train",
    "enlist",
    "export",
    "export_file",
    "export_portrait",
    "target_uses",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What left: where it lies, its digest, and the log line that says so."""

    path: Path
    sha256: str
    entry: audit.Entry


STILLS = (".png", ".jpg", ".jpeg")


def admit(
    path: Path,
    *,
    root: Path,
    who: str | None = None,
    basis: str | None = None,
    uses: Iterable[str] = (),
    source: str = "",
    today: date | None = None,
) -> Clip:
    """Let a real picture or clip in. Its bytes are hashed; no pixel is read before leave is found.

    A file that a manifest lists is admitted under its entry. Another needs `who`, `basis` and `uses`; they are written to a
    manifest and logged. Raises `MediaError` if there is no such file, `ConsentError` (and logs the refusal) if nobody's leave
    covers it, or if the file itself says that it is synthetic and is declared as a real person's.
    """
    if not _is_file(path):
        raise MediaError(expected="a picture or clip", got=f"no file {path}", remedy="check the path")
    wanted = frozenset(uses)
    digest = digest_of(path)
    try:
        entry = find_entry(root, digest)
        if entry is None:
            entry = _declared(root, path, digest, who, basis, wanted, source, today or date.today())
        else:
            insist_honest(path, entry.subject, synthetic=entry.synthetic)
        _agrees(entry, who, wanted, today or date.today())
    except ConsentError as error:
        audit.append(root, _refusal(digest, error))
        raise
    audit.append(root, _admission(entry))
    return _clip(path, entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A file that was not let in, and why. `sha256` is empty where not even its bytes could be read."""

    path: Path
    sha256: str
    error: LabError


def admit_all(
    paths: Iterable[Path],
    *,
    root: Path,
    who: str | None = None,
    basis: str | None = None,
    uses: Iterable[str] = (),
    source: str = "",
    today: date | None = None,
) -> tuple[list[Clip], list[Refused]]:
    """As `admit`, for many files: those with an entry come in under it, the others are declared together in one manifest.

    One that is missing, unreadable or refused does not keep the others out: it is among the refused, with its error. Of files with
    equal bytes the first is let in. `uses` are those that files without an entry are declared for.
    """
    day, wanted = today or date.today(), frozenset(uses)
    digests: dict[str, Path] = {}
    refused: list[Refused] = []
    for path in paths:
        try:
            digests.setdefault(digest_of(path), path)
        except MediaError as error:
            refused.append(Refused(path=path, sha256="", error=error))
    entries = find_entries(root, digests)
    errors: dict[str, ConsentError] = {}
    if strangers := {digest: path for digest, path in digests.items() if digest not in entries}:
        try:
            _insist_declared(next(iter(strangers.values())), who, basis, wanted)
            errors = _dishonest(strangers, who or "", basis or "")
            files = [File(path=path, sha256=digest) for digest, path in strangers.items() if digest not in errors]
            entries |= declare_all(root, files, who=who or "", basis=basis or "", uses=wanted, source=source, today=day)
        except ConsentError as error:
            errors = dict.fromkeys(strangers, error)
    allowed = []
    for digest, path in digests.items():
        try:
            if digest in errors:
                raise errors[digest]
            if digest not in strangers:
                insist_honest(path, entries[digest].subject, synthetic=entries[digest].synthetic)
            _agrees(entries[digest], who, frozenset(), day)
        except ConsentError as error:
            refused.append(Refused(path=path, sha256=digest, error=error))
        else:
            allowed.append((path, entries[digest]))
    # All lines before the first Clip is handed out: what is used is on record.
    lines = [_refusal(each.sha256, each.error) for each in refused if each.sha256] + [_admission(entry) for _, entry in allowed]
    audit.append_all(root, lines)
    return [_clip(path, entry) for path, entry in allowed], refused


def enlist(
    files: Iterable[File],
    *,
    root: Path,
    who: str | None,
    basis: str | None,
    uses: Iterable[str],
    source: str = "",
    today: date | None = None,
) -> dict[str, Entry]:
    """Write manifest rows for files of a data set without letting them in: digest to entry. ConsentError as `admit`."""
    listed, wanted = list(files), frozenset(uses)
    if listed:
        _insist_declared(listed[0].path, who, basis, wanted)
    return declare_all(root, listed, who=who or "", basis=basis or "", uses=wanted, source=source, today=today or date.today())


def _refusal(digest: str, error: LabError) -> dict[str, str]:
    return {"action": "admission refused", "sha256": digest, "reason": str(error)[:2000]}


def _admission(entry: Entry) -> dict[str, str]:
    return {"action": "admitted", "sha256": entry.sha256, "entry": entry.label, "subject": entry.subject}


def _clip(path: Path, entry: Entry) -> Clip:
    consent = entry.manifest.consent
    return Clip(
        Grant(
            path=path.resolve(),
            sha256=entry.sha256,
            subject=entry.subject,
            basis=consent.kind,
            basis_text=consent.text,
            uses=frozenset(consent.uses),
            entry=entry.label,
        )
    )


def export(
    made: Footage | Frame,
    path: Path,
    *,
    lineage: Lineage,
    root: Path,
    audio_from: Path | None = None,
    audio_at_s: float = 0.0,
    colour: ColourTags | None = None,
    lossless: bool = False,
    today: date | None = None,
) -> Exported:
    """Let a result out: ask the gate again, encode with the mark, log, and only then put the file in its place.

    The suffix chooses a still (.png, .jpg: one frame) or a clip, whose sound and colour tags are as `video.encode` takes them. An
    older export of that name is replaced; any other file is not.
    Raises `ConsentError` if an entry was withdrawn or has expired since, `ProvenanceError` if the mark does not read back.
    """
    leave = _leave(lineage, path, root, today)
    with _outgoing(path, root) as temporary:
        metadata = metadata_of(lineage, leave)
        _write_marked(made, temporary, metadata, audio_from=audio_from, audio_at_s=audio_at_s, colour=colour, lossless=lossless)
        return _let_out(temporary, path, [(lineage, leave)], root)


def export_file(html: str, path: Path, *, lineages: Sequence[Lineage], root: Path, today: date | None = None) -> Exported:
    """Let a composed page (a report) out: the gate is asked for every swap it shows, the mark goes into its head, and it is logged.

    Errors as for `export`; ValueError for a page without a `<head>` or without lineages.
    """
    leaves = [(lineage, _leave(lineage, path, root, today)) for lineage in lineages]
    with _outgoing(path, root) as temporary:
        temporary.write_text(marked_html(html, leaves), encoding="utf-8")
        return _let_out(temporary, path, leaves, root)


def export_portrait(image: Image, path: Path, *, root: Path, subject: str) -> Exported:
    """Let a picture of an actor alone out, marked and logged. Raises `ConsentError` for anybody else."""
    actor = Party(subject=subject)
    lineage = Lineage(run="", source=actor, target=actor, trained=False)
    return export(Frame(image=image, origin=subject), path, lineage=lineage, root=root)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that this system cannot hold
        return False


def _declared(
    root: Path, path: Path, digest: str, who: str | None, basis: str | None, uses: frozenset[str], source: str, today: date
) -> Entry:
    _insist_declared(path, who, basis, uses)
    assert who is not None
    assert basis is not None
    insist_honest(path, who, synthetic=parse_basis(basis)[0] == "synthetic")
    return declare(root, path=path, sha256=digest, who=who, basis=basis, uses=uses, source=source, today=today)


def _dishonest(files: Mapping[str, Path], who: str, basis: str) -> dict[str, ConsentError]:
    """Digest to error of the files that say something else of themselves than is declared."""
    synthetic = parse_basis(basis)[0] == "synthetic"
    errors = {}
    for digest, path in files.items():
        try:
            insist_honest(path, who, synthetic=synthetic)
        except ConsentError as error:
            errors[digest] = error
    return errors


def _insist_declared(path: Path, who: str | None, basis: str | None, uses: frozenset[str]) -> None:
    given = {"who": who, "basis": basis, "uses": uses}
    if missing := [name for name, value in given.items() if not value]:
        raise ConsentError(
            expected=f"a manifest entry for {path.name}, or who is seen, the basis and the uses",
            got=f"no entry, and no {' or '.join(missing)}",
            remedy=f"declare them if you may; a basis has one of these forms: {FORMS}",
        )


def _agrees(entry: Entry, who: str | None, uses: frozenset[str], today: date) -> None:
    """An entry stands, and what the caller says does not go beyond it or against it."""
    if problem := entry.standing(today):
        raise ConsentError(
            expected=f"a standing agreement for {entry.subject}",
            got=f"{entry.label}: {problem}",
            remedy="ask them anew, or use an actor",
        )
    if who is not None and not same_subject(" ".join(who.split()), entry.subject):
        raise ConsentError(
            expected=f"{entry.subject}, whom {entry.label} names for this file",
            got=repr(who),
            remedy="correct the name, or the manifest",
        )
    if beyond := uses - entry.manifest.consent.uses:
        raise ConsentError(
            expected=f"uses that {entry.label} allows: {', '.join(sorted(entry.manifest.consent.uses)) or 'none'}",
            got=", ".join(sorted(beyond)),
            remedy=to_allow(entry, beyond),
        )


def _leave(lineage: Lineage, path: Path, root: Path, today: date | None) -> Leave:
    """The gate's leave for what is about to go out; a refusal is logged."""
    try:
        return check_swap(lineage.source, lineage.target, root=root, today=today)
    except ConsentError as error:
        audit.append(root, {"action": "export refused", "run": lineage.run, "file": path.name, "reason": str(error)[:2000]})
        raise


@contextmanager
def _outgoing(path: Path, root: Path) -> Iterator[Path]:
    """A hidden name beside the destination, with its suffix; removed again unless it was put in place.

    One export of this lab to a name at a time: what lies there under the hidden name is then of a process that was killed.
    """
    place = sha256_text(f"{root.resolve()}\0{path.resolve()}")[:16]
    temporary = stills.hidden_beside(path, place)
    with locked(root / "runs" / ".exports" / f"{place}.lock"), storing(path):
        _refuse_others(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        stills.remove_leftovers(temporary)
        try:
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _refuse_others(path: Path) -> None:
    """Only an older export may be replaced."""
    if path.exists() and read_mark(path) is None:
        raise MediaError(
            expected="a new name, or an older export to replace",
            got=f"{path.name}, which is another file",
            remedy="choose another name",
        )


def _write_marked(
    made: Footage | Frame,
    path: Path,
    metadata: dict[str, str],
    *,
    audio_from: Path | None,
    audio_at_s: float,
    colour: ColourTags | None,
    lossless: bool,
) -> None:
    """All marks, in the one order in which each survives the next: pixels, container, signature.

    Only the container's metadata is written today. A mark in the pixels belongs before the encoder, on each frame; a signed
    manifest (C2PA) belongs behind it, because it covers the bytes of the finished file.
    """
    if path.suffix.lower() not in STILLS:
        if isinstance(made, Frame):
            raise MediaError(expected="a still's suffix (.png, .jpg)", got=path.suffix, remedy="choose one of them")
        video.encode(
            path,
            made.frames(),
            fps=made.fps or 1.0,
            size=made.size,
            audio_from=audio_from,
            audio_at_s=audio_at_s,
            colour=colour,
            metadata=metadata,
            lossless=lossless,
        )
        return
    if not isinstance(made, Frame) and len(made) != 1:
        raise MediaError(expected="one frame for a still", got=f"{len(made)} frames", remedy="export as .mp4, or export one frame")
    still = made if isinstance(made, Frame) else made[0]
    stills.write_still(path, still.image, metadata=metadata)


def _let_out(temporary: Path, path: Path, shown: Sequence[tuple[Lineage, Leave]], root: Path) -> Exported:
    """Check the mark, log, rename: in this order, so that no file appears without mark and line."""
    if read_mark(temporary) is None:
        raise ProvenanceError(
            expected=f"a mark in {path.name}",
            got="none on reading it back",
            remedy="choose another format (.png, .jpg, .mp4, .html)",
        )
    digest = sha256_file(temporary)
    event = {"action": "exported", "file": path.name, "sha256": digest, "shows": [_shown(*each) for each in shown]}
    entry = audit.append(root, event)
    put_in_place(temporary, path)
    return Exported(path=path, sha256=digest, entry=entry)


def _shown(lineage: Lineage, leave: Leave) -> dict[str, Any]:
    """One result as the log holds it, names included: the log stays in the lab."""
    sides = {"source": (lineage.source, leave.source), "target": (lineage.target, leave.target)}
    named = {
        side: {"subject": party.subject, "origin": party.origin, "entries": [entry.label for entry in entries]}
        for side, (party, entries) in sides.items()
    }
    return {"run": lineage.run, "inputs": dict(lineage.inputs), **named}
