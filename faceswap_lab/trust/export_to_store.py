"""Export of data sets to a store: the same gate, marks and log line as for a folder, and the manifest last.

A data set in a store is whole when its manifest is there: an export that breaks off leaves shards that nobody takes for a data set,
and the same call goes on with the shards that are missing. What this lab has put where stands in a private file beside its locks:
names, digests and the store's own versions.
"""

import json
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.errors import MediaError
from faceswap_lab.files import canonical, locked, private_folder, sha256_text, write_whole
from faceswap_lab.storage.address import Address
from faceswap_lab.storage.objects import read_small
from faceswap_lab.storage.store import Deadlines, Store, Stored
from faceswap_lab.trust import audit
from faceswap_lab.trust.export_dataset import MANIFEST, ask_gate, listed_in, log_export, staged


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A data set in a store: its address, its manifest's digest, its line in the log, and how many shards this call uploaded."""

    address: Address
    sha256: str
    entry: audit.Entry
    num_uploaded: int


def put_dataset(
    folder: Path,
    address: Address,
    *,
    run: str,
    pairs: Collection[tuple[str, str]],
    root: Path,
    deadlines: Deadlines | None = None,
    today: date | None = None,
) -> Placed:
    """Put a data set of actors into a store: the manifest in `folder` and the shards that it lists, below `address`.

    `pairs` and what is refused are those of `export_dataset`. The line is in the log before the first byte leaves; an upload that
    breaks off is logged too. An older export at the address is replaced, anything else is not. StorageError for a store that
    refuses, is silent, or has another size afterwards.
    """
    ask_gate(run, pairs, str(address), root, today)
    place = sha256_text(f"{root.resolve()}\0{address}")[:16]
    exports = root / "runs" / ".exports"
    with locked(exports / f"{place}.lock"), _scratch(exports / place) as temporary:
        digests = staged(folder, temporary, run, pairs)
        upload = _Upload(Store(address, deadlines), exports / f"{place}.json", temporary)
        upload.refuse_others()
        entry = log_export(root, str(address), digests, run, pairs)
        try:
            count = upload.run(digests)
        except BaseException as error:
            audit.append(root, {"action": "export broke off", "run": run, "to": str(address), "reason": type(error).__name__})
            raise
    return Placed(address=address, sha256=digests[MANIFEST], entry=entry, num_uploaded=count)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty private folder, removed afterwards."""
    shutil.rmtree(folder, ignore_errors=True)
    try:
        yield private_folder(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Upload:
    """From a verified copy to a store. `record` is the file of what was put there before."""

    def __init__(self, store: Store, record: Path, copy: Path) -> None:
        self._store, self._record, self._copy = store, record, copy
        self._there = store.listing()
        self._known = _read(record)

    def refuse_others(self) -> None:
        """MediaError if anything is there that is neither of an older export nor of one of this lab's that broke off."""
        listed: Mapping[str, str] | None = {}
        if MANIFEST in self._there:
            listed = listed_in(read_small(self._store, MANIFEST))
        ours = {MANIFEST, *(listed or {}), *self._known} if listed is not None else set()
        if others := sorted(set(self._there) - ours):
            raise MediaError(
                expected="an empty address, or an older export to replace",
                got=f"{others[0]} at {self._store.address}" + (f" and {len(others) - 1} more" if len(others) > 1 else ""),
                remedy="choose another name, or remove what is there with the store's own tools",
            )

    def run(self, digests: Mapping[str, str]) -> int:
        """Upload what is missing, remove what is no longer listed, and put the manifest last. The number of uploaded shards."""
        missing = [name for name in digests if name != MANIFEST and not self._has(name, digests[name])]
        surplus = [name for name in self._there if name not in digests]
        if not missing and not surplus and self._has(MANIFEST, digests[MANIFEST]):
            return 0
        if MANIFEST in self._there:
            self._store.remove(MANIFEST)
        for name in missing:
            self._put(name, digests[name])
        for name in surplus:
            self._store.remove(name)
        self._put(MANIFEST, digests[MANIFEST])
        return len(missing)

    def _has(self, name: str, digest: str) -> bool:
        """Whether this lab put these bytes there, and the store still has that version."""
        known = self._known.get(name)
        if name not in self._there or known is None or known["sha256"] != digest:
            return False
        return known["version"] == self._store.stat(name).version

    def _put(self, name: str, digest: str) -> None:
        stored: Stored = self._store.put(self._copy / name, name)
        self._known = self._known | {name: {"sha256": digest, "version": stored.version}}
        write_whole(self._record, canonical(self._known), private=True)


def _read(record: Path) -> dict[str, dict[str, str]]:
    """What was put there; nothing for a file that is missing or damaged, so that everything is uploaded anew."""
    try:
        found: Any = json.loads(record.read_text(encoding="utf-8"))
        return {str(name): {"sha256": str(row["sha256"]), "version": str(row["version"])} for name, row in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
