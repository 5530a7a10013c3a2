"""The command `quickstart`: the quickstart notebook, run unattended, as a Run with its report."""

from dataclasses import dataclass
from time import perf_counter
from typing import Any, ClassVar

from faceswap_lab.files import lab_root, sha256_file
from faceswap_lab.pipelines.notebook import notebook_path, results_of, run_notebook
from faceswap_lab.runs.run import Run

CALLS = ("train", "swap", "evaluate")
"""The verbs that the notebook calls; their result versions are part of its key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickstartRecipe:
    """The notebook to run, and the name of its plan in `verbs.recipes.plan`."""

    SCHEMA: ClassVar[int] = 2

    notebook: str = "00_quickstart"
    recipe: str = "quickstart"


class QuickstartRun(Run):
    """The run of the quickstart notebook."""

    VERB: ClassVar[str | None] = "quickstart"
    RESULT_VERSION: ClassVar[int] = 1


def quickstart(*, recipe: str = "quickstart", device: str = "auto", force: bool = False) -> dict[str, Any]:
    """Run `00_quickstart`; returns the summary from its last cell: run, report, clip, device, seconds and scores."""
    asked = QuickstartRecipe(recipe=recipe)
    path = notebook_path(asked.notebook)
    data = results_of(CALLS)
    run = QuickstartRun.start(lab_root(), "quickstart", asked, {"notebook": sha256_file(path)}, data=data, force=force)
    if not run.finished:
        with run:
            start = perf_counter()
            found = run_notebook(path, {"recipe": recipe, "device": device, "folder": str(run.path)}, run=run)
            found["seconds"] = {**found.get("seconds", {}), "all": round(perf_counter() - start, 1)}
            run.finish(**found)
    return {"run": run.id, **run.summary}
