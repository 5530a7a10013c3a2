"""The audit log: flip, drop, swap, insert or cut anything, and verification names the line."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceswap_lab.errors import ProvenanceError
from faceswap_lab.files import canonical, sha256_text
from faceswap_lab.trust import audit


def filled(root: Path, count: int = 6) -> Path:
    for number in range(count):
        audit.append(root, {"action": "test", "number": number, "name": "Zoë"})
    return audit.path_of(root)


def bad_line(root: Path, heads: list[audit.Head] | None = None) -> int | None:
    return audit.verify(root, heads=heads or []).bad_line


def test_whole_log_verifies_and_reads_back(tmp_path: Path) -> None:
    heads = [audit.append(tmp_path, {"action": "a", "n": number}).head for number in range(5)]
    verdict = audit.verify(tmp_path, heads=heads)
    assert verdict.whole
    assert verdict.head == heads[-1] == audit.head(tmp_path)
    assert [entry.event["n"] for entry in audit.read(tmp_path)] == list(range(5))
    verdict.require_whole()


def test_no_log_is_a_whole_log(tmp_path: Path) -> None:
    assert audit.verify(tmp_path).whole
    assert audit.head(tmp_path) == audit.Head()
    assert not audit.path_of(tmp_path).exists()


def test_chain_follows_its_definition(tmp_path: Path) -> None:
    """An oracle of its own: hash = SHA-256(previous hash + canonical rest)."""
    previous = "0" * 64
    for line in filled(tmp_path).read_text().splitlines():
        fields = json.loads(line)
        claimed = fields.pop("hash")
        assert fields["previous"] == previous
        rest = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert claimed == sha256_text(previous + rest)
        previous = claimed


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_any_flipped_bit_is_named(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    root = tmp_path_factory.mktemp("log")
    path = filled(root, 3)
    content = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(content) - 2))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    line = path.read_bytes()[:place].count(b"\n") + 1
    path.write_bytes(content)
    found = bad_line(root)
    # A flip in a newline joins two lines, one into a newline splits one: the first of the two is bad.
    assert found == line
    with pytest.raises(ProvenanceError, match=f"line {line}"):
        audit.verify(root).require_whole()


@pytest.mark.parametrize("dropped", range(5))
def test_dropped_line(tmp_path: Path, dropped: int) -> None:
    path = filled(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:dropped] + lines[dropped + 1 :]))
    assert bad_line(tmp_path) == dropped + 1


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 4), (4, 5)])
def test_swapped_lines(tmp_path: Path, one: int, other: int) -> None:
    path = filled(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[one], lines[other] = lines[other], lines[one]
    path.write_bytes(b"".join(lines))
    assert bad_line(tmp_path) == one + 1


def test_repeated_line(tmp_path: Path) -> None:
    path = filled(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:3], lines[2], *lines[3:]]))
    assert bad_line(tmp_path) == 4


def test_another_spelling_of_the_same_values(tmp_path: Path) -> None:
    path = filled(tmp_path)
    lines = path.read_text().splitlines(keepends=True)
    lines[2] = lines[2].replace('"event":', '"event": ')
    path.write_text("".join(lines))
    assert bad_line(tmp_path) == 3


@pytest.mark.parametrize("left", range(6))
def test_cut_tail_is_found_by_a_head(tmp_path: Path, left: int) -> None:
    path = filled(tmp_path)
    head = audit.head(tmp_path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:left]))
    assert bad_line(tmp_path) == left + 1, "the head after the last line is kept beside the log"
    (tmp_path / "runs" / audit.ANCHOR).unlink()
    assert bad_line(tmp_path) is None, "without a head a cut tail is a shorter whole log"
    assert bad_line(tmp_path, [audit.Head(), head]) == left + 1
    assert audit.verify(tmp_path, heads=[head]).count == left


def test_log_written_anew_is_found_by_a_head(tmp_path: Path) -> None:
    """Whoever can compute hashes can forge a whole chain, but not one that runs have seen."""
    path = filled(tmp_path)
    head = audit.head(tmp_path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    lines[3]["event"]["name"] = "forged"
    previous = audit.START
    for fields in lines:
        fields["previous"] = previous
        body = {name: value for name, value in fields.items() if name != "hash"}
        previous = fields["hash"] = sha256_text(previous + canonical(body))
    path.write_text("".join(canonical(fields) + "\n" for fields in lines))
    assert bad_line(tmp_path) == 6
    (tmp_path / "runs" / audit.ANCHOR).unlink()
    assert bad_line(tmp_path) is None
    assert bad_line(tmp_path, [head]) == 6


def test_nothing_is_chained_to_a_log_that_was_cut(tmp_path: Path) -> None:
    """The next line would hide the cut: the head beside the log would then be that line's."""
    path = filled(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
    with pytest.raises(ProvenanceError, match="the 6 lines that were written"):
        audit.append(tmp_path, {"action": "next"})
    path.unlink()
    with pytest.raises(ProvenanceError, match="got 0 lines"):
        audit.append(tmp_path, {"action": "next"})
    path.write_bytes(whole)
    audit.append(tmp_path, {"action": "next"})
    assert audit.verify(tmp_path).count == 7


def test_a_head_that_a_kill_left_behind_the_log_is_no_cut(tmp_path: Path) -> None:
    filled(tmp_path, 2)
    head = (tmp_path / "runs" / audit.ANCHOR).read_bytes()
    audit.append(tmp_path, {"action": "the last one before a kill"})
    (tmp_path / "runs" / audit.ANCHOR).write_bytes(head)
    assert audit.verify(tmp_path).whole
    audit.append(tmp_path, {"action": "next"})
    assert audit.verify(tmp_path).count == 4


def test_an_unreadable_head_is_told(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    (tmp_path / "runs" / audit.ANCHOR).write_text("{")
    for work in (lambda: audit.append(tmp_path, {"action": "next"}), lambda: audit.verify(tmp_path)):
        with pytest.raises(ProvenanceError, match="end of the audit log"):
            work()


@pytest.mark.skipif(sys.platform == "win32", reason="user ids")
def test_the_user_is_the_systems_and_not_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.setenv(variable, "alice")
    user = audit.append(tmp_path, {"action": "test"}).user
    assert f"uid {os.getuid()}" in user
    assert "alice" not in user
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_000)
    assert audit.append(tmp_path, {"action": "test"}).user == "uid 4000000000", "without an entry in the password file"


@pytest.mark.parametrize("kept", [1, 20, 150])
def test_torn_tail_is_reported_and_set_aside(tmp_path: Path, kept: int, caplog: pytest.LogCaptureFixture) -> None:
    path = filled(tmp_path, 3)
    head = audit.head(tmp_path)
    whole = path.read_bytes()
    torn = b'{"event":{"action":"half' + b"x" * 200
    path.write_bytes(whole + torn[:kept])
    assert bad_line(tmp_path) == 4
    assert "torn" in audit.verify(tmp_path).reason
    assert audit.head(tmp_path) == head
    audit.append(tmp_path, {"action": "next"})
    assert "torn" in caplog.text
    assert [entry.event["action"] for entry in audit.read(tmp_path)][3:] == ["torn line set aside", "next"]
    aside = audit.read(tmp_path)[3].event
    assert aside["bytes"] == kept
    assert (tmp_path / aside["file"]).read_bytes() == torn[:kept] + b"\n"
    assert audit.verify(tmp_path, heads=[head]).whole


def test_log_that_is_nothing_but_a_torn_line(tmp_path: Path) -> None:
    audit.path_of(tmp_path).write_bytes(b'{"half')
    audit.append(tmp_path, {"action": "next"})
    assert [entry.event["action"] for entry in audit.read(tmp_path)] == ["torn line set aside", "next"]


def test_nothing_is_chained_to_a_broken_line(tmp_path: Path) -> None:
    path = filled(tmp_path, 2)
    content = path.read_bytes()
    path.write_bytes(content[:-10] + b"x" * 9 + b"\n")
    before = path.read_bytes()
    with pytest.raises(ProvenanceError, match="audit verify"):
        audit.append(tmp_path, {"action": "next"})
    assert path.read_bytes() == before


@pytest.mark.parametrize("event", [{"picture": b"bytes"}, {"values": float("nan")}, {"picture": "x" * 70_000}])
def test_data_does_not_enter_the_log(tmp_path: Path, event: dict[str, object]) -> None:
    filled(tmp_path, 1)
    with pytest.raises((TypeError, ValueError)):
        audit.append(tmp_path, event)
    assert audit.verify(tmp_path).count == 1


def write_many(root: Path, writer: int, count: int, together: Any) -> None:
    together.wait()
    for number in range(count):
        audit.append(root, {"action": "test", "writer": writer, "number": number})


@pytest.mark.slow
def test_processes_that_write_at_once_keep_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(3)
    writers = [context.Process(target=write_many, args=(tmp_path, writer, 40, together)) for writer in range(3)]
    for process in writers:
        process.start()
    for process in writers:
        process.join()
        assert process.exitcode == 0
    entries = audit.read(tmp_path)
    assert len(entries) == 120
    for writer in range(3):
        assert [e.event["number"] for e in entries if e.event["writer"] == writer] == list(range(40))
    assert len({e.event["writer"] for e in entries[:100]}) > 1, "the writers did not overlap: the test shows nothing"


WRITER = """
import sys
from pathlib import Path
from faceswap_lab.trust import audit
root = Path(sys.argv[1])
for number in range(100_000):
    entry = audit.append(root, {"action": "test", "number": number})
    print(entry.number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_kills_leave_a_whole_log(tmp_path: Path) -> None:
    """What a killed writer had confirmed is in the log, and the next writer goes on."""
    chance = random.Random(0)
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(chance.uniform(0, 0.03))
        os.kill(process.pid, signal.SIGKILL)
        printed = (first + process.stdout.read()).split()
        process.wait()
        process.stdout.close()
        confirmed = int(printed[-1])
        audit.append(tmp_path, {"action": "after the kill"})
        verdict = audit.verify(tmp_path)
        assert verdict.whole, verdict.reason
        assert verdict.count > confirmed
