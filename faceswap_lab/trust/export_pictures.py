"""Atomic export of pictures of actors as a folder with a manifest: gate, a mark in each picture, one line in the log."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ProvenanceError
from faceswap_lab.faces.frame import Image, write_still
from faceswap_lab.files import sha256_file
from faceswap_lab.trust.consent.gate import Permission, Subject
from faceswap_lab.trust.export import Exported
from faceswap_lab.trust.export_dataset import MANIFEST, ask_gate, log_export, outgoing_folder, put_folder_in_place
from faceswap_lab.trust.marks.metadata import SOURCE_TYPES, TOOL, Lineage, kept_metadata, read_mark

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ActorPicture:
    """A picture of actor `target`, with the face of actor `source` (the same one if nothing was swapped), under the relative path
    `name`; `facts` go into its row of the manifest, and `trained` says whether a trained model made its pixels."""

    name: str
    image: Image
    source: int
    target: int
    trained: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)


def export_pictures(
    pictures: Iterable[ActorPicture],
    path: Path,
    *,
    run: str,
    pairs: Collection[tuple[int, int]],
    facts: Mapping[str, Any],
    root: Path,
) -> Exported:
    """Write pictures of actors as the new folder `path` with a manifest that holds `facts` and each picture's digest.

    `pairs` are the (source, target) seeds that they show; `run` is the run that made them, empty if they are rendered here. Marks
    have no time, so that equal pictures are equal bytes. An older export of that name is replaced; any other folder is not.
    ValueError for a picture of another pair, or outside the folder; ProvenanceError if a mark can't be read back.
    """
    subjects = {(f"actor:{source}", f"actor:{target}") for source, target in pairs}
    ask_gate(run, subjects, str(path.resolve()), root, None)
    with outgoing_folder(path, root) as temporary:
        rows = [_written(picture, temporary, run, pairs) for picture in pictures]
        told = {
            "tool": TOOL,
            "synthetic": True,
            "digital_source_type": SOURCE_TYPES + "algorithmicMedia",
            "format": FORMAT,
            "run": run,
            **facts,
            "files": rows,
        }
        manifest = temporary / MANIFEST
        manifest.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        digests = {MANIFEST: sha256_file(manifest)} | {row["name"]: row["sha256"] for row in rows}
        entry = log_export(root, str(path.resolve()), digests, run, subjects)
        put_folder_in_place(temporary, path)
    return Exported(path=path, sha256=digests[MANIFEST], entry=entry)


def _written(picture: ActorPicture, folder: Path, run: str, pairs: Collection[tuple[int, int]]) -> dict[str, Any]:
    """The manifest's row of a picture, written with its mark."""
    place = folder / picture.name
    if (picture.source, picture.target) not in pairs or not place.resolve().is_relative_to(folder.resolve()):
        raise ValueError(
            f"{picture.name} shows {picture.source} on {picture.target}, which is none of the pairs that were asked for"
        )
    lineage = Lineage(run=run, source=Subject(seed=picture.source), target=Subject(seed=picture.target), trained=picture.trained)
    place.parent.mkdir(parents=True, exist_ok=True)
    write_still(place, picture.image, metadata=kept_metadata(lineage, Permission()))
    if read_mark(place) is None:
        raise ProvenanceError(expected=f"a mark in {picture.name}", got="none when reading it back", remedy="export as PNG")
    return {"name": picture.name, "sha256": sha256_file(place), "actors": [picture.source, picture.target], **picture.facts}
