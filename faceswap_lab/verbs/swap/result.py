"""What a swap run made, as footage that can be watched, scored and let out."""

import json
from pathlib import Path
from typing import Any

from faceswap_lab.errors import RunError
from faceswap_lab.faces.footage import Clip, Excerpt, Grant
from faceswap_lab.files import sha256_file
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.export import export as let_out
from faceswap_lab.trust.marks.metadata import Lineage
from faceswap_lab.verbs.people import Person, party_of, reopened

RESULT = "result.mkv"


def footage(run: Run) -> Clip:
    """The finished frames of a swap run, lossless. Raises RunError for any other run."""
    path = _result(run)
    source, target = people(run)
    return Clip(
        Grant(
            path=path,
            sha256=sha256_file(path),
            subject=f"{source.subject} on {target.subject}",
            basis="derived",
            basis_text=f"made by run {run.id}",
            entry=f"runs/{run.id}",
            parents=(*_origins(source), *_origins(target)),
        )
    )


def _origins(person: Person) -> tuple[str, ...]:
    """What the gate judges a derived file by: actors and admitted files, through any number of swaps."""
    party = party_of(person)
    return party.grant.parents if party.grant is not None and party.grant.basis == "derived" else (party.origin,)


def people(run: Run) -> tuple[Person, Person]:
    """(source, target) of a swap run, opened again."""
    _result(run)
    return _person(run, "source"), _person(run, "target")


def _person(run: Run, side: str) -> Person:
    try:
        return reopened(run.inputs[side])
    except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
        raise RunError(
            expected=f"a record of the {side} of {run.id}",
            got=f"{run.inputs.get(side, 'none')[:200]} ({error})",
            remedy="restore run.json from a backup, or swap with again=True",
        ) from error


def lineage(run: Run) -> Lineage:
    """Whose face is on whom in a swap run: what the gate is asked and the mark says."""
    source, target = people(run)
    return Lineage(
        run=run.id, source=party_of(source), target=party_of(target), trained=run.inputs["swapper"] != "warp", inputs=run.inputs
    )


def export(run: Run, path: str | Path) -> Path:
    """Let a swap run's result out: through the gate, marked and logged, with the target's sound, colour tags and range.

    `.mp4` for a clip, `.png` or `.jpg` for a still. Every sound track of the target is copied; of an excerpt, the stretch that
    belongs to its frames. Raises ConsentError if what was agreed has since been withdrawn or has run out.
    """
    _, target = people(run)
    shown, about, destination = footage(run), lineage(run), Path(path)
    if not isinstance(target, Clip | Excerpt):
        return let_out(shown, destination, lineage=about, root=run.root).path
    return let_out(
        shown,
        destination,
        lineage=about,
        root=run.root,
        audio_from=target.path if target.has_audio else None,
        audio_at_s=target.start_s,
        colour=target[0].colour,
    ).path


def _result(run: Run) -> Path:
    if run.verb != "swap" or not run.finished:
        raise RunError(
            expected="a finished swap run",
            got=f"{run.id} ({run.record.status})",
            remedy="give the Run that lab.swap returned; an unfinished one goes on when the same call is made again",
        )
    return run.artifact(RESULT)


def scores(run: Run) -> dict[str, dict[str, Any]]:
    """Scores of an evaluate run: name to value, floor and ceiling (None where infinite). Raises RunError for any other run."""
    if run.verb != "evaluate" or not run.finished:
        raise RunError(
            expected="a finished evaluate run", got=f"{run.id} ({run.record.status})", remedy="give the Run of lab.evaluate"
        )
    found: dict[str, dict[str, Any]] = json.loads(run.artifact("scores.json").read_text())
    return found
