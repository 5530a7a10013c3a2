"""`report`: any run or set of runs, as one self-contained, exported page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faceswap_lab.errors import RunError
from faceswap_lab.files import user_path
from faceswap_lab.runs.record import read_record
from faceswap_lab.runs.run import Run
from faceswap_lab.trust import export
from faceswap_lab.trust.marks.metadata import Lineage, Unchanged
from faceswap_lab.verbs.evaluate.scores import ScoreRun
from faceswap_lab.verbs.library import FacesetRun
from faceswap_lab.verbs.render.dataset import ShardRun
from faceswap_lab.verbs.swap.result import SwapRun
from faceswap_lab.views.report import compared, ended, lineage, material, record, scores, steps, swaps, telling, training
from faceswap_lab.views.report.blocks import KeyNumber, Section
from faceswap_lab.views.report.notebook import executed
from faceswap_lab.views.report.page import render_report
from faceswap_lab.views.report.scope import NOTEBOOK, Scope

_SWAPPED = """One person's face on another's performance. If both are synthetic actors, the correct result is known to the pixel,
and every score is reported with two references: the floor, which is the unmodified target, and the ceiling, which is the truth
itself under the same measure."""
_OTHERS = "What was done, with which settings, from what, on which code, and what came of it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """What a page says of some runs. Its export is checked by `lineages`, and marked and logged with them and `others` (ids)."""

    title: str
    intro: str
    key_numbers: Sequence[KeyNumber]
    sections: Sequence[Section]
    lineages: Sequence[Lineage]
    others: Sequence[str]

    def html(self) -> str:
        """The page as text, without the mark that only an export writes."""
        return render_report(title=self.title, intro=self.intro, sections=self.sections, key_numbers=self.key_numbers)


def report(
    *runs: Run,
    path: str | Path | None = None,
    title: str = "",
    accept_frames: int = 0,
    accept_faces: int = 0,
    accept_pictures: int = 0,
    accept_recognisable: bool = False,
) -> Path:
    """Writes one page about any runs, finished or not: pictures, clips, scores, curves, notebooks, errors, lineage, environment.

    Two runs or more of one verb are also compared side by side. `path` is by default `report.html` in the folder of the first swap,
    else of the first run; without a `title` one is chosen. The page is an export: the gate is consulted for everybody it shows or
    goes back to, and it is marked and logged. No path and no name of a real person is on it. Pictures of a real person that no
    consent lets out are withheld, and the page says so. Raises ValueError without runs, or for runs of several labs; RunError for
    a run that is gone or altered; ConsentError as `SwapRun.export` does: `accept_frames` and `accept_faces` are the sums over all
    swaps shown, `accept_pictures` is the number of pictures in notebooks that are not the lab's own.
    """
    page = contents(*runs, title=title, accept_pictures=accept_pictures)
    first = next((run for run in runs if isinstance(run, SwapRun)), runs[0])
    place = user_path(path) if path is not None else first.path / "report.html"
    accept = Unchanged(frames=accept_frames, faces=accept_faces)
    done = export.export_file(
        page.html(),
        place,
        lineages=page.lineages,
        runs=page.others,
        root=first.root,
        accept=accept,
        recognisable=accept_recognisable,
    )
    return done.path


def contents(*runs: Run, title: str = "", accept_pictures: int = 0) -> Contents:
    """What `report` writes, as plain data; nothing is written but the log's line about a refusal. Errors as there."""
    chosen = _checked(runs)
    scope = Scope.of(chosen)
    done = [run for run in chosen if isinstance(run, SwapRun) and run.finished]
    verdicts = {run.inputs["result"]: run for run in chosen if isinstance(run, ScoreRun) and run.finished}
    pictures, renders = executed.Pictures(accepted=accept_pictures), swaps.Renders()
    parts = [(run, _section(run, scope, verdicts, renders)) for run in chosen]
    parts += [(run, executed.section_of(run, scope, pictures)) for run in chosen if run.has(NOTEBOOK)]
    pictures.require_accepted()
    sections = [*compared.sections_of(scope, verdicts, renders), *_named([(run, part) for run, part in parts if part is not None])]
    sections += [lineage.section_of(scope), record.section_of(scope)]
    say = telling.telling(scope.root)
    return Contents(
        title=say.text(title) or _title(chosen),
        intro=" ".join((_SWAPPED if done or verdicts else _OTHERS).split()),
        key_numbers=scores.key_numbers(list(verdicts.values())),
        sections=say.of(sections),
        lineages=[swap.lineage(measured=True) for swap in done],
        others=[run.id for run in chosen if run not in done],
    )


def _named(parts: Sequence[tuple[Run, Section]]) -> list[Section]:
    """The sections, those of equal titles told apart by their runs."""
    titles = [part.title for _, part in parts]
    return [
        part if titles.count(part.title) == 1 else Section(title=f"{part.title} · {run.id}", blocks=part.blocks)
        for run, part in parts
    ]


def _checked(runs: Sequence[Run]) -> list[Run]:
    """Each run once, as it is on disk now, and after a pipeline the runs of its steps."""
    if not runs:
        raise ValueError("a report needs at least one run: lab.report(trained, result, scores)")
    if len({run.root for run in runs}) > 1:
        raise ValueError(f"a report is of the runs of one lab, got {', '.join(sorted({str(run.root) for run in runs}))}")
    for run in runs:
        if not run.path.is_dir():
            raise RunError(
                expected=f"the folder of {run.id}", got="none any more", remedy="leave it out, or restore it from a backup"
            )
        read_record(run.path)
    return list(dict.fromkeys(steps.with_steps(type(run)(run.path) for run in dict.fromkeys(runs))))


def _section(run: Run, scope: Scope, verdicts: dict[str, ScoreRun], renders: swaps.Renders) -> Section | None:
    """What a page says of one run: why it isn't finished first, then what is particular to its verb. None for an evaluation that is
    shown with its swap, or a notebook, which has a section of its own."""
    stopped = ended.blocks_of(run, scope)
    if isinstance(run, ScoreRun) and run.finished:
        run.require_genuine()
        return (
            None
            if run.inputs["result"] in {each.id for each in scope.runs if each.finished}
            else Section(title="Scores", blocks=scores.blocks_of(run))
        )
    found = _by_verb(run, scope, verdicts, renders)
    return Section(title=found.title, blocks=[*stopped, *found.blocks])


def _by_verb(run: Run, scope: Scope, verdicts: dict[str, ScoreRun], renders: swaps.Renders) -> Section:
    if isinstance(run, SwapRun) and run.finished:
        return swaps.section_of(run, verdicts.get(run.id), renders)
    if run.verb == "train":
        return training.section_of(run, scope)
    if isinstance(run, ShardRun):
        return material.rendered(run, scope)
    if isinstance(run, FacesetRun):
        return material.faceset(run, scope)
    return steps.section_of(run, scope) if run.verb == "pipeline" else material.of_other(run, scope)


def _title(runs: Sequence[Run]) -> str:
    verbs = [run.verb for run in runs]
    if "swap" in verbs:
        count = verbs.count("swap")
        return "Face swap, measured" if count == 1 else f"{count} face swaps side by side"
    if len(runs) == 1:
        return runs[0].id if runs[0].finished else f"{runs[0].id}, unfinished"
    same = len(set(verbs)) == 1
    return f"{len(runs)} runs of {verbs[0]} side by side" if same else f"A report of {len(runs)} runs"
