"""Pipelines that run: what is skipped and what runs again, failures, limits, a killed parent, and what is kept on record."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from faceswap_lab import __main__ as command_line
from faceswap_lab.maintenance import erase
from faceswap_lab.pipelines.graph import read
from faceswap_lab.pipelines.notebook import NotebookRun
from faceswap_lab.pipelines.outlook import outlook
from faceswap_lab.pipelines.record import PipelineRun
from faceswap_lab.pipelines.run import Outcome, run_pipeline
from faceswap_lab.pipelines.steps import attempt
from faceswap_lab.runs import archive
from faceswap_lab.runs.run import Run
from tests.small_notebooks import returning, write_notebook, write_pipeline

pytestmark = [pytest.mark.slow, pytest.mark.notebook]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "lab"
    (folder / "data_manifests").mkdir(parents=True)
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(folder))
    monkeypatch.setenv("TRACES", str(tmp_path / "traces"))
    (tmp_path / "traces").mkdir()
    return folder


TRACE = "import os, uuid; open(os.path.join(os.environ['TRACES'], '{0}-' + uuid.uuid4().hex), 'w').close()"
"""A cell by which a test sees that a notebook really ran, and how often."""


def ran(lab: Path) -> list[str]:
    """The notebooks that ran since the last call."""
    traces = sorted((lab.parent / "traces").iterdir())
    for each in traces:
        each.unlink()
    return [each.name.partition("-")[0] for each in traces]


def states(done: Outcome) -> dict[str, str]:
    return {name: step.state for name, step in done.steps.items()}


CHAIN = """
[parameters]
x = 3
word = "w"
[smoke]
x = 1
[steps.first]
notebook = "first.ipynb"
parameters = { x = "${x}" }
[steps.second]
notebook = "second.ipynb"
parameters = { doubled = "${first.doubled}", runs = ["${first.run}"] }
[steps.other]
notebook = "other.ipynb"
parameters = { word = "${word}" }
after = ["first"]
"""


@pytest.fixture
def chain(lab: Path) -> Path:
    folder = lab.parent
    write_notebook(folder / "first.ipynb", TRACE.format("first"), returning("{'doubled': x // 2 * 4}"), parameters="x: int = 0")
    second = returning("{'got': doubled, 'page': page}")
    page = "page = folder + '/page.txt'\nopen(page, 'w').write('')"
    parameters = "doubled: int = 0\nruns: list = []\nfolder: str = '.'"
    write_notebook(folder / "second.ipynb", TRACE.format("second"), page, second, parameters=parameters)
    write_notebook(folder / "other.ipynb", TRACE.format("other"), parameters="word: str = ''")
    return write_pipeline(folder / "chain.toml", CHAIN)


def test_only_what_changed_runs_again(lab: Path, chain: Path) -> None:
    pipeline = read(str(chain))
    forecast = {each.step: (each.would, each.why) for each in outlook(pipeline, pipeline.values())}
    waits = ("open", "depends on what first will return")
    assert forecast == {"first": ("run", "never run"), "second": waits, "other": ("run", "never run")}
    assert not Run.find(lab), "a forecast starts nothing"
    done = run_pipeline(pipeline)
    assert (done.ok, ran(lab)) == (True, ["first", "other", "second"])
    second = NotebookRun.open(done.steps["second"].run)
    assert second.summary == {"got": 4, "page": str(second.path / "page.txt")}
    assert second.inputs["runs"] == done.steps["first"].run, "whose people it may show"
    assert done.run.artifact("pipeline.toml").read_bytes() == chain.read_bytes()
    assert {name: step["state"] for name, step in done.run.summary["steps"].items()} == states(done)

    again = run_pipeline(pipeline)
    assert again.run == done.run, "nothing is started or written"
    assert (set(states(again).values()), ran(lab)) == ({"skipped"}, [])
    assert {each.would for each in outlook(pipeline, pipeline.values())} == {"skip"}

    values = pipeline.values({"word": "v"})
    assert [(each.step, each.why) for each in outlook(pipeline, values) if each.would != "skip"] == [
        ("other", 'changed: word ("w" -> "v")')
    ]
    assert (run_pipeline(pipeline, {"word": "v"}).ok, ran(lab)) == (True, ["other"])
    # 2 // 2 * 4 is what 3 // 2 * 4 is, but the first run has another id, which the second step is given.
    assert (run_pipeline(pipeline, {"x": 2}).ok, ran(lab)) == (True, ["first", "second"])

    second.path.joinpath("page.txt").unlink()
    assert next(each.why for each in outlook(pipeline, pipeline.values()) if each.step == "second") == "page.txt is gone"
    assert (run_pipeline(pipeline).ok, ran(lab)) == (True, ["second"])
    assert (run_pipeline(pipeline, only="other", force=True).ok, ran(lab)) == (True, ["other"])


def test_a_finished_pipeline_is_found_without_loading_anything_heavy(lab: Path, chain: Path) -> None:
    run_pipeline(read(str(chain)))
    probe = (
        "import sys; from faceswap_lab.__main__ import main; code = main(['pipelines', 'run', sys.argv[1], '--json'])\n"
        "heavy = {'torch', 'papermill', 'nbformat', 'numpy', 'cv2', 'matplotlib', 'distributed', 'gradio'} & set(sys.modules)\n"
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", probe, str(chain)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {step["state"] for step in json.loads(done.stdout.splitlines()[0])["steps"]} == {"skipped"}


def test_changed_code_runs_every_step_again(lab: Path, chain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceswap_lab.pipelines import outlook as forecasts
    from faceswap_lab.pipelines import run as pipeline_run
    from faceswap_lab.pipelines.steps import identity

    pipeline = read(str(chain)).only(["other"])
    run_pipeline(pipeline)
    ran(lab)
    data = identity.package_data() | {"code": "of tomorrow"}
    for module in (identity, forecasts, pipeline_run):
        monkeypatch.setattr(module, "package_data", lambda: data)
    assert {each.why for each in outlook(pipeline, pipeline.values())} == {"changed: the code"}
    assert (run_pipeline(pipeline).ok, ran(lab)) == (True, ["first", "other"])


BROKEN = """
[steps.good]
notebook = "good.ipynb"
[steps.bad]
notebook = "bad.ipynb"
retries = 1
[steps.behind]
notebook = "good.ipynb"
parameters = { n = 2 }
after = ["bad"]
[steps.asks]
notebook = "good.ipynb"
parameters = { n = "${good.missing}" }
[steps.types]
notebook = "good.ipynb"
parameters = { n = "${good.text}" }
"""


def test_a_failed_step_stops_what_needs_it_and_nothing_else(lab: Path, capsys: pytest.CaptureFixture) -> None:
    folder = lab.parent
    write_notebook(folder / "good.ipynb", TRACE.format("good"), returning("{'text': 'a'}"), parameters="n: int = 1")
    fails = "import os\nif not os.path.exists(os.environ['TRACES'] + '/../mended'): raise ValueError('[red]<b>out of film</b>')"
    write_notebook(folder / "bad.ipynb", TRACE.format("bad"), fails, returning("{}"))
    path = write_pipeline(folder / "broken.toml", BROKEN)
    assert command_line.main(["pipelines", "run", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[0])
    steps = {step["step"]: step for step in told["steps"]}
    assert {name: step["state"] for name, step in steps.items()} == {
        "good": "finished",
        "bad": "failed",
        "behind": "not run",
        "asks": "failed",
        "types": "failed",
    }
    assert steps["behind"]["got"] == "needs bad"
    assert steps["bad"]["got"] == "ValueError in cell 2: [red]<b>out of film</b>"
    copy = Path(steps["bad"]["remedy"].rpartition(": ")[2])
    assert "out of film" in copy.read_text()
    assert "missing in what step good returned" in steps["asks"]["expected"]
    assert "n of step types as int" in steps["types"]["expected"]
    assert ran(lab) == ["bad", "bad", "good"], "tried again once"
    run = PipelineRun.open(told["run"])
    assert [event["state"] for event in run.events("pipeline_step") if event["step"] == "bad"] == [
        "started",
        "retried",
        "started",
        "failed",
    ]
    last = run.events()[-1]
    assert (last["kind"], run.finished) == ("failed", False)
    assert "bad: ValueError" in last["got"]

    (folder / "mended").touch()
    pipeline = read(str(path)).only(["behind"])
    assert (run_pipeline(pipeline).ok, ran(lab)) == (True, ["bad", "good"])


def wait_for(true: Callable[[], Any]) -> Any:
    for _ in range(3000):
        if found := true():
            return found
        time.sleep(0.1)
    raise AssertionError("waited for five minutes")


ENDLESS = """
import os, subprocess, sys, time
from pathlib import Path
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
Path(os.environ["TRACES"], "pids").write_text(f"{os.getpid()} {child.pid}")
if not Path(os.environ["TRACES"], "enough").exists(): time.sleep(3600)
child.kill()
"""


def pids(lab: Path) -> list[int]:
    """Of a kernel and a process that a cell of it started."""
    path = lab.parent / "traces" / "pids"
    return [int(word) for word in wait_for(lambda: path.exists() and path.read_text()).split()]


def are_gone(numbers: list[int]) -> bool:
    return not any(psutil.pid_exists(each) and psutil.Process(each).status() != psutil.STATUS_ZOMBIE for each in numbers)


@pytest.fixture
def endless(lab: Path) -> Path:
    write_notebook(lab.parent / "endless.ipynb", "print('so far')", ENDLESS, returning("{'done': True}"))
    write_notebook(lab.parent / "quick.ipynb", TRACE.format("quick"))
    text = (
        '[steps.quick]\nnotebook = "quick.ipynb"\n[steps.endless]\nnotebook = "endless.ipynb"\nafter = ["quick"]\ntimeout = "1 h"\n'
    )
    return write_pipeline(lab.parent / "endless.toml", text)


def test_a_step_that_never_ends_is_killed_with_all_that_it_started(
    lab: Path, endless: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def monotonic() -> float:
        """An hour passes when the cell that never ends has begun."""
        return time.monotonic() + 4000 * (lab.parent / "traces" / "pids").exists()

    monkeypatch.setattr(attempt, "time", SimpleNamespace(monotonic=monotonic, sleep=time.sleep))
    done = run_pipeline(read(str(endless)))
    assert states(done) == {"quick": "finished", "endless": "failed"}
    assert done.steps["endless"].got == "more than its 3600 s, and was killed"
    numbers = pids(lab)
    wait_for(lambda: are_gone(numbers))
    run = NotebookRun.open(done.steps["endless"].run)
    assert run.events()[-1]["kind"] == "stopped"
    assert "so far" in run.artifact("notebook.ipynb").read_text(), "what was executed is kept"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_pipeline_leaves_no_process_and_goes_on(lab: Path, endless: Path, how: signal.Signals) -> None:
    words = [sys.executable, "-m", "faceswap_lab", "pipelines", "run", str(endless)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    numbers = pids(lab)
    assert not are_gone(numbers)
    os.kill(process.pid, how)
    assert process.wait(300) == (130 if how == signal.SIGTERM else -how)
    assert process.stderr is not None
    process.stderr.close()
    wait_for(lambda: are_gone(numbers))
    stopped = PipelineRun.find(lab)[0]
    assert (stopped.events()[-1]["kind"] == "stopped") == (how == signal.SIGTERM)

    (lab.parent / "traces" / "enough").touch()
    ran(lab)
    (lab.parent / "traces" / "enough").touch()
    done = run_pipeline(read(str(endless)))
    assert states(done) == {"quick": "skipped", "endless": "finished"}
    assert done.run == stopped
    assert done.steps["endless"].run in stopped.step_runs().values()


def test_a_pipeline_runs_on_a_cluster(lab: Path, chain: Path) -> None:
    from faceswap_lab.compute.cluster import cluster

    with cluster("local", workers=2) as workers:
        done = run_pipeline(read(str(chain)), compute=workers)
    assert (done.ok, ran(lab)) == (True, ["first", "other", "second"])
    assert (run_pipeline(read(str(chain))).ok, ran(lab)) == (True, []), "where it ran is no part of what was done"


def test_a_person_in_a_step_is_erased_with_the_pipeline(lab: Path) -> None:
    folder = lab.parent
    (folder / "jane.png").write_bytes(b"a file of hers")
    let_in = (
        "from faceswap_lab.trust import admit\nfrom faceswap_lab.files import lab_root\n"
        f"admit.admit({str(folder / 'jane.png')!r}, who='Jane Doe', basis='consent: form', uses=('evaluate',), root=lab_root())"
    )
    write_notebook(folder / "seen.ipynb", let_in, returning("{}"))
    write_notebook(folder / "after.ipynb", returning("{}"), parameters="runs: list = []")
    path = write_pipeline(
        folder / "people.toml",
        '[steps.seen]\nnotebook="seen.ipynb"\n[steps.after]\nnotebook="after.ipynb"\nparameters={runs=["${seen.run}"]}\n',
    )
    done = run_pipeline(read(str(path)))
    assert done.ok, done.steps
    found = {each.id: each.why for each in erase.plan(lab, "Jane Doe").runs}
    assert set(found) == {done.run.id, done.steps["seen"].run, done.steps["after"].run}
    assert "admitted" in found[done.steps["seen"].run]

    archive.export(done.run, folder / "shared.zip")
    with zipfile.ZipFile(folder / "shared.zip") as shared:
        texts = b"".join(shared.read(name) for name in shared.namelist())
    assert b"people" not in texts, "of a run that shows a person only figures leave"
