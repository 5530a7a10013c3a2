"""A run's folder on the disk: what `run.json` holds, and how folders are made, found and read."""

import json
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceswap_lab.errors import RunError, storing
from faceswap_lab.files import sync_folder, write_whole
from faceswap_lab.trust import audit

FORMAT = 1
"""Version of the folder's layout. A reader refuses any that it does not know.

How a migration will be done when format 2 comes: `read_record` looks at `format` before anything else is interpreted, so it is
there that an older record is brought up, by one pure function for each step (the whole of run.json of format n in, that of n + 1
out), applied one after the other until `FORMAT`. Readers do so in memory and change nothing on the disk: an older version of the
lab, or a backup, still reads the folder. Only the process that holds the lock writes the new form, whole, with the first record
that it writes anyway. Segments of events and artifacts are never rewritten, for their digests are on record; a reader of an event's
field must take its older spelling too. Each step comes with a run folder of the old format among the tests' golden data.
"""


class Record(BaseModel):
    """`run.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    format: int
    id: str
    verb: str
    key: str
    recipe: Any
    inputs: dict[str, str]
    code: str
    environment: dict[str, Any]
    created: str
    status: Literal["unfinished", "finished"] = "unfinished"
    finished: str = ""
    summary: dict[str, Any] = {}
    artifacts: dict[str, str] = {}
    audit_count: Annotated[int, Field(ge=0)] = 0
    audit_hash: str = audit.START


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
    """Write `run.json`, whole or not at all."""
    write_whole(folder / "run.json", json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_record(folder: Path) -> Record:
    """What `run.json` says. Raises `RunError` for a record that is torn, or of another format."""
    path = folder / "run.json"
    try:
        text = path.read_text(encoding="utf-8")
        given = json.loads(text)
        version = given.get("format", "none") if isinstance(given, dict) else "none"
        # True == 1, and 1.0 == 1, but neither was ever written.
        if type(version) is not int or version != FORMAT:
            newer = type(version) is int and version > FORMAT
            raise RunError(
                expected=f"a run folder of format {FORMAT}",
                got=f"format {json.dumps(version)[:40]} in {path}",
                remedy="install a newer faceswap_lab"
                if newer
                else f"restore it from a backup, or move {folder.name} away and run again",
            )
        return Record.model_validate_json(text)
    except (OSError, ValueError, KeyError, RecursionError, ValidationError) as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RunError(
            expected=f"a readable {path}", got=what, remedy=f"restore it from a backup, or move {folder.name} away and run again"
        ) from error
