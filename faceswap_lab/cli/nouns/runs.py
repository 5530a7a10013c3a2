"""`runs`: list, show, prune and export run folders."""

import argparse
from pathlib import Path
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_group, root
from faceswap_lab.files import user_path


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    runs = add_group(commands, "runs", "run folders")
    add_command(
        runs,
        "list",
        _runs_list,
        "every run, newest first",
        "faceswap-lab runs list",
        "faceswap-lab runs list --verb train --json",
        lab="read",
    ).add_argument("--verb")
    prune = add_command(
        runs,
        "prune",
        _runs_prune,
        "list removable runs; with --yes remove them (never one that another was made from or a process is working on)",
        "faceswap-lab runs prune --unfinished",
        "faceswap-lab runs prune --unfinished --older-than 30 --yes",
    )
    prune.add_argument("--unfinished", action="store_true", help="unfinished runs")
    prune.add_argument(
        "--older-than", type=float, metavar="DAYS", help="runs last worked on longer ago; with --unfinished, both must hold"
    )
    prune.add_argument("--yes", action="store_true", help="really remove them; without this flag, only list")
    export = add_command(
        runs,
        "export",
        _runs_export,
        "write a run's record, recipe, events and small text files as .zip: no pixels, no weights",
        "faceswap-lab runs export train-3f9a -o train.zip",
    )
    export.add_argument("run", help="a run's id, or a prefix of it")
    export.add_argument("--output", "-o", type=user_path, metavar="FILE.zip", help="default: the run's id in the current folder")
    index = add_command(
        runs,
        "index",
        _runs_index,
        "write one page over all runs, to search, filter, compare and pass on: no name, no path, no picture",
        "faceswap-lab runs index -o index.html",
        "faceswap-lab runs index -o index.html --reports",
    )
    index.add_argument("--reports", action="store_true", help="also a page for each run beside it, with its pictures")
    index.add_argument("--output", "-o", type=user_path, default=Path("index.html"), metavar="FILE.html")
    track = add_command(
        runs,
        "track",
        _runs_track,
        "copy the figures of a run, finished or not, to trackio, TensorBoard or MLflow on this machine",
        "faceswap-lab runs track train-3f9a --to tensorboard",
        "faceswap-lab runs track train-3f9a --to trackio --to mlflow",
    )
    track.add_argument("run", help="a run's id, or a prefix of it")
    track.add_argument("--to", action="append", required=True, metavar="LIBRARY", help="trackio, tensorboard, mlflow; repeatable")
    add_command(runs, "show", _runs_show, "one run", "faceswap-lab runs show train-3f9a", lab="read").add_argument("run")


def _runs_list(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.quota import size_of
    from faceswap_lab.runs.run import Run

    seen = Run.survey()
    rows: list[dict[str, Any]] = [
        {
            "run": run.id,
            "status": run.record.status,
            "created": run.record.created,
            "bytes": size_of(run.path),
            "folder": str(run.path),
        }
        for run in seen.runs
        if options.verb in (None, run.verb)
    ]
    # The verb of an unreadable run is known from its name only.
    rows += [
        {"run": each.id, "status": "unreadable", "bytes": size_of(each.path), "folder": str(each.path), "why": each.error.got}
        for each in seen.unreadable
        if options.verb in (None, each.id.partition("-")[0])
    ]
    return rows


def _runs_show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run

    run = Run.open(options.run)
    return {**run.record.model_dump(mode="json"), "folder": str(run.path)}


def _runs_prune(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import prune as keep

    work = keep.prune if options.yes else keep.plan
    done = work(root(), unfinished=options.unfinished, older_than_days=options.older_than)
    rows = {
        name: [{"run": each.id, "bytes": each.num_bytes, "why": each.why} for each in some]
        for name, some in (("removable", done.removable), ("retained", done.retained), ("leftovers", done.leftovers))
    }
    hint = (
        {} if options.yes or not (done.removable or done.leftovers) else {"next": "nothing was removed; add --yes to remove these"}
    )
    return {"removed": options.yes, "bytes": done.num_bytes, **rows, **hint}


def _runs_export(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import archive
    from faceswap_lab.runs.run import Run

    run = Run.open(options.run)
    made = archive.export(run, options.output or Path(f"{run.id}.zip"))
    return {"run": run.id, "output": str(made.path), "members": list(made.members), "left_out": made.left_out}


def _runs_index(options: argparse.Namespace) -> Answer:
    from faceswap_lab.views.run_index.writing import index

    made = index(options.output, reports=options.reports)
    pages = made.pages
    told = {} if pages is None else {"made": len(pages.made), "unchanged": len(pages.kept), "left_out": pages.left_out}
    return {"index": str(made.path), "runs": made.statuses, **({"reports": told} if told else {})}


def _runs_track(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.runs.tracking import choice, follow

    run = Run.open(options.run)
    points = follow.replay(run, options.to)
    shown = [{"library": name, "show": choice.shown_by(run.root, name)} for name in choice.known(options.to)]
    return {"run": run.id, "points": points, "to": shown}
