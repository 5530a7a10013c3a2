"""The index of runs in a real browser, from its file: what a hand and a keyboard do there, and that it asks nobody for anything."""

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from benchmarks.run_index import make_lab
from faceswap_lab.views.run_index.writing import index

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"]
NUMBER = 90


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The index of a lab of ninety runs."""
    folder = tmp_path_factory.mktemp("index")
    make_lab(folder / "lab", NUMBER)
    with mock.patch.dict(os.environ, FACESWAP_LAB_ROOT=str(folder / "lab")):
        return index(folder / "index.html", title="</title><script>document.title = 'taken'</script>").path


@pytest.fixture(scope="module")
def runs(written: Path) -> list[dict[str, Any]]:
    """The data of the page."""
    found = re.search(r'id="data">(.*?)</script>', written.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    told: list[dict[str, Any]] = json.loads(found[1])["runs"]
    return told


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Any, written: Path, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The page, opened; afterwards it has made no request and said nothing."""
    asked: list[str] = []
    said: list[str] = []
    with browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **getattr(request, "param", {})}) as context:
        opened = context.new_page()
        opened.set_default_timeout(120_000)
        opened.on("request", lambda each: asked.append(each.url))
        opened.on("console", lambda each: said.append(each.text))
        opened.on("pageerror", lambda each: said.append(str(each)))
        opened.goto(written.as_uri())
        yield opened
    assert {each.partition("#")[0] for each in asked} == {written.as_uri()}
    assert said == []


def ids(page: Any) -> list[str]:
    """The runs that the table shows, from top to bottom, all of them."""
    page.evaluate("more => { while (!more.hidden) more.click(); }", page.locator("#more").element_handle())
    found: list[str] = page.locator("#runs tbody a.run").all_inner_texts()
    return found


def asked_for(page: Any, query: str) -> set[str]:
    page.locator("#query").fill(query)
    return set(ids(page))


def having(runs: list[dict[str, Any]], test: Any) -> set[str]:
    return {run["id"] for run in runs if test(run)}


def test_filters_find_what_python_finds(page: Any, runs: list[dict[str, Any]]) -> None:
    """The same questions, asked of the data in Python."""

    def setting(run: dict[str, Any], name: str) -> Any:
        return run.get("settings", {}).get(name)

    below: dict[int, set[int]] = {}
    for place in sorted(range(len(runs)), key=lambda each: runs[each].get("created", "")):
        parents = runs[place].get("parents", [])
        below[place] = {*parents, *(more for parent in parents for more in below[parent])}
    trained = next(
        place for place, run in enumerate(runs) if run["verb"] == "train" and any(place in found for found in below.values())
    )
    rate = "train.learning_rate"
    expected = {
        "": having(runs, lambda run: True),
        "verb = swap": having(runs, lambda run: run["verb"] == "swap"),
        "verb=swap|train": having(runs, lambda run: run["verb"] in ("swap", "train")),
        "status != finished": having(runs, lambda run: run["status"] != "finished"),
        "status = unreadable": having(runs, lambda run: run["status"] == "unreadable"),
        "train.learning_rate < 0.001": having(runs, lambda run: (setting(run, rate) or 1) < 0.001),
        "learning_rate <= 1e-3 net.size = 96": having(
            runs, lambda run: (setting(run, rate) or 1) <= 0.001 and setting(run, "net.size") == 96
        ),
        "supervision = TRUTH": having(runs, lambda run: setting(run, "supervision") == "truth"),
        "verb = evaluate psnr_face >= 20": having(
            runs, lambda run: run["verb"] == "evaluate" and run["scores"]["psnr_face"][0] >= 20
        ),
        "date = 2026-09-1": having(runs, lambda run: run.get("created", "").startswith("2026-09-1")),
        "date > 2026-09-20": having(runs, lambda run: run.get("created", "")[:10] > "2026-09-20"),
        "date <= 2026-09-20": having(runs, lambda run: "" < run.get("created", "")[:10] <= "2026-09-20"),
        f"stands_on = {runs[trained]['id']}": {runs[place]["id"] for place, found in below.items() if trained in found},
        "speech -mean": having(runs, lambda run: "speech" in json.dumps(run) and '"mean"' not in json.dumps(run)),
        "OutOfMemory": having(runs, lambda run: "OutOfMemory" in run.get("why", "")),
        '"made by nobody"': set(),
    }
    found = {query: asked_for(page, query) for query in expected}
    assert found == expected
    assert all(0 < len(expected[query]) < len(runs) for query in expected if query not in ("", '"made by nobody"')), (
        "each query asks something"
    )


def test_a_wrong_query_says_so_and_loses_nothing(page: Any) -> None:
    everything = asked_for(page, "")
    assert asked_for(page, "lerning_rate < 1") == everything
    problem = page.locator("#problem")
    assert "No run has the field “lerning_rate”. Did you mean train.learning_rate" in problem.inner_text()
    problem.get_by_role("link", name="train.learning_rate").click()
    assert page.locator("#query").input_value() == "train.learning_rate < 1"
    assert problem.inner_text() == ""
    for query, told in (("learning_rate < fast", "is a number"), ("verb =", "lacks a value")):
        assert asked_for(page, query) == everything
        assert told in problem.inner_text()
    for query in ('"', "-", "= 3", "a" * 3000, "<script>alert(1)</script>", "(((", "\\"):
        page.locator("#query").fill(query)
    assert asked_for(page, "") == everything


def test_facets_write_the_query_and_are_pressed_by_it(page: Any, runs: list[dict[str, Any]]) -> None:
    facets = page.locator("#facets")
    facets.get_by_role("button", name=re.compile("^swap")).click()
    facets.get_by_role("button", name=re.compile("^train")).click()
    assert page.locator("#query").input_value() == "verb = swap|train"
    assert set(ids(page)) == having(runs, lambda run: run["verb"] in ("swap", "train"))
    failed = having(runs, lambda run: run["status"] == "failed" and run["verb"] == "train")
    assert facets.get_by_role("button", name=re.compile("^failed")).inner_text().split() == ["failed", str(len(failed))]
    facets.get_by_role("button", name=re.compile("^swap")).click()
    assert page.locator("#query").input_value() == "verb = train"
    page.locator("#query").fill("status = failed")
    assert facets.get_by_role("button", name=re.compile("^failed")).get_attribute("aria-pressed") == "true"


def test_columns_sort_both_ways_and_the_empty_come_last(page: Any, runs: list[dict[str, Any]]) -> None:
    dates = sorted((run["created"], run["id"]) for run in runs if "created" in run)
    assert ids(page)[: len(dates)] == [name for _, name in reversed(dates)], "the newest first"
    page.locator("#runs th[data-name=date] button").click()
    assert ids(page)[: len(dates)] == [name for _, name in dates]
    assert page.locator("#runs th[data-name=date]").get_attribute("aria-sort") == "ascending"
    page.locator("#columns").select_option("train.batch")
    page.locator("#runs th[data-name='train.batch'] button").first.click()
    batches = [(run.get("settings") or {}).get("train.batch") for name in ids(page) for run in runs if run["id"] == name]
    known = [batch for batch in batches if batch is not None]
    assert known == sorted(known)
    assert batches[: len(known)] == known


def test_a_run_is_followed_to_what_it_stands_on_and_back(page: Any, runs: list[dict[str, Any]]) -> None:
    score = next(run for run in runs if run["verb"] == "evaluate")
    swap = runs[score["parents"][0]]
    page.locator("#query").fill(score["id"])
    page.locator("#runs").get_by_role("link", name=score["id"]).click()
    detail = page.locator("#detail")
    assert detail.locator("h2").inner_text() == score["id"]
    detail.locator(".lineage").get_by_role("link", name=swap["id"], exact=True).click()
    assert detail.locator("h2").inner_text() == swap["id"]
    detail.locator(".lineage").get_by_role("link", name=score["id"], exact=True).click()
    page.go_back()
    assert detail.locator("h2").inner_text() == swap["id"]
    detail.locator(".lineage").get_by_role("link", name="actor 32", exact=True).first.click()
    assert page.locator("#query").input_value() == 'data = "actor 32"'
    found = set(ids(page))
    assert {score["id"], swap["id"]} <= found, "what stands on something that stands on it is found too"
    assert len(found) < len(runs)
    page.keyboard.press("Escape")
    assert detail.is_hidden()


def test_a_failed_run_says_why(page: Any, runs: list[dict[str, Any]]) -> None:
    for status in ("failed", "stopped", "unreadable"):
        run = next(each for each in runs if each["status"] == status)
        page.locator("#query").fill(run["id"])
        assert run["why"] in page.locator("#runs tbody").inner_text()
        page.locator("#runs tbody a.run").click()
        assert run["why"] in page.locator("#detail").inner_text()
        page.keyboard.press("Escape")


def test_runs_are_compared_side_by_side_differences_first(page: Any, runs: list[dict[str, Any]]) -> None:
    page.locator("#query").fill("verb = train status = finished")
    boxes = page.locator("#runs tbody input")
    boxes.nth(0).check()
    assert page.locator("#tray button.main").is_disabled(), "one run is no comparison"
    boxes.nth(1).check()
    boxes.nth(3).check()
    chosen = page.locator("#tray .chip").all_inner_texts()
    page.locator("#tray button.main").click()
    table = page.locator("#comparison table.compared")
    one, other, third = (next(run for run in runs if run["id"] in name) for name in chosen)
    differing = {name for name in one["settings"] if len({json.dumps(run["settings"][name]) for run in (one, other, third)}) > 1}
    assert differing
    first = table.locator("tbody").first
    assert set(first.locator("tr:not(:first-child) th").all_inner_texts()) == differing
    same = page.locator("#comparison details")
    same.locator("summary").click()
    assert set(one["settings"]) - differing <= set(same.locator("dt").all_inner_texts())
    assert "floor" in table.inner_text()
    assert one["code"] in table.inner_text()
    shared = page.url
    page.goto("about:blank")
    page.goto(shared)
    assert page.locator("#comparison thead a").all_inner_texts() == [one["id"], other["id"], third["id"]], "the address holds it"
    page.get_by_role("button", name=f"Remove {other['id']}").first.click()
    assert page.locator("#comparison thead a").all_inner_texts() == [one["id"], third["id"]]


def test_no_more_than_six_are_compared(page: Any) -> None:
    boxes = page.locator("#runs tbody input")
    for place in range(7):
        boxes.nth(place).click()
    assert page.locator("#tray .chip").count() == 6
    assert not boxes.nth(6).is_checked()
    assert "At most 6" in page.locator("#count").inner_text()


def test_everything_is_reached_by_the_keyboard(page: Any) -> None:
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "query"
    page.keyboard.type("verb = train status = finished")
    focused = []
    for _ in range(400):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.className"))
        if focused[-1] == "run":
            break
    assert focused[-1] == "run"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "detail"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.className") == "run", "the focus returns to where it was"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Space")
    assert page.locator("#tray .chip").count() == 1
    unnamed = """() => [...document.querySelectorAll("button, input, select, a")].filter(each => each.checkVisibility()
        && !(each.innerText.trim() || each.getAttribute("aria-label") || each.labels?.length)).map(each => each.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_a_trend_leads_to_the_runs_of_its_code(page: Any, runs: list[dict[str, Any]]) -> None:
    page.locator("#views").get_by_role("button", name="Trends").click()
    assert page.locator("#trends figure").count() == 7
    point = page.locator("#trends svg a").first
    code = re.search(r"code (\S+)$", point.get_attribute("aria-label"))
    assert code
    point.focus()
    page.keyboard.press("Enter")
    assert set(ids(page)) == having(runs, lambda run: run.get("code") == code[1])


@pytest.mark.parametrize(
    "page",
    [
        {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
        for scheme in ("light", "dark")
        for width in (390, 1440)
    ],
    indirect=True,
    ids=["light narrow", "light wide", "dark narrow", "dark wide"],
)
def test_it_fits_the_screen_in_light_and_dark(page: Any, request: pytest.FixtureRequest) -> None:
    width = page.viewport_size["width"]

    def fits() -> bool:
        wide: int = page.evaluate("document.documentElement.scrollWidth")
        return wide <= width

    assert fits()
    page.locator("#query").fill("verb = train status = finished learning_rate < 1")
    assert fits()
    for place in range(3):
        page.locator("#runs tbody input").nth(place).check()
    page.locator("#runs tbody a.run").first.click()
    assert fits()
    page.keyboard.press("Escape")
    page.locator("#tray button.main").click()
    assert fits()
    page.locator("#views").get_by_role("button", name="Trends").click()
    assert fits()
    paper, ink = page.evaluate("(style => [style.backgroundColor, style.color])(getComputedStyle(document.body))")
    light = [sum(int(part) for part in re.findall(r"\d+", colour)[:3]) for colour in (paper, ink)]
    assert (light[0] > light[1]) == ("light" in request.node.callspec.id)


def test_it_prints_as_a_plain_table_of_all_runs(page: Any, runs: list[dict[str, Any]]) -> None:
    assert page.locator("#runs tbody tr").count() < len(runs)
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("#runs tbody tr:visible").count() == len(runs)
    for hidden in ("#query", "#facets", "#tray", "#runs input", "#columns"):
        assert not page.locator(hidden).first.is_visible()
    page.emulate_media(media="screen")


def test_without_scripts_there_is_a_plain_table(browser: Any, written: Path, runs: list[dict[str, Any]]) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        opened = context.new_page()
        opened.goto(written.as_uri())
        assert opened.locator("noscript table tbody tr").count() == len(runs)


def test_a_title_with_markup_is_text(page: Any) -> None:
    assert page.title() == "</title><script>document.title = 'taken'</script>"
    assert page.locator("h1").inner_text() == "</title><script>document.title = 'taken'</script>"
