"""`facesets`: faces gathered from your own files."""

import argparse
from typing import Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import about, add_command, add_declaration, add_group, cluster_of, declaration
from faceswap_lab.cli.nouns.consent import withdrawal
from faceswap_lab.cli.recipe_flags import add_recipe, changes, recipe_of
from faceswap_lab.files import user_path


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    facesets = add_group(commands, "facesets", "faces gathered from your own files")
    add = add_command(
        facesets,
        "add",
        _facesets_add,
        "gather faces from files and folders: admit, align, select and split them",
        'faceswap-lab facesets add jane ~/photos interview.mp4 --who "Jane Doe" --basis "consent: form signed on 3 May 2026"',
        'faceswap-lab facesets add cast ~/dataset --identities many --who "the cast" --basis "licence: CC-BY-4.0, J. Doe"',
        'faceswap-lab facesets add ffpp ~/FaceForensics++ --layout ffpp --who "FF++ people" --basis "licence: terms signed by me"',
        cluster=True,
    )
    add.add_argument("name", help="the name of the set")
    add.add_argument("paths", nargs="+", type=user_path, metavar="PATH", help="files and folders")
    add.add_argument("--force", action="store_true", help="start a new run even if an identical one is finished")
    add_declaration(add, "files", uses="evaluate,train; add swap-source to swap their face")
    # FaceForensics++ is only listed in a manifest; none of its pictures is opened.
    add_recipe(add, _recipe, short={"every_s": "--every"}, hidden=["name"], more_choices={"layout": ["ffpp"]})
    remove = add_command(
        facesets,
        "remove",
        _facesets_remove,
        "list a faceset, or everything made from a person; with --yes remove it",
        "faceswap-lab facesets remove jane",
        'faceswap-lab facesets remove --subject "Jane Doe" --yes',
    )
    remove.add_argument("name", nargs="?", help="a faceset's name or run id")
    remove.add_argument(
        "--subject", metavar="WHO", help="withdraw this person's consent, like `consent withdraw WHO`: everything made from them"
    )
    remove.add_argument("--yes", action="store_true", help="really do it; without this flag, only list")
    add_command(facesets, "list", _facesets_list, "every faceset, newest first", "faceswap-lab facesets list --json", lab="read")
    show = add_command(
        facesets,
        "show",
        _facesets_show,
        "people, counts, why faces were dropped, the contact sheet",
        "faceswap-lab facesets show jane",
        lab="read",
    )
    show.add_argument("name", help="a faceset's name, or its run's id")
    name = add_command(
        facesets, "name", _facesets_name, "name a person of a set", 'faceswap-lab facesets name cast person-2 "Jane Doe"'
    )
    name.add_argument("name", help="a faceset's name, or its run's id")
    name.add_argument("person", help="the label printed by `facesets show`")
    name.add_argument("who", help="the name; empty to remove it")
    check = add_command(
        facesets,
        "check",
        _facesets_check,
        "check that the files are unchanged and the consents in force",
        "faceswap-lab facesets check jane",
        lab="read",
    )
    check.add_argument("name", help="a faceset's name, or its run's id")


def _recipe(_: str | None) -> object:
    from faceswap_lab.verbs.recipes import FacesetRecipe

    return FacesetRecipe


def _facesets_add(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs.gather import gather
    from faceswap_lab.verbs.recipes import FacesetRecipe

    declared = declaration(options, gather.USES)
    if changes(options).get("layout") == "ffpp":
        if len(options.paths) != 1:
            raise ValueError(f"FaceForensics++ must be one folder, got {len(options.paths)}")
        return gather.enlist(options.paths[0], **{"who": None, "basis": None, **declared})
    recipe = recipe_of(options, FacesetRecipe(name=options.name)).with_(name=options.name)
    with cluster_of(options) as compute:
        run = gather.gather(recipe, *options.paths, **declared, compute=compute, force=options.force)
    said = {name: value for name, value in about(run).items() if name != "identities"}
    return said | {"next": f"faceswap-lab facesets show {run.id}"}


def _facesets_list(_: argparse.Namespace) -> Answer:
    from faceswap_lab.runs.run import Run

    return [
        {
            "name": run.record.recipe["name"],
            "run": run.id,
            "status": run.record.status,
            "faces": run.summary.get("num_faces", 0),
            "identities": len(run.summary.get("faces_per_identity", run.summary.get("people", {}))),
            "created": run.record.created,
        }
        for run in Run.find(verb="faceset")
    ]


def _facesets_show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs import library

    run = library.run_of(options.name)
    shown = library.faceset(run)
    alike = {
        each["person"]: {"cosine_within": each["within"], "cosine_to_nearest": each["nearest_other"]}
        for each in run.summary["identities"]
    }
    return {
        "name": shown.name,
        "run": run.id,
        "identities": [
            {"person": person, "name": shown.title(person), "faces": count, **alike.get(person, {})}
            for person, count in shown.identities.items()
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
    from faceswap_lab.verbs import library

    run = library.run_of(options.name)
    return {"run": run.id, "names": library.name_person(run, options.person, options.who)}


def _facesets_check(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs import library

    run = library.run_of(options.name)
    findings = library.check(run)
    return {"run": run.id, "ok": all(each["state"] != "problem" for each in findings), "findings": findings}


def _facesets_remove(options: argparse.Namespace) -> Answer:
    if (options.name is None) == (options.subject is None):
        raise ValueError("give either a faceset, or a person with --subject")
    return withdrawal(options.subject, yes=options.yes) if options.subject else _discarded(options)


def _discarded(options: argparse.Namespace) -> Answer:
    from faceswap_lab.runs import prune
    from faceswap_lab.verbs import library

    run = library.exactly(options.name)
    gone = (prune.discard if options.yes else prune.check_unused)(run)
    hint = {} if options.yes else {"next": "nothing was removed; add --yes to remove it"}
    return {"removed": options.yes, "run": gone.id, "bytes": gone.num_bytes, **hint}
