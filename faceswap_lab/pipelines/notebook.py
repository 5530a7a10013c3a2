"""Notebooks as runs: papermill with strict parameters, and a summary that the notebook returns."""

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical, lab_root, sha256_file
from faceswap_lab.runs.fields import near
from faceswap_lab.runs.run import HANDLES, Run, class_of
from faceswap_lab.trust import audit

SUMMARY_TYPE = "application/vnd.faceswap-lab.summary+json"
COPY = "notebook.ipynb"
"""The artifact with the executed copy."""

Tell = Callable[[int, int], None]
"""Called before a cell with its number, from 1, and the number of cells that there are to execute."""

_START_S = 300
"""Seconds that a kernel may take to start: on a busy machine more than papermill's one minute."""

_RUN_ID = re.compile(rf"(?<![\w-])({'|'.join(HANDLES)})-[0-9a-f]{{8}}(-\d+)?(?![\w-])")

VERBS = ("bench", "evaluate", "faceset", "render", "swap", "train")
"""Verbs that a notebook may call: if the result version of one of them changes, the notebook is run again."""


class NotebookRun(Run):
    """A run of a notebook, as returned by `execute`."""

    VERB: ClassVar[str | None] = "notebook"
    RESULT_VERSION: ClassVar[int] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter from a notebook's cell tagged `parameters`: its annotated type ("None" without one) and written default."""

    name: str
    type: str
    default: str


def results_of(verbs: Iterable[str]) -> dict[str, str]:
    """The data files and result versions that a notebook calling these verbs depends on, for its key. Imports these verbs."""
    from faceswap_lab.models import data_files

    return {**data_files.of_everything(), **{f"results of {verb}": str(class_of(verb).RESULT_VERSION) for verb in verbs}}


def run_ids(value: Any) -> list[str]:
    """The ids of runs that a JSON value mentions, also within paths."""
    return sorted({match[0] for match in _RUN_ID.finditer(canonical(value))})


def inputs_of(path: Path, parameters: Mapping[str, Any]) -> dict[str, str]:
    """The inputs of a notebook's run: its digest, and the runs that its parameters name, whose people it may show."""
    named = run_ids(dict(parameters))
    return {"notebook": sha256_file(path)} | ({"runs": " ".join(named)} if named else {})


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
    """For a notebook's last cell: displays `summary` (JSON values) and returns it to an unattended run.

    ValueError for the names that every event of a run has already: n, time and kind.
    """
    from IPython.display import display

    if reserved := sorted({"n", "time", "kind"} & set(summary)):
        raise ValueError(f"a summary must not have the names n, time and kind, got {', '.join(reserved)}")

    lines = "\n".join(f"{name}: {value}" for name, value in summary.items())
    display({SUMMARY_TYPE: dict(summary), "text/plain": lines}, raw=True)  # type: ignore[no-untyped-call]


def execute(name: str, parameters: Mapping[str, Any], *, force: bool = False) -> NotebookRun:
    """Run the shipped notebook `name` unattended, as a Run with the executed copy and the summary from its last cell.

    The parameter `folder` defaults to the run's own folder. An identical finished call returns its Run. Raises RunError for an
    unknown notebook or parameter before anything is created, and for a failing cell.
    """
    path = notebook_path(name)
    require_known(path, parameters, parameters_of(path))
    asked = json.dumps({"notebook": path.stem, "parameters": dict(parameters)}, sort_keys=True)
    run = NotebookRun.start(lab_root(), "notebook", asked, inputs_of(path, parameters), data=results_of(VERBS), force=force)
    if not run.finished:
        with run:
            run.finish(**run_notebook(path, placed(path, parameters, run), run=run))
    return run


def placed(path: Path, parameters: Mapping[str, Any], run: Run) -> dict[str, Any]:
    """The parameters, with the run's own folder for the parameter `folder` if the notebook has one."""
    place = {"folder": str(run.path)} if "folder" in parameters_of(path) else {}
    return {**place, **parameters}


def parameters_of(path: Path) -> dict[str, Parameter]:
    """The parameters of a notebook by name. RunError if the file is not a notebook."""
    import papermill
    from nbformat.reader import NotJSONError
    from nbformat.validator import ValidationError

    try:
        found = papermill.inspect_notebook(_plain(path))
    except (NotJSONError, ValidationError, ValueError, AttributeError, KeyError) as error:
        told = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise RunError(expected=f"a notebook at {path}", got=told, remedy="name an .ipynb file saved by Jupyter") from error
    return {
        name: Parameter(name=name, type=str(told["inferred_type_name"]), default=str(told["default"]))
        for name, told in found.items()
    }


def require_known(path: Path, given: Iterable[str], known: Mapping[str, Parameter]) -> None:
    """RunError, with close matches, if one of those `given` is not among the notebook's parameters."""
    if unknown := sorted(set(given) - set(known)):
        close = near(unknown[0], known)
        none = "correct the name" if known else "give none, or tag the cell that defines them `parameters`"
        raise RunError(
            expected=f"parameters of {path.stem}: {', '.join(sorted(known)) or 'none'}",
            got=", ".join(unknown),
            remedy=f"did you mean {', '.join(close)}?" if close else none,
        )


def run_notebook(
    path: Path, parameters: Mapping[str, Any], *, run: Run, cwd: Path | None = None, tell: Tell | None = None
) -> dict[str, Any]:
    """Execute `path` headless; the executed copy becomes `run`'s artifact `notebook.ipynb`, even if a cell fails or it is stopped.

    Returns what the notebook passed to `emit_summary`. An unknown parameter raises RunError before anything runs (papermill itself
    only warns). The kernel starts in the folder `cwd`, by default the current one. What cells print is echoed, unless `tell`
    follows them instead.
    """
    require_known(path, parameters, parameters_of(path))
    failure: BaseException | None = None
    with run.write(COPY) as output:
        try:
            with _named(run):
                _papermill(path, output, parameters, cwd or Path.cwd(), tell)
        except BaseException as error:
            if not output.exists():
                raise
            failure = error  # raised below, so that the copy as far as it got is kept
        cells = _without_widgets(output)
    if failure is not None:
        raise _explained(failure, path, run) from failure
    for cell in reversed(cells):
        for output_item in cell.get("outputs", []):
            if SUMMARY_TYPE in output_item.get("data", {}):
                return dict(output_item["data"][SUMMARY_TYPE])
    return {}


def _papermill(path: Path, output: Path, parameters: Mapping[str, Any], cwd: Path, tell: Tell | None) -> None:
    import papermill

    echo = sys.stderr if tell is None else None
    follow = {} if tell is None else {"on_cell_execute": _counting(path, tell)}
    papermill.execute_notebook(
        _plain(path),
        _plain(output),
        parameters=dict(parameters),
        progress_bar=False,
        start_timeout=_START_S,
        coalesce_streams=True,  # else each state of a progress line is an output of its own
        stdout_file=echo,
        stderr_file=echo,
        cwd=str(cwd),
        **follow,
    )


def _counting(path: Path, tell: Tell) -> Callable[..., None]:
    """A hook of nbclient's that tells of each cell before it is executed."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    total = sum(cell["cell_type"] == "code" and bool("".join(cell["source"]).strip()) for cell in cells)
    done = 0

    def hook(cell: Any, cell_index: int) -> None:
        nonlocal done
        # The cell that papermill adds with the parameters is not counted.
        if "injected-parameters" not in cell.metadata.get("tags", []):
            done += 1
            tell(done, total)

    return hook


def _without_widgets(output: Path) -> list[Any]:
    """The cells of an executed copy, from which the saved widget state was removed: it makes exporters load scripts from a CDN, and
    the static pictures are in the outputs."""
    import nbformat

    done = nbformat.read(output, as_version=4)  # type: ignore[no-untyped-call]
    done.metadata.pop("widgets", None)
    nbformat.write(done, output)  # type: ignore[no-untyped-call]
    return list(done.cells)


def _explained(failure: BaseException, path: Path, run: Run) -> BaseException:
    """The error of a failing cell, or of a kernel that died, in three parts; others as they are."""
    from nbclient.exceptions import DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    copy = run.artifact(COPY)
    if isinstance(failure, PapermillExecutionError):
        got = f"{failure.ename} in cell {failure.cell_index}: {failure.evalue}"
        return RunError(expected=f"{path.stem} to run to its end", got=got, remedy=f"the executed copy has the traceback: {copy}")
    if isinstance(failure, DeadKernelError):
        remedy = f"too little memory is the usual cause; the executed copy shows how far it got: {copy}"
        return RunError(expected=f"{path.stem} to run to its end", got="its kernel died", remedy=remedy)
    return failure


def _plain(path: Path) -> str:
    """The path as papermill takes it, which formats parameters into braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


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
