"""Withdrawal of consent: everything made from a person's pictures is found, listed and, once confirmed, removed.

What is found, and how:
  files       by the manifests about the person, and by faces manually named after them in a faceset
  runs        by the digests of those files in a run's inputs; then everything derived from such a run, transitively; executed
              notebooks that admitted one of the files, by the audit log; and pipelines that ran such a notebook
  exports     by the audit log's lines about exports, archives and indexes; a copy inside the lab is found by its digest,
              whatever its name, and removed too
Originals belong to their owner: they are listed and retained. Copies outside the lab are listed by name and digest, so that they
can be recalled. The audit log keeps its lines, but the row that maps the person's id there to their name is deleted.
"""

import difflib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ConsentError, ManifestError, RunError
from faceswap_lab.files import sha256_file
from faceswap_lab.names import same_name
from faceswap_lab.pipelines.record import PipelineRun
from faceswap_lab.runs import prune
from faceswap_lab.runs.prune import Weighed
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit, subjects
from faceswap_lab.trust.consent.manifest import Entry, locate, read_manifests, utc_today
from faceswap_lab.trust.consent.withdraw import entries_of, withdraw
from faceswap_lab.verbs.library import FACES, NAMES


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A file that depicts the person: its digest, the manifest row that lists it, and its path (None: not on this machine)."""

    sha256: str
    entry: str
    uri: str
    path: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Left:
    """An export made from the person. `copies` are files inside the lab with that digest."""

    file: str
    sha256: str
    time: str
    copies: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """All that was found of a person. `unsaid` names what could not be searched, and why.

    `plain_lines` are the numbers of the audit log's lines that hold the name itself, as versions before 0.2 wrote it: to change
    them would break the chain.
    """

    subject: str
    manifests: tuple[str, ...]
    originals: tuple[Original, ...]
    runs: tuple[Weighed, ...]
    exports: tuple[Left, ...]
    unsaid: tuple[str, ...] = ()
    plain_lines: tuple[int, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Total size of the runs in bytes."""
        return sum(each.num_bytes for each in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Purged:
    """What was done: manifests now withdrawn, runs and copies removed, and what is retained, with the reason."""

    manifests: tuple[str, ...]
    runs: tuple[Weighed, ...]
    copies: tuple[Path, ...]
    retained: tuple[Weighed, ...]


def plan(root: Path, subject: str) -> Withdrawal:
    """Everything made from `subject` (their name in a manifest, case-insensitive) in this lab; nothing is changed.

    Raises ConsentError if no manifest or faceset names the person, RunError or ManifestError if a record cannot be read, since
    it might concern the person.
    """
    who = " ".join(subject.split())
    all_runs = Run.survey(root).require_readable()
    named = _named(all_runs, who)
    entries = entries_of(root, who, digests=named)
    log, verdict = audit.walk(root)
    if not entries and not _is_known(root, who):
        _refuse_unknown(root, who)
    digests = {entry.sha256: entry for entry in entries}
    why = _derived(all_runs, digests, log)
    by_id = {run.id: run for run in all_runs}
    found = [prune.weighed(by_id[name], reason) for name, reason in why.items()]
    # Newest first: an interrupted purge leaves no run whose provenance is lost.
    found.sort(key=lambda each: by_id[each.id].record.created, reverse=True)
    return Withdrawal(
        subject=who,
        manifests=tuple(sorted({entry.name for entry in entries})),
        originals=tuple(_original(root, entry) for entry in entries),
        runs=tuple(found),
        exports=tuple(_exports(root, log, digests, why)),
        unsaid=() if verdict.whole else (f"the audit log from line {verdict.bad_line} on: {verdict.reason}",),
        plain_lines=tuple(line.number for line in log if subjects.names(line.event, who)),
    )


def purge(root: Path, subject: str, *, today: date | None = None) -> Purged:
    """Withdraws the consent, then removes what `plan` finds. From then on the gate refuses all files of the person.

    A run that a process is working on is retained and named: stop it and call again, as after any interruption. Once nothing is
    retained, the log's ids of the person lead to no name any more. Raises as `plan`.
    """
    found = plan(root, subject)
    digests = [original.sha256 for original in found.originals]
    manifests = withdraw(root, found.subject, digests=digests, today=today or utc_today())
    copies = [path for left in found.exports for path in left.copies if _remove_copy(root, path, left)]
    gone, retained = [], []
    for each in found.runs:
        if _held_by_link(root, each):
            retained.append(_with_reason(each, "its folder is a link to another place: remove what it points to manually"))
        elif prune.remove(root, each):
            gone.append(each)
        else:
            retained.append(_with_reason(each, "a process is working on it: stop it, then withdraw again"))
    for path in prune.leftovers(root):
        prune.remove(root, Weighed(id=path.name, path=path, num_bytes=prune.size_of(path), why="left by an interrupted removal"))
    event = {
        "action": "withdrawal purged",
        "subject": found.subject,
        "runs": len(gone),
        "copies": len(copies),
        "retained": len(retained),
    }
    audit.append(root, event)
    if not retained:
        subjects.forget(root, found.subject)
    return Purged(manifests=tuple(manifests), runs=tuple(gone), copies=tuple(copies), retained=tuple(retained))


# --- whose files ----------------------------------------------------------------------------------------------------------


def _named(runs: Iterable[Run], who: str) -> set[str]:
    """Digests of the files that depict the person according to names given manually in a faceset."""
    digests: set[str] = set()
    for run in runs:
        if run.verb != "faceset" or not (run.path / NAMES).exists() or not run.has(FACES):
            continue
        names = _read(run, run.path / NAMES)
        theirs = {label for label, name in names.items() if same_name(str(name), who)}
        if theirs:
            digests |= {str(row["source"]) for row in _read(run, run.artifact(FACES)) if row["person"] in theirs}
    return digests


def _read(run: Run, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(expected=f"a readable {path.name} in {run.id}", got=str(error), remedy="restore it from a backup") from error


def _is_known(root: Path, who: str) -> bool:
    return any(same_name(manifest.subject, who) for _, manifest, _ in read_manifests(root))


def _refuse_unknown(root: Path, who: str) -> None:
    known = sorted({manifest.subject for _, manifest, _ in read_manifests(root)})
    near = difflib.get_close_matches(who, known, n=3, cutoff=0.5)
    raise ConsentError(
        expected="a person named in a manifest or a faceset",
        got=who,
        remedy=f"did you mean {', '.join(near)}?" if near else f"known: {', '.join(known[:10]) or 'none'}",
    )


def _original(root: Path, entry: Entry) -> Original:
    try:
        path: Path | None = locate(root, entry.uri)
    except ManifestError:
        path = None  # the file is elsewhere
    if path is not None and not (path.is_file() and sha256_file(path) == entry.sha256):
        path = None
    return Original(sha256=entry.sha256, entry=entry.label, uri=entry.uri, path=path)


# --- what was made from them ----------------------------------------------------------------------------------------------


def _derived(runs: list[Run], digests: dict[str, Entry], log: Iterable[audit.Entry]) -> dict[str, str]:
    """Run id to the reason it is affected: made from one of the files, admitted one, or made from an affected run."""
    why: dict[str, str] = {}
    for run in runs:
        for digest, entry in digests.items():
            if any(digest in value for value in run.inputs.values()):
                why.setdefault(run.id, f"made from {entry.label}")
    ids = {run.id for run in runs}
    for line in log:
        within, digest = audit.notebook_run(line.event), str(line.event.get("sha256", ""))
        if within in ids and digest in digests:
            why.setdefault(str(within), f"its notebook admitted {digests[digest].label}")
    waiting = [run for run in runs if run.id in why]
    while waiting:
        parent = waiting.pop()
        for run in runs:
            if run.id not in why and (reason := _follows(run, parent)):
                why[run.id] = reason
                waiting.append(run)
    return why


def _follows(run: Run, parent: Run) -> str:
    """Why a run is affected if `parent` is; empty if it is not. A pipeline's record has the parameters of its notebooks."""
    if prune.made_from(run, parent):
        return f"made from {parent.id}"
    return f"ran {parent.id}" if isinstance(run, PipelineRun) and run.ran(parent.id) else ""


def _exports(root: Path, log: Iterable[audit.Entry], digests: dict[str, Entry], runs: dict[str, str]) -> Iterator[Left]:
    named = subjects.resolver(root)
    let_out = [line for line in log if _shows(line.event, digests, runs)]
    copies = _copies(root, {str(line.event["sha256"]): line.event.get("bytes") for line in let_out})
    for line in let_out:
        digest, file = str(line.event["sha256"]), named(str(line.event["file"]))
        same = tuple(path for path, found in copies if found == digest)
        yield Left(file=file, sha256=digest, time=line.time, copies=same)


def _shows(event: dict[str, Any], digests: dict[str, Entry], runs: dict[str, str]) -> bool:
    if event.get("action") == "run exported":
        return event.get("run") in runs
    if event.get("action") == "index exported":
        return any(run in runs for run in event.get("runs", ()))
    if event.get("action") != "exported":
        return False
    shown = audit.depicted(event)
    text = json.dumps(shown)
    return any(each.get("run") in runs for each in shown) or any(digest in text for digest in digests)


def _copies(root: Path, wanted: Mapping[str, int | None]) -> list[tuple[Path, str]]:
    """Files of these digests below the root, whatever their names, outside run folders and hidden folders.

    `wanted` maps digest to size in bytes. Before 0.2 the log had no sizes; for such an export every file is read.
    """
    sizes = None if None in wanted.values() else set(wanted.values())
    found: list[tuple[Path, str]] = []
    for place, folders, files in os.walk(root) if wanted else ():
        here = Path(place)
        folders[:] = [name for name in folders if not name.startswith(".") and not (here == root and name == "runs")]
        paths = (here / name for name in sorted(files))
        likely = (path for path in paths if path.is_file() and (sizes is None or path.stat().st_size in sizes))
        found += [(path, digest) for path in likely if (digest := sha256_file(path)) in wanted]
    return found


# --- removing -------------------------------------------------------------------------------------------------------------


def _remove_copy(root: Path, path: Path, left: Left) -> bool:
    """Removes a copy if it is still what was exported; logged first."""
    if not path.is_file() or sha256_file(path) != left.sha256:
        return False
    audit.append(root, {"action": "export removed", "file": path.name, "sha256": left.sha256})
    path.unlink()
    return True


def _held_by_link(root: Path, each: Weighed) -> bool:
    return each.path.parent != (root / "runs").resolve()


def _with_reason(each: Weighed, why: str) -> Weighed:
    return Weighed(id=each.id, path=each.path, num_bytes=each.num_bytes, why=why)
