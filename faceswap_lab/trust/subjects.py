"""Names of real people, kept apart from the audit log: the log can't be erased, so its lines hold ids in place of names.

`runs/.subjects.json`, which only this user can read, maps each id to the person's name and to other spellings that lines had (a
manifest's name, a part of a file's name). An id is random, so that it says nothing once its row is deleted. In a line `person:…`
stands for the name, `person:…/2` for the second other spelling. Actors and synthetic people keep their names.

Replaced are the names and manifests that the lab knows when a line is written. A nickname, or a file named after somebody whom no
manifest and no argument names, stays as it is; so do lines of versions before 0.2.
"""

import re
import secrets
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from faceswap_lab.errors import ProvenanceError, storage_error
from faceswap_lab.files import locked, write_whole
from faceswap_lab.names import folded, same_name
from faceswap_lab.trust.consent.manifest import manifest_files
from faceswap_lab.trust.spelling import finder

TABLE = ".subjects.json"

PLAIN = frozenset(
    {
        *("action", "artifacts", "bytes", "digest", "expires", "files", "ids", "key", "notebook_run"),
        *("record", "run", "sha256", "summary", "uses"),
    }
)
"""Fields of an event that are never searched for names: what is looked for later, and the program's own words."""

_NAMED = frozenset({"subject", "subjects", "partners"})
"""Fields that hold names and nothing else."""

_ID = re.compile(r"(person:[0-9a-f]{16})(?:/([0-9]+))?")


class Row(BaseModel):
    """A person: the name, and other spellings in the order in which they were met."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    others: list[str] = Field(default_factory=list)


class Table(BaseModel):
    """The content of the table's file: id to row."""

    model_config = ConfigDict(extra="forbid", strict=True)

    version: Annotated[int, Field(ge=1, le=1)] = 1
    people: dict[Annotated[str, StringConstraints(pattern=r"^person:[0-9a-f]{16}$")], Row] = Field(default_factory=dict)

    def id_of(self, name: str) -> str | None:
        """The id of the person of this name (as `names.same_name` compares them); None if there is none."""
        return next((known for known, row in self.people.items() if same_name(row.name, name)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Manifest:
    """Whom a manifest names, read without checking it: a faulty one names people too."""

    subject: str
    partners: tuple[str, ...]
    withdrawn: bool


@dataclass(slots=True, kw_only=True)
class _Pen:
    """Replaces names while it allots ids. `erased` are the folded names of people who withdrew: they get no row any more."""

    table: Table
    erased: frozenset[str]
    changed: bool = False
    passing: dict[str, str] = field(default_factory=dict)

    def id_of(self, name: str) -> str:
        """The person's id; a new one if there is none."""
        known = self.table.id_of(name) or self.passing.get(folded(name))
        if known is None:
            known = f"person:{secrets.token_hex(8)}"
            if folded(name) in self.erased:
                self.passing[folded(name)] = known
            else:
                self.table.people[known] = Row(name=name)
                self.changed = True
        return known

    def mark(self, name: str, spelling: str) -> str:
        """What stands for a person's name in this spelling."""
        known = self.id_of(name)
        row = self.table.people.get(known)
        if row is None or spelling == row.name:
            return known
        if spelling not in row.others:
            row.others.append(spelling)
            self.changed = True
        return f"{known}/{row.others.index(spelling) + 1}"


def replaced(root: Path, events: Iterable[Mapping[str, Any]], people: Iterable[str | None] = ()) -> list[dict[str, Any]]:
    """The events with ids in place of the names of real people; new people are entered in the table.

    `people` are further names that texts of the events may hold. Raises ProvenanceError for a damaged table.
    """
    given = [dict(event) for event in events]
    manifests = {name: _read(path) for name, path in manifest_files(root).items()}
    told = [name for name in people if name] + [name for event in given for name in _names_in(event)]
    table = read(root)
    done, pen = _written(given, manifests, told, table)
    if not pen.changed:
        return done
    with locked(root / "runs" / ".subjects.lock"):
        done, pen = _written(given, manifests, told, read(root))
        _write(root, pen.table)
    return done


def resolver(root: Path) -> Callable[[Any], Any]:
    """A function that puts the names back into an event, or a part of one. An id whose row was deleted stays as it is."""
    people = read(root).people

    def spelled(hit: re.Match[str]) -> str:
        row, number = people.get(hit[1]), int(hit[2] or 0)
        if row is None or number > len(row.others):
            return hit[0]
        return row.others[number - 1] if number else row.name

    return lambda value: _mapped(value, lambda text: _ID.sub(spelled, text))


def names(event: Mapping[str, Any], name: str) -> bool:
    """Whether an event holds a person's name itself."""
    search, same = finder((), (name,)), True

    def without(text: str) -> str:
        nonlocal same
        left = search.replaced(text, lambda *_: "")
        same = same and left == text
        return left

    _mapped(event, without)
    return not same


def forget(root: Path, name: str) -> bool:
    """Delete the row of a person: from then on their ids in the log lead to nobody. False if there is none."""
    with locked(root / "runs" / ".subjects.lock"):
        table = read(root)
        known = table.id_of(name)
        if known is None:
            return False
        del table.people[known]
        _write(root, table)
    return True


def read(root: Path) -> Table:
    """The table; an empty one if there is none yet. Raises ProvenanceError for a damaged one, StorageError for a closed one."""
    path = root / "runs" / TABLE
    try:
        return Table.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return Table()
    except OSError as error:
        raise storage_error(error, path) from error
    except ValidationError as error:
        raise ProvenanceError(
            expected=f"a readable table of names {path}",
            got=str(error).splitlines()[0],
            remedy="restore it from a backup, or move it away: the log is whole without it, and shows ids in place of names",
        ) from error


def _write(root: Path, table: Table) -> None:
    write_whole(root / "runs" / TABLE, table.model_dump_json(indent=1) + "\n", private=True)


def _written(
    events: Sequence[dict[str, Any]], manifests: Mapping[str, _Manifest], told: Sequence[str], table: Table
) -> tuple[list[dict[str, Any]], _Pen]:
    # Who withdrew and was erased is not entered again by a refusal that names them.
    pen = _Pen(table=table, erased=frozenset(folded(each.subject) for each in manifests.values() if each.withdrawn))
    words = {word: each.subject for word, each in manifests.items() if _is_real(each.subject)}
    names = _people(manifests, table, told)
    found, owners, known = finder(tuple(words), names), (*words.values(), *names), frozenset(map(folded, names))

    def over(text: str) -> str:
        return found.replaced(text, lambda number, spelling: pen.mark(owners[number], spelling))

    def named_by(text: str) -> str:
        return pen.mark(text, text) if folded(text) in known else over(text)

    return [_over_fields(event, over, named_by) for event in events], pen


def _people(manifests: Mapping[str, _Manifest], table: Table, told: Sequence[str]) -> tuple[str, ...]:
    """Everybody's name, once each. A name that is told may be about a known person ("Jane Doe on actor:7"), and is then a text."""
    known = [name for each in manifests.values() for name in (each.subject, *each.partners)]
    known += [row.name for row in table.people.values()]
    names = {folded(name): name for name in reversed(known) if _is_real(name)}
    search = finder((), tuple(names.values()))
    for name in told:
        if _is_real(name) and search.replaced(name, lambda *_: "") == name:
            names.setdefault(folded(name), name)
    return tuple(names.values())


def _over_fields(value: Any, over: Callable[[str], str], named_by: Callable[[str], str], field: str = "") -> Any:
    if isinstance(value, Mapping):
        return {name: inner if name in PLAIN else _over_fields(inner, over, named_by, name) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_over_fields(inner, over, named_by, field) for inner in value]
    if not isinstance(value, str):
        return value
    return named_by(value) if field in _NAMED else over(value)


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {name: _mapped(inner, change) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value


def _names_in(value: Any, field: str = "") -> Iterator[str]:
    """The values of an event's fields that hold names."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _names_in(inner, name)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _names_in(inner, field)
    elif isinstance(value, str) and field in _NAMED:
        yield value


def _is_real(name: str) -> bool:
    """Whether a name may be a real person's. A number of actors ("98 more") is nobody's."""
    start = folded(name).partition(":")[0].strip()
    return bool(start) and start not in ("actor", "synthetic") and not re.fullmatch(r"\d+ more", start)


def _read(path: Path) -> _Manifest:
    try:
        status = path.stat()
    except OSError:
        return _Manifest(subject="", partners=(), withdrawn=False)
    return _parsed(path, status.st_mtime_ns, status.st_size, status.st_ino)


@lru_cache(maxsize=4096)
def _parsed(path: Path, mtime_ns: int, size: int, inode: int) -> _Manifest:
    """Whom the manifest names; the file's times and size are there so that a changed file is read again."""
    del mtime_ns, size, inode
    try:
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except OSError:
        return _Manifest(subject="", partners=(), withdrawn=False)
    try:
        given: dict[str, Any] = tomllib.loads(text)
    except (ValueError, RecursionError):
        line = re.search(r"(?m)^\s*subject\s*=\s*[\"'](.*)[\"']", text)
        given = {"subject": line[1] if line else ""}
    consent = given.get("consent")
    terms = consent if isinstance(consent, dict) else {}
    partners = terms.get("partners")
    return _Manifest(
        subject=str(given.get("subject", "")),
        partners=tuple(map(str, partners)) if isinstance(partners, list) else (),
        withdrawn="withdrawn" in terms,
    )
