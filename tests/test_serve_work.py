"""One job of the demo before anything is swapped: what is declared, what the gate says of it, and what is logged."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from faceswap_lab.errors import ConsentError
from faceswap_lab.files import ROOT_VARIABLE
from faceswap_lab.maintenance import erase
from faceswap_lab.serve import work
from faceswap_lab.serve.intake import take_in
from faceswap_lab.serve.limits import Limits
from faceswap_lab.serve.orders import Declaration, Order, Sample
from faceswap_lab.serve.sources import ACTORS, Source
from faceswap_lab.serve.visits import Visits
from faceswap_lab.trust import audit
from faceswap_lab.trust.admit import admit
from faceswap_lab.trust.consent.manifest import find_entries, utc_today
from faceswap_lab.trust.marks.metadata import metadata_of

AGREED = Declaration(reason="to see how it looks", agreed=True)


class ReachedError(Exception):
    """The gate was passed: the swap itself would begin."""


@pytest.fixture(autouse=True)
def nothing_is_swapped(monkeypatch: pytest.MonkeyPatch) -> None:
    from faceswap_lab.models import registry
    from faceswap_lab.verbs.swap import one

    def reached(*_: object) -> None:
        raise ReachedError

    monkeypatch.setenv(ROOT_VARIABLE, "nowhere")
    monkeypatch.setattr(one, "open_engine", reached)
    monkeypatch.setattr(registry, "open_engine", reached)


@pytest.fixture
def visits(tmp_path: Path) -> Visits:
    return Visits(tmp_path / "demo", Limits())


def picture(path: Path, level: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(np.full((32, 32, 3), level, np.uint8)).save(path)
    return path


def order(visits: Visits, source: Source | None = None, level: int = 0, **changes: Any) -> Order:
    visit = visits.open()
    upload = take_in(picture(visits.arrivals / "a.png", level), "a.png", Limits(), within=visits.arrivals, folder=visit.root)
    return replace(Order(visit=visit, source=source or Source.actor(7), target=upload, declaration=AGREED), **changes)


def do(asked: Order) -> None:
    work.do(asked, lambda *_: None)


def offered(
    tmp_path: Path, who: str = "Jane Doe", basis: str = "consent: form of 3 May", uses: tuple[str, ...] = ("swap-source",)
) -> Source:
    """A source from the operator's own lab."""
    path = picture(tmp_path / "lab" / "jane.png", 200)
    admit(path, root=tmp_path / "lab", who=who, basis=basis, uses=uses)
    return Source.file(path, tmp_path / "lab")


# --- declarations -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("declaration", "said"),
    [
        (None, "a declaration"),
        (Declaration(reason="to see it", agreed=False), "agreed"),
        (Declaration(reason="", agreed=True), "a reason"),
        (Declaration(reason="  a ", agreed=True), "a reason"),
        (Declaration(reason="x" * 201, agreed=True), "a reason"),
        (Declaration(reason="fun; expires 2099-01-01", agreed=True), "plain words"),
        (Declaration(reason="fun; partners Jane Doe", agreed=True), "plain words"),
        (Declaration(reason="fun\x1b[2J", agreed=True), "a reason"),
    ],
)
def test_without_a_proper_declaration_nothing_is_admitted(visits: Visits, declaration: Declaration | None, said: str) -> None:
    asked = order(visits, declaration=declaration)
    with pytest.raises(ConsentError, match=said):
        do(asked)
    assert not (asked.visit.root / "data_manifests").exists()


def test_an_upload_is_a_real_persons_for_a_day_and_for_what_is_needed(visits: Visits) -> None:
    asked = order(visits)
    with pytest.raises(ReachedError):
        do(asked)
    assert not isinstance(asked.target, Sample)
    (entry,) = find_entries(asked.visit.root, [work.digest(asked.target.path)]).values()
    consent = entry.manifest.consent
    assert (entry.subject, entry.synthetic) == (asked.visit.who, False)
    assert consent.uses == {"anonymise", "evaluate"}
    assert consent.expires == utc_today() + timedelta(days=1)
    assert AGREED.reason in consent.text
    told = [line.event for line in audit.read(visits.root)]
    assert [each["action"] for each in told] == ["visit opened", "admission declared", "admitted"]
    assert AGREED.reason in told[1]["basis"]
    assert audit.verify(asked.visit.root).whole


def test_the_same_picture_of_two_visitors_is_two_matters(visits: Visits) -> None:
    for _ in range(2):
        with pytest.raises(ReachedError):
            do(order(visits))


def test_an_export_of_the_lab_cannot_come_back_as_somebodys_picture(visits: Visits, tmp_path: Path) -> None:
    from faceswap_lab.faces.frame import write_still
    from faceswap_lab.trust.consent.gate import Permission, Subject
    from faceswap_lab.trust.marks.metadata import Lineage

    visit, place = visits.open(), visits.arrivals / "out.png"
    lineage = Lineage(run="swap-1", source=Subject(seed=7), target=Subject(seed=21), trained=False)
    write_still(place, np.zeros((32, 32, 3), np.uint8), metadata=metadata_of(lineage, Permission()))
    upload = take_in(place, "out.png", Limits(), within=visits.arrivals, folder=visit.root)
    with pytest.raises(ConsentError, match=r"synthetic|generated"):
        do(Order(visit=visit, source=Source.actor(7), target=upload, declaration=AGREED))


# --- sources ----------------------------------------------------------------------------------------------------------------


def test_the_actors_offered_are_not_test_persons() -> None:
    assert [Source.actor(seed).name for seed in ACTORS] == [f"actor:{seed}" for seed in ACTORS]
    with pytest.raises(ValueError, match="split"):
        Source.actor(2_000_000)


def test_a_real_persons_face_on_an_upload_is_refused_by_the_gate_and_logged(visits: Visits, tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="swap-target"):
        do(order(visits, offered(tmp_path)))
    assert "swap refused" in [line.event["action"] for line in audit.read(visits.root)]


def test_a_real_persons_face_may_go_on_an_actors_performance(visits: Visits, tmp_path: Path) -> None:
    with pytest.raises(ReachedError):
        do(order(visits, offered(tmp_path), target=Sample(seed=21), declaration=None))


def test_a_synthetic_face_may_go_on_an_upload(visits: Visits, tmp_path: Path) -> None:
    source = offered(tmp_path, who="synthetic:face 3", basis="synthetic: StyleGAN3")
    assert source.is_synthetic
    with pytest.raises(ReachedError):
        do(order(visits, source))


def test_a_withdrawal_takes_effect_at_once_where_the_consent_was_given(visits: Visits, tmp_path: Path) -> None:
    source = offered(tmp_path)
    erase.purge(tmp_path / "lab", "Jane Doe")
    with pytest.raises(ConsentError, match="withdrawn"):
        do(order(visits, source, target=Sample(seed=21), declaration=None))


def test_a_file_is_only_offered_if_its_manifest_allows_it(tmp_path: Path) -> None:
    with pytest.raises(ConsentError, match="swap-source"):
        offered(tmp_path, uses=("anonymise",))
    with pytest.raises(ConsentError, match="none"):
        Source.file(picture(tmp_path / "other.png", 9), tmp_path / "lab")


def test_what_a_performance_may_be_is_bounded() -> None:
    for wrong in ({"num_frames": 10_000}, {"size": 4096}, {"performance": "range"}, {"num_frames": 0}):
        with pytest.raises((ValueError, TypeError), match=r"frames|performance"):
            Sample(seed=7, **wrong)  # type: ignore[arg-type]
