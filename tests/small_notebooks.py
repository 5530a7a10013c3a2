"""Notebooks and pipelines of a few cells for tests: written where a test wants them, and run without torch."""

import json
from pathlib import Path

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def write_notebook(path: Path, *cells: str, parameters: str | None = "") -> Path:
    """A notebook with a parameters cell (None: without one) and these code cells."""
    sources = [] if parameters is None else [(parameters, ["parameters"])]
    sources += [(cell, []) for cell in cells]
    made = [
        {
            "cell_type": "code",
            "id": f"cell-{number}",
            "metadata": {"tags": tags} if tags else {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for number, (source, tags) in enumerate(sources)
    ]
    path.write_text(json.dumps({"cells": made, "metadata": KERNEL, "nbformat": 4, "nbformat_minor": 5}))
    return path


def returning(summary: str) -> str:
    """A last cell that returns a summary, without importing the package, which takes seconds."""
    return (
        "from IPython.display import display\n"
        f"display({{'application/vnd.faceswap-lab.summary+json': {summary}, 'text/plain': ''}}, raw=True)"
    )


def write_pipeline(path: Path, text: str) -> Path:
    """A pipeline of this name with a title."""
    path.write_text(f'title = "a test"\n{text}')
    return path
