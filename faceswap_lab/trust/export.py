"""Export, the only way for results out of the lab: the gate, the mark, the log line, and only then the file."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceswap_lab.errors import ConsentError, LabError, MediaError, ProvenanceError, storing
from faceswap_lab.faces import frame as stills
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.faces.frame import ColourTags, Frame
from faceswap_lab.faces.sound.tracks import Sound
from faceswap_lab.files import locked, put_in_place, sha256_file, sha256_text
from faceswap_lab.seals import is_sealed
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.gate import Permission, Subject, permission_for
from faceswap_lab.trust.likeness import told
from faceswap_lab.trust.marks.metadata import Lineage, Unchanged, marked_html, metadata_of, read_mark

if TYPE_CHECKING:
    from faceswap_lab.actors.cast import Actor, Take


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported file: its path, its digest, its line in the log, and what became of the sound that it was given."""

    path: Path
    sha256: str
    entry: audit.Entry
    sound: Sound | None = None


STILLS = (".png", ".jpg", ".jpeg")


def export(
    made: Clip | Excerpt,
    path: Path,
    *,
    lineage: Lineage,
    root: Path,
    audio_from: Path | None = None,
    audio_at_s: float = 0.0,
    sound: Sound | None = None,
    colour: ColourTags | None = None,
    lossless: bool = False,
    accept: Unchanged | None = None,
    recognisable: bool = False,
    today: date | None = None,
) -> Exported:
    """Export a run's result: check the gate again, encode with the mark, log, and only then move the file into place.

    `made` must be the result that `lineage` is about, under the grant that its run issued: what an export says of itself follows
    from these. The suffix selects a still (.png, .jpg: one frame) or a clip, whose sound and colour tags are those of
    `video.encode`; `sound` None is `default_sound`. An older export of that name is replaced; any other file is not.
    Raises `ConsentError` if an entry was withdrawn or has expired since, or if a person who is to be anonymised is left in some
    frames and `accept` does not say in exactly how many, or if judges still recognise them (`lineage.likeness`, which must be
    there) and the caller doesn't accept that by `recognisable`; `ProvenanceError` if the mark cannot be read back; `MediaError` as
    of `check_destination`, or for sound that cannot be written so.
    """
    permission = _permission([lineage], path, root, Accepted(left=accept, recognisable=recognisable), today, of=made)[0]
    check_destination(path, len(made), lossless=lossless)
    with _outgoing(path, root) as temporary:
        chosen = sound or default_sound(permission)
        _write_marked(
            made,
            temporary,
            metadata_of(lineage, permission),
            audio_from=audio_from,
            audio_at_s=audio_at_s,
            sound=chosen,
            colour=colour,
            lossless=lossless,
        )
        return _let_out(
            temporary, path, [(lineage, permission)], root, sound=chosen if audio_from else None, recognisable=recognisable
        )


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


def export_file(
    html: str,
    path: Path,
    *,
    lineages: Sequence[Lineage],
    root: Path,
    runs: Sequence[str] = (),
    accept: Unchanged | None = None,
    recognisable: bool = False,
    today: date | None = None,
) -> Exported:
    """Export an HTML page (a report): every swap it shows is checked by the gate, the mark goes into its head, and it is logged.

    Each lineage must be of a run's result, as for `export`; `runs` are the ids of all other runs that the page tells of, whose
    pictures show nobody real. Errors as there; ValueError for a page without a `<head>`, or with neither lineages nor runs.
    """
    accepted = Accepted(left=accept, recognisable=recognisable)
    permissions = list(zip(lineages, _permission(lineages, path, root, accepted, today), strict=True))
    with _outgoing(path, root) as temporary:
        # A file's name may hold bytes that are not UTF-8.
        temporary.write_text(marked_html(html, permissions, runs), encoding="utf-8", errors="backslashreplace")
        return _let_out(temporary, path, permissions, root, runs=runs, recognisable=recognisable)


def export_take(take: "Take", path: Path, *, root: Path, index: int | None = None, flaw: str = "none") -> Exported:
    """Export an actor's footage, rendered here: as a clip, or frame `index` as a still, perhaps with one of `actors.flaws.FLAWS`.

    Raises TypeError for anything but a take: what shows an actor is known from the object that renders it, not from a name.
    """
    from faceswap_lab.actors.cast import Take
    from faceswap_lab.actors.flaws import with_flaw

    if type(take) is not Take:
        raise TypeError(f"expected a take of an actor, got {type(take).__name__}; results of runs leave by Run.export")
    actor = Subject(seed=take.actor.seed)
    source = actor if take.source is None else Subject(seed=take.source.seed)
    lineage = Lineage(run="", source=source, target=actor, trained=False)
    check_destination(path, len(take) if index is None else 1, is_frame=index is not None)
    shown: Footage | Frame = take if index is None else with_flaw(take[index], flaw)
    with _outgoing(path, root) as temporary:
        _write_marked(shown, temporary, metadata_of(lineage, Permission()))
        return _let_out(temporary, path, [(lineage, Permission())], root)


def export_portrait(actor: "Actor", path: Path, *, root: Path, size: int = 512) -> Exported:
    """Export a neutral portrait of an actor, `size` pixels square. TypeError for anything but an actor."""
    from faceswap_lab.actors.cast import Actor

    if type(actor) is not Actor:
        raise TypeError(f"expected an actor, got {type(actor).__name__}; results of runs leave by Run.export")
    return export_take(actor.perform("still", seconds=1, fps=1, size=size), path, root=root, index=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What the caller accepts by name of anonymised people: what was `left` as it was, and that judges still recognise them."""

    left: Unchanged | None = None
    recognisable: bool = False


def _permission(
    lineages: Sequence[Lineage],
    path: Path,
    root: Path,
    accept: Accepted,
    today: date | None,
    *,
    of: Clip | Excerpt | None = None,
) -> list[Permission]:
    """The gate's permission for each result of an export; a refusal is logged."""
    found: list[Permission] = []
    try:
        for lineage in lineages:
            _require_of_run(lineage, root, of)
            found.append(permission_for(lineage.source, lineage.target, trained_on=lineage.trained_on, root=root, today=today))
        hidden = [lineage for lineage, permission in zip(lineages, found, strict=True) if permission.anonymises]
        _require_accepted(sum((lineage.unchanged for lineage in hidden), Unchanged()), accept.left)
        _require_unrecognised(hidden, accept.recognisable)
    except ConsentError as error:
        runs = ", ".join(dict.fromkeys(lineage.run for lineage in lineages))
        where = {"file": path.name, "to": str(path.resolve())}
        alike = _figures(lineages)
        audit.append(root, {"action": "export refused", "run": runs, **where, "reason": str(error)[:2000], **alike})
        raise
    return found


def _require_of_run(lineage: Lineage, root: Path, made: Clip | Excerpt | None) -> None:
    """ConsentError unless the lineage is that of a run's result, and `made`, if given, is this result and no other object."""
    if lineage.result is None or not is_sealed(root, lineage.text, lineage.seal):
        raise ConsentError(
            expected="the lineage of a run's own result (Run.lineage())",
            got=f"one of {lineage.run or 'no run'} that this lab did not issue",
            remedy="export with Run.export, which derives it from the run",
        )
    if made is None:
        return
    ours = type(made) is Clip or (type(made) is Excerpt and type(made.clip) is Clip)
    if not ours or made.grant != lineage.result:
        raise ConsentError(
            expected=f"the result of {lineage.run}, a Clip under the grant that this run issued",
            got=f"{type(made).__name__} of {made.origin if ours else 'other pixels'}",
            remedy="export with Run.export, or pass Run.footage()",
        )


def _require_accepted(left: Unchanged, accept: Unchanged | None) -> None:
    """ConsentError unless nothing is left of those who are anonymised, or the caller names the numbers of what is."""
    if left == Unchanged() or accept == left:
        return
    raise ConsentError(
        expected="an anonymised result without a face left as it was, or these numbers accepted by name",
        got=f"{left.frames} frames in which no face was found and {left.faces} faces that were found and left",
        remedy=f"look at them; then swap with select='all', correct the points (lab.align), or export with "
        f"accept_frames={left.frames}, accept_faces={left.faces} (--accept-frames {left.frames} --accept-faces {left.faces})",
    )


def _require_unrecognised(hidden: Sequence[Lineage], accepted: bool) -> None:
    """ConsentError unless judges looked at everybody who is anonymised and recognise nobody, or the caller accepts that they do."""
    for lineage in hidden:
        if lineage.likeness is None:
            raise ConsentError(
                expected="an anonymised result that judges have looked at",
                got=f"no figures for {lineage.run}",
                remedy="export with Run.export, which measures it",
            )
    alike = [lineage.likeness for lineage in hidden if lineage.likeness is not None and lineage.likeness.recognisable]
    if alike and not accepted:
        raise ConsentError(
            expected="an anonymised result in which no judge recognises the person",
            got=told(alike),
            remedy="swap with an actor who is farther from the person (lab.unlike), or with another swapper, such as warp; or "
            "export with accept_recognisable=True (--accept-recognisable), logged: then don't call it anonymous",
        )


def _figures(lineages: Sequence[Lineage]) -> dict[str, Any]:
    """What judges said of the results, for the log; empty where nobody was asked."""
    said = [lineage.likeness.record() for lineage in lineages if lineage.likeness is not None]
    return {"likeness": said} if said else {}


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
    audio_from: Path | None = None,
    audio_at_s: float = 0.0,
    sound: Sound = "copy",
    colour: ColourTags | None = None,
    lossless: bool = False,
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


def _let_out(
    temporary: Path,
    path: Path,
    shown: Sequence[tuple[Lineage, Permission]],
    root: Path,
    *,
    sound: Sound | None = None,
    runs: Sequence[str] = (),
    recognisable: bool = False,
) -> Exported:
    """Check the mark, log, rename: in this order, so that no file appears without its mark and its log line."""
    if read_mark(temporary) is None:
        raise ProvenanceError(
            expected=f"a mark in {path.name}",
            got="none when reading it back",
            remedy="choose another format (.png, .jpg, .mp4, .html)",
        )
    digest = sha256_file(temporary)
    event = {
        "action": "exported",
        "file": path.name,
        "to": str(path.resolve()),
        "sha256": digest,
        "bytes": temporary.stat().st_size,
        "depicts": [*(_shown(*each) for each in shown), *({"run": run} for run in runs)],
    }
    if any(lineage.likeness is not None and lineage.likeness.recognisable for lineage, _ in shown):
        event["accepted_recognisable"] = recognisable
    entry = audit.append(root, event | ({} if sound is None else {"sound": sound}))
    put_in_place(temporary, path)
    return Exported(path=path, sha256=digest, entry=entry, sound=sound)


def _shown(lineage: Lineage, permission: Permission) -> dict[str, Any]:
    """One result as logged; `audit.append` puts ids in place of names."""
    sides = {"source": (lineage.source, permission.source), "target": (lineage.target, permission.target)}
    named = {
        side: {"subject": subject.name, "origin": subject.origin, "entries": [entry.label for entry in entries]}
        for side, (subject, entries) in sides.items()
    }
    alike = {} if lineage.likeness is None else {"likeness": lineage.likeness.record()}
    return {"run": lineage.run, "inputs": dict(lineage.inputs), **named, **alike}
