"""`index`: one page over all runs of the lab, written, logged and moved into place."""

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from faceswap_lab.files import lab_root, put_in_place, sha256_file, user_path
from faceswap_lab.runs.run import Run, Survey
from faceswap_lab.runs.sharing.outgoing import outgoing
from faceswap_lab.trust import audit
from faceswap_lab.trust.consent.manifest import utc_today
from faceswap_lab.views.run_index import page, reasons
from faceswap_lab.views.run_index.contents import contents_of
from faceswap_lab.views.run_index.run_pages import RunPages, write_pages
from faceswap_lab.views.run_index.trend_lines import trends_of
from faceswap_lab.views.trends import trends

_HEAD = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """What was written: the page, the number of its runs by status, and with `reports` the pages of single runs beside it."""

    path: Path
    sha256: str
    statuses: dict[str, int]
    pages: RunPages | None = None


def index(path: str | Path = "index.html", *, reports: bool = False, title: str = "Runs", today: date | None = None) -> Index:
    """Write one self-contained page over all runs of the lab: searchable, filterable, comparable, with their lineage.

    It is made to be passed on: it holds settings, figures, versions and ids, and no name, path, message or picture. Of a run that
    depicts somebody whose consent is not in force only the id and the reason are told. It is logged, and replaces an older index of
    that name. With `reports`, each run gets a page of its own in a folder beside it, as `report` writes it; those are exports with
    pictures, for which the gate is asked, and are made again only where something has changed.
    Raises ValueError for a suffix other than .html, MediaError if the name is another file's.
    """
    place, root = user_path(path), lab_root()
    if place.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"an index must be written as .html, got {place.name!r}")
    seen = Run.survey(root)
    with outgoing(place, "an older index of runs", _is_index) as temporary:
        contents = contents_of(seen, root, today=today or utc_today())
        pages = _with_pages(contents, seen, place) if reports else None
        withheld = frozenset(run["id"] for run in contents["runs"] if run["status"] == reasons.WITHHELD)
        contents["trends"] = trends_of(trends(root), withheld)
        temporary.write_text(page.render(contents, title=title), encoding="utf-8", newline="\n")
        digest = _log(root, place, temporary, seen)
        put_in_place(temporary, place)
    return Index(path=place, sha256=digest, statuses=_counted(contents["runs"]), pages=pages)


def _with_pages(contents: dict[str, Any], seen: Survey, place: Path) -> RunPages:
    """Write the pages of all runs of which anything may be told, and name them, or why there is none, in `contents`."""
    rows = {row["id"]: row for row in contents["runs"]}
    told = {run.id: run for run in seen.runs if rows.get(run.id, {}).get("status") not in (None, reasons.WITHHELD)}
    pages = write_pages(seen, list(told.values()), place.with_name(f"{place.stem}_runs"))
    for name in told:
        if address := pages.address(name):
            rows[name]["page"] = address
        else:
            rows[name]["no_page"] = pages.left_out[name]
    return pages


def _log(root: Path, place: Path, temporary: Path, seen: Survey) -> str:
    """The line about the page, with all its runs, so that a withdrawal finds it; returns the page's digest."""
    digest = sha256_file(temporary)
    where = {"file": place.name, "to": str(place.resolve()), "sha256": digest, "bytes": temporary.stat().st_size}
    audit.append(root, {"action": "index exported", **where, "runs": [run.id for run in seen.runs]})
    return digest


def _is_index(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'name="generator" content="{page.GENERATOR}"'.encode() in file.read(_HEAD)


def _counted(runs: list[dict[str, Any]]) -> dict[str, int]:
    statuses = [run["status"] for run in runs]
    return {status: statuses.count(status) for status in dict.fromkeys(statuses)}
