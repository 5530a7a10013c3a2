"""The command `quickstart`: the quickstart notebook, run unattended, as a Run with its report."""

import json
from time import perf_counter
from typing import Any

from faceswap_lab.files import sha256_file
from faceswap_lab.pipelines.notebook import notebook_path, run_notebook
from faceswap_lab.runs.root import lab_root
from faceswap_lab.runs.run import Run


def quickstart(*, recipe: str = "quickstart", device: str = "auto", force: bool = False) -> dict[str, Any]:
    """Run `00_quickstart`; returns what its last cell concludes: run, report, clip, device, seconds and scores."""
    path = notebook_path("00_quickstart")
    asked = json.dumps({"notebook": path.stem, "recipe": recipe, "device": device})
    run = Run.start(lab_root(), "quickstart", asked, {"notebook": sha256_file(path)}, force=force)
    if not run.finished:
        with run:
            start = perf_counter()
            found = run_notebook(path, {"recipe": recipe, "device": device, "folder": str(run.path)}, run=run)
            found["seconds"] = {**found.get("seconds", {}), "all": round(perf_counter() - start, 1)}
            run.finish(**found)
    return {"run": run.id, **run.summary}
