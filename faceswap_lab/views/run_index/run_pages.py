"""The pages of single runs beside an index: reports that are made again only where something they tell of has changed."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ConsentError, LabError, RunError
from faceswap_lab.files import canonical, sha256_file, sha256_text, write_whole
from faceswap_lab.progress import Progress
from faceswap_lab.runs.environment import code_version
from faceswap_lab.runs.events import segments
from faceswap_lab.runs.run import Run, Survey
from faceswap_lab.runs.sharing.descent import Descent
from faceswap_lab.trust import audit

MADE = ".made.json"
"""A file in the folder of pages: of each page the digest of what it tells of, and its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunPages:
    """The pages of runs by run id: `made` now, `kept` from before, and `left_out` with the reason, in words that name nobody."""

    folder: Path
    made: tuple[str, ...]
    kept: tuple[str, ...]
    left_out: dict[str, str]

    def address(self, run: str) -> str:
        """A run's page, relative to the index; empty if it has none."""
        return f"{self.folder.name}/{run}.html" if run in self.made or run in self.kept else ""


def write_pages(seen: Survey, wanted: Sequence[Run], folder: Path) -> RunPages:
    """Report of each run in `wanted` as `folder`/ID.html, with the evaluations of a swap on its page.

    A page is made again if its run, a run that it stands on or that stands on it, the manifests or the code have changed since, or
    if the file is not the one that was written. Pages of runs that are not wanted any more are removed. Each is an export of its
    own: the gate is asked, and it is marked and logged.
    """
    descent, before = Descent.of(seen.runs), _read(folder)
    root = wanted[0].root if wanted else folder
    around = _around(root)
    made, kept, left_out, after = [], [], {}, {}
    line = Progress("reports", len(wanted), unit="pages")
    for number, run in enumerate(wanted, 1):
        page, key = folder / f"{run.id}.html", sha256_text(around + _told_of(run, descent))
        if before.get(run.id, {}).get("key") == key and page.is_file() and sha256_file(page) == before[run.id]["sha256"]:
            kept.append(run.id)
            after[run.id] = before[run.id]
        elif reason := _make(run, descent, page):
            left_out[run.id] = reason
        else:
            made.append(run.id)
            after[run.id] = {"key": key, "sha256": sha256_file(page)}
            write_whole(folder / MADE, canonical(before | after) + "\n")  # so that an interruption loses no page
        line.update(number)
    line.close()
    for name in before.keys() - after.keys():
        _remove(root, folder / f"{name}.html", before[name]["sha256"])
    if before or after:
        write_whole(folder / MADE, canonical(after) + "\n")
    return RunPages(folder=folder, made=tuple(made), kept=tuple(kept), left_out=left_out)


def _make(run: Run, descent: Descent, page: Path) -> str:
    """Write the page; the reason if it is not let out, or the run is not what was written."""
    from faceswap_lab.views.report.runs import report

    scores = [each for each in descent.children.get(run, ()) if run.verb == "swap" and each.verb == "evaluate" and each.finished]
    try:
        report(run, *scores, path=page, title=run.id)
    except ConsentError:
        return "No page: the gate lets none out without somebody having looked (faceswap-lab report says what is asked)."
    except RunError:
        return "No page: the run, or a file of it, is not as it was written."
    except LabError as error:
        return f"No page: {type(error).__name__}. {(type(error).__doc__ or '').splitlines()[0]}"
    return ""


def _told_of(run: Run, descent: Descent) -> str:
    """A text that changes with anything on the run's page: the records of its relatives, and its own events."""
    relatives = [*descent.ancestors(run), *_below(run, descent)]
    records = [canonical(each.record.model_dump(mode="json")) for each in relatives]
    return canonical([sha256_text(text) for text in records] + [sha256_file(segment) for segment in segments(run.path)])


def _below(run: Run, descent: Descent) -> Iterator[Run]:
    """Everything that stands on a run."""
    waiting, found = [run], {run}
    while waiting:
        fresh = [child for child in descent.children.get(waiting.pop(0), ()) if child not in found]
        yield from fresh
        found |= set(fresh)
        waiting += fresh


def _around(root: Path) -> str:
    """What all pages depend on: the code, and who agreed to what."""
    manifests = sorted((root / "data_manifests").glob("*")) if (root / "data_manifests").is_dir() else []
    return canonical([code_version(), *(sha256_file(path) for path in manifests if path.is_file())])


def _read(folder: Path) -> dict[str, dict[str, str]]:
    """What was made before; nothing if that is unknown, so that all is made again."""
    try:
        found: Any = json.loads((folder / MADE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return {str(name): made for name, made in _pairs(found) if isinstance(made, dict) and made.keys() == {"key", "sha256"}}


def _pairs(found: Any) -> Iterable[tuple[Any, Any]]:
    return found.items() if isinstance(found, dict) else ()


def _remove(root: Path, page: Path, digest: str) -> None:
    """Remove a page if it is still what was written; logged first."""
    if page.is_file() and sha256_file(page) == digest:
        audit.append(root, {"action": "export removed", "file": page.name, "sha256": digest})
        page.unlink()
