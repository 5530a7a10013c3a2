"""The gate: which face may be put on whom. The required use follows from who is source and who is target.

    source \\ target    actor          synthetic or real person    the same real person    another real person
    actor              free           target: anonymise
    synthetic file     swap-source    swap-source, anonymise
    real person        swap-source    swap-source, swap-target    the same                the same, and both entries are
                                      (target synthetic)                                  consents that name each other

Entries are read from disk at each check, never taken from a Grant, so that a withdrawal or an expiry takes effect at once.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from faceswap_lab.errors import ConsentError
from faceswap_lab.faces.footage import Grant
from faceswap_lab.names import same_name
from faceswap_lab.trust.consent.manifest import CONSENT_ONLY, PICTURE_ONLY, Entry, find_entries, utc_today


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The source or target of a swap: an actor (no grant, name `"actor:…"`), or the person depicted in a file, with its grant."""

    name: str
    grant: Grant | None = None

    @property
    def is_actor(self) -> bool:
        """Whether this is an actor; anything with a grant is a file, whatever its subject is called."""
        return self.grant is None and self.name.startswith("actor:")

    @property
    def origin(self) -> str:
        """The actor, or the file's digest."""
        return f"sha256:{bare(self.grant.sha256)}" if self.grant else self.name


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


def check_swap(source: Subject, target: Subject, *, root: Path, today: date | None = None) -> Permission:
    """The entries that allow the source's face to be put on the target. Raises `ConsentError` if they do not."""
    day = today or utc_today()
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
    """Raise `ConsentError` unless weights may be trained on all of these people."""
    for subject in subjects:
        _require(_entries(subject, root), "train", today or utc_today())


def check_evaluate(*subjects: Subject, root: Path, today: date | None = None) -> None:
    """Raise `ConsentError` unless all of these people may be measured by a recogniser."""
    for subject in subjects:
        _require(_entries(subject, root), "evaluate", today or utc_today())


def target_uses(source: Subject) -> tuple[str, ...]:
    """The uses to declare for the target of a swap with this source."""
    return ("anonymise",) if source.is_actor else ("swap-target",)


def bare(digest: str) -> str:
    """The 64 hex digits of a digest or an origin."""
    return digest.removeprefix("sha256:").lower()


def _entries(subject: Subject, root: Path) -> tuple[Entry, ...]:
    """The entries that must allow the use: none for an actor; a file's own; for a run's result, those of all its inputs."""
    if subject.is_actor:
        return ()
    if subject.grant is None:
        raise ConsentError(
            expected=f"a grant for {subject.name!r}, who is not an actor",
            got="none",
            remedy="admit the file, and pass its Clip",
        )
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
