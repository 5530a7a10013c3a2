"""Data sets in stores: exported through the gate, whole or not at all; opened again only by the lab that exported them; and read in
one order by any number of ranks."""

import json
import pickle
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import faceswap_lab as lab
from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.shards import FORMAT, Sample, writing
from faceswap_lab.errors import ConsentError, LabError, MediaError, SplitError, StorageError
from faceswap_lab.files import sha256_file
from faceswap_lab.models.feed.order import Order, draw_of, indices_of
from faceswap_lab.models.feed.shard_source import MANIFEST, ShardReader, ShardSource, source_at
from faceswap_lab.models.feed.stream import ShardStream, read_ahead
from faceswap_lab.storage.address import address_of
from faceswap_lab.storage.cache import StoreCache
from faceswap_lab.storage.store import Deadlines, Store
from faceswap_lab.trust import audit
from faceswap_lab.trust.export_to_store import put_dataset
from faceswap_lab.verbs.render.dataset import ShardRun
from faceswap_lab.verbs.render.render import RenderRecipe, render, shard_name
from tests.stores import BUCKET, ENDPOINT, SECRET, between, s3

SMALL = RenderRecipe(first=7, num_actors=2, num_views=1, size=48, shard_size=1, kinds=("still",), recast=True, maps=False)
ONCE = Deadlines(connect_s=60, read_s=120, attempts=1)


# --- leaving ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3(patch) as url:
        yield url


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("lab")
        patch.setenv("FACESWAP_LAB_ROOT", str(root))
        render(SMALL)
        yield root


@pytest.fixture
def run(rendered: Path, endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ShardRun:
    root = tmp_path / "lab"
    shutil.copytree(rendered, root)
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    monkeypatch.setenv("FACESWAP_LAB_STORE_CACHE", "50 MB")
    (found,) = ShardRun.find(root)
    return found


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoreCache:
    return StoreCache(tmp_path / "cache", 50_000_000)


def events(run: ShardRun) -> list[dict[str, object]]:
    return [line.event for line in audit.read(run.root)]


def put(run: ShardRun, address: str) -> int:
    pairs = {(f"actor:{a}", f"actor:{b}") for a in (7, 8) for b in (7, 8)}
    folder = run.artifact(MANIFEST).parent
    return put_dataset(folder, address_of(address), run=run.id, pairs=pairs, root=run.root, deadlines=ONCE).num_uploaded


@pytest.mark.slow
def test_what_was_exported_to_a_store_comes_back_bit_for_bit(run: ShardRun, own_cache: StoreCache) -> None:
    address = f"s3://{BUCKET}/round"
    assert run.export(address) == address
    (line,) = [event for event in events(run) if event["action"] == "exported"]
    assert (line["to"], line["file"], line["sha256"]) == (address, "round", sha256_file(run.artifact(MANIFEST)))
    source = lab.shards(address)
    assert (len(source), source.run, source.split, source.actors) == (2, run.id, "train", (7, 8))
    for there, here in zip(source.samples(own_cache), run.samples(), strict=True):
        assert (there.key, there.members) == (here.key, here.members)
    assert [each.members for each in lab.shards(run).samples()] == [each.members for each in run.samples()]
    again = pickle.loads(pickle.dumps(source))
    assert again == source
    assert put(run, address) == 0, "nothing is uploaded twice"


@pytest.mark.slow
def test_an_upload_that_broke_off_is_no_data_set_and_is_resumed(
    run: ShardRun, endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"s3://{BUCKET}/broken"
    with between(endpoint) as proxy:
        monkeypatch.setenv(ENDPOINT, proxy.url)
        proxy.mode, proxy.allowed = "broken", 1
        with pytest.raises(StorageError):
            put(run, address)
        assert [event["action"] for event in events(run)][-2:] == ["exported", "export broke off"]
        with pytest.raises(StorageError, match="nothing there"):
            lab.shards(address)
        proxy.allowed, before = 99, len(proxy.puts)
        assert put(run, address) == 1, "only the missing shard"
        assert [path.rpartition("/")[2] for path in proxy.puts[before:]] == ["000001.tar", MANIFEST], "the manifest comes last"
        assert len(lab.shards(address)) == 2
        proxy.allowed, before = len(proxy.puts) + 1, len(proxy.puts)
        Store(address_of(address)).put(run.artifact(MANIFEST), "shards/000000.tar")
        with pytest.raises(StorageError):
            put(run, address)
        with pytest.raises(StorageError, match="nothing there"):
            lab.shards(address)  # a manifest beside shards of which some are missing would be believed


@pytest.mark.slow
def test_a_store_goes_through_the_gate_and_keeps_what_is_not_ours(run: ShardRun, tmp_path: Path) -> None:
    address, folder = address_of(f"s3://{BUCKET}/others"), run.artifact(MANIFEST).parent
    with pytest.raises(ConsentError, match="Ann"):
        put_dataset(folder, address, run=run.id, pairs={("actor:7", "Ann")}, root=run.root)
    assert events(run)[-1]["action"] == "export refused"
    assert Store(address).listing() == {}
    (tmp_path / "mine").write_text("mine")
    Store(address).put(tmp_path / "mine", "notes.txt")
    with pytest.raises(MediaError, match=r"notes\.txt"):
        put(run, str(address))
    assert set(Store(address).listing()) == {"notes.txt"}
    Store(address).remove("notes.txt")
    put(run, str(address))
    Store(address).put(tmp_path / "mine", MANIFEST)
    with pytest.raises(MediaError):
        put(run, str(address))


@pytest.mark.slow
def test_an_older_export_is_replaced(run: ShardRun) -> None:
    address = "memory://older/export"
    put(run, address)
    other = render(replace(SMALL, num_actors=1, recast=False))
    other.export(address)
    assert set(Store(address_of(address)).listing()) == {MANIFEST, "shards/000000.tar"}
    assert lab.shards(address).run == other.id


@pytest.mark.slow
def test_another_labs_data_set_is_not_taken(run: ShardRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"s3://{BUCKET}/hearsay"
    run.export(address)
    run.export(tmp_path / "out")
    assert len(lab.shards(tmp_path / "out")) == 2
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "elsewhere"))
    for data in (address, tmp_path / "out"):
        with pytest.raises(ConsentError, match="not in this lab's log"):
            lab.shards(data)
    assert audit.read(tmp_path / "elsewhere")[-1].event["action"] == "data set refused"
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(run.root))
    manifest = tmp_path / "out" / MANIFEST
    manifest.write_text(manifest.read_text() + " ")
    with pytest.raises(ConsentError):
        lab.shards(tmp_path / "out")


@pytest.mark.slow
def test_no_credentials_are_in_anything_that_was_written(run: ShardRun, own_cache: StoreCache, tmp_path: Path) -> None:
    run.export(f"s3://{BUCKET}/quiet")
    list(lab.shards(f"s3://{BUCKET}/quiet").samples(own_cache))
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.is_relative_to(own_cache.folder / "entries") for path in written)
    for path in written:
        assert SECRET.encode() not in path.read_bytes(), path
        assert b"AKIAEXAMPLE" not in path.read_bytes(), path
    with pytest.raises(ValueError, match="environment") as refused:
        run.export(f"s3://AKIA:{SECRET}@{BUCKET}/quiet")
    assert SECRET not in str(refused.value)
    assert not any(SECRET.encode() in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.slow
def test_the_command_exports_to_a_store(run: ShardRun, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["render", "--actors", "7:9", "--views", "1", "--size", "48", "--kind", "still", "--shard-size", "1"]
    address = f"s3://{BUCKET}/command"
    assert command_line.main([*words, "--recast", "--no-maps", "--json", "-o", address]) == 0
    assert json.loads(capsys.readouterr().out)["output"] == address
    assert len(lab.shards(address)) == 2


# --- reading ----------------------------------------------------------------------------------------------------------------


def told(folder: Path, counts: tuple[int, ...], split: str = "train") -> ShardSource:
    """A data set of numbers: sample k says k."""
    rows, number = [], 0
    (folder / "shards").mkdir(parents=True)
    for shard, count in enumerate(counts):
        path = folder / shard_name(shard)
        with writing(path) as tar:
            for sample in range(number, number + count):
                tar.add(sample, {"json": json.dumps({"number": sample}).encode(), "png": b"p" * sample})
        rows.append({"name": shard_name(shard), "sha256": sha256_file(path), "bytes": path.stat().st_size, "count": count})
        number += count
    about = {"format": FORMAT, "synthetic": True, "split": split, "actors": [0, 1], "run": "render-0", "shards": rows}
    (folder / MANIFEST).write_text(json.dumps(about))
    return source_at(address_of(folder))


def number_and_draw(sample: Sample, draw: np.random.Generator) -> tuple[int, int]:
    return sample.facts["number"], int(draw.integers(1 << 30))


counts = st.lists(st.integers(1, 7), min_size=1, max_size=9).map(tuple)


@given(counts=counts, seed=st.integers(0, 99), batch=st.integers(1, 9), window=st.integers(1, 4), data=st.data())
def test_the_order_is_one_for_any_number_of_ranks(
    counts: tuple[int, ...], seed: int, batch: int, window: int, data: st.DataObject
) -> None:
    order = Order(counts=counts, seed=seed, batch=batch, window=window)
    step, ranks = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 11))
    fresh = Order(counts=counts, seed=seed, batch=batch, window=window)
    parts = [fresh.step(step)[list(indices_of(batch, rank, ranks))] for rank in reversed(range(ranks))][::-1]
    assert np.concatenate(parts).tolist() == order.step(step).tolist() == [order.at(step, k) for k in range(batch)]


@given(counts=counts, seed=st.integers(0, 99), batch=st.integers(1, 9), window=st.integers(1, 4))
def test_each_epoch_shows_each_sample_once_from_a_few_shards_at_a_time(
    counts: tuple[int, ...], seed: int, batch: int, window: int
) -> None:
    order, total = Order(counts=counts, seed=seed, batch=batch, window=window), sum(counts)
    steps = -(-2 * total // batch)
    seen = np.concatenate([order.step(step) for step in range(steps)])[: 2 * total]
    assert Counter(seen[:total].tolist()) == Counter(seen[total:].tolist()) == Counter(range(total))
    shards = [order.place(int(number))[0] for number in seen[:total]]
    starts = np.cumsum((0, *counts))
    assert all(starts[shard] + row == number for number in range(total) for shard, row in [order.place(number)])
    left = list(shards)
    while left:  # a window's shards are used up before the next window begins
        ahead = list(dict.fromkeys(left))[:window]
        size = sum(counts[shard] for shard in ahead)
        assert set(left[:size]) <= set(ahead) or len(set(left[:size])) <= window
        left = left[size:]


def test_the_order_depends_on_seed_and_epoch() -> None:
    one = Order(counts=(50, 50), seed=1, batch=100)
    assert one.step(0).tolist() != one.step(1).tolist() != Order(counts=(50, 50), seed=2, batch=100).step(1).tolist()
    assert draw_of(1, 2, 3).integers(1 << 30) != draw_of(1, 3, 2).integers(1 << 30)


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_ranks_read_together_what_one_reads_alone(ranks: int, tmp_path: Path) -> None:
    source, cache = told(tmp_path / "set", (3, 1, 4, 2)), StoreCache(tmp_path / "cache", 1 << 20)
    one = ShardStream(source=source, decode=number_and_draw, seed=5, batch=4, window=2, cache=cache)
    alone = dict(one.steps(stop=6))
    parts = [dict(replace(one, rank=rank, ranks=ranks).steps(stop=6)) for rank in range(ranks)]
    assert {step: [each for part in parts for each in part[step]] for step in range(6)} == alone
    assert dict(one.steps(start=4, stop=6)) == {step: alone[step] for step in (4, 5)}, "resumed"
    assert one.sample(5, 3) == alone[5][3]
    assert {number for step in (0, 1) for number, _ in alone[step]} <= set(range(10))


def test_a_shard_that_was_altered_or_vanishes_is_an_error_where_it_is_read(tmp_path: Path) -> None:
    source, cache = told(tmp_path / "set", (2, 2)), StoreCache(tmp_path / "cache", 1 << 20)
    stream = ShardStream(source=source, decode=number_and_draw, seed=0, batch=4, cache=cache)
    path = tmp_path / "set" / shard_name(1)
    content = path.read_bytes()
    path.write_bytes(content[:-600] + b"x" * 600)
    with pytest.raises(StorageError, match="SHA-256"):
        list(stream.steps(stop=1))
    path.unlink()
    with pytest.raises(StorageError) as refused:
        list(stream.steps(stop=1))
    assert isinstance(refused.value, LabError)
    path.write_bytes(content)
    assert len(list(stream.steps(stop=1))) == 1


def test_a_manifest_that_counts_wrongly_is_refused(tmp_path: Path) -> None:
    source = told(tmp_path / "set", (2,))
    wrong = replace(source, shards=(replace(source.shards[0], count=3),))
    with ShardReader(wrong, StoreCache(tmp_path / "cache", 1 << 20)) as reader, pytest.raises(MediaError, match="3 samples"):
        reader.sample(0, 0)


@pytest.mark.parametrize("change", [{"format": 0}, {"synthetic": False}, {"split": "all"}, {"shards": []}, {"actors": [1]}])
def test_a_manifest_of_another_kind_is_refused(change: dict[str, object], tmp_path: Path) -> None:
    told(tmp_path / "set", (1,))
    path = tmp_path / "set" / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(MediaError, match="manifest of shards"):
        source_at(address_of(tmp_path / "set"))


def test_a_shard_outside_of_the_folder_is_refused(tmp_path: Path) -> None:
    told(tmp_path / "set", (1,))
    path = tmp_path / "set" / MANIFEST
    path.write_text(path.read_text().replace("shards/000000.tar", "../000000.tar"))
    with pytest.raises(MediaError, match="outside"):
        source_at(address_of(tmp_path / "set"))


def test_actors_kept_for_tests_are_not_learned_from(tmp_path: Path) -> None:
    told(tmp_path / "one", (1,)).require_learnable()
    with pytest.raises(SplitError):
        told(tmp_path / "two", (1,), split="test").require_learnable()


def test_reading_ahead_ends_with_its_reader_and_keeps_errors() -> None:
    made, closed = [], []

    def items() -> Iterator[int]:
        try:
            for number in range(1000):
                made.append(number)
                yield number
        finally:
            closed.append(True)

    reader = read_ahead(items(), 2)
    assert [next(reader), next(reader)] == [0, 1]
    reader.close()
    assert closed == [True]
    assert len(made) <= 6
    assert list(read_ahead(iter(range(5)), 1)) == [0, 1, 2, 3, 4]

    def failing() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    reader = read_ahead(failing(), 2)
    assert next(reader) == 1
    with pytest.raises(OSError, match="gone"):
        next(reader)


def test_the_manifest_digest_is_that_of_its_bytes(tmp_path: Path) -> None:
    source = told(tmp_path / "set", (1,))
    assert source.manifest == sha256((tmp_path / "set" / MANIFEST).read_bytes()).hexdigest()
