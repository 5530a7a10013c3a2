"""The facesets of a lab: finding and opening them, manual annotations, and checks against their files and consents."""

import difflib
import json
from collections.abc import Callable, Collection, Iterable
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from faceswap_lab.errors import ConsentError, RunError
from faceswap_lab.faces.faceset import Faceset, Row, in_ranges
from faceswap_lab.faces.footage import digest
from faceswap_lab.files import locked, sha256_text, write_whole
from faceswap_lab.names import folded
from faceswap_lab.runs.call import digest_in, places_of
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import find_entries, utc_today
from faceswap_lab.verbs.recipes import FacesetRecipe

FACES, DROPPED, SHEET, CROPS = "faces.json", "dropped.json", "sheet.jpg", "crops"
NAMES, LEFT_OUT = "names.json", "left_out.json"
_ROWS = TypeAdapter(list[Row])
A = TypeVar("A", dict[str, str], list[str])
_STRICT = ConfigDict(strict=True, hide_input_in_errors=True)
_ANNOTATIONS: dict[str, TypeAdapter[Any]] = {
    NAMES: TypeAdapter(dict[str, str], config=_STRICT),
    LEFT_OUT: TypeAdapter(list[str], config=_STRICT),
}


class FacesetRun(Run):
    """A faceset run, as returned by `lab.gather`."""

    VERB: ClassVar[str | None] = "faceset"
    RESULT_VERSION: ClassVar[int] = 1

    def faceset(self) -> Faceset:
        """The set as usable today, like `lab.faceset`."""
        return faceset(self)


def run_of(name: str) -> FacesetRun:
    """The newest finished run of this faceset, by the name in its recipe or by the run's id. RunError if there is none."""
    if hits := FacesetRun.find(finished=True, name=name):
        return hits[0]
    runs = FacesetRun.find(finished=True)
    if hits := [run for run in runs if name and run.id.startswith(name)]:
        return next((run for run in hits if run.id == name), hits[0])
    known = list(dict.fromkeys(run.recipe(FacesetRecipe).name for run in runs))
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or known[:5]
    remedy = f"there are {', '.join(map(repr, near))}" if near else "make one with lab.gather or `facesets add`"
    raise RunError(expected="the name of a finished faceset", got=repr(name), remedy=remedy)


def faceset(name: str | FacesetRun, *, today: date | None = None) -> Faceset:
    """A faceset, by its name, its run or the run's id, without the faces manually left out.

    Faces of files whose consent is no longer in force are excluded, and a printed line says so.
    """
    run = run_of(name) if isinstance(name, str) else name
    whole = whole_set(run)
    fallen = _fallen(run, whole.sources, today or utc_today())
    marked = left_out(run)
    standing = whole.where(lambda row: row.source not in fallen).without(marked)
    for source, why in fallen.items():
        lost = sum(row.source == source for row in whole.rows)
        print(f"{run.id}: {lost} faces of the file {source[:12]}… are left out: {why}", flush=True)
    return standing


def whole_set(run: FacesetRun) -> Faceset:
    """All faces that the run kept, including those marked or withdrawn since. RunError for an unfinished run."""
    run.require_finished()
    recipe = run.recipe(FacesetRecipe)
    try:
        rows = _ROWS.validate_json(run.artifact(FACES).read_bytes())
    except ValidationError as error:
        raise RunError(
            expected=f"rows of faces in {run.id}", got=str(error).splitlines()[0], remedy="gather the faces again with force=True"
        ) from error
    return Faceset(
        name=recipe.name,
        run=run.id,
        folder=run.path / "artifacts",
        template=recipe.template,
        crop_size=recipe.size,
        rows=tuple(rows),
        names=MappingProxyType(names(run)),
        sheet=run.path / "artifacts" / SHEET,
    )


def part_of(run: FacesetRun, ranges: str, wanted: str) -> Faceset:
    """The part of a set named in a record by row numbers and digest. RunError if it has changed."""
    numbers = in_ranges(ranges)
    found = whole_set(run).where(lambda row: row.number in numbers)
    if found.digest != wanted:
        raise RunError(
            expected=f"{len(numbers)} faces of {run.id} with digest {wanted[:12]}…",
            got=f"{len(found)} with {found.digest[:12]}…",
            remedy="restore the run's folder from a backup",
        )
    return found


def require_genuine(given: Faceset) -> Faceset:
    """The same set as its run has it: rows, names and place. ConsentError, which is logged, if the run has no such rows."""
    run = FacesetRun.open(given.run)
    numbers = {row.number for row in given.rows}
    found = whole_set(run).where(lambda row: row.number in numbers)
    if set(found.rows) != set(given.rows):
        error = ConsentError(
            expected=f"faces of the run {run.id}, as it has them",
            got=f"{len(set(given.rows) - set(found.rows))} rows that it has not",
            remedy="take the set from lab.faceset, and parts of it by of(), where() and without()",
        )
        audit.append(run.root, {"action": "faceset refused", "run": run.id, "reason": str(error)[:2000]})
        raise error
    return found


def exactly(name: str) -> FacesetRun:
    """The finished run of the faceset with exactly this name or run id: for what deletes. RunError if it is none, or several."""
    hits = [run for run in FacesetRun.find(finished=True) if name in (run.id, run.recipe(FacesetRecipe).name)]
    if len(hits) == 1:
        return hits[0]
    if hits:
        runs = ", ".join(run.id for run in hits)
        raise RunError(expected="one faceset", got=f"{len(hits)} of the name {name!r}", remedy=f"give the id of one: {runs}")
    near = run_of(name)  # raises with close matches if there is nothing like it
    raise RunError(
        expected="the exact name of a faceset, or its run's id",
        got=repr(name),
        remedy=f"did you mean {near.recipe(FacesetRecipe).name!r} ({near.id})?",
    )


# --- manual annotations ---------------------------------------------------------------------------------------------------


def names(run: FacesetRun) -> dict[str, str]:
    """Label to the name given manually."""
    return _annotation(run, NAMES, {})


def left_out(run: FacesetRun) -> frozenset[str]:
    """Artifact names of the faces manually marked to be left out."""
    return frozenset(_annotation(run, LEFT_OUT, []))


def name_person(run: FacesetRun, person: str, name: str) -> dict[str, str]:
    """Give a person of a set a name, or remove it if empty; logged. Returns all names.

    Raises RunError for a label that is not in the set, ValueError for a name that is taken or not a single line, and for a set of
    one person, who is named by the manifest.
    """
    told = " ".join(name.split())
    if len(told) > 200 or any(ord(char) < 32 for char in name):
        raise ValueError(f"a name must be one line of at most 200 characters, got {name[:80]!r}")
    known = whole_set(run).identities
    if run.recipe(FacesetRecipe).identities == "one":
        raise ValueError("a set of one person has the name given in its files' manifest: correct it there")
    if person not in known:
        raise RunError(expected=f"a person of {run.id}", got=repr(person), remedy=f"there are {', '.join(list(known)[:20])}")

    def change(before: dict[str, str]) -> dict[str, str]:
        after = {label: other for label, other in before.items() if label != person}
        if told and folded(told) in {folded(other) for other in after.values()} | ({folded(label) for label in known} - {person}):
            raise ValueError(f"{told!r} is another person of this set")
        return after | ({person: told} if told else {})

    return _annotate(run, NAMES, {}, change)


def leave_out(run: FacesetRun, crops: Collection[str], *, restore: bool = False) -> frozenset[str]:
    """Mark faces, by artifact name, to be left out, or with `restore` unmark them; logged. Returns all that are marked."""
    known = {row.crop for row in whole_set(run).rows}
    if unknown := sorted(set(crops) - known):
        raise RunError(expected=f"crops of {run.id}", got=", ".join(unknown[:5]), remedy=f"they are listed in {FACES}")
    chosen = set(crops)

    def change(before: list[str]) -> list[str]:
        return sorted(set(before) - chosen if restore else set(before) | chosen)

    return frozenset(_annotate(run, LEFT_OUT, [], change))


def _annotation(run: FacesetRun, name: str, empty: A) -> A:
    path = run.path / name
    if not path.exists():
        return empty
    try:
        found: A = _ANNOTATIONS[name].validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        got = " ".join(str(error).split())[:200]
        raise RunError(expected=f"a readable {path}", got=got, remedy="correct it, or remove it to start over") from error
    return found


def _annotate(run: FacesetRun, name: str, empty: A, change: Callable[[A], A]) -> A:
    """Change an annotation under a lock and atomically; the log records the change and the new digest."""
    with locked(run.path / ".annotations.lock"):
        after = change(_annotation(run, name, empty))
        text = json.dumps(after, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        audit.append(run.root, {"action": "faceset annotated", "run": run.id, "file": name, "digest": sha256_text(text)})
        write_whole(run.path / name, text)
    return after


# --- checks ---------------------------------------------------------------------------------------------------------------


def _fallen(run: FacesetRun, sources: Iterable[str], today: date) -> dict[str, str]:
    """Source to the reason why its faces may no longer be used."""
    wanted = list(sources)
    entries = find_entries(run.root, wanted)
    why = {source: entries[source].standing(today) if source in entries else "its manifest entry is gone" for source in wanted}
    return {source: reason for source, reason in why.items() if reason}


def check(run: FacesetRun, *, today: date | None = None) -> list[dict[str, str]]:
    """What is wrong with a set: missing or altered crops, moved or changed sources, consents no longer in force.

    A missing source is a warning: the set can still be used, but not made again.
    """
    whole = whole_set(run)
    findings = [
        {"state": "problem", "what": f"file {source[:12]}…", "found": why}
        for source, why in _fallen(run, whole.sources, today or utc_today()).items()
    ]
    for row in whole.rows:
        path = whole.folder / row.crop
        if not path.is_file():
            findings.append({"state": "problem", "what": row.crop, "found": "gone"})
        elif digest(path) != row.sha256:
            findings.append({"state": "problem", "what": row.crop, "found": "altered"})
    used, places = set(whole.sources), places_of(run.path, run.record)
    for record in run.inputs.values():
        source = digest_in(record)
        if source not in used:
            continue
        path = places.get(source, Path())
        if not path.is_file():
            findings.append({"state": "warning", "what": str(path), "found": "gone: the set cannot be made again from it"})
        elif digest(path) != source:
            findings.append(
                {"state": "warning", "what": str(path), "found": "another file now: the set cannot be made again from it"}
            )
    return findings
