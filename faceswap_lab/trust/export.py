"""Export, the only way for results out of the lab: the gate, the mark, the log line, and only then the file."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ConsentError, LabError, MediaError, ProvenanceError, storing
from faceswap_lab.faces import frame as stills
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Footage
from faceswap_lab.faces.frame import ColourTags, Frame, Image
from faceswap_lab.faces.sound.tracks import Sound
from faceswap_lab.files import locked, put_in_place, sha256_file, sha256_text
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.gate import Permission, Subject, check_swap
from faceswap_lab.trust.marks.metadata import Lineage, marked_html, metadata_of, read_mark


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported file: its path, its digest, and its line in the log."""

    path: Path
    sha256: str
    entry: audit.Entry


STILLS = (".png", ".jpg", ".jpeg")


def export(
    made: Footage | Frame,
    path: Path,
    *,
    lineage: Lineage,
    root: Path,
    audio_from: Path | None = None,
    audio_at_s: float = 0.0,
    sound: Sound | None = None,
    colour: ColourTags | None = None,
    lossless: bool = False,
    today: date | None = None,
) -> Exported:
    """Export a result: check the gate again, encode with the mark, log, and only then move the file into place.

    The suffix selects a still (.png, .jpg: one frame) or a clip, whose sound and colour tags are those of `video.encode`. An
    older export of that name is replaced; any other file is not. `sound` None is `default_sound`.
    Raises `ConsentError` if an entry was withdrawn or has expired since, `ProvenanceError` if the mark cannot be read back,
    `MediaError` as of `check_destination`, or for sound that cannot be written so.
    """
    permission = _permission(lineage, path, root, today)
    check_destination(path, 1 if isinstance(made, Frame) else len(made), is_frame=isinstance(made, Frame), lossless=lossless)
    with _outgoing(path, root) as temporary:
        metadata, sound = metadata_of(lineage, permission), sound or default_sound(permission)
        _write_marked(
            made,
            temporary,
            metadata,
            audio_from=audio_from,
            audio_at_s=audio_at_s,
            sound=sound,
            colour=colour,
            lossless=lossless,
        )
        return _let_out(temporary, path, [(lineage, permission)], root)


def default_sound(permission: Permission) -> Sound:
    """Copied, but left out where a real person is made unrecognisable: a voice identifies, so it leaves only when asked for."""
    return "none" if permission.anonymises else "copy"


def check_destination(path: Path, num_frames: int, *, is_frame: bool = False, lossless: bool = False) -> None:
    """Raise `MediaError` if `export` would refuse this file name for `num_frames` frames (or a single `Frame`).

    Costs nothing, so that it can be asked before the work: the suffix, and a file there that is no older export.
    """
    if path.suffix.lower() not in STILLS:
        if is_frame or (num_frames == 1 and path.suffix.lower() != ".mp4" and not lossless):
            expected = f"a still's suffix (.png, .jpg){'' if is_frame else ', or .mp4'}"
            raise MediaError(expected=expected, got=path.name, remedy=f"call it {path.stem}.png")
        video.check_suffix(path, lossless=lossless)
    elif num_frames != 1:
        raise MediaError(
            expected=f"one frame for a still such as {path.name}",
            got=f"{num_frames} frames",
            remedy=f"export as {path.stem}.mp4, or export one frame",
        )
    if path.is_dir():
        raise MediaError(expected="the name of a file", got=f"{path}, a folder", remedy="add a file name, such as swap.mp4")
    with storing(path):
        _refuse_others(path)


def export_file(html: str, path: Path, *, lineages: Sequence[Lineage], root: Path, today: date | None = None) -> Exported:
    """Export an HTML page (a report): every swap it shows is checked by the gate, the mark goes into its head, and it is logged.

    Errors as for `export`; ValueError for a page without a `<head>` or without lineages.
    """
    permissions = [(lineage, _permission(lineage, path, root, today)) for lineage in lineages]
    with _outgoing(path, root) as temporary:
        temporary.write_text(marked_html(html, permissions), encoding="utf-8")
        return _let_out(temporary, path, permissions, root)


def export_portrait(image: Image, path: Path, *, root: Path, subject: str) -> Exported:
    """Export a picture of an actor as is, marked and logged. Raises `ConsentError` for anybody else."""
    actor = Subject(name=subject)
    lineage = Lineage(run="", source=actor, target=actor, trained=False)
    return export(Frame(image=image, origin=subject), path, lineage=lineage, root=root)


def _permission(lineage: Lineage, path: Path, root: Path, today: date | None) -> Permission:
    """The gate's permission for an export; a refusal is logged."""
    try:
        return check_swap(lineage.source, lineage.target, root=root, today=today)
    except ConsentError as error:
        audit.append(root, {"action": "export refused", "run": lineage.run, "file": path.name, "reason": str(error)[:2000]})
        raise


@contextmanager
def _outgoing(path: Path, root: Path) -> Iterator[Path]:
    """A hidden temporary path beside the destination, with its suffix; removed unless it was moved into place.

    Exports of this lab to the same path are serialised, so a file already at the hidden path was left by a killed process.
    """
    place = sha256_text(f"{root.resolve()}\0{path.resolve()}")[:16]
    temporary = stills.hidden_beside(path, place)
    with locked(root / "runs" / ".exports" / f"{place}.lock"), storing(path):
        _refuse_others(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        stills.remove_leftovers(temporary)
        try:
            yield temporary
        except LabError as error:
            raise _about(path, temporary, error) from error
        finally:
            temporary.unlink(missing_ok=True)


def _about(path: Path, temporary: Path, error: LabError) -> LabError:
    """The same error about the file that the user named, where it is about a hidden temporary one."""
    hidden = re.compile(rf"\.*{re.escape(temporary.stem.lstrip('.'))}(\.[0-9a-f]{{8}})?{re.escape(temporary.suffix)}")
    said = {part: hidden.sub(lambda _: path.name, getattr(error, part)) for part in ("expected", "got", "remedy")}
    return type(error)(**said)


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
    sound: Sound,
    colour: ColourTags | None,
    lossless: bool,
) -> None:
    """Write all marks in the one order in which each survives the next: pixels, container, signature.

    Only container metadata is written today. A watermark in the pixels would come before the encoder, on each frame; a signed
    manifest (C2PA) would come after it, because it covers the bytes of the finished file.
    """
    if path.suffix.lower() not in STILLS:
        assert not isinstance(made, Frame), "refused by check_destination"
        video.encode(
            path,
            made.frames(),
            fps=made.fps or 1.0,
            size=made.size,
            audio_from=audio_from,
            audio_at_s=audio_at_s,
            sound=sound,
            colour=colour,
            metadata=metadata,
            lossless=lossless,
        )
        return
    still = made if isinstance(made, Frame) else made[0]
    stills.write_still(path, still.image, metadata=metadata)


def _let_out(temporary: Path, path: Path, shown: Sequence[tuple[Lineage, Permission]], root: Path) -> Exported:
    """Check the mark, log, rename: in this order, so that no file appears without its mark and its log line."""
    if read_mark(temporary) is None:
        raise ProvenanceError(
            expected=f"a mark in {path.name}",
            got="none when reading it back",
            remedy="choose another format (.png, .jpg, .mp4, .html)",
        )
    digest = sha256_file(temporary)
    event = {"action": "exported", "file": path.name, "sha256": digest, "depicts": [_shown(*each) for each in shown]}
    entry = audit.append(root, event)
    put_in_place(temporary, path)
    return Exported(path=path, sha256=digest, entry=entry)


def _shown(lineage: Lineage, permission: Permission) -> dict[str, Any]:
    """One result as logged, including names: the log never leaves the lab."""
    sides = {"source": (lineage.source, permission.source), "target": (lineage.target, permission.target)}
    named = {
        side: {"subject": subject.name, "origin": subject.origin, "entries": [entry.label for entry in entries]}
        for side, (subject, entries) in sides.items()
    }
    return {"run": lineage.run, "inputs": dict(lineage.inputs), **named}
