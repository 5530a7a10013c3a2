"""A call of a verb: what identifies its run (verb, recipe, inputs by their digests, result version, data files), and the folder in
which it starts.

Recorded but not part of the key: file locations, the code's digest, package versions, the device. `RESULT_VERSION` of the verb is
incremented manually with a change of code that changes results; a test of golden bytes notices when that was forgotten.
"""

import difflib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from faceswap_lab.errors import RunError, StorageError
from faceswap_lab.files import canonical, locked, sha256_text, write_whole
from faceswap_lab.runs import quota
from faceswap_lab.runs.environment import code_version, environment
from faceswap_lab.runs.events import now
from faceswap_lab.runs.recipe import schema_of, to_plain
from faceswap_lab.runs.record import FORMAT, Record, make_folder, read_record, run_folders
from faceswap_lab.trust import audit

HINTS = frozenset({"path", "bytes"})
"""Fields of an input that only help to locate a file; its digest identifies it."""

PLACES = "places.json"
"""A file in a run's folder: SHA-256 to path of inputs that have moved since the run was started."""

_log = logging.getLogger(__name__)


@runtime_checkable
class Keyed(Protocol):
    """A recipe with values that are only hints, such as the folder of a pack whose digest is among the inputs."""

    def keyed(self) -> object:
        """The recipe without hints, as it enters the key."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call of a verb. `recipe` is plain JSON, `counted` the same without hints, `schema` as in `Record`."""

    verb: str
    recipe: Any
    counted: Any
    schema: str
    inputs: dict[str, str]
    data: dict[str, str]
    result_version: int

    @classmethod
    def of(cls, verb: str, recipe: object, inputs: Mapping[str, str], data: Mapping[str, str], result_version: int) -> "Call":
        """The call as recorded; `recipe` is a recipe object, or untyped JSON text."""
        if isinstance(recipe, str):
            plain = counted = json.loads(recipe)
            schema = ""
        else:
            schema, plain = schema_of(type(recipe)), to_plain(recipe)
            counted = to_plain(recipe.keyed()) if isinstance(recipe, Keyed) else plain
        return cls(
            verb=verb,
            recipe=plain,
            counted=counted,
            schema=schema,
            inputs=dict(inputs),
            data=dict(data),
            result_version=result_version,
        )

    @property
    def key(self) -> str:
        """SHA-256 of everything that identifies the run."""
        told = {"verb": self.verb, "recipe_schema": self.schema, "inputs": self.inputs, "data": self.data}
        return key_of(told | {"result_version": self.result_version}, self.counted)

    @property
    def stem(self) -> str:
        """The run's id, or its beginning if several runs have the same key."""
        return f"{self.verb}-{self.key[:8]}"


def key_of(record: Mapping[str, Any], counted: Any) -> str:
    """The key of a record's call; `counted` is its recipe without hints."""
    return digest_of(
        {
            "verb": record["verb"],
            "recipe": counted,
            "schema": record["recipe_schema"],
            "inputs": {name: without_hints(value) for name, value in record["inputs"].items()},
            "data": record["data"],
            "result_version": record["result_version"],
        }
    )


def asked_in(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, of a record as it was written: the parts of the key, hints included."""
    return {name: record.get(name) for name in ("verb", "recipe", "recipe_schema", "inputs", "data", "result_version")}


def digest_of(value: Any) -> str:
    """SHA-256 of a JSON value's canonical text."""
    return sha256_text(canonical(value))


def engine_kind(name: str) -> str:
    """The part of an engine's name before the colon: "offline", "insight"."""
    return name.partition(":")[0]


def without_pack(recipe: Any) -> Any:
    """A plain recipe whose engine is named without the folder of its pack, which is a hint: its digest is among the inputs."""
    named = isinstance(recipe, dict) and isinstance(recipe.get("engine"), str)
    return recipe | {"engine": engine_kind(recipe["engine"])} if named else recipe


def fields_of(value: str) -> dict[str, Any]:
    """The fields of an input that is a JSON object; empty for any other text."""
    if not value.startswith("{"):
        return {}
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def without_hints(value: str) -> str:
    """An input as it enters the key: a file's digest (and frames) without its path."""
    fields = fields_of(value)
    if "file" not in fields:
        return value
    return canonical({name: inner for name, inner in fields.items() if name not in HINTS})


def digest_in(value: str) -> str:
    """The SHA-256 of the file that an input names; empty if it names none."""
    return str(fields_of(value).get("file", "")).removeprefix("sha256:")


def places_in(inputs: Mapping[str, str]) -> dict[str, Path]:
    """SHA-256 to path of the files among the inputs."""
    paths = {digest_in(value): str(fields_of(value).get("path", "")) for value in inputs.values()}
    return {digest: Path(path) for digest, path in paths.items() if digest and path}


# --- where a run starts ----------------------------------------------------------------------------------------------------


def begin(root: Path, call: Call, *, force: bool = False) -> Path:
    """The folder of an identical call, preferably a finished one, else a new folder; with `force` always a new one.

    Processes that make the same call concurrently get the same folder.
    """
    if not force and (folder := _same(root, call)):
        return folder
    quota.require_room(root)
    around, code = environment(), code_version()  # before the lock, because importing torch takes seconds
    with locked(root / "runs" / ".start.lock"):
        if not force and (folder := _same(root, call)):
            return folder
        # Where a file lies is no part of what was done, and its path may name somebody.
        inputs = {name: without_hints(value) for name, value in call.inputs.items()}
        head = audit.append(root, {"action": f"{call.verb} started", "key": call.key, "inputs": briefly(inputs)}).head
        record = {
            "format": FORMAT,
            "verb": call.verb,
            "key": call.key,
            "recipe": call.recipe,
            "recipe_schema": call.schema,
            "inputs": call.inputs,
            "data": call.data,
            "result_version": call.result_version,
            "code": code,
            "environment": around,
            "created": now(),
            "audit_count": head.count,
            "audit_hash": head.hash,
        }
        return make_folder(root, call.stem, record)


def _same(root: Path, call: Call) -> Path | None:
    folders = [folder for folder in run_folders(root) if folder.name == call.stem or folder.name.startswith(f"{call.stem}-")]
    records = [(folder, record) for folder in folders if (record := read_record(folder)).key == call.key]
    if not records:
        return None
    folder, record = max(records, key=lambda each: (each[1].status == "finished", each[1].created))
    _remember_places(folder, record, call)
    return folder


def briefly(values: Mapping[str, str]) -> dict[str, str]:
    """Values as logged: if they are long, a single digest of all, which can be checked against `run.json`."""
    text = canonical(dict(values))
    return dict(values) if len(text) <= 8_192 else {f"sha256 of {len(values)}": sha256_text(text)}


# --- where inputs are -----------------------------------------------------------------------------------------------------


def places_of(folder: Path, record: Record) -> dict[str, Path]:
    """SHA-256 to the last known path of each file among a run's inputs. RunError if `places.json` cannot be read."""
    return places_in(record.inputs) | _moved(folder)


def _moved(folder: Path) -> dict[str, Path]:
    path = folder / PLACES
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(digest): Path(str(place)) for digest, place in found.items()}
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise RunError(
            expected=f"a readable {path}", got=str(error), remedy="remove it: it only records where files have moved"
        ) from error


def _remember_places(folder: Path, record: Record, call: Call) -> None:
    """Record new paths of inputs with the same bytes, so that they are found there later."""
    known = places_of(folder, record)
    moved = {digest: place for digest, place in places_in(call.inputs).items() if known.get(digest) != place}
    if not moved:
        return
    try:
        with locked(folder / ".places.lock"):
            after = {digest: str(place) for digest, place in (_moved(folder) | moved).items()}
            write_whole(folder / PLACES, canonical(after) + "\n")
    except StorageError as error:
        _log.warning("the new paths of the inputs of %s cannot be recorded: %s", folder.name, error)


# --- by name --------------------------------------------------------------------------------------------------------------


def named(root: Path, name: str) -> Path:
    """The folder of the run with this id, or unique prefix of an id. Raises `RunError` with close matches otherwise."""
    folders = {folder.name: folder for folder in run_folders(root)}
    if name in folders:
        return folders[name]
    hits = [known for known in folders if name and known.startswith(name)]
    if len(hits) == 1:
        return folders[hits[0]]
    if hits:
        raise RunError(expected=f"one run whose id begins with {name!r}", got=", ".join(hits), remedy="give more of the id")
    near = difflib.get_close_matches(name, folders, n=5, cutoff=0.4) or sorted(folders)[-5:]
    remedy = f"close matches: {', '.join(near)}" if near else f"there are no runs below {root} yet"
    raise RunError(expected=f"the id of a run in the lab {root}", got=repr(name), remedy=remedy)
