"""The demo's page in Chromium: open it, upload, agree, swap, move the slider, download; and nothing leaves the machine."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from faceswap_lab.serve.demo import Place
from faceswap_lab.trust.marks.metadata import read_mark
from tests import demos
from tests.demos import Running
from tests.test_browser import CHROMIUM, FLAGS, PATIENCE_S

pytestmark = [
    demos.GRADIOS_WARNINGS,
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.weights,
    pytest.mark.timeout(1800),
]

MOST_MS = PATIENCE_S * 1000


@dataclass
class Visit:
    """A page of the demo, with what went wrong on it."""

    page: Any
    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def open_own(self, picture: Path, *, agree: bool = True) -> None:
        """Fill in the form for a picture of one's own."""
        self.page.get_by_role("tab", name="Your own").click()
        self.page.locator("input[type=file]").first.set_input_files(picture)
        self.page.get_by_text(picture.name).first.wait_for(timeout=MOST_MS)
        if agree:
            self.page.locator("#consent input").check()
        self.page.locator("#reason :is(textarea, input)").first.fill("a test with an actor's picture")
        self.page.locator("#reason :is(textarea, input)").first.blur()

    def swap(self) -> None:
        self.page.locator("#swap").click()

    def screenshot(self, name: str) -> None:
        if folder := os.environ.get("FACESWAP_LAB_SCREENSHOTS"):
            self.page.screenshot(path=f"{folder}/demo_{name}.png", full_page=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    root = tmp_path_factory.mktemp("lab")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("faceswap_lab.serve.demo.cache_folder", lambda: root / "cache")
        with demos.running(root) as found:
            yield found


def visit(browser: Any, there: Running, *, width: int = 1440, dark: bool = False) -> Visit:
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", accept_downloads=True
    )
    found = Visit(context.new_page())
    home = urlsplit(there.demo.address).netloc
    found.page.on("console", lambda said: found.errors.append(said.text) if said.type == "error" else None)
    found.page.on("pageerror", lambda error: found.errors.append(str(error)))
    found.page.on(
        "request",
        lambda sent: (
            found.strangers.append(sent.url)
            if urlsplit(sent.url).scheme not in ("data", "blob") and urlsplit(sent.url).netloc != home
            else None
        ),
    )
    found.page.goto(there.demo.address)
    return found


@pytest.mark.parametrize(("width", "dark"), [(1440, False), (390, True)])
def test_the_first_thing_a_visitor_sees_is_a_result_and_nothing_is_asked_of_other_hosts(
    browser: Any, there: Running, width: int, dark: bool
) -> None:
    seen = visit(browser, there, width=width, dark=dark)
    seen.page.locator("#slider img").first.wait_for(timeout=MOST_MS)
    seen.page.get_by_text("the true answer", exact=True).first.wait_for(timeout=MOST_MS)
    seen.page.locator(".fl-scores tr").nth(4).wait_for(timeout=MOST_MS)
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out to the side"
    assert not seen.page.get_by_text("Built with Gradio").is_visible()
    assert not seen.page.get_by_text("Use via API").is_visible()
    assert seen.page.evaluate("document.body.classList.contains('dark')") is dark
    seen.screenshot(f"first_{width}")
    assert (seen.errors, seen.strangers) == ([], [])
    seen.page.context.close()


def test_a_visitor_uploads_agrees_swaps_compares_and_downloads_a_marked_file(browser: Any, there: Running, tmp_path: Path) -> None:
    seen = visit(browser, there)
    seen.open_own(demos.upload(tmp_path / "me.png"))
    seen.swap()
    seen.page.get_by_role("heading", name="The result").wait_for(timeout=MOST_MS)
    slider = seen.page.locator("#slider")
    slider.locator("img").first.wait_for()
    before = pixels(seen)
    box = slider.bounding_box()
    middle = box["y"] + box["height"] / 2
    seen.page.mouse.move(box["x"] + box["width"] / 2, middle)
    seen.page.mouse.down()
    seen.page.mouse.move(box["x"] + box["width"] * 0.9, middle, steps=8)
    seen.page.mouse.up()
    assert np.abs(pixels(seen) - before).max() > 40, "the slider shows more of the picture before"
    seen.screenshot("result")
    with seen.page.expect_download() as coming:
        seen.page.locator("#download").click()
    coming.value.save_as(tmp_path / coming.value.suggested_filename)
    mark = read_mark(tmp_path / coming.value.suggested_filename)
    assert mark is not None
    assert mark[0]["target"] == {"origin": "withheld", "subject": "withheld"}
    assert "No true answer" in seen.page.locator("#scores").inner_text()
    assert (seen.errors, seen.strangers) == ([], [])
    seen.page.context.close()


def pixels(seen: Visit) -> np.ndarray:
    import io

    return np.asarray(Image.open(io.BytesIO(seen.page.locator("#slider").screenshot())).convert("RGB")).astype(int)


def test_what_is_refused_is_said_on_the_page_and_the_example_stays(browser: Any, there: Running, tmp_path: Path) -> None:
    seen = visit(browser, there)
    seen.page.locator("#slider img").first.wait_for(timeout=MOST_MS)
    seen.open_own(demos.upload(tmp_path / "me.png"), agree=False)
    seen.swap()
    refused = seen.page.locator(".fl-refusal")
    refused.wait_for(timeout=MOST_MS)
    assert "Expected: the statement that the person in the picture agreed" in refused.inner_text()
    assert seen.page.locator("#slider img").first.is_visible()
    seen.screenshot("refused")
    assert (seen.errors, seen.strangers) == ([], [])
    seen.page.context.close()


def test_what_is_too_large_is_refused_and_the_page_goes_on(browser: Any, there: Running, tmp_path: Path) -> None:
    seen = visit(browser, there)
    seen.page.locator("#slider img").first.wait_for(timeout=MOST_MS)
    seen.page.get_by_role("tab", name="Your own").click()
    seen.page.locator("input[type=file]").first.set_input_files(demos.noise(tmp_path / "large.png", 2_200_000))
    seen.page.get_by_text("exceeds").or_(seen.page.get_by_text("maximum")).first.wait_for(timeout=MOST_MS)
    seen.swap()
    seen.page.locator(".fl-refusal").wait_for(timeout=MOST_MS)
    assert "no file yet" in seen.page.locator(".fl-refusal").inner_text()
    assert seen.strangers == []
    seen.page.context.close()


def test_the_login_page_turns_away_and_lets_in(browser: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceswap_lab.serve.demo.cache_folder", lambda: tmp_path / "cache")
    with demos.running(tmp_path, Place(users=demos.users_file(tmp_path))) as there:
        seen = visit(browser, there)
        assert seen.page.url.endswith("/login")
        seen.screenshot("login")
        for password in ("wrong", demos.PASSWORD):
            seen.page.get_by_label("Name").fill(demos.NAME)
            seen.page.get_by_label("Password").fill(password)
            seen.page.get_by_role("button", name="Log in").click()
            if password == "wrong":
                seen.page.get_by_text("The name or the password is wrong.").wait_for(timeout=MOST_MS)
        seen.page.get_by_text(f"Log out {demos.NAME}").wait_for(timeout=MOST_MS)
        seen.page.get_by_text(f"Log out {demos.NAME}").click()
        seen.page.wait_for_url("**/login", timeout=MOST_MS)
        assert seen.strangers == []
        # Leaving the page ends what it was reading.
        assert [
            each for each in seen.errors if "401" not in each and "abort" not in each.lower() and "errored out" not in each
        ] == []
        seen.page.context.close()
