"""The people that verbs work on: an actor or footage, in the forms that the gate, the record and the pixel code need."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.errors import RunError
from faceswap_lab.faces.faceset import Faceset, row_ranges
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.files import lab_root, user_path
from faceswap_lab.models import data_files
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.admit import admit as admit_file
from faceswap_lab.trust.consent.basis import Basis
from faceswap_lab.trust.consent.gate import Subject
from faceswap_lab.verbs import library, places

Person = Actor | Footage
"""Source or target of a verb: an actor, or footage of one person."""


def check_person(value: object, role: str) -> None:
    """Raise TypeError, saying what to write instead, unless this can be a source or target."""
    if isinstance(value, str | Path):
        raise TypeError(f"{role} is a string, {str(value)!r}: write {_spelt_out(str(value))}")
    if not isinstance(value, Actor | Footage):
        raise TypeError(f"{role} must be an actor, a take, a clip or a faceset, got {type(value).__name__}")


def _spelt_out(text: str) -> str:
    """The Python expression for a person in the command line's notation."""
    kind, _, name = text.partition(":")
    seed, _, performance = name.partition("/")
    if kind == "actor" and seed.isdecimal():
        acted, _, number = performance.partition(":")
        return f"lab.actor({seed})" + (f".perform({acted!r}, seed={number or 0})" if acted else "")
    return f"lab.faceset({name!r})" if kind == "faceset" else f"lab.actor(7), or lab.admit({text!r}, …) for a file"


def admit(path: str | Path, *, who: str | None = None, basis: str | Basis | None = None, uses: Sequence[str] = ()) -> Clip:
    """Admit a real picture or clip, under its manifest entry or under the one declared here (which is then written).

    `who` names the person, `basis` says why this is allowed ("public domain (NASA)", "consent: signed 2026-03-01",
    "licence: CC-BY-4.0", or an object such as `lab.Consent(text="signed 2026-03-01", expires=date(2028, 3, 1))`), `uses` for what.
    Raises ConsentError, before any pixel is read, if there is neither.
    """
    return admit_file(user_path(path), root=lab_root(), who=who, basis=basis, uses=tuple(uses))


def footage_of(person: Person, *, performance: str, num_frames: int, seed: int, size: int) -> Footage:
    """Footage unchanged; for an actor, a performance of `num_frames` frames."""
    if isinstance(person, Actor):
        return person.perform(performance, seconds=num_frames / 25, fps=25, seed=seed, size=size)
    return person


def learned_from(person: Person) -> Person:
    """What training may use of a person: the part "train" of a faceset with several splits, everything of anybody else."""
    if not isinstance(person, Faceset) or sum(count > 0 for count in person.splits.values()) < 2:
        return person
    return person["train"]


def subject_of(person: Person) -> Subject:
    """The person as the gate's Subject. FaceError for a faceset of several people."""
    return Subject(name=person.subject, grant=person.grant if isinstance(person, Clip | Excerpt | Faceset) else None)


def check_learnable(*people: Person) -> None:
    """Raise SplitError if any of these is a test person, or footage of one, or made with the face of one."""
    for person in people:
        for seed in _seeds(person):
            check_trainable(seed)


def _seeds(person: Person) -> tuple[int, ...]:
    """Seeds of all actors that it depicts."""
    if isinstance(person, Actor):
        return (person.seed,)
    if isinstance(person, Take):
        return (person.actor.seed,) if person.source is None else (person.actor.seed, person.source.seed)
    parents = person.grant.parents if isinstance(person, Clip | Excerpt | Faceset) else ()
    named = (parent.removeprefix("actor:") for parent in (*parents, person.subject) if parent.startswith("actor:"))
    return tuple(int(seed) for seed in named if seed.isdecimal())


def record_of(person: Person) -> str:
    """Canonical text that identifies the person and the origin; `reopened` is the inverse."""
    if isinstance(person, Actor):
        return json.dumps({"actor": person.seed}, sort_keys=True)
    if isinstance(person, Take):
        return json.dumps({"take": _facts(person)}, sort_keys=True)
    if isinstance(person, Clip):
        return file_record(person)
    if isinstance(person, Excerpt):
        return json.dumps(_file_facts(person.clip) | {"frames": [person.start, person.stop]}, sort_keys=True)
    if isinstance(person, Faceset):
        return json.dumps({"faceset": person.run, "digest": person.digest, "rows": row_ranges(person.rows)}, sort_keys=True)
    return json.dumps({"footage": person.origin}, sort_keys=True)


def file_record(clip: Clip) -> str:
    """`record_of` for a file, without opening it."""
    return json.dumps(_file_facts(clip), sort_keys=True)


def _file_facts(clip: Clip) -> dict[str, Any]:
    """The digest identifies the file; path and size are hints for locating it, and not part of a run's key."""
    facts: dict[str, Any] = {"file": clip.origin, "path": str(clip.path)}
    return facts | ({"bytes": clip.path.stat().st_size} if clip.path.is_file() else {})


def data_of(*people: Person) -> dict[str, str]:
    """The data files that pictures of these people depend on: those of actors, if there is one among them."""
    return data_files.of_actors() if any(isinstance(person, Actor | Take) for person in people) else {}


def reopened(record: str, run: Run | None = None) -> Person:
    """The person of a record, which is an input of `run`.

    A file is located by its digest, at its last known path and in the lab (see `verbs.places`), and admitted again, so that a
    withdrawal takes effect here too. RunError if it is not found, or if the record is invalid.
    """
    fields: dict[str, Any] = json.loads(record)
    if "actor" in fields:
        return Actor(int(fields["actor"]))
    if "take" in fields:
        return _take(fields["take"])
    if "file" in fields:
        clip = admit(places.find_again(fields, root=lab_root() if run is None else run.root, run=run))
        return clip.cut(*fields["frames"]) if "frames" in fields else clip
    if "faceset" in fields:
        return library.part_of(library.FacesetRun.open(fields["faceset"]), fields["rows"], fields["digest"])
    raise RunError(
        expected="a record of an actor, a take, a file or a faceset",
        got=record,
        remedy="pass the footage itself: custom footage exists only in the process that created it",
    )


def _facts(take: Take) -> dict[str, Any]:
    """What identifies a take; the rendering device does not."""
    return {
        "actor": take.actor.seed,
        "kind": take.performance.kind,
        "seed": take.performance.seed,
        "num_frames": take.num_frames,
        "fps": take.fps,
        "size": take.side,
        "as": None if take.source is None else take.source.seed,
        "tone": take.tone,
        "options": take.options,
    }


def _take(facts: dict[str, Any]) -> Take:
    seconds = facts["num_frames"] / facts["fps"]
    known = {name: facts[name] for name in ("fps", "seed", "size")} | facts.get("options", {})
    take = Actor(facts["actor"]).perform(facts["kind"], seconds=seconds, **known)
    return take if facts["as"] is None else take.recast(Actor(facts["as"]), tone=facts["tone"])
