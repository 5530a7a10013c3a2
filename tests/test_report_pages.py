"""Reports of any run: what each verb's page tells, what is compared, what is withheld, and what never leaves."""

import base64
import io
import json
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceswap_lab import __main__ as command_line
from faceswap_lab.actors.cast import Actor
from faceswap_lab.errors import ConsentError, LabError, RunError
from faceswap_lab.faces import video
from faceswap_lab.faces.footage import Clip
from faceswap_lab.faces.frame import write_still
from faceswap_lab.files import sha256_file
from faceswap_lab.maintenance import erase
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.withdraw import withdraw
from faceswap_lab.trust.marks.metadata import read_mark
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.evaluate.scores import PER_FRAME, SCORES, ScoreRun
from faceswap_lab.verbs.library import SHEET, FacesetRun
from faceswap_lab.verbs.people import admit, record_of
from faceswap_lab.verbs.recipes import EvaluateRecipe, FacesetRecipe, SwapRecipe
from faceswap_lab.verbs.swap.result import RESULT, SwapRun
from faceswap_lab.views.report.blocks import Cell, Comparison, Notice, Picture, Printed, Section, SideBySide, Tree
from faceswap_lab.views.report.notebook.html_output import blocks_in, decoded
from faceswap_lab.views.report.runs import Contents, contents, report
from faceswap_lab.views.report.scores import key_numbers, score_rows
from faceswap_lab.views.report.telling import telling
from tests.subjects import PICTURE
from tests.test_browser import CHROMIUM, FLAGS
from tests.test_report import Page

HERO, DOUBLE = Actor(7), Actor(32)
GOLDEN = Path(__file__).parent / "golden" / "lab_v1"
TAKE = DOUBLE.perform("speech", seconds=0.16, size=64)


@pytest.fixture(autouse=True)
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "lab"
    (root / "data_manifests").mkdir(parents=True)
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(root))
    return root


# --- what is made for the tests: records as the verbs write them, without their work ----------------------------------------


def ann(lab: Path, uses: tuple[str, ...] = ("anonymise", "evaluate", "train"), name: str = "ann at the sea.png") -> Clip:
    """A file of a person who counts as real: noise."""
    write_still(lab / name, PICTURE)
    return admit(lab / name, who="Ann Onymous", basis="consent: a form of May", uses=uses)


def trained(lab: Path, *, steps: int = 4, rate: float = 1e-3, target: object = DOUBLE, finish: bool = True) -> Run:
    recipe = recipes.smoke().with_(train__steps=steps, train__learning_rate=rate)
    run = Run.start(lab, "train", recipe, {"source": record_of(HERO), "target": record_of(target)}, force=True)
    with run:
        for step in range(1, steps + 1):
            losses = {"loss": 1 / step, "picture_0": 0.5 / step, "picture_1": 0.25 / step}
            run.emit("step", step=step, losses=losses, learning_rate=rate, samples_per_s=1.0)
        if finish:
            run.finish(
                supervision="from truth", steps=steps, num_pictures=[1, 1], device="cpu", loss=1 / steps, seconds={"train": 1.0}
            )
    return Run.open(run.id, lab)


def swapped(lab: Path, *, swapper: str = "warp", target: object = TAKE) -> SwapRun:
    inputs = {"source": record_of(HERO), "target": record_of(target), "swapper": swapper, "engine": "offline", "corrections": ""}
    run = SwapRun.start(lab, "swap", SwapRecipe(), inputs)
    count = len(target)
    with run:
        with run.write(RESULT) as path:
            video.encode(path, (replace(frame, image=255 - frame.image) for frame in target.frames()), fps=25, lossless=True)
        left = {"num_faces_left": 0, "num_frames_without_face": 0, "frames_without_face": []}
        run.finish(num_frames=count, num_faces=count, source=HERO.subject, target=target.subject, **left)
    return SwapRun.open(run.id, lab)


def judged(lab: Path, swap: Run, psnr: float, landmark: float = 0.1, **more: dict[str, Any]) -> ScoreRun:
    """An evaluation with two measures, one of which is better when lower."""
    scores = {
        "psnr_face": {"value": psnr, "floor": 14.0, "ceiling": None, "higher_is_better": True},
        "ssim_face": {"value": 0.5, "floor": 0.4, "ceiling": 1.0, "higher_is_better": True},
        "id_nearer_source": {"value": 1.0, "floor": 0.0, "ceiling": 1.0, "higher_is_better": True},
        "landmark_error": {"value": landmark, "floor": 0.3, "ceiling": 0.05, "higher_is_better": False},
        **more,
    }
    inputs = {"result": swap.id, "truth": record_of(TAKE.recast(HERO)), "engine": "offline"}
    run = ScoreRun.start(lab, "evaluate", EvaluateRecipe(), inputs)
    with run:
        for name, value in ((SCORES, scores), (PER_FRAME, [{"value.psnr": psnr + i, "floor.psnr": 14.0} for i in range(4)])):
            with run.write(name) as path:
                path.write_text(json.dumps(value))
        run.finish(
            scores=scores, embedder="sface", gallery_size=2, num_frames=4, landmark_error_ratio=1.0, seconds={"evaluate": 1.0}
        )
    return ScoreRun.open(run.id, lab)


def png(level: int = 100) -> str:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8, 3), level, np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def cell(
    source: str, *outputs: dict[str, Any], kind: str = "code", ended: datetime | None = None, tags: tuple[str, ...] = ()
) -> dict:
    told = {} if ended is None else {"papermill": {"end_time": ended.isoformat()}}
    return {"cell_type": kind, "metadata": {"tags": list(tags), **told}, "source": source, "outputs": list(outputs)}


def shown(**data: Any) -> dict[str, Any]:
    return {"output_type": "display_data", "data": {name.replace("_", "/"): value for name, value in data.items()}, "metadata": {}}


def executed(lab: Path, *cells: dict[str, Any], inside: Callable[[], object] = lambda: None, verb: str = "notebook") -> Run:
    """A run of a notebook with these cells; `inside` does what its kernel did."""
    run = Run.start(lab, verb, json.dumps({"cells": len(cells)}), {}, force=True)
    with run:
        os.environ[audit.WITHIN] = run.id
        try:
            inside()
        finally:
            del os.environ[audit.WITHIN]
        with run.write("notebook.ipynb") as path:
            path.write_text(json.dumps({"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
        run.finish()
    return Run.open(run.id, lab)


def blocks(page: Contents, kind: type) -> list[Any]:
    return [block for section in page.sections for block in section.blocks if isinstance(block, kind)]


def section(page: Contents, title: str) -> Section:
    return next(each for each in page.sections if each.title == title)


# --- one run ----------------------------------------------------------------------------------------------------------------


def test_a_training_alone_is_reported_marked_and_logged(lab: Path, tmp_path: Path) -> None:
    run = trained(lab)
    path = report(run, path=tmp_path / "out.html")
    text = path.read_text()
    page = Page(text)
    assert (page.open, page.torn) == ([], [])
    assert "train.learning_rate" in page.text
    assert "0.001" in page.text, "a value other than the default"
    assert "num_views" not in section(contents(run), "Training").blocks[0].alt
    (mark,) = read_mark(path) or []
    assert (mark["run"], mark["tool"]) == (run.id, "faceswap_lab")
    line = audit.read(lab)[-1].event
    assert (line["action"], line["depicts"], line["sha256"]) == ("exported", [{"run": run.id}], sha256_file(path))


def test_only_settings_other_than_the_defaults_are_named(lab: Path) -> None:
    (table,) = [
        block
        for block in section(contents(trained(lab, rate=3e-3)), "Training").blocks
        if hasattr(block, "rows") and hasattr(block, "header")
    ]
    told = {row[0]: row[1:3] for row in table.rows}
    plain, default = recipes.smoke().with_(train__steps=4, train__learning_rate=3e-3), recipes.PairRecipe()
    assert told["train.learning_rate"] == ["0.003", str(default.train.learning_rate)]
    assert ("supervision" in told) == (plain.supervision != default.supervision)
    assert all(value != default for value, default in told.values())


@pytest.mark.slow
def test_scores_alone_need_no_swap_on_the_page(lab: Path, tmp_path: Path) -> None:
    scores = judged(lab, swapped(lab), 20.0)
    page = contents(scores)
    assert [each.title for each in page.sections][:1] == ["Scores"]
    assert page.lineages == []
    assert "20.0" in report(scores, path=tmp_path / "out.html").read_text()


def test_sharpness_is_a_key_figure_without_a_floor_where_it_was_measured(lab: Path) -> None:
    swap = failed(lab, ValueError("only its id counts"))
    sharp = judged(lab, swap, 20.0, sharpness={"value": 0.83, "floor": 1.1, "ceiling": 1.0, "higher_is_better": True})
    (row,) = [each for each in score_rows(sharp) if each.name == "Sharpness of features"]
    assert (row.value, row.floor, row.ceiling) == (0.83, None, 1.0)
    told = [(each.label, each.value, each.detail) for each in key_numbers([sharp])]
    assert ("Sharpness of features", "0.83", "of the truth's") in told
    older = judged(lab, failed(lab, ValueError("another")), 21.0)
    assert not [each for each in key_numbers([older]) if "Sharpness" in each.label]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["render", "faceset", "swap"])
def test_runs_of_an_older_lab_are_reported(lab: Path, verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(GOLDEN, tmp_path / "v1")
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "v1"))
    run = Run.find(verb=verb, finished=True)[0]
    text = report(run, path=tmp_path / "out.html").read_text()
    assert text.count("<img") >= 1, "samples, sheet or frames"
    assert str(tmp_path) not in text


def failed(lab: Path, error: BaseException) -> Run:
    run = Run.start(lab, "train", recipes.smoke(), {"source": record_of(HERO), "target": record_of(DOUBLE)}, force=True)

    def work() -> None:
        with run:
            run.emit("step", step=3, losses={"loss": 0.25}, learning_rate=1e-3, samples_per_s=1.0)
            with run.write("logs/rank-0.log") as path:
                path.write_text("opening words\n" + "line\n" * 100 + "last words\n")
            raise error

    with pytest.raises(type(error)):
        work()
    return Run.open(run.id, lab)


def test_a_failed_run_says_where_and_why(lab: Path, tmp_path: Path) -> None:
    why = RunError(expected="a finite loss", got="nan at step 4", remedy="lower the learning rate")
    run = failed(lab, why)
    (notice,) = blocks(contents(run), Notice)
    assert notice.kind == "failed"
    facts = {name: notice.facts[name] for name in ("error", "expected", "got", "remedy")}
    assert facts == {"error": "RunError", "expected": why.expected, "got": why.got, "remedy": why.remedy}
    assert notice.facts["last step"] == "3 (loss 0.25)"
    text = report(run, path=tmp_path / "out.html").read_text()
    assert "last words" in text
    assert "opening words" not in text, "only the end of a log is kept"


@pytest.mark.parametrize(("error", "kind"), [(KeyboardInterrupt(), "stopped"), (ValueError("<b>odd</b>"), "failed")])
def test_a_stopped_run_is_told_from_a_failed_one(lab: Path, error: BaseException, kind: str, tmp_path: Path) -> None:
    run = failed(lab, error)
    (notice,) = blocks(contents(run), Notice)
    assert notice.kind == kind
    assert "<b>odd" not in report(run, path=tmp_path / "out.html").read_text()


def test_a_resumed_run_has_forgotten_its_failure(lab: Path) -> None:
    run = failed(lab, ValueError("once"))
    with run:
        pass
    (notice,) = blocks(contents(Run.open(run.id)), Notice)
    assert (notice.kind, "got" in notice.facts) == ("stopped", False)


def test_an_unfinished_swap_is_no_reason_to_refuse(lab: Path, tmp_path: Path) -> None:
    inputs = {"source": record_of(HERO), "target": record_of(TAKE), "swapper": "warp", "engine": "offline", "corrections": ""}
    run = SwapRun.start(lab, "swap", SwapRecipe(), inputs)
    text = report(run, path=tmp_path / "out.html").read_text()
    assert "not finished" in text


# --- several runs -----------------------------------------------------------------------------------------------------------


def table_of(page: Contents) -> dict[str, list[Cell]]:
    (table,) = blocks(page, SideBySide)
    return {line.name: list(line.cells) for lines in table.groups.values() for line in lines}


def three(lab: Path) -> list[Run]:
    found: list[Run] = []
    for psnr, landmark, training in ((20.0, 0.2, trained(lab)), (26.0, 0.3, trained(lab, steps=5)), (23.0, 0.1, None)):
        swap = swapped(lab, swapper="warp" if training is None else training.id)
        found += [swap, judged(lab, swap, psnr, landmark)]
    return found


@pytest.mark.slow
def test_three_swaps_stand_side_by_side_with_the_best_of_each_measure(lab: Path) -> None:
    page = contents(*three(lab))
    table = table_of(page)
    assert [cell.best for cell in table["PSNR in the face"]] == [False, True, False]
    assert [cell.best for cell in table["Landmark error"]] == [False, False, True], "lower is better"
    assert not any(cell.best for cell in table["SSIM in the face"]), "equal scores have no best"
    assert table["Landmark error"][2].share == pytest.approx((0.3 - 0.1) / (0.3 - 0.05))
    assert [cell.text for cell in table["training: train.steps"]] == ["4", "5", "–"]
    assert "training: train.learning_rate" not in table, "equal settings are not listed"
    (frames,) = [each for each in blocks(page, Comparison) if len(each.columns) == 5]
    assert next(iter(frames.columns)) == "target"
    assert list(frames.columns)[-1] == "truth"
    np.testing.assert_array_equal(frames.columns["target"][0], TAKE[0].image)


@pytest.mark.slow
def test_scores_of_different_targets_have_no_best(lab: Path) -> None:
    other = DOUBLE.perform("speech", seconds=0.16, size=64, seed=9)
    runs = [swapped(lab), swapped(lab, target=other)]
    page = contents(*(each for swap, psnr in zip(runs, (20.0, 26.0), strict=True) for each in (swap, judged(lab, swap, psnr))))
    assert not any(cell.best for cells in table_of(page).values() for cell in cells)
    assert "don't compare" in blocks(page, SideBySide)[0].caption
    assert not [each for each in blocks(page, Comparison) if len(each.columns) == 4]


def test_more_than_six_are_not_squeezed_in(lab: Path) -> None:
    page = contents(*(trained(lab, steps=steps) for steps in range(2, 10)))
    assert len(blocks(page, SideBySide)[0].runs) == 6
    assert len([each for each in page.sections if each.title.startswith("Training · ")]) == 8, "each has its own section"


@pytest.mark.slow
def test_a_swap_stands_on_its_training_and_that_on_its_people(lab: Path) -> None:
    learned = trained(lab)
    (tree,) = blocks(contents(swapped(lab, swapper=learned.id)), Tree)
    (root,) = tree.roots
    branches = {node.role: node for node in root.parents}
    assert branches["swapper"].title == learned.id
    assert [node.title for node in branches["swapper"].parents] == ["actor:7", "actor:32"]
    assert branches["target"].title.startswith("actor:32/speech")


# --- what must not leave ------------------------------------------------------------------------------------------------------


def test_the_contact_sheet_of_a_real_person_is_withheld_and_of_an_actor_is_not(lab: Path) -> None:
    write_still(lab / "actor.png", PICTURE[::-1].copy())
    actor = admit(lab / "actor.png", who="synthetic:five", basis="synthetic: rendered", uses=["evaluate"])
    for clip, real in ((ann(lab), True), (actor, False)):
        run = FacesetRun.start(lab, "faceset", FacesetRecipe(name="ann onymous"), {"ann.png": record_of(clip)}, force=True)
        with run:
            with run.write(SHEET) as path:
                Image.fromarray(PICTURE).save(path, "JPEG")
            run.finish(name="ann onymous", num_faces=1)
        page = contents(FacesetRun.open(run.id))
        assert bool(blocks(page, Picture)) != real
        assert [notice.kind for notice in blocks(page, Notice)] == ["withheld"] * real
        assert not real or not re.search(r"\bann\b|onymous", page.html(), re.IGNORECASE)


def test_a_page_about_somebody_who_withdrew_is_refused_and_logged(lab: Path, tmp_path: Path) -> None:
    run = trained(lab, target=ann(lab))
    assert "sha256:" in report(run, path=tmp_path / "before.html").read_text(), "a file is told by its digest"
    withdraw(lab, "Ann Onymous", today=date(2026, 1, 1))
    with pytest.raises(ConsentError, match="withdrawn"):
        report(run, path=tmp_path / "after.html")
    assert audit.read(lab)[-1].event["action"] == "export refused"
    assert not (tmp_path / "after.html").exists()


def test_a_page_without_a_picture_is_found_when_its_person_withdraws(lab: Path) -> None:
    path = report(trained(lab, target=ann(lab)), path=lab / "about.html")
    (left,) = erase.plan(lab, "Ann Onymous").exports
    assert (left.sha256, left.copies) == (sha256_file(path), (path,))


def test_neither_paths_nor_names_are_on_a_page(lab: Path, tmp_path: Path) -> None:
    clip = ann(lab)
    error = RunError(
        expected=f"a readable {clip.path}", got=f"no file {lab / 'other folder' / 'Ann-Onymous.png'}", remedy="ask ANN ONYMOUS"
    )
    run = failed(lab, error)
    told = {"output_type": "stream", "text": [f"wrote {tmp_path}/a b/c.json\n", "s3://bucket/ann_onymous/x.tar annonymous\n"]}
    trace = {
        "output_type": "error",
        "ename": "E",
        "evalue": f"'{clip.path}'",
        "traceback": ["\x1b[31mFile\x1b[0m /opt/x/module.py:3"],
    }
    note = executed(lab, cell(f"folder = '{tmp_path}/my place'", told, trace), cell("About Ann Onymous.", kind="markdown"))
    text = report(run, note, path=tmp_path / "out.html").read_text()
    assert not re.search(r"ann[\W_]*onymous|at the sea|other folder|my place|bucket|/opt", text, re.IGNORECASE)
    assert str(tmp_path) not in text
    assert "\x1b" not in text
    assert "…/module.py:3" in text, "the module of a traceback is needed"


@given(st.lists(st.text("abc xyzÄ-.", min_size=1, max_size=12).filter(lambda part: part.strip(" .-")), min_size=1, max_size=4))
def test_no_quoted_path_is_told(parts: list[str]) -> None:
    say = telling(Path("/nowhere"))
    path = "/" + "/".join(part.strip() for part in parts)
    assert say.text(f"open('{path}')") == "open('…')" or path.endswith(".py")


# --- notebooks ----------------------------------------------------------------------------------------------------------------


def test_a_notebooks_text_code_tables_and_error_are_shown(lab: Path) -> None:
    html = "<table><tr><th>run</th><th>dB</th></tr><tr><td>a</td><td>20.5</td></tr></table>"
    trace = {"output_type": "error", "ename": "ZeroDivisionError", "evalue": "by zero", "traceback": ["Traceback", "1/0"]}
    run = executed(
        lab,
        cell("# The title\nSome *words* and **more**.\n\n- one\n- two", kind="markdown"),
        cell("rows", shown(text_html=html, text_plain="a table")),
        cell("print()", {"output_type": "stream", "text": "10%\r100%\n"}),
        cell("1/0", trace),
    )
    found = Page(contents(run).html()).text
    for words in ("The title", "and more.", "• one", "20.5", "100%", "ZeroDivisionError: by zero", "A cell failed"):
        assert words in found
    assert "10%\r" not in found
    assert "a table" not in found, "an output is shown once"


EVIL = """<script>alert(1)</script><style>*{}</style><img src="https://example.org/x.png"><img src=x onerror=alert(1)>
<iframe src="https://example.org"></iframe><a href="javascript:alert(1)">link</a><table><tr><td onclick="x()"><b>cell</b>"""


def test_nothing_of_a_notebooks_markup_reaches_the_page(lab: Path) -> None:
    plain = executed(lab, cell("x", shown(text_html="link<table><tr><td>cell</td></tr></table>")), cell("a", kind="markdown"))
    evil = executed(lab, cell("x", shown(text_html=EVIL)), cell(f"a {EVIL}".replace("\n", " "), kind="markdown"))
    tags = [[tag for tag, _ in Page(contents(run).html()).tags] for run in (plain, evil)]
    assert tags[0] == tags[1]
    assert "example.org" not in contents(evil).html()


@given(st.text("<>/ab='\" tdrh&;", max_size=80))
def test_any_markup_becomes_plain_blocks(html: str) -> None:
    found, pictures = blocks_in(html)
    assert pictures == []
    assert {type(block).__name__ for block in found} <= {"Paragraph", "Table"}
    assert not blocks_in("".join(found[0].text for _ in found[:1] if hasattr(found[0], "text")))[1]


def test_a_picture_bomb_and_a_torn_picture_are_left_out(lab: Path) -> None:
    head = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    assert decoded(bomb) is None
    large = io.BytesIO()
    Image.new("1", (6400, 6400)).save(large, "PNG")
    assert len(large.getvalue()) < 50_000
    assert decoded(large.getvalue()) is None, "41 million pixels"
    assert decoded(b"GIF89a") is None
    assert decoded(base64.b64decode(png())[:40]) is None
    assert decoded(base64.b64decode(png(7)))[0, 0].tolist() == [7, 7, 7]


def test_pictures_of_an_own_notebook_leave_only_by_their_number(lab: Path) -> None:
    run = executed(lab, cell("plot()", shown(image_png=png()), shown(text_html=f'<img src="data:image/png;base64,{png(9)}">')))
    page = contents(run)
    assert not blocks(page, Picture)
    assert any("accept_pictures=2" in notice.text for notice in blocks(page, Notice))
    assert len(blocks(contents(run, accept_pictures=2), Picture)) == 2
    with pytest.raises(ConsentError, match="1, and there are 2"):
        contents(run, accept_pictures=1)


def test_a_notebook_that_comes_with_the_lab_shows_its_pictures(lab: Path) -> None:
    ours = json.loads((Path(__file__).parents[1] / "notebooks" / "12_actors.ipynb").read_text())["cells"]
    ours[-1]["outputs"] = [shown(image_png=png())]
    cells = [*ours[:1], cell("recipe = 'smoke'", tags=("injected-parameters",)), *ours[1:]]
    assert len(blocks(contents(executed(lab, *cells)), Picture)) == 1
    changed = [*cells[:-1], {**cells[-1], "source": "open_anything()"}]
    assert not blocks(contents(executed(lab, *changed)), Picture)


def test_pictures_drawn_after_a_real_persons_file_came_in_never_leave(lab: Path) -> None:
    before = datetime.now(UTC)
    cells = [
        cell("a", shown(image_png=png(1)), ended=before),
        cell("b", shown(image_png=png(2)), ended=before + timedelta(hours=1)),
        cell("c", shown(image_png=png(3))),
    ]
    run = executed(lab, *cells, inside=lambda: ann(lab))
    page = contents(run, accept_pictures=1)
    (picture,) = blocks(page, Picture)
    assert picture.image[0, 0].tolist() == [1, 1, 1]
    assert any("Pictures withheld: 2" in notice.text for notice in blocks(page, Notice))
    later = executed(lab, cells[1])
    with pytest.raises(ConsentError, match="there are 0"):
        contents(later, accept_pictures=1)
    for path in (lab / "data_manifests").iterdir():
        path.unlink()
    # Somebody without an entry counts as real: they may have been erased.
    with pytest.raises(ConsentError, match="there are 0"):
        contents(later, accept_pictures=1)


def test_a_notebook_of_somebody_who_withdrew_is_refused(lab: Path) -> None:
    run = executed(lab, cell("a"), inside=lambda: ann(lab))
    withdraw(lab, "Ann Onymous", today=date(2026, 1, 1))
    with pytest.raises(ConsentError, match="withdrawn"):
        contents(run)


def test_the_runs_that_a_notebook_made_are_named(lab: Path) -> None:
    made: list[Run] = []
    run = executed(lab, cell("a"), inside=lambda: made.append(trained(lab)))
    assert made[0].id in Page(contents(run).html()).text


def test_a_pipeline_is_reported_with_the_notebooks_of_its_steps(lab: Path) -> None:
    note = executed(lab, cell("# What the step says", kind="markdown"))
    run = Run.start(lab, "pipeline", json.dumps({"name": "nightly"}), {})
    with run:
        run.emit("pipeline_step", step="train", state="started", run=note.id)
        run.emit("pipeline_step", step="train", state="finished", run=note.id, seconds=12.34)
        run.emit("pipeline_step", step="report", state="failed", run="notebook-00000000", got="no such folder")
        run.emit("failed", error="RunError", expected="every step to run to its end", got="report: no such folder", remedy="see it")
    page = contents(Run.open(run.id))
    (table,) = [block for block in section(page, "Pipeline").blocks if hasattr(block, "header")]
    assert table.rows == [["train", "finished", note.id, "12.3"], ["report", "failed", "notebook-00000000", ""]]
    assert blocks(page, Notice)[0].facts["got"] == "report: no such folder"
    assert "What the step says" in page.html()
    assert set(page.others) == {run.id, note.id}, "the mark and the log name both"


def test_what_a_cell_printed_piece_by_piece_is_one_text(lab: Path) -> None:
    pieces = [{"output_type": "stream", "name": "stderr", "text": text} for text in ("10%\r", "50%\r", "100%\n", "done\n")]
    page = contents(executed(lab, cell("work()", *pieces)))
    (printed,) = [block for block in section(page, "Notebook").blocks if isinstance(block, Printed)]
    assert printed.text == "100%\ndone"


def test_a_notebook_that_is_none_is_an_error_that_says_so(lab: Path) -> None:
    run = Run.start(lab, "notebook", "{}", {})
    with run:
        with run.write("notebook.ipynb") as path:
            path.write_text('{"cells": [1]}')
        run.finish()
    with pytest.raises(RunError, match="nbformat 4"):
        contents(Run.open(run.id))


# --- bad input ------------------------------------------------------------------------------------------------------------------


def test_what_cannot_be_reported_is_refused_in_plain_words(lab: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one run"):
        report(path=tmp_path / "out.html")
    run = trained(lab)
    other = trained(tmp_path / "another")
    with pytest.raises(ValueError, match="one lab"):
        report(run, other, path=tmp_path / "out.html")
    shutil.rmtree(run.path)
    with pytest.raises(RunError, match="none any more"):
        report(run, path=tmp_path / "out.html")
    assert not (tmp_path / "out.html").exists()


def test_the_command_takes_prefixes_and_names_what_it_cannot_open(lab: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run, other = trained(lab), trained(lab, steps=6)
    out = tmp_path / "out.html"
    assert command_line.main(["report", run.id[:10], other.id[:10], "-o", str(out), "--title", "Both"]) == 0
    assert "<h1>Both</h1>" in out.read_text()
    assert command_line.main(["report", "train-", "-o", str(out)]) == 1
    assert "one run whose id begins with" in capsys.readouterr().err
    assert command_line.main(["report", "nope", "-o", str(out)]) == 1
    assert "close matches" in capsys.readouterr().err
    (other.path / "run.json").write_text("{")
    assert command_line.main(["report", other.id, "-o", str(out)]) == 1
    assert "a readable" in capsys.readouterr().err
    assert "<h1>Both</h1>" in out.read_text(), "the older page is kept"


def test_another_file_is_not_replaced(lab: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.html").write_text("<html>")
    with pytest.raises(LabError, match="another file"):
        report(trained(lab), path=tmp_path / "mine.html")


# --- in a browser ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no chromium on PATH: install the package `chromium` to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


CUT = """[...document.querySelectorAll('table, pre, .tree, dl')].filter(each => {
    const box = each.getBoundingClientRect();
    return box.right > document.documentElement.clientWidth + 1 || box.left < -1;
}).map(each => each.className)"""
"""What is wider than the paper."""


@pytest.mark.slow
@pytest.mark.browser
def test_three_runs_side_by_side_ask_for_nothing_fit_the_screen_and_print_whole(browser: Any, lab: Path, tmp_path: Path) -> None:
    note = executed(lab, cell("# A notebook", kind="markdown"), cell("x", shown(image_png=png())), cell("1/0"))
    path = report(*three(lab), note, trained(lab, finish=False), path=tmp_path / "out.html", accept_pictures=1)
    for width, scheme in ((1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")):
        asked: list[str] = []
        said: list[str] = []
        with browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme) as context:
            page = context.new_page()
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.goto(path.as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
            if keep := os.environ.get("FACESWAP_LAB_SCREENSHOTS"):
                page.screenshot(path=str(Path(keep) / f"report-{width}-{scheme}.png"), full_page=True)
            page.set_viewport_size({"width": 680, "height": 900})
            page.emulate_media(media="print")
            assert page.evaluate(CUT) == [], "nothing is cut off on A4"
            closed = (
                "[...document.querySelectorAll('details')].filter(each => each.lastElementChild.getBoundingClientRect().height < 1)"
            )
            assert page.evaluate(f"{closed}.length") == 0, "what is folded is open on paper"
            assert page.pdf(format="A4").startswith(b"%PDF")
        assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
        assert said == []
