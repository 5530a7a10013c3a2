"""A pipeline against its notebooks: everything that is wrong is said before anything runs, and by which step."""

import json
from pathlib import Path
from typing import Any

import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import RunError
from faceswap_lab.pipelines.checks import check
from faceswap_lab.pipelines.graph import read, shipped
from faceswap_lab.pipelines.references import Known
from faceswap_lab.pipelines.steps.identity import asked
from tests.small_notebooks import returning, write_notebook, write_pipeline

pytestmark = pytest.mark.slow  # papermill's import takes seconds

PARAMETERS = "steps: int = 1\nrecipe: str = 'a'\nrate: float = 0.5\nruns: list[str] = []\nfolder: str = '.'\nfree = None"


def checked(folder: Path, text: str) -> dict[str, dict[str, Any]]:
    write_notebook(folder / "one.ipynb", returning("{'steps': steps}"), parameters=PARAMETERS)
    write_notebook(folder / "bare.ipynb", "1 + 1", parameters=None)
    pipeline = read(str(write_pipeline(folder / "some.toml", text)))
    return check(pipeline, pipeline.values())


def step(name: str, parameters: str, notebook: str = "one.ipynb", more: str = "") -> str:
    return f'[steps.{name}]\nnotebook = "{notebook}"\nparameters = {{ {parameters} }}\n{more}\n'


def test_what_is_known_of_the_parameters_is_returned(tmp_path: Path) -> None:
    text = "[parameters]\nn = 3\n" + step("a", 'steps = "${n}", rate = 1') + step("b", 'runs = ["${a.run}"], recipe = "r${n}"')
    assert checked(tmp_path, text) == {"a": {"steps": 3, "rate": 1}, "b": {"recipe": "r3"}}


@pytest.mark.parametrize(
    ("text", "expected", "got", "remedy"),
    [
        (step("a", "step = 1"), "for step a", "step", "did you mean steps?"),
        (step("a", "steps = 1", "bare.ipynb"), "none, for step a", "steps", "tag the cell"),
        (step("a", "", "none.ipynb"), "a notebook at", "no such file", "relative to the pipeline's file"),
        (step("a", "", "00_quikstart"), "a notebook of", "00_quikstart", "check the name"),
        (step("a", "", "some.ipynb"), "a notebook at", "no such file", ""),
        (step("a", 'steps = "1"'), "steps of step a as int", '"1", a str', ""),
        (step("a", "steps = true"), "steps of step a as int", "true, a bool", ""),
        (step("a", "recipe = ['x']"), "recipe of step a as str", '["x"], a list', ""),
        (step("a", "runs = 'x'"), "runs of step a as list[str]", "a str", ""),
        (step("a", "", more='files = { recipe = "none.toml" }'), "a file at", "no such file", "relative"),
        (step("a", "", more='files = { steps = "one.ipynb" }'), "steps of step a as int", "a str", ""),
        (step("a", "steps = 1") + step("b", "steps = 1"), "a place of their own", "a and b, the same notebook", "take one"),
        (
            step("a", "steps = 1, folder = '/tmp/x'") + step("b", "steps = 2, folder = '/tmp/y/../x'"),
            "a place of their own",
            "a and b, which both write /tmp/x",
            "leave the folder out",
        ),
    ],
)
def test_what_is_wrong_is_said_in_three_parts(tmp_path: Path, text: str, expected: str, got: str, remedy: str) -> None:
    with pytest.raises(RunError) as caught:
        checked(tmp_path, text)
    assert expected in caught.value.expected
    assert got in caught.value.got
    assert remedy in caught.value.remedy


def test_a_file_that_is_no_notebook_is_refused(tmp_path: Path) -> None:
    for content in ("no JSON", "[]", '{"nbformat": 4}', '{"nbformat": 3}'):
        (tmp_path / "odd.ipynb").write_text(content)
        with pytest.raises(RunError, match="a notebook at"):
            checked(tmp_path, step("a", "", "odd.ipynb"))


def test_braces_and_markup_in_a_folders_name_are_only_characters(tmp_path: Path) -> None:
    folder = tmp_path / "<b>{x} ${y}"
    folder.mkdir()
    assert checked(folder, step("a", "steps = 2")) == {"a": {"steps": 2}}


def test_a_file_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    made = {}
    for name, content in {"here": "1", "there": "1", "changed": "2"}.items():
        folder = tmp_path / name
        folder.mkdir()
        write_notebook(folder / "one.ipynb", parameters=PARAMETERS)
        (folder / "prices.toml").write_text(content)
        pipeline = read(str(write_pipeline(folder / "some.toml", step("a", "", more='files = { recipe = "prices.toml" }'))))
        made[name] = asked(pipeline, pipeline.steps["a"], Known(parameters={}, summaries={}))
    assert made["here"].given["recipe"] == str(tmp_path / "here" / "prices.toml")
    runs = {name: call.start(tmp_path / "lab").id for name, call in made.items()}
    assert runs["here"] == runs["there"] != runs["changed"]


def test_the_shipped_pipelines_fit_their_notebooks() -> None:
    for name in shipped():
        pipeline = read(name)
        for smoke in (False, True):
            check(pipeline, pipeline.values(smoke=smoke))


def test_the_commands_tell_what_would_run_and_change_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "lab"))
    write_notebook(tmp_path / "one.ipynb", parameters=PARAMETERS)
    text = "[parameters]\nn = 3\n" + step("a", 'steps = "${n}"') + step("b", 'recipe = "${a.name}"')
    path = str(write_pipeline(tmp_path / "some.toml", text))

    def said(*words: str, code: int = 0) -> Any:
        assert command_line.main(["pipelines", *words, "--json"]) == code
        told = capsys.readouterr()
        return json.loads(told.out.splitlines()[-1])

    assert said("check", path) == {"ok": True, "name": "some", "file": path, "steps": ["a", "b"]}
    shown = said("show", path, "-p", "n=4")
    assert [(each["step"], each["would"], json.loads(each["parameters"])) for each in shown["steps"]] == [
        ("a", "run", {"steps": 4}),
        ("b", "open", {}),
    ]
    assert said("show", path, "-p", "m=4", code=1)["error"]["remedy"] == "there are n"
    assert said("run", path, "-p", "n=x", code=1)["error"]["got"] == "'x', a str"
    assert said("run", path, "--only", "c", code=1)["error"]["got"] == "'c'"
    assert {row["name"] for row in said("list")} == set(shipped())
    assert not (tmp_path / "lab").exists()
