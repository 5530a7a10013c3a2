"""What the command line answers: for programs one JSON value and nothing else, for people tables and three lines; the nouns."""

import argparse
import json
import os
import pty
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from io import StringIO
from pathlib import Path

import nbformat
import pytest
from rich.console import Console

from faceswap_lab import __main__ as command_line
from faceswap_lab.cli import answers
from faceswap_lab.cli.nouns import runs
from faceswap_lab.errors import ConsentError
from faceswap_lab.pipelines import notebook
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.verbs.people import admit

ROOT = Path(__file__).parent.parent
DECLARED = ["--who", "Jane Doe", "--basis", "consent: form of 3 May", "--uses", "train,evaluate"]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture
def said(lab: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., object]:
    """The one JSON value that a command prints; nothing else may stand on standard output."""

    def run(*words: str, code: int | None = 0) -> object:
        try:
            found = command_line.main([*words, "--json"])
        except SystemExit as error:
            found = int(str(error.code))
        assert code is None or found == code
        out = capsys.readouterr().out
        assert out.count("\n") == 1
        return json.loads(out)

    return run


@pytest.mark.parametrize(
    "words",
    [
        "runs list",
        "models list",
        "actors list",
        "consent list",
        "consent show astronaut",
        "facesets list",
        "audit show",
        "audit verify",
    ],
)
def test_json_is_whole_and_alone(words: str, said: Callable[..., object]) -> None:
    assert said(*words.split()) is not None


def test_the_doctor_answers_in_json_whatever_it_finds(said: Callable[..., object]) -> None:
    answer = said("doctor", code=None)
    assert isinstance(answer, dict)
    assert answer["findings"]


@pytest.mark.parametrize(
    ("words", "kind", "code"),
    [
        ("runs show nope", "RunError", 1),
        ("runs prune", "ValueError", 2),
        ("runs export nope", "RunError", 1),
        ("models fetch buffalo", "ValueError", 2),
        ("actors list --count 0", "ValueError", 2),
        ("actors list --split tset", "UsageError", 2),
        ("consent show nobody", "ConsentError", 3),
        ("consent withdraw nobody", "ConsentError", 3),
        ("consent add nothing.png --who Jane --basis nonsense --uses train", "MediaError", 1),
        ("facesets show nobody", "RunError", 1),
        ("facesets remove", "ValueError", 2),
        ("audit show --tail 0", "ValueError", 2),
        ("audit show --since soon", "UsageError", 2),
        ("notebook run nope", "RunError", 1),
        ("notebook run 00_quickstart -p recipy=smoke", "RunError", 1),
        ("notebook run 00_quickstart -p recipe", "UsageError", 2),
        ("report nope", "RunError", 1),
        ("evaluate swap-0", "RunError", 1),
        ("render", "UsageError", 2),
        ("render --actors seven", "UsageError", 2),
        ("render --actors 9:7", "ValueError", 2),
        ("train --source actor:7 --target actor:32 --steps 0", "ValueError", 2),
        ("train --source actor:7 --target actor:32 --recipe none.json", "StorageError", 1),
        ("train --source actor:7 --target actor:32 --who Jane", "UsageError", 2),
        ("train --source actor:2000000 --target actor:7", "SplitError", 3),
        ("train --source actor:7 --target actor:32 --device abacus", "ValueError", 2),
        ("train --nonsense", "UsageError", 2),
        ("swap --source actor:7", "UsageError", 2),
        ("swap --source actor:7 --target actor:32/", "UsageError", 2),
        ("swap --source actor:7 --target actor:x", "UsageError", 2),
        ("swap --source actor: --target actor:7", "UsageError", 2),
        ("swap --source actor:7 --target actor:32/speech:x", "UsageError", 2),
        ("swap --source actor:7 --target actor:32 --who Jane", "UsageError", 2),
        ("swap --source actor:7 --target actor:32/juggling", "ValueError", 2),
        ("swap --source actor:7 --target nothing.mp4", "MediaError", 1),
        ("no-such-command", "UsageError", 2),
        ("runs list extra", "UsageError", 2),
    ],
)
def test_a_failure_is_json_too(words: str, kind: str, code: int, said: Callable[..., object]) -> None:
    answer = said(*words.split(), code=code)
    assert isinstance(answer, dict)
    assert list(answer) == ["error"]
    assert set(answer["error"]) == {"kind", "expected", "got", "remedy"}
    assert answer["error"]["kind"] == kind
    assert all(answer["error"].values())


def test_what_a_command_prints_while_it_works_goes_beside(
    said: Callable[..., object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def chatty(_: argparse.Namespace) -> list[dict[str, str]]:
        print("a library says hello")
        return [{"run": "x"}]

    monkeypatch.setattr(runs, "_runs_list", chatty)
    assert said("runs", "list") == [{"run": "x"}]
    assert command_line.main(["runs", "list"]) == 0
    assert "hello" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(28, "No space left on device"), 1)])
def test_what_stops_a_command_is_json_too(
    error: BaseException, code: int, said: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: argparse.Namespace) -> dict[str, str]:
        raise error

    monkeypatch.setattr(runs, "_runs_list", stop)
    answer = said("runs", "list", code=code)
    assert isinstance(answer, dict)
    assert answer["error"]["remedy"]


def test_a_fault_of_the_lab_is_reported_in_json_and_not_swallowed(
    lab: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: argparse.Namespace) -> dict[str, str]:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(runs, "_runs_list", broken)
    with pytest.raises(ZeroDivisionError):
        command_line.main(["runs", "list", "--json"])
    assert json.loads(capsys.readouterr().out)["error"]["kind"] == "ZeroDivisionError"
    with pytest.raises(ZeroDivisionError):
        command_line.main(["runs", "list"])
    assert not capsys.readouterr().out


def test_for_people_an_error_is_three_lines(lab: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.main(["swap", "--source", "actor:7", "--target", "actor:32/"]) == 2
    shown = capsys.readouterr()
    assert not shown.out
    what, expected, remedy = shown.err.splitlines()
    assert what == "faceswap-lab: 'actor:32/'"
    assert expected == "expected an actor such as actor:7, actor:7/speech or actor:7/speech:3"
    assert remedy.startswith("-> ")


def test_a_reader_that_has_had_enough_is_no_error(lab: Path) -> None:
    for words in (["actors", "list"], ["runs", "show", "nope", "--json"]):
        command = [sys.executable, "-m", "faceswap_lab", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            assert process.stderr.read() == ""
            assert process.wait() == (0 if "list" in words else 1)


# --- on a terminal ----------------------------------------------------------------------------------------------------------


def on_terminal(root: Path, *words: str) -> tuple[int, str]:
    """Exit code and output of a command whose standard output and error are a terminal of 70 columns."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 70))
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    environment |= {"TERM": "xterm-256color", "FACESWAP_LAB_ROOT": str(root)}
    command = [sys.executable, "-m", "faceswap_lab", *words]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # Linux says so when the other side has closed
            while part := os.read(ours, 65_536):
                shown += part
    os.close(ours)
    return process.returncode, shown.decode()


def test_a_terminal_shows_tables_and_a_frame_and_json_stays_plain(lab: Path) -> None:
    code, table = on_terminal(lab, "consent", "list")
    assert (code, "\x1b[" in table, "astronaut" in table) == (0, True, True)
    code, pairs = on_terminal(lab, "consent", "show", "astronaut")
    assert (code, "\x1b[" in pairs, "88431cd9" in pairs) == (0, True, True)
    code, frame = on_terminal(lab, "runs", "show", "nope")
    assert (code, "\x1b[" in frame, "RunError" in frame, "-> " in frame) == (1, True, True, True)
    code, plain = on_terminal(lab, "consent", "list", "--json")
    assert (code, json.loads(plain)[0]["name"]) == (0, "astronaut")
    assert on_terminal(lab, "runs", "list") == (0, "nothing\r\n")


def test_what_a_cell_holds_is_text_and_is_shown_whole() -> None:
    path = "/a/[red]very[/red]/" + "long" * 30
    stream = StringIO()
    Console(file=stream, width=60).print(answers._rich_table([{"run": "x", "folder": path}]))
    rows = stream.getvalue().splitlines()[3:]
    assert len(rows) > 2
    assert path in "".join(row.strip().removeprefix("x").strip() for row in rows)


# --- nouns ------------------------------------------------------------------------------------------------------------------


def test_a_consent_is_added_listed_shown_and_taken_back(lab: Path, said: Callable[..., object]) -> None:
    (lab / "jane.png").write_text("a picture")
    terms = ["--expires", "2100-05-02", "--partner", "John Roe", "--partner", "Ann Poe"]
    (added,) = said("consent", "add", str(lab / "jane.png"), *DECLARED, *terms)  # type: ignore[misc]
    assert added["entry"] == "jane-doe:2"
    rows = {row["name"]: row for row in said("consent", "list")}  # type: ignore[attr-defined]
    assert (rows["jane-doe"]["state"], rows["jane-doe"]["expires"], rows["jane-doe"]["files"]) == ("stands", "2100-05-02", 1)
    for name in ("jane-doe", "jane  doe"):
        shown = said("consent", "show", name)
        assert isinstance(shown, dict)
        assert shown["partners"] == ["Ann Poe", "John Roe"]
        assert shown["files"][0]["uri"] == "jane.png"
    listed, alias = said("consent", "withdraw", "Jane Doe"), said("facesets", "remove", "--subject", "Jane Doe")
    assert listed == alias
    assert said("consent", "withdraw", "Jane Doe", "--yes")["removed"] is True  # type: ignore[index]
    rows = {row["name"]: row for row in said("consent", "list")}  # type: ignore[attr-defined]
    assert rows["jane-doe"]["state"].startswith("withdrawn on")
    with pytest.raises(ConsentError, match="withdrawn"):
        admit(lab / "jane.png")


def test_a_consent_in_the_past_is_refused(lab: Path, said: Callable[..., object]) -> None:
    (lab / "jane.png").write_text("a picture")
    refused = said("consent", "add", str(lab / "jane.png"), *DECLARED, "--expires", "2020-01-01", code=3)
    assert "expired" in refused["error"]["got"]  # type: ignore[index]
    said("consent", "add", str(lab / "jane.png"), *DECLARED, "--expires", "soon", code=3)


@pytest.fixture
def log(lab: Path) -> Path:
    for event in (
        {"action": "admitted", "subject": "Jane", "sha256": "00"},
        {"action": "admission refused", "sha256": "01"},
        {"action": "exported", "file": "a.png", "depicts": [{"run": "swap-1234"}]},
        {"action": "exported", "file": "b.png", "shows": [{"run": "swap-9999"}]},
        {"action": "admitted", "sha256": "02", "notebook_run": "notebook-12"},
        {"action": "runs removed", "ids": ["swap-1234", "train-1"]},
    ):
        audit.append(lab, event)
    return lab


def test_the_log_is_shown_and_filtered(log: Path, said: Callable[..., object]) -> None:
    def numbers(*words: str) -> list[int]:
        return [row["number"] for row in said("audit", "show", *words)["lines"]]  # type: ignore[index]

    assert numbers() == [1, 2, 3, 4, 5, 6]
    assert numbers("--action", "admi") == [1, 2, 5]
    assert numbers("--action", "exported") == [3, 4]
    assert numbers("--run", "swap-1234") == [3, 6]
    assert numbers("--run", "swap-9") == [4]
    assert numbers("--run", "notebook-12") == [5]
    assert numbers("--tail", "2") == [5, 6]
    assert numbers("--action", "exported", "--tail", "1") == [4]
    assert numbers("--tail", "99") == [1, 2, 3, 4, 5, 6]
    assert numbers("--since", "2000-01-01") == [1, 2, 3, 4, 5, 6]
    assert numbers("--since", "2999-01-01T00:00") == []
    third = audit.read(log)[2].time
    assert numbers("--since", third)[-1] == 6
    assert 1 not in numbers("--since", third) or audit.read(log)[0].time == third
    (row,) = said("audit", "show", "--run", "swap-9999")["lines"]  # type: ignore[index]
    assert json.loads(row["event"])["file"] == "b.png"


def test_of_a_damaged_log_the_lines_that_hold_are_shown(log: Path, said: Callable[..., object]) -> None:
    path = audit.path_of(log)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:3], lines[3].replace("b.png", "c.png"), *lines[4:]]))
    answer = said("audit", "show", code=1)
    assert isinstance(answer, dict)
    assert [row["number"] for row in answer["lines"]] == [1, 2, 3]
    assert "line 4" in answer["finding"]


def test_a_notebooks_parameters_are_strict_and_typed(lab: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def execute(name: str, parameters: dict[str, object], *, force: bool) -> None:
        asked.update(name=name, parameters=parameters, force=force)
        raise ConsentError(expected="a", got="b", remedy="c")

    monkeypatch.setattr(notebook, "execute", execute)
    words = ["-p", "steps=7", "-p", "rate=1e-3", "-p", "deep=true", "-p", "recipe=smoke", "-p", 'text="7"', "-p", "where=a=b"]
    assert command_line.main(["notebook", "run", "00_quickstart", *words]) == 3
    given = {"steps": 7, "rate": 1e-3, "deep": True, "recipe": "smoke", "text": "7", "where": "a=b"}
    assert asked == {"name": "00_quickstart", "parameters": given, "force": False}


def test_a_misspelt_parameter_makes_no_run(lab: Path, said: Callable[..., object]) -> None:
    answer = said("notebook", "run", "00_quickstart", "-p", "recipy=smoke", code=1)
    assert answer["error"]["remedy"] == "did you mean recipe?"  # type: ignore[index]
    assert not Run.find(lab)


@pytest.mark.slow
@pytest.mark.notebook
def test_a_notebook_runs_as_a_run_of_its_own(
    lab: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Callable[..., object]
) -> None:
    cells = [
        nbformat.v4.new_code_cell("steps: int = 1\nfolder: str = '.'", metadata={"tags": ["parameters"]}),
        nbformat.v4.new_code_cell(
            "from faceswap_lab.pipelines.notebook import emit_summary\nemit_summary({'steps': steps + 1, 'folder': folder})"
        ),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), path)
    monkeypatch.setattr(notebook, "notebook_path", lambda _: path)
    answer = said("notebook", "run", "small", "-p", "steps=7")
    assert isinstance(answer, dict)
    run = Run.open(str(answer["run"]))
    assert (answer["steps"], answer["folder"]) == (8, str(run.path))
    assert Path(str(answer["notebook"])).is_file()
    assert said("notebook", "run", "small", "-p", "steps=7") == answer
