"""The people that verbs work on: an actor or footage, in the forms that the gate, the record and the pixel code need."""

import json
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from faceswap_lab.actors.cast import Actor, Take
from faceswap_lab.actors.splits import check_trainable
from faceswap_lab.errors import ConsentError, RunError
from faceswap_lab.faces.faceset import Faceset, row_ranges
from faceswap_lab.faces.footage import Clip, Excerpt, Footage
from faceswap_lab.files import lab_root, user_path
from faceswap_lab.models import data_files
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.admit import admit as admit_file
from faceswap_lab.trust.admit import reopen
from faceswap_lab.trust.consent.basis import Basis
from faceswap_lab.trust.consent.gate import Subject
from faceswap_lab.trust.consent.manifest import find_entry
from faceswap_lab.trust.grants import issue
from faceswap_lab.verbs import library, places

_SEEDS = re.compile(r"(?:\bactor:|/as:)(\d+)")

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
    root = lab_root()
    return admit_file(user_path(path), root=root, who=who, basis=basis, uses=tuple(uses), made_by=partial(maker_of, root))


def maker_of(root: Path, digest: str) -> str:
    """The id of a run with an artifact of this SHA-256; empty if there is none."""
    return next((run.id for run in Run.find(root, makes=digest)), "")


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
    """The person as the gate's Subject, from the object itself: only the lab's own types may say whom they show.

    FaceError for a faceset of several people; ConsentError, which is logged, for footage of another class, whatever it calls
    itself, and for a faceset that is not the one of its run.
    """
    if type(person) is Actor:
        return Subject(seed=person.seed)
    if type(person) is Take:
        return Subject(seed=person.actor.seed, face=None if person.source is None else person.source.seed)
    if type(person) is Clip or (type(person) is Excerpt and type(person.clip) is Clip):
        return Subject(grant=person.grant)
    if type(person) is Faceset:
        return Subject(grant=issue(lab_root(), library.require_genuine(person).grant))
    error = ConsentError(
        expected="an actor, a take of one, a faceset, or the Clip that lab.admit returned",
        got=f"a {type(person).__name__} that calls itself {person.subject!r}",
        remedy="admit the file that it reads, saying who is depicted and on what basis (lab.admit), and pass that Clip",
    )
    audit.append(lab_root(), {"action": "footage refused", "reason": str(error)[:2000]}, people=[person.subject])
    raise error


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
    # A derived clip's subject is "actor:7 on actor:21", a take's origin "actor:21/speech:3@…/as:7,…".
    return tuple(int(seed) for text in (*parents, person.subject) for seed in _SEEDS.findall(text))


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
    raise TypeError(f"expected an actor, a take, a clip or a faceset, got {type(person).__name__}")


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
    withdrawal takes effect here too; the result of a swap is taken from its run. RunError if it is not found, or if the record is
    invalid.
    """
    fields: dict[str, Any] = json.loads(record)
    if "actor" in fields:
        return Actor(int(fields["actor"]))
    if "take" in fields:
        return _take(fields["take"])
    if "file" in fields:
        clip = _clip(fields, lab_root() if run is None else run.root, run)
        return clip.cut(*fields["frames"]) if "frames" in fields else clip
    if "faceset" in fields:
        return library.part_of(library.FacesetRun.open(fields["faceset"]), fields["rows"], fields["digest"])
    raise RunError(
        expected="a record of an actor, a take, a file or a faceset",
        got=record,
        remedy="pass the footage itself: custom footage exists only in the process that created it",
    )


def _clip(fields: dict[str, Any], root: Path, run: Run | None) -> Clip:
    """The clip of a file's record: admitted again, or the result of a swap, which has no manifest entry of its own."""
    digest = str(fields["file"]).removeprefix("sha256:")
    if find_entry(root, digest) is None and (made := swap_with(root, digest)) is not None:
        # Subject to the consents of everybody it was made from.
        clip: Clip = made.footage()
        return clip
    return reopen(places.find_again(fields, root=root, run=run), root=root)


def swap_with(root: Path, digest: str) -> Any:
    """The finished swap (a `SwapRun`) with an artifact of this SHA-256 that is still there; None if there is none."""
    for run in Run.find(root, verb="swap", finished=True, makes=digest):
        if any(made == digest and run.has(name) for name, made in run.record.artifacts.items()):
            return run
    return None


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
