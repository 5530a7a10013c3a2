"""Who is depicted by what a run was made from, and whether their consent is still in force."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path

from faceswap_lab.errors import ConsentError
from faceswap_lab.runs.call import digest_in
from faceswap_lab.runs.run import Run, Survey
from faceswap_lab.runs.sharing.descent import Descent
from faceswap_lab.trust.consent.manifest import find_entries


def admitted_files(run: Run, descent: Descent, seen: Survey) -> list[str]:
    """SHA-256 of every admitted file among the inputs of the run and of the runs that it was made from.

    Raises the error of an unreadable run among those, since its subjects are unknown.
    """
    users = descent.ancestors(run)
    for user in users:
        for each in seen.unreadable:
            if any(each.id in value for value in user.inputs.values()):
                raise each.error
    found = (digest_in(value) for user in users for value in user.inputs.values())
    # Results of other runs have no entry of their own; the files of those runs are checked instead.
    return list(dict.fromkeys(digest for digest in found if digest and digest not in descent.made))


def require_standing(root: Path, digests: Iterable[str], today: date) -> None:
    """Raise ConsentError unless each of these files has a manifest entry in force on that day."""
    wanted = list(digests)
    entries = find_entries(root, wanted) if wanted else {}
    for digest in wanted:
        entry = entries.get(digest)
        problem = "no entry" if entry is None else entry.standing(today)
        if entry is None or problem:
            raise ConsentError(
                expected=f"a manifest entry in force for the file {digest[:12]}… that the run was made from",
                got=problem,
                remedy="export only runs of people whose consent is in force",
            )
