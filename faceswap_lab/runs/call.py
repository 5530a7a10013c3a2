"""A call of a verb: what makes its run this run (verb, recipe, inputs by their digests, version of results, data files), and the
folder in which it begins.

Recorded, but not in the key, and therefore no other run: where a file lies, the code's digest, versions of packages, the device. A
change of code that changes results raises the verb's `RESULT_VERSION` by hand; a test of golden bytes notices one that was not.
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
"""Fields of an input that say where a file was seen and how it can be found again; its digest says what it is."""

PLACES = "places.json"
"""In a run's folder: SHA-256 to path of inputs that were given from another place than when the run was started."""

_log = logging.getLogger(__name__)


@runtime_checkable
class Keyed(Protocol):
    """A recipe some of whose values are hints, such as the folder of a pack whose digest is among the inputs."""

    def keyed(self) -> object:
        """The recipe as it counts."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What a verb was asked for. `recipe` is plain JSON, `counted` the same without hints, `schema` as in `Record`."""

    verb: str
    recipe: Any
    counted: Any
    schema: str
    inputs: dict[str, str]
    data: dict[str, str]
    result_version: int

    @classmethod
    def of(cls, verb: str, recipe: object, inputs: Mapping[str, str], data: Mapping[str, str], result_version: int) -> "Call":
        """The call as it is recorded; `recipe` is an object of its type, or JSON text of none."""
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
        """SHA-256 of what counts."""
        return sha256_text(
            canonical(
                {
                    "verb": self.verb,
                    "recipe": self.counted,
                    "schema": self.schema,
                    "inputs": {name: without_hints(value) for name, value in self.inputs.items()},
                    "data": self.data,
                    "result_version": self.result_version,
                }
            )
        )

    @property
    def stem(self) -> str:
        """What the run's id begins with, and mostly is."""
        return f"{self.verb}-{self.key[:8]}"


def fields_of(value: str) -> dict[str, Any]:
    """The fields of an input that is a JSON object; none of any other text."""
    if not value.startswith("{"):
        return {}
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def without_hints(value: str) -> str:
    """An input as it counts: of a file the digest (and the frames), not the path."""
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


# --- where a run begins ----------------------------------------------------------------------------------------------------


def begin(root: Path, call: Call, *, force: bool = False) -> Path:
    """The folder of an identical call, finished rather than not, else a new one; with `force` always a new one.

    Processes that make the same call at the same moment get one folder.
    """
    if not force and (folder := _same(root, call)):
        return folder
    quota.require_room(root)
    around, code = environment(), code_version()  # before the lock, for importing torch takes seconds
    with locked(root / "runs" / ".start.lock"):
        if not force and (folder := _same(root, call)):
            return folder
        head = audit.append(root, {"action": f"{call.verb} started", "key": call.key, "inputs": briefly(call.inputs)}).head
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
    """As a line of the log holds them: many are one digest of all, which `run.json` can be checked against."""
    text = canonical(dict(values))
    return dict(values) if len(text) <= 8_192 else {f"sha256 of {len(values)}": sha256_text(text)}


# --- where inputs were seen -----------------------------------------------------------------------------------------------


def places_of(folder: Path, record: Record) -> dict[str, Path]:
    """SHA-256 to the path at which each file among a run's inputs was last seen. RunError if `places.json` cannot be read."""
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
            expected=f"a readable {path}", got=str(error), remedy="remove it: it only says where files have moved"
        ) from error


def _remember_places(folder: Path, record: Record, call: Call) -> None:
    """The same bytes may come from another place now; that is where they will be looked for."""
    known = places_of(folder, record)
    moved = {digest: place for digest, place in places_in(call.inputs).items() if known.get(digest) != place}
    if not moved:
        return
    try:
        with locked(folder / ".places.lock"):
            after = {digest: str(place) for digest, place in (_moved(folder) | moved).items()}
            write_whole(folder / PLACES, canonical(after) + "\n")
    except StorageError as error:
        _log.warning("where the inputs of %s lie now cannot be written down: %s", folder.name, error)


# --- by name --------------------------------------------------------------------------------------------------------------


def named(root: Path, name: str) -> Path:
    """The folder of this id, or of an id that only one run's begins with. Raises `RunError` naming what is near otherwise."""
    folders = {folder.name: folder for folder in run_folders(root)}
    if name in folders:
        return folders[name]
    hits = [known for known in folders if name and known.startswith(name)]
    if len(hits) == 1:
        return folders[hits[0]]
    if hits:
        raise RunError(expected=f"one run whose id begins with {name!r}", got=", ".join(hits), remedy="give more of the id")
    near = difflib.get_close_matches(name, folders, n=5, cutoff=0.4) or sorted(folders)[-5:]
    remedy = f"near are {', '.join(near)}" if near else f"there are no runs below {root} yet"
    raise RunError(expected="the id of a run", got=repr(name), remedy=remedy)
