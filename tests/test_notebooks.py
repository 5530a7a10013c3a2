"""Notebooks: the pair is in sync, nothing executed is committed, parameters are strict, and each runs headless."""

import json
from pathlib import Path

import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import RunError
from faceswap_lab.maintenance import erase
from faceswap_lab.pipelines.notebook import execute, notebook_path, run_notebook
from faceswap_lab.runs.run import Run
from faceswap_lab.verbs.evaluate.evaluate import evaluate
from faceswap_lab.verbs.swap.swap import swap

FOLDER = Path(__file__).parent.parent / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_script_and_notebook_say_the_same(name: str) -> None:
    import jupytext  # not above: it brings nbformat, which builds a grammar of URLs for six seconds

    script, notebook = jupytext.read(FOLDER / f"{name}.py"), jupytext.read(FOLDER / f"{name}.ipynb")
    assert [(cell.cell_type, cell.source) for cell in script.cells] == [(cell.cell_type, cell.source) for cell in notebook.cells]


@pytest.mark.parametrize("name", NAMES)
def test_no_output_is_committed(name: str) -> None:
    cells = json.loads((FOLDER / f"{name}.ipynb").read_text())["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lab root of its own with the shipped manifests."""
    manifests = tmp_path / "data_manifests"
    manifests.mkdir()
    for path in (FOLDER.parent / "data_manifests").glob("astronaut.*"):
        (manifests / path.name).write_bytes(path.read_bytes())
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.slow
def test_a_misspelt_parameter_raises_before_anything_runs(lab: Path) -> None:
    with Run.start(lab, "quickstart", "{}", {}) as run, pytest.raises(RunError, match="recepie"):
        run_notebook(notebook_path("00_quickstart"), {"recepie": "smoke"}, run=run)
    assert not run.artifacts()


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_the_faceset_notebook_runs_headless_on_stand_in_material(lab: Path) -> None:
    with Run.start(lab, "notebook", "{}", {"notebook": "10_faceset"}) as run:
        found = run_notebook(notebook_path("10_faceset"), {"recipe": "smoke", "folder": str(run.path)}, run=run)
    assert found["stand_in"]
    assert found["faces"] >= 4
    assert {"blurred", "too small", "duplicate", "another person"} <= set(found["dropped"])
    assert Run.open(found["faceset"]).summary["num_faces"] == found["faces"]
    assert any("image/png" in output.get("data", {}) for output in _outputs(run)), "headless, the view is a picture"


def _outputs(run: Run) -> list[dict]:
    cells = json.loads(run.artifact("notebook.ipynb").read_text())["cells"]
    return [output for cell in cells for output in cell.get("outputs", [])]


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_the_quickstart_runs_headless_and_concludes(lab: Path) -> None:
    from faceswap_lab.pipelines.quickstart import quickstart

    found = quickstart(recipe="smoke", device="cpu")
    figures = {"psnr_face", "psnr_face_floor", "ssim_face", "ssim_face_floor", "id_nearer_source", "landmark_error_ratio"}
    assert {"run", "report", "clip", "device", "seconds"} | figures <= set(found)
    page = Path(found["report"]).read_text()
    assert "synthetic" in page.lower()
    assert "psnr_face" in page or "PSNR" in page
    assert quickstart(recipe="smoke", device="cpu") == found, "an identical finished call returns its run"
    # The photograph was let in by a cell: only the log says that the executed notebook shows it.
    of_a_person = {each.id.partition("-")[0] for each in erase.plan(lab, "Eileen Collins").runs}
    assert of_a_person == {"swap", "quickstart"}


@pytest.mark.slow
@pytest.mark.notebook
def test_the_cost_notebook_runs_headless_on_given_speeds(lab: Path) -> None:
    with Run.start(lab, "notebook", "{}", {"notebook": "62_cost"}) as run:
        found = run_notebook(notebook_path("62_cost"), {"per_second": 100.0, "steps": 22_500, "samples_per_step": 16}, run=run)
    assert found["hours"] < 1.0, "22,500 steps of 16 pictures at 100 a second are an hour on one GPU"
    assert found["spot_money"] < found["money"]
    assert any("image/png" in output.get("data", {}) for output in _outputs(run))


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_the_training_notebook_runs_headless_and_shows_previews(lab: Path) -> None:
    with Run.start(lab, "notebook", "{}", {"notebook": "30_train"}) as run:
        found = run_notebook(notebook_path("30_train"), {"recipe": "smoke", "device": "cpu"}, run=run)
    assert found["found"].startswith("learning from the truth")
    assert found["previews"] == [2, 4, 6], "one at each report of both trainings"
    trained = {run.summary["supervision"] for run in Run.find(lab, verb="train", finished=True)}
    assert trained == {"from truth", "without truth"}
    assert sum("image/png" in output.get("data", {}) for output in _outputs(run)) == 4
    assert any("train.learning_rate" in "".join(output.get("data", {}).get("text/html", "")) for output in _outputs(run))


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_why_truth_scores_each_recipe_on_what_it_did_not_learn(lab: Path) -> None:
    with Run.start(lab, "notebook", "{}", {"notebook": "52_why_truth"}) as run:
        found = run_notebook(notebook_path("52_why_truth"), {"recipe": "smoke", "device": "cpu", "steps": 4}, run=run)
    assert found["found"].startswith("classic: reconstruction")
    kinds = ["classic", "normalised", "supervised", "with skips"]
    assert sorted(found["why_truth"]) == kinds
    assert (found["steps"], found["looks"], found["views"]) == (4, [1, 2, 3, 4], [6, 6, 4])
    swaps = found["over_steps"]["swap"]
    assert all(len(swaps[name]) == 4 and max(swaps[name]) == pytest.approx(found["best_swap"][name], abs=0.01) for name in kinds)
    assert all(found["why_truth"][name]["calibrated"] >= found["why_truth"][name]["swap"] for name in kinds)
    assert sum("image/png" in output.get("data", {}) for output in _outputs(run)) == 4


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_the_cluster_notebook_kills_a_rank_and_nothing_shows_in_the_result(lab: Path) -> None:
    with Run.start(lab, "notebook", "{}", {"notebook": "60_cluster"}) as run:
        found = run_notebook(notebook_path("60_cluster"), {"recipe": "smoke", "clips": 2}, run=run)
    assert found["deaths"] == 1
    assert found["ranks"] == 2, "it goes on with as many as before"
    assert found["equal_clips"] == 2
    assert found["losses_apart"] < 0.05
    assert found["money"]["training"] > 0
    trained = next(each for each in Run.find(lab, verb="train", finished=True) if each.events("rank_died"))
    assert trained.events("rank_died")[0]["rank"] == 1, "the one that was killed, not the one that lost its neighbour"
    assert trained.events("gang")[1]["step"] >= 10, "from the checkpoint, not from the start"
    assert sum("image/png" in output.get("data", {}) for output in _outputs(run)) == 3


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_the_benchmark_runs_headless_and_its_trend_needs_two_of_it(lab: Path) -> None:
    parameters = {"plan": "smoke", "tracks": ["frontal", "video"], "methods": ["copy", "warp", "truth"], "judges": "engine"}
    run = execute("50_benchmark", parameters | {"device": "cpu"})
    found = run.summary["benchmark"]
    assert (found["name"], found["pairs"], found["frames"]) == ("smoke: frontal, video", 2, 4)
    assert set(found["methods"]) == {"copy", "warp", "truth"}
    warp = found["methods"]["warp"]
    assert warp["psnr_face"]["floor"] == found["methods"]["copy"]["psnr_face"]["value"], "the floor is the target as it is"
    assert warp["psnr_face"]["gain"] != 0
    assert warp["psnr_face"]["low"] is None, "two pairs are too few for an interval"
    (scored,) = (Run.open(each) for each in run.summary["runs"])
    assert (scored.verb, scored.summary["digest"]) == ("bench", run.summary["digest"])
    assert sum("image/png" in output.get("data", {}) for output in _outputs(run)) == 2, "the pairs, and the frames of the method"

    alone = execute("72_trend", {"name": found["name"]})
    assert (alone.summary["benchmarks"], alone.summary["drawn"]) == (1, False)
    assert not any("image/png" in output.get("data", {}) for output in _outputs(alone)), "one run is no trend"
    with Run.start(lab, "notebook", "{}", {"notebook": "50_benchmark"}, force=True) as again:
        again.finish(benchmark=found)
    trend = execute("72_trend", {"name": found["name"]}, force=True)
    assert (trend.summary["benchmarks"], trend.summary["versions"], trend.summary["moved"]) == (2, 1, [])
    assert trend.summary["runs"] == [run.id, again.id]
    assert sum("image/png" in output.get("data", {}) for output in _outputs(trend)) == 1


@pytest.mark.slow
@pytest.mark.notebook
def test_the_trend_of_a_lab_without_a_benchmark_says_so(lab: Path) -> None:
    run = execute("72_trend", {})
    assert (run.summary["benchmarks"], run.summary["drawn"], run.summary["runs"]) == (0, False, [])
    assert any("run 50_benchmark first" in "".join(output.get("text", "")) for output in _outputs(run))


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_the_report_notebook_writes_one_page_of_the_runs_that_it_is_given(lab: Path) -> None:
    with pytest.raises(RunError, match="a finished swap in this lab"):
        execute("70_report", {})
    with pytest.raises(RunError, match="a list of ids"):
        execute("70_report", {"runs": "swap-1"})
    take = Actor(32).perform("speech", seconds=0.08, size=160, seed=3)
    made = swap(take, source=Actor(7), swapper="warp", device="cpu")
    scores = evaluate(made)
    run = execute("70_report", {"runs": [made.id, scores.id[:12]], "title": "Two runs & a title"})
    page = Path(run.summary["report"])
    assert page == run.path / "report.html", "by default in the folder of its run"
    assert run.summary["runs"] == [made.id, scores.id]
    assert "Two runs &amp; a title" in page.read_text()
    assert run.summary["title"] == "Two runs & a title"
    assert run.summary["sections"]
    assert run.summary["pictures"] > 0
    newest = execute("70_report", {})
    assert newest.summary["runs"] == [made.id, scores.id], "by default the newest swap with its scores"


@pytest.mark.slow
@pytest.mark.notebook
@pytest.mark.weights
def test_the_demo_notebook_runs_headless_and_its_result_is_marked(lab: Path) -> None:
    with Run.start(lab, "notebook", "{}", {"notebook": "90_demo"}) as run:
        found = run_notebook(notebook_path("90_demo"), {"folder": str(run.path)}, run=run)
    assert found["marked"]
    assert found["source_type"].endswith("compositeWithTrainedAlgorithmicMedia")
    assert "statement" in found["refusal"], "nothing without consent"
    assert "id_similarity" not in found, "the astronaut's entry doesn't allow to measure her face"
    assert Path(found["result"]).is_relative_to(run.path)
