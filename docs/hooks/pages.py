"""Pages of the site that lie elsewhere in the repository, and links between Markdown files as links between pages.

A Markdown file is written so that its links work where it lies. Here each is resolved against the repository and, if it names the
source of a page, becomes a link to that page; what names none stays as it is, and the strict build refuses it.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "project/architecture.md",
    "CONTRIBUTING.md": "project/contributing.md",
    "CHANGELOG.md": "project/changelog.md",
    "benchmarks/README.md": "project/benchmarks.md",
    "data_manifests/README.md": "reference/manifests.md",
    "environments/README.md": "project/environments.md",
}
"""Path in the repository to path in the site."""

_ALONE = "---\nhide: [navigation]\n---\n\n"
"""The first page has no others beside it to navigate to."""

_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
_FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie outside docs/."""
    for source, place in ELSEWHERE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, place, content=_ALONE + text if place == "index.md" else text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its links turned."""
    place = page.file.src_uri
    source = next((path for path, known in ELSEWHERE.items() if known == place), f"docs/{place}")
    pieces = _FENCED.split(markdown)
    pieces[::2] = [_LINK.sub(lambda link: _turned(link[1], link[2] or "", source, place), piece) for piece in pieces[::2]]
    return "".join(pieces)


def _turned(link: str, anchor: str, source: str, place: str) -> str:
    named = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    target, anchor = _page_of(named, anchor)
    return link + anchor if target is None else posixpath.relpath(target, posixpath.dirname(place) or ".") + anchor


def _page_of(path: str, anchor: str) -> tuple[str | None, str]:
    """Where in the site a file of the repository is shown; None if nowhere."""
    if path in ELSEWHERE:
        return ELSEWHERE[path], anchor
    if path.startswith("docs/"):
        return path.removeprefix("docs/"), anchor
    if path.startswith("notebooks/"):
        return path.rpartition(".")[0] + ".md", anchor
    if path.startswith("faceswap_lab/cli/"):
        return "reference/cli.md", anchor
    if path == "faceswap_lab/__init__.py":
        return "reference/python.md", anchor
    if path.startswith("faceswap_lab/") and path.endswith(".py"):
        module = path.removesuffix(".py").replace("/", ".")
        return f"reference/rooms/{module.rpartition('.')[0]}.md", f"#{module}"
    return None, anchor
