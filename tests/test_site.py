"""The documentation as a site: it builds strictly, holds everything, and asks no other host for anything, also in a real browser.

Needs the extra `docs` (`make docs` installs it); skipped without it.
"""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import faceswap_lab
from faceswap_lab.cli.parser import parser
from tests.test_browser import CHROMIUM
from tests.test_surface import commands

ROOT = Path(__file__).parent.parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(find_spec("mkdocs") is None, reason="needs the extra `docs`: make docs"),
]


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", str(source), "--site-dir", str(target)]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src", "link": "href"}
"""Tags that make a browser load something, and the attribute that says what."""


class Page(HTMLParser):
    """What a page loads, where its links lead, and which places in it a link can name."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)
        self.loads += re.findall(r"url\(\s*[\"']?([^\"')]+)", text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        known = {name: value or "" for name, value in attributes}
        self.anchors.add(known.get("id", ""))
        if address := known.get(LOADS.get(tag, "")):
            self.loads.append(address)
        if tag == "a" and "href" in known:
            self.links.append(known["href"])


def outside(text: str) -> list[str]:
    """Addresses on other hosts that a page or a style sheet loads something from."""
    return [address for address in Page(text).loads if urlsplit(address).netloc]


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    found = {path.name: outside(path.read_text()) for path in [*site.rglob("*.html"), *site.rglob("*.css")]}
    assert len(found) > 40
    assert not {name: addresses for name, addresses in found.items() if addresses}


@pytest.mark.parametrize(
    "text",
    [
        '<script src="https://unpkg.com/x"></script>',
        '<link rel="stylesheet" href="//fonts.example/css">',
        "@font-face { src: url('https://fonts.example/a.woff2') }",
        '<img alt="" src="http://example.org/a.png">',
    ],
)
def test_another_host_would_be_noticed(text: str) -> None:
    assert len(outside(text)) == 1


def test_every_link_within_the_site_leads_somewhere(site: Path) -> None:
    pages = {path: Page(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    lost = []
    for path, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            there = target.is_file() and (not parts.fragment or unquote(parts.fragment) in pages[target].anchors)
            if not there:
                lost.append((path.name, link))
    assert not lost


def test_every_command_public_name_and_notebook_has_its_place(site: Path) -> None:
    shown = Page((site / "reference/cli.html").read_text()).anchors
    assert {command.replace(" ", "-") for command in commands(parser())} <= shown
    names = (site / "reference/python.html").read_text()
    assert [name for name in faceswap_lab.__all__ if not re.search(rf"\blab\.{name}\s*<", names)] == []
    for script in (ROOT / "notebooks").glob("*.py"):
        assert (site / f"notebooks/{script.stem}.html").is_file()
        assert (site / f"notebooks/{script.stem}.ipynb").read_bytes() == script.with_suffix(".ipynb").read_bytes()


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("# Small\n\n[lost](nowhere.md)\n")
    settings = (ROOT / "mkdocs.yml").read_text()
    validation = settings[settings.index("validation:") :]
    config = tmp_path / "mkdocs.yml"
    config.write_text(f"site_name: small\nstrict: true\nnav: [index.md]\n{validation}")
    assert "nowhere.md" in (done := build(config, tmp_path / "site")).stderr
    assert done.returncode == 1


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
def test_a_browser_reads_and_searches_it_from_the_disk_and_asks_nobody(site: Path) -> None:
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    wrong: list[str] = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(color_scheme="dark")
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        for name in ("index.html", "project/architecture.html", "reference/python.html", "notebooks/00_quickstart.html"):
            page.goto((site / name).as_uri())
            assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        page.goto((site / "index.html").as_uri())
        assert page.evaluate("document.body.dataset.mdColorScheme") == "slate"
        page.click("input.md-search__input")
        page.keyboard.type("ceiling")
        page.wait_for_selector(".md-search-result__item a[href*='concepts/truth.html']", timeout=60_000)
        browser.close()
    assert not wrong
    assert len(asked) > 10
    assert not [url for url in asked if urlsplit(url).scheme not in ("file", "data", "blob", "about")]
