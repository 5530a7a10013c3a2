"""The Python reference: one page of public names, and one for each package, both made from the docstrings.

The public names come from `faceswap_lab` itself and the packages from the disk, so neither page can leave anything out.
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
PACKAGE = "faceswap_lab"
NOT_SHOWN = {"faceswap_lab.cli"}
"""Has a page of its own, made from the parser."""

PUBLIC = """# Python

Everything that `import faceswap_lab as lab` offers. Names load on first use, so that the import costs nothing. What is behind them
is described package by package, under *Rooms*. Names there may change between versions; those on this page change only with a line
in the [changelog](../project/changelog.md). `lab.recipes` has [a page of its own](recipes.md).
"""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Names the rooms' pages in the navigation: a package with packages inside is a section."""
    reference = next(item["Reference"] for item in config.nav or [] if "Reference" in item)
    entry = next(item for item in reference if "Rooms" in item)
    sections: defaultdict[str, list[str]] = defaultdict(list)
    for package in packages():
        sections[package.split(".")[1] if "." in package else package].append(package)
    entry["Rooms"] = [_section(name, inside) for name, inside in sections.items()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages."""
    files.append(File.generated(config, "reference/python.md", content=public_page()))
    for package in packages():
        files.append(File.generated(config, _place(package), content=package_page(package)))
    return files


def packages() -> list[str]:
    """Dotted names of the packages that have a page, the outermost first."""
    found = (path.parent.relative_to(ROOT) for path in (ROOT / PACKAGE).rglob("__init__.py"))
    return [name for name in sorted(".".join(path.parts) for path in found) if name not in NOT_SHOWN]


def public_page() -> str:
    """The public names in the order of the alphabet, each with what it is."""
    sys.path.insert(0, str(ROOT))
    import faceswap_lab

    blocks = []
    for name in faceswap_lab.__all__:
        place = faceswap_lab._PLACES[name]
        module, _, attribute = place.partition(":")
        shown = f"{module}.{attribute}" if attribute else module
        # The room's page is where links to the object lead.
        extra = "" if attribute else "      members: false\n"
        options = f"      heading: lab.{name}\n      toc_label: {name}\n      skip_local_inventory: true\n{extra}"
        blocks.append(f"::: {shown}\n    options:\n{options}")
    return PUBLIC + "\n" + "\n".join(blocks)


def package_page(package: str) -> str:
    """A package's own sentence, then its modules."""
    folder = ROOT / package.replace(".", "/")
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    modules = sorted(path.stem for path in folder.glob("*.py") if not path.stem.startswith("__"))
    blocks = [f"::: {package}.{module}\n    options:\n      heading: {module}\n      toc_label: {module}\n" for module in modules]
    return f"# {package}\n\n{said}\n\n" + "\n".join(blocks)


def _place(package: str) -> str:
    return f"reference/rooms/{package}.md"


def _section(name: str, inside: list[str]) -> dict[str, Any]:
    if len(inside) == 1:
        return {name: _place(inside[0])}
    return {name: [_place(inside[0]), *({package.split(".", 2)[2]: _place(package)} for package in inside[1:])]}
