"""A run's folder on disk: the content of `run.json` in this format and older ones, and how folders are created and read."""

import json
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from faceswap_lab.errors import RunError, storing
from faceswap_lab.files import encodable, private_folder, sync_folder, write_whole
from faceswap_lab.trust import audit

FORMAT = 2
"""Version of the folder's layout. A reader rejects versions that it does not know.

`read_record` checks `format` before it interprets anything else, and migrates an older record by one pure function per step
(`FORMAT_STEPS`). Readers do so in memory and change nothing on disk: an older version of the lab can still read the folder. Only
the process that holds the lock writes the new form, atomically, with its next regular write of the record. Event segments and
artifacts are never rewritten, because their digests are on record; a reader of an event's field must accept its older name too.
Each step comes with a run folder of the old format in the tests' golden data.
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
    """Type of the recipe and version of its fields, such as "FacesetRecipe/2"; empty for untyped JSON."""
    inputs: dict[str, str]
    data: dict[str, str]
    """Name to digest or version of the data files that the result depends on."""
    result_version: Annotated[int, Field(ge=0)]
    """The verb's `RESULT_VERSION` when the run was started; 0 in records migrated from format 1."""
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
        """The audit log's head when the run was last written."""
        return audit.Head(count=self.audit_count, hash=self.audit_hash)


def run_folders(root: Path) -> list[Path]:
    """All run folders of a lab, sorted by name, except those being created or removed."""
    runs = root / "runs"
    if not runs.is_dir():
        return []
    return sorted(
        folder
        for folder in runs.iterdir()
        if folder.is_dir() and not folder.name.startswith(".") and (folder / "run.json").exists()
    )


def make_folder(root: Path, stem: str, record: dict[str, Any]) -> Path:
    """Create a folder under the first free name, safe against another process taking that name at the same time."""
    runs = root / "runs"
    number = 1
    with ExitStack() as stack:
        stack.enter_context(storing(runs))
        private_folder(runs)
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
    write_whole(folder / "run.json", encodable(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False)) + "\n")


def read_record(folder: Path) -> Record:
    """The content of `run.json`, migrated to this format. Raises `RunError` for a damaged record or an unknown format."""
    path = folder / "run.json"
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
        version = given.get("format", "none") if isinstance(given, dict) else "none"
        # True == 1 and 1.0 == 1, but neither is a valid format.
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


# --- migration of older forms, one pure step at a time: records by format, recipes by schema --------------------------------

_GONE_FROM_FIT = ("cosine_over", "fall_from", "again_from")
"""Settings of a pack's schedule that recorded a single improvised training. 0 meant unused."""


def _from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Format 1 had no recipe schema, no result version and no data files: its key included the digest of all code."""
    schema = _schema_of_1(str(record.get("verb")), record.get("recipe"))
    return record | {"format": 2, "recipe_schema": schema, "result_version": 0, "data": {}}


FORMAT_STEPS: Mapping[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_1}
"""Format n to the function that migrates a record to format n + 1."""


def _schema_of_1(verb: str, recipe: Any) -> str:
    if verb == "train":
        return "PackRecipe/1" if isinstance(recipe, dict) and "sets" in recipe else "PairRecipe/1"
    names = {"swap": "Swap", "evaluate": "Evaluate", "faceset": "Faceset", "render": "Render", "quickstart": "Quickstart"}
    return f"{names[verb]}Recipe/1" if verb in names else ""


def migrated_recipe(schema: str, recipe: Any) -> tuple[str, Any]:
    """The recipe (plain JSON) migrated to the newest schema that can express it, with that schema; unchanged without a schema.

    A recipe that the newer schema cannot express keeps its schema and its form: it can be shown, but not read as its type.
    """
    while isinstance(recipe, dict) and schema in _RECIPE_STEPS:
        changed = _RECIPE_STEPS[schema](recipe)
        if changed is None:
            break
        name, _, version = schema.partition("/")
        schema, recipe = f"{name}/{int(version) + 1}", changed
    return schema, recipe


def _pair_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    return _within(recipe, "train", lambda train: _renamed(train, rate="learning_rate"))


def _pack_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    fits = [recipe.get("points"), recipe.get("embedder")]
    detector = recipe.get("detector")
    if isinstance(detector, dict):
        fits += [detector.get("fit"), detector.get("polish")]
    if any(fit.get(name) for fit in fits if isinstance(fit, dict) for name in _GONE_FROM_FIT):
        return None
    for name in ("points", "embedder"):
        recipe = _within(recipe, name, _fit)
    return _within(recipe, "detector", lambda inner: _within(_within(inner, "fit", _fit), "polish", _fit))


def _fit(fit: dict[str, Any]) -> dict[str, Any]:
    return _renamed({name: value for name, value in fit.items() if name not in _GONE_FROM_FIT}, rate="learning_rate")


def _faceset_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    return _renamed(recipe, people="identities", like="near_duplicate_max")


def _quickstart_from_1(recipe: dict[str, Any]) -> dict[str, Any] | None:
    return {name: value for name, value in recipe.items() if name != "device"}


_RECIPE_STEPS: Mapping[str, Callable[[dict[str, Any]], dict[str, Any] | None]] = {
    "PairRecipe/1": _pair_from_1,
    "PackRecipe/1": _pack_from_1,
    "FacesetRecipe/1": _faceset_from_1,
    "QuickstartRecipe/1": _quickstart_from_1,
}
"""Schema n of a recipe to the function that migrates it to schema n + 1, or returns None if that cannot express it."""


def _renamed(fields: dict[str, Any], **names: str) -> dict[str, Any]:
    """Fields renamed in place; a field that already exists under its new name is not overwritten."""
    return {names[name] if name in names and names[name] not in fields else name: value for name, value in fields.items()}


def _within(fields: dict[str, Any], name: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    inner = fields.get(name)
    return fields | {name: change(inner)} if isinstance(inner, dict) else fields
