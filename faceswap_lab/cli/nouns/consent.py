"""`consent`: declare, show and withdraw consents in this lab's manifests."""

import argparse
from typing import TYPE_CHECKING, Any

from faceswap_lab.cli.answers import Answer
from faceswap_lab.cli.arguments import add_command, add_declaration, add_group, declaration, root
from faceswap_lab.files import user_path

if TYPE_CHECKING:
    from faceswap_lab.trust.consent.manifest import Manifest


def offer(commands: Any) -> None:
    """Adds the noun and its commands."""
    consent = add_group(commands, "consent", "who agreed to what")
    add_command(
        consent,
        "list",
        _list,
        "every manifest: who, on what basis, for what uses, until when",
        "faceswap-lab consent list --json",
        lab="read",
    )
    show = add_command(
        consent,
        "show",
        _show,
        "a manifest with its files, or all of a person",
        "faceswap-lab consent show jane-doe",
        'faceswap-lab consent show "Jane Doe" --json',
        lab="read",
    )
    show.add_argument("name", help="the name of a manifest or of a person")
    add = add_command(
        consent,
        "add",
        _add,
        "admit files: declare who is depicted in them, on what basis and for what uses",
        'faceswap-lab consent add jane.jpg --who "Jane Doe" --basis "consent: form of 3 May" --uses train --expires 2028-05-02',
    )
    add.add_argument("paths", nargs="+", type=user_path, metavar="FILE")
    add_declaration(add, "files", uses="none, must be given", required=True)
    withdraw = add_command(
        consent,
        "withdraw",
        _withdraw,
        "list everything made from a person; with --yes withdraw their consent and remove it",
        'faceswap-lab consent withdraw "Jane Doe"',
        'faceswap-lab consent withdraw "Jane Doe" --yes',
    )
    withdraw.add_argument("subject", metavar="WHO", help="the person, as the manifests name them")
    withdraw.add_argument("--yes", action="store_true", help="really do it; without this flag, only list")


def _list(_: argparse.Namespace) -> Answer:
    from faceswap_lab.trust.consent.manifest import read_manifests

    return [_row(name, manifest, len(entries)) for name, manifest, entries in read_manifests(root())]


def _row(name: str, manifest: "Manifest", num_files: int) -> dict[str, Any]:
    from faceswap_lab.trust.consent.manifest import utc_today

    consent = manifest.consent
    return {
        "name": name,
        "subject": manifest.subject,
        "kind": consent.kind,
        "uses": ", ".join(sorted(consent.uses)),
        "files": num_files,
        "since": consent.date.isoformat(),
        "expires": consent.expires.isoformat() if consent.expires else None,
        "state": consent.standing(utc_today()) or "stands",
    }


def _show(options: argparse.Namespace) -> Answer:
    from faceswap_lab.errors import ConsentError
    from faceswap_lab.names import same_name
    from faceswap_lab.trust.consent.manifest import read_manifests

    every = list(read_manifests(root()))
    hits = [each for each in every if each[0] == options.name] or [
        each for each in every if same_name(each[1].subject, " ".join(options.name.split()))
    ]
    if not hits:
        known = ", ".join(name for name, _, _ in every) or "none"
        raise ConsentError(expected="a manifest of that name, or about that person", got=options.name, remedy=f"there are {known}")
    manifests = [
        _row(name, manifest, len(entries))
        | {"text": manifest.consent.text, "partners": sorted(manifest.consent.partners), "source": manifest.source}
        for name, manifest, entries in hits
    ]
    files = [
        {"entry": entry.label, "uri": entry.uri, "sha256": entry.sha256, "split": entry.split}
        for _, _, entries in hits
        for entry in entries
    ]
    return {**manifests[0], "files": files} if len(hits) == 1 else {"manifests": manifests, "files": files}


def _add(options: argparse.Namespace) -> Answer:
    from faceswap_lab.verbs.people import admit

    declared = declaration(options, ())
    clips = [admit(path, **declared) for path in options.paths]
    return [
        {"file": str(clip.path), "entry": clip.grant.entry, "subject": clip.subject, "uses": ", ".join(sorted(clip.grant.uses))}
        for clip in clips
    ]


def _withdraw(options: argparse.Namespace) -> Answer:
    return withdrawal(options.subject, yes=options.yes)


def withdrawal(subject: str, *, yes: bool) -> Answer:
    """What was made from a person; with `yes`, their consent is withdrawn and all of that is removed."""
    from faceswap_lab.maintenance import erase

    found = erase.plan(root(), subject)
    done = erase.purge(root(), subject) if yes else None
    listed = {
        "subject": found.subject,
        "manifests": list(found.manifests),
        "runs": [{"run": each.id, "bytes": each.num_bytes, "why": each.why} for each in found.runs],
        "exports": [
            {"file": left.file, "sha256": left.sha256, "time": left.time, "copies": len(left.copies)} for left in found.exports
        ],
        "copies": [{"copy": str(path)} for left in found.exports for path in left.copies],
        "originals": [{"file": str(each.path or each.uri), "sha256": each.sha256} for each in found.originals],
        "not_searched": list(found.unsaid),
        "named_in_log_lines": list(found.plain_lines),
    }
    if done is None:
        hint = "nothing was changed; add --yes to withdraw the consent and remove runs and copies"
        return {"removed": False, **listed, "next": hint}
    retained = [{"run": each.id, "why": each.why} for each in done.retained]
    hint = "remove the originals yourself, and ask recipients of exports to delete them"
    return {"removed": True, "ok": not retained, **listed, "retained": retained, "next": hint}
