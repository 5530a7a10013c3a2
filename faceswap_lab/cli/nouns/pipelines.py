"""`pipelines`: graphs of notebooks, run unattended."""

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer, plain
from faceswap_lab.cli.arguments import add_cluster, add_command, add_group, cluster_of
from faceswap_lab.cli.nouns.notebook import parameter
from faceswap_lab.cli.parsing import Parser

if TYPE_CHECKING:
    from faceswap_lab.pipelines.run import Outcome


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    pipelines = add_group(commands, "pipelines", "graphs of notebooks, run unattended")
    run = add_command(
        pipelines,
        "run",
        _run,
        "run what changed of a pipeline: steps in parallel where they are independent, each in its own run",
        "faceswap-lab pipelines run quickstart",
        "faceswap-lab pipelines run train_and_report -p recipe=smoke -p device=cpu --json",
        "faceswap-lab pipelines run my/pipeline.toml --smoke --workers 4",
        "faceswap-lab pipelines run nightly --only train --force",
        readable=_readable,
    )
    _add_values(run)
    run.add_argument(
        "--workers", type=int, metavar="N", help="steps at the same time; default: 2, with --compute one on each worker"
    )
    run.add_argument("--only", metavar="STEP", help="this step and what it needs")
    run.add_argument("--force", action="store_true", help="run all steps, or the one of --only, although nothing changed")
    run.add_argument(
        "--notify",
        action="append",
        default=[],
        metavar="TARGET",
        help="tell of the end, finished or failed: mail:ADDRESS, https://… or webhook:NAME; repeatable",
    )
    add_cluster(run)
    add_command(
        pipelines,
        "list",
        _list,
        "the shipped pipelines",
        "faceswap-lab pipelines list",
        "faceswap-lab pipelines list --json",
        lab="",
    )
    show = add_command(
        pipelines,
        "show",
        _show,
        "the steps in their order: what each would do now, run or be skipped, and why",
        "faceswap-lab pipelines show train_and_report",
        "faceswap-lab pipelines show train_and_report -p recipe=smoke",
        lab="read",
    )
    _add_values(show)
    check = add_command(
        pipelines,
        "check",
        _check,
        "check a pipeline against its notebooks: steps, parameters, types, references",
        "faceswap-lab pipelines check my/pipeline.toml",
        lab="",
    )
    _add_values(check)


def _add_values(command: Parser) -> None:
    command.add_argument("pipeline", metavar="NAME", help="a shipped pipeline, or the path of a .toml file")
    command.add_argument(
        "-p",
        dest="parameters",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help='a parameter of the pipeline, as JSON (7, true, "7") or as plain text; repeatable',
    )
    command.add_argument(
        "--smoke", action="store_true", help="with the values of [smoke]: everything runs quickly, nothing is learned"
    )


def _run(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.notify import telling

    with telling(options.pipeline, options.notify) as ending:
        done = ending.outcome = _outcome(options)
    steps = [{"step": name, **step.told()} for name, step in done.steps.items()]
    told = [asdict(each) for each in ending.told]
    return {"ok": done.ok, "run": done.run.id, "folder": str(done.run.path), "steps": steps, "notices": told}


def _outcome(options: argparse.Namespace) -> "Outcome":
    from faceswap_lab.pipelines.board import board
    from faceswap_lab.pipelines.graph import read
    from faceswap_lab.pipelines.run import WORKERS, run_pipeline

    pipeline, given = read(options.pipeline), dict(map(parameter, options.parameters))
    how = {"smoke": options.smoke, "only": options.only, "force": options.force}
    with cluster_of(options) as compute, board(pipeline.title) as watch:
        workers = options.workers if options.workers is not None else WORKERS if compute is None else len(compute.addresses()) or 1
        return run_pipeline(pipeline, given, **how, workers=workers, compute=compute, watch=watch)


def _readable(answer: dict[str, Any]) -> str:
    """The steps as a table, and below it what failed and what to do about it."""
    rows = [{name: step.get(name) for name in ("step", "state", "seconds", "run")} for step in answer["steps"]]
    lines = [plain({"run": answer["run"], "folder": answer["folder"]}), plain(rows)]
    for step in answer["steps"]:
        if step["state"] == "failed":
            lines += [f"\n{step['step']}: {step['got']}", f"expected {step['expected']}", f"-> {step['remedy']}"]
        elif step["state"] == "not run":
            lines.append(f"\n{step['step']}: not run: {step['got']}")
    return "\n".join(lines)


def _list(_: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.graph import read, shipped

    found = [read(name) for name in shipped()]
    return [
        {"name": each.name, "steps": len(each.steps), "parameters": ", ".join(each.parameters), "title": each.title}
        for each in found
    ]


def _show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.graph import read
    from faceswap_lab.pipelines.outlook import outlook

    pipeline = read(options.pipeline)
    values = pipeline.values(dict(map(parameter, options.parameters)), smoke=options.smoke)
    steps = [
        {
            "step": each.step,
            "notebook": pipeline.steps[each.step].notebook,
            "needs": ", ".join(sorted(pipeline.steps[each.step].needs)) or None,
            "would": each.would,
            "why": each.why,
            "run": each.run or None,
            "parameters": json.dumps(each.parameters, ensure_ascii=False),
        }
        for each in outlook(pipeline, values)
    ]
    return {"name": pipeline.name, "title": pipeline.title, "file": str(pipeline.path), "parameters": values, "steps": steps}


def _check(options: argparse.Namespace) -> Answer:
    from faceswap_lab.pipelines.checks import check
    from faceswap_lab.pipelines.graph import read

    pipeline = read(options.pipeline)
    values = pipeline.values(dict(map(parameter, options.parameters)), smoke=options.smoke)
    check(pipeline, values)
    return {"ok": True, "name": pipeline.name, "file": str(pipeline.path), "steps": list(pipeline.steps)}
