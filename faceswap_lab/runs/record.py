"""A run's folder on the disk: what `run.json` holds in this format and in older ones, and how folders are made and read."""

import json
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceswap_lab.errors import RunError, storing
from faceswap_lab.files import sync_folder, write_whole
from faceswap_lab.runs.migrations import FORMAT_STEPS, migrated_recipe
from faceswap_lab.trust import audit

FORMAT = 2
"""Version of the folder's layout. A reader refuses any that it does not know.

`read_record` looks at `format` before anything else is interpreted, and brings an older record up by one pure function for each
step (`migrations`). Readers do so in memory and change nothing on the disk: an older version of the lab still reads the folder.
Only the process that holds the lock writes the new form, whole, with the first record that it writes anyway. Segments of events and
artifacts are never rewritten, for their digests are on record; a reader of an event's field must take its older spelling too. Each
step comes with a run folder of the old format among the tests' golden data.
"""


class Record(BaseModel):
    """`run.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    id: str
    verb: str
    key: str
    recipe: Any
    recipe_schema: str
    """Type of the recipe and version of its fields, such as "FacesetRecipe/2"; empty for plain JSON of no type."""
    inputs: dict[str, str]
    data: dict[str, str]
    """Name to digest or version of the data files that the result rests on."""
    result_version: Annotated[int, Field(ge=0)]
    """The verb's `RESULT_VERSION` when the run was started; 0 in what was format 1."""
    code: str
    environment: dict[str, Any]
    created: str
    status: Literal["unfinished", "finished"] = "unfinished"
    finished: str = ""
    summary: dict[str, Any] = {}
    artifacts: dict[str, str] = {}
    audit_count: Annotated[int, Field(ge=0)] = 0
    audit_hash: str = audit.START

    @property
    def head(self) -> audit.Head:
        """Where the audit log ended when the run was last written."""
        return audit.Head(count=self.audit_count, hash=self.audit_hash)


def run_folders(root: Path) -> list[Path]:
    """Every run's folder in a lab, by name; none that is being made or removed."""
    runs = root / "runs"
    if not runs.is_dir():
        return []
    return sorted(
        folder
        for folder in runs.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and (folder / "run.json").exists()
    )


def make_folder(root: Path, stem: str, record: dict[str, Any]) -> Path:
    """A new folder under the first free name; another process may take that name at the same moment."""
    runs = root / "runs"
    number = 1
    with ExitStack() as stack:
        stack.enter_context(storing(runs))
        runs.mkdir(parents=True, exist_ok=True)
        made = stack.enter_context(tempfile.TemporaryDirectory(dir=runs, prefix=".new-", ignore_cleanup_errors=True))
        while True:
            name = stem if number == 1 else f"{stem}-{number}"
            number += 1
            folder = runs / name
            if folder.exists():
                continue
            temporary = Path(made) / name
            for part in ("events", "artifacts"):
                (temporary / part).mkdir(parents=True, exist_ok=True)
            write_record(temporary, record | {"id": name})
            try:
                temporary.rename(folder)
            except OSError:
                if folder.exists():
                    continue
                raise
            sync_folder(runs)
            return folder


def write_record(folder: Path, record: dict[str, Any]) -> None:
    """Write `run.json`, atomically."""
    write_whole(folder / "run.json", json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(folder: Path) -> Record:
    """What `run.json` says, brought up to this format. Raises `RunError` for a record that is torn, or of a format unknown here."""
    path = folder / "run.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        version = given.get("format", "none") if isinstance(given, dict) else "none"
        # True == 1, and 1.0 == 1, but neither was ever written.
        if type(version) is not int or not (version == FORMAT or version in FORMAT_STEPS):
            raise _other_format(path, version)
        return Record.model_validate(_brought_up(given))
    except (OSError, ValueError, KeyError, RecursionError, ValidationError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(
            expected=f"a readable {path}", got=what, remedy=f"restore it from a backup, or move {folder.name} away and run again"
        ) from error


def _brought_up(given: dict[str, Any]) -> dict[str, Any]:
    while given["format"] != FORMAT:
        step: Callable[[dict[str, Any]], dict[str, Any]] = FORMAT_STEPS[given["format"]]
        given = step(given)
    schema, recipe = migrated_recipe(given.get("recipe_schema", ""), given.get("recipe"))
    return given | {"recipe_schema": schema, "recipe": recipe}


def _other_format(path: Path, version: Any) -> RunError:
    newer = type(version) is int and version > FORMAT
    return RunError(
        expected=f"a run folder of format {', '.join(map(str, sorted(FORMAT_STEPS)))} or {FORMAT}",
        got=f"format {json.dumps(version)[:40]} in {path}",
        remedy="install a newer faceswap_lab"
        if newer
        else f"restore it from a backup, or move {path.parent.name} away and run again",
    )
