"""A page for each notebook, from its text half (`notebooks/NAME.py`), without running it."""

import posixpath
from pathlib import Path

import jupytext
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

FOLDER = Path(__file__).parents[2] / "notebooks"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Names the pages in the navigation, by number."""
    entry = next(item for item in config.nav or [] if "Notebooks" in item)
    entry["Notebooks"] = [{path.stem: f"notebooks/{path.stem}.md"} for path in sorted(FOLDER.glob("*.py"))]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds a page and the notebook itself, to be downloaded."""
    for path in sorted(FOLDER.glob("*.py")):
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=page(path)))
        notebook = path.with_suffix(".ipynb")
        files.append(File.generated(config, posixpath.join("notebooks", notebook.name), abs_src_path=str(notebook)))
    return files


def page(path: Path) -> str:
    """The notebook as Markdown: its text as it is, its code as code, the cell of parameters named as such."""
    title, *rest = (_shown(cell) for cell in jupytext.read(path).cells)
    note = f"*This is `notebooks/{path.name}` as it is written, without outputs. [Download the notebook]({path.stem}.ipynb).*"
    heading, _, text = title.partition("\n")
    return "\n\n".join([heading, note, text.strip(), *rest]) + "\n"


def _shown(cell: dict) -> str:
    if cell["cell_type"] == "markdown":
        return cell["source"]
    named = ' title="parameters"' if "parameters" in cell["metadata"].get("tags", []) else ""
    return f"```python{named}\n{cell['source']}\n```"
