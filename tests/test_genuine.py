"""A record says what the key and the log say, and an artifact is the one that was logged: else nothing is made of the run."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import RunError
from faceswap_lab.files import sha256_file
from faceswap_lab.runs.call import digest_of, key_of
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit


def made(root: Path) -> Run:
    run = Run.start(root, "note", '{"steps": 3}', {"source": "actor:7", "target": "actor:32"}, data={"head": "1"})
    with run:
        with run.write("result.txt") as path:
            path.write_text("as it was made")
        run.finish(loss=0.5)
    return Run.open(run.id, root)


def edit(run: Run, change: Callable[[dict[str, Any]], object]) -> Run:
    path = run.path / "run.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
    return Run.open(run.id, run.root)


def rekeyed(told: dict[str, Any]) -> None:
    """As somebody would who knows how the key is made."""
    told["inputs"]["target"] = "actor:21"
    told["key"] = key_of(told, told["recipe"])


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "inputs": lambda told: told["inputs"].update(target="actor:21"),
    "recipe": lambda told: told["recipe"].update(steps=4),
    "data": lambda told: told.update(data={}),
    "result version": lambda told: told.update(result_version=0),
    "key and inputs": rekeyed,
    "summary": lambda told: told["summary"].update(loss=0.1),
    "artifacts": lambda told: told["artifacts"].update({"result.txt": "00" * 32}),
    "no number": lambda told: told["recipe"].update(steps=float("inf")),
    "line": lambda told: told.update(audit_count=1),
    "line's hash": lambda told: told.update(audit_hash="00" * 32),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_record_is_refused(tmp_path: Path, what: str) -> None:
    run = made(tmp_path)
    run.require_finished()
    again = edit(run, EDITS[what])
    with pytest.raises(RunError, match=r"as the audit log has it|of its key|with values"):
        again.require_finished()
    with pytest.raises(RunError, match=r"as the audit log has it|of its key|with values"):
        again.artifact("result.txt")
    assert audit.verify(tmp_path).whole, "the log itself is as it was"


def test_what_only_helps_to_find_things_may_differ(tmp_path: Path) -> None:
    run = made(tmp_path)
    edit(run, lambda told: told["environment"].update(cores=64)).require_finished()


def test_a_replaced_artifact_is_refused_even_if_the_events_know_it(tmp_path: Path) -> None:
    """Whoever edits the artifact may edit the events and the record as well; the log's line stays."""
    run = made(tmp_path)
    place = run.artifact("result.txt")
    before = sha256_file(place)
    place.write_text("as somebody else made it")
    after = sha256_file(place)
    with pytest.raises(RunError, match="another SHA-256"):
        run.artifact("result.txt")
    for segment in (run.path / "events").iterdir():
        segment.write_text(segment.read_text().replace(before, after))
    with pytest.raises(RunError, match="another SHA-256"):
        Run.open(run.id, tmp_path).artifact("result.txt")
    again = edit(run, lambda told: told["artifacts"].update({"result.txt": after}))
    with pytest.raises(RunError, match="as the audit log has it"):
        again.artifact("result.txt")


def test_an_older_artifact_of_the_same_run_is_not_the_result(tmp_path: Path) -> None:
    run = Run.start(tmp_path, "note", "{}", {})
    with run:
        for text in ("a first draft", "the result"):
            with run.write("result.txt") as path:
                path.write_text(text)
        run.finish()
    (run.path / "artifacts" / "result.txt").write_text("a first draft")
    with pytest.raises(RunError, match="another SHA-256"):
        Run.open(run.id, tmp_path).artifact("result.txt")


def test_an_unfinished_run_is_not_taken_up_with_other_inputs(tmp_path: Path) -> None:
    run = Run.start(tmp_path, "note", "{}", {"target": "actor:32"})
    again = edit(run, lambda told: told["inputs"].update(target="actor:21"))
    with pytest.raises(RunError, match="of its key"), again:
        pass


def test_a_run_called_finished_is_not(tmp_path: Path) -> None:
    run = Run.start(tmp_path, "note", "{}", {"target": "actor:32"})
    again = edit(run, lambda told: told.update(status="finished", audit_count=1, audit_hash=audit.read(tmp_path)[0].hash))
    with pytest.raises(RunError, match="as the audit log has it"):
        again.require_finished()


def test_a_line_is_found_by_its_number(tmp_path: Path) -> None:
    assert audit.line_at(tmp_path, 1) is None
    entries = audit.append_all(tmp_path, [{"action": str(number)} for number in range(3)])
    assert [audit.line_at(tmp_path, number) for number in (0, 1, 2, 3, 4)] == [None, *entries, None]
    path = audit.path_of(tmp_path)
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[1], lines[0], lines[2].replace("2", "5")]) + "\n")
    assert [audit.line_at(tmp_path, number) for number in (1, 2, 3)] == [None] * 3


def test_the_digest_of_a_request_is_that_of_its_canonical_text() -> None:
    assert digest_of({"b": 1, "a": "ü"}) == digest_of({"a": "ü", "b": 1})


def test_verification_looks_at_every_run_and_artifact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    run = made(tmp_path)

    def verdict() -> dict[str, Any]:
        code = command_line.main(["audit", "verify", "--json"])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == (0 if found["ok"] else 1)
        return found

    assert verdict()["ok"]
    place = run.artifact("result.txt")
    kept = place.read_text()
    place.write_text("as somebody else made it")
    assert [each["run"] for each in verdict()["altered"]] == [run.id]
    place.write_text(kept)
    assert verdict()["ok"]
    edit(run, EDITS["inputs"])
    assert [each["run"] for each in verdict()["altered"]] == [run.id]
