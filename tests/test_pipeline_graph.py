"""Pipelines as data: what is read, what is refused and in which words, and what references become."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceswap_lab.errors import RunError
from faceswap_lab.pipelines.graph import Pipeline, read, shipped
from faceswap_lab.pipelines.references import Known, references, resolved
from tests.small_notebooks import write_pipeline

NOTEBOOKS = Path(__file__).parent.parent / "notebooks"

STEP = '[steps.{0}]\nnotebook = "x"\n'


def read_text(folder: Path, text: str) -> Pipeline:
    return read(str(write_pipeline(folder / "some.toml", text)))


def test_steps_come_in_an_order_that_references_and_after_make(tmp_path: Path) -> None:
    text = """
    [steps.last]
    notebook = "x"
    parameters = { deep = [{ inner = "${middle.runs}" }] }
    [steps.middle]
    notebook = "x"
    after = ["first"]
    [steps.first]
    notebook = "x"
    """
    found = read_text(tmp_path, text)
    assert list(found.steps) == ["first", "middle", "last"]
    assert found.order() == {"first": frozenset(), "middle": {"first"}, "last": {"middle"}}
    assert list(found.only(["middle"]).steps) == ["first", "middle"]


@pytest.mark.parametrize(
    ("text", "expected", "got", "remedy"),
    [
        ("", "a pipeline", "steps: ", "howto"),
        ("steps = {}", "at least one step", "none", "add"),
        ('[steps.a]\nnotebook="x"\nafter=["b"]\n[steps.b]\nnotebook="x"\nafter=["a"]', "order", "the cycle ", "take one"),
        ('[steps.a]\nnotebook="x"\nafter=["a"]', "order", "the cycle a -> a", "take one"),
        (STEP.format("a") * 2, "a TOML file", "", "correct"),
        ('[steps."<b>a</b>"]\nnotebook="x"', "names of steps", "<b>a</b>", "rename"),
        ('[steps.A]\nnotebook="x"', "names of steps", "A", "rename"),
        (STEP.format("train") + STEP.format("b") + 'after=["trian"]', "a step that b can need", "'trian'", "did you mean train?"),
        ('[parameters]\nrecipe="a"\n[steps.a]\nnotebook="x"\nparameters={r="${recipy}"}', "${recipy}", "'recipy'", "mean recipe?"),
        ('[steps.a]\nnotebook="x"\nparameters={r="${a b}"}', "a reference", "${a b}", "$${"),
        ('[steps.a]\nnotebook="x"\nparamters={}', "a key of steps.a", "'paramters'", "did you mean parameters?"),
        (STEP.format("a") + "retries = 1.5", "a pipeline", "steps.a.retries", ""),
        (STEP.format("a") + "retries = -1", "retries of step a", "-1", ""),
        (STEP.format("a") + 'timeout = "soon"', "a timeout of step a", "'soon'", ""),
        (STEP.format("a") + 'timeout = "0 s"', "a timeout of step a", "'0 s'", ""),
        ("[steps.a]\nnotebook = 7", "a pipeline", "steps.a.notebook", ""),
        ('[steps.a]\nnotebook="x"\nparameters={d=2026-11-28}', "JSON", "steps.a.parameters.d", "as text"),
        ('[steps.a]\nnotebook="x"\nparameters={d=[nan]}', "JSON", "nan", "leave out"),
        ('[steps.a]\nnotebook="x"\nparameters={d="1"}\nfiles={d="f"}', "d of step a given once", "", "take one"),
        ('[parameters]\nn=1\n[smoke]\nm=2\n[steps.a]\nnotebook="x"', "a parameter of the pipeline", "'m'", "there are n"),
        ('[parameters]\nn=1\n[smoke]\nn="2"\n[steps.a]\nnotebook="x"', "n of the type int", "'2', a str", "type"),
        ('[parameters]\n"a.b"=1\n[steps.a]\nnotebook="x"', "names of parameters", "a.b", "rename"),
    ],
)
def test_a_wrong_pipeline_is_refused_in_three_parts(tmp_path: Path, text: str, expected: str, got: str, remedy: str) -> None:
    with pytest.raises(RunError) as caught:
        read_text(tmp_path, text)
    error = caught.value
    assert expected in error.expected
    assert "some.toml" in error.expected or "reference" in error.expected
    assert got in error.got
    assert remedy in error.remedy


def test_a_missing_title_an_unreadable_file_and_a_bad_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text(STEP.format("a"))
    with pytest.raises(RunError, match="title"):
        read(str(tmp_path / "a.toml"))
    (tmp_path / "a.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(RunError, match="a TOML file"):
        read(str(tmp_path / "a.toml"))
    with pytest.raises(RunError, match="rename"):
        read(str(write_pipeline(tmp_path / "<img src=x>.toml", STEP.format("a"))))
    with pytest.raises(RunError, match="did you mean nightly"):
        read("nigthly")


def test_parameters_are_strict_and_smoke_gives_way_to_what_is_given(tmp_path: Path) -> None:
    head = '[parameters]\nrecipe="full"\nsteps=3\nrate=0.5\n[smoke]\nrecipe="smoke"\nsteps=1\n'
    found = read_text(tmp_path, head + STEP.format("a"))
    assert found.values() == {"recipe": "full", "steps": 3, "rate": 0.5}
    assert found.values({"steps": 2}, smoke=True) == {"recipe": "smoke", "steps": 2, "rate": 0.5}
    whole = found.values({"rate": 1})["rate"]
    assert (whole, type(whole)) == (1.0, float), "as equal calls have equal keys"
    for wrong in ({"recipe": 7}, {"steps": 1.0}, {"steps": True}, {"steps": "1"}, {"recipy": "a"}):
        with pytest.raises(RunError, match=next(iter(wrong))):
            found.values(wrong)


def test_a_reference_keeps_its_type_and_lists_are_spliced_in_lists() -> None:
    returned = {"train": {"run": "r", "runs": ["p", "q"], "seconds": {"all": 1.5}, "ok": True}}
    known = Known(parameters={"n": 3, "names": ["x"]}, summaries=returned)

    def of(value: object) -> object:
        return resolved(value, known)

    assert of("${n}") == 3
    assert of("n is ${n}, ${train.ok}") == "n is 3, true"
    assert of("${train.seconds.all}") == 1.5
    assert of(["${train.run}", "${train.runs}", ["${names}"]]) == ["r", "p", "q", ["x"]]
    assert of({"a": "${train.seconds}"}) == {"a": {"all": 1.5}}
    assert of("$${n}, $n, {n}") == "${n}, $n, {n}"
    with pytest.raises(RunError, match="did you mean runs"):
        of("${train.rums}")
    with pytest.raises(RunError, match="a bool there"):
        of("${train.ok.deeper}")
    with pytest.raises(RunError, match="within a longer text"):
        of("all ${train.runs}")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet=st.characters(exclude_characters="$")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(JSON)
def test_a_value_without_references_stays_as_it_is(value: object) -> None:
    assert resolved(value, Known(parameters={}, summaries={})) == value


@given(JSON)
def test_a_referenced_value_arrives_as_it_was_returned(value: object) -> None:
    known = Known(parameters={}, summaries={"a": {"key": value}})
    assert resolved({"p": "${a.key}"}, known) == {"p": value}
    assert [each.step for each in references({"p": ["${a.key}"]})] == ["a"]


def test_the_nightly_pipeline_has_every_notebook_there_is() -> None:
    used = {step.notebook for step in read("nightly").steps.values()}
    assert used == {path.stem for path in NOTEBOOKS.glob("*.ipynb")}


def test_the_shipped_pipelines_are_read() -> None:
    assert set(shipped()) >= {"benchmark", "nightly", "quickstart", "train_and_report"}
    for name in shipped():
        assert read(name).name == name
