"""What makes a run this run: its verb, recipe, inputs by their digests, the version of the verb's results, and its data files.

Recorded, but not in the key, and therefore no other run: where a file lies, the code's digest, versions of packages, the device. A
change of code that changes results raises the verb's `RESULT_VERSION` by hand; a test of golden bytes notices one that was not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from faceswap_lab.files import canonical, sha256_text
from faceswap_lab.runs.recipe import schema_of, to_plain

HINTS = frozenset({"path", "bytes"})
"""Fields of an input that say where a file was seen and how it can be found again; its digest says what it is."""


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
