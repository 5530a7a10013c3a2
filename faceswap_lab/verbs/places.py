"""Locating a run's input files: the recorded path is only the last known one, the digest identifies the file."""

import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ManifestError, RunError
from faceswap_lab.faces.footage import digest as digest_of
from faceswap_lab.runs.call import places_of
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.consent.manifest import find_entry, locate


def find_again(fields: Mapping[str, Any], *, root: Path, run: Run | None = None) -> Path:
    """The current path of the bit-identical file of an input's fields ("file", "path", perhaps "bytes").

    Searched are its last known path, the one in its manifest, those in other runs, the artifacts of runs, and by size all files
    below the lab's root. A moved file is announced. RunError, with the last known path, if it is not found.
    """
    digest, last = str(fields["file"]).removeprefix("sha256:"), Path(str(fields["path"]))
    for place in _candidates(digest, last, fields.get("bytes"), root, run):
        if place.is_file() and digest_of(place) == digest:
            if place != last:
                print(f"{last.name}, last seen at {last}, is now {place}", file=sys.stderr, flush=True)
            return place
    there = "another file at" if last.is_file() else "nothing at"
    raise RunError(
        expected=f"the file sha256:{digest[:12]}… that the run was given",
        got=f"{there} {last}, where it was last seen, and no file of that digest in the lab {root}",
        remedy="put it back there or anywhere below the lab's folder; or make the run's own call with the file where it is now: "
        "the same bytes are the same run, which then records the new path",
    )


def _candidates(digest: str, last: Path, num_bytes: Any, root: Path, run: Run | None) -> Iterator[Path]:
    """Candidate paths, most likely first, evaluated lazily because later ones are costly."""
    if run is not None and (moved := places_of(run.path, run.record).get(digest)):
        yield moved
    yield last
    yield from _listed(root, digest)
    for other in Run.find(root, uses=f"sha256:{digest}"):
        yield places_of(other.path, other.record)[digest]
    for other in Run.find(root):
        yield from (other.path / "artifacts" / name for name, made in other.record.artifacts.items() if made == digest)
    yield from _below(root, last, num_bytes)


def _listed(root: Path, digest: str) -> Iterator[Path]:
    entry = find_entry(root, digest)
    if entry is not None:
        try:
            yield locate(root, entry.uri)
        except ManifestError:
            return  # a row about a remote file


def _below(root: Path, last: Path, num_bytes: Any) -> Iterator[Path]:
    """Files below the root, outside run and hidden folders, of the same size, or if that is unknown, of the same suffix."""
    for place, folders, names in os.walk(root):
        top = Path(place) == root
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not (top and name == "runs"))
        for name in sorted(names):
            path = Path(place) / name
            if path.is_file() and (path.stat().st_size == num_bytes if num_bytes else path.suffix.lower() == last.suffix.lower()):
                yield path
