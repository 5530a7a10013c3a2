"""The gate: its table of uses, exhaustively, and what it says."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from faceswap_lab.errors import ConsentError
from faceswap_lab.faces.footage import Grant
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.gate import Subject, actor_named, check_evaluate, check_swap, check_train
from faceswap_lab.trust.consent.manifest import USES
from faceswap_lab.trust.grants import issue
from tests.subjects import ACTOR, DAY, OTHER_ACTOR, entry


def allowed(source: Subject, target: Subject, root: Path) -> bool:
    try:
        check_swap(source, target, root=root, today=DAY)
    except ConsentError:
        return False
    return True


def subsets() -> list[list[str]]:
    uses = ["anonymise", "swap-source", "swap-target"]
    return [[use for use, taken in zip(uses, bits, strict=True) if taken] for bits in product((False, True), repeat=3)]


PEOPLE = {"actor": ("", ""), "synthetic": ("synthetic:gan", "synthetic"), "Ann": ("Ann", "consent"), "Bob": ("Bob", "consent")}


def the_table(source: str, target: str, source_uses: list[str], target_uses: list[str], named: bool) -> bool:
    """The README's table, written down a second time."""
    needs_source = [] if source == "actor" else ["swap-source"]
    needs_target = {
        ("actor", "actor"): [],
        ("actor", "synthetic"): ["anonymise"],
        ("actor", "Ann"): ["anonymise"],
        ("actor", "Bob"): ["anonymise"],
        ("synthetic", "actor"): [],
        ("synthetic", "synthetic"): ["anonymise"],
        ("synthetic", "Ann"): ["anonymise"],
        ("synthetic", "Bob"): ["anonymise"],
        ("Ann", "actor"): [],
        ("Ann", "synthetic"): ["swap-target"],
        ("Ann", "Ann"): ["swap-target"],
        ("Ann", "Bob"): ["swap-target"],
    }[source, target]
    covered = set(needs_source) <= set(source_uses) and set(needs_target) <= set(target_uses)
    return covered and (named or (source, target) != ("Ann", "Bob"))


@pytest.mark.parametrize("target", PEOPLE)
@pytest.mark.parametrize("source", ["actor", "synthetic", "Ann"])
def test_the_table_of_uses(tmp_path: Path, source: str, target: str) -> None:
    checked = 0
    for source_uses, target_uses, named in product(subsets(), subsets(), (False, True)):
        parties = []
        for side, who, uses in (("s", source, source_uses), ("t", target, target_uses)):
            subject, kind = PEOPLE[who]
            partners = ("Ann", "Bob") if named and kind == "consent" else ()
            parties.append(ACTOR if who == "actor" else entry(tmp_path, side, subject, uses, kind=kind, partners=partners))
        assert allowed(*parties, tmp_path) == the_table(source, target, source_uses, target_uses, named), (
            source_uses,
            target_uses,
            named,
        )
        checked += 1
    assert checked == 128


@pytest.mark.parametrize("giver", [("Bob",), ("bob",), ("Eve",), ()])
@pytest.mark.parametrize("taker", [("Ann",), ("Eve",), ()])
def test_one_real_person_onto_another_needs_both_to_name_each_other(
    tmp_path: Path, giver: tuple[str, ...], taker: tuple[str, ...]
) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["swap-source"], partners=giver)
    bob = entry(tmp_path, "bob", "Bob", ["swap-target"], partners=taker)
    assert allowed(ann, bob, tmp_path) == (giver in (("Bob",), ("bob",)) and taker == ("Ann",))


@pytest.mark.parametrize("kind", ["public domain", "licence"])
def test_a_free_picture_may_be_anonymised_and_nothing_else(tmp_path: Path, kind: str) -> None:
    free = entry(tmp_path, "free", "Ann", ["anonymise", "train", "evaluate"], kind=kind)
    ann = entry(tmp_path, "ann", "Ann", ["swap-source", "swap-target"])
    assert allowed(ACTOR, free, tmp_path)
    assert not allowed(free, ACTOR, tmp_path)
    assert not allowed(ann, free, tmp_path)
    assert not allowed(free, ann, tmp_path)


def test_a_grant_is_no_leave_by_itself(tmp_path: Path) -> None:
    """The entry on the disk decides, not what a grant says of its uses; and a grant that the lab didn't issue says nothing."""
    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    assert ann.grant is not None
    assert allowed(ACTOR, ann, tmp_path)
    assert not allowed(ann, OTHER_ACTOR, tmp_path)
    by_hand = Grant(path=tmp_path, sha256=ann.grant.sha256, subject="Ann", basis="consent", uses=frozenset(USES))
    elsewhere = tmp_path / "another lab"
    for forged in (
        by_hand,
        replace(by_hand, lab=tmp_path, seal="00" * 32),
        replace(ann.grant, subject="synthetic:nobody"),
        replace(ann.grant, sha256="ab" * 32),
        replace(ann.grant, basis="derived", parents=("actor:7",)),
        issue(elsewhere, by_hand),
    ):
        with pytest.raises(ConsentError, match="seal"):
            check_swap(ACTOR, Subject(grant=forged), root=tmp_path, today=DAY)
    assert [line.event["action"] for line in audit.read(tmp_path)] == ["swap refused"] * 7
    for neither in ({}, {"seed": 7, "grant": ann.grant}):
        with pytest.raises(ValueError, match="an actor's seed or a file's grant"):
            Subject(**neither)  # type: ignore[arg-type]
    with pytest.raises(ConsentError, match="who is not an actor"):
        actor_named("Ann")


@pytest.mark.parametrize("more", ["withdrawn = 2026-05-01\n", "expires = 2026-05-31\n"])
def test_withdrawn_or_expired_refuses_at_once(tmp_path: Path, more: str) -> None:
    ann = entry(tmp_path, "ann", "Ann", list(USES))
    assert allowed(ACTOR, ann, tmp_path)
    check_train(ann, root=tmp_path, today=DAY)
    entry(tmp_path, "ann", "Ann", list(USES), more=more)
    assert not allowed(ACTOR, ann, tmp_path)
    assert not allowed(ann, ACTOR, tmp_path)
    with pytest.raises(ConsentError, match=r"expired|withdrawn"):
        check_train(ann, root=tmp_path, today=DAY)


@pytest.mark.parametrize("use", USES)
def test_training_and_evaluation_ask_for_their_own_use(tmp_path: Path, use: str) -> None:
    ann = entry(tmp_path, "ann", "Ann", [use])
    for check, needed in ((check_train, "train"), (check_evaluate, "evaluate")):
        check(ACTOR, OTHER_ACTOR, root=tmp_path)
        if use == needed:
            check(ACTOR, ann, root=tmp_path, today=DAY)
        else:
            with pytest.raises(ConsentError, match=needed):
                check(ACTOR, ann, root=tmp_path, today=DAY)


def test_the_remedy_of_a_missing_use_says_the_very_line(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["evaluate", "train"])
    with pytest.raises(ConsentError, match="swap-source") as refused:
        check_swap(ann, ACTOR, root=tmp_path, today=DAY)
    line = 'uses = ["evaluate", "swap-source", "train"]'
    assert refused.value.remedy == f"if they agree, write {line} in data_manifests/ann.toml; or use an actor"
    toml = tmp_path / "data_manifests" / "ann.toml"
    toml.write_text(re.sub(r"(?m)^uses = .*$", line, toml.read_text()))
    check_swap(ann, ACTOR, root=tmp_path, today=DAY)

    freed = entry(tmp_path, "bob", "Bob", ["train"], kind="public domain")
    with pytest.raises(ConsentError, match='clears the picture only; if Bob agrees, write kind = "consent"'):
        check_swap(freed, ACTOR, root=tmp_path, today=DAY)


def test_what_a_run_made_asks_its_parents(tmp_path: Path) -> None:
    def derived(*parents: str) -> Subject:
        return Subject(
            grant=issue(tmp_path, Grant(path=tmp_path, sha256="cd" * 32, subject="x on y", basis="derived", parents=parents))
        )

    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    assert allowed(ACTOR, derived("actor:7", "actor:21/speech:3"), tmp_path)
    assert allowed(derived("actor:7", "actor:21/speech:3"), ACTOR, tmp_path)
    assert allowed(ACTOR, derived("actor:7", ann.origin), tmp_path)
    assert not allowed(derived("actor:7", ann.origin), ACTOR, tmp_path)
    assert not allowed(ACTOR, derived("actor:7", "sha256:" + "ef" * 32), tmp_path)
    assert not allowed(ACTOR, derived(), tmp_path)
    entry(tmp_path, "ann", "Ann", [])
    assert not allowed(ACTOR, derived("actor:7", ann.origin), tmp_path)
