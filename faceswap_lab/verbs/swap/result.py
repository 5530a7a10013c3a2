"""The class of swap runs: the result as footage, its people, and its export."""

import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from faceswap_lab.errors import ConsentError, RunError
from faceswap_lab.faces.corrections import Corrections
from faceswap_lab.faces.footage import Clip, Excerpt, Footage, Grant, Under
from faceswap_lab.faces.sound.tracks import Sound
from faceswap_lab.files import user_path
from faceswap_lab.runs.call import without_pack
from faceswap_lab.runs.run import Run
from faceswap_lab.trust.consent.gate import Subject, permission_for
from faceswap_lab.trust.export import export
from faceswap_lab.trust.grants import issue, issue_lineage
from faceswap_lab.trust.likeness import Likeness
from faceswap_lab.trust.marks.metadata import Lineage, Unchanged

if TYPE_CHECKING:
    from faceswap_lab.verbs.people import Person

RESULT = "result.mkv"
"""The frames of a swap of an actor's take, and of any swap of an older version."""

PATCHES = "result.patches"
"""What a swap changed of a file's frames: see `faces.patches`. With the target's file they are the frames."""

CORRECTIONS = "corrections.json"
"""The manual corrections that the run was given, as `Corrections.to_json` writes them; absent without any."""


class SwapRun(Run):
    """A swap run, as returned by `lab.swap`."""

    VERB: ClassVar[str | None] = "swap"
    RESULT_VERSION: ClassVar[int] = 3

    @staticmethod
    def counted(recipe: Any) -> Any:
        """See `RunReader.counted`: the path of an engine's pack is a hint."""
        return without_pack(recipe)

    def footage(self) -> Clip:
        """The frames, lossless, still subject to the consents of both people. RunError if the swap is not finished.

        Those of a file are composed when they are read, from what the run kept and the file, which is looked for by its digest:
        RunError if it isn't found, ConsentError if its person has withdrawn.
        """
        source, target = self.people()
        return Clip(self._grant(source, target))

    @property
    def result(self) -> str:
        """The name of the artifact with the frames. RunError if the swap is not finished."""
        self.require_finished()
        return PATCHES if PATCHES in self.record.artifacts else RESULT

    def _grant(self, giver: "Person", taker: "Person") -> Grant:
        from faceswap_lab.verbs.people import subject_of

        source, target, name = subject_of(giver), subject_of(taker), self.result
        grant = Grant(
            path=self.artifact(name),
            sha256=self.record.artifacts[name],
            subject=f"{source.name} on {target.name}",
            basis="derived",
            basis_text=f"made by run {self.id}",
            entry=f"runs/{self.id}",
            parents=(*source.origins, *target.origins),
            under=under_of(taker) if name == PATCHES else None,
        )
        return issue(self.root, grant)

    def corrections(self) -> Corrections:
        """The manual corrections that the run was given (empty without any), for `align` and for another `swap`.

        RunError if the run has only their digest: it was made by an older version.
        """
        if not self.inputs.get("corrections"):
            return Corrections()
        if not self.has(CORRECTIONS):
            raise RunError(
                expected=f"the corrections of {self.id}",
                got="only their digest",
                remedy="pass the corrections that it was made with to `swap` again: the run that this gives stores them",
            )
        return Corrections.from_json(self.artifact(CORRECTIONS).read_text(encoding="utf-8"))

    def people(self) -> "tuple[Person, Person]":
        """(source, target), reopened. RunError if the swap is not finished or its record is invalid."""
        self.require_finished()
        return self.people_reopened()

    def people_reopened(self) -> "tuple[Person, Person]":
        """(source, target), reopened as the record says, also of a swap that is not finished. RunError if the record is invalid."""
        return self._person("source"), self._person("target")

    def trained_on(self) -> tuple[Subject, ...]:
        """The people that the swapper's weights learned from; none for a swapper that needed no training here."""
        from faceswap_lab.verbs.train.result import TrainRun

        return TrainRun.open(self.inputs["swapper"], self.root).subjects() if self.inputs["swapper"].startswith("train-") else ()

    def likeness(self) -> Likeness:
        """Whether the person whose face was replaced is still recognised in the result, by judges, in figures.

        For footage from a file; a ValueError for an actor's performance, in which nobody is to be recognised. WeightsError if the
        judges were not fetched.
        """
        if self._filmed() is None:
            raise ValueError(f"{self.id} is of an actor's performance: there is nobody to recognise")
        return _likeness(self.path, self.record.artifacts[self.result])

    def _originals(self) -> Iterator[tuple[Footage, int]]:
        """The files and results that the result goes back to, each with the number of the frame that its first one was made of."""
        from faceswap_lab.verbs.people import swap_with

        _, target = self.people()
        if not isinstance(target, Clip | Excerpt):
            return
        yield target, 0
        made: SwapRun | None = swap_with(self.root, target.grant.sha256) if target.grant.basis == "derived" else None
        if made is not None:
            first = target.start if isinstance(target, Excerpt) else 0
            yield from ((footage, first + start) for footage, start in made._originals())

    def lineage(self, *, measured: bool = False) -> Lineage:
        """Whose face is on whom, for the gate and the mark.

        With `measured`, as an export needs it, also how much an anonymised person is still recognised (see `likeness`).
        ConsentError if the gate refuses, and that isn't known then.
        """
        from faceswap_lab.verbs.people import subject_of

        source, target = self.people()
        giver, taker, learned = subject_of(source), subject_of(target), self.trained_on()
        hides = measured and permission_for(giver, taker, trained_on=learned, root=self.root).anonymises
        lineage = Lineage(
            run=self.id,
            source=giver,
            target=taker,
            trained=self.inputs["swapper"] != "warp",
            result=self._grant(source, target),
            trained_on=learned,
            unchanged=Unchanged(frames=self.summary["num_frames_without_face"], faces=self.summary["num_faces_left"]),
            inputs=self.inputs,
            likeness=self.likeness() if hides else None,
        )
        return issue_lineage(self.root, lineage)

    def export(
        self,
        path: str | Path,
        *,
        sound: Sound | None = None,
        accept_frames: int = 0,
        accept_faces: int = 0,
        accept_recognisable: bool = False,
    ) -> Path:
        """Export the result: checked by the gate, marked and logged, with the target's colour tags and range.

        `.mp4` for a clip, `.png` or `.jpg` for a still. `sound` "copy" copies all sound tracks of the target (of an excerpt, the
        matching stretch of them; of the result of a swap, those of that swap's target), "encode" encodes them as AAC, "none" leaves
        them out; titles never travel. None: "copy", but "none" where a real person gets a face that is not real, because a voice
        identifies too; a printed line says so.
        Raises ConsentError if a consent has been withdrawn or has expired since, also that of somebody on whom the swapper was
        trained; and, with their numbers, if a real person was to be anonymised and some frames or faces were left as they were,
        unless these are accepted. Also if two judges were asked and one still takes such a result for the person (see `likeness`),
        unless `accept_recognisable`: the figures are in the message, and in the log either way; WeightsError if they were not
        fetched. MediaError for another suffix, and for sound that .mp4 cannot contain.
        """
        accept = Unchanged(frames=accept_frames, faces=accept_faces)
        shown, about, destination = self.footage(), self._outgoing(), user_path(path)
        camera = self._filmed()
        if camera is None:
            return export(shown, destination, lineage=about, root=self.root, accept=accept, recognisable=accept_recognisable).path
        target, start_s = camera
        done = export(
            shown,
            destination,
            lineage=about,
            root=self.root,
            audio_from=target.path if target.has_audio and len(shown) > 1 else None,
            audio_at_s=start_s,
            sound=sound,
            colour=target[0].colour,
            accept=accept,
            recognisable=accept_recognisable,
        )
        if sound is None and done.sound == "none":
            text = "the sound is left out, because a voice identifies too; sound='copy' (--sound copy) exports it as well"
            print(f"{self.id}: {text}", file=sys.stderr, flush=True)
        return done.path

    def _outgoing(self) -> Lineage:
        """The lineage with all that an export asks for. Of a swap that the gate refuses it says nothing: the export will."""
        try:
            return self.lineage(measured=True)
        except ConsentError:
            return self.lineage()

    def _filmed(self) -> tuple[Clip | Excerpt, float] | None:
        """The target as it was filmed, through any number of swaps, and the time on its clock (s) of this result's first frame.

        None for an actor's performance.
        """
        from faceswap_lab.verbs.people import swap_with

        _, target = self.people()
        if not isinstance(target, Clip | Excerpt):
            return None
        if target.grant.basis != "derived":
            return target, target.start_s
        made: SwapRun | None = swap_with(self.root, target.grant.sha256)
        filmed = None if made is None else made._filmed()
        if made is None or filmed is None:
            return None
        # A result's first frame is at the time of its target's first frame; an excerpt of it begins later.
        return filmed[0], filmed[1] + target.start_s - made.footage().start_s

    def _person(self, side: str) -> "Person":
        # Imported here, so that listing runs does not import the renderer.
        from faceswap_lab.verbs.people import reopened

        try:
            return reopened(self.inputs[side], self)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise RunError(
                expected=f"a record of the {side} of {self.id}",
                got=f"{self.inputs.get(side, 'none')[:200]} ({error})",
                remedy="restore run.json from a backup, or swap with force=True",
            ) from error


@lru_cache(maxsize=16)
def _likeness(folder: Path, digest: str) -> Likeness:
    """That of the run in a folder, whose result has this digest; measured once in a process."""
    from faceswap_lab.verbs.swap.likeness import measured

    run = SwapRun(folder)
    corrections = run.corrections() if run.has(CORRECTIONS) else Corrections()
    return measured(run.footage(), list(run._originals()), corrections)


def under_of(target: object) -> Under:
    """The frames that patches of a swap of `target` are laid on. TypeError for what is not from a file."""
    if not isinstance(target, Clip | Excerpt):
        raise TypeError(f"patches are laid on a clip or an excerpt, got {type(target).__name__}")
    return (
        Under(grant=target.grant) if isinstance(target, Clip) else Under(grant=target.grant, start=target.start, stop=target.stop)
    )
