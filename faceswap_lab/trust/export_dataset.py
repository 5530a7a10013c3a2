"""Atomic export of data sets: a folder of shards with the mark in every picture.

The pictures were marked when they were written; here each mark is read back from the exported copy. Nothing is re-encoded, so the
export is byte-identical to what the run made.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.actors import shards
from faceswap_lab.errors import ConsentError, MediaError, ProvenanceError, storing
from faceswap_lab.faces.frame import hidden_beside
from faceswap_lab.files import canonical, locked, sha256_file, sha256_text, sync_folder
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.gate import actor_named, permission_for
from faceswap_lab.trust.export import Exported
from faceswap_lab.trust.marks.metadata import TOOL, read_mark

MANIFEST = "manifest.json"
"""A file in the folder: the tool and the run that made it, and the name and SHA-256 of each shard."""

PICTURES = ("png", "mkv")
"""Extensions of members that carry a mark; records (json) say `synthetic`, maps (npz) are arrays."""

_FEW = 64


def export_dataset(
    folder: Path, path: Path, *, run: str, pairs: Collection[tuple[str, str]], root: Path, today: date | None = None
) -> Exported:
    """Export a data set of actors: the manifest in `folder` and the shards that it lists, as the new folder `path`.

    `pairs` are the (source, target) subjects that its pictures depict; each is checked by the gate, and a mark must name `run` and
    one of them. An older export of that name is replaced; any other file or folder is not. The digest is the manifest's, which
    holds those of the shards. Raises `ConsentError` for anybody but actors, `ProvenanceError` for a shard whose digest is not in
    the manifest, or a picture without its mark.
    """
    to = str(path.resolve())
    ask_gate(run, pairs, to, root, today)
    with outgoing_folder(path, root) as temporary:
        digests = staged(folder, temporary, run, pairs)
        entry = log_export(root, to, digests, run, pairs)
        put_folder_in_place(temporary, path)
    return Exported(path=path, sha256=digests[MANIFEST], entry=entry)


def staged(folder: Path, temporary: Path, run: str, pairs: Collection[tuple[str, str]]) -> dict[str, str]:
    """Copy the manifest in `folder` and its shards to `temporary` and check every mark; name to digest, manifest first."""
    digests = _copy(folder, temporary)
    for name in digests:
        if name != MANIFEST:
            _check_marks(temporary / name, name, run, pairs)
    return digests


def log_export(root: Path, to: str, digests: Mapping[str, str], run: str, pairs: Collection[tuple[str, str]]) -> audit.Entry:
    """The line in the log: what goes where, and whom it depicts. `to` is a path or the address of a store."""
    event = {
        "action": "exported",
        "file": to.replace(os.sep, "/").rpartition("/")[2],
        "to": to,
        "sha256": digests[MANIFEST],
        "files": digests if len(digests) <= _FEW else {f"sha256 of {len(digests)}": sha256_text(canonical(digests))},
        "depicts": [{"run": run, "subjects": _subjects(pairs)}],
    }
    return audit.append(root, event)


def ask_gate(run: str, pairs: Collection[tuple[str, str]], to: str, root: Path, today: date | None) -> None:
    """Check each pair at the gate; without grants, it refuses everybody but actors. A refusal is logged."""
    if not pairs:
        raise ValueError("the export of a data set needs the names of the subjects it depicts")
    try:
        for source, target in pairs:
            permission_for(actor_named(source), actor_named(target), root=root, today=today)
    except ConsentError as error:
        file = to.replace(os.sep, "/").rpartition("/")[2]
        audit.append(root, {"action": "export refused", "run": run, "file": file, "to": to, "reason": str(error)[:2000]})
        raise


def _subjects(pairs: Collection[tuple[str, str]]) -> list[str]:
    """Everybody depicted; if there are many, the first, the last, and the number in between, to keep log lines short."""
    known = sorted({subject for pair in pairs for subject in pair}, key=lambda subject: (len(subject), subject))
    return known if len(known) <= _FEW else [known[0], f"{len(known) - 2} more", known[-1]]


def _copy(folder: Path, temporary: Path) -> dict[str, str]:
    """Copy the manifest and its shards, flushed to disk; name to digest. The copy is checked, not the original."""
    listed = _listed(folder / MANIFEST)
    if listed is None:
        raise ProvenanceError(
            expected=f"a manifest of shards in {folder}", got="none that this version reads", remedy="render again with force=True"
        )
    digests = {}
    for name in (MANIFEST, *listed):
        copy = temporary / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, copy)
        with copy.open("r+b") as file:
            os.fsync(file.fileno())
        digests[name] = sha256_file(copy)
        if digests[name] != listed.get(name, digests[name]):
            raise ProvenanceError(
                expected=f"{name} as the manifest has it", got="another SHA-256", remedy="remove the file and render again"
            )
    return digests


def _listed(manifest: Path) -> Mapping[str, str] | None:
    """Files of a manifest of this tool, name to SHA-256; None for any other file, and for names that lead outside the folder."""
    try:
        return listed_in(manifest.read_bytes())
    except OSError:
        return None


def listed_in(manifest: bytes) -> Mapping[str, str] | None:
    """The same, of a manifest's content."""
    try:
        found: Any = json.loads(manifest.decode("utf-8"))
        rows = found["shards"] if "shards" in found else found["files"]
        listed = {str(row["name"]): str(row["sha256"]) for row in rows}
        ours = found["tool"] == TOOL and found["synthetic"] is True
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    inside = all(not Path(name).is_absolute() and ".." not in Path(name).parts for name in listed)
    return listed if ours and inside and MANIFEST not in listed else None


def _check_marks(shard: Path, name: str, run: str, pairs: Collection[tuple[str, str]]) -> None:
    """Raise `ProvenanceError` at the first member without a valid mark."""
    with tempfile.TemporaryDirectory(prefix="faceswap-lab-") as scratch:
        for sample in shards.read_shard(shard):
            for ending, content in sample.members.items():
                if problem := _problem(ending, content, Path(scratch), run, pairs):
                    raise ProvenanceError(
                        expected=f"the mark of {run} in {sample.key}.{ending} of {name}",
                        got=problem,
                        remedy="render it again with force=True; nothing is exported unmarked",
                    )


def _problem(ending: str, content: bytes, scratch: Path, run: str, pairs: Collection[tuple[str, str]]) -> str:
    """Why this member may not be exported; empty if it may."""
    kind = ending.rpartition(".")[2]
    if kind == "json":
        return "" if _says_synthetic(content) else "a record that does not say synthetic"
    if kind == "npz":
        return ""
    if kind not in PICTURES:
        return "a file type that carries no mark"
    path = scratch / f"member.{kind}"
    path.write_bytes(content)
    found = read_mark(path) or []
    if len(found) != 1:
        return "no mark"
    if found[0].get("run") != run:
        return f"the mark of {found[0].get('run')}"
    shown = tuple((found[0].get(side) or {}).get("subject") for side in ("source", "target"))
    return "" if shown in pairs else f"the mark of {shown[0]} on {shown[1]}"


def _says_synthetic(record: bytes) -> bool:
    try:
        facts = json.loads(record)
    except (ValueError, RecursionError):
        return False
    return isinstance(facts, dict) and facts.get("synthetic") is True


# --- the folder -----------------------------------------------------------------------------------------------------------


@contextmanager
def outgoing_folder(path: Path, root: Path) -> Iterator[Path]:
    """A hidden temporary folder beside the destination; removed unless it was moved into place. One export to a path at a time."""
    place = sha256_text(f"{root.resolve()}\0{path.resolve()}")[:16]
    temporary, older = hidden_beside(path, place), _older(path)
    with locked(root / "runs" / ".exports" / f"{place}.lock"), storing(path):
        if older.exists() and not path.exists():
            older.rename(path)  # one that was killed between its two renames
        _refuse_others(path)
        for left in (temporary, older):
            if left.exists():
                shutil.rmtree(left)
        temporary.mkdir(parents=True)
        try:
            yield temporary
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def put_folder_in_place(temporary: Path, path: Path) -> None:
    """Rename the finished folder; an older export is renamed first, and removed once the new one is in place."""
    for folder in (temporary, *(each for each in temporary.rglob("*") if each.is_dir())):
        sync_folder(folder)
    older = _older(path)
    if path.exists():
        path.rename(older)
    try:
        temporary.rename(path)
    except OSError:
        if older.exists():
            older.rename(path)
        raise
    sync_folder(path.parent)
    if older.exists():
        shutil.rmtree(older)


def _older(path: Path) -> Path:
    return hidden_beside(path, "replaced")


def _refuse_others(path: Path) -> None:
    """Only an empty folder or an older export may be replaced, and the latter only if it contains no other files."""
    if not (path.exists() or path.is_symlink()):
        return
    if path.is_dir() and not path.is_symlink():
        files = {each.relative_to(path).as_posix() for each in path.rglob("*") if not each.is_dir()}
        listed = _listed(path / MANIFEST)
        if not files or (listed is not None and files <= {MANIFEST, *listed}):
            return
    raise MediaError(
        expected="a new folder, or an older export to replace",
        got=f"{path.name}, which contains other files" if path.is_dir() else f"{path.name}, which is another file",
        remedy="choose another name",
    )
