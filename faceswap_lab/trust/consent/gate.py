"""The gate: which face may be put on whom. The required use follows from who is source and who is target.

    source \\ target    actor          synthetic or real person    the same real person    another real person
    actor              free           target: anonymise
    synthetic file     swap-source    swap-source, anonymise
    real person        swap-source    swap-source, swap-target    the same                the same, and both entries are
                                      (target synthetic)                                  consents that name each other

Entries are read from disk at each check, never taken from a Grant, so that a withdrawal or an expiry takes effect at once.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NoReturn

from faceswap_lab.errors import ConsentError
from faceswap_lab.faces.footage import Grant
from faceswap_lab.names import same_name
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import CONSENT_ONLY, PICTURE_ONLY, Entry, find_entries, utc_today


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The source or target of a swap: an actor, by its seed, or the person depicted in a file, by the file's grant.

    `face` is the actor whose face a recast has. `verbs.people.subject_of` makes it from the object itself. ValueError unless one of
    seed and grant is given, and not both.
    """

    seed: int | None = None
    grant: Grant | None = None
    face: int | None = None

    def __post_init__(self) -> None:
        if (self.seed is None) == (self.grant is None):
            raise ValueError(f"a subject is an actor's seed or a file's grant, got {self.seed!r} and {self.grant!r}")

    @property
    def is_actor(self) -> bool:
        """Whether this is an actor; a file is not, whatever its subject is called."""
        return self.grant is None

    @property
    def name(self) -> str:
        """`"actor:7"`, or the name in the grant."""
        return f"actor:{self.seed}" if self.grant is None else self.grant.subject

    @property
    def origin(self) -> str:
        """The actor, or the file's digest."""
        return f"sha256:{bare(self.grant.sha256)}" if self.grant else self.name

    @property
    def origins(self) -> tuple[str, ...]:
        """The actors and admitted files that it goes back to: itself, or what a derived file was made from."""
        if self.grant is not None and self.grant.basis == "derived":
            return self.grant.parents
        return (self.origin,) if self.face is None else (self.origin, f"actor:{self.face}")


def actor_named(name: str) -> Subject:
    """The actor of a name such as `"actor:7"`. ConsentError for any other name: people need a grant."""
    kind, _, seed = name.partition(":")
    if kind != "actor" or not (seed.isascii() and seed.isdecimal()):
        raise ConsentError(
            expected=f"a grant for {name!r}, who is not an actor", got="none", remedy="admit the file, and pass its Clip"
        )
    return Subject(seed=int(seed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Permission:
    """What the gate allowed: the entries behind each side (none for actors)."""

    source: tuple[Entry, ...] = ()
    target: tuple[Entry, ...] = ()

    @property
    def real_source(self) -> bool:
        """Whether the source is a real person."""
        return any(not entry.synthetic for entry in self.source)

    @property
    def real_target(self) -> bool:
        """Whether the target is a real person."""
        return any(not entry.synthetic for entry in self.target)

    @property
    def anonymises(self) -> bool:
        """Whether a real person's face is replaced by a synthetic one: exports must then not name that person."""
        return self.real_target and not self.real_source


def check_swap(
    source: Subject,
    target: Subject,
    *,
    trained_on: Sequence[Subject] = (),
    root: Path,
    today: date | None = None,
    action: str = "swap refused",
) -> Permission:
    """`permission_for`, for a swap that is about to be made or shown: a refusal is logged as this `action`."""
    with _refusal_logged(root, action, source, target):
        return permission_for(source, target, trained_on=trained_on, root=root, today=today)


def permission_for(
    source: Subject, target: Subject, *, trained_on: Sequence[Subject] = (), root: Path, today: date | None = None
) -> Permission:
    """The entries that allow the source's face to be put on the target. Raises `ConsentError` if they do not.

    `trained_on` are the people that the swapper's weights learned from: each must still allow training.
    """
    day = today or utc_today()
    for learned in trained_on:
        _require(_entries(learned, root), "train", day)
    permission = Permission(source=_entries(source, root), target=_entries(target, root))
    _require(permission.source, "swap-source", day)
    _require(permission.target, "swap-target" if permission.real_source else "anonymise", day)
    for giver in permission.source:
        for taker in permission.target:
            if not (giver.synthetic or taker.synthetic or same_name(giver.subject, taker.subject)):
                _require_named(giver, taker.subject)
                _require_named(taker, giver.subject)
    return permission


def check_train(*subjects: Subject, root: Path, today: date | None = None) -> None:
    """Raise `ConsentError`, and log it, unless weights may be trained on all of these people."""
    with _refusal_logged(root, "training refused", *subjects):
        require_use("train", *subjects, root=root, today=today)


def check_evaluate(*subjects: Subject, root: Path, today: date | None = None) -> None:
    """Raise `ConsentError`, and log it, unless all of these people may be measured by a recogniser."""
    with _refusal_logged(root, "measuring refused", *subjects):
        require_use("evaluate", *subjects, root=root, today=today)


def require_use(use: str, *subjects: Subject, root: Path, today: date | None = None) -> None:
    """Raise `ConsentError` unless all of these people allow the use. Logs nothing: for workers, which never write to the log."""
    for subject in subjects:
        _require(_entries(subject, root), use, today or utc_today())


def target_uses(source: Subject) -> tuple[str, ...]:
    """The uses to declare for the target of a swap with this source."""
    return ("anonymise",) if source.is_actor else ("swap-target",)


def bare(digest: str) -> str:
    """The 64 hex digits of a digest or an origin."""
    return digest.removeprefix("sha256:").lower()


@contextmanager
def _refusal_logged(root: Path, action: str, *subjects: Subject) -> Iterator[None]:
    """Log a ConsentError of the block, with the origins of the people concerned."""
    try:
        yield
    except ConsentError as error:
        refuse(root, action, subjects, error)


def refuse(root: Path, action: str, subjects: Iterable[Subject], error: ConsentError) -> NoReturn:
    """Log a refusal with the origins of the people concerned, and raise it."""
    audit.append(root, {"action": action, "of": [each.origin for each in subjects], "reason": str(error)[:2000]})
    raise error


def _entries(subject: Subject, root: Path) -> tuple[Entry, ...]:
    """The entries that must allow the use: none for an actor; a file's own; for a run's result, those of all its inputs."""
    if subject.grant is None:
        return ()
    subject.grant.require_issued(root)
    if subject.grant.basis != "derived":
        return _entries_of([subject.grant.sha256], subject.name, root)
    if not subject.grant.parents:
        raise ConsentError(expected="what this derived file was made from", got="no parents", remedy="take the result from its Run")
    files = dict.fromkeys(parent for parent in subject.grant.parents if not parent.startswith("actor:"))
    return _entries_of(files, subject.name, root)


def _entries_of(files: Iterable[str], subject: str, root: Path) -> tuple[Entry, ...]:
    digests = [bare(file) for file in files]
    found = find_entries(root, digests)
    for digest in digests:
        if digest not in found:
            raise ConsentError(
                expected=f"a manifest entry for {subject}",
                got=f"none for sha256 {digest[:12]}…",
                remedy="admit the file again, saying who is depicted and on what basis",
            )
    return tuple(found[digest] for digest in digests)


def _require(entries: Iterable[Entry], use: str, day: date) -> None:
    for entry in entries:
        if problem := entry.standing(day):
            raise ConsentError(
                expected=f"a consent in force for {entry.subject}",
                got=f"{entry.label}: {problem}",
                remedy="ask them again, or use an actor",
            )
        allowed = sorted(entry.manifest.consent.uses)
        if use not in allowed:
            raise ConsentError(
                expected=f"{use!r} among the uses that {entry.label} allows of {entry.subject}",
                got=", ".join(allowed) or "none",
                remedy=f"{to_allow(entry, [use])}; or use an actor",
            )


def to_allow(entry: Entry, uses: Iterable[str]) -> str:
    """The exact line to write, and the file to write it in, for the entry to allow these uses as well."""
    wanted = sorted({*entry.manifest.consent.uses, *uses})
    line, place = f"uses = [{', '.join(json.dumps(use) for use in wanted)}]", f"data_manifests/{entry.name}.toml"
    kind = entry.manifest.consent.kind
    if kind in PICTURE_ONLY and CONSENT_ONLY.intersection(uses):
        return f'{kind} clears the picture only; if {entry.subject} agrees, write kind = "consent", its text, and {line} in {place}'
    return f"if they agree, write {line} in {place}"


def _require_named(entry: Entry, other: str) -> None:
    """For swaps between two real people: the entry must be this person's consent and name the other."""
    consent = entry.manifest.consent
    if consent.kind != "consent" or not any(same_name(other, partner) for partner in consent.partners):
        named = ", ".join(sorted(consent.partners)) or "nobody"
        raise ConsentError(
            expected=f"{entry.subject}'s consent that names {other}",
            got=f"{entry.label}, {consent.kind}, which names {named}",
            remedy="use an actor in place of one of the two",
        )
