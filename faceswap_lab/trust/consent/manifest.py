"""The record of who agreed to what: `data_manifests/<name>.toml` says who and on what basis, `<name>.csv` lists the files.

    uses           the person's picture may …
    anonymise      be a target whose face is replaced by an actor's
    swap-source    give its face to actors, to other pictures of the same person, or to the named `partners`
    swap-target    receive a face: the person's own, or that of one of the named `partners`
    train          be used as training data
    evaluate       be measured by a recogniser (its vectors are biometric data, even if none is kept)

A licence or the public domain clears a picture, not the person in it: `swap-source` and `swap-target` need the kind "consent"
(or "synthetic", where there is nobody to ask). Actors are not real people and have no entry.
`data_manifests/README.md` is the public form of this.
"""

import csv
import datetime
import importlib.util
import io
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from faceswap_lab.errors import ManifestError
from faceswap_lab.names import folded

Use = Literal["anonymise", "swap-source", "swap-target", "train", "evaluate"]
USES: tuple[str, ...] = get_args(Use)

Kind = Literal["synthetic", "consent", "public domain", "licence"]
KINDS: tuple[str, ...] = get_args(Kind)

CONSENT_ONLY = frozenset({"swap-source", "swap-target"})
"""Uses that only the depicted person can allow."""

PICTURE_ONLY = frozenset({"public domain", "licence"})
"""Bases that clear a picture but not the person in it."""

SPLITS = ("train", "val", "test")

MAX_TOML = 16_384
"""Characters. Parsing a malicious manifest takes time quadratic in its length; a normal one has a tenth of this."""

_SHA256 = re.compile(r"[0-9a-f]{64}")
_ANY_SHA256 = re.compile(rb"(?=([0-9a-f]{64}))")
Line = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^\S.*$")]


class Consent(BaseModel):
    """The `[consent]` table: kind, text, start date, uses and expiry date. `withdrawn` ends it at once."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: Kind
    text: Line
    date: datetime.date
    uses: frozenset[Use]
    partners: frozenset[Line] = frozenset()
    expires: datetime.date | None = None
    withdrawn: datetime.date | None = None

    @field_validator("uses", "partners", mode="before")
    @classmethod
    def _once(cls, value: object) -> object:
        """A TOML list as a set; duplicates are rejected."""
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value) or len(set(value)) != len(value):
            raise ValueError("must be a list of names without repetition")
        return frozenset(value)

    @model_validator(mode="after")
    def _consistent(self) -> "Consent":
        if self.kind in PICTURE_ONLY and self.uses & CONSENT_ONLY:
            raise ValueError(f'"swap-source" and "swap-target" need the consent of the person; {self.kind} clears the picture only')
        if self.kind != "consent" and self.partners:
            raise ValueError('partners need kind = "consent"')
        if self.expires and self.expires < self.date:
            raise ValueError("expires is before date")
        return self

    def standing(self, today: datetime.date) -> str:
        """Why nothing is allowed on that day; empty if the consent is in force."""
        if self.withdrawn:
            return f"withdrawn on {self.withdrawn}"
        if self.expires and today > self.expires:
            return f"expired on {self.expires}"
        if today < self.date:
            return f"not given before {self.date}"
        return ""


class Manifest(BaseModel):
    """`<name>.toml`: who is depicted, where the files come from, under what licence and on what basis."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Annotated[int, Field(ge=1, le=1)]
    subject: Line
    source: Line
    licence: Line
    consent: Consent

    @model_validator(mode="after")
    def _subject_fits(self) -> "Manifest":
        if folded(self.subject).startswith("actor:"):
            raise ValueError("subject must not begin with 'actor:': actors need no manifest, and real people are not actors")
        if (self.subject.split(":")[0] == "synthetic") != (self.consent.kind == "synthetic"):
            raise ValueError("subject must be 'synthetic' (or 'synthetic:<name>') if and only if kind = \"synthetic\"")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One file's row and the manifest it belongs to. `row` is its line number in the csv."""

    name: str
    row: int
    uri: str
    sha256: str
    split: str
    manifest: Manifest

    @property
    def label(self) -> str:
        """The entry's name in grants and log lines: `"astronaut:2"`."""
        return f"{self.name}:{self.row}"

    @property
    def subject(self) -> str:
        """Who is depicted."""
        return self.manifest.subject

    @property
    def synthetic(self) -> bool:
        """Whether nobody real is depicted."""
        return self.manifest.consent.kind == "synthetic"

    def standing(self, today: datetime.date) -> str:
        """Why the entry allows nothing on that day (UTC); empty if it is in force."""
        return self.manifest.consent.standing(today)


def utc_today() -> datetime.date:
    """Today in UTC. Dates of consents are in UTC, so that they do not depend on the machine's time zone."""
    return datetime.datetime.now(datetime.UTC).date()


def find_entry(root: Path, sha256: str) -> Entry | None:
    """The entry of the file with this digest, read from disk at each call; None if there is none.

    Raises `ManifestError` if a manifest that lists the digest cannot be trusted, or if two list it.
    """
    return find_entries(root, [sha256]).get(sha256)


def find_entries(root: Path, digests: Iterable[str]) -> dict[str, Entry]:
    """Digest to entry of those files that have one; each manifest is read at most once. Errors as in `find_entry`."""
    wanted = set(digests)
    found: dict[str, Entry] = {}
    for path in manifest_files(root).values():
        rows = path.with_suffix(".csv")
        # Only manifests that mention a digest are parsed: some have many rows, and a faulty one must not affect other files.
        if not rows.is_file() or wanted.isdisjoint(each.decode() for each in _ANY_SHA256.findall(_bytes(rows).lower())):
            continue
        for entry in read_manifest(path)[1]:
            if entry.sha256 not in wanted:
                continue
            if other := found.get(entry.sha256):
                raise ManifestError(
                    expected="one manifest entry for each file",
                    got=f"{other.label} and {entry.label} for sha256 {entry.sha256[:12]}…",
                    remedy="remove all but one of the rows",
                )
            found[entry.sha256] = entry
    return found


def read_manifests(root: Path) -> Iterator[tuple[str, Manifest, list[Entry]]]:
    """Name, manifest and entries of each manifest, sorted by name."""
    for name, path in manifest_files(root).items():
        yield name, *read_manifest(path)


def readable_manifests(root: Path) -> Iterator[tuple[str, Manifest | None]]:
    """Name and manifest of each manifest; None for a faulty one, which blocks its own files only.

    Raises `ManifestError` for a faulty one that may record a withdrawal.
    """
    for name, path in manifest_files(root).items():
        try:
            yield name, read_manifest(path)[0]
        except ManifestError:
            if b"withdrawn" in _bytes(path):
                raise
            yield name, None


def manifest_files(root: Path) -> dict[str, Path]:
    """Name to `.toml` file, except hidden ones (macOS's `._x.toml`). The lab's own take precedence over those of the same name in
    the package or its checkout."""
    package = Path(__file__).parents[2]
    folders = (package / "data_manifests", package.parent / "data_manifests", root / "data_manifests")
    found = {path.stem: path for folder in folders if folder.is_dir() for path in folder.glob("[!.]*.toml")}
    return dict(sorted(found.items()))


def read_manifest(path: Path) -> tuple[Manifest, list[Entry]]:
    """One manifest and its rows. Raises `ManifestError` with file, line and remedy at the first error."""
    text = read_text(path)
    if len(text) > MAX_TOML:
        raise _fault(path, None, f"{len(text)} characters; at most {MAX_TOML}", "list files in the csv")
    try:
        given = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Not only TOMLDecodeError: very long numbers and very deep nesting raise other errors.
        raise _fault(path, None, str(error), "correct the TOML") from error
    try:
        manifest = Manifest.model_validate(given)
    except ValidationError as error:
        # Unknown keys are reported first: a missing key is often a misspelt one.
        first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
        keys = [str(part) for part in first["loc"] if isinstance(part, str)]
        message = f"{'.'.join(keys) or 'the manifest'}: {first['msg'].lower()}"
        raise _fault(path, _line_of(text, keys), message, "correct it; data_manifests/README.md lists the keys") from error
    rows = path.with_suffix(".csv")
    return manifest, _read_rows(path.stem, rows, manifest) if rows.exists() else []


def locate(root: Path, uri: str) -> Path:
    """The local file that a row's `uri` names: below the root, or inside an installed package.

    Raises `ManifestError` for a path that leaves its folder (also through a link) and for a remote uri.
    """
    if problem := uri_problem(uri):
        raise ManifestError(expected="a uri inside its folder", got=f"{uri!r}: {problem}", remedy="correct the manifest")
    parts = urlsplit(uri)
    if parts.scheme and parts.scheme != "package":
        raise ManifestError(expected="a file on this machine", got=uri, remedy="download it, and admit the local copy")
    folder, inside = root, uri
    if parts.scheme:
        try:
            spec = importlib.util.find_spec(parts.netloc)
        except ValueError:  # a module created in memory
            spec = None
        # Built-in modules have an origin that is not a path.
        if spec is None or spec.origin is None or not spec.has_location:
            raise ManifestError(expected=f"the installed package {parts.netloc}", got="none", remedy=f"install {parts.netloc}")
        folder, inside = Path(spec.origin).parent, parts.path.lstrip("/")
    place = (folder / inside).resolve()
    if not place.is_relative_to(folder.resolve()):
        raise ManifestError(expected="a uri inside its folder", got=f"{uri!r}: a link leads out", remedy="copy the file instead")
    return place


def uri_problem(uri: str) -> str:
    """What is wrong with a row's uri: it must be `scheme://…` or a relative path with forward slashes. Empty if valid."""
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        return str(error).lower()
    path = parts.path if "://" in uri else uri
    if not uri or uri != uri.strip() or any(ord(char) < 32 for char in uri):
        return "empty, padded or with control characters"
    if any("\ud800" <= char <= "\udfff" for char in uri):
        return "not UTF-8"
    if "://" in uri and not (parts.scheme and re.match(r"\w", parts.netloc)):
        return "a scheme without a location"
    if parts.scheme == "package" and not parts.netloc.isidentifier():
        return "not a package name"
    if "://" not in uri and (uri.startswith(("/", "~")) or "\\" in uri or ":" in uri):
        return "not a relative path with forward slashes and without a colon"
    if ".." in path.split("/") or "%2e" in path.lower():
        return "it leaves its folder"
    return ""


def _read_rows(name: str, path: Path, manifest: Manifest) -> list[Entry]:
    reader = csv.reader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        lines = [(reader.line_num, row) for row in reader if row]
    except csv.Error as error:
        raise _fault(path, reader.line_num, str(error), "correct the csv") from error
    if not lines or lines[0][1] not in (["uri", "sha256"], ["uri", "sha256", "split"]):
        raise _fault(path, 1, "the header is not uri,sha256 or uri,sha256,split", "correct the header")
    width = len(lines[0][1])
    entries: list[Entry] = []
    seen: dict[str, int] = {}
    for number, row in lines[1:]:
        if problem := _row_problem(row, width):
            raise _fault(path, number, problem, "correct the row")
        uri, sha256 = row[0], row[1].lower()
        for value in (uri, sha256):
            if value in seen:
                raise _fault(path, number, f"{value[:80]!r} is already in line {seen[value]}", "remove one of the rows")
            seen[value] = number
        split = row[2] if width == 3 else ""
        entries.append(Entry(name=name, row=number, uri=uri, sha256=sha256, split=split, manifest=manifest))
    return entries


def _row_problem(row: list[str], width: int) -> str:
    if len(row) != width:
        return f"{len(row)} fields where the header has {width}"
    if problem := uri_problem(row[0]):
        return f"uri {row[0]!r}: {problem}"
    if not _SHA256.fullmatch(row[1].lower()):
        return f"sha256 {row[1][:80]!r} is not 64 hex digits"
    if width == 3 and row[2] not in ("", *SPLITS):
        return f"split {row[2][:80]!r} is not one of {', '.join(SPLITS)}"
    return ""


def read_text(path: Path) -> str:
    """A manifest's file as text, with or without a byte-order mark (spreadsheets add one). ManifestError if it is not UTF-8."""
    try:
        return _bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _fault(path, None, str(error), "make it a readable UTF-8 file") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _fault(path, None, str(error), "make it a readable file") from error


def _line_of(text: str, keys: Iterable[str]) -> int | None:
    """The line number of the innermost of `keys` that is in the text."""
    for key in reversed(list(keys)):
        for number, line in enumerate(text.splitlines(), 1):
            if re.match(rf"\s*(\[\s*)?[\"']?{re.escape(key)}[\"']?\s*[\]=.]", line):
                return number
    return None


def _fault(path: Path, line: int | None, problem: str, remedy: str) -> ManifestError:
    where = f"{path}, line {line}" if line else str(path)
    return ManifestError(expected="a manifest that can be trusted", got=f"{where}: {problem}", remedy=remedy)
