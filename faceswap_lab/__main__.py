"""The command line: parse, call, print. Work lives in the verbs; this file only names it.

Exit codes: 0 done, 1 failed, 2 usage, 3 refused (consent, licence, a test person to train on), 4 missing (weights, device),
130 stopped and saved.
"""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceswap_lab import __version__
from faceswap_lab.errors import ConsentError, DeviceError, LabError, LicenceError, SplitError, WeightsError, storage_error

if TYPE_CHECKING:
    from faceswap_lab.faces.footage import Clip, Excerpt
    from faceswap_lab.runs.people import Person
    from faceswap_lab.runs.run import Run

Answer = dict[str, Any] | list[dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], Answer] = options.command
    try:
        answer = command(options)
    except KeyboardInterrupt:
        print("stopped; what was done is saved, the same command goes on from there", file=sys.stderr)
        return 130
    except (LabError, ValueError) as error:
        print(f"faceswap-lab: {error}", file=sys.stderr)
        return _exit_code(error)
    except OSError as error:
        print(f"faceswap-lab: {storage_error(error)}", file=sys.stderr)
        return 1
    print(json.dumps(answer) if options.json else _readable(answer))
    if not isinstance(answer, dict):
        return 0
    return int(answer.get("exit_code", 1 if answer.get("ok") is False else 0))


def _exit_code(error: Exception) -> int:
    if isinstance(error, ConsentError | LicenceError | SplitError):
        return 3
    if isinstance(error, WeightsError | DeviceError):
        return 4
    return 2 if isinstance(error, ValueError) else 1


def _readable(answer: Answer) -> str:
    if isinstance(answer, list):
        return _table(answer)
    said = {name: value for name, value in answer.items() if value is not None and value not in ([], {})}
    return "\n".join(f"{name:<22} {_short(name, value)}" for name, value in said.items())


def _table(rows: list[dict[str, Any]]) -> str:
    """Rows under their names, in columns; the last is not padded."""
    if not rows:
        return "nothing"
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [names, *([_short(name, row[name]) if row.get(name) is not None else "-" for name in names] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(names))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines)


def _short(name: str, value: Any) -> str:
    if name == "bytes":
        from faceswap_lab.runs.quota import size_text

        return size_text(value)
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        return "\n" + "\n".join(f"  {line}" for line in _readable(value).splitlines())
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


# --- arguments ------------------------------------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="faceswap-lab", description="Face-swap research, measured against the true answer.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    quickstart = _add(
        commands,
        "quickstart",
        _quickstart,
        "run the quickstart notebook: train, swap, measure, report",
        "faceswap-lab quickstart",
        "faceswap-lab quickstart --recipe smoke --json",
        verb=True,
    )
    quickstart.add_argument("--recipe", default="quickstart", choices=["quickstart", "smoke"], help="smoke: seconds, and mush")

    train = _add(
        commands,
        "train",
        _train,
        "train a swapper of two people, or a pack of networks that find and know faces",
        "faceswap-lab train --source actor:7 --target actor:32 --steps 900",
        "faceswap-lab train --source actor:7 --target actor:32 --recipe recipe.json --device cuda",
        "faceswap-lab train --recipe pack --workers 2",
        verb=True,
    )
    train.add_argument("--source", metavar="WHO", help="actor:7, or a file with a manifest entry; of a swapper, with --target")
    train.add_argument("--target", metavar="WHO")
    train.add_argument("--steps", type=int, default=None, help="default: the recipe's")
    train.add_argument("--recipe", metavar="FILE", help="a recipe as JSON (`runs show` prints one), or pack, or pack-smoke")
    train.add_argument("--workers", type=int, default=1, help="processes, for a pack; default: 1")

    swap = _add(
        commands,
        "swap",
        _swap,
        "put a source's face on a clip or a still",
        "faceswap-lab swap --source actor:7 --target actor:32/speech:3 --swapper train-3f9a",
        'faceswap-lab swap --source actor:7 --target clip.mp4 --who "Jo Doe" --basis "consent: signed 2026-03-01" -o swap.mp4',
        "faceswap-lab swap --source actor:7 --target clip.mp4 --start 1.5 --stop frame:100 --select all",
        verb=True,
    )
    swap.add_argument("--source", required=True, metavar="WHO", help="actor:7, or a file with a manifest entry")
    swap.add_argument("--target", required=True, metavar="FILE", help="a clip or still, or actor:21/speech")
    swap.add_argument(
        "--swapper",
        default="warp",
        metavar="RUN",
        help="a train run's id, or inswapper:FILE.onnx; default: warp, needs no training",
    )
    swap.add_argument("--engine", default="offline", metavar="NAME", help="offline, or insight: and a pack's folder or name")
    swap.add_argument(
        "--select", default="largest", choices=["largest", "all"], help="which faces of a frame; default: the largest"
    )
    swap.add_argument(
        "--every",
        type=int,
        default=1,
        metavar="K",
        help="detect on each K-th frame and follow the faces between: faster, a new face is found up to K - 1 frames late",
    )
    swap.add_argument("--preview", type=int, default=0, metavar="N", help="swap the first N frames only, as a run of its own")
    swap.add_argument("--start", metavar="WHEN", help="first frame of the target file: seconds (1.5), or its number (frame:37)")
    swap.add_argument("--stop", metavar="WHEN", help="where to stop, not included: seconds or frame:N; default: the end")
    swap.add_argument("--who", help="who is seen in the target file, if it has no manifest entry yet")
    swap.add_argument("--basis", help='why this is allowed: "public domain (NASA)", "consent: signed 2026-03-01"')
    swap.add_argument("--output", "-o", type=Path, help="where the result goes; default: beside the run")

    evaluate = _add(
        commands,
        "evaluate",
        _evaluate,
        "score a swap beside floor and ceiling",
        "faceswap-lab evaluate swap-52c1",
        "faceswap-lab evaluate swap-52c1 --tone target --json",
        verb=True,
    )
    evaluate.add_argument("run", help="a swap run's id")
    evaluate.add_argument("--engine", default="offline", metavar="NAME", help="the judge: offline, or insight: and a pack")
    evaluate.add_argument("--tone", default="source", choices=["source", "target"], help="whose skin tone the truth has")

    _render_command(commands)

    report = _add(
        commands,
        "report",
        _report,
        "write one self-contained page about runs",
        "faceswap-lab report train-3f9a swap-52c1 evaluate-77ab -o report.html",
    )
    report.add_argument("runs", nargs="+", metavar="RUN", help="ids of train, swap and evaluate runs")
    report.add_argument("--output", "-o", type=Path, default=Path("report.html"))

    models = _group(commands, "models", "weights")
    fetch = _add(
        models,
        "fetch",
        _models_fetch,
        "fetch weights and check them: the offline engine's, or restricted ones whose licence you accept",
        "faceswap-lab models fetch",
        "faceswap-lab models fetch facemesh-468",
        "faceswap-lab models fetch buffalo_l        # shows the licence and refuses",
    )
    fetch.add_argument("names", nargs="*", help="default: all of the offline engine's")
    fetch.add_argument("--accept-licence", metavar="NAME", help="the name of the licence that you accept; it is logged")
    _add(models, "list", _models_list, "what there is, with licences", "faceswap-lab models list --json")
    _add(models, "verify", _models_verify, "check every weight file's digest", "faceswap-lab models verify")

    actors = _group(commands, "actors", "synthetic people")
    listed = _add(
        actors,
        "list",
        _actors_list,
        "people of a split: train, val or test, by seed",
        "faceswap-lab actors list",
        "faceswap-lab actors list --split test --count 5 --json",
    )
    listed.add_argument("--split", default="train", choices=["train", "val", "test"])
    listed.add_argument("--start", type=int, default=0, help="leave out so many of the split's people")
    listed.add_argument("--count", type=int, default=10)
    show = _add(actors, "show", _actors_show, "draw an actor's portrait", "faceswap-lab actors show 7 -o hero.png")
    show.add_argument("seed", type=int)
    show.add_argument("--output", "-o", type=Path, default=None)

    _add_facesets(commands)

    runs = _group(commands, "runs", "run folders")
    _add(
        runs, "list", _runs_list, "every run, newest first", "faceswap-lab runs list", "faceswap-lab runs list --verb train --json"
    ).add_argument("--verb")
    prune = _add(
        runs,
        "prune",
        _runs_prune,
        "list the runs that may go; with --yes remove them (never one that another is made from, nor one at work)",
        "faceswap-lab runs prune --unfinished",
        "faceswap-lab runs prune --unfinished --older-than 30 --yes",
    )
    prune.add_argument("--unfinished", action="store_true", help="runs that were not finished")
    prune.add_argument(
        "--older-than", type=float, metavar="DAYS", help="runs last worked on so long ago; with both, both must hold"
    )
    prune.add_argument("--yes", action="store_true", help="remove them; without it they are only listed")
    export = _add(
        runs,
        "export",
        _runs_export,
        "write a run's record, recipe, events and small texts as .zip: no pixels, no weights",
        "faceswap-lab runs export train-3f9a -o train.zip",
    )
    export.add_argument("run", help="a run's id, or its beginning")
    export.add_argument("--output", "-o", type=Path, metavar="FILE.zip", help="default: the run's id in the current folder")
    _add(runs, "show", _runs_show, "one run", "faceswap-lab runs show train-3f9a").add_argument("run")

    doctor = _add(
        commands,
        "doctor",
        _doctor,
        "what this machine and this lab have, what they lack, and what to do about it",
        "faceswap-lab doctor",
        "faceswap-lab doctor --device cuda --json",
    )
    doctor.add_argument("--device", default="auto", help="one that must be there: auto, cpu, cuda, cuda:1, mps")

    audit = _group(commands, "audit", "the audit log")
    _add(audit, "verify", _audit_verify, "check the chain against itself and against the runs", "faceswap-lab audit verify")
    return parser


def _add_facesets(commands: Any) -> None:
    facesets = _group(commands, "facesets", "faces gathered from one's own files")
    add = _add(
        facesets,
        "add",
        _facesets_add,
        "gather faces from files and folders: admitted, aligned, sorted out with the reason, split",
        'faceswap-lab facesets add jane ~/photos interview.mp4 --who "Jane Doe" --basis "consent: form signed on 3 May 2026"',
        'faceswap-lab facesets add cast ~/dataset --people many --who "the cast" --basis "licence: CC-BY-4.0, J. Doe"',
        'faceswap-lab facesets add ffpp ~/FaceForensics++ --layout ffpp --who "FF++ people" --basis "licence: terms signed by me"',
    )
    add.add_argument("name", help="what the set is called")
    add.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files and folders")
    add.add_argument("--who", help="who is seen in files that have no manifest entry yet")
    add.add_argument("--basis", help='why this is allowed: "consent: signed 2026-03-01", "licence: CC-BY-4.0, J. Doe"')
    add.add_argument("--uses", default="evaluate,train", help="what such files are declared for; default: evaluate,train")
    add.add_argument("--people", default="one", choices=["one", "many"], help="one: only the person named; many: all, to be named")
    add.add_argument(
        "--layout",
        default="auto",
        choices=["auto", "folder", "frames", "deepfacelab", "faceswap", "ffpp"],
        help="how the files lie; frames: numbered stills of a clip; ffpp: list FaceForensics++ in a manifest and open nothing",
    )
    add.add_argument("--every", type=float, default=0.2, metavar="SECONDS", help="how often a clip is looked at; default: 0.2")
    add.add_argument("--same-person", type=float, metavar="COSINE", help="from when two groups are one person; actors need 0.66")
    add.add_argument("--which", type=int, default=1, help="with --people one: which group is the person, the largest is 1")
    add.add_argument("--again", action="store_true", help="a new run even if an identical one is finished")
    remove = _add(
        facesets,
        "remove",
        _facesets_remove,
        "list a faceset, or everything made from a person who withdraws; with --yes remove it",
        "faceswap-lab facesets remove jane",
        'faceswap-lab facesets remove --subject "Jane Doe" --yes',
    )
    remove.add_argument("name", nargs="?", help="a faceset's name or run id")
    remove.add_argument(
        "--subject", metavar="WHO", help="the person who withdraws: every run, copy and faceset made from them goes"
    )
    remove.add_argument("--yes", action="store_true", help="do it; without it things are only listed")
    _add(facesets, "list", _facesets_list, "every faceset, newest first", "faceswap-lab facesets list --json")
    show = _add(
        facesets, "show", _facesets_show, "people, counts, why faces went, the contact sheet", "faceswap-lab facesets show jane"
    )
    show.add_argument("name", help="a faceset's name, or its run's id")
    name = _add(facesets, "name", _facesets_name, "name a person of a set", 'faceswap-lab facesets name cast person-2 "Jane Doe"')
    name.add_argument("name", help="a faceset's name, or its run's id")
    name.add_argument("person", help="the label that `facesets show` prints")
    name.add_argument("who", help="the name; empty to take it away")
    check = _add(
        facesets,
        "check",
        _facesets_check,
        "are the files still there and unchanged, do the consents stand",
        "faceswap-lab facesets check jane",
    )
    check.add_argument("name", help="a faceset's name, or its run's id")


def _render_command(commands: Any) -> None:
    render = _add(
        commands,
        "render",
        _render,
        "render actors with their ground truth into shards (tar files as WebDataset reads them)",
        "faceswap-lab render --actors 0:100 --views 20 --workers 2",
        "faceswap-lab render --actors 2000000:2000050 --kind acted --kind turn --clips --seconds 2 --capture phone --recast",
        verb=True,
    )
    render.set_defaults(device="cpu")
    render.add_argument("--actors", required=True, metavar="FIRST:END", help="seeds, END not included; all of one split")
    render.add_argument("--views", type=int, default=10, help="samples of each actor")
    render.add_argument("--kind", action="append", metavar="KIND", help="performance, may be given again: they take turns")
    render.add_argument("--size", type=int, default=256, help="side of the pictures in pixels")
    render.add_argument("--light", default="auto")
    render.add_argument("--capture", default="plain", help="sensor and codec: plain, clean, phone, webcam, broadcast, …")
    render.add_argument("--prop", default="none", help="what is held in front of the face: none, hand, microphone, cup")
    render.add_argument("--clips", action="store_true", help="lossless clips in place of stills")
    render.add_argument("--seconds", type=float, default=1.0, help="length of a clip")
    render.add_argument("--recast", action="store_true", help="add the true swap with another of these actors to each sample")
    render.add_argument("--no-maps", action="store_true", help="leave out labels, depth, normals and albedo")
    render.add_argument("--shard-size", type=int, default=100, help="samples in a shard")
    render.add_argument("--seed", type=int, default=0, help="of the first performance")
    render.add_argument("--workers", type=int, default=1, help="processes")


def _group(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text, description=text).add_subparsers(required=True, metavar="COMMAND")


def _add(
    commands: Any, name: str, command: Callable[[argparse.Namespace], Answer], text: str, *examples: str, verb: bool = False
) -> argparse.ArgumentParser:
    """A command, with the `examples` that its help ends with: whole lines that can be typed."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog="\n  ".join(["for example:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="print one JSON value")
    if verb:
        parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps")
        parser.add_argument("--again", action="store_true", help="a new run even if an identical one is finished")
    parser.set_defaults(command=command)
    return parser


def _person(text: str) -> "Person":
    """`actor:7`, `actor:7/speech:3`, `faceset:cast/person-2`, or a file that has a manifest entry."""
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.runs.people import admit

    if text.startswith("faceset:"):
        from faceswap_lab.runs.library import faceset

        name, _, person = text.removeprefix("faceset:").partition("/")
        return faceset(name).of(person) if person else faceset(name)
    if not text.startswith("actor:"):
        return admit(text)
    seed, _, performance = text.removeprefix("actor:").partition("/")
    kind, _, number = performance.partition(":")
    if not seed.isdecimal() or (number and not number.isdecimal()):
        raise ValueError(f"an actor is written actor:7 or actor:7/speech:3, not {text!r}")
    actor = Actor(int(seed))
    return actor.perform(kind, seed=int(number or 0)) if kind else actor


# --- verbs ----------------------------------------------------------------------------------------------------------------


def _quickstart(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.quickstart import quickstart

    options.json = True
    return quickstart(recipe=options.recipe, device=options.device, again=options.again)


def _train(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import recipes
    from faceswap_lab.runs.recipe import from_json
    from faceswap_lab.runs.train import train

    if options.recipe and options.steps is not None:
        raise ValueError("give --recipe or --steps, not both: a recipe says its own steps")
    recipe: recipes.PairRecipe | recipes.PackRecipe
    if options.recipe in ("pack", "pack-smoke"):
        recipe = recipes.pack("smoke" if options.recipe == "pack-smoke" else "small")
    elif options.recipe:
        text = Path(options.recipe).read_text()
        recipe = from_json(recipes.PackRecipe, text) if '"sets"' in text else from_json(recipes.PairRecipe, text)
    else:
        recipe = recipes.pair(options.steps or 900)
    source, target = (_person(who) if who else None for who in (options.source, options.target))
    done = train(recipe, source=source, target=target, device=options.device, workers=options.workers, again=options.again)
    return _about(done)


def _swap(options: argparse.Namespace) -> Answer:
    from faceswap_lab.faces.footage import Footage
    from faceswap_lab.models.stream import StreamConfig
    from faceswap_lab.runs import results
    from faceswap_lab.runs.people import admit, party_of
    from faceswap_lab.runs.recipes import SwapRecipe
    from faceswap_lab.runs.swap import swap
    from faceswap_lab.trust import doors

    source = _person(options.source)
    target: Footage | Person
    if options.target.startswith("actor:"):
        if options.start or options.stop:
            raise ValueError("--start and --stop cut files; how long an actor performs is said where the performance is made")
        text = options.target if "/" in options.target else f"{options.target}/speech"
        target = _person(text)
    else:
        uses = doors.target_uses(party_of(source)) if options.who or options.basis else ()
        clip = admit(options.target, who=options.who, basis=options.basis, uses=uses)
        target = _cut(clip, options.start, options.stop) if options.start or options.stop else clip
    assert isinstance(target, Footage)
    stream = StreamConfig(select=options.select, every=options.every)
    recipe = SwapRecipe(stream=stream, engine=options.engine, preview=options.preview)
    run = swap(target, source=source, swapper=options.swapper, recipe=recipe, device=options.device, again=options.again)
    output = options.output or run.path / ("swap.png" if run.summary["num_frames"] == 1 else "swap.mp4")
    return _about(run) | {"output": str(results.export(run, output))}


def _cut(clip: "Clip", start: str | None, stop: str | None) -> "Excerpt":
    """The excerpt between two moments, each as seconds or as `frame:37`."""

    def number(text: str) -> int:
        counted = text.removeprefix("frame:")
        if counted != text:
            if not counted.isdecimal():
                raise ValueError(f"a frame is written frame:37, not {text!r}")
            return int(counted)
        try:
            return clip.number_at(float(text))
        except ValueError as error:
            raise ValueError(f"a moment is seconds from 0 (1.5) or a frame (frame:37), not {text!r}") from error

    return clip.cut(number(start) if start else 0, number(stop) if stop else None)


def _evaluate(options: argparse.Namespace) -> Answer:
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.actors.take import Take
    from faceswap_lab.runs import results
    from faceswap_lab.runs.evaluate import evaluate
    from faceswap_lab.runs.recipes import EvaluateRecipe
    from faceswap_lab.runs.run import Run

    result = Run.open(options.run)
    source, target = results.people(result)
    known = isinstance(target, Take) and isinstance(source, Actor)
    truth = target.recast(source, tone=options.tone) if isinstance(target, Take) and isinstance(source, Actor) else None
    recipe = EvaluateRecipe(engine=options.engine)
    answer = _about(evaluate(result, truth=truth, recipe=recipe, device=options.device, again=options.again))
    return answer | {"truth": "rendered" if known else "unknown: the target is real footage"}


def _render(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.render import RenderRecipe, render

    first, _, end = options.actors.partition(":")
    if not first.isdecimal() or not end.isdecimal():
        raise ValueError(f"actors are written FIRST:END, such as 0:100, not {options.actors!r}")
    recipe = RenderRecipe(
        first=int(first),
        num_actors=int(end) - int(first),
        num_views=options.views,
        kinds=tuple(options.kind or ["range"]),
        size=options.size,
        light=options.light,
        capture=options.capture,
        prop=options.prop,
        form="clips" if options.clips else "stills",
        seconds=options.seconds,
        recast=options.recast,
        maps=not options.no_maps,
        shard_size=options.shard_size,
        seed=options.seed,
    )
    return _about(render(recipe, workers=options.workers, device=options.device, again=options.again))


def _report(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.views.run_report import report

    return {"report": str(report(*(Run.open(name) for name in options.runs), path=options.output))}


def _about(run: "Run") -> dict[str, Any]:
    return {"run": run.id, "folder": str(run.path), **run.summary}


# --- things kept ----------------------------------------------------------------------------------------------------------


def _models_fetch(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import models

    return models.fetch(options.names, accept_licence=options.accept_licence, progress=lambda line: print(line, file=sys.stderr))


def _models_list(_: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import models

    return models.listed()


def _models_verify(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import models

    models.verify()
    return _models_list(options)


def _actors_list(options: argparse.Namespace) -> Answer:
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.actors.splits import seeds_of

    if options.start < 0 or options.count < 1:
        raise ValueError(f"start must be at least 0 and count at least 1, got {options.start} and {options.count}")
    people = [Actor(seed) for seed in seeds_of(options.split)[options.start : options.start + options.count]]
    return [{"actor": actor.subject, "split": options.split, "who": "man" if actor.traits.is_male else "woman"} for actor in people]


def _actors_show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.actors.cast import Actor
    from faceswap_lab.trust import doors

    actor = Actor(options.seed)
    output = options.output or Path(f"actor-{actor.seed}.png")
    doors.export_portrait(actor.portrait(512), output, root=_root(), subject=actor.subject)
    return {"actor": actor.subject, "portrait": str(output)}


def _facesets_add(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import faceset
    from faceswap_lab.runs.recipes import FacesetRecipe

    uses = [use.strip() for use in options.uses.split(",") if use.strip()]
    if options.layout == "ffpp":
        if len(options.paths) != 1:
            raise ValueError(f"FaceForensics++ is one folder, got {len(options.paths)}")
        return faceset.enlist(options.paths[0], who=options.who, basis=options.basis, uses=uses)
    more = {} if options.same_person is None else {"same_person": options.same_person}
    recipe = FacesetRecipe(
        name=options.name, layout=options.layout, people=options.people, every_s=options.every, which=options.which, **more
    )
    run = faceset.gather(recipe, *options.paths, who=options.who, basis=options.basis, uses=uses, again=options.again)
    about = {name: value for name, value in _about(run).items() if name != "identities"}
    return about | {"next": f"faceswap-lab facesets show {run.id}"}


def _facesets_list(_: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run

    return [
        {
            "name": run.record.recipe["name"],
            "run": run.id,
            "status": run.record.status,
            "faces": run.summary.get("num_faces", 0),
            "people": len(run.summary.get("people", {})),
            "created": run.record.created,
        }
        for run in Run.find(verb="faceset")
    ]


def _facesets_show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import library

    run = library.run_of(options.name)
    shown = library.faceset(run)
    alike = {
        each["person"]: {"cosine_within": each["within"], "cosine_to_nearest": each["nearest_other"]}
        for each in run.summary["identities"]
    }
    return {
        "name": shown.name,
        "run": run.id,
        "people": [
            {"person": person, "name": shown.title(person), "faces": count, **alike.get(person, {})}
            for person, count in shown.people.items()
        ],
        "splits": shown.splits,
        "files": len(shown.sources),
        "left_out_by_hand": len(library.left_out(run)),
        "dropped": run.summary["dropped"],
        "doubts": run.summary["doubts"],
        "sheet": str(run.artifact(library.SHEET)),
        "why_each_went": str(run.artifact(library.DROPPED)),
    }


def _facesets_name(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import library

    run = library.run_of(options.name)
    return {"run": run.id, "names": library.name_person(run, options.person, options.who)}


def _facesets_check(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import library

    run = library.run_of(options.name)
    findings = library.check(run)
    return {"run": run.id, "ok": all(each["state"] != "problem" for each in findings), "findings": findings}


def _facesets_remove(options: argparse.Namespace) -> Answer:
    if (options.name is None) == (options.subject is None):
        raise ValueError("say which faceset, or with --subject which person; not both")
    return _withdrawn(options) if options.subject else _discarded(options)


def _discarded(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import keep, library

    run = library.run_of(options.name)
    gone = (keep.discard if options.yes else keep.check_unused)(run)
    hint = {} if options.yes else {"next": "nothing was removed; to remove it, add --yes"}
    return {"removed": options.yes, "run": gone.id, "bytes": gone.num_bytes, **hint}


def _withdrawn(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import withdraw

    found = withdraw.plan(_root(), options.subject)
    copies = [{"copy": str(path)} for left in found.exports for path in left.copies]
    done = withdraw.purge(_root(), options.subject) if options.yes else None
    listed = {
        "subject": found.subject,
        "manifests": list(found.manifests),
        "runs": [{"run": each.id, "bytes": each.num_bytes, "why": each.why} for each in found.runs],
        "exports": [
            {"file": left.file, "sha256": left.sha256, "time": left.time, "copies": len(left.copies)} for left in found.exports
        ],
        "copies": copies,
        "originals": [{"file": str(each.path or each.uri), "sha256": each.sha256} for each in found.originals],
        "not_searched": list(found.unsaid),
    }
    if done is None:
        return {
            "removed": False,
            **listed,
            "next": "nothing was changed; to withdraw the consent and remove runs and copies, add --yes",
        }
    stays = [{"run": each.id, "why": each.why} for each in done.stays]
    hint = "originals are yours to remove; ask whoever has an export to delete it"
    return {"removed": True, "ok": not stays, **listed, "stays": stays, "next": hint}


def _runs_list(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.quota import size_of
    from faceswap_lab.runs.run import Run

    return [
        {
            "run": run.id,
            "status": run.record.status,
            "created": run.record.created,
            "bytes": size_of(run.path),
            "folder": str(run.path),
        }
        for run in Run.find(verb=options.verb)
    ]


def _runs_show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run

    run = Run.open(options.run)
    return {**run.record.model_dump(mode="json"), "folder": str(run.path)}


def _runs_prune(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import keep

    work = keep.prune if options.yes else keep.plan
    done = work(_root(), unfinished=options.unfinished, older_than_days=options.older_than)
    rows = {
        name: [{"run": each.id, "bytes": each.num_bytes, "why": each.why} for each in some]
        for name, some in (("goes", done.goes), ("stays", done.stays), ("leftovers", done.litter))
    }
    hint = {} if options.yes or not (done.goes or done.litter) else {"next": "nothing was removed; to remove what goes, add --yes"}
    return {"removed": options.yes, "bytes": done.num_bytes, **rows, **hint}


def _runs_export(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import keep
    from faceswap_lab.runs.run import Run

    run = Run.open(options.run)
    made = keep.export(run, options.output or Path(f"{run.id}.zip"))
    return {"run": run.id, "output": str(made.path), "members": list(made.members), "left_out": made.left_out}


def _doctor(options: argparse.Namespace) -> Answer:
    from dataclasses import asdict

    from faceswap_lab.runs import doctor

    found = doctor.examine(options.device)
    code = doctor.exit_code(found)
    if options.json:
        return {"ok": code == 0, "exit_code": code, "findings": [asdict(finding) for finding in found]}
    for finding in found:
        print(f"{finding.state:<8} {finding.name:<12} {finding.found}")
        if finding.remedy:
            print(f"{'':<21} -> {finding.remedy}")
    return {"exit_code": code}


def _audit_verify(_: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run
    from faceswap_lab.trust import audit

    verdict = audit.verify(_root(), heads=Run.heads())
    where = "" if verdict.whole else f"line {verdict.bad_line}: "
    return {"ok": verdict.whole, "lines": verdict.count, "finding": where + (verdict.reason or "every line holds")}


def _root() -> Path:
    from faceswap_lab.runs.root import lab_root

    return lab_root()


if __name__ == "__main__":
    sys.exit(main())
