"""A data set of actors in a folder or a store, by its manifest: its shards, verified by digest, and their samples by number."""

import hashlib
import json
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from typing import Any, get_args

from faceswap_lab.actors.shards import FORMAT, Member, Sample, index_of, read_sample
from faceswap_lab.actors.splits import Split
from faceswap_lab.errors import MediaError, SplitError
from faceswap_lab.storage.address import Address
from faceswap_lab.storage.cache import StoreCache
from faceswap_lab.storage.objects import open_object, read_small
from faceswap_lab.storage.store import Deadlines, Store

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A row of the manifest."""

    name: str
    sha256: str
    num_bytes: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardSource:
    """A data set, whose shards are read when they are asked for. Pickles, for workers to read themselves; holds no credentials.

    `manifest` is the manifest's SHA-256, `run` the run that made the data set, `actors` its first and last seed.
    """

    address: Address
    manifest: str
    run: str
    split: Split
    actors: tuple[int, int]
    shards: tuple[Shard, ...]
    deadlines: Deadlines

    def __len__(self) -> int:
        return sum(self.counts)

    @property
    def counts(self) -> tuple[int, ...]:
        """The number of samples in each shard."""
        return tuple(shard.count for shard in self.shards)

    def require_learnable(self) -> None:
        """SplitError for actors that are kept for tests."""
        if self.split == "test":
            raise SplitError(
                expected="actors to train on",
                got=f"those of {self.address}, of the split test",
                remedy="render others to learn from",
            )

    def open(self, number: int, cache: StoreCache) -> BufferedReader:
        """A shard, open for reading and verified. StorageError for a store that refuses, is silent, gives half, or altered it."""
        shard = self.shards[number]
        store = Store(self.address, self.deadlines)
        return open_object(store, shard.name, cache, sha256=shard.sha256, num_bytes=shard.num_bytes)

    def samples(self, cache: StoreCache | None = None) -> Iterator[Sample]:
        """All samples in order."""
        with ShardReader(self, cache or StoreCache(), most=1) as reader:
            for number, shard in enumerate(self.shards):
                yield from (reader.sample(number, row) for row in range(shard.count))


def source_at(address: Address, deadlines: Deadlines | None = None) -> ShardSource:
    """The data set at an address. StorageError if no manifest is there: an upload that broke off has none. MediaError for another
    format."""
    told = read_small(Store(address, deadlines), MANIFEST)
    try:
        found: Any = json.loads(told)
        rows = tuple(_row(row) for row in found["shards"])
        if found["format"] != FORMAT or found["synthetic"] is not True or found["split"] not in get_args(Split):
            raise ValueError(f"format {str(found['format'])[:20]}")
        first, last = (int(each) for each in found["actors"])
        if not rows or min(row.count for row in rows) < 1:
            raise ValueError("no samples")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise MediaError(
            expected=f"a manifest of shards of format {FORMAT} at {address}",
            got=str(error)[:200] or type(error).__name__,
            remedy="export the render run again with this version",
        ) from error
    return ShardSource(
        address=address,
        manifest=hashlib.sha256(told).hexdigest(),
        run=str(found["run"]),
        split=found["split"],
        actors=(first, last),
        shards=rows,
        deadlines=deadlines or Deadlines(),
    )


def _row(row: Any) -> Shard:
    name = str(row["name"])
    if name.startswith("/") or ".." in name.split("/"):
        raise ValueError("a shard outside of the folder")
    return Shard(name=name, sha256=str(row["sha256"]), num_bytes=int(row["bytes"]), count=int(row["count"]))


_Open = tuple[BufferedReader, list[tuple[str, dict[str, Member]]]]
"""A shard's file, and the key and members of each of its samples."""


class ShardReader:
    """Samples by shard and row; the last `most` shards stay open. Threads may share it. Use it in a `with`, or `close` it."""

    def __init__(self, source: ShardSource, cache: StoreCache, most: int = 8) -> None:
        self._source, self._cache, self._most = source, cache, most
        self._open: OrderedDict[int, _Open] = OrderedDict()
        self._lock = threading.Lock()

    def sample(self, shard: int, row: int) -> Sample:
        """MediaError for a shard with another number of samples than the manifest says; StorageError as of `ShardSource.open`."""
        with self._lock:
            file, index = self._opened(shard)
            return read_sample(file, *index[row])

    def load(self, shard: int) -> None:
        """Opens a shard now, so that reading its samples asks the cache for nothing."""
        with self._lock:
            self._opened(shard)

    def close(self) -> None:
        """Closes what is open."""
        with self._lock:
            while self._open:
                self._open.popitem()[1][0].close()

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _opened(self, number: int) -> _Open:
        if number not in self._open:
            while len(self._open) >= self._most:
                self._open.popitem(last=False)[1][0].close()
            self._open[number] = self._indexed(number)
        self._open.move_to_end(number)
        return self._open[number]

    def _indexed(self, number: int) -> _Open:
        shard, file = self._source.shards[number], self._source.open(number, self._cache)
        try:
            index = list(index_of(file, shard.name).items())
            if len(index) != shard.count:
                got, remedy = f"{len(index)}", "export the render run again"
                raise MediaError(expected=f"{shard.count} samples in {shard.name}", got=got, remedy=remedy)
        except BaseException:
            file.close()
            raise
        return file, index
