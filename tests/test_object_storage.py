"""Stores behind addresses: round trips through a real S3 API, stores that deny, are silent or give half, and the local cache."""

import multiprocessing
import pickle
import random
import stat
import threading
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.errors import StorageError
from faceswap_lab.storage.address import Address, address_of, is_remote
from faceswap_lab.storage.cache import VARIABLE, StoreCache
from faceswap_lab.storage.objects import open_object, read_small
from faceswap_lab.storage.refusals import asking
from faceswap_lab.storage.store import CHUNK, Deadlines, Store, file_system
from tests.stores import BUCKET, ENDPOINT, SECRET, between, s3, silent

QUICK = Deadlines(connect_s=2, read_s=0.3, attempts=2)
"""For a store that never answers; the others have all the time they need."""

PATIENT = Deadlines(connect_s=60, read_s=120, attempts=2)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3(patch) as url:
        yield url


def content(num_bytes: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(num_bytes)


def digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def kept(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "object"
    path.write_bytes(data)
    return path


# --- addresses --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["s3://bucket/a/b", "gs://bucket", "az://box/a b", "oss://bucket/é", "memory://m/a"])
def test_an_address_reads_back_as_it_was_written(text: str) -> None:
    assert str(address_of(text)) == text
    assert address_of(Path(text)) == address_of(text), "a Path has lost a slash"
    assert is_remote(text)
    assert is_remote(Path(text))
    assert not address_of(text).is_local


def test_folders_are_addresses_too(tmp_path: Path) -> None:
    assert (
        address_of(tmp_path) == address_of(str(tmp_path)) == address_of(tmp_path.as_uri()) == Address("file", tmp_path.as_posix())
    )
    assert not is_remote(tmp_path)
    assert str(address_of(tmp_path) / "x/y.tar") == f"{tmp_path.as_posix()}/x/y.tar"


@pytest.mark.parametrize("text", [f"s3://AKIA:{SECRET}@bucket/a", f"s3://bucket/a?X-Amz-Signature={SECRET}", f"gs://b/a#{SECRET}"])
def test_credentials_in_an_address_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="environment") as refused:
        address_of(text)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("text", ["s3://", "s3://b/../c", "s3://b//c", "s3://b/\n", "ftp://host/a", "http://host/a"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="address"):
        address_of(text)


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    for scheme, module in (("s3", "s3fs"), ("gs", "gcsfs"), ("az", "adlfs"), ("oss", "ossfs")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(StorageError, match=rf"faceswap-lab\[{scheme}\]"):
            Store(address_of(f"{scheme}://bucket/a"))


# --- stores -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["s3", "memory", "file"])
def test_what_was_put_is_listed_read_by_ranges_and_removed(scheme: str, endpoint: str, tmp_path: Path) -> None:
    folder = {"s3": f"s3://{BUCKET}/round", "memory": "memory://round/trip", "file": str(tmp_path / "store")}[scheme]
    store, data = Store(address_of(folder)), content(3000)
    assert store.listing() == {}
    put = store.put(kept(tmp_path, data), "a/one.tar")
    store.put(kept(tmp_path, b""), "nothing")
    assert put.num_bytes == 3000
    assert set(store.listing()) == {"a/one.tar", "nothing"}
    assert store.stat("a/one.tar") == put, "the version does not change by itself"
    assert store.read("a/one.tar", 1000, 1500) == data[1000:1500]
    assert b"".join(store.chunks("a/one.tar", 3000)) == data
    assert read_small(store, "nothing") == b""
    store.put(kept(tmp_path, data[:-1] + b"!"), "a/one.tar")
    assert store.stat("a/one.tar").version != put.version
    for name in store.listing():
        store.remove(name)
    assert store.listing() == {}
    with pytest.raises(StorageError, match="nothing there"):
        store.stat("a/one.tar")


def test_a_large_object_arrives_in_pieces(endpoint: str, tmp_path: Path) -> None:
    store, data = Store(address_of(f"s3://{BUCKET}/large")), content(2 * CHUNK + 5)
    store.put(kept(tmp_path, data), "it")
    sizes = [len(chunk) for chunk in store.chunks("it", len(data))]
    assert sizes == [CHUNK, CHUNK, 5]
    with open_object(store, "it", StoreCache(tmp_path / "cache", 1 << 30), sha256=digest(data), num_bytes=len(data)) as file:
        assert file.read() == data


def test_a_missing_bucket_is_not_an_empty_folder(endpoint: str) -> None:
    with pytest.raises(StorageError, match=r"nothing there.*NoSuchBucket"):
        Store(address_of("s3://no-such-bucket/a")).listing()


def test_a_store_pickles_without_its_connection(endpoint: str, tmp_path: Path) -> None:
    store = Store(address_of(f"s3://{BUCKET}/pickled"), PATIENT)
    store.put(kept(tmp_path, b"abc"), "x")
    told = pickle.dumps(store)
    assert SECRET.encode() not in told
    again = pickle.loads(told)
    assert (again.deadlines, again.read("x", 0, 3)) == (PATIENT, b"abc")


def test_a_denied_request_says_so_and_shows_no_secret(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with between(endpoint) as proxy:
        proxy.mode = "denied"
        monkeypatch.setenv(ENDPOINT, proxy.url)
        store = Store(address_of(f"s3://{BUCKET}/a"), PATIENT)
        with pytest.raises(StorageError, match="denied") as refused:
            store.read("x", 0, 5)
        with pytest.raises(StorageError, match="denied"):
            store.listing()
        with pytest.raises(StorageError, match="denied"):
            store.stat("x")
    assert SECRET not in str(refused.value)
    assert "AWS_ACCESS_KEY_ID" in refused.value.remedy


def test_nobody_to_sign_says_which_variables_are_asked(endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(StorageError, match=r"no credentials.*AWS_ACCESS_KEY_ID"):
        Store(address_of(f"s3://{BUCKET}/a"), PATIENT).stat("x")


def test_a_silent_store_is_given_up_after_the_attempts_it_was_given(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    with silent() as url:
        monkeypatch.setenv(ENDPOINT, url)
        with pytest.raises(StorageError, match="no answer in time"):
            Store(address_of(f"s3://{BUCKET}/a"), QUICK).read("x", 0, 5)


def test_a_closed_port_is_no_connection(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    with silent() as url:
        pass
    monkeypatch.setenv(ENDPOINT, url)
    with pytest.raises(StorageError, match="no connection"):
        Store(address_of(f"s3://{BUCKET}/a"), PATIENT).stat("x")


@pytest.mark.parametrize("mode", ["half", "torn"])
def test_half_an_object_is_never_kept(mode: str, endpoint: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data, cache = content(4000), StoreCache(tmp_path / "cache", 1 << 20)
    with between(endpoint) as proxy:
        monkeypatch.setenv(ENDPOINT, proxy.url)
        store = Store(address_of(f"s3://{BUCKET}/{mode}"), PATIENT)
        store.put(kept(tmp_path, data), "x")
        proxy.mode = mode
        for known in ({}, {"sha256": digest(data), "num_bytes": 4000}):
            with pytest.raises(StorageError, match="broke off"):
                open_object(store, "x", cache, **known)
        assert len([path for path in proxy.gets if path.endswith("/x")]) >= 2 * PATIENT.attempts, "it was asked again"
        assert cache.num_bytes() == 0
        proxy.mode = "whole"
        with open_object(store, "x", cache, sha256=digest(data), num_bytes=4000) as file:
            assert file.read() == data


def test_another_content_of_the_same_size_is_refused(endpoint: str, tmp_path: Path) -> None:
    store, cache = Store(address_of(f"s3://{BUCKET}/other")), StoreCache(tmp_path / "cache", 1 << 20)
    store.put(kept(tmp_path, content(500, 1)), "x")
    with pytest.raises(StorageError, match="SHA-256"):
        open_object(store, "x", cache, sha256=digest(content(500, 2)), num_bytes=500)
    assert cache.num_bytes() == 0


def test_without_a_digest_the_stores_version_decides(endpoint: str, tmp_path: Path) -> None:
    store, cache = Store(address_of(f"s3://{BUCKET}/versions")), StoreCache(tmp_path / "cache", 1 << 20)
    for seed in (1, 1, 2):
        store.put(kept(tmp_path, content(500, seed)), "x")
        with open_object(store, "x", cache) as file:
            assert file.read() == content(500, seed)
    assert cache.num_bytes() == 1000


def test_a_plain_folder_is_read_in_place_and_verified(tmp_path: Path) -> None:
    store, cache = Store(address_of(tmp_path)), StoreCache(tmp_path / "cache", 10)
    kept(tmp_path, b"a" * 100)
    with open_object(store, "object", cache, sha256=digest(b"a" * 100)) as file:
        assert file.read() == b"a" * 100
    with pytest.raises(StorageError, match="SHA-256"):
        open_object(store, "object", cache, sha256=digest(b"b"))
    assert not (tmp_path / "cache").exists()


def test_no_credentials_reach_the_file_system_object(endpoint: str) -> None:
    assert SECRET not in file_system("s3", PATIENT).to_json()


def raised_by(module: str, name: str, bases: tuple[type[BaseException], ...] = (Exception,), **about: object) -> BaseException:
    error = type(name, bases, {"__module__": module})(f"https://account.example/x?sig={SECRET}")
    for key, value in about.items():
        setattr(error, key, value)
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (raised_by("azure.core.exceptions", "ResourceNotFoundError", status_code=404), "nothing there"),
        (raised_by("azure.core.exceptions", "HttpResponseError", status_code=403), r"access denied.*AZURE_STORAGE_ACCOUNT_NAME"),
        (raised_by("azure.core.exceptions", "ClientAuthenticationError", status_code=401), "no credentials"),
        (raised_by("azure.core.exceptions", "ServiceRequestError"), "no connection"),
        (raised_by("gcsfs.retry", "HttpError", code=403), "access denied"),
        (raised_by("google.auth.exceptions", "DefaultCredentialsError"), "no credentials"),
        (OSError(f"Forbidden: b/x?sig={SECRET}"), "access denied"),
        (raised_by("oss2.exceptions", "NoSuchBucket", status=404, code="NoSuchBucket"), r"nothing there.*NoSuchBucket"),
        (raised_by("requests.exceptions", "ReadTimeout", (OSError,)), "no answer in time"),
        (raised_by("aiohttp.client_exceptions", "ClientPayloadError"), "broke off"),
        (
            raised_by("oss2.exceptions", "ServerError", status=500, code="InternalError"),
            r"InternalError.*the store's library raised",
        ),
        (ConnectionResetError(104, "reset"), "no connection"),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, BaseException) else "",
)
def test_what_the_other_stores_libraries_raise_is_told_without_their_messages(error: BaseException, said: str) -> None:
    with pytest.raises(StorageError, match=said) as told, asking("az://box/x"):
        raise error
    assert SECRET not in str(told.value)
    assert told.value.__cause__ is error


def test_our_own_mistakes_are_not_the_stores() -> None:
    with pytest.raises(KeyError), asking("s3://bucket/x"):
        raise KeyError("x")


# --- the cache --------------------------------------------------------------------------------------------------------------


def filled(cache: StoreCache, seed: int, num_bytes: int) -> bytes:
    data = content(num_bytes, seed)
    with cache.open(digest(data), num_bytes, lambda part: part.write_bytes(data) and None, digest(data)) as file:
        return file.read()


def test_the_cache_is_private_bounded_and_forgets_the_least_recently_used(tmp_path: Path) -> None:
    cache = StoreCache(tmp_path / "cache", 1000)
    for seed in (1, 2, 3):
        filled(cache, seed, 300)
    made: list[int] = []

    def ask(seed: int) -> None:
        data = content(300, seed)

        def fill(part: Path) -> None:
            made.append(seed)
            part.write_bytes(data)

        cache.open(digest(data), 300, fill).close()

    ask(1)
    filled(cache, 4, 300)
    assert cache.num_bytes() == 900
    for seed in (1, 3, 4):
        ask(seed)
    assert made == [], "2 was the one unused for longest"
    ask(2)
    assert made == [2]
    for path in [cache.folder, *cache.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_what_is_too_large_for_the_cache_says_which_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1 KB")
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path))
    with pytest.raises(StorageError, match=VARIABLE):
        filled(StoreCache(), 1, 1001)
    assert filled(StoreCache(), 1, 1000) == content(1000, 1)
    assert StoreCache().num_bytes() == 1000
    monkeypatch.setenv(VARIABLE, "much")
    with pytest.raises(ValueError, match=VARIABLE):
        StoreCache()


def test_a_file_that_was_altered_on_disk_is_made_again(tmp_path: Path) -> None:
    filled(StoreCache(tmp_path, 1000), 1, 300)
    (entry,) = (tmp_path / "entries").rglob("*" * 1 + digest(content(300, 1)))
    entry.write_bytes(b"x" * 300)
    assert filled(StoreCache(tmp_path, 1000), 1, 300) == content(300, 1)


def test_a_failed_file_leaves_nothing(tmp_path: Path) -> None:
    cache = StoreCache(tmp_path, 1000)

    def fail(part: Path) -> None:
        part.write_bytes(b"half")
        raise StorageError(expected="a", got="b", remedy="c")

    with pytest.raises(StorageError):
        cache.open("ab" * 32, 500, fail)
    with pytest.raises(ValueError, match="announced"):
        cache.open("ab" * 32, 500, lambda part: part.write_bytes(b"half") and None)
    assert cache.num_bytes() == 0


def test_an_open_file_stays_readable_after_it_was_removed(tmp_path: Path) -> None:
    cache, data = StoreCache(tmp_path, 500), content(400, 1)
    with cache.open(digest(data), 400, lambda part: part.write_bytes(data) and None) as file:
        filled(cache, 2, 400)
        assert cache.num_bytes() == 400
        assert file.read() == data


def test_the_part_of_a_killed_process_is_removed(tmp_path: Path) -> None:
    cache = StoreCache(tmp_path, 1000, room_s=0)
    filled(cache, 1, 10)
    (tmp_path / "parts" / f"07.{'07' * 32}.900").write_bytes(b"x" * 900)
    assert filled(cache, 2, 500) == content(500, 2)
    assert cache.num_bytes() == 510


def test_threads_that_ask_for_one_file_make_it_once(tmp_path: Path) -> None:
    cache, made = StoreCache(tmp_path, 1000), []
    data, go = content(300, 1), threading.Barrier(4)

    def fill(part: Path) -> None:
        made.append(1)
        part.write_bytes(data)

    def ask() -> None:
        go.wait()
        cache.open(digest(data), 300, fill).close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]


def hammer(folder: str, seed: int, limit: int, most: "multiprocessing.Queue[object]") -> None:
    cache, draw, highest = StoreCache(Path(folder), limit), random.Random(seed), 0
    try:
        for _ in range(150):
            number = draw.randrange(12)
            assert filled(cache, number, 50 + 10 * number) == content(50 + 10 * number, number)
            highest = max(highest, cache.num_bytes())
        most.put(highest)
    except BaseException as error:
        most.put(repr(error))
        raise


@pytest.mark.slow
def test_two_processes_stay_within_one_limit(tmp_path: Path) -> None:
    """Every content is checked, and the limit is a third of all there is, so that both remove all the time."""
    context = multiprocessing.get_context("spawn")
    most: multiprocessing.Queue[object] = context.Queue()
    both = [context.Process(target=hammer, args=(str(tmp_path), seed, 400, most)) for seed in (1, 2)]
    for process in both:
        process.start()
    found = [most.get(timeout=300) for _ in both]
    for process in both:
        process.join()
    assert all(isinstance(each, int) and 0 < each <= 400 for each in found), found
    assert not list((tmp_path / "parts").iterdir())


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 60)), max_size=30))
def test_the_limit_holds_after_every_file(tmp_path_factory: pytest.TempPathFactory, asked: list[tuple[int, int]]) -> None:
    cache = StoreCache(tmp_path_factory.mktemp("cache"), 100)
    for seed, num_bytes in asked:
        assert filled(cache, seed, num_bytes) == content(num_bytes, seed)
        assert cache.num_bytes() <= 100


def test_nothing_is_made_before_it_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_CACHE", str(tmp_path / "cache"))
    StoreCache()
    assert not list(tmp_path.iterdir())
