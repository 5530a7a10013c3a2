"""Opening exported data sets of actors again, from a folder or a store, as a source for training."""

from pathlib import Path

from faceswap_lab.errors import ConsentError
from faceswap_lab.files import lab_root
from faceswap_lab.models.feed.shard_source import MANIFEST, ShardSource, source_at
from faceswap_lab.storage.address import address_of
from faceswap_lab.storage.store import Deadlines
from faceswap_lab.trust import audit
from faceswap_lab.verbs.render.dataset import ShardRun


def shards(data: str | Path | ShardRun, *, deadlines: Deadlines | None = None) -> ShardSource:
    """A data set of actors that this lab rendered: a render run, or what one exported, in a folder or a store (`s3://bucket/folder`).

    Nothing but the manifest is read yet. Credentials come from the environment. ConsentError, which is logged, for a data set that
    this lab has not exported: what it shows would be hearsay. StorageError for a store that refuses, is silent or has no whole data
    set there; ValueError for credentials in the address.
    """
    if isinstance(data, ShardRun):
        data.require_finished()
        source = source_at(address_of(data.artifact(MANIFEST).parent), deadlines)
    else:
        source = source_at(address_of(data), deadlines)
        _require_exported(source, lab_root())
    return source


def _require_exported(source: ShardSource, root: Path) -> None:
    """ConsentError unless the lab's log says that it exported this manifest, which holds the digests of all shards."""
    for entry in audit.read(root):
        if entry.event.get("action") == "exported" and entry.event.get("sha256") == source.manifest:
            return
    error = ConsentError(
        expected=f"a data set that this lab exported, at {source.address}",
        got=f"one of the run {source.run}, whose export is not in this lab's log",
        remedy="render it here with the manifest's recipe: its pictures come from seeds; or work in the lab that exported it",
    )
    audit.append(
        root, {"action": "data set refused", "sha256": source.manifest, "to": str(source.address), "reason": str(error)[:2000]}
    )
    raise error
