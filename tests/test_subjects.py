"""Names in the audit log: its lines hold ids, the table has the names, and after an erasure the ids lead to nobody."""

import json
import multiprocessing
import stat
import sys
import unicodedata
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import ConsentError, ProvenanceError
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import write_still
from faceswap_lab.maintenance import erase
from faceswap_lab.names import folded
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import admit, audit, export, subjects
from faceswap_lab.trust.spelling import Finder
from faceswap_lab.verbs.people import record_of, subject_of
from tests.subjects import result

DAY = date(2026, 6, 1)
JANE = "Jané Müller-Doe"
SPELLINGS = ("jané", "jane", "müller", "muller", "doe")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))


def let_in(root: Path, name: str, who: str, basis: str = "consent: signed") -> Clip:
    path = root / "own" / name
    path.parent.mkdir(exist_ok=True)
    write_still(path, np.random.default_rng(sum(name.encode())).integers(0, 256, (24, 32, 3), dtype=np.uint8))
    return admit.admit(path, root=root, who=who, basis=basis, uses=["anonymise", "train", "swap-source"], today=DAY)


def let_out(root: Path, run: str, target: Clip, name: str) -> Path:
    clip, lineage = result(root, run=run, target=subject_of(target), trained=False)
    return export.export(clip, root / name, lineage=lineage, root=root, today=DAY).path


def lived(root: Path) -> Path:
    """All that a person goes through: admitted, refused, trained on, exported. The path of the export."""
    jane = let_in(root, f"{JANE} on the beach.png", JANE, basis=f"consent: form of {JANE.upper()}; partners John Roe")
    with pytest.raises(ConsentError):
        admit.admit(jane.path, root=root, who="John  Roe", today=DAY)
    with pytest.raises(ConsentError):
        admit.admit(jane.path, root=root, who="Somebody Else", today=DAY)
    run = Run.start(root, "train", '{"steps": 3}', {"source": "actor:7", "target": record_of(jane)})
    with run:
        run.finish()
    out = root / "for jane_muller_doe" / "portrait of Jane.Müller-Doe.png"
    return let_out(root, run.id, jane, str(out.relative_to(root)))


def named_in(text: str) -> list[str]:
    return [word for word in (*SPELLINGS, "john", "roe", "somebody") if word in unicodedata.normalize("NFC", text).casefold()]


def test_no_line_holds_a_real_persons_name_and_the_lab_still_shows_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lived(tmp_path)
    text = audit.path_of(tmp_path).read_text()
    assert named_in(text) == []
    assert command_line.main(["audit", "show", "--json"]) == 0
    events = [json.loads(line["event"]) for line in json.loads(capsys.readouterr().out)["lines"]]
    assert (events[0]["subject"], events[0]["partners"]) == (JANE, ["John Roe"])
    assert events[0]["basis"] == f"consent: form of {JANE.upper()}", "as it was spelled"
    assert events[0]["manifest"] == "jane-muller-doe"
    assert [event["entry"] for event in events if "entry" in event] == ["jane-muller-doe:2"]
    assert "'Somebody Else'" in "".join(str(event.get("reason")) for event in events)
    assert events[-1]["file"] == "portrait of Jane.Müller-Doe.png"
    assert events[-1]["to"] == str(tmp_path / "for jane_muller_doe" / "portrait of Jane.Müller-Doe.png")
    assert events[-1]["depicts"][0]["source"]["subject"] == "actor:7"
    assert audit.verify(tmp_path, heads=Run.heads(tmp_path)).whole


def test_after_an_erasure_the_log_is_whole_and_names_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = lived(tmp_path)
    assert named_in((tmp_path / "runs" / subjects.TABLE).read_text())
    assert erase.purge(tmp_path, JANE, today=DAY).copies == (out,), "found by its name in the log, and its digest"
    assert [row.name for row in subjects.read(tmp_path).people.values() if row.name not in ("John Roe", "Somebody Else")] == []
    assert audit.verify(tmp_path, heads=Run.heads(tmp_path)).whole
    command_line.main(["audit", "show"])
    shown = capsys.readouterr().out
    assert not {*SPELLINGS} & {*named_in(shown.replace(str(tmp_path), ""))}
    assert "person:" in shown
    with pytest.raises(ConsentError, match="withdrawn"):
        admit.admit(tmp_path / "own" / f"{JANE} on the beach.png", root=tmp_path, today=DAY)
    assert subjects.read(tmp_path).id_of(JANE) is None, "a refusal does not enter them again"
    assert named_in(audit.path_of(tmp_path).read_text()) == []


def test_one_person_has_one_id_however_the_name_is_spelled(tmp_path: Path) -> None:
    spelled = (JANE, unicodedata.normalize("NFD", JANE), JANE.upper(), "actor:7", "synthetic:JANE")
    marks = [audit.append(tmp_path, {"action": "x", "subject": name}).event["subject"] for name in spelled]
    assert len({mark.partition("/")[0] for mark in marks[:3]}) == 1
    assert marks[3:] == ["actor:7", "synthetic:JANE"]
    other = audit.append(tmp_path / "other", {"action": "x", "subject": JANE}).event["subject"]
    assert other != marks[0], "an id is random, and says nothing about a name"
    result = audit.append(tmp_path, {"action": "x", "subject": f"{JANE} on actor:7"}).event["subject"]
    assert result == f"{marks[0]} on actor:7"


def test_lines_of_older_versions_verify_are_shown_and_are_named_before_an_erasure(tmp_path: Path) -> None:
    jane = let_in(tmp_path, "a.png", "Jane Doe")
    (tmp_path / "runs" / audit.ANCHOR).unlink()
    audit.path_of(tmp_path).unlink()
    # As it was written then: without the replacement.
    entry = audit.Head()
    with audit.path_of(tmp_path).open("a+b") as file:
        for event in (
            {"action": "admitted", "subject": "Jane Doe"},
            {"action": "x", "reason": "jane doe said no"},
            {"action": "y"},
        ):
            entry = audit._write(file, entry, event).head
    assert audit.verify(tmp_path).whole
    assert subjects.resolver(tmp_path)(audit.read(tmp_path)[0].event)["subject"] == "Jane Doe"
    assert erase.plan(tmp_path, jane.subject).plain_lines == (1, 2)


@pytest.mark.skipif(sys.platform == "win32", reason="modes of files")
def test_the_table_is_private(tmp_path: Path) -> None:
    audit.append(tmp_path, {"action": "x", "subject": "Jane Doe"})
    assert stat.S_IMODE((tmp_path / "runs" / subjects.TABLE).stat().st_mode) == 0o600


def test_a_damaged_table_is_told_and_ids_are_shown_without_it(tmp_path: Path) -> None:
    table = tmp_path / "runs" / subjects.TABLE
    event = audit.append(tmp_path, {"action": "x", "subject": "Jane Doe"}).event
    table.write_text('{"version": 1, "people": {"person:1": {}}}')
    with pytest.raises(ProvenanceError, match="table of names"):
        audit.append(tmp_path, {"action": "y"})
    table.unlink()
    assert subjects.resolver(tmp_path)(event) == event
    assert audit.append(tmp_path, {"action": "y", "subject": "Jane Doe"}).event["subject"] != event["subject"]


def test_a_faulty_manifest_names_people_too(tmp_path: Path) -> None:
    (tmp_path / "data_manifests").mkdir()
    (tmp_path / "data_manifests" / "broken.toml").write_text('subject = "Jane Doe"\n[consent\n')
    assert "Jane" not in str(audit.append(tmp_path, {"action": "x", "reason": "broken.toml: about Jane Doe"}).event)


def append_many(root: Path, number: int) -> None:
    for count in range(10):
        audit.append(root, {"action": "x", "subject": f"Person Number{count}", "writer": number})


def test_writers_at_the_same_time_agree_on_ids(tmp_path: Path) -> None:
    # A fork of this process would inherit locks that threads of other tests hold, and wait for them for ever.
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append_many, args=(tmp_path, number)) for number in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0, 0]
    ids = {}
    for entry in audit.read(tmp_path):
        ids.setdefault(subjects.resolver(tmp_path)(entry.event)["subject"], set()).add(entry.event["subject"])
    assert len(ids) == 10
    assert all(len(found) == 1 for found in ids.values())


@pytest.mark.parametrize(
    ("name", "text", "left"),
    [
        ("Jane Doe", "Jane Doe's, JANE_DOE.mp4 and janedoe-2", "#'s, #.mp4 and #-2"),
        ("Ann", "Ann, Annual, Hann and x_ann_y", "#, Annual, Hann and x_#_y"),
        ("O'Brien", "data/o_brien/O'Brien.png", "data/#/#.png"),
        ("Weiß", "Herr WEISS", "herr #"),
        ("山田太郎", "これは山田太郎さん", "これは#さん"),
        ("José", "jose.png and Jose\u0301 and JOSE\u0301", "#.png and # and #"),
        ("*", "a * b", "a # b"),
    ],
)
def test_names_are_found_in_any_spelling_and_only_as_whole_words(name: str, text: str, left: str) -> None:
    assert Finder([], [name]).replaced(text, lambda *_: "#") == left


def test_the_longest_name_is_found_first_and_manifests_before_names() -> None:
    found = Finder(["ann", "ann-2"], ["Ann", "Ann Lee"])
    assert found.replaced("ann-2:7, Ann Lee, ann:3, ANN", lambda number, _: f"<{number}>") == "<1>:7, <3>, <0>:3, <0>"


@given(name=st.text(min_size=1, max_size=20), around=st.text(max_size=20))
def test_whatever_is_replaced_can_be_put_back(name: str, around: str) -> None:
    """Any text around any name: nothing of the line is lost to the lab while it has the name."""
    seen: list[str] = []

    def put(_: int, spelling: str) -> str:
        seen.append(spelling)
        return f"\x01{len(seen) - 1}\x02"

    text = f"{around} {name} {around}"
    done = Finder([], [name]).replaced(text, put)
    for number, spelling in enumerate(seen):
        done = done.replace(f"\x01{number}\x02", spelling)
    assert done in (text, folded(text))
