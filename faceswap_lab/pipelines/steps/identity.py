"""What identifies a step: the notebook's bytes, its resolved parameters, its files' bytes, and the package's code and data.

Unlike in `execute`, the code's digest counts itself and stands for the result versions of the verbs, so that finding a finished
step imports none of them. Where a file lies, the step's name, its timeout and its folder don't count.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.files import canonical, sha256_file
from faceswap_lab.pipelines.graph import Pipeline, Step
from faceswap_lab.pipelines.notebook import COPY, NotebookRun, inputs_of, notebook_path, run_ids
from faceswap_lab.pipelines.references import Known, resolved
from faceswap_lab.runs.environment import code_version
from faceswap_lab.runs.run import Run

_APART = {"notebooks", "data_manifests", "__pycache__"}
"""Folders of an installed package that are inputs of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A step with all its values: what `NotebookRun.start` is called with, and what the notebook is given."""

    notebook: Path
    is_shipped: bool
    parameters: dict[str, Any]
    uses: list[Any]
    files: dict[str, Path]

    @property
    def given(self) -> dict[str, Any]:
        """The notebook's parameters, those that are files as their paths."""
        return self.parameters | {name: str(path) for name, path in self.files.items()}

    @property
    def recipe(self) -> str:
        """The recipe of the step's run, as JSON text."""
        return json.dumps({"notebook": self.notebook.stem, "parameters": self.parameters}, sort_keys=True)

    @property
    def inputs(self) -> dict[str, str]:
        """The inputs of the step's run."""
        used = {"uses": canonical(self.uses)} if self.uses else {}
        return inputs_of(self.notebook, self.parameters) | used | inputs_of_files(self.files)

    def start(self, root: Path, *, force: bool = False) -> NotebookRun:
        """The run of this call: a finished or unfinished one, else a new one."""
        return NotebookRun.start(root, "notebook", self.recipe, self.inputs, data=package_data(), force=force)


def asked(pipeline: Pipeline, step: Step, known: Known) -> Asked:
    """The step of a pipeline with all references resolved. RunError if a step did not return one of them, or a file is missing."""
    path, is_shipped = notebook_of(pipeline, step)
    files = files_of(pipeline, step)
    parameters, uses = resolved(step.parameters, known), resolved(step.uses, known)
    return Asked(notebook=path, is_shipped=is_shipped, parameters=parameters, uses=uses, files=files)


def notebook_of(pipeline: Pipeline, step: Step) -> tuple[Path, bool]:
    """A step's notebook, and whether it is a shipped one. RunError if it is missing."""
    if not step.notebook.endswith(".ipynb"):
        return notebook_path(step.notebook), True
    path = (pipeline.path.parent / step.notebook).resolve()
    if not path.is_file():
        remedy = "correct the path, which is relative to the pipeline's file, or name a shipped notebook without .ipynb"
        raise RunError(expected=f"a notebook at {path}", got="no such file", remedy=remedy)
    return path, False


def files_of(pipeline: Pipeline, step: Step) -> dict[str, Path]:
    """Parameter to path of a step's files. RunError if one is missing."""
    found = {name: (pipeline.path.parent / path).resolve() for name, path in step.files.items()}
    for name, path in found.items():
        if not path.is_file():
            remedy = "correct the path, which is relative to the pipeline's file"
            raise RunError(expected=f"a file at {path}, for {name}", got="no such file", remedy=remedy)
    return found


def inputs_of_files(files: Mapping[str, Path]) -> dict[str, str]:
    """Files as inputs of a run: by their digest, with their path as a hint."""
    return {name: canonical({"file": f"sha256:{sha256_file(path)}", "path": str(path)}) for name, path in sorted(files.items())}


@cache
def package_data() -> dict[str, str]:
    """The package's code, its data files, and the package that actors are baked from, for the key of a step."""
    folder = Path(__file__).parents[2]
    digest = sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".py"):
        parts = path.relative_to(folder).parts
        if parts[0] not in _APART and "__pycache__" not in parts and not any(part.startswith(".") for part in parts):
            digest.update("/".join(parts).encode() + b"\0" + sha256(path.read_bytes()).digest())
    return {"code": code_version(), "package data": digest.hexdigest()[:16], "anny": version("anny")}


def missing_of(run: Run) -> str:
    """What a finished step's run no longer has: its executed copy, a file in its folder or a run that its summary names; empty if
    all are there."""
    if not run.has(COPY):
        return "its executed copy"
    for text in _texts(run.summary):
        # A text with a line break or of any length is no path, and asking the system for it is an error.
        if "\n" not in text and len(text) < 4096 and text.startswith(str(run.path)) and not Path(text).exists():
            return Path(text).name
    return next((name for name in run_ids(run.summary) if not (run.path.parent / name / "run.json").is_file()), "")


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []
