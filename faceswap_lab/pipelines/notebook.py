"""Notebooks as runs: papermill with strict parameters, and a summary that the notebook returns."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from faceswap_lab.errors import RunError
from faceswap_lab.files import lab_root, sha256_file
from faceswap_lab.models import data_files
from faceswap_lab.runs.fields import near
from faceswap_lab.runs.run import Run, class_of
from faceswap_lab.trust import audit

SUMMARY_TYPE = "application/vnd.faceswap-lab.summary+json"

VERBS = ("evaluate", "faceset", "render", "swap", "train")
"""Verbs that a notebook may call: if the result version of one of them changes, the notebook is run again."""


class NotebookRun(Run):
    """A run of a notebook, as returned by `execute`."""

    VERB: ClassVar[str | None] = "notebook"
    RESULT_VERSION: ClassVar[int] = 1


def results_of(verbs: Iterable[str]) -> dict[str, str]:
    """The data files and result versions that a notebook calling these verbs depends on, for its key."""
    return {**data_files.of_everything(), **{f"results of {verb}": str(class_of(verb).RESULT_VERSION) for verb in verbs}}


def notebook_path(name: str) -> Path:
    """The shipped notebook `name`: beside the package in a checkout, inside it in an installed wheel."""
    inside = Path(str(files("faceswap_lab"))) / "notebooks"
    folders = [inside, inside.parent.parent / "notebooks"]
    for folder in folders:
        if (path := folder / f"{name}.ipynb").is_file():
            return path
    known = sorted({path.stem for folder in folders if folder.is_dir() for path in folder.glob("*.ipynb")})
    raise RunError(expected=f"a notebook of {', '.join(known)}", got=name, remedy="check the name")


def emit_summary(summary: Mapping[str, Any]) -> None:
    """For a notebook's last cell: displays `summary` (JSON values) and returns it to an unattended run."""
    from IPython.display import display

    lines = "\n".join(f"{name}: {value}" for name, value in summary.items())
    display({SUMMARY_TYPE: dict(summary), "text/plain": lines}, raw=True)  # type: ignore[no-untyped-call]


def execute(name: str, parameters: Mapping[str, Any], *, force: bool = False) -> NotebookRun:
    """Run the shipped notebook `name` unattended, as a Run with the executed copy and the summary from its last cell.

    The parameter `folder` defaults to the run's own folder. An identical finished call returns its Run. Raises RunError for an
    unknown notebook or parameter before anything is created, and for a failing cell.
    """
    path = notebook_path(name)
    known = parameters_of(path, parameters)
    asked = json.dumps({"notebook": path.stem, "parameters": dict(parameters)}, sort_keys=True)
    inputs = {"notebook": sha256_file(path)}
    run = NotebookRun.start(lab_root(), "notebook", asked, inputs, data=results_of(VERBS), force=force)
    if not run.finished:
        with run:
            place = {"folder": str(run.path)} if "folder" in known else {}
            run.finish(**run_notebook(path, {**place, **parameters}, run=run))
    return run


def parameters_of(path: Path, given: Mapping[str, Any]) -> frozenset[str]:
    """The names of a notebook's parameters. RunError, with close matches, if one of those `given` is not among them."""
    import papermill

    known = papermill.inspect_notebook(str(path))
    if unknown := sorted(set(given) - set(known)):
        close = near(unknown[0], known)
        raise RunError(
            expected=f"parameters of {path.stem}: {', '.join(sorted(known)) or 'none'}",
            got=", ".join(unknown),
            remedy=f"did you mean {', '.join(close)}?" if close else "correct the name",
        )
    return frozenset(known)


def run_notebook(path: Path, parameters: Mapping[str, Any], *, run: Run) -> dict[str, Any]:
    """Execute `path` headless; the executed copy becomes `run`'s artifact `notebook.ipynb`, even if a cell fails.

    Returns what the notebook passed to `emit_summary`. An unknown parameter raises RunError before anything runs (papermill itself
    only warns).
    """
    import nbformat
    import papermill
    from papermill.exceptions import PapermillExecutionError

    parameters_of(path, parameters)
    failure: PapermillExecutionError | None = None
    with run.write("notebook.ipynb") as output:
        try:
            with _named(run):
                papermill.execute_notebook(
                    str(path),
                    str(output),
                    parameters=dict(parameters),
                    progress_bar=False,
                    stdout_file=sys.stderr,
                    stderr_file=sys.stderr,
                    cwd=str(Path.cwd()),
                )
        except PapermillExecutionError as error:
            failure = error  # raised below, so that the copy with the traceback is kept
        done = nbformat.read(output, as_version=4)  # type: ignore[no-untyped-call]
        # Saved widget state makes exporters load scripts from a CDN; the static pictures are in the outputs.
        done.metadata.pop("widgets", None)
        nbformat.write(done, output)  # type: ignore[no-untyped-call]
    if failure is not None:
        raise RunError(
            expected=f"{path.stem} to run to its end",
            got=f"{failure.ename} in cell {failure.cell_index}: {failure.evalue}",
            remedy=f"the executed copy has the traceback: {run.artifact('notebook.ipynb')}",
        ) from failure
    for cell in reversed(done.cells):
        for output_item in cell.get("outputs", []):
            if SUMMARY_TYPE in output_item.get("data", {}):
                return dict(output_item["data"][SUMMARY_TYPE])
    return {}


@contextmanager
def _named(run: Run) -> Iterator[None]:
    """Put the run's id into the kernel's environment, so that log lines name the run."""
    before = os.environ.get(audit.WITHIN)
    os.environ[audit.WITHIN] = run.id
    try:
        yield
    finally:
        if before is None:
            del os.environ[audit.WITHIN]
        else:
            os.environ[audit.WITHIN] = before
