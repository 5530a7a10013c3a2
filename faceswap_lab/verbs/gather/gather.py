"""The verb `gather`: makes a faceset from the user's files; all faces not included are listed with the reason.

runs/faceset-3f9a1c22/
  artifacts/crops/*.png    the aligned faces; the name has file, frame and number in the frame
  artifacts/faces.json     a row for each, see `faces.faceset.Row`
  artifacts/dropped.json   faces left out, and files refused: source, frame, reason, detail
  artifacts/sheet.jpg      a contact sheet
  work/                    measurements so far; removed when the run is finished
  names.json               names given manually, left_out.json faces marked manually: annotations, see `verbs.library`
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from faceswap_lab.errors import ConsentError, LabError, MediaError
from faceswap_lab.faces.footage import Clip
from faceswap_lab.files import canonical, lab_root, sha256_file, sha256_text, user_path
from faceswap_lab.models import data_files
from faceswap_lab.progress import Progress
from faceswap_lab.trust import admit
from faceswap_lab.trust.admit import Refused
from faceswap_lab.trust.consent.basis import Basis
from faceswap_lab.trust.consent.declare import File
from faceswap_lab.trust.consent.gate import Subject, check_evaluate, check_train
from faceswap_lab.verbs.computing import Compute, computing
from faceswap_lab.verbs.gather import layouts
from faceswap_lab.verbs.gather.work import Gathering
from faceswap_lab.verbs.library import FacesetRun
from faceswap_lab.verbs.people import file_record, maker_of
from faceswap_lab.verbs.recipes import FacesetRecipe

USES = ("evaluate", "train")
"""The uses of a faceset: a recogniser tells its faces apart, and weights are trained on them."""


def gather(
    recipe: FacesetRecipe | str,
    *paths: str | Path,
    who: str | None = None,
    basis: str | Basis | None = None,
    uses: Sequence[str] = USES,
    compute: Compute = None,
    force: bool = False,
) -> FacesetRun:
    """Make a faceset from files and folders; blocks with one progress line. `recipe` may be just the set's name.

    Files with a manifest entry are admitted under it; the others are declared, as in `admit`, with `who`, `basis` and `uses`. A
    file that is refused or unreadable is listed and skipped. With `compute` (see `lab.cluster`) the workers of a cluster look for
    the faces. An identical finished call returns its Run; an interrupted one resumes. Raises MediaError if there is no file,
    ConsentError if every file is refused, FaceError if no face is left.
    """
    recipe = FacesetRecipe(name=recipe) if isinstance(recipe, str) else recipe
    root = lab_root()
    found = layouts.find([user_path(path) for path in paths], recipe.layout)
    clips, refused = admit.admit_all(
        [each.path for each in found.material], root=root, who=who, basis=basis, uses=uses, made_by=partial(maker_of, root)
    )
    clips, refused = _allowed(clips, refused, root)
    if not clips:
        raise _nobody(refused)
    clips.sort(key=lambda clip: clip.grant.sha256)
    inputs = {f"file {number:05d}": file_record(clip) for number, clip in enumerate(clips, 1)}
    if refused:
        inputs["refused"] = sha256_text(canonical(sorted(each.sha256 for each in refused)))
    if sequences := _sequences(clips, found):
        inputs["sequences"] = sequences
    recipe_found = replace(recipe, layout=found.layout)
    run = FacesetRun.start(root, "faceset", recipe_found, inputs, data=data_files.of_offline(), force=force)
    if not run.finished:
        with run, computing(run, compute, "cpu") as (cluster, _):
            Gathering(run=run, recipe=recipe, clips=clips, refused=refused, found=found, compute=cluster).work()
    # Measurements of dropped faces are kept no longer than needed; after a kill, some may be left from an earlier call.
    shutil.rmtree(run.path / "work", ignore_errors=True)
    return run


def _sequences(clips: Sequence[Clip], found: layouts.Found) -> str:
    """Digest of which stills belong to which clip, and at what time; empty if none does. It comes from their names, and affects the
    splits.

    Clips are numbered in order of appearance, because folder names are only hints.
    """
    by_path = {each.path.resolve(): each for each in found.material}
    numbers: dict[str, int] = {}
    rows = [
        [clip.grant.sha256, numbers.setdefault(known.sequence, len(numbers)), known.time_s]
        for clip in clips
        if (known := by_path.get(clip.path)) is not None and known.sequence
    ]
    return sha256_text(canonical(rows)) if rows else ""


def enlist(path: str | Path, *, who: str | None, basis: str | Basis | None, uses: Sequence[str] = USES) -> dict[str, Any]:
    """Write manifest rows for a FaceForensics++ folder: paths, digests and the set's own splits; no picture is opened.

    The user must state the licence (`basis`) and whom it covers (`who`). Returns manifests and counts. Raises MediaError if the
    folder has another layout, ConsentError without a valid declaration.
    """
    listed = layouts.find_ffpp(user_path(path))
    line = Progress("digests", len(listed), unit="clips")
    files = []
    for number, each in enumerate(listed, 1):
        files.append(File(path=each.path, sha256=sha256_file(each.path), uri=each.uri, split=each.split))
        line.update(number)
    line.close()
    entries = admit.enlist(files, root=lab_root(), who=who, basis=basis, uses=uses, source=f"FaceForensics++ at {_shown(path)}")
    return {
        "manifests": sorted({entry.name for entry in entries.values()}),
        "files": len(entries),
        "same_bytes": len(listed) - len(entries),
        "splits": dict(Counter(entry.split or "none" for entry in entries.values())),
        "subjects": sorted({entry.subject for entry in entries.values()}),
    }


def _shown(path: str | Path) -> str:
    """A path's name for people, with a question mark for each byte that is not UTF-8."""
    return Path(path).name.encode(errors="replace").decode()


def _allowed(clips: list[Clip], refused: list[Refused], root: Path) -> tuple[list[Clip], list[Refused]]:
    """Check the gate before any pixel is read. Its answer depends on the manifest alone, so one file of each is checked."""
    errors: dict[str, ConsentError | None] = {}
    allowed, refused = [], list(refused)
    for clip in clips:
        manifest = clip.grant.entry.rpartition(":")[0]
        if manifest not in errors:
            errors[manifest] = None
            try:
                subject = Subject(grant=clip.grant)
                check_evaluate(subject, root=root)
                check_train(subject, root=root)
            except ConsentError as error:
                errors[manifest] = error
        if refusal := errors[manifest]:
            refused.append(Refused(path=clip.path, sha256=clip.grant.sha256, error=refusal))
        else:
            allowed.append(clip)
    return allowed, refused


def _nobody(refused: Sequence[Refused]) -> LabError:
    """The error if all files were refused: the first one, with its type."""
    first = next((each for each in refused if isinstance(each.error, ConsentError)), refused[0])
    kind = ConsentError if isinstance(first.error, ConsentError) else MediaError
    return kind(
        expected="at least one file that may be used",
        got=f"{len(refused)} refused, the first {first.path.name}: expected {first.error.expected}, got {first.error.got}",
        remedy=first.error.remedy,
    )
