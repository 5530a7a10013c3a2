"""Anonymity as a measure: what judges recognise doesn't leave unless somebody accepts that, and the figures stay on record."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, WeightsError
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import read_metadata
from faceswap_lab.files import ROOT_VARIABLE
from faceswap_lab.models.judges.panel import DLIB, NAMES
from faceswap_lab.models.judges.thresholds import RULES, Rule
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent import manifest
from faceswap_lab.trust.export import export, export_file
from faceswap_lab.trust.grants import issue_lineage
from faceswap_lab.trust.likeness import Judged, Likeness, told
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs import people
from faceswap_lab.verbs.swap import result as results
from faceswap_lab.verbs.swap.destination import check_output
from faceswap_lab.verbs.swap.likeness import measured
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.verbs.swap.swap import swap
from faceswap_lab.verbs.swap.unlike import unlike
from faceswap_lab.views.report.runs import report
from tests.subjects import STRANGER, entry, exported, result

(NOBODY,) = STRANGER.judged


def likeness(share: float, num_faces: int = 20) -> Likeness:
    return Likeness(judged=(replace(NOBODY, share=share, num_faces=num_faces, cosine=0.8), NOBODY), num_frames=20, every=3)


# --- the measure ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "num_faces", "recognisable"), [(0.0, 1, False), (1.0, 1, True), (0.1, 20, False), (0.15, 20, True)]
)
def test_one_judge_and_more_than_chance_is_enough(share: float, num_faces: int, recognisable: bool) -> None:
    assert likeness(share, num_faces).recognisable is recognisable


def test_what_nobody_could_look_at_counts_as_recognised() -> None:
    assert Likeness(judged=(), num_frames=1, every=1).recognisable
    assert likeness(0.0, num_faces=0).recognisable


def test_figures_are_told_with_judge_count_rule_and_rate() -> None:
    text = str(replace(NOBODY, share=0.5, num_faces=4))
    assert all(part in text for part in ("test takes 2 of 4", "cosine 0.100", "from a cosine of 1", "never"))
    assert told([STRANGER, STRANGER]).count("takes only") == 2


# --- the way out ------------------------------------------------------------------------------------------------------------


def test_a_recognised_person_does_not_leave_unless_that_is_accepted(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    out = tmp_path / "out.png"
    with pytest.raises(ConsentError, match=r"no judge recognises.*test takes 20 of 20.*accept_recognisable=True \(--accept-recog"):
        exported(tmp_path, out, target=ann, likeness=likeness(1.0))
    assert not out.exists()
    clip, lineage = result(tmp_path, target=ann, likeness=likeness(1.0))
    export(clip, out, lineage=lineage, root=tmp_path, recognisable=True)
    refused, accepted = (line.event for line in audit.read(tmp_path))
    assert refused["action"] == "export refused"
    assert refused["likeness"][0]["judged"][0]["share"] == 1.0
    assert accepted["accepted_recognisable"] is True
    assert accepted["depicts"][0]["likeness"]["recognisable"] is True
    (mark,) = read_mark(out) or [{}]
    assert mark["recognisable"] is True
    assert "whom face recognisers still recognise" in read_metadata(out)["description"]


def test_the_figures_of_a_stranger_are_logged_and_nothing_is_accepted(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    out = exported(tmp_path, tmp_path / "out.png", target=ann)
    assert out.entry.event["depicts"][0]["likeness"]["judged"][0]["sha256"] == NOBODY.sha256
    assert "accepted_recognisable" not in out.entry.event
    assert "still recognise" not in read_metadata(out.path)["description"]


def test_nobody_leaves_unmeasured_and_a_measure_cannot_be_made_up(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    for accepted in (False, True):
        clip, lineage = result(tmp_path, target=ann, likeness=None)
        with pytest.raises(ConsentError, match="judges have looked at"):
            export(clip, tmp_path / "out.png", lineage=lineage, root=tmp_path, recognisable=accepted)
    clip, lineage = result(tmp_path, target=ann, likeness=likeness(1.0))
    with pytest.raises(ConsentError, match="did not issue"):
        export(clip, tmp_path / "out.png", lineage=replace(lineage, likeness=STRANGER), root=tmp_path)
    assert not (tmp_path / "out.png").exists()


def test_a_page_is_refused_for_any_of_its_results(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["anonymise"])
    lineages = [
        result(tmp_path, target=ann)[1],
        result(tmp_path, target=ann, run="swap-87654321", likeness=likeness(0.5))[1],
    ]
    page = tmp_path / "page.html"
    with pytest.raises(ConsentError, match="takes 10 of 20"):
        export_file("<head></head>", page, lineages=lineages, root=tmp_path)
    export_file("<head></head>", page, lineages=lineages, root=tmp_path, recognisable=True)
    assert [mark["recognisable"] for mark in read_mark(page) or []] == [False, True]


def test_people_who_are_named_are_not_measured(tmp_path: Path) -> None:
    ann = entry(tmp_path, "ann", "Ann", ["swap-source", "swap-target"])
    clip, lineage = result(tmp_path, source=ann, target=ann, likeness=None)
    done = export(clip, tmp_path / "out.png", lineage=issue_lineage(tmp_path, lineage), root=tmp_path)
    assert "likeness" not in done.entry.event["depicts"][0]


# --- a photograph -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(ROOT_VARIABLE, str(tmp_path))
    results._likeness.cache_clear()
    yield tmp_path
    results._likeness.cache_clear()


@pytest.fixture
def photo(root: Path) -> Clip:
    return people.admit(manifest.locate(root, "package://skimage/data/astronaut.png"))


@pytest.fixture
def swapped(photo: Clip) -> SwapRun:
    return swap(photo, source=Actor(32), swapper="warp", device="cpu")


@pytest.mark.slow
@pytest.mark.weights
def test_a_photograph_is_measured_by_both_judges_before_it_leaves(swapped: SwapRun, tmp_path: Path) -> None:
    out = swapped.export(tmp_path / "out.png")
    line = [each.event for each in audit.read(tmp_path) if each.event["action"] == "exported"][-1]
    figures = line["depicts"][0]["likeness"]
    assert [each["judge"] for each in figures["judged"]] == list(NAMES)
    assert all(0.2 < each["cosine"] < 0.99 and each["num_faces"] == 1 for each in figures["judged"])
    assert read_mark(out)
    assert "embedding" not in json.dumps(line)


@pytest.mark.slow
@pytest.mark.weights
def test_who_is_recognised_stays_in_until_it_is_accepted(swapped: SwapRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, (DLIB, "photographs"), Rule(cosine=0.1, rate="always", source="this test"))
    assert swapped.likeness().recognisable
    with pytest.raises(ConsentError, match=f"{DLIB} takes 1 of 1"):
        swapped.export(tmp_path / "out.png")
    with pytest.raises(ConsentError, match=f"{DLIB} takes 1 of 1"):
        report(swapped, path=tmp_path / "page.html")
    assert not (tmp_path / "out.png").exists()
    swapped.export(tmp_path / "out.png", accept_recognisable=True)
    page = report(swapped, path=tmp_path / "page.html", accept_recognisable=True)
    assert "still recognise" in page.read_text()


@pytest.mark.slow
@pytest.mark.weights
def test_the_result_of_a_result_is_compared_with_the_first_picture_too(swapped: SwapRun) -> None:
    twice = swap(swapped.footage(), source=Actor(7), swapper="warp", device="cpu")
    originals = list(twice._originals())
    assert [start for _, start in originals] == [0, 0]
    alone = [measured(twice.footage(), [each], Corrections()) for each in originals]
    for number, judged in enumerate(twice.likeness().judged):
        assert judged.cosine == max(each.judged[number].cosine for each in alone)


@pytest.mark.slow
@pytest.mark.weights
def test_without_the_judges_nothing_leaves_and_the_swap_is_not_begun(
    swapped: SwapRun, photo: Clip, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = swapped.lineage()
    monkeypatch.setattr("faceswap_lab.models.weights.catalogue.weights_folder", lambda: root / "nothing")
    with pytest.raises(WeightsError, match="models fetch"):
        swapped.export(root / "out.png")
    with pytest.raises(WeightsError, match="models fetch"):
        check_output(root / "out.png", photo, preview=0, sound=None, about=about, root=root)
    assert not (root / "out.png").exists()


@pytest.mark.slow
@pytest.mark.weights
def test_the_farthest_actor_is_farther_than_the_others(photo: Clip, capsys: pytest.CaptureFixture[str]) -> None:
    chosen = unlike(photo, among=[7, 21])
    assert chosen.seed in (7, 21)
    assert f"actor:{chosen.seed} is the farthest of 2" in capsys.readouterr().err
    assert unlike(Actor(7), among=[7, 21]).seed == 21


def test_only_actors_one_may_pick_are_looked_at() -> None:
    for seeds in ([], [2_000_000]):
        with pytest.raises(ValueError, match="splits train and val"):
            unlike(Actor(7), among=seeds)


def test_an_actor_has_nobody_to_recognise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SwapRun, "_filmed", lambda _: None)
    monkeypatch.setattr(SwapRun, "id", "swap-12345678")
    with pytest.raises(ValueError, match="nobody to recognise"):
        SwapRun.likeness(SwapRun.__new__(SwapRun))


def test_figures_are_rounded_on_record() -> None:
    judged = Judged(judge="a", sha256="", num_faces=3, share=1 / 3, cosine=0.123456, rule="", rate="")
    record = Likeness(judged=(judged,), num_frames=3, every=1).record()
    np.testing.assert_allclose([record["judged"][0][name] for name in ("share", "cosine")], [0.3333, 0.1235])
